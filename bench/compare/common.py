"""What the comparisons share: images and weights that both sides get, runs in turns, ratios with their spread, the JSON.

Every script here runs in a throw-away environment, called `peers` below; nothing of it is committed:

    python3 -m venv peers
    peers/bin/pip install torch torchvision onnxruntime onnx pillow
    # only for end_to_end.py, MegaDetector's own tool:
    peers/bin/pip install opencv-python-headless pandas matplotlib seaborn scipy tqdm pyyaml requests psutil py-cpuinfo \
        humanfriendly jsonpickle scikit-learn python-dateutil send2trash dill fastquadtree pyperclip pytest ruff "setuptools<82"
    peers/bin/pip install --no-deps megadetector yolov5==7.0.14 ultralytics ultralytics-thop clipboard
"""
import argparse
import importlib.metadata
import json
import os
import pathlib
import platform
import shutil
import statistics
import struct
import subprocess
import sys
import tempfile
import time

clock = time.perf_counter
ROOT = pathlib.Path(__file__).resolve().parents[2]


def options(description, **defaults):
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", type=pathlib.Path, default=ROOT / "build", help="where tundra and bench/step were built")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seconds", type=float, default=60, help="of measuring, for each row")
    parser.add_argument("--rounds", type=int, default=3, help="at least so many, however long they take")
    parser.add_argument("--scratch", type=pathlib.Path, default=pathlib.Path(tempfile.gettempdir()) / "tundra-compare", help="weights, images, caches; kept")
    parser.add_argument("--out", type=pathlib.Path, help="JSON; rows of an earlier run in it stay")
    parser.add_argument("--cpu-time", action="store_true", help="of every program, instead of the clock on the wall: for a machine that "
                        "others use too, with --threads 1; not for whole processes")
    parser.add_argument("--no-compile", action="store_true", help="leave torch.compile out (it needs a C++ compiler and minutes)")
    for name, value in defaults.items():
        if isinstance(value, list):
            parser.add_argument("--" + name, nargs="*", default=value)
        else:
            parser.add_argument("--" + name, type=type(value), default=value)
    args = parser.parse_args()
    global clock
    clock = time.process_time if args.cpu_time else time.perf_counter
    args.scratch.mkdir(parents=True, exist_ok=True)
    os.environ["OMP_NUM_THREADS"] = str(args.threads)
    os.environ["TORCHINDUCTOR_CACHE_DIR"] = str(args.scratch / "inductor")
    return args


