"""How far a linear model gets on a folder of class folders: the measure of how hard `tundra synth` images are.

    python3 -m venv peers && peers/bin/pip install numpy pillow
    tundra synth quality && peers/bin/python bench/linear_baseline.py quality

Multinomial logistic regression with L2 regularisation, L-BFGS on standardised features; the regularisation is chosen on
the validation images, then the test images are scored once. Features: RGB pixels at 64, 32 and 16 px, and colour
histograms. Exits with 1 when the pixels at 64 px reach --limit on the test images.
"""
import argparse
import pathlib
import sys

import numpy as np
from PIL import Image


def load(folder, classes):
    images, labels = [], []
    for label, name in enumerate(classes):
        for path in sorted((folder / name).glob("*.jpg")):
            with Image.open(path) as image:
                images.append(np.asarray(image.convert("RGB").resize((64, 64), Image.BILINEAR), np.float32) / 255)
            labels.append(label)
    return np.stack(images), np.array(labels)


def shrunk(images, size):
    step = 64 // size
    n = len(images)
    return images.reshape(n, size, step, size, step, 3).mean((2, 4)).reshape(n, -1)


def histogram(images):
    bins = np.minimum((images * 16).astype(np.int64), 15).reshape(len(images), -1, 3)
    rows = [np.concatenate([np.bincount(p[:, c], minlength=16) for c in range(3)]) for p in bins]
    return np.sqrt(np.asarray(rows, np.float32) / bins.shape[1])


def loss_and_gradient(weights, x, targets, strength):
    n, classes = targets.shape
    w = weights.reshape(-1, classes)
    z = x @ w
    z -= z.max(1, keepdims=True)
    log_p = z - np.log(np.exp(z).sum(1, keepdims=True))
    penalty = w.copy()
    penalty[-1] = 0  # the bias is free
    loss = -(targets * log_p).sum() / n + 0.5 * strength * (penalty**2).sum()
    return loss, (x.T @ ((np.exp(log_p) - targets) / n) + strength * penalty).ravel()


def fit(x, targets, strength, steps=150, memory=10):
    """L-BFGS (Nocedal and Wright, algorithm 7.4) with backtracking."""
    w = np.zeros(x.shape[1] * targets.shape[1])
    loss, g = loss_and_gradient(w, x, targets, strength)
    history = []
    for _ in range(steps):
        q, saved = g.copy(), []
        for s, y, rho in reversed(history):
            a = rho * (s @ q)
            q -= a * y
            saved.append(a)
        if history:
            s, y, _ = history[-1]
            q *= (s @ y) / (y @ y)
        for (s, y, rho), a in zip(history, reversed(saved)):
            q += s * (a - rho * (y @ q))
        step, slope = (1.0 if history else 1.0 / max(1.0, np.linalg.norm(g))), g @ q
        while True:
            new_w = w - step * q
            new_loss, new_g = loss_and_gradient(new_w, x, targets, strength)
            if new_loss <= loss - 1e-4 * step * slope or step < 1e-8:
                break
            step *= 0.5
        s, y = new_w - w, new_g - g
        if s @ y > 1e-12:
            history = (history + [(s, y, 1 / (s @ y))])[-memory:]
        done = abs(loss - new_loss) < 1e-7 * max(1.0, abs(loss))
        w, loss, g = new_w, new_loss, new_g
        if done:
            break
    return w.reshape(-1, targets.shape[1])


def score(name, train, validation, test):
    mean, deviation = train[0].mean(0), train[0].std(0) + 1e-3
    # Scaled by the number of features, so that the same strengths suit 48 and 12,288 of them.
    scale = deviation * np.sqrt(train[0].shape[1])
    x = [np.hstack([(part[0] - mean) / scale, np.ones((len(part[0]), 1), np.float32)]) for part in (train, validation, test)]
    targets = np.eye(train[1].max() + 1)[train[1]]
    tried = []
    for strength in (1e-1, 3e-2, 1e-2, 3e-3, 1e-3, 3e-4, 1e-4, 1e-5):
        w = fit(x[0], targets, strength)
        right = [float(((part @ w).argmax(1) == labels).mean()) for part, (_, labels) in zip(x, (train, validation, test))]
        tried.append((right[1], strength, right[0], right[2]))
    chosen = max(tried)
    print(f"{name:<22} train {chosen[2]:6.1%}  validation {chosen[0]:6.1%}  test {chosen[3]:6.1%}"
          f"   (L2 {chosen[1]:g}; best of all strengths on the test {max(t[3] for t in tried):.1%})", flush=True)
    return chosen[3]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("folder", type=pathlib.Path)
    arguments.add_argument("--limit", type=float, default=0.75, help="largest accuracy allowed on 64 px pixels")
    options = arguments.parse_args()
    classes = sorted(p.name for p in (options.folder / "train").iterdir() if p.is_dir())
    parts = [load(options.folder / part, classes) for part in ("train", "validation", "test")]
    print(f"{options.folder}: {', '.join(classes)}; {' + '.join(str(len(labels)) for _, labels in parts)} images")
    features = {f"pixels {size} x {size} x 3": (lambda p, size=size: shrunk(p, size)) for size in (64, 32, 16)}
    features["colour histograms"] = histogram
    results = [score(name, *[(make(pixels), labels) for pixels, labels in parts]) for name, make in features.items()]
    sys.exit(results[0] >= options.limit)


if __name__ == "__main__":
    main()
