// Which network a weight file holds, and everything that speaks against it.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include "models/files/find_network.h"
#include "models/files/weights.h"

// `file` has its weights and metadata, under the names that `found` gave them; sets its model and adds notes.
void recognise(WeightFile& file, const FoundNetwork& found, std::span<const CheckpointTensor> tensors,
               const nlohmann::json& facts);
