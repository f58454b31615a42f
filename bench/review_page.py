"""The page of `tundra review` with many images, in a headless Chromium: seconds until the address is printed, until the
first image shows, and for moves to the next image.
usage: review_page.py BINARY FOLDER [IMAGES [JPEG]]   (FOLDER is created; every image is a link to JPEG, or to one of synth's)"""
import csv, json, os, pathlib, random, shutil, signal, statistics, subprocess, sys, time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "tests"))
import chromium

tundra, folder = os.path.abspath(sys.argv[1]), pathlib.Path(sys.argv[2])
count = int(sys.argv[3]) if len(sys.argv) > 3 else 200_000
images = folder / "images"
images.mkdir(parents=True)
if len(sys.argv) > 4:
    shutil.copy(sys.argv[4], folder / "one.jpg")
else:  # five megapixels, as cameras take
    subprocess.run([tundra, "synth", str(folder / "shots"), "--images", "12", "--size", "2592x1944", "--quiet"], check=True,
                   stdout=subprocess.DEVNULL)
    shutil.copy(sorted((folder / "shots").rglob("*.jp*g"))[0], folder / "one.jpg")
draw, results = random.Random(1), []
with open(folder / "images.csv", "w", newline="") as table:
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow("file,site,camera,date,sequence,quality,quality_score,animal,person,vehicle,repeated,species,counts,scores,"
                    "before_vote,final,reviewed,review,problem".split(","))
    for i in range(count):
        site, animal, score = f"S{i * 40 // count:02}", draw.random() < 0.4, round(draw.uniform(0.3, 1), 3)
        if i % 1000 == 0:
            (images / site / f"{i // 1000:04}").mkdir(parents=True, exist_ok=True)
        file = f"{site}/{i // 1000:04}/IMG_{i:06}.JPG"
        (images / file).parent.mkdir(parents=True, exist_ok=True)
        os.symlink(folder.absolute() / "one.jpg", images / file)
        boxes = [{"category": "1", "conf": round(draw.uniform(0.2, 0.99), 3), "bbox": [0.2, 0.3, 0.2, 0.2],
                  "classifications": [[str(k), round(score / (k + 1), 3)] for k in range(5)]}] if animal else []
        boxes += [{"category": "1", "conf": round(draw.uniform(0.005, 0.2), 3), "bbox": [0.1, 0.1, 0.1, 0.1]} for _ in range(2)]
        results.append({"file": file, "detections": boxes})
        writer.writerow([file, site, "c1", "2026-07-01 08:00:00", f"{site}/{i // 1000:04}/IMG_{i - i % 3:06}.JPG", "good",
                         round(draw.random() ** 6, 4), int(animal), 0, 0, 0, "fox" if animal else "", 1 if animal else "",
                         score if animal else "", "", "animal" if animal else "empty", "",
                         "animal" if animal else "sample" if draw.random() < 0.1 else "", ""])
with open(folder / "results.json", "w") as out:
    json.dump({"info": {"format_version": "1.6"}, "detection_categories": {"1": "animal", "2": "person", "3": "vehicle"},
               "classification_categories": {str(k): f"species {k}" for k in range(5)}, "images": results}, out, indent=1)
(folder / "survey.json").write_text(json.dumps({"base": str(images.absolute()), "table": {"box_threshold": 0.2}}))
print(f"{count} images, {os.path.getsize(folder / 'results.json') / 1e6:.0f} MB results.json, "
      f"{os.path.getsize(folder / 'images.csv') / 1e6:.0f} MB images.csv")

page = chromium.Page()
begin = time.time()
server = subprocess.Popen([tundra, "review", str(folder), "--quiet"], stdout=subprocess.PIPE, text=True)
address = server.stdout.readline().strip()
print(f"until the address is printed {time.time() - begin:.2f} s, "
      f"{int(open(f'/proc/{server.pid}/status').read().split('VmRSS:')[1].split()[0]) / 1e3:.0f} MB")
try:
    page.open(address)
    page.wait("performance.getEntriesByName('shown').length")
    print(f"first image shown {page.run('performance.getEntriesByName(`shown`)[0].startTime'):.0f} ms after the page was opened")
    page.wait("performance.getEntriesByName('ready').length")
    for name, key, measure in (("moves to the next image", "ArrowRight", "move"), ("answers (on the disk) and moves", "Enter", "answer")):
        time.sleep(2)
        page.run("performance.clearMeasures()")
        for _ in range(40):
            before = page.run("document.querySelector('#facts .file').textContent")
            page.key(key)
            page.wait(f"document.querySelector('#facts .file').textContent !== {json.dumps(before)}")
            time.sleep(0.4)  # an expert's pace
        times = sorted(page.run(f"performance.getEntriesByName('{measure}').map(m => m.duration)"))
        print(f"{name}: median {statistics.median(times):.1f} ms, 95 % {times[int(0.95 * len(times))]:.1f} ms, "
              f"largest {times[-1]:.1f} ms of {len(times)}")
    start = time.time()
    page.run("(async () => { document.getElementById('f-species').value = 'fox'; await act(load); })()")
    print(f"another filter {1000 * (time.time() - start):.0f} ms")
finally:
    page.close()
    server.send_signal(signal.SIGINT)
    server.wait()
