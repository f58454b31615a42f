# Reference numbers for kernels/detect_loss.h from PyTorch's autograd in float64, written from the formulas in that header:
# every box is held against every cell and anchor, one by one.
import itertools, json, math, sys
import torch

def belongs(box, i, j, h, w, stride, anchor, ratio):
    cls, cx, cy, bw, bh = box
    if cls < 0: return False
    if max(bw / anchor[0], anchor[0] / bw, bh / anchor[1], anchor[1] / bh) >= ratio: return False
    gx, gy = cx / stride, cy / stride
    home = (min(max(math.floor(gy), 0), h - 1), min(max(math.floor(gx), 0), w - 1))
    cells = {home}
    fx, fy = gx - home[1], gy - home[0]
    if fx != 0.5: cells.add((home[0], home[1] + (-1 if fx < 0.5 else 1)))
    if fy != 0.5: cells.add((home[0] + (-1 if fy < 0.5 else 1), home[1]))
    return (i, j) in cells

def ciou(p, b):
    px, py, pw, ph = p
    bx, by, bw, bh = b
    iw = torch.clamp(torch.minimum(px + pw / 2, bx + bw / 2) - torch.maximum(px - pw / 2, bx - bw / 2), min=0)
    ih = torch.clamp(torch.minimum(py + ph / 2, by + bh / 2) - torch.maximum(py - ph / 2, by - bh / 2), min=0)
    inter = iw * ih
    iou = inter / (pw * ph + bw * bh - inter)
    cw = torch.maximum(px + pw / 2, bx + bw / 2) - torch.minimum(px - pw / 2, bx - bw / 2)
    ch = torch.maximum(py + ph / 2, by + bh / 2) - torch.minimum(py - ph / 2, by - bh / 2)
    v = 4 / math.pi ** 2 * (torch.atan(bw / bh) - torch.atan(pw / ph)) ** 2
    alpha = (v / (1 - iou + v)).detach()
    return iou - ((px - bx) ** 2 + (py - by) ** 2) / (cw ** 2 + ch ** 2) - alpha * v

def loss_of(heads, boxes, spec):
    n, classes = boxes.shape[0], spec["classes"]
    bce = torch.nn.functional.binary_cross_entropy_with_logits
    parts, matches = [torch.zeros((), dtype=torch.float64) for _ in range(3)], []
    for head, stride, anchors, balance in zip(heads, spec["strides"], spec["anchors"], spec["balance"]):
        h, w = head.shape[1:3]
        t = head.reshape(n, h, w, 3, 5 + classes)
        box_terms, class_terms, target = [], [], torch.zeros(n, h, w, 3, dtype=torch.float64)
        for p, i, j, a in itertools.product(range(n), range(h), range(w), range(3)):
            for box in boxes[p].tolist():
                if not belongs(box, i, j, h, w, stride, anchors[a], spec["ratio"]): continue
                s = torch.sigmoid(t[p, i, j, a])
                prediction = (2 * s[0] - 0.5 + j, 2 * s[1] - 0.5 + i, (2 * s[2]) ** 2 * anchors[a][0] / stride, (2 * s[3]) ** 2 * anchors[a][1] / stride)
                c = ciou(prediction, [torch.tensor(v / stride, dtype=torch.float64) for v in box[1:]])
                box_terms.append(1 - c)
                target[p, i, j, a] = max(target[p, i, j, a].item(), c.item(), 0.0)
                wanted = torch.full((classes,), spec["smoothing"] / 2, dtype=torch.float64)
                wanted[int(box[0])] = 1 - spec["smoothing"] / 2
                class_terms.append(bce(t[p, i, j, a, 5:], wanted))
        matches.append(len(box_terms))
        if box_terms: parts[0] = parts[0] + torch.stack(box_terms).mean()
        parts[1] = parts[1] + balance * bce(t[..., 4], target)
        if class_terms and classes > 1: parts[2] = parts[2] + torch.stack(class_terms).mean()
    parts = torch.stack([g * x for g, x in zip(spec["gains"], parts)])
    return n * parts.sum(), parts, matches

