#!/usr/bin/env python3
"""Losses of ResNet-50 over SGD steps in PyTorch: float32, and autocast to bf16 on the CPU.

golden_autocast.py: reads tests/golden/resnet50 and writes autocast.json there. Needs torch, torchvision, safetensors, numpy."""
import json, pathlib

import numpy
import safetensors.torch
import torch
import torchvision

STEPS, RATE, MOMENTUM, DECAY = 9, 0.004, 0.9, 1e-4
folder = pathlib.Path(__file__).resolve().parent.parent / "tests/golden/resnet50"
expected = json.loads((folder / "expected.json").read_text())
inputs = safetensors.torch.load_file(folder / "inputs.safetensors")


def generated(name, shape, scale, offset):
    key = 0xCBF29CE484222325
    for byte in f"{expected['seed']}/{name}".encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    with numpy.errstate(over="ignore"):
        z = numpy.uint64(key) + numpy.arange(1, int(numpy.prod(shape)) + 1, dtype=numpy.uint64) * numpy.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
        z = z ^ (z >> numpy.uint64(31))
    s = (2 * (z >> numpy.uint64(40)) + numpy.uint64(1)).astype(numpy.float64) / 2**24 - 1
    return torch.from_numpy((offset + scale * s).astype(numpy.float32).reshape(shape))


def losses(autocast):
    model = torchvision.models.resnet50(num_classes=expected["num_classes"])
    state = {
        name: generated(name, w["shape"], w["scale"], w["offset"])
        for name, w in expected["weights"].items()
        if "scale" in w
    }
    model.load_state_dict(state, strict=False)
    model.train()
    optimizer = torch.optim.SGD(model.parameters(), lr=RATE, momentum=MOMENTUM, weight_decay=DECAY)
    result = []
    for step in range(STEPS):
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(inputs[f"train_x{step % 3}"])
        loss = torch.nn.functional.cross_entropy(logits.float(), inputs[f"labels{step % 3}"].long())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        result.append(round(loss.item(), 6))
    return result


torch.manual_seed(0)
out = {"torch": torch.__version__, "rate": RATE, "momentum": MOMENTUM, "weight_decay": DECAY}
out |= {"fp32": losses(False), "autocast": losses(True)}
(folder / "autocast.json").write_text(json.dumps(out) + "\n")
print(out)
