"""YOLOv5 in plain PyTorch, from its description (models/yolov5.h): normalization folded, from bytes to decoded boxes."""
import json
import math

import torch
from torch import nn
from torch.nn import functional as F

SIZES = {"n": (0.33, 0.25), "s": (0.33, 0.5), "m": (0.67, 0.75), "l": (1, 1), "x": (1.33, 1.25)}
ANCHORS_P5 = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
ANCHORS_P6 = [[19, 27, 44, 40, 38, 94], [96, 68, 86, 152, 180, 137], [140, 301, 303, 264, 238, 542], [436, 615, 739, 380, 925, 792]]


def settled(conv, y):
    """Changes a convolution whose output is y, so that it gets mean 0 and deviation 0.3, where silu does not blow up rounding."""
    mean, deviation = y.mean(), y.std() / 0.3
    conv.weight.data /= deviation
    conv.bias.data = (conv.bias.data - mean) / deviation
    return (y - mean) / deviation


class ConvSilu(nn.Module):
    def __init__(self, c_in, c_out, kernel=1, stride=1):
        super().__init__()
        self.conv = nn.Conv2d(c_in, c_out, kernel, stride, 2 if kernel == 6 else kernel // 2)
        self.settle = False  # while weights are made

    def forward(self, x):
        y = self.conv(x)
        return F.silu(settled(self.conv, y) if self.settle else y)


class C3(nn.Module):
    def __init__(self, c_in, c_out, repeats, add):
        super().__init__()
        hidden = c_out // 2
        self.add = add
        self.cv1, self.cv2, self.cv3 = ConvSilu(c_in, hidden), ConvSilu(c_in, hidden), ConvSilu(2 * hidden, c_out)
        self.m = nn.ModuleList(nn.ModuleDict({"cv1": ConvSilu(hidden, hidden), "cv2": ConvSilu(hidden, hidden, 3)}) for _ in range(repeats))

    def forward(self, x):
        a = self.cv1(x)
        for block in self.m:
            y = block["cv2"](block["cv1"](a))
            a = a + y if self.add else y
        return self.cv3(torch.cat((a, self.cv2(x)), 1))


class Pools(nn.Module):
    def __init__(self, c):
        super().__init__()
        self.cv1, self.cv2 = ConvSilu(c, c // 2), ConvSilu(2 * c, c)

    def forward(self, x):
        parts = [self.cv1(x)]
        for _ in range(3):
            parts.append(F.max_pool2d(parts[-1], 5, 1, 2))
        return self.cv2(torch.cat(parts, 1))


class Yolo(nn.Module):
    """(n, h, w, 3) bytes -> (n, rows, 5 + classes): centre, width and height in pixels, objectness, classes."""

    def __init__(self, size, classes=3):
        super().__init__()
        depth, width = SIZES[size[0]]
        p6 = size.endswith("6")
        c = [math.ceil(n * width / 8) * 8 for n in ([64, 128, 256, 512, 768, 1024] if p6 else [64, 128, 256, 512, 1024])]
        n = [max(1, round(k * depth)) for k in ([3, 6, 9, 3, 3] if p6 else [3, 6, 9, 3])]
        self.classes, self.last = classes, len(c) - 1
        self.anchors = ANCHORS_P6 if p6 else ANCHORS_P5
        layers = [ConvSilu(3, c[0], 6, 2)]
        for s in range(1, self.last + 1):
            layers += [ConvSilu(c[s - 1], c[s], 3, 2), C3(c[s], c[s], n[s - 1], True)]
        layers.append(Pools(c[self.last]))
        for s in range(self.last - 1, 1, -1):
            layers += [ConvSilu(c[s + 1], c[s]), nn.Identity(), nn.Identity(), C3(2 * c[s], c[s], n[0], False)]
        for s in range(2, self.last):
            layers += [ConvSilu(c[s], c[s], 3, 2), nn.Identity(), C3(2 * c[s], c[s + 1], n[0], False)]
        detect = nn.Module()
        detect.m = nn.ModuleList(nn.Conv2d(c[s], 3 * (5 + classes), 1) for s in range(2, self.last + 1))
        layers.append(detect)
        self.model = nn.ModuleList(layers)  # so numbered, the names are those of weight files

    def heads(self, x):
        layers, last = self.model, self.last
        x = layers[0](x)
        features = {}
        for s in range(1, last + 1):
            x = features[s] = layers[2 * s](layers[2 * s - 1](x))
        at = 2 * last + 1
        x, laterals = layers[at](x), {}
        at += 1
        for s in range(last - 1, 1, -1):
            laterals[s] = layers[at](x)
            x = layers[at + 3](torch.cat((F.interpolate(laterals[s], scale_factor=2.0, mode="nearest"), features[s]), 1))
            at += 4
        outputs = [x]
        for s in range(2, last):
            x = layers[at + 2](torch.cat((layers[at](x), laterals[s]), 1))
            outputs.append(x)
            at += 3
        return [head(y) for head, y in zip(layers[at].m, outputs)]

    def forward(self, images):
        boxes = []
        for level, y in enumerate(self.heads(images.permute(0, 3, 1, 2).float() * (1 / 255))):
            n, _, h, w = y.shape
            stride = 8 << level
            y = y.view(n, 3, 5 + self.classes, h, w).permute(0, 1, 3, 4, 2).sigmoid()
            grid = torch.stack(torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")[::-1], -1).float()
            sides = torch.tensor(self.anchors[level], dtype=torch.float32).view(1, 3, 1, 1, 2)
            boxes.append(torch.cat(((y[..., :2] * 2 - 0.5 + grid) * stride, (y[..., 2:4] * 2) ** 2 * sides, y[..., 4:]), -1)
                         .reshape(n, -1, 5 + self.classes))
        return torch.cat(boxes, 1)


def random_yolo(size, images):
    """Weights under which activations neither die nor explode, and few boxes are found, as on real images."""
    torch.manual_seed(1)
    model = Yolo(size).eval()
    convolutions = [m for m in model.modules() if isinstance(m, ConvSilu)]
    with torch.no_grad():
        for m in convolutions:
            m.settle = True
        heads = model.heads(images.permute(0, 3, 1, 2).float() * (1 / 255))
        for m in convolutions:
            m.settle = False
        for head, y in zip(model.model[-1].m, heads):
            head.weight /= y.std()
            head.bias.zero_()
            head.bias.view(3, -1)[:, 4] = -5
    return model


def safetensors(model):
    """Tensors and metadata as `tundra import` writes them."""
    tensors = {n: t.numpy() for n, t in model.state_dict().items()}
    strides = torch.tensor([8 << i for i in range(len(model.anchors))]).view(-1, 1, 1)
    tensors[f"model.{len(model.model) - 1}.anchors"] = (torch.tensor(model.anchors, dtype=torch.float32).view(-1, 3, 2) / strides).numpy()
    return tensors, {"format": "pt", "tundra.model": "yolov5", "tundra.pool": "5", "class_names": json.dumps(["animal", "person", "vehicle"])}
