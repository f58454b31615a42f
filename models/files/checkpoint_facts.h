// What a checkpoint says beside its weights: settings, the names of its classes, the preprocessing that it wants.
#pragma once

#include <map>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "models/files/pickle.h"

// The small values of a checkpoint, three levels deep: texts, numbers, lists of them, dicts and attributes of objects.
nlohmann::json facts_of(PickleValue root);

// Texts, numbers and short lists, under "key" and "key.subkey". Where settings of the preprocessing are among them
// (timm's pretrained_cfg, Lightning's hyper_parameters, args), they are repeated under "preprocess.": mean and std of
// pixels in 0..1, input_size, crop_pct, resize, interpolation, crop_mode, and where they came from as
// "preprocess.source".
std::map<std::string, std::string> metadata_of(const nlohmann::json& facts);

// The number of classes that a checkpoint was made for, 0 if it does not say, or says several.
size_t stated_classes(const nlohmann::json& facts);

// The names of `classes` classes: a list, {number: name} or {name: number} under a key such as class_names,
// class_to_idx or id2label, at the top or one or two levels below. Empty if there are none; `notes` says why some were
// not used: too few, or two lists in different orders.
std::vector<std::string> class_names(const nlohmann::json& facts, size_t classes, std::vector<std::string>& notes);
