// Pictures made from detections: copies with boxes drawn on them, and square crops for a classifier.
#pragma once

#include <filesystem>

#include "app/detect/detection.h"
#include "data/exif.h"
#include "data/image.h"

struct PicturesOut {
    std::filesystem::path render = {}, crops = {};  // folders; empty: none wanted
    double threshold = 0.2;                         // of a detection's confidence
    double margin = 0.1;                            // around the longer side of a crop
};

// FOLDER/a/b.JPG for the picture a/b.JPG and FOLDER/a/b.png.jpg for a/b.png; crops are FOLDER/a/b_1.JPG, a/b.png_1.jpg,
// _2, ... by falling confidence, square, with black where the square leaves the picture. Both keep EXIF (date, camera);
// the pixels are upright. Fault::usage if a folder lies among the pictures: originals could be overwritten, and the
// next run would take copies for pictures.
void check_folders(const PicturesOut& out, const std::filesystem::path& base);

void write_pictures(const PicturesOut& out, const PictureResult& result, const Picture& picture, Exif exif);
