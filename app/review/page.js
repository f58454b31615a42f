
'use strict';
const $ = id => document.getElementById(id);
const clamp = (v, low, high) => Math.max(low, Math.min(high, v));
const make = (tag, cls, text) => { const e = document.createElement(tag); if (cls) e.className = cls; if (text !== undefined) e.textContent = text; return e; };
const KEPT = JSON.parse($('data').textContent);

// ---- where images and answers come from: the server, or this file and the browser's storage ----
const refusal = async reply => { try { return (await reply.json()).error; } catch { return `the server answered ${reply.status}`; } };
async function ask(path, body) {
  let reply;
  try {
    reply = await fetch(path, body === undefined ? {} : { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });
  } catch {
    throw new Error('tundra review does not answer: it has ended. Start it again; every answer up to here is saved.');
  }
  if (!reply.ok) throw new Error(await refusal(reply));
  return reply;
}
const served = {
  about: async () => (await ask('about')).json(),
  list: async filter => new Uint32Array(await (await ask('list?' + new URLSearchParams(filter))).arrayBuffer()),
  items: async ids => (await (await ask('items?ids=' + ids.join(','))).json()).items,
  save: async images => (await ask('save', { images })).json(),
  undo: async () => (await ask('undo', {})).json(),
  picture: (id, side) => `image/${id}/${side}`,
  trouble: async (id, side) => { const reply = await fetch(`image/${id}/${side}`); return reply.ok ? '' : reply.text(); },
};

