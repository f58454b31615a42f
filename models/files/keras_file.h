// Keras weights of ResNet-50 (and 101, 152) from HDF5 files, in both published naming schemes.
//
// new: convS_blockB_K_{conv,bn}, batch-norm epsilon 1.001e-5; old: resSx_branchY, bnSx_branchY, epsilon 1e-3, where the
// first Keras called the variance `running_std`. Tensors get torchvision's names (models/resnet.h) and layouts: kernels
// HWIO -> OIHW, dense kernels (in, out) -> (out, in).
// https://github.com/keras-team/keras/blob/master/keras/src/applications/resnet.py
//
// The HDF5 library has a history of crashes on hostile files: it runs in a child process, whose result is a safetensors
// file that is checked like any other. Links that are not hard, external and virtual storage, filters other than
// deflate and shuffle and sizes that the file cannot hold are refused before anything is read.
#pragma once

#include <filesystem>

#include "models/state.h"

struct KerasWeights {
    StateDict state;
    bool old_names = false;
    float batch_norm_epsilon() const { return old_names ? 1e-3f : 1.001e-5f; }
};

KerasWeights read_keras(const std::filesystem::path& path);
