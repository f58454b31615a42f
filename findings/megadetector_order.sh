#!/usr/bin/env bash
# What MegaDetector's repeat detection elimination marks depends on the order of the images in the results file.
#
# Package:  megadetector 10.0.28 (repeat_detection_elimination), default options but for the review folder, which is
#           off.
# Input:    60 images of one camera with one box each, a twig that creeps to the right by 2 % of the image width in
#           all (a mast that sags, a shadow that wanders). The same 60 entries in three orders.
# Guess:    the boxes are what counts, so all orders give the same marks.
# What it does: in time order nothing is marked; in two shuffled orders most or all of the 60 boxes are. Each box is
#           compared with the first box of every group, not with the others in it (IoU of 0.9 at least, 20 boxes make
#           a group suspicious). In time order a group is closed as soon as the twig has left its first box behind,
#           after 16 boxes; when the first box comes from the middle, its group reaches to both sides.
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
import random
import sys
import tempfile

from megadetector.postprocessing.repeat_detection_elimination.repeat_detections_core import (
    RepeatDetectionOptions, find_repeat_detections)


def marked(images):
    """How many boxes the elimination marks (it makes their confidence negative)."""
    with tempfile.TemporaryDirectory() as folder:
        before, after = os.path.join(folder, 'before.json'), os.path.join(folder, 'after.json')
        with open(before, 'w') as file:
            json.dump({'info': {'format_version': '1.5', 'detector': 'any'}, 'images': images,
                       'detection_categories': {'1': 'animal', '2': 'person', '3': 'vehicle'}}, file)
        options = RepeatDetectionOptions()
        options.outputBase = options.imageBase = folder
        options.bWriteFilteringFolder = False
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            find_repeat_detections(before, after, options)
        with open(after) as file:
            return sum(box['conf'] < 0 for image in json.load(file)['images'] for box in image['detections'])


twig = [{'file': f'camera/{i:04d}.jpg',
         'detections': [{'category': '1', 'conf': 0.5, 'bbox': [round(0.3 + 0.02 * i / 60, 4), 0.4, 0.1, 0.1]}]}
        for i in range(60)]
seen = [marked(twig)]
for seed in (0, 1):
    shuffled = list(twig)
    random.Random(seed).shuffle(shuffled)
    seen.append(marked(shuffled))
print('boxes marked, of 60: in time order %d, in two other orders %d and %d' % tuple(seen))
sys.exit(seen != [0, 60, 59])
PYTHON
"$folder/python/bin/python" "$folder/try.py"
