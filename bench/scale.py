#!/usr/bin/env python3
"""Curves, not points: images/s and memory of Tundra against batch, image size, threads and number of files, as JSON and SVG.

    cmake --build build --target bench_step bench_pipeline
    python3 bench/scale.py --build build --out bench/results/NAME.json --svg docs/cpu-scale.svg [--curves batch size threads files]

`files` runs detection with a network that finds nothing over 10^2 .. 10^5 small images: its time per image must stay flat, and
so must memory, apart from the names of the files. Curves that the file already has are not run again unless --again. Any Python 3 will do.
"""
import argparse
import json
import os
import pathlib
import platform
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build")
parser.add_argument("--out", type=pathlib.Path, required=True)
parser.add_argument("--svg", type=pathlib.Path)
parser.add_argument("--threads", type=int, default=2)
parser.add_argument("--curves", nargs="*", default=["batch", "size", "threads", "files"])
parser.add_argument("--steps", type=int, default=5)
parser.add_argument("--max-files", type=int, default=100_000)
parser.add_argument("--again", action="store_true")
args = parser.parse_args()


def run(program, *options):
    out = subprocess.run([args.build / "bench" / program, "--json", *map(str, options)], check=True, capture_output=True, text=True).stdout
    return json.loads(out.splitlines()[-1])


def step(**o):
    inference = ["--inference"] if o.pop("inference") else []
    o = {"threads": args.threads, "steps": args.steps} | o
    return run("step", *inference, *[x for k, v in o.items() for x in ("--" + k, v)])


def curve(name):
    if name == "batch":
        return {f"resnet50 {'inference' if i else 'training'} 64 px": [(b, step(inference=i, size=64, batch=b)) for b in (1, 2, 4, 8, 16, 32, 64)[not i:]]
                for i in (True, False)} | {"yolov5s inference 320 px": [(b, step(inference=True, model="yolov5s", size=320, batch=b)) for b in (1, 2, 4, 8)]}
    if name == "size":
        return {f"resnet50 {'inference' if i else 'training'} batch 4": [(s, step(inference=i, size=s, batch=4)) for s in (64, 96, 128, 160, 224, 320)]
                for i in (True, False)} | {"yolov5s inference batch 1": [(s, step(inference=True, model="yolov5s", size=s, batch=1)) for s in (320, 640, 960, 1280)]}
    if name == "threads":
        counts = [n for n in (1, 2, 4, 8, 16) if n <= (os.cpu_count() or 1)]
        return {"resnet50 training 64 px batch 32": [(t, step(inference=False, size=64, batch=32, threads=t)) for t in counts],
                "resnet50 inference 224 px batch 16": [(t, step(inference=True, size=224, batch=16, threads=t)) for t in counts],
                "yolov5s inference 640 px": [(t, step(inference=True, model="yolov5s", size=640, batch=1, threads=t)) for t in counts]}
    files = [n for n in (100, 1_000, 10_000, 100_000) if n <= args.max_files]
    return {"detect, stub network, 160x120": [(n, run("pipeline", "--model", "none", "--files", n, "--width", 160, "--height", 120, "--size", 320,
                                                      "--batch", 1, "--passes", 1, "--loaders", args.threads)) for n in files]}


data = json.loads(args.out.read_text()) if args.out.exists() else {"curves": {}}
with open("/proc/cpuinfo") as file:
    cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())
for name in args.curves:
    if name in data["curves"] and not args.again:
        continue
    points = {series: [{"x": x, "images_per_second": f["images_per_second"], "peak_resident_bytes": f["peak_resident_bytes"],
                        "planned_bytes": f.get("planned_bytes")} for x, f in values] for series, values in curve(name).items()}
    commit = subprocess.run(["git", "describe", "--always"], capture_output=True, text=True, cwd=ROOT).stdout.strip()
    data["curves"][name] = {"series": points, "commit": commit, "date": time.strftime("%Y-%m-%d %H:%M"), "cpu": cpu, "threads": args.threads,
                            "load_average": round(os.getloadavg()[0], 2)}
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(data, indent=1) + "\n")
    for series, values in points.items():
        for p in values:
            print(f"{name:8} {series:36} {p['x']:>7}  {p['images_per_second']:9.2f} images/s  {p['peak_resident_bytes'] / 1e6:8.1f} MB", flush=True)

if args.svg:
    import math
    colours, width, height, parts = ["#1b6e53", "#b4654a", "#c9a227"], 300, 170, []
    for column, (name, c) in enumerate(data["curves"].items()):
        for row, (key, unit, factor) in enumerate([("images_per_second", "images/s", 1), ("peak_resident_bytes", "MB, resident", 1e-6)]):
            left, top = 60 + column * (width + 70), 60 + row * (height + 110)
            xs = sorted({p["x"] for s in c["series"].values() for p in s})
            ys = [p[key] * factor for s in c["series"].values() for p in s]
            low, high = math.floor(math.log10(min(ys))), math.ceil(math.log10(max(ys)) + 1e-9)
            span = math.log(xs[-1] / xs[0]) or 1
            px = lambda x: left + width * math.log(x / xs[0]) / span  # noqa: E731
            py = lambda y: top + height * (1 - (math.log10(y) - low) / (high - low))  # noqa: E731
            parts.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#ccc"/>'
                         f'<text x="{left}" y="{top - 8}">{unit} against {name}</text>')
            parts += [f'<path d="M{left} {py(10 ** k):.1f}h{width}" stroke="#eee"/><text x="{left - 5}" y="{py(10 ** k) + 4:.1f}" '
                      f'text-anchor="end" font-size="10">{10.0 ** k:g}</text>' for k in range(low, high + 1)]
            parts += [f'<text x="{px(x):.1f}" y="{top + height + 14}" text-anchor="middle" font-size="10">{x}</text>' for x in xs]
            for i, (series, values) in enumerate(c["series"].items()):
                line = " ".join(f"{px(p['x']):.1f},{py(p[key] * factor):.1f}" for p in values)
                parts.append(f'<polyline points="{line}" fill="none" stroke="{colours[i % 3]}" stroke-width="2"/>')
                parts += [f'<circle cx="{px(p["x"]):.1f}" cy="{py(p[key] * factor):.1f}" r="3" fill="{colours[i % 3]}"/>' for p in values]
                parts.append(f'<text x="{left}" y="{top + height + 32 + 14 * i}" font-size="11" fill="{colours[i % 3]}">{series}</text>')
    w, h = 60 + len(data["curves"]) * (width + 70), 60 + 2 * (height + 110)
    args.svg.write_text(f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {w} {h}" font-family="sans-serif" font-size="12">\n'
                        f'<rect width="100%" height="100%" fill="#fff"/>\n<text x="20" y="20">{cpu}; both axes logarithmic</text>\n'
                        + "\n".join(parts) + "\n</svg>\n")
