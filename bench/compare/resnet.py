#!/usr/bin/env python3
"""ResNet-50 steps of tundra and of PyTorch, alternately, on the same work and threads: a table of ratios, and JSON.

    python3 -m venv peers && peers/bin/pip install torch torchvision onnxruntime onnx
    cmake --build build --target bench_step
    peers/bin/python bench/compare/resnet.py --tundra build/bench/step --out bench/results/NAME.json

Training: forward, cross-entropy, backward, SGD with momentum and weight decay on every parameter; 1000 classes; float32.
Both start from 8-bit pictures in memory and normalise them in the step. Before timing, one training step of both from the
same weights must give the same loss (tests/golden_resnet_test.cpp checks gradients and updates in full).
"""
import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import time

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--tundra", required=True, help="the bench binary `step`")
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--rounds", type=int, default=5)
parser.add_argument("--steps", type=int, default=6, help="per round and program")
parser.add_argument("--work", nargs="*", default=["train:64:32", "train:224:8", "infer:224:1", "infer:224:16"])
parser.add_argument("--compile", action="store_true", help="also torch.compile (needs a C++ compiler)")
parser.add_argument("--cpu-time", action="store_true", help="of every program, instead of the clock on the wall: for a machine "
                    "that others use too, with --threads 1")
parser.add_argument("--out")
args = parser.parse_args()

os.environ["OMP_NUM_THREADS"] = str(args.threads)
import torch  # noqa: E402  (after the thread count)
import torchvision  # noqa: E402

torch.set_num_threads(args.threads)
clock = time.process_time if args.cpu_time else time.perf_counter


class Torch:
    """One mode of PyTorch on one piece of work; step() returns seconds."""

    def __init__(self, kind, size, batch, channels_last, compiled):
        torch.manual_seed(0)
        self.train = kind == "train"
        model = torchvision.models.resnet50(num_classes=1000)
        self.format = torch.channels_last if channels_last else torch.contiguous_format
        self.model = model.to(memory_format=self.format).train(self.train)
        self.run = torch.compile(self.model) if compiled else self.model
        self.pictures = torch.randint(0, 256, (batch, size, size, 3), dtype=torch.uint8)
        self.labels = torch.arange(batch) % 1000
        self.optimizer = torch.optim.SGD(self.model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
        self.mean = torch.tensor([0.485, 0.456, 0.406]).view(1, 3, 1, 1) * 255
        self.std = torch.tensor([0.229, 0.224, 0.225]).view(1, 3, 1, 1) * 255

    def step(self):
        start = clock()
        x = ((self.pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std).contiguous(memory_format=self.format)
        if self.train:
            loss = torch.nn.functional.cross_entropy(self.run(x), self.labels)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()
            self.optimizer.step()
            loss.item()
        else:
            with torch.inference_mode():
                self.run(x).softmax(1).numpy()
        return clock() - start


def onnx_runtime(size, batch):
    import io

    import onnxruntime

    model = torchvision.models.resnet50(num_classes=1000).eval()
    buffer = io.BytesIO()
    torch.onnx.export(model, torch.zeros(batch, 3, size, size), buffer, opset_version=17, dynamo=False)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = args.threads
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(buffer.getvalue(), options, providers=["CPUExecutionProvider"])
    x = torch.randn(batch, 3, size, size).numpy()
    name = session.get_inputs()[0].name

    def step():
        start = clock()
        session.run(None, {name: x})
        return clock() - start

    return step


def tundra(kind, size, batch):
    command = [args.tundra, "--size", str(size), "--batch", str(batch), "--threads", str(args.threads), "--steps",
               str(args.steps), "--json"] + (["--inference"] if kind == "infer" else []) + (["--cpu-time"] if args.cpu_time else [])
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def version(package):
    import importlib.metadata
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def cpu_model():
    with open("/proc/cpuinfo") as file:
        return next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())


results = []
for work in args.work:
    kind, size, batch = work.split(":")[0], int(work.split(":")[1]), int(work.split(":")[2])
    peers = {}
    for name, channels_last, compiled in [("torch eager NCHW", False, False), ("torch eager channels_last", True, False),
                                          ("torch.compile", False, True)]:
        if compiled and not args.compile:
            continue
        peers[name] = Torch(kind, size, batch, channels_last, compiled).step
    if kind == "infer":
        peers["ONNX Runtime"] = onnx_runtime(size, batch)
    for step in peers.values():
        for _ in range(3):
            step()
    times = {name: [] for name in ["tundra", *peers]}
    facts = {}
    for _ in range(args.rounds):
        facts = tundra(kind, size, batch)
        times["tundra"] += facts["seconds"]
        for name, step in peers.items():
            times[name] += [step() for _ in range(args.steps)]
    medians = {name: statistics.median(t) for name, t in times.items()}
    row = {"work": work, "planned_bytes": facts.get("planned_bytes"), "peak_resident_bytes": facts.get("peak_resident_bytes"),
           "milliseconds": {n: round(1e3 * m, 2) for n, m in medians.items()},
           "spread": {n: [round(1e3 * q, 2) for q in statistics.quantiles(t, n=4)] for n, t in times.items()},
           "ratio": {n: round(m / medians["tundra"], 3) for n, m in medians.items() if n != "tundra"}}
    results.append(row)
    print(f"{work:14} tundra {1e3 * medians['tundra']:8.1f} ms  "
          + "  ".join(f"{n}: {1e3 * medians[n]:8.1f} ms = {row['ratio'][n]:.2f}x" for n in peers), flush=True)

if args.out:
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    with open(args.out, "w") as file:
        json.dump({"date": time.strftime("%Y-%m-%d"), "cpu": cpu_model(), "threads": args.threads,
                   "clock": "CPU time" if args.cpu_time else "wall", "commit": commit,
                   "versions": {p: version(p) for p in ["torch", "torchvision", "onnxruntime"]}, "python": sys.version.split()[0],
                   "ratio": "time of the peer / time of tundra, medians of interleaved rounds", "results": results}, file, indent=1)
