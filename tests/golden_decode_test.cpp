// Decoded images and whole preprocessing against Pillow's, OpenCV's and torchvision's pixels.
#include <algorithm>
#include <cmath>
#include <cstdio>

#include "data/fit.h"
#include "tests/golden.h"
#include "tests/images.h"

namespace {

bool is_lossy(const std::string& file) { return file.ends_with(".jpg"); }

std::string stem_of(const std::string& file) {  // photo.jpg -> photo_jpg
    std::string stem = file;
    std::replace(stem.begin(), stem.end(), '.', '_');
    return stem;
}

// Preprocessed floats back to 8 bits, RGB, (h, w, 3), so that one unit of a rounding is one unit of the comparison.
FileContent pixels_of_classifier(const GoldenArray& array) {
    const std::vector<float> chw = array.as<float>();
    const double mean[3] = {0.485, 0.456, 0.406}, deviation[3] = {0.229, 0.224, 0.225};
    const size_t pixels = chw.size() / 3;
    FileContent rgb(chw.size());
    for (size_t c = 0; c < 3; ++c)
        for (size_t i = 0; i < pixels; ++i)
            rgb[i * 3 + c] = uint8_t(std::lround((chw[c * pixels + i] * deviation[c] + mean[c]) * 255));
    return rgb;
}

FileContent pixels_of_keras(const GoldenArray& array) {
    const std::vector<float> bgr = array.as<float>();
    const double mean[3] = {103.939, 116.779, 123.68};
    FileContent rgb(bgr.size());
    for (size_t i = 0; i < bgr.size() / 3; ++i)
        for (size_t c = 0; c < 3; ++c) rgb[i * 3 + 2 - c] = uint8_t(std::lround(bgr[i * 3 + c] + mean[c]));
    return rgb;
}

}  // namespace

TEST(GoldenDecode, images) {
    GoldenCount count;
    const auto index = golden_folder("images") / "expected.json";
    if (!std::filesystem::exists(index)) return;
    const auto expected = golden_json(index);
    for (const auto& [name, entry] : expected.at("images").items()) {
        SCOPED_TRACE(name);
        const std::string file = entry.value("file", name);
        const GoldenTensors golden = golden_tensors(golden_folder("images") / (stem_of(name) + ".safetensors"));
        const Decoded got = read_image((golden_folder("images") / file).string());
        ASSERT_EQ(got.trouble, DecodeStatus::none) << got.text;
        const bool jpeg = is_lossy(file);
        // libjpeg-turbo versions may round a few pixels differently; the README gives the limits.
        if (golden.has("decoded")) {
            const GoldenArray& want = golden.at("decoded");
            ASSERT_EQ(want.shape, (std::vector<size_t>{got.image.h, got.image.w, 3}));
            const Difference d = difference(got.image.rgb, want.bytes);
            EXPECT_LE(d.largest, jpeg ? 2 : 0);
            EXPECT_LT(d.mean, jpeg ? 0.5 : 1e-9);
            count.check();
        }
        // Pillow's filter within 1, plus what the decoder may differ.
        const int tolerance = jpeg ? 3 : 1;
        for (const auto& [key, array] : golden.arrays) {
            size_t shorter = 0, size = 0;
            if (std::sscanf(key.c_str(), "classifier_resize%zu_crop%zu_f32_chw", &shorter, &size) == 2) {
                FileContent rgb(size * size * 3);
                fit_image(got.image, {.size = size, .mode = FitMode::crop, .shorter = shorter}, rgb.data());
                EXPECT_LE(difference(rgb, pixels_of_classifier(array)).largest, tolerance) << key;
                count.check();
            } else if (std::sscanf(key.c_str(), "keras_caffe_%zu_f32_hwc_bgr", &size) == 1) {
                FileContent rgb(size * size * 3);
                fit_image(got.image, {.size = size}, rgb.data());
                EXPECT_LE(difference(rgb, pixels_of_keras(array)).largest, tolerance) << key;
                count.check();
            } else if (key.starts_with("classifier_bicubic")) {
                count.refuse("bicubic resize is not used here");
            }
        }
    }
}
