#!/usr/bin/env python3
"""YOLOv5 inference of Tundra beside ONNX Runtime and PyTorch: same network, same size, same threads, runs in turns.

    python3 bench/compare/detect_peer.py build/bench/detect --size s --pixels 640x640 [--threads 2] [--rounds 5] [--out FILE.json]

Needs torch, onnx, onnxruntime and numpy in the environment that runs it. The network is built here from its description (models/yolov5.h),
with random weights: speed does not depend on them. That both compute the same is the business of tests/golden_yolo_test.cpp.
The peers run up to the heads; Tundra's time holds the normalisation of pixels, decoding and selection of boxes too.
"""
import argparse
import io
import json
import math
import statistics
import subprocess
import time

import numpy as np
import onnxruntime
import torch
from torch import nn
from torch.nn import functional as F

WIDTHS = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1, 1), "x": (1.33, 1.25)}


class ConvSilu(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, 2 if kernel == 6 else kernel // 2)

    def forward(self, x):
        return F.silu(self.conv(x))


class C3(nn.Module):
    def __init__(self, c_in, c_out, repeats, add):
        super().__init__()
        hidden = c_out // 2
        self.add = add
        self.left, self.right, self.join = ConvSilu(c_in, hidden), ConvSilu(c_in, hidden), ConvSilu(2 * hidden, c_out)
        self.blocks = nn.ModuleList(nn.Sequential(ConvSilu(hidden, hidden), ConvSilu(hidden, hidden, 3)) for _ in range(repeats))

    def forward(self, x):
        a = self.left(x)
        for block in self.blocks:
            a = a + block(a) if self.add else block(a)
        return self.join(torch.cat((a, self.right(x)), 1))


class Pools(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.first, self.last = ConvSilu(c, c // 2), ConvSilu(2 * c, c)

    def forward(self, x):
        parts = [self.first(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.last(torch.cat(parts, 1))


class Yolo(nn.Module):
    def __init__(self, size, classes=3):
        super().__init__()
        depth, width = WIDTHS[size[0]]
        p6 = size.endswith("6")
        c = [math.ceil(n * width / 8) * 8 for n in ([64, 128, 256, 512, 768, 1024] if p6 else [64, 128, 256, 512, 1024])]
        n = [max(1, round(k * depth)) for k in ([3, 6, 9, 3, 3] if p6 else [3, 6, 9, 3])]
        last = len(c) - 1
        self.stem = ConvSilu(3, c[0], 6, 2)
        self.stages = nn.ModuleList(
            nn.Sequential(ConvSilu(c[s - 1], c[s], 3, 2), C3(c[s], c[s], n[s - 1], True), *([Pools(c[s])] if s == last else []))
            for s in range(1, last + 1))
        down = range(last - 1, 1, -1)
        self.laterals = nn.ModuleList(ConvSilu(c[s + 1], c[s]) for s in down)
        self.down = nn.ModuleList(C3(2 * c[s], c[s], n[0], False) for s in down)
        self.strides = nn.ModuleList(ConvSilu(c[s], c[s], 3, 2) for s in range(2, last))
        self.up = nn.ModuleList(C3(2 * c[s], c[s + 1], n[0], False) for s in range(2, last))
        self.heads = nn.ModuleList(nn.Conv2d(c[s], 3 * (5 + classes), 1) for s in range(2, last + 1))

    def forward(self, x):
        x = self.stem(x)
        features = []
        for stage in self.stages:
            x = stage(x)
            features.append(x)
        features, kept = features[1:-1], []
        for lateral, block in zip(self.laterals, self.down):
            kept.append(lateral(x))
            x = block(torch.cat((F.interpolate(kept[-1], scale_factor=2.0, mode="nearest"), features.pop()), 1))
        outputs = [x]
        for stride, block in zip(self.strides, self.up):
            x = block(torch.cat((stride(x), kept.pop()), 1))
            outputs.append(x)
        return tuple(head(y) for head, y in zip(self.heads, outputs))


def timed(run, count):
    seconds = []
    for _ in range(count):
        start = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - start)
    return seconds


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("tundra", help="the program bench/detect")
    parser.add_argument("--size", default="s")
    parser.add_argument("--pixels", default="640x640", help="HxW")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--runs", type=int, default=4, help="pictures per round and engine")
    parser.add_argument("--out")
    options = parser.parse_args()
    h, w = map(int, options.pixels.split("x"))
    torch.set_num_threads(options.threads)
    torch.manual_seed(1)
    model = Yolo(options.size).eval()
    x = torch.rand(1, 3, h, w)
    onnx_file = io.BytesIO()
    with torch.inference_mode():
        torch.onnx.export(model, (x,), onnx_file, opset_version=17, dynamo=False)
        last = model.to(memory_format=torch.channels_last), x.to(memory_format=torch.channels_last)
        settings = onnxruntime.SessionOptions()
        settings.intra_op_num_threads = options.threads
        session = onnxruntime.InferenceSession(onnx_file.getvalue(), settings, providers=["CPUExecutionProvider"])
        feed = {session.get_inputs()[0].name: x.numpy()}
        difference = max(float(np.abs(a - b.numpy()).max()) for a, b in zip(session.run(None, feed), last[0](last[1])))
        assert difference < 1e-3, difference
        seconds = {"tundra": [], "onnxruntime": [], "torch channels_last": []}
        for _ in range(options.rounds):
            out = subprocess.run([options.tundra, "--size", options.size, "--pixels", options.pixels, "--threads", str(options.threads),
                                  "--runs", str(options.runs)], check=True, capture_output=True, text=True).stdout
            seconds["tundra"].append(json.loads(out)["median_s"])
            seconds["onnxruntime"].append(statistics.median(timed(lambda: session.run(None, feed), options.runs)))
            seconds["torch channels_last"].append(statistics.median(timed(lambda: last[0](last[1]), options.runs)))
    result = {"model": "yolov5" + options.size, "h": h, "w": w, "threads": options.threads, "rounds": options.rounds,
              "versions": {"torch": torch.__version__, "onnxruntime": onnxruntime.__version__}, "seconds": seconds}
    ours = statistics.median(seconds["tundra"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        result[name] = {"median_s": middle, "tundra_is_faster": middle / ours}
        print(f"{name:22} {middle:8.3f} s  ({min(values):.3f} to {max(values):.3f})   tundra {middle / ours:.2f}x")
    if options.out:
        with open(options.out, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
