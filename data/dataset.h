// Images with labels: which files belong to which class, camera and part of a data set.
//
// A data set is one of
//   a folder of class folders; images lie in them at any depth
//   a folder with a folder train (training), and maybe val (valid, validate, validation) and test (testing), in any
//     case, each a folder of class folders
//   a CSV file of path,label[,split[,camera]]; paths are relative to the CSV. A header line names the columns in any
//     order (path|file|filename|filepath|image, label|class|species, split|part, camera, site, and relativepath: the
//     folder of path, as Timelapse exports it: its images without a label or with a deleteflag of true are left out);
//     base/csv.h says how fields are written. Backslashes in a path without slashes are slashes
//   a JSON file of COCO Camera Traps, or a Camera Trap Data Package (data/label_source.h)
//
// Class numbers follow the names in byte order, as in Keras. The camera of an image is the first of these that is
// known: the CSV's column, the serial number in EXIF, the folder below the class folder, make and model in EXIF.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/drive.h"

enum class Part { train, validation, test };
const char* part_name(Part part);  // "train", "validation", "test"

// An object that a detector should find: left, top, width and height as shares of the sides of the upright image.
struct TrueBox {
    uint32_t category;
    float x, y, w, h;
    bool operator==(const TrueBox&) const = default;
};

struct Sample {
    std::string name;    // relative to Dataset::root, or absolute if it is so in the CSV
    uint32_t label = 0;  // number of the class; unused with boxes
    Part part = Part::train;
    std::string camera = {};    // empty: not known
    std::string sequence = {};  // of images taken together; empty: unknown
    int64_t time = -1;          // EXIF seconds, see exif_seconds(); -1: not known
    uint64_t bytes = 0;         // of the file; 0 if it is missing
    size_t h = 0, w = 0;        // detection: pixels, upright; 0 if they are not known
    std::vector<TrueBox> boxes = {};
};

enum class SplitBy { sequence, camera };

struct DatasetOptions {
    uint64_t seed = 0;
    // The split if the data set has no parts: see data/split.h.
    SplitBy split_by = SplitBy::sequence;
    double validation = 0.08, test = 0.02;
    int threads = 1;  // that read EXIF; the result does not depend on it
    bool read_exif = true;
    bool links = false;        // two names of one file are a note, not an error
    bool for_training = true;  // false: every class may lack training images, and no note describes the parts
};

struct Fingerprint {
    size_t images = 0;
    uint64_t bytes = 0;
    // 32 hex digits: XXH3-128 of every name, size, part and class or boxes, in the order of names
    std::string hash = {};
};

struct Dataset {
    std::string root;
    std::vector<std::string> classes;
    std::vector<Sample> samples;     // by name, in byte order
    std::vector<std::string> notes;  // for people: the split, unreadable folders, ...
    Fingerprint fingerprint;
    std::shared_ptr<const DriveWatch> drive = {};  // of the samples; null: not watched

    std::string path(const Sample& sample) const;
    void watch_drive();
    std::vector<uint32_t> part(Part part) const;        // numbers of its samples, ascending
    std::vector<size_t> class_counts(Part part) const;  // images per class
    std::vector<size_t> box_counts(Part part) const;    // boxes per class
};

// Throws an Error (Fault::usage) that names the path and what to do: no such path, no images, images outside class
// folders, one class only, a class without images, without a readable image or without training images, a bad CSV
// line, unknown columns, an unknown split.
Dataset open_dataset(const std::string& path, const DatasetOptions& options = {});
