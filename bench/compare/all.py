#!/usr/bin/env python3
"""The whole table of Tundra against its peers, row by row, in a given time; a row that is in the file for this commit is not run again.

    (the environment: first lines of bench/compare/common.py)
    cmake --build build --target tundra bench_step bench_pipeline
    peers/bin/python bench/compare/all.py --prepare                                   # once: weights, images, compiled peers
    peers/bin/python bench/compare/all.py --minutes 15 --out bench/results/NAME.json
    peers/bin/python bench/plot.py bench/results/NAME.json docs/cpu-table.svg         # the plot; prints the table as Markdown

--rows takes names from the list that --list prints; --again runs rows that are there. A row that fails does not stop the others.
"""
import argparse
import json
import pathlib
import subprocess
import sys
import time

import common

HERE = pathlib.Path(__file__).resolve().parent
# name: (row in the JSON, script and its options, share of the time)
ROWS = {
    "train224": ("resnet50 train:224:8", ["resnet.py", "--work", "train:224:8"], 3),
    "train64": ("resnet50 train:64:32", ["resnet.py", "--work", "train:64:32"], 2),
    "infer1": ("resnet50 infer:224:1", ["resnet.py", "--work", "infer:224:1"], 1),
    "infer16": ("resnet50 infer:224:16", ["resnet.py", "--work", "infer:224:16"], 2),
    "yolo_s": ("yolov5s 640x640 batch 1", ["detect.py", "--work", "yolov5s:640x640"], 1.5),
    "yolo_x6": ("yolov5x6 960x1280 batch 1", ["detect.py", "--work", "yolov5x6:960x1280"], 4),
    "yolo11s_1": ("yolo11s 736x960 batch 1", ["detect.py", "--work", "yolo11s:736x960", "--batch", "1"], 1),
    "yolo11s_8": ("yolo11s 736x960 batch 8", ["detect.py", "--work", "yolo11s:736x960", "--batch", "8"], 4),
    "yolo11l_1": ("yolo11l 480x640 batch 1", ["detect.py", "--work", "yolo11l:480x640", "--batch", "1"], 1),
    "yolo11l_8": ("yolo11l 480x640 batch 8", ["detect.py", "--work", "yolo11l:480x640", "--batch", "8"], 4),
    "yolov9c_1": ("yolov9c 480x640 batch 1", ["detect.py", "--work", "yolov9c:480x640", "--batch", "1"], 1),
    "yolov9c_8": ("yolov9c 480x640 batch 8", ["detect.py", "--work", "yolov9c:480x640", "--batch", "8"], 4),
    "yolo11s_bf16": ("yolo11s 736x960 batch 1 bf16", ["detect.py", "--work", "yolo11s:736x960", "--precision", "bf16"], 1),
    "yolo11l_bf16": ("yolo11l 480x640 batch 1 bf16", ["detect.py", "--work", "yolo11l:480x640", "--precision", "bf16"], 1),
    "yolov9c_bf16": ("yolov9c 480x640 batch 1 bf16", ["detect.py", "--work", "yolov9c:480x640", "--precision", "bf16"], 1),
    "sorrel_x6": ("yolo11s:736x960 beside yolov5x6:960x1280", ["forms.py"], 1),
    "sorrel_memory": ("yolo11s:736x960 beside yolov5s:736x960", ["forms.py", "--large", "yolov5s:736x960"], 0.5),
    "sorrel_json": ("5 MP JPEG to JSON, yolo11s 960", ["pipeline.py"], 1),
    "end_to_end": ("end to end, 6 JPEG of 5 MP, yolov5x6", ["end_to_end.py"], 5),
    "memory": ("memory train:224:32", ["memory.py"], 0),
    "cold_start": ("cold start, classify one picture", ["cold_start.py"], 1),
}

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("--rows", nargs="*", choices=list(ROWS), default=list(ROWS), metavar="ROW")
parser.add_argument("--minutes", type=float, default=15, help="of the whole; about half of it is measuring, the rest start-up and checks")
parser.add_argument("--out", type=pathlib.Path)
parser.add_argument("--again", action="store_true")
parser.add_argument("--prepare", action="store_true", help="everything once, as short as possible, nothing written")
parser.add_argument("--list", action="store_true")
args, rest = parser.parse_known_args()
if args.list:
    print("\n".join(f"{name:12} {row}" for name, (row, _, _) in ROWS.items()))
    sys.exit()
if not args.prepare and not args.out:
    sys.exit("all.py: --out FILE is missing (or --prepare)")

commit, failed, start = common.commit(), [], time.time()
shares = sum(ROWS[name][2] for name in args.rows)
for name in args.rows:
    row, command, share = ROWS[name]
    there = json.loads(args.out.read_text()).get("rows", {}) if args.out and args.out.exists() else {}
    if not args.again and not args.prepare and there.get(row, {}).get("machine", {}).get("commit") == commit:
        print(f"{row}: is there", flush=True)
        continue
    seconds = 0 if args.prepare else 0.5 * 60 * args.minutes * share / max(shares, 1)
    begin = time.time()
    more = ["--rounds", "1"] if args.prepare else ["--out", str(args.out)]
    done = subprocess.run([sys.executable, HERE / command[0], *command[1:], "--seconds", f"{seconds:.0f}", *more, *rest])
    print(f"    ({time.time() - begin:.0f} s, {(time.time() - start) / 60:.1f} minutes in all)", flush=True)
    if done.returncode:
        failed.append(name)
if failed:
    sys.exit(f"failed: {' '.join(failed)}; the same command again runs only these")