P5 = [[10, 13, 16, 30, 33, 23], [30, 61, 62, 45, 59, 119], [116, 90, 156, 198, 373, 326]]
P6 = [[19, 27, 44, 40, 38, 94], [96, 68, 86, 152, 180, 137], [140, 301, 303, 264, 238, 542], [436, 615, 739, 380, 925, 792]]
pairs = lambda rows: [[r[k:k + 2] for k in (0, 2, 4)] for r in rows]

def save(path, tensors, metadata):
    header, data = {"__metadata__": metadata}, b""
    for name, t in tensors.items():
        raw = t.contiguous().to(torch.float32).numpy().tobytes()
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [len(data), len(data) + len(raw)]}
        data += raw
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f: f.write(len(text).to_bytes(8, "little") + text + data)

def case(name, seed, n, size, anchors, classes, most, per_picture, smoothing=0.0, gains=(0.05, 1.0, 0.5), ratio=4.0, balance=None, spread=1.0):
    g = torch.Generator().manual_seed(seed)
    strides = [8 << k for k in range(len(anchors))]
    spec = dict(classes=classes, strides=strides, anchors=pairs(anchors), ratio=ratio, smoothing=smoothing, gains=list(gains),
                balance=balance or ([4.0, 1.0, 0.4] if len(anchors) == 3 else [4.0, 1.0, 0.25, 0.06]))
    rand = lambda *s: torch.rand(*s, generator=g)
    boxes = torch.full((n, most, 5), -1.0)
    for p in range(n):
        count = per_picture[p % len(per_picture)]
        rows = torch.randperm(most, generator=g)[:count]  # rows without a box lie between the others
        for r in rows.tolist():
            w, h = (torch.exp(rand(2) * math.log(size[1] / 6)) * 6).tolist()
            cx, cy = (rand(2) * torch.tensor([size[1], size[0]], dtype=torch.float32)).tolist()
            boxes[p, r] = torch.tensor([int(torch.randint(classes, (1,), generator=g)), cx, cy, min(w, size[1]), min(h, size[0])])
    if name == "crowded":  # two boxes of different classes in the same cells
        boxes[0, 0] = torch.tensor([0.0, 37.3, 41.9, 30.0, 28.0])
        boxes[0, 1] = torch.tensor([1.0, 38.1, 42.5, 34.0, 40.0])
        boxes[0, 2] = torch.tensor([1.0, 37.6, 41.2, 29.0, 33.0])
    if name == "borders":  # corners, an edge, exactly between two cells, exactly in the middle of one, exact limits of the ratio
        boxes[0, :6] = torch.tensor([[0, 0.5, 0.5, 12, 12], [1, 95.9, 95.7, 20, 25], [2, 96, 50, 30, 60], [0, 40, 32, 16, 30], [1, 44, 36, 16, 30], [2, 50.3, 20.2, 40, 20]])
    heads = []
    for stride in strides:
        h, w = size[0] // stride, size[1] // stride
        t = torch.randn(n, h, w, 3, 5 + classes, generator=g) * spread
        t[..., 4] -= 2
        heads.append(t.reshape(n, h, w, -1).double().requires_grad_(True))
    loss, parts, matches = loss_of(heads, boxes.double(), spec)
    loss.backward()
    tensors = {"boxes": boxes, "loss": loss.detach().reshape(1), "parts": parts.detach(), "matches": torch.tensor(matches).float()}
    for k, head in enumerate(heads):
        tensors[f"head{k}"], tensors[f"dhead{k}"] = head.detach(), head.grad
    save(f"{sys.argv[1]}/{name}.safetensors", tensors, {"spec": json.dumps(spec)})
    print(name, float(loss), parts.tolist(), matches)

case("p5", 1, 2, (64, 96), P5, 3, 7, [4, 6])
case("p6", 2, 1, (128, 128), P6, 2, 9, [7], smoothing=0.1)
case("one_class", 3, 2, (64, 64), P5, 1, 4, [3, 0])
case("no_boxes", 4, 1, (64, 32), P5, 2, 2, [0])
case("crowded", 5, 1, (64, 64), P5, 4, 5, [5], smoothing=0.05, gains=(0.1, 0.7, 0.3))
case("borders", 6, 1, (96, 96), P5, 3, 6, [6])
case("far_off", 7, 2, (64, 64), P5, 3, 6, [5, 2], ratio=2.5, spread=4.0, balance=[1.0, 1.0, 1.0])
