"""YOLO11 and YOLOv9-C in plain PyTorch, from their description (models/anchor_free.h): normalization folded, from bytes to
decoded boxes. The names are those of weight files."""
import json
import math

import torch
from torch import nn
from torch.nn import functional as F

from yolo_peer import settled

SIZES = {"n": (1, 0.25, 1024, False), "s": (1, 0.5, 1024, False), "m": (1, 1, 512, True), "l": (2, 1, 512, True), "x": (2, 1.5, 512, True)}


class Conv(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, stride=1, groups=1, silu=True):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups)
        self.silu, self.settle = silu, False

    def forward(self, x):
        y = settled(self.conv, self.conv(x)) if self.settle else self.conv(x)
        return F.silu(y) if self.silu else y


class Bottleneck(nn.Module):
    def __init__(self, c, hidden):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, hidden, 3), Conv(hidden, c, 3)

    def forward(self, x):
        return x + self.cv2(self.cv1(x))


class Csp(nn.Module):
    """C3k, and RepCSP with each RepConv folded into one convolution."""

    def __init__(self, c_in, c_out, repeats):
        super().__init__()
        h = c_out // 2
        self.cv1, self.cv2, self.cv3 = Conv(c_in, h), Conv(c_in, h), Conv(2 * h, c_out)
        self.m = nn.Sequential(*(Bottleneck(h, h) for _ in range(repeats)))

    def forward(self, x):
        return self.cv3(torch.cat((self.m(self.cv1(x)), self.cv2(x)), 1))


