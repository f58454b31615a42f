// Style sheet of a report: light or dark as the reader's system, one column on a phone, blue against orange because
// both stay apart for colour-blind eyes (Okabe and Ito's palette, https://jfly.uni-koeln.de/color/).
#pragma once

inline constexpr const char* kReportStyle = R"css(
:root { color-scheme: light dark; --page: #fff; --ink: #1b2126; --quiet: #5a6570; --line: #dde3e8; --soft: #f4f6f8;
  --blue: #0a67a3; --orange: #c2500a; --strong: #fff; }
@media (prefers-color-scheme: dark) { :root { --page: #14181b; --ink: #e4e8eb; --quiet: #98a4ae; --line: #2c343a;
  --soft: #1c2226; --blue: #62b1ea; --orange: #f0934d; --strong: #0d1113; } }
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body { margin: 0 auto; padding: 28px 20px 64px; max-width: 1080px; background: var(--page); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
  font-variant-numeric: tabular-nums; overflow-wrap: break-word; }
h1 { font-size: clamp(26px, 5vw, 38px); line-height: 1.15; font-weight: 650; letter-spacing: -0.015em;
    margin: 4px 0 10px; }
h2 { font-size: 21px; line-height: 1.3; font-weight: 650; margin: 0 0 8px; }
h3 { font-size: 15px; font-weight: 650; margin: 0 0 8px; }
section { margin-top: 36px; padding-top: 28px; border-top: 1px solid var(--line); }
p { margin: 0 0 14px; max-width: 72ch; }
.lead { font-size: 17px; } .quiet, small { color: var(--quiet); } p.quiet { font-size: 14px; margin-top: 10px; }
.eyebrow { color: var(--quiet); font-size: 14px; margin: 0; }
.path, code, .file { overflow-wrap: anywhere; }
code, pre { font: 13px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace; }
.state { display: inline-block; margin: 0 0 18px; padding: 3px 12px; border-radius: 14px; background: var(--soft);
    font-size: 14px; }
.state::before { content: ""; display: inline-block; width: 8px; height: 8px; border-radius: 50%;
    background: var(--orange); margin-right: 8px; }
.state.done::before { background: var(--blue); } .state.failed::before { border-radius: 0; }
.figures { list-style: none; margin: 0; padding: 0; display: grid; gap: 12px;
    grid-template-columns: repeat(auto-fit, minmax(160px, 1fr)); }
.figures li { background: var(--soft); border-radius: 10px; padding: 14px 16px; }
.figures b { display: block; font-size: 25px; line-height: 1.2; font-weight: 650; }
.figures span, .figures small { display: block; font-size: 14px; }
.figures small { font-size: 13px; }
.grid { display: grid; gap: 24px 36px; grid-template-columns: repeat(auto-fit, minmax(min(100%, 400px), 1fr));
    align-items: start; margin-bottom: 24px; }
.grid > * { min-width: 0; }
.proposal { background: var(--soft); border-left: 4px solid var(--blue); border-radius: 0 10px 10px 0;
    padding: 12px 16px; }
figure { margin: 0; } figcaption { font-size: 14px; margin-bottom: 6px; }
.key { color: var(--quiet);
    white-space: nowrap; margin-left: 12px; }
.key svg { display: inline-block; width: 22px; height: 8px; margin-right: 6px; vertical-align: middle; }
svg { display: block; width: 100%; height: auto; overflow: hidden; }
svg text { font-size: 11px; fill: var(--quiet); } svg .end { text-anchor: end; } svg .middle { text-anchor: middle; }
svg .strong { fill: var(--strong); } svg rect ~ text.middle:not(.strong):not(.label) { fill: var(--ink); }
svg path { fill: none; stroke-linejoin: round; stroke-linecap: round; } svg .rule { stroke: var(--line); }
svg .axis { stroke: var(--quiet); }
svg .marker { stroke: var(--ink); stroke-dasharray: 3 3; }
svg path.s0 { stroke: var(--blue); stroke-width: 2; }
svg path.s1 { stroke: var(--orange); stroke-width: 2;
    stroke-dasharray: 6 3; }
svg path.s2 { stroke: var(--quiet); stroke-width: 2; stroke-dasharray: 1 4; } svg circle.s2 { fill: var(--quiet); }
svg path.faint { stroke-width: 1; opacity: 0.28; } svg circle.s0 { fill: var(--blue); }
svg circle.s1 { fill: var(--orange); }
svg .bar, svg .right { fill: var(--blue); } svg .wrong { fill: var(--orange); } svg .none { fill: var(--soft); }
table { border-collapse: collapse; width: 100%; font-size: 14px; } caption { text-align: left; }
th, td { padding: 5px 10px 5px 0; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
    font-weight: 400; overflow-wrap: anywhere; }
thead th { color: var(--quiet); font-size: 13px; overflow-wrap: normal; vertical-align: bottom; }
.number { text-align: right; white-space: nowrap; padding: 5px 0 5px 10px; }
thead .number { white-space: normal; }
.facts thead { position: absolute; clip-path: inset(50%); } .facts tbody th { color: var(--quiet); width: 11em; }
.images { list-style: none; margin: 0 0 24px; padding: 0; display: grid; gap: 18px 16px;
    grid-template-columns: repeat(auto-fill, minmax(172px, 1fr)); }
.images img, .gone { display: block; width: 100%; height: auto; aspect-ratio: 4 / 3; object-fit: contain;
    background: var(--soft); border-radius: 6px; }
.gone { padding: 12px; font-size: 13px; color: var(--quiet); overflow: hidden; }
.images p { margin: 6px 0 0;
    font-size: 14px; line-height: 1.35; }
.images .file { font-size: 12px; color: var(--quiet); margin-top: 2px; } .wrong { color: var(--orange); }
.right { color: var(--blue); }
.shots { grid-template-columns: repeat(auto-fill, minmax(min(100%, 300px), 1fr)); }
@media (max-width: 480px) { .shots { grid-template-columns: 1fr !important; } }
.swatch { display: inline-block; width: 18px; height: 12px; vertical-align: -1px; border: 2px solid;
    margin: 0 4px 0 8px; } .true { border-color: #56b4e9; border-style: dashed; } .found { border-color: #d55e00; }
summary { cursor: pointer; } details > table, pre { margin-top: 12px; }
pre { background: var(--soft);
    border-radius: 10px; padding: 14px 16px; white-space: pre-wrap; overflow-wrap: anywhere; }
footer { margin-top: 48px; color: var(--quiet); font-size: 13px; }
@media (max-width: 480px) { body { padding: 20px 16px 48px; } .figures { grid-template-columns: 1fr 1fr; }
.figures li { padding: 12px; } .figures b { font-size: 21px; }
  .facts tbody th { width: 7.5em; } .images { grid-template-columns: 1fr 1fr; gap: 16px 12px; } }
@media print { body { max-width: none; } section { break-inside: avoid-page; } }
)css";
