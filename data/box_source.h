// The common form of the two formats of data/box_dataset.h.
#pragma once

#include <filesystem>
#include <map>
#include <optional>

#include "data/dataset.h"

struct SourceBox {
    uint32_t category;
    double x, y, w, h;  // left, top, width, height in units of the row
    std::string where;  // "annotation 12", "labels/a.txt:3"
};

struct SourceRow {
    Sample sample;  // name, part, camera, sequence
    double
        w = 0,
        h = 0;  // the image's sides in the boxes' units; 0: boxes are in pixels, and the source does not give the size
    std::vector<SourceBox> boxes = {};
};

// Harmless oddities by kind: how many, and the first.
class Warnings {
public:
    void count(const std::string& what, const std::string& where) {
        auto& seen = seen_[what];
        if (seen.number++ == 0) seen.first = where;
    }
    std::vector<std::string> notes() const;  // "3 boxes lie outside of their image (first: annotation 12)"
    std::string in_brackets() const;         // " (3 boxes ...; 1 ...)" for the end of an error; empty if there are none

private:
    struct Seen {
        size_t number = 0;
        std::string first;
    };
    std::map<std::string, Seen> seen_;
};

struct BoxSource {
    std::filesystem::path root;  // names of samples are relative to it
    std::vector<std::string> classes;
    std::vector<SourceRow> rows;
    bool has_parts = false;
    Warnings odd;
    std::vector<std::string> notes = {};
};

// `files`: with their part, if they are parts.
BoxSource read_coco(const std::vector<std::pair<std::filesystem::path, std::optional<Part>>>& files);
// The COCO files at `path`; empty if there are none.
std::vector<std::pair<std::filesystem::path, std::optional<Part>>> coco_files(const std::filesystem::path& path);

BoxSource read_yolo_labels(const std::filesystem::path& path);
