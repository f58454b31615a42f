// Keras weights of ResNet-50, 101 and 152: .h5 files of weights or of whole models, and the .weights.h5 files and
// .keras archives of Keras 3.
//
// Two naming schemes of layers are known. New: convS_blockB_K_{conv,bn}, batch-norm epsilon 1.001e-5; old:
// resSx_branchY, bnSx_branchY, epsilon 1e-3, where the first Keras called the variance `running_std`. Tensors get
// torchvision's names (models/resnet.h) and layouts: kernels HWIO -> OIHW, dense kernels (in, out) -> (out, in). Where
// the file holds the architecture (models/files/keras_config.h), it decides what is run, and with which epsilon.
// https://github.com/keras-team/keras/blob/master/keras/src/applications/resnet.py
//
// The HDF5 library has a history of crashes on hostile files: it runs in a child process, whose result is a safetensors
// file that is checked like any other. Links that are not hard, external and virtual storage, filters other than
// deflate and shuffle and sizes that the file cannot hold are refused before anything is read.
#pragma once

#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "models/state.h"

struct KerasWeights {
    StateDict state;  // under the file's own names if `other` is not empty
    bool old_names = false;
    std::string layout = "Keras HDF5", other = {};  // other: what the file holds that tundra does not run
    std::map<std::string, std::string> metadata = {};
    std::vector<std::string> notes = {};
};

// A zip archive as Keras 3 writes them, by its first bytes.
bool is_keras_archive(std::span<const std::byte> bytes);

// `bytes`: of the whole file at `path`.
KerasWeights read_keras(const std::filesystem::path& path, std::span<const std::byte> bytes);
