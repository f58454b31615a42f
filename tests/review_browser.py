"""`tundra review` in a headless Chromium: keys to disk, a kill in between, 5,000 images, two reviewers, the static page.
usage: review_browser.py BINARY FOLDER   (FOLDER is created)"""
import csv, json, os, pathlib, resource, shutil, signal, struct, subprocess, sys, time, zlib

import chromium

tundra, work = os.path.abspath(sys.argv[1]), os.path.abspath(sys.argv[2])
failures = []


def check(condition, text):
    if not condition:
        failures.append(text)
        print("FAILED:", text)


def png(path, seed):
    """A small picture without any library."""
    rows = b"".join(b"\0" + bytes((x * 5 + seed * 40) % 256 for x in range(3 * 32)) for _ in range(24))
    chunk = lambda kind, data: struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 32, 24, 8, 2, 0, 0, 0)) +
                     chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))


def survey(name, count):
    folder = pathlib.Path(work, name)
    (folder / "images").mkdir(parents=True)
    for k in range(4):
        png(folder / "images" / f"{k}.png", k)
    rows, results = [], []
    for i in range(count):
        file = f"S{i % 7}/{i:05}.png"
        (folder / "images" / f"S{i % 7}").mkdir(exist_ok=True)
        os.link(folder / "images" / f"{i % 4}.png", folder / "images" / file)
        score = round(0.5 + (i * 37 % 500) / 1000, 3)
        rows.append([file, f"S{i % 7}", "c", f"2026-07-01 08:{i // 60 % 60:02}:{i % 60:02}", f"S{i % 7}/{i - i % 21 + i % 7:05}.png",
                     "good", "0.01", 1, 0, 0, 0, "fox", 1, score, "", "animal", "", "animal", ""])
        results.append({"file": file, "detections": [
            {"category": "1", "conf": 0.9, "bbox": [0.2, 0.3, 0.4, 0.4], "classifications": [["0", score]]}]})
    with open(folder / "images.csv", "w", newline="") as out:
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow("file,site,camera,date,sequence,quality,quality_score,animal,person,vehicle,repeated,species,counts,"
                        "scores,before_vote,final,reviewed,review,problem".split(","))
        writer.writerows(rows)
    (folder / "results.json").write_text(json.dumps({
        "info": {"format_version": "1.6"}, "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
        "classification_categories": {"0": "fox", "1": "hare"}, "images": results}))
    (folder / "survey.json").write_text(json.dumps({
        "base": str(folder / "images"), "table": {"box_threshold": 0.2}, "species": ["fox", "hare"]}))
    return folder


def rows(folder):
    with open(folder / "corrections.csv", newline="") as file:
        return list(csv.DictReader(file))


class Server:
    def __init__(self, folder, reviewer, room=None):
        """`room`: bytes by which a file may grow, as on a disk that is almost full."""
        limit = room and (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (room, room)))
        self.process = subprocess.Popen([tundra, "review", str(folder), "--reviewer", reviewer, "--quiet"],
                                        stdout=subprocess.PIPE, text=True, preexec_fn=limit, restore_signals=not limit)
        self.address = self.process.stdout.readline().strip()

    def end(self, number=signal.SIGINT):
        self.process.send_signal(number)
        return self.process.wait()


READY = "performance.getEntriesByName('ready').length && document.querySelector('#picture img')"
FILE = "document.querySelector('#facts .file').textContent"
SEEN = "document.querySelector('#progress span').textContent"
BANNER = "document.getElementById('banner').textContent"


def press(page, key, count):
    """A key, and what is on the disk once the next image shows."""
    before = page.run(FILE)
    page.key(key)
    page.wait(f"{FILE} !== {json.dumps(before)}")
    check(len({row["file"] for row in rows(folder)}) == count, f"{count} images on the disk after {key}")
    return before


