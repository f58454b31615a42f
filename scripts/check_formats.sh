#!/usr/bin/env bash
# What other programs say of the files that tundra writes: the package megadetector and frictionless with the schemas of
# Camtrap DP, both pinned, from PyPI, in a virtual environment that is thrown away. Needs python3 and the network; not
# part of the tests, which hold the same rules in their own words.
#
#   scripts/check_formats.sh [TUNDRA]        default: build/tundra; 4 minutes, most of them installing
set -euo pipefail
cd "$(dirname "$0")/.."
tundra=$(realpath "${1:-build/tundra}")
schemas=$PWD/tests/data/camtrap-dp
checks=$PWD/scripts/check_formats.py
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/python"
"$work/python/bin/pip" -q install frictionless==5.21.0 fastquadtree pandas numpy tqdm jsonpickle pillow matplotlib scikit-learn \
    humanfriendly opencv-python-headless requests python-dateutil send2trash clipboard dill jsonschema pytest
"$work/python/bin/pip" -q install --no-deps megadetector==10.0.28
cd "$work"
"$tundra" synth season --task survey --cameras 6 --images 600 --size 320x240 -q
"$work/python/bin/python" "$checks" "$tundra" season "$schemas"
