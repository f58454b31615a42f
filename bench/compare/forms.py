#!/usr/bin/env python3
"""A small detector beside a large one, both Tundra, in turns: how many times as many images, and how much memory. No peers.

    cmake --build build --target bench_step
    python3 bench/compare/forms.py [--small yolo11s:736x960] [--large yolov5x6:960x1280] [--other BUILD] [--out bench/results/NAME.json]

--other: the build of another commit, which runs the large one. A ratio of 12 says that the small one does 12 images while the large one does 1.
"""
import copy
import pathlib

import common

args = common.options(__doc__, small="yolo11s:736x960", large="yolov5x6:960x1280", other="")
other = copy.copy(args)
other.build = pathlib.Path(args.other) if args.other else args.build


def open_form(where, work):
    name, pixels = work.split(":")
    return common.Tundra(where, "--model", name, "--size", pixels, "--batch", 1, "--inference")


small, large = open_form(args, args.small), open_form(other, args.large)
row = {"row": f"{args.small} beside {args.large}", "command": f"bench/compare/forms.py --small {args.small} --large {args.large}"}
row |= common.in_turns(args, {"tundra": small.run, args.large: large.run}, 1, warm=1)
row["peak_resident_bytes"] = {work: tundra.ask("run 0")["peak_resident_bytes"] for work, tundra in ((args.small, small), (args.large, large))}
common.report(args, row)
print("    resident at most: " + ", ".join(f"{work} {peak / 1e6:.0f} MB" for work, peak in row["peak_resident_bytes"].items()))
small.close()
large.close()
