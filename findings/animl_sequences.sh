#!/usr/bin/env bash
# animl forms its sequences by the time at which the files were last written, not by the time of the photographs.
#
# Package:  animl 3.0.1 (sequence_classification, with the arguments that animl's own pipeline gives it).
# Input:    (1) three images of one station from three weeks, deer, fox, deer, each with the time of its photograph;
#           once with files that still carry that time, once with files copied from the card within one second. (2)
#           ten images of one visit, one every 20 s: the classifier says deer four times, then fox six times.
# Guess:    a sequence is what the function's own description says: images of one station, each at most 60 s after the
#           one before, by the photographs' time. So (1) is three sequences both times and the fox stays, and (2) is
#           one sequence with one species.
# What it does: (1) after copying, three weeks are one sequence and the fox has become a deer. (2) The 60 s count from
#           the first image of the sequence, so that the visit is cut after every fourth image and ends with two
#           species. The column "sequence", which would show it, is 0 in all rows.
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


def answers(taken, written, scores):
    """The species of images taken at these times, in files written at those, with these scores of deer and fox."""
    animals = pandas.DataFrame({'filepath': [f'{i}.jpg' for i in range(len(taken))], 'station': 'A', 'datetime': taken,
                                'filemodifydate': written.strftime('%Y-%m-%d %H:%M:%S'), 'category': 1, 'conf': 0.9})
    other = pandas.DataFrame({'filepath': ['other.jpg'], 'station': 'B', 'datetime': taken[:1],
                              'filemodifydate': written[:1].strftime('%Y-%m-%d %H:%M:%S'), 'category': 0, 'conf': 0.0,
                              'prediction': 'empty', 'confidence': 1.0})
    out = classification.sequence_classification(animals, other, numpy.array(scores), pandas.Series(['deer', 'fox']),
                                                 'station', empty_class='', sort_columns=None, file_col='filepath',
                                                 maxdiff=60)
    said = dict(zip(out['filepath'], out['prediction']))
    return [said[f'{i}.jpg'] for i in range(len(taken))], sorted(set(out['sequence']))


deer, fox = [0.9, 0.1], [0.2, 0.8]
weeks = pandas.to_datetime(['2025-05-01 06:00:00', '2025-05-09 21:00:00', '2025-05-22 12:00:00'])
visit = pandas.date_range('2025-05-01 06:00:00', periods=10, freq='20s')
seen = [answers(weeks, weeks, [deer, fox, deer]),
        answers(weeks, pandas.to_datetime(['2025-06-01 10:00:00'] * 3), [deer, fox, deer]),
        answers(visit, visit, [deer] * 4 + [fox] * 6)]
expected = [(['deer', 'fox', 'deer'], [0.0]), (['deer', 'deer', 'deer'], [0.0]), (['deer'] * 4 + ['fox'] * 6, [0.0])]
for name, (species, numbers) in zip(('three weeks, own times', 'three weeks, copied', 'one visit'), seen):
    print(f'{name}: {" ".join(species)}; numbers of sequences: {numbers}')
sys.exit(seen != expected)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
