#!/usr/bin/env python3
"""A folder of 5-megapixel JPEG files to MegaDetector's JSON: `tundra detect` beside the package megadetector, in turns.

    python3 -m venv peers   # and what the head of bench/compare/common.py names for this script
    cmake --build build --target tundra
    peers/bin/python bench/compare/end_to_end.py [--size x6] [--images 6] [--out bench/results/NAME.json]

Both read the same .pt file, made here with random weights out of the yolov5 package's own classes (as MegaDetector v5 is made); whole
processes, batch 1. The peer runs as its documentation starts it, and with a queue for reading images. The two result files must agree
on every detection from 0.1 on: confidences within 0.005 as in MegaDetector's own tests, coordinates within 0.002 (theirs: 0.001; random
weights amplify rounding, and the largest anchors with it: 0.0016 was seen with x6).
"""
import json
import os
import pathlib
import subprocess
import sys

import common

args = common.options(__doc__, size="x6", images=6)
os.environ["YOLO_AUTOINSTALL"] = "false"
if not args.size.endswith("6"):
    sys.exit("end_to_end.py: --size must be n6 ... x6; MegaDetector pads the smaller networks' images by rules of its own")

MAKE = """
import sys, torch, yaml, pathlib, yolov5
from yolov5.models.yolo import Model
size, folder, out = sys.argv[1:]
root = pathlib.Path(yolov5.__file__).parent / "models"
torch.manual_seed(1)
model = Model(str(next(root.rglob(f"yolov5{size}.yaml"))), ch=3, nc=3)
model.names = ["animal", "person", "vehicle"]
from PIL import Image
import cv2
import numpy
def images(side):
    files = sorted(pathlib.Path(folder).glob("*.jpg"))
    x = numpy.stack([cv2.resize(numpy.asarray(Image.open(p)), (side, side * 3 // 4)) for p in files])
    return torch.from_numpy(x).permute(0, 3, 1, 2).float() / 255
side = 1280
for m in model.modules():
    if isinstance(m, torch.nn.BatchNorm2d):
        m.reset_running_stats()  # its constructor ran on zeros
        m.momentum = None
        torch.nn.init.constant_(m.weight, 0.3)  # silu is nearly linear there: random layers do not blow up rounding as they would
with torch.no_grad():  # all images: on one unlike them the scores would all be 1, and who is among the best 300 a matter of rounding
    heads = model.train()(images(side))  # statistics of real activations
    detect = model.model[-1]
    for m, y in zip(detect.m, heads):
        m.weight /= 2 * y.std()
        m.bias.zero_()
    scores = torch.cat([y[..., 4].flatten() for y in model.eval()(images(side))[1]])
    for m in detect.m:  # few boxes, as on real images
        m.bias.view(3, -1)[:, 4] -= scores.sort(descending=True).values[40] + 1
torch.save({"epoch": -1, "model": model.eval()}, out)
"""

folder = common.camera_images(args, args.images)
weights = args.scratch / f"md-yolov5{args.size}.pt"
if not weights.exists():
    subprocess.run([sys.executable, "-c", MAKE, args.size, folder, weights], check=True)
side = "1280"
ours_out, theirs_out = args.scratch / "ours.json", args.scratch / "theirs.json"


def ours():
    ours_out.unlink(missing_ok=True)
    subprocess.run([args.build / "tundra", "detect", folder, "--out", ours_out, "--model", weights, "--image-size", side,
                    "--threads", str(args.threads), "--quiet"], check=True)


def theirs(*extra):
    theirs_out.unlink(missing_ok=True)
    done = subprocess.run([sys.executable, "-m", "megadetector.detection.run_detector_batch", weights, folder, theirs_out, "--recursive",
                           "--output_relative_filenames", "--image_size", side, "--quiet", *extra], capture_output=True, text=True)
    if done.returncode or not theirs_out.exists():
        sys.exit(f"megadetector failed:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")


def pairs(ours, theirs):
    """Each detection from 0.1 on has a partner of its class in the other file; the largest differences."""
    def of(path):
        return {e["file"]: e["detections"] for e in json.loads(pathlib.Path(path).read_text())["images"]}
    ours, theirs = of(ours), of(theirs)
    if ours.keys() != theirs.keys():
        sys.exit("the two result files are not about the same images")
    worst, count = [0.0, 0.0], 0
    for name in ours:
        for these, others in ((ours[name], theirs[name]), (theirs[name], ours[name])):
            for d in these:
                if d["conf"] < 0.1:
                    continue
                count += 1
                best = min(((max(abs(a - b) for a, b in zip(d["bbox"], o["bbox"])), abs(d["conf"] - o["conf"]))
                            for o in others if o["category"] == d["category"]), default=(1.0, 1.0))
                worst = [max(worst[0], best[1]), max(worst[1], best[0])]
    check = {"what": "detections from 0.1 on", "detections": count // 2, "confidence_difference": worst[0], "coordinate_difference": worst[1]}
    if count == 0 or worst[0] > 0.005 or worst[1] > 0.002:
        sys.exit(f"the result files do not agree: {check}")
    return check


ours(), theirs()
check = pairs(ours_out, theirs_out)
print(check, flush=True)
row = {"row": f"end to end, {args.images} JPEG of 5 MP, yolov5{args.size}", "command": f"bench/compare/end_to_end.py --size {args.size} --images {args.images}",
       "checks": [check]}
row |= common.in_turns(args, {"tundra": common.repeat(ours), "megadetector": common.repeat(theirs),
                              "megadetector, queue": common.repeat(lambda: theirs("--use_image_queue"))}, args.images, warm=0)
common.report(args, row)