const parse = text => text ? text.split('|').map(part => { const at = part.lastIndexOf(':'); return at < 0 ? [part, 1] : [part.slice(0, at), Math.max(1, +part.slice(at + 1) || 1)]; }) : [];
const human = name => ['person', 'human', 'people', 'homo sapiens', 'vehicle', 'car'].includes(name.toLowerCase());
function keptApart() {  // the page without a server: what the server's state_of() does, for the answers given here
  const prefix = `tundra-review:${KEPT.about.id}:`, plain = new Map(KEPT.items.map(item => [item.id, structuredClone(item)]));
  let rows = [], done = [], last = 0;
  const placeOf = box => box.at.map(v => v.toFixed(4)).join(' ');
  const now = () => new Date().toISOString().slice(0, 19) + 'Z';
  const items = new Map(KEPT.items.map(item => [item.id, item]));
  const byFile = new Map(KEPT.items.map(item => [item.file, item]));
  function redo(item) {
    const held = new Map();
    for (const row of rows) if (row[0] === item.file) row[4] ? held.set(row[1] + ' ' + row[2], row) : held.delete(row[1] + ' ' + row[2]);
    const said = [...held.values()].map(row => row.slice(1, 6));
    Object.assign(item, structuredClone(plain.get(item.id)));
    if (!said.length) return;
    item.seen = true; item.by = said[said.length - 1][4];
    let final = '', species = '', counted = false, quality = false;
    for (const [n, field, , value] of said) {
      if (!n) { if (field === 'final') final = value; if (field === 'species') species = value; if (field === 'quality') { item.quality = value; quality = true; } continue; }
      let box = item.boxes.find(b => b.n === n);
      if (!box) item.boxes.push(box = { n, at: [0, 0, 0, 0], category: 'none', species: '', confidence: 1, score: 0 });
      box.touched = counted = true; box.confidence = 1;
      if (field === 'bbox') box.at = value.split(' ').map(Number); else box[field] = value;
    }
    if (counted || quality || species) {
      const live = item.boxes.filter(b => b.category !== 'none' && b.confidence >= KEPT.about.threshold), repeats = live.filter(b => b.repeated && !b.touched);
      const persons = live.filter(b => !repeats.includes(b) && (human(b.category) || human(b.species))), sums = new Map();
      for (const b of live) { const name = b.species || b.category; if (!repeats.includes(b) && !persons.includes(b) && !KEPT.about.not_animals.includes(name)) sums.set(name, (sums.get(name) || 0) + 1); }
      if (counted) item.species = [...sums].map(([name, n]) => `${name}:${n}`).join('|');
      if (species) item.species = species;
      if (item.model !== 'failed') item.final = persons.length ? 'human' : item.quality === KEPT.about.bad ? 'bad' : (counted ? sums.size : item.species) || species ? 'animal' : repeats.length ? 'repeated' : 'empty';
    }
    if (final) item.final = final;
    if (final && final !== 'animal') item.species = '';
  }
  function progress() { const seen = KEPT.items.filter(i => i.seen).length; return { images: KEPT.items.length, to_review: KEPT.items.length, done: seen, reviewed: seen }; }
  // One entry of the storage per answer, by its time: other tabs write entries of their own. The undo of an answer takes it out again.
  const tab = Math.random().toString(36).slice(2, 8);
  function store(added, undoes) {
    last = Math.max(Date.now(), last + 1);
    try { localStorage.setItem(`${prefix}${last}-${tab}`, JSON.stringify({ added, undoes })); } catch (error) {
      throw new Error(`The browser cannot keep this answer (${error.name}). Save corrections.csv now, and free some space.`);
    }
    take(added, undoes);
    const touched = [...new Set(added.map(row => row[0]))].map(file => byFile.get(file));
    touched.forEach(redo);
    return { items: touched, progress: progress() };
  }
  function take(added, undoes) {
    if (undoes) done.pop(); else done.push(added.map(row => [...row.slice(0, 3), row[2] === 'seen' ? row[3] : row[4], held(row), row[5], row[6], row[7]]));
    rows.push(...added);
  }
  function readAll() {
    rows = []; done = [];
    const keys = []; for (let i = 0; i < localStorage.length; ++i) if (localStorage.key(i).startsWith(prefix)) keys.push(localStorage.key(i));
    const lost = new Set(), entries = keys.sort().map(key => JSON.parse(localStorage.getItem(key)));
    for (const { added } of entries) for (const row of added) if (byFile.has(row[0]) && row[7]) {  // of an earlier page, with other boxes
      const item = byFile.get(row[0]), box = item.boxes.find(b => placeOf(b) === row[7]);
      if (box) row[1] = box.n; else lost.add(row[0]);
    }
    for (const { added, undoes } of entries) take(added.filter(row => byFile.has(row[0]) && !lost.has(row[0])), undoes);
    if (lost.size) setTimeout(() => tell(`${lost.size} images have other boxes than when you answered on an earlier page; they are to be looked at again.`));
    KEPT.items.forEach(redo);
  }
  const held = ([file, n, field]) => { for (let i = rows.length; i--;) if (rows[i][0] === file && rows[i][1] === n && rows[i][2] === field) return rows[i][4]; return ''; };
  try { readAll(); } catch { setTimeout(() => tell('This browser keeps nothing for pages from a file: save corrections.csv before you close it.')); }
  addEventListener('storage', event => { if (event.key?.startsWith(prefix)) act(async () => { readAll(); about.progress = progress(); drawProgress(); refresh(); }); });
  const stated = (item, n, field) => {
    if (!n) return field === 'seen' ? item.model + (item.model_species ? ' ' + item.model_species : '') : item[field] || '';
    const box = item.boxes.find(b => b.n === n); return !box ? '' : field === 'bbox' ? placeOf(box) : box[field] || '';
  };
  return {
    about: async () => Object.assign(KEPT.about, { progress: progress() }),
    list: async f => {
      const found = KEPT.items.filter(i => (f.state === 'all' || i.seen === (f.state === 'done')) && (!f.site || i.site === f.site) && (!f.final || i.final === f.final) &&
        (!f.species || parse(i.species).some(([name]) => name === f.species)) && (!f.reason || i.reasons.split('|').includes(f.reason)) && scoreOf(i) >= f.min && scoreOf(i) <= f.max);
      if (f.order === 'species') found.sort((a, b) => b.species_doubt - a.species_doubt);
      if (f.order === 'file') found.sort((a, b) => a.file < b.file ? -1 : 1);
      if (f.order === 'newest') { const last = new Map(rows.map((row, at) => [row[0], at])); found.sort((a, b) => (last.get(b.file) ?? -1) - (last.get(a.file) ?? -1)); }
      return Uint32Array.from(found, i => i.id);
    },
    items: async ids => ids.map(id => items.get(id)).filter(Boolean),
    save: async images => {
      const added = [];
      for (const { id, set } of images) {
        const item = items.get(id); if (!item) continue;
        const add = (n, field, value) => { if (held([item.file, n, field]) !== value) added.push([item.file, n, field, stated(item, n, field), value, KEPT.about.reviewer, now(), n && n[0] !== '+' ? placeOf(plain.get(id).boxes.find(b => b.n === n)) : '']); };
        for (const { box, field, value } of set) add(box, field, value);
        if (!set.some(s => s.field === 'seen')) add('', 'seen', 'yes');
      }
      return added.length ? store(added, false) : { items: images.map(i => items.get(i.id)).filter(Boolean), progress: progress() };
    },
    undo: async () => done.length ? store(done[done.length - 1].map(row => [...row.slice(0, 6), now(), row[7]]), true) : { items: [], progress: progress() },
    picture: id => KEPT.pictures[KEPT.items.findIndex(i => i.id === id)],
    trouble: async id => KEPT.pictures[KEPT.items.findIndex(i => i.id === id)].slice(1),
    csv: () => ['file,box,field,old,new,reviewer,time,place', ...rows.map(row => row.map(t => /[",\n\r]/.test(t) ? `"${t.replaceAll('"', '""')}"` : t).join(','))].join('\n') + '\n',
  };
}
const source = KEPT ? keptApart() : served;
const scoreOf = item => item.boxes.length ? Math.max(...item.boxes.map(b => b.score || b.confidence)) : 0;

// ---- state ----
let about, list = new Uint32Array(), at = 0, chosen = '', together = false, weak = false, full = false, drawing = null, inGrid = false;
const items = new Map(), pictures = new Map(), picked = new Set();
const current = () => items.get(list[at]);
const counts = box => box.category !== 'none' && box.confidence >= about.threshold;
const shown = item => item.boxes.filter(b => b.touched || counts(b) || weak || b.n === chosen);
const kind = box => ['animal', 'person', 'vehicle', 'none'].includes(box.category) ? (box.repeated && !box.touched ? 'repeated ' : '') + box.category : 'other';

function tell(text, info) { $('banner').textContent = text || ''; $('banner').className = info ? 'info' : ''; $('banner').hidden = !text; }

async function need(ids) {
  const missing = ids.filter(id => id !== undefined && !items.has(id));
  for (let i = 0; i < missing.length; i += 100) for (const item of await source.items(missing.slice(i, i + 100))) items.set(item.id, item);
  if (items.size > 6000) for (const id of items.keys()) { if (items.size < 4000) break; if (id !== list[at]) items.delete(id); }
}

// A decoded image, ready to be shown at once; the latest are kept.
function picture(id, side) {
  const key = id + '/' + side;
  if (!pictures.has(key)) {
    const img = new Image();
    img.decoding = 'async'; img.alt = ''; img.draggable = false;
    img.src = source.picture(id, side);
    img.ready = img.decode().then(() => true, () => false);
    pictures.set(key, img);
    if (pictures.size > 24) pictures.delete(pictures.keys().next().value);
  }
  return pictures.get(key);
}

// ---- drawing one image ----
function layout(w, h) {
  const stage = $('stage'), frame = $('frame');
  const pad = innerWidth > 760 ? 24 : 0, k = full ? 1 : Math.min((stage.clientWidth - pad) / w, (stage.clientHeight - pad) / h);
  frame.style.width = w * k + 'px'; frame.style.height = h * k + 'px';
}
let shownSize = [4, 3];
async function draw() {
  const item = current();
  $('frame').hidden = !item; $('empty').hidden = !!item;
  if (!item) { drawEmpty(); return; }
  drawPanel(item); drawBoxes(item); drawFilm();
  const id = item.id, img = picture(id, full ? 4096 : 1280);
  if (!img.complete) { const small = pictures.get(id + '/240'); if (small && small.complete && small.naturalWidth) showPicture(small); }
  const fine = await img.ready;
  if (!current() || current().id !== id) return;
  if (fine && img.naturalWidth) showPicture(img); else {
    pictures.delete(id + '/' + (full ? 4096 : 1280));
    const gone = make('div', 'gone'); gone.append(make('b', '', 'This image cannot be shown'), make('span', '', item.file), make('span', '', await source.trouble(id, 1280)));
    if (!current() || current().id !== id) return;
    shownSize = [4, 3]; layout(800, 600); $('picture').replaceChildren(gone);
  }
  for (let k = 1; k <= 4; ++k) if (at + k < list.length) picture(list[at + k], 1280);
  if (at > 0) picture(list[at - 1], 1280);
}
function showPicture(img) {
  shownSize = [img.naturalWidth, img.naturalHeight];
  layout(...shownSize);
  if ($('picture').firstChild !== img) $('picture').replaceChildren(img);
  performance.mark('shown');
}
function drawBoxes(item) {
  const svg = $('boxes'), tags = $('tags');
  svg.setAttribute('viewBox', '0 0 1 1'); svg.replaceChildren(); tags.replaceChildren();
  for (const box of shown(item)) {
    const [x, y, w, h] = box.at, rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect');
    for (const [name, value] of Object.entries({ x, y, width: w, height: h })) rect.setAttribute(name, value);
    rect.setAttribute('class', kind(box) + (counts(box) || box.touched ? '' : ' weak') + (box.n === chosen ? ' chosen' : ''));
    rect.addEventListener('click', event => { if (drawing) return; event.stopPropagation(); chosen = chosen === box.n ? '' : box.n; refresh(); });
    svg.append(rect);
    const score = box.touched ? '✓' : (box.species ? box.score : box.confidence).toFixed(2);
    const name = box.category === 'none' ? 'nothing' : box.repeated && !box.touched ? 'repeated' : box.species || box.category;
    const tag = make('span', `tag ${kind(box)}${box.n === chosen ? ' chosen' : ''}${y < 0.06 ? ' inside' : ''}${x > 0.7 ? ' left' : ''}`, `${name} ${score}`);
    tag.style.left = 100 * (x > 0.7 ? x + w : x) + '%'; tag.style.top = 100 * y + '%';
    tags.append(tag);
  }
}
function drawEmpty() {
  const { done, to_review } = about.progress, box = $('empty');
  box.replaceChildren(make('b', '', done >= to_review && $('f-state').value === 'todo' ? 'Everything is seen' : 'No image here'),
    done >= to_review && $('f-state').value === 'todo' ? `All ${to_review.toLocaleString('en')} images that a person should look at are done. ` + (KEPT ? 'Save corrections.csv and give it back.' : 'Run tundra survey again, and the table holds the corrections.') : 'No image fits these filters.');
  $('facts').replaceChildren(); $('answers').replaceChildren(); $('film').replaceChildren();
}

// ---- the panel ----
const answerText = (final, species) => !species || !['animal', 'human'].includes(final) ? final : (final === 'human' ? 'human, ' : '') + plainSpecies(species);
const plainSpecies = text => parse(text).map(([name, n]) => n > 1 ? `${n} × ${name}` : name).join(', ');
function drawPanel(item) {
  const facts = $('facts'), answer = answerText(item.final, item.species);
  facts.replaceChildren(make('div', 'file', item.file), make('div', 'when', [item.site && 'site ' + item.site, item.date].filter(Boolean).join(' · ')), make('div', 'answer', answer));
  facts.firstChild.title = item.file;
  const model = answerText(item.model, item.model_species);
  if (item.seen) facts.append(make('div', 'said', `✓ ${item.by || 'seen'}` + (model !== answer ? `; the models said ${model}` : '')));
  const why = make('div', 'why');
  for (const reason of item.reasons.split('|').filter(Boolean)) why.append(make('span', 'chip', reason));
  if (item.before_vote) why.append(make('span', 'chip', 'alone: ' + item.before_vote.replaceAll('|', ', ')));
  if (item.bad >= 0.2) why.append(make('span', 'chip', `bad ${(+item.bad).toFixed(2)}`));
  if (item.problem) why.append(make('span', 'chip', item.problem));
  facts.append(why);
  const answers = $('answers'), typing = document.activeElement === $('other');
  if (typing) return;
  answers.replaceChildren();
  const members = group(item);
  if (members.length > 1) {
    const button = make('button', 'group'); button.id = 'together'; button.setAttribute('aria-pressed', together);
    button.append(make('span', '', `For all ${members.length} ${item.group.length ? 'repeats' : 'of this burst'}`), make('kbd', '', 'G'));
    button.onclick = () => act(toggleTogether); answers.append(button);
  }
  const box = item.boxes.find(b => b.n === chosen);
  if (box) {
    answers.append(make('h3', '', 'The chosen box is'));
    const row = make('div', 'row');
    for (const [key, name, label] of [['D', 'none', 'nothing'], ['O', 'animal', 'an animal'], ['P', 'person', 'a person'], ['V', 'vehicle', 'a vehicle']]) row.append(choice(label, key, box.category === name, () => setCategory(name)));
    answers.append(row);
  } else {
    answers.append(make('h3', '', 'The image is'));
    const row = make('div', 'row');
    for (const [key, name, label] of [['A', 'animal', 'animal'], ['E', 'empty', 'empty'], ['B', 'bad', 'bad'], ['H', 'human', 'human']]) row.append(choice(label, key, item.final === name, () => setFinal(name)));
    answers.append(row);
  }
  answers.append(make('h3', '', 'Species'));
  const other = make('input'); other.id = 'other'; other.placeholder = 'another species ( / )'; other.setAttribute('list', 'all-species'); other.setAttribute('aria-label', 'another species'); other.autocomplete = 'off'; other.maxLength = 60;
  const known = make('datalist'); known.id = 'all-species'; for (const [name] of about.species) { const o = make('option'); o.value = name; known.append(o); }
  other.onkeydown = event => {
    if (event.key === 'Enter' && other.value.trim()) { const name = other.value.trim().replace(/[|:]/g, ' '); other.blur(); act(() => setSpecies(name)); }
    if (event.key === 'Escape') { other.value = ''; other.blur(); }
    event.stopPropagation();
  };
  const species = make('div', 'row one'), named = new Set(box ? [box.species] : parse(item.species).map(([name]) => name));
  about.species.slice(0, 30).forEach(([name], i) => species.append(choice(name, i < 9 ? String(i + 1) : '', named.has(name), () => setSpecies(name))));
  answers.append(other, known, species);
  if (inGrid) return;
  const row = make('div', 'row three');  // for those without keys
  for (const [label, run, off] of [['one more', () => count(1), !item.species], ['fewer', () => count(-1), !item.species], ['draw box', startDrawing, false]]) {
    const button = choice(label, '', false, run); button.disabled = off; row.append(button);
  }
  answers.append(row);
}
function choice(label, key, is, run) {
  const button = make('button', is ? 'is' : ''); button.append(make('span', '', label)); if (key) button.append(make('kbd', '', key));
  button.onclick = () => act(run);
  return button;
}

// ---- neighbours and thumbnails: only those in sight exist ----
function cell(index) {
  const id = list[index], item = items.get(id), here = current();
  const button = make('button', 'cell' + (index === at ? ' now' : '') + (picked.has(id) ? ' picked' : '') + (item && item.seen ? ' seen' : '') +
    (here && together && group(here).includes(id) ? ' together' : ''));
  button.setAttribute('aria-label', item ? item.file : 'image');
  const img = picture(id, 240).cloneNode(); img.onerror = () => img.classList.add('gone');
  button.append(img);
  return button;
}
function drawFilm() {
  const film = $('film'), width = innerWidth > 760 ? 102 : 72, half = Math.floor(film.clientWidth / width / 2), cells = [];
  for (let i = Math.max(0, at - half); i <= Math.min(list.length - 1, at + half); ++i) { const c = cell(i); c.onclick = () => go(i); cells.push(c); }
  film.replaceChildren(...cells);
}
let gridShape = [1, 1, 1];
function drawGrid() {
  if (current()) drawPanel(current());
  const grid = $('grid'), width = grid.clientWidth - 16, columns = Math.max(2, Math.floor(width / 190)), w = width / columns, h = Math.round(w * 0.75);
  gridShape = [columns, w, h];
  $('grid-size').style.height = Math.ceil(list.length / columns) * h + 16 + 'px';
  const first = Math.max(0, Math.floor(grid.scrollTop / h) - 1) * columns, last = Math.min(list.length, first + (Math.ceil(grid.clientHeight / h) + 3) * columns);
  const ids = Array.from(list.subarray(first, last));
  const paint = () => $('grid-window').replaceChildren(...ids.map((id, k) => {
    const i = first + k, c = cell(i), item = items.get(id);
    c.style.cssText = `left:${8 + (i % columns) * w + 3}px;top:${8 + Math.floor(i / columns) * h + 3}px;width:${w - 6}px;height:${h - 6}px`;
    if (item) c.append(make('span', '', answerText(item.final, item.species)));
    c.onclick = event => {
      if (event.shiftKey) { for (let j = Math.min(at, i); j <= Math.max(at, i); ++j) picked.add(list[j]); }
      else if (event.ctrlKey || event.metaKey) { picked.has(id) ? picked.delete(id) : picked.add(id); at = i; }
      else { picked.clear(); at = i; show(false); return; }
      tell(picked.size ? `${picked.size} images are chosen: a key answers for all of them, Esc for none.` : '', true); drawGrid();
    };
    return c;
  }));
  paint();
  const mine = first; need(ids).then(() => { if (inGrid && mine === Math.max(0, Math.floor(grid.scrollTop / gridShape[2]) - 1) * gridShape[0]) paint(); }, error => tell(error.message));
}
async function show(gridView) {
  chosen = '';
  inGrid = gridView;
  $('grid').hidden = !gridView; for (const id of ['stage', 'film']) $(id).hidden = gridView;
  $('one').setAttribute('aria-pressed', !gridView); $('many').setAttribute('aria-pressed', gridView);
  if (gridView) { drawGrid(); $('grid').scrollTop = Math.max(0, Math.floor(at / gridShape[0]) - 1) * gridShape[2]; drawGrid(); $('grid').focus(); } else await go(at);
}

// ---- moving ----
async function go(index) {
  if (!list.length) { at = 0; draw(); return; }
  const begin = performance.now();
  at = clamp(index, 0, list.length - 1); chosen = ''; drawing = null; $('stage').classList.remove('drawing');
  if (full) { full = false; $('stage').classList.remove('full'); }
  try { await need([list[at]]); } catch (error) { tell(error.message); return; }
  const drawn = draw();
  const ahead = Array.from(list.subarray(Math.max(0, at - 10), at + 30));
  need(ahead).then(() => { if (!inGrid) drawFilm(); }, () => {});
  await drawn;
  performance.measure('move', { start: begin, end: performance.now() });
}
function refresh() { if (inGrid) drawGrid(); else if (current()) { drawPanel(current()); drawBoxes(current()); drawFilm(); } }
async function load() {
  const filter = {}; for (const name of ['state', 'site', 'final', 'species', 'reason', 'min', 'max', 'order']) filter[name] = $('f-' + name).value;
  filter.min = +filter.min || 0; filter.max = filter.max === '' ? 1 : +filter.max;
  list = await source.list(filter); at = 0; picked.clear();
  $('found').textContent = `${list.length.toLocaleString('en')} image${list.length === 1 ? '' : 's'}`;
  if (inGrid) { $('grid').scrollTop = 0; drawGrid(); }
  else await go(0);
}
function drawProgress() {
  const { done, to_review, reviewed } = about.progress;
  $('progress').querySelector('.bar').style.width = to_review ? 100 * done / to_review + '%' : '0';
  $('progress').querySelector('span').textContent = `${done.toLocaleString('en')} of ${to_review.toLocaleString('en')} seen`;
  $('progress').title = `${reviewed} images seen in all`;
}

// ---- answers ----
function group(item) { return item.group.length ? [...new Set(item.group.map(([id]) => id))] : item.burst; }
async function targets() {
  const ids = inGrid ? (picked.size ? [...picked] : [list[at]]) : together && current() ? group(current()) : [list[at]];
  await need(ids);
  return ids.map(id => items.get(id)).filter(Boolean);
}
// One answer: `rows(item)` says what to set; the next image comes only after it is on the disk.
async function answer(rows, moveOn) {
  const begin = performance.now();
  const all = await targets();
  if (!all.length) return;
  const result = await source.save(all.map(item => ({ id: item.id, set: rows(item) })));
  for (const item of result.items) items.set(item.id, item);
  about.progress = result.progress; drawProgress(); tell('');
  if (inGrid) { if (picked.size) { picked.clear(); drawGrid(); } else { at = Math.min(at + 1, list.length - 1); drawGrid(); } return; }
  if (!moveOn) { refresh(); return; }
  const skip = new Set(all.map(item => item.id));
  let to = at + 1;
  while (to < list.length && (skip.has(list[to]) || ($('f-state').value === 'todo' && items.get(list[to])?.seen))) ++to;
  if (to < list.length) { await go(to); performance.measure('answer', { start: begin, end: performance.now() }); }
  else if ($('f-state').value === 'todo') await load();
  else refresh();
}
const drop = (item, ...fields) => fields.filter(f => f).map(field => ({ box: '', field, value: '' }));
const good = item => item.quality === about.bad ? [{ box: '', field: 'quality', value: item.good }] : [];
const accept = () => answer(() => [], true);
const setFinal = name => answer(item => [...(name === 'animal' ? [] : drop(item, 'species')), ...(name === 'bad' ? [{ box: '', field: 'quality', value: about.bad }] : good(item)), { box: '', field: 'final', value: name }], true);
function setSpecies(name) {
  if (!about.species.some(([known]) => known === name)) about.species.push([name, 0]);
  const one = !together && !inGrid && current()?.boxes.find(b => b.n === chosen);
  if (one) { const n = one.n, boxes = shown(current()).filter(b => !human(b.category) && b.category !== 'none').map(b => b.n); const next = boxes[boxes.indexOf(n) + 1] || '';
    return answer(item => [...drop(item, 'final', 'species'), ...good(item), { box: n, field: 'category', value: 'animal' }, { box: n, field: 'species', value: name }], false).then(() => { chosen = next; refresh(); }); }
  const none = human(name) ? 'human' : about.not_animals.includes(name) ? 'empty' : '';  // rocks and people are no animals
  return answer(item => {
    const animals = item.boxes.filter(b => counts(b) && !human(b.category) && !(b.repeated && !b.touched));
    if (none) return animals.length ? [...drop(item, 'species', 'final'), ...good(item), ...animals.map(b => ({ box: b.n, field: 'species', value: name }))]
                                    : [...drop(item, 'species'), ...good(item), { box: '', field: 'final', value: none }];
    return animals.length ? [...drop(item, 'species'), ...good(item), { box: '', field: 'final', value: 'animal' }, ...animals.map(b => ({ box: b.n, field: 'species', value: name }))]
                          : [...good(item), { box: '', field: 'final', value: 'animal' }, { box: '', field: 'species', value: `${name}:1` }];
  }, true);
}
function setCategory(name) {
  const item = current(); if (!item || inGrid) return;
  if (!item.boxes.some(b => b.n === chosen || counts(b))) return setFinal({ none: 'empty', animal: 'animal', person: 'human', vehicle: 'human' }[name]);
  const repeated = together && item.group.length ? new Map(item.group) : null;
  const boxes = target => repeated ? [String(repeated.get(target.id))] : chosen && target.id === item.id ? [chosen] : target.boxes.filter(counts).map(b => b.n);
  return answer(target => [...drop(target, 'final', 'species'), ...boxes(target).map(n => ({ box: n, field: 'category', value: name }))], !!repeated);
}
function count(step) {
  const have = current() ? parse(current().species) : []; if (!have.length) return;
  have[0][1] = Math.max(1, have[0][1] + step);
  const value = have.map(([name, n]) => `${name}:${n}`).join('|');
  return answer(() => [{ box: '', field: 'species', value }], false);
}
const forget = () => answer(item => [...['final', 'quality', 'species', 'seen'].map(field => ({ box: '', field, value: '' })),
  ...item.boxes.filter(b => b.touched).flatMap(b => ['category', 'species', 'bbox'].map(field => ({ box: b.n, field, value: '' })))], false);
async function undo() {
  const result = await source.undo();
  if (!result.items.length) { tell('Nothing is left to undo in this session. Show "already seen" and press X to forget an answer.', true); return; }
  for (const item of result.items) items.set(item.id, item);
  about.progress = result.progress; drawProgress(); tell('');
  const back = list.indexOf(result.items[0].id);
  if (inGrid) drawGrid(); else if (back < 0) { list = Uint32Array.from([...list.slice(0, at), result.items[0].id, ...list.slice(at)]); await go(at); } else await go(back);
}
function toggleTogether() { together = !together; refresh(); }

// Keys that come while an answer is being saved wait for it; if that fails they are dropped, because they were meant for the images after it.
let chain = Promise.resolve(), faults = 0;
function act(run) {
  const before = faults;
  chain = chain.then(() => before === faults ? run() : undefined).catch(error => { ++faults; tell(error.message); });
  return chain;
}

// ---- drawing a box ----
function place(event) { const r = $('frame').getBoundingClientRect(); return [clamp((event.clientX - r.left) / r.width, 0, 1), clamp((event.clientY - r.top) / r.height, 0, 1)]; }
$('frame').addEventListener('pointerdown', event => {
  if (!drawing || event.button) return;
  event.preventDefault(); drawing.from = place(event); $('frame').setPointerCapture(event.pointerId);
  drawing.rect = document.createElementNS('http://www.w3.org/2000/svg', 'rect'); drawing.rect.setAttribute('class', 'draft'); $('boxes').append(drawing.rect);
});
const span = (a, b) => [Math.min(a[0], b[0]), Math.min(a[1], b[1]), Math.abs(a[0] - b[0]), Math.abs(a[1] - b[1])];
$('frame').addEventListener('pointermove', event => {
  if (!drawing?.from) return;
  span(drawing.from, place(event)).forEach((v, i) => drawing.rect.setAttribute(['x', 'y', 'width', 'height'][i], v));
});
$('frame').addEventListener('pointerup', event => {
  if (!drawing?.from) return;
  const at = span(drawing.from, place(event)); drawing = null; drew = true; $('stage').classList.remove('drawing');
  if (at[2] < 0.004 || at[3] < 0.004) { refresh(); return; }
  act(async () => {
    const n = '+' + (1 + Math.max(0, ...current().boxes.filter(b => b.n[0] === '+').map(b => +b.n.slice(1)))), was = together; together = false;
    try { await answer(() => [...drop(null, 'final', 'species'), { box: n, field: 'category', value: 'animal' }, { box: n, field: 'bbox', value: at.map(v => v.toFixed(4)).join(' ') }], false); } finally { together = was; }
    chosen = n; refresh();
  });
});
let drew = false;  // the click that ends a drag is none
function startDrawing() { if (inGrid || !current()) return; drawing = {}; $('stage').classList.add('drawing'); tell('Drag a frame around the animal; Esc to leave it.', true); }
function zoom() { if (inGrid || !current()) return; full = !full; $('stage').classList.toggle('full', full); draw(); }
$('stage').addEventListener('click', () => { if (drew) { drew = false; return; } if (!drawing && (full || innerWidth > 760)) zoom(); });

// ---- keys and buttons ----
const run = {
  Enter: () => act(accept), ' ': () => act(accept), ArrowRight: () => act(() => inGrid ? step(1) : go(at + 1)), ArrowLeft: () => act(() => inGrid ? step(-1) : go(at - 1)),
  ArrowDown: () => inGrid && step(gridShape[0]), ArrowUp: () => inGrid && step(-gridShape[0]),
  j: () => act(() => go(at + 1)), k: () => act(() => go(at - 1)), a: () => act(() => setFinal('animal')), e: () => act(() => setFinal('empty')), b: () => act(() => setFinal('bad')), h: () => act(() => setFinal('human')),
  u: () => act(undo), g: () => act(toggleTogether), d: () => act(() => setCategory('none')), o: () => act(() => setCategory('animal')), p: () => act(() => setCategory('person')), v: () => act(() => setCategory('vehicle')),
  '+': () => act(() => count(1)), '=': () => act(() => count(1)), '-': () => act(() => count(-1)), x: () => act(forget), n: startDrawing, z: zoom, w: () => { weak = !weak; refresh(); },
  t: () => act(() => show(!inGrid)), '?': () => $('keys').showModal(), '/': () => { $('other')?.focus(); },
  Tab: () => { const all = current() ? shown(current()).map(b => b.n) : []; chosen = all[all.indexOf(chosen) + 1] || ''; refresh(); },
  Escape: () => { drawing = null; $('stage').classList.remove('drawing'); chosen = ''; picked.clear(); tell(''); document.body.classList.remove('filters'); refresh(); },
};
function step(by) {
  at = clamp(at + by, 0, list.length - 1);
  const top = Math.floor(at / gridShape[0]) * gridShape[2], grid = $('grid');
  if (top < grid.scrollTop) grid.scrollTop = top; else if (top + gridShape[2] > grid.scrollTop + grid.clientHeight) grid.scrollTop = top + gridShape[2] - grid.clientHeight + 16;
  drawGrid();
}
document.addEventListener('keydown', event => {
  if ($('keys').open || event.altKey || ((event.ctrlKey || event.metaKey) && event.key !== 'z')) return;
  if (event.target.tagName === 'BUTTON' && ['Enter', ' '].includes(event.key)) return;  // reached with Shift and Tab
  if (['INPUT', 'SELECT'].includes(event.target.tagName)) { if (event.key === 'Escape') event.target.blur(); return; }
  if (event.key === 'Tab' && (inGrid || event.shiftKey || !current()?.boxes.length)) return;
  const key = event.ctrlKey || event.metaKey ? 'u' : event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const species = /^[1-9]$/.test(key) && about && about.species[+key - 1];
  const todo = species ? () => act(() => setSpecies(species[0])) : run[key];
  if (!todo || !about) return;
  event.preventDefault();
  if (event.repeat && !key.startsWith('Arrow')) return;  // a key that is held down is one answer
  todo();
});
document.addEventListener('click', event => { if (event.detail) event.target.closest('button')?.blur(); });  // the next key answers again
$('accept').onclick = run.Enter; $('undo').onclick = run.u;
$('next').onclick = () => run.ArrowRight(); $('back').onclick = () => run.ArrowLeft();
$('one').onclick = () => act(() => show(false)); $('many').onclick = () => act(() => show(true)); $('help').onclick = run['?'];
$('menu').onclick = () => $('menu').setAttribute('aria-expanded', document.body.classList.toggle('filters'));
for (const name of ['state', 'site', 'final', 'species', 'reason', 'min', 'max', 'order']) $('f-' + name).onchange = event => { event.target.blur(); act(load); };
$('export').onclick = () => {
  const link = make('a'); link.href = URL.createObjectURL(new Blob([source.csv()], { type: 'text/csv' })); link.download = 'corrections.csv';
  document.body.append(link); link.click(); link.remove();
};
$('grid').addEventListener('scroll', () => requestAnimationFrame(() => inGrid && drawGrid()), { passive: true });
document.addEventListener('visibilitychange', () => {  // another tab may have answered meanwhile
  if (document.hidden || KEPT || !about) return;
  act(async () => { items.clear(); about.progress = (await source.about()).progress; drawProgress(); if (current() || list.length) { await need([list[at]]); refresh(); } });
});
addEventListener('resize', () => { if (inGrid) drawGrid(); else if (current()) { layout(...shownSize); drawFilm(); } });

(async () => {
  about = await source.about();
  $('name').textContent = about.name; $('reviewer').textContent = about.reviewer;
  if (KEPT) { $('export').hidden = false; }
  const fill = (id, names) => { for (const [name, n] of names) { const o = make('option', '', n === undefined ? name : `${name} (${n.toLocaleString('en')})`); o.value = name; $(id).append(o); } };
  fill('f-site', about.sites.filter(Boolean).map(name => [name])); fill('f-final', about.finals); fill('f-species', about.species.filter(([, n]) => n));
  drawProgress();
  await load();
  performance.mark('ready');
})().catch(error => tell(error.message));
