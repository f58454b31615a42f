#!/usr/bin/env bash
# Smoothing in the MegaDetector package turns one genus into another whose name begins with the same letters.
#
# Package:  megadetector 10.0.28 (module postprocessing.classification_postprocessing), default options.
# Input:    a burst of nine images, one animal each: eight say "Tamias" (chipmunks, genus only) with 0.95 and one says
#           "Tamiasciurus hudsonicus" (American red squirrel) with 0.55.
# Guess:    a genus may become one of its own species, so nothing changes here: the squirrel is no Tamias.
# What it does: all eight chipmunks become American red squirrels. Whether a taxon lies below another is tested by
#           looking for one string inside the other, and "...;sciuridae;tamias" begins
#           "...;sciuridae;tamiasciurus;...". Bos (cattle) and Boselaphus (nilgai) are such a pair, too. With Sciurus,
#           a name that begins otherwise, the chipmunks stay, and the single squirrel is outvoted.
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
import sys
from collections import Counter

from megadetector.postprocessing.classification_postprocessing import (
    ClassificationSmoothingOptions, smooth_classification_results_sequence_level)


def smoothed(many, one):
    """What is left of eight sure images of the taxon `many` and one, less sure, of the taxon `one`."""
    taxa = {'0': many, '1': one}
    labels = [['0', 0.95]] * 8 + [['1', 0.55]]
    results = {
        'info': {'format_version': '1.5', 'detector': 'any'},
        'detection_categories': {'1': 'animal', '2': 'person', '3': 'vehicle'},
        'classification_categories': {key: taxon.split(';')[-1] for key, taxon in taxa.items()},
        'classification_category_descriptions': taxa,
        'images': [{'file': f'{i}.jpg', 'detections': [{'category': '1', 'conf': 0.9, 'bbox': [0.1, 0.1, 0.2, 0.2],
                                                        'classifications': [list(label)]}]}
                   for i, label in enumerate(labels)],
    }
    burst = [{'id': str(i), 'file_name': f'{i}.jpg', 'seq_id': 'burst', 'frame_num': i, 'datetime': i, 'location': 'a'}
             for i in range(len(labels))]
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        after = smooth_classification_results_sequence_level(results, burst, None, ClassificationSmoothingOptions())
    names = after['classification_categories']
    return dict(Counter(names[image['detections'][0]['classifications'][0][0]] for image in after['images']))


prefix = '00000000-0000-0000-0000-000000000000;mammalia;'
chipmunk = prefix + 'rodentia;sciuridae;tamias;;tamias species'
seen = [
    smoothed(chipmunk, prefix + 'rodentia;sciuridae;tamiasciurus;hudsonicus;american red squirrel'),
    smoothed(prefix + 'cetartiodactyla;bovidae;bos;;bos species',
             prefix + 'cetartiodactyla;bovidae;boselaphus;tragocamelus;nilgai'),
    smoothed(chipmunk, prefix + 'rodentia;sciuridae;sciurus;carolinensis;eastern gray squirrel'),
]
expected = [{'american red squirrel': 9}, {'nilgai': 9}, {'tamias species': 9}]
print('8 Tamias and 1 American red squirrel become', seen[0])
print('8 Bos and 1 nilgai become', seen[1])
print('8 Tamias and 1 eastern gray squirrel become', seen[2])
sys.exit(seen != expected)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
