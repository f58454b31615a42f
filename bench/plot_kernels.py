#!/usr/bin/env python3
"""The result of bench/kernels as an SVG (a dot per row, in percent of its floor) and as a Markdown table. Any Python 3 will do.

    build/bench/kernels --benchmark_out=bench/results/NAME.json
    python3 bench/plot_kernels.py bench/results/NAME.json docs/cpu-kernels.svg

A line of the table is an operation of one network: how many shapes, the time of all of them once, the percent of the floor
(max(bytes / copy peak, operations / FMA peak)) of the whole line, and of its quickest and slowest shape. Winograd's convolutions
do fewer operations than the formula counts and may exceed 100.
"""
import collections
import json
import sys
from xml.sax.saxutils import escape

source, target = sys.argv[1:3]
with open(source) as file:
    data = json.load(file)
context, groups, failed = data["context"], collections.defaultdict(list), []
for b in data["benchmarks"]:
    if b.get("error_occurred"):
        failed.append(b["name"])
    elif b.get("aggregate_name") == "median":
        device, where, operation, shapes = b["run_name"].split("/", 3)
        if where == "onednn":  # beside Winograd's method: onednn/train/conv/...
            where, shapes = shapes.split("/", 1)
            where, operation = operation, where + " by oneDNN"
        groups[device, where, operation].append((b["peak%"], b["real_time"], shapes.split("/min_time")[0]))

print(f"{context['date'][:10]}, copy {context['cpu_copy_GB_per_s']} GB/s, FMA {context['cpu_FMA_GFLOP_per_s']} GFLOP/s, "
      f"load average {context['load_avg'][0]:.2f}; {sum(map(len, groups.values()))} rows, {len(failed)} failed\n")
print("| network | operation | shapes | ms | percent of the floor | min | max |\n| --- | --- | --- | --- | --- | --- | --- |")
for (device, where, operation), rows in groups.items():
    ms = sum(t for _, t, _ in rows)
    print(f"| {where} | {operation} | {len(rows)} | {ms:.2f} | {sum(p * t for p, t, _ in rows) / ms:.0f} | {min(rows)[0]:.0f} | {max(rows)[0]:.0f} |")
for name in failed:
    print(f"failed: {name}")

left, top, line, width, largest = 290, 50, 17, 560, 200
colours = {"train": "#1b6e53", "infer": "#b4654a", "yolov5x6": "#6b7c93"}
parts = []
for percent in range(0, largest + 1, 25):
    x = left + width * percent / largest
    parts.append(f'<path d="M{x} {top - 6}v{line * len(groups) + 6}" stroke="{"#b00020" if percent == 100 else "#ddd"}"/>'
                 f'<text x="{x}" y="{top - 10}" text-anchor="middle" font-size="10">{percent} %</text>')
for i, ((device, where, operation), rows) in enumerate(groups.items()):
    y = top + line * i + 8
    parts.append(f'<text x="{left - 8}" y="{y + 4}" text-anchor="end">{escape(where)}: {escape(operation)}</text>')
    longest = max(t for _, t, _ in rows)
    parts += [f'<circle cx="{left + width * min(p, largest) / largest:.1f}" cy="{y}" r="{2 + 4 * (t / longest) ** 0.5:.1f}" '
              f'fill="{colours.get(where, "#7a5195")}" fill-opacity="0.55"><title>{escape(shapes)}: {t:.3g} ms, {p:.0f} %</title></circle>'
              for p, t, shapes in rows]
with open(target, "w") as file:
    file.write(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {left + width + 40} {top + line * len(groups) + 16}" '
               f'font-family="sans-serif" font-size="11">\n<rect width="100%" height="100%" fill="#fff"/>\n'
               f'<text x="12" y="18">Percent of the floor reached, a dot per shape (larger: more time); {escape(context["date"][:10])}, copy '
               f'{context["cpu_copy_GB_per_s"]} GB/s, FMA {context["cpu_FMA_GFLOP_per_s"]} GFLOP/s</text>\n' + "\n".join(parts) + "\n</svg>\n")
