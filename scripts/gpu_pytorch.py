#!/usr/bin/env python3
"""PyTorch on a GPU, eager and compiled (max-autotune, which records CUDA graphs), bf16 and fp16, channels_last: one RESULT line of JSON per way.

ResNet-50 does the work of bench/step: 8-bit images in memory, normalised in the step; cross-entropy over 1000 classes, SGD with momentum.
--yolo x6 does that of bench/step up to the heads; selecting boxes is on top there.
"""
import argparse
import json
import pathlib
import statistics
import sys
import time

import torch
import torchvision

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--inference", action="store_true")
parser.add_argument("--yolo", help="n ... x6: that network instead of ResNet-50, inference")
parser.add_argument("--pixels", default="960x1280", help="HxW of the images for --yolo")
parser.add_argument("--modes", default="eager,compile")
args = parser.parse_args()
height, width = map(int, args.pixels.split("x")) if args.yolo else (args.size, args.size)
args.inference |= args.yolo is not None
torch.backends.cudnn.benchmark = True


def measure(mode, dtype):
    if args.yolo:
        sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / "bench/compare"))
        from yolo_peer import Yolo
        model = Yolo(args.yolo).to(dtype)
    else:
        model = torchvision.models.resnet50()
    model = model.cuda().to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (args.batch, height, width, 3), dtype=torch.uint8).pin_memory()
    labels = torch.randint(0, 1000, (args.batch,)).pin_memory()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    scaler = torch.amp.GradScaler("cuda", enabled=dtype == torch.float16)
    mean, scale = torch.tensor([123.7, 116.3, 103.5], device="cuda"), torch.tensor([58.4, 57.1, 57.4], device="cuda")
    model.train(not args.inference)

    def network(x, y):
        x = ((x.float() - mean) / scale).permute(0, 3, 1, 2)
        if args.yolo:
            return model.heads(x.to(dtype))
        with torch.autocast("cuda", dtype):
            logits = model(x)
        return logits.float().softmax(1) if args.inference else torch.nn.functional.cross_entropy(logits.float(), y)

    run = torch.compile(network, mode="max-autotune") if mode == "compile" else network

    def step():
        x, y = images.cuda(non_blocking=True), labels.cuda(non_blocking=True)
        if args.inference:
            with torch.inference_mode():
                return run(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss = run(x, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    for _ in range(10):
        step()
    times = []
    for _ in range(5):
        torch.cuda.synchronize()
        start = time.perf_counter()
        for _ in range(max(1, args.steps // 5)):
            step()
        torch.cuda.synchronize()
        times.append((time.perf_counter() - start) / max(1, args.steps // 5))
    seconds = statistics.median(times)
    print("RESULT " + json.dumps({"peer": "pytorch " + torch.__version__, "network": "yolov5" + args.yolo if args.yolo else "resnet50", "mode": mode, "dtype": str(dtype), "batch": args.batch,
                                  "inference": args.inference, "images_per_second": args.batch / seconds, "ms": 1e3 * seconds,
                                  "spread": max(times) / min(times)}), flush=True)


for mode in args.modes.split(","):
    for dtype in (torch.bfloat16, torch.float16):
        try:
            measure(mode, dtype)
        except Exception as error:
            print("RESULT " + json.dumps({"peer": "pytorch", "mode": mode, "dtype": str(dtype), "error": str(error)[:300]}), flush=True)
