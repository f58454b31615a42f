#!/usr/bin/env bash
# PyTorch's GroupNorm on the CPU loses its digits when the tensor is in channels_last: a white image becomes noise.
#
# Package:  torch 2.15.0 (float32, CPU).
# Input:    the same numbers in both memory formats: an image of one value, 251.3, in 32 channels; and random numbers
#           of deviation 1 about a mean of 0, 30 and 300. Compared with the same function in float64.
# Guess:    channels_last is a matter of speed; the results agree to about 1e-6 or, with a mean of 300, 1e-4.
# What it does: contiguous is as expected. In channels_last the image of one value gives numbers above 1 where all
#           must be 0, and errors are 1e-3 and more at a mean of 30, above 0.1 at 300. That is how a variance as the
#           mean of the squares less the square of the mean looks in float32. BatchNorm (in training) stands the noise
#           better, but the image of one value gives 0.8 and more in channels_last, too, against 0.004.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 or newer; downloads about 3 GB, because
# PyTorch's package for Linux brings CUDA along.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install --no-cache-dir torch==2.15.0 numpy==2.2.6
cat > "$folder/try.py" <<'PYTHON'
import sys

import torch
import torch.nn.functional as F


def errors(x, norm):
    """The largest error of `norm` on x, contiguous and in channels_last."""
    right = norm(x.double())
    return [(norm(y).double() - right).abs().max().item() for y in (x, x.contiguous(memory_format=torch.channels_last))]


def group_norm(x):
    return F.group_norm(x, 8)


def batch_norm(x):
    return F.batch_norm(x, None, None, training=True)


torch.manual_seed(0)
noise = torch.randn(2, 32, 32, 32)
ok = True
for name, x, least, most in (('one value, 251.3', torch.full((1, 32, 64, 64), 251.3), 1, None),
                             ('mean 0', noise, None, 1e-5), ('mean 30', noise + 30, 5e-4, None),
                             ('mean 300', noise + 300, 0.05, None)):
    contiguous, last = errors(x, group_norm)
    also = errors(x, batch_norm)
    print(f'{name}: GroupNorm contiguous {contiguous:.1e}, channels_last {last:.1e}; '
          f'BatchNorm {also[0]:.1e}, {also[1]:.1e}')
    ok &= contiguous < 2e-4 and (least is None or last > least) and (most is None or last < most)
sys.exit(not ok)
PYTHON
"$folder/python/bin/python" "$folder/try.py"
