#!/usr/bin/env bash
# ONNX's GroupNormalization answers an image of one value with NaN in ONNX Runtime, as it does in ONNX's own reference.
#
# Packages: onnx 1.23.2 (with its reference evaluator), onnxruntime 1.32.0, openvino 2026.4.1, all on the CPU.
# Input:    a model of the one operation GroupNormalization (opset 21, 8 groups, epsilon 1e-5). Images of 32 channels in
#           which every number is the same (a frame that is white with fog or flash): 56 such images, values from 200.3
#           to 255.3. And random numbers of deviation 1 about a mean of 300.
# Guess:    x less its mean is 0, epsilon keeps the division harmless: 0 in every engine, up to some rounding; and three
#           engines agree on the random numbers to about 1e-4.
# What it does: ONNX Runtime gives nothing but NaN for many of these images, and so does the reference; OpenVINO never.
#           With the random numbers ONNX Runtime is off by more than 0.1 and the reference by more than 0.01. The
#           operation is defined by a formula that takes the variance as the mean of the squares less the square of the
#           mean; in float32 that may be below minus epsilon, and then has no root. Engines that compute it in their own
#           way are right.
# Ends with 0 while this is so, with 1 when it has changed. Needs Python 3.10 or newer; downloads about 100 MB.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/python"
"$folder/python/bin/pip" -q install onnx==1.23.2 onnxruntime==1.32.0 openvino==2026.4.1
cat > "$folder/try.py" <<'PYTHON'
import sys
import warnings

import numpy as np
import onnx
import onnx.reference
import onnxruntime
import openvino

warnings.simplefilter('ignore')  # numpy's, about the root in the reference
shape = [1, 32, 64, 64]
kind = onnx.TensorProto.FLOAT
constants = [onnx.numpy_helper.from_array(np.full(32, value, np.float32), name) for name, value in (('s', 1), ('b', 0))]
model = onnx.helper.make_model(
    onnx.helper.make_graph([onnx.helper.make_node('GroupNormalization', ['x', 's', 'b'], ['y'], num_groups=8)], 'one',
                           [onnx.helper.make_tensor_value_info('x', kind, shape)],
                           [onnx.helper.make_tensor_value_info('y', kind, shape)], constants),
    opset_imports=[onnx.helper.make_opsetid('', 21)], ir_version=10)
onnx.checker.check_model(model)
text = model.SerializeToString()

session = onnxruntime.InferenceSession(text)
reference = onnx.reference.ReferenceEvaluator(model)
core = openvino.Core()
compiled = core.compile_model(core.read_model(text), 'CPU', {'INFERENCE_PRECISION_HINT': 'f32'})
engines = {'ONNX Runtime': lambda x: session.run(None, {'x': x})[0],
           'reference': lambda x: reference.run(None, {'x': x})[0],
           'OpenVINO': lambda x: compiled(x)[0]}


def right(x):
    groups = x.astype(np.float64).reshape(8, -1)
    return ((groups - groups.mean(1, keepdims=True)) / np.sqrt(groups.var(1, keepdims=True) + 1e-5)).reshape(x.shape)


noise = (np.random.default_rng(0).standard_normal(shape) + 300).astype(np.float32)
lost, error = {}, {}
for name, engine in engines.items():
    lost[name] = sum(bool(np.isnan(engine(np.full(shape, 200.3 + i, np.float32))).all()) for i in range(56))
    error[name] = float(np.abs(engine(noise) - right(noise)).max())
    print(f'{name}: NaN for {lost[name]} of 56 images of one value; largest error at a mean of 300: {error[name]:.1e}')
sys.exit(not (lost['ONNX Runtime'] > 0 and lost['reference'] > 0 and lost['OpenVINO'] == 0
              and error['ONNX Runtime'] > 0.05 and error['reference'] > 0.005 and error['OpenVINO'] < 1e-3))
PYTHON
"$folder/python/bin/python" "$folder/try.py"
