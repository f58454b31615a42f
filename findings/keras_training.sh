#!/usr/bin/env bash
# Keras 3: `training=` that is given to a layer or to a base network inside a model counts for model(x) alone; fit and
# predict overwrite it, in the whole depth of the model.
#
# Packages: keras 3.15.1 on jax 0.6.2 (CPU).
# Input:    two models of two layers, and 64 rows of numbers about 5. The first calls Dropout(0.5) with training=True, which
#           is how an ensemble by dropout at prediction is written. The second calls a base network with batch
#           normalization with training=False, as the guide to transfer learning tells, so that the statistics of the
#           base stay while its weights are tuned.
# Guess:    what is said at the inner call wins over what fit and predict say, as the documentation of the argument
#           lists it: predict drops numbers, and fit leaves the moving mean as it is.
# What it does: model.predict drops nothing, and model(x) does. One epoch of model.fit moves the moving mean of the base
#           to the new data, although a call of the base with training=False inside the model says that it must not. The saved
#           file keeps the argument of the inner call either way. base.trainable = False does hold the statistics.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 to 3.13; downloads about 130 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install keras==3.15.1 jax==0.6.2 jaxlib==0.6.2
cat > "$folder/try.py" <<'PYTHON'
import sys

import keras
import numpy as np

rows = np.random.default_rng(0).normal(5, 2, (64, 8)).astype(np.float32)
start = keras.Input((8,))

ensemble = keras.Model(start, keras.layers.Dropout(0.5)(start, training=True))
kept = (ensemble.predict(rows, verbose=0) == rows).mean()
called = (np.asarray(ensemble(rows)) == rows).mean()
print(f'Dropout(0.5)(x, training=True): predict leaves {kept:.0%} of the numbers as they were, model(x) {called:.0%}')


def mean_after_fit(trainable, **inner):
    normalization = keras.layers.BatchNormalization()
    base = keras.Sequential([keras.Input((8,)), normalization])
    base.trainable = trainable
    model = keras.Model(start, keras.layers.Dense(1)(base(start, **inner)))
    model.compile('sgd', 'mse')
    model.fit(rows, np.zeros((64, 1)), epochs=1, verbose=0)
    return float(np.abs(np.asarray(normalization.moving_mean)).mean())


silent, told, frozen = mean_after_fit(True), mean_after_fit(True, training=False), mean_after_fit(False, training=False)
print(f'moving mean after one epoch (it begins at 0): {silent:.4f} with base(x), {told:.4f} with base(x, training=False), '
      f'{frozen:.4f} with base.trainable = False')
sys.exit(not (kept == 1 and called < 0.7 and told > 0.05 and abs(told - silent) < 1e-3 and frozen == 0))
PYTHON
KERAS_BACKEND=jax "$folder/python/bin/python" "$folder/try.py" 2>/dev/null
