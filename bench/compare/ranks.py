#!/usr/bin/env python3
"""Training with several ranks beside one process and beside PyTorch's DistributedDataParallel (gloo), in turns.

    peers/bin/python bench/compare/ranks.py [--size 64 --batch 32 --steps 30] [--out bench/results/NAME.json]

ResNet-50, float32, SGD with momentum, the batch shared by the ranks. A turn is a whole run of each program; its figure is the
median time of a step without the first five. Tundra's steps include reading, resizing and augmenting images; PyTorch's take the
same random batch from memory every time. DDP runs with its own buckets, eager, in the faster of its two memory formats.
"""
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time

import common

CHILD = "TUNDRA_DDP"


def ddp():
    import torch
    import torchvision
    size, batch, steps, last = (int(x) for x in os.environ[CHILD].split())
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo")
    ranks = torch.distributed.get_world_size()
    torch.manual_seed(0)
    form = torch.channels_last if last else torch.contiguous_format
    model = torchvision.models.resnet50(num_classes=2).to(memory_format=form)
    model = torch.nn.parallel.DistributedDataParallel(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4)
    images = torch.randn(batch // ranks, 3, size, size).to(memory_format=form)
    labels = torch.arange(batch // ranks) % 2
    times = []
    for _ in range(steps):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(model(images), labels).backward()
        optimizer.step()
        times.append(time.perf_counter() - start)
    if torch.distributed.get_rank() == 0:
        print(statistics.median(times[5:]))
    torch.distributed.destroy_process_group()


if os.environ.get(CHILD):
    ddp()
    sys.exit()

args = common.options(__doc__, size=64, batch=32, steps=30)
os.environ |= {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}
os.environ.pop("OMP_NUM_THREADS")
tundra = args.build / "tundra"
data = args.scratch / f"ranks-{args.size}-{args.batch}-{args.steps}"
if not data.exists():
    subprocess.run([tundra, "synth", data, "--images", str(args.batch * args.steps * 11 // 10), "--size", f"{args.size}x{args.size}", "-q"],
                   check=True, stdout=subprocess.DEVNULL)


def ours(ranks, threads):
    with tempfile.TemporaryDirectory() as folder:
        launch = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks)] if ranks > 1 else []
        command = [tundra, "train", data, "--out", f"{folder}/run", "--image-size", str(args.size), "--batch", str(args.batch), "--epochs", "1",
                   "--threads", str(threads), "--device", "cpu", "-q", "--validation", "0.02", "--test", "0"]
        subprocess.run(launch + command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        steps = [json.loads(line) for line in open(f"{folder}/run/log.jsonl")]
        steps = [s for s in steps if "rate" in s][5:]
        if ranks > 1:
            waited.append(statistics.median(s["waited"] for s in steps))
        return statistics.median(s["seconds"] for s in steps)


def theirs(last):
    environment = os.environ | {CHILD: f"{args.size} {args.batch} {args.steps} {last}", "OMP_NUM_THREADS": "1"}
    run = subprocess.run([sys.executable, "-m", "torch.distributed.run", "--nproc-per-node=2", __file__], env=environment, check=True,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return float(run.stdout.split()[-1])


waited = []
programs = {"tundra, 2 ranks x 1 thread": lambda: ours(2, 1), "tundra, 1 process x 2 threads": lambda: ours(1, 2),
            "tundra, 1 process x 1 thread": lambda: ours(1, 1), "torch DDP (gloo), 2 ranks x 1 thread": lambda: theirs(0),
            "torch DDP (gloo), channels_last": lambda: theirs(1)}
seconds = {name: [] for name in programs}
for _ in range(args.rounds):
    for name, run in programs.items():
        seconds[name].append(run())
        print(f"{name:38} {seconds[name][-1]:.3f} s a step", flush=True)
best = seconds["tundra, 2 ranks x 1 thread"]
for name, times in seconds.items():
    print(f"{name:38} median {statistics.median(times):.3f} s, {statistics.median(t / b for t, b in zip(times, best)):.2f} times the two ranks")
print(f"sums that nothing hid: {1e3 * statistics.median(waited):.0f} ms a step")
if args.out:
    args.out.write_text(json.dumps({"machine": common.machine(args), "size": args.size, "batch": args.batch, "seconds": seconds,
                                    "waited": waited}, indent=1) + "\n")
