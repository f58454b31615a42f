#!/usr/bin/env python3
"""What scripts/gpu_verify.sh has of PyTorch: training and inference speed, eager and compiled, and the losses of three steps.

ResNet-50 does the work of bench/step: 8-bit images in memory, normalised in the step; cross-entropy over 1000 classes, SGD with momentum.
--yolo x6 does that of bench/step up to the heads; selecting boxes is on top there. Compiled: reduce-overhead, which records CUDA graphs.
--losses FILE makes random weights, writes them there (safetensors) and prints the losses of three steps from them, by precision.
"""
import argparse
import json
import pathlib
import statistics
import struct
import sys
import time

try:
    import torch
    import torchvision
except Exception as error:  # a broken installation is none
    print(f"PyTorch cannot be imported: {error}")
    sys.exit(77)

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("--device", default="cuda", choices=["cuda", "cpu"])
parser.add_argument("--batch", type=int, default=256)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--steps", type=int, default=50)
parser.add_argument("--inference", action="store_true")
parser.add_argument("--yolo", help="n ... x6: that network instead of ResNet-50, inference")
parser.add_argument("--pixels", default="960x1280", help="HxW of the images for --yolo")
parser.add_argument("--modes", default="eager,compile")
parser.add_argument("--precisions", default="bf16,fp16")
parser.add_argument("--warm", action="store_true", help="only fills the compiler's cache ($TORCHINDUCTOR_CACHE_DIR)")
parser.add_argument("--losses", type=pathlib.Path)
args = parser.parse_args()
height, width = map(int, args.pixels.split("x")) if args.yolo else (args.size, args.size)
args.inference |= args.yolo is not None
gpu = args.device == "cuda"
if gpu and not torch.cuda.is_available():
    print(f"PyTorch {torch.__version__} sees no GPU")
    sys.exit(77)
types = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
MEAN, DEVIATION = torch.tensor([0.485, 0.456, 0.406]) * 255, torch.tensor([0.229, 0.224, 0.225]) * 255


def bench_images(n, h, w):
    """The same bytes as bench_images() in bench/workload.cpp."""
    n_, y, x, c = torch.meshgrid(torch.arange(n), torch.arange(h), torch.arange(w), torch.arange(3), indexing="ij")
    i = torch.arange(n * h * w * 3).reshape(n, h, w, 3)
    noise = (i * 2654435761 % 2**32 >> 24) % 64
    return ((noise + (37 * n_ + 91 * c + 3 * (y // 8) * (n_ % 7 + 1) + 5 * (x // 8) * (n_ % 5 + 1)) % 192) % 256).to(torch.uint8)


def optimizer_of(model, lr):
    return torch.optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4, fused=gpu)


def normalised(x):
    return ((x.float() - MEAN.to(x.device)) / DEVIATION.to(x.device)).permute(0, 3, 1, 2)


def losses(path):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(1)
    start = torchvision.models.resnet50(zero_init_residual=True).state_dict()  # else random weights amplify rounding
    tensors = {n: t.contiguous() for n, t in start.items() if t.dtype == torch.float32}
    header, at = {}, 0
    for n, t in tensors.items():
        header[n] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + 4 * t.numel()]}
        at += 4 * t.numel()
    text = json.dumps(header).encode()
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            file.write(t.numpy().tobytes())
    x = bench_images(args.batch, height, width).to(args.device)
    y = (torch.arange(args.batch) % 1000).to(args.device)
    for name, dtype in types.items():
        if not gpu and dtype == torch.float16:
            continue  # this processor's convolutions may not know it
        model = torchvision.models.resnet50()
        model.load_state_dict(start)
        model = model.to(args.device).to(memory_format=torch.channels_last).train()
        optimizer, scaler, taken = optimizer_of(model, 0.01), torch.amp.GradScaler(args.device, enabled=dtype == torch.float16), []
        for _ in range(3):
            with torch.autocast(args.device, dtype, enabled=dtype != torch.float32):
                logits = model(normalised(x))
            loss = torch.nn.functional.cross_entropy(logits.float(), y)
            optimizer.zero_grad(set_to_none=True)
            scaler.scale(loss).backward()
            scaler.step(optimizer)
            scaler.update()
            taken.append(loss.item())
        print(f"losses of resnet50 {name} on pytorch: " + " ".join(f"{v:.6f}" for v in taken), flush=True)


def measure(mode, dtype):
    if args.yolo:
        for folder in (pathlib.Path(__file__).parent, pathlib.Path(__file__).parent.parent / "bench/compare"):
            sys.path.append(str(folder))
        from yolo_peer import Yolo
        model = Yolo(args.yolo).to(dtype)
    else:
        model = torchvision.models.resnet50()
    model = model.to(args.device).to(memory_format=torch.channels_last)
    images = torch.randint(0, 256, (args.batch, height, width, 3), dtype=torch.uint8)
    labels = torch.randint(0, 1000, (args.batch,))
    if gpu:
        images, labels = images.pin_memory(), labels.pin_memory()
    optimizer = optimizer_of(model, 0.01)
    scaler = torch.amp.GradScaler(args.device, enabled=dtype == torch.float16)
    model.train(not args.inference)

    def network(x, y):
        x = normalised(x)
        if args.yolo:
            return model.heads(x.to(dtype))
        with torch.autocast(args.device, dtype):
            logits = model(x)
        return logits.float().softmax(1) if args.inference else torch.nn.functional.cross_entropy(logits.float(), y)

    run = torch.compile(network, mode="reduce-overhead") if mode == "compile" else network

    def step():
        x, y = images.to(args.device, non_blocking=True), labels.to(args.device, non_blocking=True)
        if args.inference:
            with torch.inference_mode():
                return run(x, y)
        optimizer.zero_grad(set_to_none=True)
        loss = run(x, y)
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss

    def finish():
        if gpu:
            torch.cuda.synchronize()

    begin = time.perf_counter()
    for _ in range(3 if args.warm or not gpu else 10):
        step()
    finish()
    if args.warm:
        print(f"{mode} {dtype} in {time.perf_counter() - begin:.0f} s", flush=True)
        return
    times = []
    for _ in range(5):
        finish()
        start = time.perf_counter()
        for _ in range(max(1, args.steps // 5)):
            step()
        finish()
        times.append((time.perf_counter() - start) / max(1, args.steps // 5))
    seconds = statistics.median(times)
    print(f"pytorch {torch.__version__} {mode} {dtype} {'yolov5' + args.yolo if args.yolo else 'resnet50'} {'inference' if args.inference else 'training'} "
          f"batch {args.batch}: median {1e3 * seconds:.1f} ms (spread {max(times) / min(times):.2f}), {args.batch / seconds:.2f} images/s", flush=True)


torch.backends.cudnn.benchmark = True
if args.losses:
    losses(args.losses)
    sys.exit()
failed = False
for mode in args.modes.split(","):
    for precision in args.precisions.split(","):
        try:
            measure(mode, types[precision])
        except Exception as error:
            failed = True
            print(f"pytorch {torch.__version__} {mode} {precision}: {str(error)[:300]}", flush=True)
sys.exit(failed)