shutil.rmtree(work, ignore_errors=True)
folder = survey("trial", 5000)
server, page = Server(folder, "Ann"), chromium.Page()
try:
    page.open(server.address)
    page.wait(READY)
    first = press(page, "Enter", 1)
    second = press(page, "2", 2)
    third = press(page, "e", 3)
    last = {(row["file"], row["field"]): row["new"] for row in rows(folder)}
    check(last[first, "seen"] == "yes", "Enter says that all is right")
    check(last[second, "species"] == "hare", "2 is the second species")
    check(last[third, "final"] == "empty", "E is empty")
    page.key("u")
    page.wait(f"{FILE} === {json.dumps(third)}")
    check(rows(folder)[-1]["new"] == "", "undo is a row of its own")
    check(page.run("document.images.length") < 60, "one image and its neighbours, not 5,000")

    page.key("t")  # thumbnails
    page.wait("document.querySelectorAll('#grid .cell img').length > 10")
    check(page.run("document.images.length") < 150, "a window of thumbnails")
    page.run("document.getElementById('grid').scrollTop = 1e7")
    page.wait("document.querySelector('#grid .cell:last-child').offsetTop > 10000")
    check(page.run("document.images.length") < 150, "a window of thumbnails at the end")
    page.key("t")
    page.wait(FILE)

    page.key("g")  # a burst at once
    page.wait("document.getElementById('together').getAttribute('aria-pressed') === 'true'")
    before = len({row["file"] for row in rows(folder)})
    members = page.run("group(current()).length")
    page.key("Enter")
    page.wait(f"{SEEN} !== ''")
    time.sleep(0.3)
    check(len({row["file"] for row in rows(folder)}) >= before + members - 3 and members > 1, "a burst at once")

    for width, height, phone in ((390, 844, True), (1280, 800, False)):
        page.size(width, height, phone)
        time.sleep(0.2)
        check(page.run("document.documentElement.scrollWidth") <= width, f"nothing is cut off at {width} px")
        check(page.run("document.getElementById('accept').getBoundingClientRect().bottom") <= height, f"the answer is in sight at {width} px")

    # A kill, and half a row as it may leave one.
    server.end(signal.SIGKILL)
    kept = rows(folder)
    page.key("Enter")
    page.wait(f"{BANNER}.includes('does not answer')")
    with open(folder / "corrections.csv", "a") as file:
        file.write("S1/00001.png,,fin")
    server = Server(folder, "Bob")
    check(rows(folder) == kept, "a kill loses no row, and half a row goes")
    page.open(server.address)
    page.wait(READY)
    seen = len({row["file"] for row in kept})
    page.wait(f"!{SEEN}.startsWith('0 ')")
    page.key("Enter")
    time.sleep(0.5)
    check(rows(folder)[-1]["reviewer"] == "Bob", "a second reviewer goes on")

    # A drawn box, with its species.
    page.wait("document.querySelector('#picture img')")
    file = page.run(FILE)
    page.key("n")
    left, top, width, height = page.run("(r => [r.left, r.top, r.width, r.height])(document.getElementById('frame').getBoundingClientRect())")
    page.mouse("mousePressed", left + 0.6 * width, top + 0.1 * height)
    for k in (0.7, 0.8):
        page.mouse("mouseMoved", left + k * width, top + (k - 0.4) * height)
    page.mouse("mouseReleased", left + 0.8 * width, top + 0.4 * height)
    page.wait("chosen === '+1'")
    page.key("2")
    page.wait("current().boxes.some(b => b.n === '+1' && b.species === 'hare')")
    drawn = {row["field"]: row["new"] for row in rows(folder) if row["file"] == file and row["box"] == "+1"}
    check(drawn["category"] == "animal" and drawn["species"] == "hare", f"a drawn hare: {drawn}")
    check(all(abs(float(a) - b) < 0.02 for a, b in zip(drawn["bbox"].split(), (0.6, 0.1, 0.2, 0.3))), f"its place: {drawn['bbox']}")
    check(page.run(FILE) == file, "drawing moves nowhere")

    before = len(rows(folder))
    page.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", windowsVirtualKeyCode=13, text="\r", autoRepeat=True)
    time.sleep(0.3)
    check(page.run(FILE) == file and len(rows(folder)) == before, "a key that is held down answers nothing")

    # A full disk: the page says so and stays, and keys that were meant for the next image are dropped.
    server.end()
    kept = (folder / "corrections.csv").read_bytes()
    server = Server(folder, "Cy", room=len(kept) + 20)
    page.open(server.address)
    page.wait(READY)
    file = page.run(FILE)
    page.run("(() => { run.Enter(); run.e(); })()")
    page.wait(f"{BANNER}.includes('is not saved')")
    time.sleep(0.3)
    check(page.run(FILE) == file, "a full disk: the page stays")
    check((folder / "corrections.csv").read_bytes() == kept, "a full disk: nothing is half written")
    check(not page.errors, f"no errors in the page: {page.errors}")
    check(server.end() == 0, "Ctrl-C is the normal end")

    # The static page, from a file.
    small = survey("small", 30)
    out = os.path.join(work, "stick.html")
    subprocess.run([tundra, "review", str(small), "--static", out, "--reviewer", "Eve", "--quiet"], check=True)
    page.open("file://" + out)
    page.wait(READY)
    for key in ("Enter", "2", "b"):
        before = page.run(FILE)
        page.key(key)
        page.wait(f"{FILE} !== {json.dumps(before)}")
    page.open("about:blank")
    page.open("file://" + out)  # the browser was closed meanwhile
    page.wait(READY)
    page.wait(f"{SEEN} === '3 of 30 seen'")
    page.key("u")
    page.wait(f"{SEEN} === '2 of 30 seen'")
    page.key("b")  # the image that came back
    page.wait(f"{SEEN} === '3 of 30 seen'")
    check(page.run(SEEN) == "3 of 30 seen", f"answers stay in the browser: {page.run(SEEN)}")
    text = page.run("source.csv()")
    saved = pathlib.Path(work, "saved.csv")
    saved.write_text(text)
    subprocess.run([tundra, "review", str(small), "--add", str(saved), "--quiet"], check=True)
    exported = rows(small)
    check(len({row["file"] for row in exported}) == 3 and all(row["reviewer"] == "Eve" for row in exported), "three images exported")
    check(any(row["field"] == "final" and row["new"] == "bad" for row in exported), "B is bad")
    server = Server(small, "Ann")
    page.open(server.address)
    page.wait(READY)
    page.wait(f"{SEEN} === '3 of 30 seen'")
    check(server.end() == 0, "the exported file opens")
    check(not page.errors, f"no errors in the static page: {page.errors}")
finally:
    page.close()
    server.process.kill()
shutil.rmtree(work, ignore_errors=True)
sys.exit(1 if failures else 0)
