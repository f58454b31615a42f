#!/usr/bin/env python3
"""Makes keras.zip: ResNet-50 files of Keras 2.15 and 3.15 with one channel in the stem, and keras.json: what Keras answers.

    python3 make_keras.py FOLDER        once with each version (keras 2.15 with tensorflow 2.15, keras 3.15); files and answers
    python3 make_keras.py FOLDER --zip  packs them

The image is 64 x 64; channel c of pixel (i, j) is (7 i + 13 j + 31 c + i j) mod 256.
"""
import glob, json, os, sys, zipfile

os.environ['TF_CPP_MIN_LOG_LEVEL'] = '3'
folder = sys.argv[1]
if '--zip' in sys.argv:
    here = os.path.dirname(os.path.abspath(__file__))
    with zipfile.ZipFile(os.path.join(here, 'keras.zip'), 'w', zipfile.ZIP_DEFLATED, compresslevel=9) as z:
        for path in sorted(glob.glob(folder + '/*.h5') + glob.glob(folder + '/*.keras')):
            z.write(path, os.path.basename(path))
    answers = {}
    for path in sorted(glob.glob(folder + '/answers*.json')):
        answers.update(json.load(open(path)))
    json.dump(answers, open(os.path.join(here, 'keras.json'), 'w'), indent=1)
    sys.exit()

import keras
import numpy as np
from keras import layers as L
from keras.applications.resnet import preprocess_input

V = 'k3' if keras.__version__.startswith('3') else 'k2'
i, j, c = np.meshgrid(np.arange(64), np.arange(64), np.arange(3), indexing='ij')
image = ((7 * i + 13 * j + 31 * c + i * j) % 256)[None].astype('float32')
random = np.random.default_rng(1)


def block(x, n, stride, name, project):  # as keras.applications has it, for any number of channels
    shortcut = x
    if project:
        shortcut = L.Conv2D(4 * n, 1, strides=stride, name=name + '_0_conv')(x)
        shortcut = L.BatchNormalization(epsilon=1.001e-5, name=name + '_0_bn')(shortcut)
    x = L.Conv2D(n, 1, strides=stride, name=name + '_1_conv')(x)
    x = L.Activation('relu', name=name + '_1_relu')(L.BatchNormalization(epsilon=1.001e-5, name=name + '_1_bn')(x))
    x = L.Conv2D(n, 3, padding='same', name=name + '_2_conv')(x)
    x = L.Activation('relu', name=name + '_2_relu')(L.BatchNormalization(epsilon=1.001e-5, name=name + '_2_bn')(x))
    x = L.BatchNormalization(epsilon=1.001e-5, name=name + '_3_bn')(L.Conv2D(4 * n, 1, name=name + '_3_conv')(x))
    return L.Activation('relu', name=name + '_out')(L.Add(name=name + '_add')([shortcut, x]))


def base(pooling=None, classes=0):
    x = start = keras.Input((64, 64, 3))
    x = L.Conv2D(1, 7, strides=2, name='conv1_conv')(L.ZeroPadding2D(3, name='conv1_pad')(x))
    x = L.Activation('relu', name='conv1_relu')(L.BatchNormalization(epsilon=1.001e-5, name='conv1_bn')(x))
    x = L.MaxPooling2D(3, strides=2, name='pool1_pool')(L.ZeroPadding2D(1, name='pool1_pad')(x))
    for stage, blocks in enumerate((3, 4, 6, 3)):
        for b in range(blocks):
            stride = 2 if stage and b == 0 else 1
            x = block(x, 1 << stage, stride, f'conv{stage + 2}_block{b + 1}', b == 0)
    if pooling == 'avg' or classes:
        x = L.GlobalAveragePooling2D(name='avg_pool')(x)
    if pooling == 'max':
        x = L.GlobalMaxPooling2D(name='max_pool')(x)
    if classes:
        x = L.Dense(classes, activation='softmax', name='predictions')(x)
    return keras.Model(start, x, name='resnet50')


def weigh(model):  # multiples of 1/16, which a zip archive makes small
    for l in model.layers:
        if hasattr(l, 'layers'):
            weigh(l)
        elif l.get_weights() and not l.__class__.__name__.startswith('Random'):
            wide = isinstance(l, L.BatchNormalization)
            new = []
            for n, w in enumerate(l.get_weights()):
                spread = 1.0 if w.ndim < 3 else 1.5 / np.sqrt(np.prod(w.shape[:3]))
                unit = 1 / 16
                x = random.normal(0, spread, w.shape)
                if wide and n in (0, 3):
                    x = 0.5 + np.abs(x)
                new.append(np.round(x / unit) * unit)
            l.set_weights(new)


def calm(model, x):  # a last layer whose answers are neither 0 nor 1
    last = model.layers[-1]
    if isinstance(last, L.Dense):
        features = np.asarray(keras.Model(model.inputs, last.input)(x, training=False))
        unit = 2.0 ** -np.ceil(np.log2(np.abs(features).max()))
        kernel, bias = last.get_weights()
        last.set_weights([kernel * unit, bias * 0])


def head(units, activation):
    return L.Dense(units, activation=activation)


inputs = keras.Input((64, 64, 3))
models = {
    'flat': lambda: base(classes=3),
    'nested': lambda: keras.Sequential([keras.Input((64, 64, 3)), L.Rescaling(1 / 127.5, offset=-1), L.RandomFlip(),
                                        base('avg'), L.Dropout(0.2), head(3, 'softmax')]),
    'caffe': lambda: keras.Model(inputs, head(1, 'sigmoid')(L.GlobalAveragePooling2D()(base()(preprocess_input(inputs))))),
    'notop': lambda: base(),
    'sigmoids': lambda: keras.Sequential([base('avg'), head(3, 'sigmoid')]),
    'max': lambda: keras.Sequential([base('max'), head(3, 'softmax')]),
}
answers = {}
for name, make in models.items():
    model = make()
    weigh(model)
    x = preprocess_input(image.copy()) if 'flat' in name else image
    calm(model, x)
    name = f'{V}_{name}'
    files = {'k3_flat': ['weights.h5'], 'k2_flat': ['weights.h5'], 'k3_nested': ['h5'],
             'k2_caffe': ['h5'], 'k3_caffe': ['keras'], 'k3_notop': ['h5'], 'k3_sigmoids': ['keras'], 'k3_max': ['keras']}
    for kind in files.get(name, []):
        path = os.path.join(folder, f'{name}.{kind}')
        model.save_weights(path) if kind == 'weights.h5' else model.save(path)
        answers[f'{name}.{kind}'] = [] if 'notop' in name else np.asarray(model(x, training=False), 'float64').ravel().tolist()
json.dump(answers, open(os.path.join(folder, f'answers_{V}.json'), 'w'))
