#!/usr/bin/env bash
# PyTorch-Wildlife's results file for Timelapse gives every box of an image the species of all its boxes.
#
# Packages: PytorchWildlife 1.3.0 (save_detection_classification_timelapse_json), supervision 0.23.0.
# Input:    an image with a person, a deer and a fox; the classifier saw the two animals: deer 0.90, fox 0.80.
# Guess:    the deer's box says deer, the fox's box says fox, the person's box has no species.
# What it does: all three boxes, the person's too, have the same list: deer 0.90, fox 0.80. Programs that take the
#           first (most likely) entry, as MegaDetector's format has it, count three deer. Which box was which cannot
#           be found from the file any more; the package's other format (save_detection_classification_json) keeps the
#           order.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.9 to 3.12; downloads about 150 MB. PyTorch
# and gradio are left out: the function does not use them.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install numpy==2.2.6 scipy==1.15.3 matplotlib==3.10.7 Pillow==12.0.0 PyYAML==6.0.3 \
    defusedxml==0.7.1 opencv-python-headless==4.12.0.88
"$folder/python/bin/pip" -q install --no-deps supervision==0.23.0 PytorchWildlife==1.3.0
cat > "$folder/try.py" <<'PYTHON'
import importlib.util
import json
import os
import sys
import tempfile

import numpy as np
import supervision

# The one file with the function, without the package's __init__, which loads PyTorch.
package = importlib.util.find_spec('PytorchWildlife').submodule_search_locations[0]
spec = importlib.util.spec_from_file_location('post_process', os.path.join(package, 'utils', 'post_process.py'))
post_process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(post_process)

boxes = np.array([[10, 10, 60, 90], [100, 20, 180, 80], [200, 30, 240, 70]], dtype=float)
detected = [{'img_id': 'image.jpg', 'normalized_coords': (boxes / [300, 100, 300, 100]).tolist(),
             'detections': supervision.Detections(xyxy=boxes, confidence=np.array([0.95, 0.9, 0.85]),
                                                  class_id=np.array([1, 0, 0]))}]
classified = [{'img_id': 'image.jpg', 'class_id': 0, 'confidence': 0.9},   # the second box
              {'img_id': 'image.jpg', 'class_id': 1, 'confidence': 0.8}]   # the third box
species = {'0': 'deer', '1': 'fox'}
with tempfile.TemporaryDirectory() as folder:
    path = os.path.join(folder, 'results.json')
    post_process.save_detection_classification_timelapse_json(
        detected, classified, path, clf_categories=species,
        det_categories={'0': 'animal', '1': 'person', '2': 'vehicle'})
    with open(path) as file:
        results = json.load(file)
seen = []
for box in results['images'][0]['detections']:
    names = [(species[key], confidence) for key, confidence in box['classifications']]
    print(results['detection_categories'][box['category']], names)
    seen.append(names)
sys.exit(seen != [[('deer', 0.9), ('fox', 0.8)]] * 3)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
