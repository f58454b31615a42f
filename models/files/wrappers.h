// torch.compile, activation checkpointing and FSDP put a module around another one, of a layer as well as of a whole
// network. It shows in names, layer1.0._orig_mod.conv1.weight, and in pickled modules; the one inside is meant.
#pragma once

#include <string>
#include <string_view>

#include "models/files/pickle.h"

// `name` without the wrappers behind its first `container` characters.
std::string without_wrappers(std::string_view name, size_t container);
// What of `name` became the first `n` characters of that, and the wrappers that follow.
std::string with_wrappers(std::string_view name, size_t container, size_t n);

// Puts the inner module in the place of each wrapper. A wrapper with hooks stays: they may change what the module
// gives.
void unwrap_modules(PickleTree& tree);
