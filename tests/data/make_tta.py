#!/usr/bin/env python3
"""Makes tests/data/tta.json: augmented inference of the networks in tests/golden/yolo and yolo11, computed by PyTorch.

    python3 tests/data/make_tta.py [GOLDEN [OUT]]

Needs torch and numpy. The pickled modules are loaded as empty shells (their classes are not needed) and run by type from the descriptions in
models/yolov5.h and models/anchor_free.h; the augmentation follows predict/detector.h. Float64 throughout: tests allow what float32 rounding makes of it.
"""
import json
import math
import pickle
import struct
import sys
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

SHELLS = {}


class Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if module.startswith("dill"):
            return lambda name: set
        if module.split(".")[0] in ("models", "utils", "yolov5", "ultralytics"):
            return SHELLS.setdefault(name, type(name, (torch.nn.Module,), {}))
        return super().find_class(module, name)


class Shells:  # what torch.load wants of a pickle module
    Unpickler = Unpickler
    load = staticmethod(lambda file, **options: Unpickler(file, **options).load())


def attention(layer, x):
    n, c, h, w = x.shape
    heads = max(c // 64, 1)
    value, key = c // heads, c // heads // 2
    q, k, v = run(layer.qkv, x).view(n, heads, 2 * key + value, h * w).split((key, key, value), 2)
    scores = torch.softmax(torch.einsum("nhki,nhkj->nhij", q, k) / math.sqrt(key), 3)
    y = torch.einsum("nhij,nhcj->nhci", scores, v).reshape(n, c, h, w)
    return run(layer.proj, y + run(layer.pe, v.reshape(n, c, h, w)))


def run(layer, x):
    kind = type(layer).__name__
    if kind in ("Conv", "DWConv"):
        y = layer.bn(layer.conv(x))
        return y if type(getattr(layer, "act", None)).__name__ == "Identity" else F.silu(y)
    if kind in ("RepConv", "RepConvN"):
        return F.silu(sum(part.bn(part.conv(x)) for part in (layer.conv1, layer.conv2)))
    if kind in ("Sequential", "Conv2d"):
        for part in layer if kind == "Sequential" else ():
            x = run(part, x)
        return layer(x) if kind == "Conv2d" else x
    if kind in ("Bottleneck", "RepBottleneck", "RepNBottleneck"):
        y = run(layer.cv2, run(layer.cv1, x))
        return x + y if layer.add else y
    if kind in ("C3", "C3k", "RepCSP", "RepNCSP"):
        a = run(layer.cv1, x)
        for block in layer.m:
            a = run(block, a)
        return run(layer.cv3, torch.cat((a, run(layer.cv2, x)), 1))
    if kind == "C3k2":
        parts = list(run(layer.cv1, x).chunk(2, 1))
        for block in layer.m:
            parts.append(run(block, parts[-1]))
        return run(layer.cv2, torch.cat(parts, 1))
    if kind == "RepNCSPELAN4":
        parts = list(run(layer.cv1, x).chunk(2, 1))
        for branch in (layer.cv2, layer.cv3):
            parts.append(run(branch, parts[-1]))
        return run(layer.cv4, torch.cat(parts, 1))
    if kind == "ADown":
        a, b = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return torch.cat((run(layer.cv1, a), run(layer.cv2, F.max_pool2d(b, 3, 2, 1))), 1)
    if kind == "C2PSA":
        a, b = run(layer.cv1, x).chunk(2, 1)
        for block in layer.m:
            b = b + attention(block.attn, b)
            b = b + run(block.ffn, b)
        return run(layer.cv2, torch.cat((a, b), 1))
    if kind in ("SPPF", "SPPELAN"):
        parts = [run(layer.cv1, x)]
        k = layer.m.kernel_size if kind == "SPPF" else 5
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], k, 1, k // 2))
        return run(layer.cv2 if kind == "SPPF" else layer.cv5, torch.cat(parts, 1))
    if kind == "Upsample":
        return F.interpolate(x, scale_factor=2.0, mode="nearest")
    if kind == "Concat":
        return torch.cat(x, 1)
    raise ValueError(kind)


def distances(box, score, stride):
    """(1, 64, h, w) and (1, classes, h, w) -> (rows, 5 + classes)."""
    _, classes, h, w = score.shape
    sides = torch.einsum("sbp,b->sp", torch.softmax(box.view(4, 16, h * w), 1), torch.arange(16.0))
    rows, columns = torch.meshgrid(torch.arange(h) + 0.5, torch.arange(w) + 0.5, indexing="ij")
    x = columns.reshape(-1) + (sides[2] - sides[0]) / 2
    y = rows.reshape(-1) + (sides[3] - sides[1]) / 2
    values = [x, y, sides[0] + sides[2], sides[1] + sides[3]]
    return torch.stack([v * stride for v in values] + [torch.ones_like(x)] + list(torch.sigmoid(score.view(classes, -1))), 1)


