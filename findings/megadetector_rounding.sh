#!/usr/bin/env bash
# MegaDetector's repeat detection elimination moves every box of the file, also in images without any repeat.
#
# Package:  megadetector 10.0.28 (repeat_detection_elimination), default options but for the review folder, which is
#           off.
# Input:    ten images of one camera with one box each, at different places: nothing repeats. Coordinates have four
#           decimals, as the same package writes them.
# Guess:    the tool makes the confidence of a repeated box negative and writes everything else as it was.
# What it does: it goes through a table of pandas, whose to_json is asked for three decimals: each coordinate that has
#           a fourth one is another number afterwards, up to two pixels of 4,000 away, and a side below 0.0005 becomes
#           0. Boxes can no longer be matched by their numbers with the file before, and the tool itself leaves boxes
#           with a side of 0 out in its next pass.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 to 3.12; downloads about 150 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install numpy==2.2.6 pandas==2.3.3 matplotlib==3.10.7 scikit-learn==1.7.2 Pillow==12.0.0 \
    opencv-python-headless==4.12.0.88 tqdm==4.67.1 jsonpickle==4.1.1 humanfriendly==10.0 requests==2.32.5 \
    fastquadtree==1.1.2 python-dateutil==2.9.0.post0 send2trash==1.8.3 clipboard==0.0.4 dill==0.4.0 pytest==8.4.2
"$folder/python/bin/pip" -q install --no-deps megadetector==10.0.28
cat > "$folder/try.py" <<'PYTHON'
import contextlib
import io
import json
import os
import sys
import tempfile

from megadetector.postprocessing.repeat_detection_elimination.repeat_detections_core import (
    RepeatDetectionOptions, find_repeat_detections)

boxes = [[round(0.0123 + 0.0811 * i, 4), 0.4321, 0.0456, 0.0567] for i in range(9)] + [[0.5, 0.1, 0.0004, 0.25]]
with tempfile.TemporaryDirectory() as folder:
    before, after = os.path.join(folder, 'before.json'), os.path.join(folder, 'after.json')
    with open(before, 'w') as file:
        json.dump({'info': {'format_version': '1.5', 'detector': 'any'},
                   'images': [{'file': f'camera/{i}.jpg', 'detections': [{'category': '1', 'conf': 0.5, 'bbox': box}]}
                              for i, box in enumerate(boxes)],
                   'detection_categories': {'1': 'animal', '2': 'person', '3': 'vehicle'}}, file)
    options = RepeatDetectionOptions()
    options.outputBase = options.imageBase = folder
    options.bWriteFilteringFolder = False
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        find_repeat_detections(before, after, options)
    with open(after) as file:
        found = [d for image in json.load(file)['images'] for d in image['detections']]
changed = sum(d['bbox'] != box for d, box in zip(found, boxes))
print(f"marked as repeats: {sum(d['conf'] < 0 for d in found)} of {len(boxes)}")
print(f'boxes with other numbers than before: {changed}')
print(f"{boxes[0]} became {found[0]['bbox']}, {boxes[-1]} became {found[-1]['bbox']}")
sys.exit(changed != len(boxes) or found[-1]['bbox'][2] != 0)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
