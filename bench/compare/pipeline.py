#!/usr/bin/env python3
"""JPEG files of 5 megapixels to MegaDetector's JSON: how much of what decoding and network allow `tundra detect` reaches. No peers.

    cmake --build build --target bench_pipeline
    python3 bench/compare/pipeline.py [--model yolo11s] [--size 960] [--files 10] [--out bench/results/NAME.json]

bench/pipeline.cpp measures decoding alone, the network alone and both, in one process, each --rounds times; making the images takes most of the time.
"""
import json
import subprocess

import common

args = common.options(__doc__, model="yolo11s", size=960, files=10)


done = subprocess.run([args.build / "bench/pipeline", "--json", "--model", args.model, "--size", str(args.size), "--batch", "1", "--files", str(args.files),
                       "--passes", str(args.rounds), "--threads", str(args.threads), "--loaders", str(args.threads)],
                      check=True, stdout=subprocess.PIPE, text=True)
run = json.loads(done.stdout)
share = run["images_per_second"] / run["ceiling_images_per_second"]
common.report(args, {"row": f"5 MP JPEG to JSON, {args.model} {args.size}", "command": f"bench/compare/pipeline.py --model {args.model} --size {args.size}",
                     "run": run, "share_of_ceiling": share})