def predict(model, x):
    """(1, 3, h, w) -> list of (rows, 5 + classes) per level."""
    outputs = []
    layers = list(model.model)
    for layer in layers[:-1]:
        source = [layer.f] if isinstance(layer.f, int) else layer.f
        inputs = [(outputs[i] if i != -1 else outputs[-1]) if outputs else x for i in source]
        outputs.append(run(layer, inputs[0] if len(inputs) == 1 else inputs))
    detect, levels = layers[-1], []
    for i, source in enumerate(detect.f):
        if not hasattr(detect, "m"):
            levels.append(distances(run(detect.cv2[i], outputs[source]), run(detect.cv3[i], outputs[source]), float(detect.stride[i])))
            continue
        y = torch.sigmoid(detect.m[i](outputs[source]))
        _, channels, h, w = y.shape
        y = y.view(3, channels // 3, h, w).permute(0, 2, 3, 1).clone()
        stride = float(detect.stride[i])
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        y[..., 0] = (2 * y[..., 0] - 0.5 + columns) * stride
        y[..., 1] = (2 * y[..., 1] - 0.5 + rows) * stride
        y[..., 2:4] = (2 * y[..., 2:4]) ** 2 * (detect.anchors[i] * stride).view(3, 1, 1, 2)
        levels.append(y.reshape(-1, y.shape[-1]))
    return levels


def augmented(model, x):
    stride = int(max(model.model[-1].stride))
    h, w = x.shape[2:]
    union = []
    for scale, mirrored in ((1, False), (0.83, True), (0.67, False)):
        view = x.flip(3) if mirrored else x
        if scale != 1:
            inner = int(h * scale), int(w * scale)
            view = F.interpolate(view, size=inner, mode="bilinear", align_corners=False)
            frame = [math.ceil(side * scale / stride) * stride for side in (h, w)]
            view = F.pad(view, (0, frame[1] - inner[1], 0, frame[0] - inner[0]), value=0.447)
        levels = predict(model, view)
        levels = levels[:-1] if scale == 1 else levels[1:] if scale == 0.67 else levels
        rows = torch.cat(levels)
        rows[:, :4] /= scale
        if mirrored:
            rows[:, 0] = w - rows[:, 0]
        union.append(rows)
    return torch.cat(union).numpy()


def select(rows, threshold, overlap, most):
    """Best class, suppression per class -> detections, and how close the closest decision was."""
    score = rows[:, 4] * rows[:, 5:].max(1)
    margin = float(np.abs(score - threshold).min())
    keep = (rows[:, 4] > threshold) & (score > threshold)
    rows, score, label = rows[keep], score[keep], rows[keep, 5:].argmax(1)
    classes = np.sort(rows[:, 4:5] * rows[:, 5:], 1)
    margin = min(margin, float((classes[:, -1] - classes[:, -2]).min()))
    order = np.argsort(-score, kind="stable")
    rows, score, label = rows[order], score[order], label[order]
    corners = np.concatenate((rows[:, :2] - rows[:, 2:4] / 2, rows[:, :2] + rows[:, 2:4] / 2), 1)
    left, found = np.ones(len(rows), bool), []
    for i in range(len(rows)):
        if not left[i]:
            continue
        found.append([*corners[i].tolist(), float(score[i]), int(label[i])])
        if len(found) == most:
            break
        same = left & (label == label[i])
        same[: i + 1] = False
        low, high = np.maximum(corners[i, :2], corners[same, :2]), np.minimum(corners[i, 2:], corners[same, 2:])
        both = np.clip(high - low, 0, None).prod(1)
        areas = (corners[:, 2:] - corners[:, :2]).prod(1)
        iou = both / (areas[i] + areas[same] - both)
        if len(iou):
            margin = min(margin, float(np.abs(iou - overlap).min()))
        left[np.flatnonzero(same)[iou > overlap]] = False
    return found, margin


def picture(path):
    data = Path(path).read_bytes()
    size = struct.unpack("<Q", data[:8])[0]
    entry = json.loads(data[8 : 8 + size])["letterboxed_rgb_hwc"]
    begin, end = entry["data_offsets"]
    return np.frombuffer(data[8 + size + begin : 8 + size + end], np.uint8).reshape(entry["shape"])


def main():
    here = Path(__file__).resolve().parent
    golden = Path(sys.argv[1]) if len(sys.argv) > 1 else here.parent / "golden"
    out = Path(sys.argv[2]) if len(sys.argv) > 2 else here / "tta.json"
    torch.set_default_dtype(torch.float64)
    result = {"torch": torch.__version__, "models": {}}
    for folder in sorted(p for kind in ("yolo", "yolo11") for p in (golden / kind).iterdir() if p.is_dir()):
        checkpoint = torch.load(folder / "model.pt", map_location="cpu", pickle_module=Shells, weights_only=False)
        model = (checkpoint.get("ema") or checkpoint["model"]).double().eval()
        pictures = {}
        for file in sorted(folder.glob("*.safetensors")):
            pixels = picture(file)
            x = torch.from_numpy(pixels.astype(np.float64) / 255).permute(2, 0, 1)[None]
            with torch.inference_mode():
                plain = np.concatenate([level.numpy() for level in predict(model, x)])
                rows = augmented(model, x)
            settings = []
            for threshold, overlap in ((0.005, 0.45), (0.05, 0.6)):
                found, margin = select(rows, threshold, overlap, 300)
                settings.append({"threshold": threshold, "overlap": overlap, "margin": margin, "detections": [[round(v, 5) for v in d] for d in found]})
            pictures[file.stem] = {"h": pixels.shape[0], "w": pixels.shape[1], "plain_rows": len(plain), "plain_sum": plain.sum(0).tolist(),
                                   "rows": len(rows), "settings": settings}
            print(folder.name, file.stem, pixels.shape, len(rows), [(len(s["detections"]), s["margin"]) for s in settings], flush=True)
        result["models"][f"{folder.parent.name}/{folder.name}"] = pictures
    out.write_text(json.dumps(result, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
