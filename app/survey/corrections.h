// What people said about images and boxes, and which boxes were found to be repeats: corrections.csv, repeats.csv.
//
// corrections.csv: app/review/corrections.h has its columns. repeats.csv: group,file,box.
#pragma once

#include <array>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

struct ImageCorrections {
    std::map<std::pair<std::string, std::string>, std::string> values = {};  // (box, field) -> new
    std::string reviewer = {};                                               // of the last row that counts
    std::string accepted = {};  // "animal fox:2|hare:1": what was looked at: accepted_answer()
    bool lost = false;          // it was of boxes that are no longer found: nothing counts

    std::string value(const std::string& box, const std::string& field) const;  // "" if there is none
    bool of_boxes() const { return !values.empty() && !values.rbegin()->first.first.empty(); }
};
using Corrections = std::map<std::string, ImageCorrections>;  // by json_name() of the file

// As CorrectionLog (app/review/corrections.h) reads them and matches them with `boxes_now`, unless that is empty. Empty
// if the file does not exist. Fault::damaged, with file and row, for a category of boxes or a class of quality that is
// none of these; `note` gets what was passed over.
Corrections read_corrections(
    const std::filesystem::path& csv, const std::vector<std::string>& categories,
    const std::vector<std::string>& quality,
    const std::function<std::optional<std::vector<std::array<double, 4>>>(const std::string& file)>& boxes_now = {},
    const std::function<void(const std::string&)>& note = {});

// The corrections and repeats of several folders, whose images differ, as files of `out`; repeats get new groups.
void merge_words(const std::vector<std::string>& folders, const std::filesystem::path& out,
                 const std::function<void(const std::string&)>& note);

struct RepeatedBox {
    size_t box;  // from 1
    std::string group;
    bool first;  // of its group: one look for each
};
using Repeats = std::map<std::string, std::vector<RepeatedBox>>;  // by json_name() of the file
Repeats read_repeats(const std::filesystem::path& csv);           // empty if the file does not exist
