#!/usr/bin/env python3
"""A result of bench/compare as an SVG, and as a Markdown table on the output. Any Python 3 will do.

    python3 bench/plot.py bench/results/NAME.json docs/cpu-table.svg
"""
import json
import sys
from xml.sax.saxutils import escape

GOALS = {"resnet50 train:224:8": 1.3, "resnet50 train:64:32": 1.3, "resnet50 infer:224:1": 1.0, "resnet50 infer:224:16": 1.0,
         "yolov5s 640x640 batch 1": 1.0, "yolov5x6 960x1280 batch 1": 1.0, "end to end, 6 JPEG of 5 MP, yolov5x6": 1.3,
         "memory train:224:32": 1.0, "cold start, classify one picture": 1 / 0.3}
COLOURS = ["#1b6e53", "#9aa5b1", "#c9a227", "#b4654a", "#6b7c93", "#7a5195", "#3d5a80", "#8f9779"]

source, target = sys.argv[1:3]
with open(source) as file:
    all_rows = json.load(file)["rows"].values()
rows = [r for r in all_rows if "seconds" in r or "tundra" in r.get("peak_resident_bytes", {})]  # others have no time or memory to draw
rows.sort(key=lambda r: list(GOALS).index(r["row"]) if r["row"] in GOALS else len(GOALS))
names = list(dict.fromkeys(n for row in rows for n in row["ratio"]))
colour = dict(zip(names, COLOURS))


def value(row, name):
    if "seconds" in row:
        return f"{1000 * row['seconds'][name]['median']:.4g} ms"
    peaks = sorted(row["peak_resident_bytes"][name])
    return f"{peaks[len(peaks) // 2] / 1e9:.2f} GB"


m = rows[-1]["machine"]
print(f"{m['cpu']}, {m['threads']} threads; {m['date']}, commit {m['commit']}; "
      + ", ".join(f"{p} {v}" for p, v in m["versions"].items()) + "\n")
print("| work | Tundra | best peer | ratio (quartiles) | goal | others |\n| --- | --- | --- | --- | --- | --- |")
for row in rows:
    best, goal = row["best_peer"], GOALS.get(row["row"])
    r = row["ratio"][best]
    others = ", ".join(f"{n} {v['median']:.2f}" for n, v in row["ratio"].items() if n != best)
    verdict = "" if goal is None else f"{goal:.2g}" + ("" if r["median"] >= goal else ": not reached")
    print(f"| {row['row']} | {value(row, 'tundra')} | {best}, {value(row, best)} | {r['median']:.2f} ({r['low']:.2f} to {r['high']:.2f}) "
          f"| {verdict} | {others} |")

left, top, bar, gap, scale = 290, 60, 15, 14, 260
parts, y = [], top
for row in rows:
    first = y
    for name, r in sorted(row["ratio"].items(), key=lambda item: item[1]["median"]):
        width = min(r["median"], 5) * scale / 2
        low, high = min(r["low"], 5) * scale / 2, min(r["high"], 5) * scale / 2
        parts.append(f'<rect x="{left}" y="{y}" width="{width:.1f}" height="{bar - 3}" fill="{colour[name]}"/>'
                     f'<path d="M{left + low:.1f} {y + 6}H{left + high:.1f}" stroke="#222"/>'
                     f'<text x="{left + max(width, high) + 6:.1f}" y="{y + 10}" font-size="10">{r["median"]:.2f}</text>')
        y += bar
    if goal := GOALS.get(row["row"]):
        x = left + goal * scale / 2
        parts.append(f'<path d="M{x:.1f} {first - 3}V{y}" stroke="#b00020" stroke-width="2"/>')
    parts.append(f'<text x="{left - 8}" y="{(first + y) / 2 + 3}" text-anchor="end">{escape(row["row"])}</text>')
    y += gap
legend, x = [], 20
for name in names:
    legend.append(f'<rect x="{x}" y="30" width="12" height="12" fill="{colour[name]}"/><text x="{x + 17}" y="41">{escape(name)}</text>')
    x += 40 + 7 * len(name)
one = left + scale / 2
with open(target, "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {max(x, 1000)} {y + 30}" font-family="sans-serif" font-size="12">\n'
               f'<rect width="100%" height="100%" fill="#fff"/>\n<text x="20" y="18">Peer / Tundra: to the right of 1 Tundra is faster or smaller; '
               f'red: the goal; {escape(m["cpu"])}, {m["threads"]} threads, {m["date"][:10]}</text>\n'
               + "\n".join(legend + parts) + f'\n<path d="M{one} {top - 8}V{y}" stroke="#222" stroke-dasharray="4 3"/>'
               f'<text x="{one}" y="{y + 15}" text-anchor="middle">1.0</text>\n</svg>\n')
