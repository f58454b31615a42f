// Result files of detection: MegaDetector's JSON 1.6, COCO results, CSV; and what a finished one says about itself.
// https://github.com/agentmorris/MegaDetector/blob/main/megadetector-output-format.md
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>

#include "app/detect/detection.h"

enum class ResultFormat { megadetector, coco, csv };

// `name`: "megadetector", "coco", "csv", or "" to go by the file's extension (.csv, else MegaDetector).
ResultFormat result_format(const std::string& name, const std::filesystem::path& path);

struct ResultHead {
    nlohmann::ordered_json categories;  // {"1": "animal", ...}
    nlohmann::ordered_json info;        // format_version is set when it is written
};

struct ResultEntries {
    size_t count;
    std::function<nlohmann::ordered_json(size_t)> at;  // sorted by name; written as they are into
                                                       // MegaDetector files, to_json() for the others
};

void write_results(const std::filesystem::path& path, ResultFormat format, const ResultHead& head,
                   const ResultEntries& entries);

// A MegaDetector file: its head, and its entries by name. Fault::damaged where it is not one.
struct ResultFile {
    ResultHead head;
    std::map<std::string, nlohmann::ordered_json> images;
};
ResultFile read_results(const std::filesystem::path& path);
std::set<std::string> damaged_images(const ResultHead& head);  // as info.custom_metadata.tundra has them

// Which part of a list of images a run took, as info.custom_metadata.tundra.shard says it.
struct Shard {
    size_t number = 1, of = 1;  // from 1
};
Shard parse_shard(const std::string& text);  // "3/8"; Fault::usage

// One file out of those of all shards. Fault::usage if one is missing, twice there, or of another model or list;
// Fault::damaged if the images are not exactly those of the list. Returns the number of images.
size_t merge_results(const std::vector<std::string>& paths, const std::filesystem::path& out);

// Of the images' names in order; which list a shard belongs to.
std::string list_hash(size_t count, const std::function<std::string(size_t)>& name);
std::string completion_time();  // now, "2026-11-23 08:15:00"
