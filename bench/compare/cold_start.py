#!/usr/bin/env python3
"""`tundra classify` on one image beside ONNX Runtime in Python: whole processes from start to the written answer, in turns.

    python3 -m venv peers && peers/bin/pip install torch torchvision onnxruntime onnx pillow
    cmake --build build --target tundra bench_step
    peers/bin/python bench/compare/cold_start.py [--out bench/results/NAME.json]

ResNet-50, 1000 classes, a JPEG of 5 megapixels, the same weights. The peer's script imports numpy, Pillow and ONNX Runtime only (not
torch), decodes at half size, resizes to 256 and cuts out 224 as torchvision does. Both must give the same probabilities within 0.02
of the largest (the decoders and filters are not the same).
"""
import json
import subprocess
import sys

import common

args = common.options(__doc__)

PEER = """
import sys
import numpy, onnxruntime
from PIL import Image
image, model, out, threads = sys.argv[1:]
image = Image.open(image)
image.draft("RGB", (512, 512))  # JPEG decoded at half size, as tundra does where it is exact enough
image = image.convert("RGB")
w, h = image.size
scale = 256 / min(w, h)
image = image.resize((int(w * scale), 256) if w > h else (256, int(h * scale)), Image.BILINEAR)
w, h = image.size
left, top = round((w - 224) / 2), round((h - 224) / 2)
x = numpy.asarray(image.crop((left, top, left + 224, top + 224)))[None]
settings = onnxruntime.SessionOptions()
settings.intra_op_num_threads = int(threads)
session = onnxruntime.InferenceSession(model, settings, providers=["CPUExecutionProvider"])
p = session.run(None, {session.get_inputs()[0].name: x})[0][0]
with open(out, "w") as file:
    file.write(" ".join(map(str, p)))
"""

MAKE = """
import sys, torch, pathlib
path = sys.stdin.read()
sys.argv = ["resnet.py", "--scratch", str(pathlib.Path(path).parent), "--work"]
import resnet
state, _ = resnet.weights(False)
import torchvision
network = torchvision.models.resnet50(num_classes=1000)
network.load_state_dict(state)
torch.onnx.export(resnet.Normalised(network, True).eval(), torch.zeros(1, 224, 224, 3, dtype=torch.uint8), path, opset_version=17, dynamo=False)
"""

weights, model = args.scratch / "resnet50-infer.safetensors", args.scratch / "resnet50-1.onnx"
folder = common.camera_images(args, 1)
image = next(folder.glob("*.jpg"))
if not (weights.exists() and model.exists()):
    subprocess.run([sys.executable, "-c", MAKE], input=str(model), text=True, check=True, cwd=common.ROOT / "bench/compare")
script = args.scratch / "cold_start_peer.py"
script.write_text(PEER)
ours_out, theirs_out = args.scratch / "cold.jsonl", args.scratch / "cold.txt"


def ours():
    subprocess.run([args.build / "tundra", "classify", image, "--model", weights, "--out", ours_out, "--threads", str(args.threads), "--quiet"],
                   check=True)


def theirs():
    subprocess.run([sys.executable, script, image, model, theirs_out, str(args.threads)], check=True)


ours(), theirs()
probabilities = list(json.loads(ours_out.read_text())["probabilities"].values())
check = common.check("probabilities", probabilities, [float(v) for v in theirs_out.read_text().split()], 0.02)
row = {"row": "cold start, classify one picture", "command": "bench/compare/cold_start.py", "checks": [check]}
row |= common.in_turns(args, {"tundra": common.repeat(ours), "ONNX Runtime in Python": common.repeat(theirs)}, 1, warm=1)
common.report(args, row)
