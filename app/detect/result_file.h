// Result files of detection: MegaDetector's JSON 1.6, COCO results, CSV. Reads and merges the first.
// https://github.com/agentmorris/MegaDetector/blob/main/megadetector-output-format.md
#pragma once

#include <filesystem>
#include <functional>
#include <map>
#include <set>
#include <variant>

#include "app/detect/detection.h"

enum class ResultFormat { megadetector, coco, csv };

// `name`: "megadetector", "coco", "csv", or "" to follow the file's extension (.csv in any case, else MegaDetector).
ResultFormat result_format(const std::string& name, const std::filesystem::path& path);

struct ResultHead {
    nlohmann::ordered_json categories;    // {"1": "animal", ...}
    nlohmann::ordered_json info;          // format_version is set when it is written
    nlohmann::ordered_json classes = {};  // classification_categories, {"0": "fox", ...}; empty: none
};

// A result of this run, or an entry of an earlier MegaDetector file, which is kept as it is (in that format only).
using ResultEntry = std::variant<ImageResult, nlohmann::ordered_json>;

struct ResultEntries {
    size_t count;
    std::function<ResultEntry(size_t)> at;                 // sorted by name; asked for once each, in order
    std::function<std::string(size_t)> name_of = nullptr;  // for COCO, whose ids depend on all names
};

// `options`: for new entries of a MegaDetector file.
void write_results(const std::filesystem::path& path, ResultFormat format, const ResultHead& head,
                   const EntryOptions& options, const ResultEntries& entries);

// A MegaDetector file: its head, and its entries by name. Fault::damaged if it is not one.
struct ResultFile {
    ResultHead head;
    std::map<std::string, nlohmann::ordered_json> images;
    std::vector<std::string> order = {};  // their names as the file has them
};
ResultFile read_results(const std::filesystem::path& path);
ResultFile parse_results(nlohmann::ordered_json json, const std::string& name);
// The folder below which the images of a result file lie: `given`, or else the file's own, `images` beside it, or the
// current folder, wherever `first` is. Fault::usage, with `help`, if it is not there.
std::filesystem::path folder_of_images(const std::filesystem::path& file, const std::string& given,
                                       const std::string& first, const char* help);
std::set<std::string> damaged_images(const ResultHead& head);  // from info.custom_metadata.tundra

// Merges the files of all shards. Fault::usage if one is missing, given twice, or of another model or list;
// Fault::damaged if the images are not exactly those of the list. Returns the number of images.
size_t merge_results(const std::vector<std::string>& paths, const std::filesystem::path& out);

std::string completion_time();  // now, "2026-11-23 08:15:00"
