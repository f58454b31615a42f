#!/usr/bin/env bash
# Animals lose their boxes on the way from PyTorch-Wildlife's results file to COCO by the MegaDetector package.
#
# Packages: PytorchWildlife 1.3.0 (save_detection_timelapse_json), supervision 0.23.0; megadetector 10.0.28
#           (md_to_coco).
# Input:    one image with an animal and a person, written by PyTorch-Wildlife with its own MegaDetector's categories
#           (0 animal, 1 person, 2 vehicle); the same with the numbers that MegaDetector's files have (1, 2, 3).
# Guess:    the file says by itself which number means what, so both become the same two boxes.
# What it does: in the first file number 0 is taken for "empty" although the file calls it animal. The annotation
#           stays and is called animal, its box is gone, and a line "Warning: empty category (0) used" between
#           progress bars is all that tells. A detector trained or measured with that file learns of people and
#           vehicles only.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 to 3.12; downloads about 150 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install numpy==2.2.6 pandas==2.3.3 matplotlib==3.10.7 scikit-learn==1.7.2 Pillow==12.0.0 \
    opencv-python-headless==4.12.0.88 tqdm==4.67.1 jsonpickle==4.1.1 humanfriendly==10.0 requests==2.32.5 \
    fastquadtree==1.1.2 python-dateutil==2.9.0.post0 send2trash==1.8.3 clipboard==0.0.4 dill==0.4.0 pytest==8.4.2 \
    scipy==1.15.3 PyYAML==6.0.3 defusedxml==0.7.1
"$folder/python/bin/pip" -q install --no-deps supervision==0.23.0 PytorchWildlife==1.3.0 megadetector==10.0.28
cat > "$folder/try.py" <<'PYTHON'
import contextlib
import importlib.util
import io
import os
import sys
import tempfile

import numpy as np
import supervision
from megadetector.postprocessing.md_to_coco import md_to_coco
from PIL import Image

# The one file with the function, without the package's __init__, which loads PyTorch.
package = importlib.util.find_spec('PytorchWildlife').submodule_search_locations[0]
spec = importlib.util.spec_from_file_location('post_process', os.path.join(package, 'utils', 'post_process.py'))
post_process = importlib.util.module_from_spec(spec)
spec.loader.exec_module(post_process)


def boxes(first):
    """What COCO's annotations hold when the numbers of animal, person and vehicle begin with `first`."""
    pixels = np.array([[30, 10, 90, 40], [150, 10, 210, 40]], dtype=float)
    detected = [{'img_id': 'image.jpg', 'normalized_coords': (pixels / [300, 100, 300, 100]).tolist(),
                 'detections': supervision.Detections(xyxy=pixels, confidence=np.array([0.9, 0.8]),
                                                      class_id=np.array([first, first + 1]))}]
    names = {str(first + i): name for i, name in enumerate(('animal', 'person', 'vehicle'))}
    with tempfile.TemporaryDirectory() as folder:
        Image.new('RGB', (300, 100)).save(os.path.join(folder, 'image.jpg'))
        results, coco = os.path.join(folder, 'results.json'), os.path.join(folder, 'coco.json')
        post_process.save_detection_timelapse_json(detected, results, categories=names)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            converted = md_to_coco(results, coco, image_folder=folder)
    called = {category['id']: category['name'] for category in converted['categories']}
    return {called[a['category_id']]: [round(x) for x in a['bbox']] if 'bbox' in a else None
            for a in converted['annotations']}


seen = [boxes(0), boxes(1)]
print('animal is 0:', seen[0])
print('animal is 1:', seen[1])
animal, person = [30, 10, 60, 30], [150, 10, 60, 30]
sys.exit(seen != [{'animal': None, 'person': person}, {'animal': animal, 'person': person}])
PYTHON
"$folder/python/bin/python" "$folder/try.py"