class C3k2(nn.Module):
    def __init__(self, c_in, c_out, repeats, c3k, expansion=0.5):
        super().__init__()
        h = int(c_out * expansion)
        self.cv1, self.cv2 = Conv(c_in, 2 * h), Conv((2 + repeats) * h, c_out)
        self.m = nn.ModuleList(Csp(h, h, 2) if c3k else Bottleneck(h, h // 2) for _ in range(repeats))

    def forward(self, x):
        parts = list(self.cv1(x).chunk(2, 1))
        for block in self.m:
            parts.append(block(parts[-1]))
        return self.cv2(torch.cat(parts, 1))


class Pools(nn.Module):
    def __init__(self, c_in, hidden, c_out, last):
        super().__init__()
        self.cv1, self.last = Conv(c_in, hidden), last
        setattr(self, last, Conv(4 * hidden, c_out))

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return getattr(self, self.last)(torch.cat(parts, 1))


class Attention(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.heads, self.key, self.value = c // 64, 32, 64
        self.qkv, self.proj, self.pe = Conv(c, 2 * c, silu=False), Conv(c, c, silu=False), Conv(c, c, 3, groups=c, silu=False)

    def forward(self, x):
        n, c, h, w = x.shape
        q, k, v = self.qkv(x).view(n, self.heads, 2 * self.key + self.value, h * w).split((self.key, self.key, self.value), 2)
        a = (q.transpose(2, 3) @ k / math.sqrt(self.key)).softmax(3)
        y = (v @ a.transpose(2, 3)).reshape(n, c, h, w)
        return self.proj(y + self.pe(v.reshape(n, c, h, w)))


class Psa(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.attn, self.ffn = Attention(c), nn.Sequential(Conv(c, 2 * c), Conv(2 * c, c, silu=False))

    def forward(self, x):
        x = x + self.attn(x)
        return x + self.ffn(x)


class C2psa(nn.Module):
    def __init__(self, c, repeats):
        super().__init__()
        self.cv1, self.cv2 = Conv(c, c), Conv(c, c)
        self.m = nn.Sequential(*(Psa(c // 2) for _ in range(repeats)))

    def forward(self, x):
        u, v = self.cv1(x).chunk(2, 1)
        return self.cv2(torch.cat((u, self.m(v)), 1))


class Elan(nn.Module):
    def __init__(self, c_in, c_out, p, q):
        super().__init__()
        self.cv1, self.cv4 = Conv(c_in, p), Conv(p + 2 * q, c_out)
        self.cv2 = nn.Sequential(Csp(p // 2, q, 1), Conv(q, q, 3))
        self.cv3 = nn.Sequential(Csp(q, q, 1), Conv(q, q, 3))

    def forward(self, x):
        parts = list(self.cv1(x).chunk(2, 1))
        parts.append(self.cv2(parts[-1]))
        parts.append(self.cv3(parts[-1]))
        return self.cv4(torch.cat(parts, 1))


class ADown(nn.Module):
    def __init__(self, c_in, c_out):
        super().__init__()
        self.cv1, self.cv2 = Conv(c_in // 2, c_out // 2, 3, 2), Conv(c_in // 2, c_out // 2)

    def forward(self, x):
        u, v = F.avg_pool2d(x, 2, 1).chunk(2, 1)
        return torch.cat((self.cv1(u), self.cv2(F.max_pool2d(v, 3, 2, 1))), 1)


class Join(nn.Module):
    def __init__(self, other, upsample=False):
        super().__init__()
        self.other, self.upsample = other, upsample

    def forward(self, x, before):
        return torch.cat((x, before[self.other]), 1)


class Head(nn.Module):
    def __init__(self, levels, score, depthwise, classes):
        super().__init__()
        self.cv2 = nn.ModuleList(nn.Sequential(Conv(c, 64, 3), Conv(64, 64, 3), nn.Conv2d(64, 64, 1)) for c in levels)

        def branch(c):
            if depthwise:
                return (nn.Sequential(Conv(c, c, 3, groups=c), Conv(c, score)), nn.Sequential(Conv(score, score, 3, groups=score), Conv(score, score)))
            return Conv(c, score, 3), Conv(score, score, 3)
        self.cv3 = nn.ModuleList(nn.Sequential(*branch(c), nn.Conv2d(score, classes, 1)) for c in levels)

    def forward(self, levels):
        return [box(x) for box, x in zip(self.cv2, levels)], [score(x) for score, x in zip(self.cv3, levels)]


def yolo11(size, classes):
    repeats, width, most, c3k = SIZES[size]

    def c(base):
        return math.ceil(min(base, most) * width / 8) * 8
    c1, c2, c3, c4, c5 = c(64), c(128), c(256), c(512), c(1024)
    return [Conv(3, c1, 3, 2), Conv(c1, c2, 3, 2), C3k2(c2, c3, repeats, c3k, 0.25), Conv(c3, c3, 3, 2), C3k2(c3, c4, repeats, c3k, 0.25),
            Conv(c4, c4, 3, 2), C3k2(c4, c4, repeats, True), Conv(c4, c5, 3, 2), C3k2(c5, c5, repeats, True), Pools(c5, c5 // 2, c5, "cv2"),
            C2psa(c5, repeats), nn.Upsample(scale_factor=2), Join(6), C3k2(c5 + c4, c4, repeats, c3k), nn.Upsample(scale_factor=2), Join(4),
            C3k2(2 * c4, c3, repeats, c3k), Conv(c3, c3, 3, 2), Join(13), C3k2(c3 + c4, c4, repeats, c3k), Conv(c4, c4, 3, 2), Join(10),
            C3k2(c4 + c5, c5, repeats, True), Head((c3, c4, c5), max(c3, min(classes, 100)), True, classes)], (16, 19, 22)


def yolov9c(classes):
    return [Conv(3, 64, 3, 2), Conv(64, 128, 3, 2), Elan(128, 256, 128, 64), ADown(256, 256), Elan(256, 512, 256, 128), ADown(512, 512),
            Elan(512, 512, 512, 256), ADown(512, 512), Elan(512, 512, 512, 256), Pools(512, 256, 512, "cv5"), nn.Upsample(scale_factor=2), Join(6),
            Elan(1024, 512, 512, 256), nn.Upsample(scale_factor=2), Join(4), Elan(1024, 256, 256, 128), ADown(256, 256), Join(12),
            Elan(768, 512, 512, 256), ADown(512, 512), Join(9), Elan(1024, 512, 512, 256),
            Head((256, 512, 512), max(256, min(2 * classes, 128)), False, classes)], (15, 18, 21)


class AnchorFree(nn.Module):
    """(n, h, w, 3) bytes -> (n, rows, 5 + classes): centre, width and height in pixels, 1, classes."""

    def __init__(self, name, classes=3):
        super().__init__()
        layers, self.levels = yolo11(name[6:], classes) if name.startswith("yolo11") else yolov9c(classes)
        self.model = nn.ModuleList(layers)

    def heads(self, x):
        before = []
        for layer in self.model[:-1]:
            x = layer(x, before) if isinstance(layer, Join) else layer(x)
            before.append(x)
        return self.model[-1]([before[i] for i in self.levels])

    def forward(self, images):
        rows = []
        for level, (box, score) in enumerate(zip(*self.heads(images.permute(0, 3, 1, 2).float() * (1 / 255)))):
            n, _, h, w = box.shape
            sides = (box.view(n, 4, 16, h * w).softmax(2) * torch.arange(16.0).view(1, 1, 16, 1)).sum(2).transpose(1, 2)
            middle = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1], -1).view(1, h * w, 2) + 0.5
            centre, extent = middle + (sides[..., 2:] - sides[..., :2]) / 2, sides[..., 2:] + sides[..., :2]
            score = score.flatten(2).transpose(1, 2).sigmoid()
            rows.append(torch.cat((centre * (8 << level), extent * (8 << level), torch.ones_like(score[..., :1]), score), -1))
        return torch.cat(rows, 1)


def random_anchor_free(name, images):
    """Weights under which activations neither die nor explode, and few boxes are found, as on real images."""
    torch.manual_seed(1)
    model = AnchorFree(name).eval()
    convolutions = [m for m in model.modules() if isinstance(m, Conv)]
    with torch.no_grad():
        for m in convolutions:
            m.settle = True
        boxes, scores = model.heads(images.permute(0, 3, 1, 2).float() * (1 / 255))
        for m in convolutions:
            m.settle = False
        for branch, outputs, bias in ((model.model[-1].cv2, boxes, 0), (model.model[-1].cv3, scores, -6)):
            for part, y in zip(branch, outputs):
                part[-1].weight /= y.std()
                part[-1].bias.fill_(bias)
    return model


def safetensors(model, name):
    """Tensors and metadata as `tundra import` writes them."""
    tensors = {n: t.numpy() for n, t in model.state_dict().items()}
    tensors[f"model.{len(model.model) - 1}.dfl.conv.weight"] = torch.arange(16.0).view(1, 16, 1, 1).numpy()
    return tensors, {"format": "pt", "tundra.model": name, "class_names": json.dumps(["animal", "person", "vehicle"])}
