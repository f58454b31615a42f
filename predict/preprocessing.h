// How an image becomes the input of a classifier: size, fit, channel order and normalization, in the words of weight
// files and of the command line. A model made by tundra states all of it; for others the rest is assumed, and said.
#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>

#include "data/fit.h"
#include "kernels/image.h"

struct Preprocessing {
    Fit fit{.size = 224, .mode = FitMode::crop};
    std::string normalize = "imagenet";
};

// What the command line says beside the weight file; 0 and "" leave it to the file.
struct InputOptions {
    size_t image_size = 0, resize = 0;
    std::string fit = {}, filter = {}, normalize = {};
    std::string classes = {};  // names, "a,b,c", or a file with one name per line
    bool operator==(const InputOptions&) const = default;
};

// Of pixels x in 0..255:
//   imagenet  (x / 255 - mean) / deviation, per channel, as torchvision's models
//   unit      x / 255
//   tf        x / 127.5 - 1
//   caffe     BGR, minus the mean of ImageNet: keras.applications.resnet.preprocess_input
//   raw       x
//   [bgr:]MEAN/DEVIATION  (x - MEAN) / DEVIATION, each one number or three with commas, in the order of the channels
// Nothing if `text` is none of these.
std::optional<Normalize> parse_normalize(const std::string& text);
Normalize normalize_named(const std::string& text);  // Fault::usage instead of nothing

// The name or the text MEAN/DEVIATION that parse_normalize() takes.
std::string normalize_text(const std::array<double, 3>& mean, const std::array<double, 3>& deviation, bool bgr);

// "224 x 224 pixels, stretched (linear), BGR minus the mean of ImageNet (caffe)"
std::string input_text(const Preprocessing& p);

struct StatedPreprocessing {
    Preprocessing used;
    std::string
        note;  // what was assumed, taken from another program, or overridden; "" if tundra's own file states all
    bool normalize_assumed = false;
};

// From the metadata of a weight file, `options`, and what the makers of such networks mean: Keras' (`keras`) are
// stretched and caffe, others torchvision's. `where` names the file. Errors: Fault::damaged for tundra's own metadata,
// Fault::usage for options and for an input that is not square.
StatedPreprocessing preprocessing_of(const std::map<std::string, std::string>& metadata, bool keras,
                                     const InputOptions& options, const std::string& where);

// As metadata that preprocessing_of() reads without a note.
void store(const Preprocessing& p, std::map<std::string, std::string>& metadata);
