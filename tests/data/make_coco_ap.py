"""Makes tests/data/coco_ap.json: random pictures with true and found boxes, and what pycocotools says about them.

    python3 -m venv V && V/bin/pip install pycocotools numpy && V/bin/python make_coco_ap.py > coco_ap.json
"""
import contextlib, io, json, random, sys

import numpy as np
from importlib.metadata import version
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval


def case(seed, pictures, classes, noise, most_found):
    r = random.Random(seed)
    images, truth, found = [], [], []
    for i in range(pictures):
        w, h = r.choice([(640, 480), (320, 240), (300, 500)])
        images.append({"id": i + 1, "width": w, "height": h})
        for _ in range(r.choice([0, 1, 1, 2, 5])):
            bw, bh = r.randint(8, w // 2), r.randint(8, h // 2)
            box = [r.randint(0, w - bw), r.randint(0, h - bh), bw, bh]
            category = r.randrange(classes)
            truth.append({"id": len(truth) + 1, "image_id": i + 1, "category_id": category, "bbox": box, "area": bw * bh, "iscrowd": 0})
            if r.random() < 0.85:  # found, more or less
                moved = [box[0] + r.gauss(0, noise * bw), box[1] + r.gauss(0, noise * bh), bw * (1 + r.gauss(0, noise)), bh * (1 + r.gauss(0, noise))]
                moved[2], moved[3] = max(2, moved[2]), max(2, moved[3])
                found.append((i + 1, category if r.random() < 0.95 else r.randrange(classes), moved, r.random() ** 0.5))
                if r.random() < 0.2:  # twice
                    found.append((i + 1, category, [v + 1 for v in moved], r.random() ** 0.5))
        for _ in range(r.randrange(most_found)):  # from nowhere, some with equal scores
            bw, bh = r.randint(8, w // 3), r.randint(8, h // 3)
            found.append((i + 1, r.randrange(classes), [r.randint(0, w - bw), r.randint(0, h - bh), bw, bh], round(r.random() * 0.6, 1)))
    return images, truth, [{"image_id": a, "category_id": b, "bbox": [round(v, 2) for v in c], "score": round(d, 3)} for a, b, c, d in found]


def judge(images, truth, found, classes):
    with contextlib.redirect_stdout(io.StringIO()):
        gt = COCO()
        gt.dataset = {"images": images, "annotations": truth, "categories": [{"id": c, "name": str(c)} for c in range(classes)]}
        gt.createIndex()
        e = COCOeval(gt, gt.loadRes([dict(f) for f in found]), "bbox")
        e.params.maxDets = [1, 10, 100]
        e.evaluate()
        e.accumulate()
        e.summarize()
    precision = e.eval["precision"][:, :, :, 0, 2]  # overlaps, recalls, classes
    known = precision > -1
    per_class = [[float(precision[t, :, c].mean()) if known[t, :, c].all() else None for t in range(10)] for c in range(classes)]
    return {"map": float(e.stats[0]), "map50": float(e.stats[1]), "map75": float(e.stats[2]), "ap": per_class}


cases = []
for seed, pictures, classes, noise, most in [(1, 12, 1, 0.05, 2), (2, 30, 3, 0.1, 4), (3, 30, 4, 0.2, 6), (4, 5, 6, 0.02, 3), (5, 6, 2, 0.1, 160)]:
    images, truth, found = case(seed, pictures, classes, noise, most)
    cases.append({"classes": classes, "images": [[i["width"], i["height"]] for i in images],
                  "truth": [[t["image_id"] - 1, t["category_id"], *t["bbox"]] for t in truth],
                  "found": [[f["image_id"] - 1, f["category_id"], *f["bbox"], f["score"]] for f in found],
                  "expected": judge(images, truth, found, classes)})
json.dump({"source": f"pycocotools {version('pycocotools')}, numpy {np.__version__}", "cases": cases}, sys.stdout, separators=(",", ":"))
