#!/usr/bin/env python3
"""Peak resident memory of training steps, tundra beside PyTorch, each in a process of its own.

    peers/bin/python bench/compare/memory.py --tundra build/bench/step [--size 224] [--batch 32]

The interpreter with its libraries, before the model is made, is printed beside PyTorch's peak.
"""
import argparse
import json
import os
import subprocess
import sys

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tundra", required=True)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--batch", type=int, default=32)
parser.add_argument("--steps", type=int, default=2)
parser.add_argument("--threads", type=int, default=2)
args = parser.parse_args()

PEER = """
import json, os, resource, torch, torchvision
size, batch, steps, threads, last = json.loads(os.environ['NUMBERS'])
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
before = peak()
torch.set_num_threads(threads)
form = torch.channels_last if last else torch.contiguous_format
model = torchvision.models.resnet50().to(memory_format=form)
optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
for _ in range(steps):
    x = torch.randn(batch, 3, size, size).contiguous(memory_format=form)
    loss = torch.nn.functional.cross_entropy(model(x), torch.arange(batch))
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()
print(before, peak())
"""


def torch_peak(channels_last):
    numbers = [args.size, args.batch, args.steps, args.threads, int(channels_last)]
    out = subprocess.run([sys.executable, "-c", PEER], check=True, stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "NUMBERS": json.dumps(numbers)}).stdout
    return [int(n) for n in out.split()]


out = subprocess.run([args.tundra, "--size", str(args.size), "--batch", str(args.batch), "--threads", str(args.threads),
                      "--steps", str(args.steps), "--json"], check=True, capture_output=True, text=True).stdout
facts = json.loads(out)
result = {"work": f"train:{args.size}:{args.batch}", "tundra": facts["peak_resident_bytes"],
          "tundra planned": facts["planned_bytes"]}
for name, last in [("torch eager NCHW", False), ("torch eager channels_last", True)]:
    before, result[name] = torch_peak(last)
    result["of which interpreter and libraries"] = before
best = min(result["torch eager NCHW"], result["torch eager channels_last"])
result["ratio"] = round(result["tundra"] / best, 3)
print(json.dumps(result, indent=1))
