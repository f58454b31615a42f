// Images made from detections: copies with boxes drawn on them, and square crops for a classifier.
#pragma once

#include <filesystem>

#include "app/detect/detection.h"
#include "data/exif.h"
#include "data/image.h"

struct ImagesOut {
    std::filesystem::path render = {}, crops = {};  // folders; empty: none wanted
    double threshold = 0.2;                         // of a detection's confidence
    double margin = 0.1;                            // around the longer side of a crop
};

// FOLDER/a/b.JPG for the image a/b.JPG and FOLDER/a/b.png.jpg for a/b.png; crops are FOLDER/a/b_1.JPG, a/b.png_1.jpg,
// _2, ... by falling confidence, square, with black where the square leaves the image. Both keep EXIF (date, camera);
// the pixels are upright. Fault::usage if a folder lies among the images: originals could be overwritten, and the
// next run would take copies for images.
void check_folders(const ImagesOut& out, const std::filesystem::path& base);

void write_images(const ImagesOut& out, const ImageResult& result, const Image& image, Exif exif);
