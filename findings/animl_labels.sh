#!/usr/bin/env bash
# animl's sequence classification calls people "empty" and vehicles "human" when a vehicle is the first of them in the
# list.
#
# Package:  animl 3.0.1 (sequence_classification, with the arguments that animl's own pipeline gives it).
# Input:    four images at four different hours, in three orders: an animal that the classifier is sure of, and one
#           image each that MegaDetector found empty, with a person, with a vehicle (prepared as animl's get_empty
#           does it).
# Guess:    these three keep what MegaDetector said; the order of the list does not matter.
# What it does: with the order empty, person, vehicle all is right. With vehicle, person, empty the vehicle becomes
#           "empty" and the empty image "vehicle"; with vehicle, empty, person all three are wrong: the vehicle is
#           "human", the person "empty" and the empty image "vehicle". The three columns of scores are in alphabetical
#           order (a pivot table), the three names beside them in the order in which they first appear.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 to 3.13; downloads about 30 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install numpy==2.2.6 pandas==2.3.3 tqdm==4.67.1
"$folder/python/bin/pip" -q install --no-deps animl==3.0.1
cat > "$folder/try.py" <<'PYTHON'
import importlib.util
import os
import sys
from unittest import mock

import numpy
import pandas

# animl's file with the function. What else it imports (PyTorch, networks) the function does not use: stand-ins do.
package = importlib.util.find_spec('animl').submodule_search_locations[0]
for name in ('torch', 'animl', 'animl.model_architecture', 'animl.utils', 'animl.utils.general'):
    sys.modules[name] = mock.MagicMock()
spec = importlib.util.spec_from_file_location('classification', os.path.join(package, 'classification.py'))
classification = importlib.util.module_from_spec(spec)
spec.loader.exec_module(classification)


def answers(order):
    """What becomes of the images with these labels, in this order in the list."""
    categories = {'empty': 0, 'animal': 1, 'human': 2, 'vehicle': 3}
    times = pandas.date_range('2025-05-01 06:00:00', periods=len(order), freq='h')
    found = pandas.DataFrame({
        'filepath': [label + '.jpg' for label in order], 'station': 'A', 'datetime': times,
        'filemodifydate': times.strftime('%Y-%m-%d %H:%M:%S'), 'category': [categories[label] for label in order],
        'conf': [0.0 if label == 'empty' else 0.9 for label in order]})
    animals = found[found['category'] == 1].reset_index(drop=True)
    others = found[found['category'] != 1].reset_index(drop=True)
    others['prediction'] = others['category'].map({0: 'empty', 2: 'human', 3: 'vehicle'})
    others['confidence'] = others['conf'].where(others['category'] != 0, 1.0)
    scores = numpy.tile([0.9, 0.1], (len(animals), 1))
    out = classification.sequence_classification(animals, others, scores, pandas.Series(['deer', 'fox']), 'station',
                                                 empty_class='', sort_columns=None, file_col='filepath', maxdiff=60)
    said = dict(zip(out['filepath'], out['prediction']))
    return {label: said[label + '.jpg'] for label in order}


expected = [{'animal': 'deer', 'empty': 'empty', 'human': 'human', 'vehicle': 'vehicle'},
            {'animal': 'deer', 'vehicle': 'empty', 'human': 'human', 'empty': 'vehicle'},
            {'vehicle': 'human', 'animal': 'deer', 'empty': 'vehicle', 'human': 'empty'}]
seen = [answers(list(order)) for order in expected]
for one in seen:
    print(', '.join(f'{label} -> {said}' for label, said in one.items()))
sys.exit(seen != expected)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
