#!/usr/bin/env python3
"""A result of bench/compare as an SVG: one group of bars per piece of work, images/s, a whisker from quartile to quartile.

    python3 bench/plot.py bench/results/2026-11-23-cpu-resnet.json docs/cpu-resnet.svg
"""
import json
import sys
from xml.sax.saxutils import escape

source, target = sys.argv[1:3]
with open(source) as file:
    data = json.load(file)
rows = data["results"]
names = list(dict.fromkeys(n for row in rows for n in row["milliseconds"]))
colours = dict(zip(names, ["#1b6e53", "#9aa5b1", "#6b7c93", "#c9a227", "#b4654a"]))
bar, gap, left, top, height = 34, 40, 20, 60, 240

parts, x = [], left
for row in rows:
    kind, size, batch = row["work"].split(":")
    rate = {n: 1000 * int(batch) / ms for n, ms in row["milliseconds"].items()}
    best = max(1000 * int(batch) / min(q) for q in row["spread"].values())
    middle = x + bar * len(rate) / 2
    title = "training" if kind == "train" else "inference"
    parts.append(f'<text x="{middle}" y="{top + height + 20}" text-anchor="middle">{title} {size} px, batch {batch}</text>')
    for name, value in rate.items():
        scale = height / best
        low, high = (1000 * int(batch) / row["spread"][name][i] * scale for i in (2, 0))
        h, centre = value * scale, x + bar / 2 - 2
        parts.append(f'<rect x="{x}" y="{top + height - h:.1f}" width="{bar - 4}" height="{h:.1f}" fill="{colours[name]}"/>')
        parts.append(f'<path d="M{centre} {top + height - low:.1f}V{top + height - high:.1f}" stroke="#222"/>')
        parts.append(f'<text x="{centre}" y="{top + height - max(h, high) - 5:.1f}" text-anchor="middle" font-size="10">{value:.1f}</text>')
        x += bar
    x += gap
width = max(x, 720)
legend = 20
for name in names:
    parts.append(f'<rect x="{legend}" y="30" width="12" height="12" fill="{colours[name]}"/>'
                 f'<text x="{legend + 17}" y="41">{escape(name)}</text>')
    legend += 40 + 7 * len(name)
with open(target, "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + height + 40}" font-family="sans-serif" font-size="12">\n'
               f'<rect width="100%" height="100%" fill="#fff"/>\n'
               f'<text x="20" y="18">ResNet-50, images/s; {escape(data["cpu"])}, {data["threads"]} threads, {data["date"]}, '
               f'each group to its own scale</text>\n' + "\n".join(parts) + "\n</svg>\n")
