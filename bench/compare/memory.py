#!/usr/bin/env python3
"""Peak resident memory of training steps, Tundra beside PyTorch, each in a process of its own, by turns.

    python3 -m venv peers && peers/bin/pip install torch torchvision
    cmake --build build --target tundra bench_step
    peers/bin/python bench/compare/memory.py [--size 224] [--batch 32] [--out bench/results/NAME.json]

PyTorch's peak holds its interpreter and libraries, as a user's does; what those take before a model is made stands beside it.
That both compute the same is checked by resnet.py on the same steps.
"""
import json
import os
import statistics
import subprocess
import sys

import common

args = common.options(__doc__, size=224, batch=32)

PEER = """
import json, os, resource, torch, torchvision
size, batch, threads, last = json.loads(os.environ['NUMBERS'])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
torch.set_num_threads(threads)
form = torch.channels_last if last else torch.contiguous_format
model = torchvision.models.resnet50().to(memory_format=form)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
for _ in range(2):
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=form)
    loss = torch.nn.functional.cross_entropy(model(x), torch.arange(batch))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
print(before, peak())
"""


def torch_peak(channels_last):
    numbers = [args.size, args.batch, args.threads, int(channels_last)]
    out = subprocess.run([sys.executable, "-c", PEER], check=True, stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "NUMBERS": json.dumps(numbers)}).stdout
    return [int(n) for n in out.split()]


peaks = {"tundra": [], "torch eager NCHW": [], "torch eager channels_last": []}
for _ in range(2):
    tundra = common.Tundra(args, "--size", args.size, "--batch", args.batch)
    peaks["tundra"].append(tundra.ask("run 2") and tundra.ask("run 0")["peak_resident_bytes"])
    tundra.close()
    for name, last in [("torch eager NCHW", False), ("torch eager channels_last", True)]:
        before, peak = torch_peak(last)
        peaks[name].append(peak)
medians = {n: statistics.median(p) for n, p in peaks.items()}
row = {"row": f"memory train:{args.size}:{args.batch}", "command": f"bench/compare/memory.py --size {args.size} --batch {args.batch}",
       "peak_resident_bytes": peaks, "torch_before_the_model_bytes": before, "images": args.batch,
       "ratio": {n: {"median": m / medians["tundra"], "low": min(peaks[n]) / max(peaks["tundra"]), "high": max(peaks[n]) / min(peaks["tundra"])}
                 for n, m in medians.items() if n != "tundra"}}
common.report(args, row)
