// Image files made from detections: copies with boxes drawn on them, and square crops for a classifier.
#pragma once

#include <filesystem>

#include "app/detect/detection.h"
#include "data/exif.h"
#include "data/image.h"

struct ImageOutputs {
    std::filesystem::path render = {}, crops = {};  // folders; empty: none
    double threshold = 0.2;                         // minimum confidence of a detection
    bool png = false;                               // crops without loss, and without EXIF
};

constexpr double kCropMargin = 0.1;  // around the longer side

// The square around a detection, inside the image if it fits, else black where it leaves the image.
Image square_crop(const Image& image, const Detection& detection);

// FOLDER/a/b.JPG for the image a/b.JPG and FOLDER/a/b.png.jpg for a/b.png; crops are FOLDER/a/b_1.JPG, a/b.png_1.jpg,
// _2, ... by descending confidence, or a/b_1.png and a/b.png_1.png with `png`. Both keep EXIF (date, camera); the
// pixels are upright. Fault::usage if a folder is inside the folder of the images: originals could be
// overwritten, and the next run would process the copies; and if it holds files, because those of an earlier run would
// mix with the new ones, unless this run `resumes` or extends another one.
std::vector<std::string> check_folders(const ImageOutputs& out, const std::filesystem::path& base, bool resumes,
                                       bool extends);

void write_images(const ImageOutputs& out, const ImageResult& result, const Image& image, Exif exif);
