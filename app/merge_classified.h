// The parts that `tundra classify --shard` writes. The first line of a part says which one it is, and of what.
#pragma once

#include <cstddef>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

// The first line of a part. `settings`: all that the table depends on, with `shard`, and `pictures` and `list`, the
// number and list_hash() of all images under their names in JSON.
std::string shard_line(const nlohmann::ordered_json& settings, bool as_csv);

// Joins the parts to the table of all images, in their order. Fault::usage if one is missing, given twice, or made by
// another model, with other settings or from another list; Fault::damaged if the images are not exactly those of the
// list. Returns the number of images.
size_t merge_classified(const std::vector<std::string>& parts, const std::filesystem::path& out);