def images(n, h, w):
    """(n, h, w, 3) bytes, the same as bench_images() in bench/workload.cpp."""
    import numpy
    i = numpy.arange(n * h * w * 3, dtype=numpy.uint64).reshape(n, h, w, 3)
    k, y, x, c = (a.astype(numpy.uint64) for a in numpy.ogrid[:n, :h, :w, :3])
    eight = numpy.uint64(8)
    stripes = 37 * k + 91 * c + 3 * (y // eight) * (k % 7 + 1) + 5 * (x // eight) * (k % 5 + 1)
    return ((((i * numpy.uint64(2654435761)) >> numpy.uint64(24)) % 64) + stripes % 192).astype(numpy.uint8)


def write_safetensors(path, tensors, metadata=None):
    """name -> float32 array. https://github.com/huggingface/safetensors: 8 bytes of length, a JSON header, the bytes."""
    header, at = {"__metadata__": metadata or {"format": "pt"}}, 0
    for name, t in tensors.items():
        header[name] = {"dtype": "F32", "shape": list(t.shape), "data_offsets": [at, at + 4 * t.size]}
        at += 4 * t.size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    temporary = path.with_suffix(".part")
    with open(temporary, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for t in tensors.values():
            file.write(t.astype("<f4").tobytes())
    temporary.rename(path)


def camera_images(args, n):
    """A folder of n camera-trap JPEG files of 5 megapixels, made by `tundra synth`."""
    folder = args.scratch / f"images-{n}"
    if not folder.exists():
        made = args.scratch / f"synth-{n}"
        shutil.rmtree(made, ignore_errors=True)
        subprocess.run([args.build / "tundra", "synth", made, "--images", str(max(n, 10)), "--size", "2592x1944"], check=True, stdout=subprocess.DEVNULL)
        folder.mkdir()
        for i, path in enumerate(sorted(made.rglob("*.jpg"))[:n]):
            shutil.copy(path, folder / f"{i:05}.jpg")
        shutil.rmtree(made)
    return folder


class Tundra:
    """bench/step --serve: one process that stays, as the peers do."""

    def __init__(self, args, *command):
        self.process = subprocess.Popen([args.build / "bench/step", "--serve", "--threads", str(args.threads), *(["--cpu-time"] if args.cpu_time else []),
                                         *map(str, command)],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.result_file = args.scratch / f"result-{os.getpid()}.f32"

    def ask(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        if not answer:
            sys.exit("bench/step ended early")
        return json.loads(answer)

    def run(self, n):
        return self.ask(f"run {n}")["seconds"]

    def result(self):
        import numpy
        self.ask(f"result {self.result_file}")
        values = numpy.fromfile(self.result_file, numpy.float32)
        self.result_file.unlink()
        return values

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def repeat(step):
    def run(n):
        seconds = []
        for _ in range(n):
            start = clock()
            step()
            seconds.append(clock() - start)
        return seconds
    return run


def check(what, ours, theirs, tolerance):
    """Both sides must have computed the same before they are timed: largest difference against the largest number."""
    import numpy
    ours, theirs = numpy.asarray(ours, numpy.float64).ravel(), numpy.asarray(theirs, numpy.float64).ravel()
    if ours.shape != theirs.shape:
        sys.exit(f"{what}: {ours.size} numbers against {theirs.size}")
    difference = float(numpy.abs(ours - theirs).max() / numpy.abs(theirs).max())
    if not difference <= tolerance:
        sys.exit(f"{what}: tundra and the peer do not compute the same, {difference:.2g} of the largest number off")
    return {"what": what, "relative_difference": difference, "tolerance": tolerance}


def in_turns(args, programs, images, warm=2):
    """name -> run(n); rounds of all of them one after the other until the time is over. Starts with another one each round."""
    for run in programs.values():
        run(warm)
    names = list(programs)
    once = {n: statistics.median(programs[n](1)) for n in names}
    each = max(1, min(10, int(2 / max(once.values()))))  # slow steps: one at a time
    rounds, start = [], time.perf_counter()
    while len(rounds) < args.rounds or time.perf_counter() - start < args.seconds:
        taken = {}
        for i in range(len(names)):
            name = names[(i + len(rounds)) % len(names)]
            time.sleep(0.02)  # threads of the one before that still wait for work go to sleep
            taken[name] = programs[name](each)
        rounds.append(taken)
    return summary(rounds, images) | {"steps_per_round": each}


def summary(rounds, images):
    """Medians and quartiles of all steps, and of the ratio peer / tundra of each round."""
    def spread(values):
        if len(values) == 1:
            return dict.fromkeys(["median", "low", "high"], values[0])
        low, median, high = statistics.quantiles(values, n=4, method="inclusive")
        return {"median": median, "low": low, "high": high}

    names = list(rounds[0])
    seconds = {n: spread([s for r in rounds for s in r[n]]) for n in names}
    ratio = {n: spread([statistics.median(r[n]) / statistics.median(r["tundra"]) for r in rounds]) for n in names if n != "tundra"}
    return {"images": images, "rounds": len(rounds), "seconds": seconds, "ratio": ratio,
            "images_per_second": {n: images / s["median"] for n, s in seconds.items()}}


def version(package):
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def commit():
    """Of the sources: what a run itself writes does not make them dirty."""
    changed = said("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!bench/results", ":!docs")
    return said("git", "rev-parse", "--short", "HEAD") + ("-dirty" if changed else "")


def said(*command):
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    return done.stdout.strip()


def machine(args):
    with open("/proc/cpuinfo") as file:
        cpu = next((line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), platform.processor())
    with open("/proc/meminfo") as file:
        memory = int(file.readline().split()[1]) * 1024
    packages = ["torch", "torchvision", "onnxruntime", "megadetector", "yolov5", "numpy", "pillow", "opencv-python-headless"]
    return {"date": time.strftime("%Y-%m-%d %H:%M"), "cpu": cpu, "cores": os.cpu_count(), "threads": args.threads,
            "clock": "CPU time" if args.cpu_time else "wall", "memory_bytes": memory,
            "system": platform.platform(), "load_average": round(os.getloadavg()[0], 2), "commit": commit(),
            "tundra": said(args.build / "tundra", "version").splitlines()[:1], "python": platform.python_version(),
            "versions": {p: v for p in packages if (v := version(p))}}


def report(args, row):
    """Prints a row and puts it into the JSON in place of an older one of that name."""
    ratios = row.get("ratio", {})  # none without peers
    best = min(ratios, key=lambda n: ratios[n]["median"], default=None)
    lines = [f"{row['row']}: tundra {row['seconds']['tundra']['median']:.4g} s" if "seconds" in row else f"{row['row']}:"]
    for name, r in ratios.items():
        lines.append(f"    {name:28} {r['median']:6.2f}x  ({r['low']:.2f} to {r['high']:.2f}){'   the best peer' if name == best else ''}")
    if "share_of_ceiling" in row:
        lines.append(f"    {row['share_of_ceiling']:.2f} of what decoding and network allow")
    print("\n".join(lines), flush=True)
    row = row | ({"best_peer": best} if ratios else {}) | {"machine": machine(args)}
    if not args.out:
        return
    data = json.loads(args.out.read_text()) if args.out.exists() else {}
    data["ratio"] = "peer / tundra: above 1 tundra is faster or smaller; medians and quartiles of rounds that ran in turns"
    data.setdefault("rows", {})[row["row"]] = row
    args.out.parent.mkdir(parents=True, exist_ok=True)
    temporary = args.out.with_suffix(".part")
    temporary.write_text(json.dumps(data, indent=1) + "\n")
    temporary.rename(args.out)
