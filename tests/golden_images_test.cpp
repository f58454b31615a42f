// Resize, letterbox and classifier preprocessing against OpenCV, Pillow and torchvision; the pixels come decoded.
#include <gtest/gtest.h>

#include <cmath>

#include "data/fit.h"
#include "kernels/image.h"
#include "tests/golden.h"

namespace {

const Cpu cpu{.threads = 2, .scratch = {}};

Image image_of(const GoldenArray& array) {
    return {.h = array.shape.at(0), .w = array.shape.at(1), .rgb = array.as<uint8_t>()};
}

Image resized(const Image& x, size_t h, size_t w, Filter filter) {
    Image y{.h = h, .w = w, .rgb = std::vector<uint8_t>(h * w * 3, 77)};
    resize({.h = x.h, .w = x.w, .out_h = h, .out_w = w, .filter = filter, .x = x.rgb.data(), .y = y.rgb.data()});
    return y;
}

// The libraries compute in fixed point, and so do we: 1 leaves room for another version's rounding.
void expect_within_one(const std::vector<uint8_t>& got, const std::vector<uint8_t>& want, const std::string& what) {
    ASSERT_EQ(got.size(), want.size()) << what;
    size_t differing = 0;
    for (size_t i = 0; i < got.size(); ++i) {
        ASSERT_LE(std::abs(int(got[i]) - int(want[i])), 1) << what << " at " << i;
        differing += got[i] != want[i];
    }
    EXPECT_LE(differing, got.size() / 50) << what << ": a systematic difference of 1";
}

bool starts_with(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

TEST(golden_images, resize) {
    GoldenCount count;
    for (const auto& file : golden_files("images", ".safetensors")) {
        const GoldenTensors tensors = golden_tensors(file);
        const Image decoded = image_of(tensors.at("decoded"));
        for (const auto& [name, array] : tensors.arrays) {
            Filter filter;
            if (starts_with(name, "cv2_linear"))
                filter = Filter::linear;
            else if (starts_with(name, "pil_bilinear") || name == "classifier_resized_36")
                filter = Filter::antialias;
            else {
                if (starts_with(name, "cv2_") || starts_with(name, "pil_"))
                    count.refuse("no filter like " + name.substr(0, name.rfind('_')));
                else if (starts_with(name, "torch_"))
                    count.refuse("images are 8-bit, not float as in torch_*");
                continue;
            }
            const Image want = image_of(array);
            expect_within_one(resized(decoded, want.h, want.w, filter).rgb, want.rgb,
                              file.filename().string() + " " + name);
            count.check();
        }
        if (tensors.has("keras_caffe_32_f32_hwc_bgr")) {
            const std::vector<float> want = tensors.at("keras_caffe_32_f32_hwc_bgr").as<float>();
            const Image small = resized(decoded, 32, 32, Filter::antialias);
            const float mean[3] = {103.939f, 116.779f, 123.68f};
            for (size_t i = 0; i < want.size(); ++i)
                ASSERT_NEAR(float(small.rgb[i / 3 * 3 + 2 - i % 3]) - mean[i % 3], want[i], 1.001f) << file;
            count.check();
        }
    }
}

// Rows of 0 1 2 ... resized by Pillow 12 with NEAREST; the golden folder has no such case.
TEST(golden_images, nearest) {
    const std::vector<std::pair<size_t, std::vector<uint8_t>>> cases = {
        {7, {1, 3, 5}}, {4, {1, 3}}, {10, {1, 3, 6, 8}}, {5, {0, 0, 1, 1, 1, 2, 2, 3, 3, 3, 4, 4}}};
    for (const auto& [size, want] : cases) {
        Image x{1, size, std::vector<uint8_t>(3 * size)};
        for (size_t i = 0; i < 3 * size; ++i) x.rgb[i] = uint8_t(i / 3);
        const Image y = resized(x, 1, want.size(), Filter::nearest);
        for (size_t i = 0; i < want.size(); ++i) EXPECT_EQ(y.rgb[3 * i], want[i]) << size << " to " << want.size();
    }
}

TEST(golden_images, letterbox_pixels) {
    GoldenCount count;
    const auto expected = golden_json(golden_folder("images") / "expected.json");
    for (const auto& [name, entry] : expected.at("images").items()) {
        std::string stem = name;
        std::replace(stem.begin(), stem.end(), '.', '_');
        const GoldenTensors tensors = golden_tensors(golden_folder("images") / (stem + ".safetensors"));
        const Image decoded = image_of(tensors.at("decoded"));
        for (const auto& [key, want] : entry.at("letterbox").items()) {
            const auto& shape = want.at("new_shape_hw");
            const Letterbox box =
                letterbox({.h = decoded.h,
                           .w = decoded.w,
                           .out_h = shape.is_array() ? shape[0].get<size_t>() : shape.get<size_t>(),
                           .out_w = shape.is_array() ? shape[1].get<size_t>() : shape.get<size_t>(),
                           .stride = want.at("auto").get<bool>() ? want.at("stride").get<size_t>() : 0,
                           .enlarge = want.at("scaleup").get<bool>()});
            const Image frame = image_of(tensors.at(key));
            ASSERT_EQ(box.out_h, frame.h) << name << " " << key;
            ASSERT_EQ(box.out_w, frame.w) << name << " " << key;
            std::vector<uint8_t> y(frame.rgb.size(), 1);
            letterbox_image(decoded, box, Filter::linear, y.data());
            expect_within_one(y, frame.rgb, name + " " + key);
            count.check();
        }
    }
}

TEST(golden_images, letterbox_geometry) {
    GoldenCount count;
    const auto expected = golden_json(golden_folder("images") / "expected.json");
    for (const auto& want : expected.at("letterbox_geometry")) {
        const size_t side = want.at("new_shape");
        const Letterbox box = letterbox({.h = want.at("image_wh")[1],
                                         .w = want.at("image_wh")[0],
                                         .out_h = side,
                                         .out_w = side,
                                         .stride = want.at("auto").get<bool>() ? want.at("stride").get<size_t>() : 0,
                                         .enlarge = want.at("scaleup").get<bool>()});
        EXPECT_DOUBLE_EQ(box.ratio, want.at("ratio").get<double>());
        EXPECT_EQ(box.inner_w, want.at("resized_wh")[0].get<size_t>()) << want;
        EXPECT_EQ(box.inner_h, want.at("resized_wh")[1].get<size_t>()) << want;
        EXPECT_EQ(box.top, want.at("top_bottom_left_right")[0].get<size_t>()) << want;
        EXPECT_EQ(box.left, want.at("top_bottom_left_right")[2].get<size_t>()) << want;
        EXPECT_EQ(box.out_w, want.at("out_wh")[0].get<size_t>()) << want;
        EXPECT_EQ(box.out_h, want.at("out_wh")[1].get<size_t>()) << want;
        count.check();
    }
}

// Shorter side 36, centre crop 32, ImageNet mean and deviation: the crop and the normalisation are one ImageBatch.
TEST(golden_images, classifier) {
    GoldenCount count;
    for (const auto& file : golden_files("images", ".safetensors")) {
        const GoldenTensors tensors = golden_tensors(file);
        if (tensors.has("classifier_bicubic_resize36_crop32_f32_chw")) count.refuse("no bicubic filter");
        const std::string name = "classifier_resize36_crop32_f32_chw";
        if (!tensors.has(name)) continue;
        const Image decoded = image_of(tensors.at("decoded"));
        const size_t shorter = std::min(decoded.h, decoded.w), longer = 36 * std::max(decoded.h, decoded.w) / shorter;
        const Image small =
            resized(decoded, decoded.h == shorter ? 36 : longer, decoded.h == shorter ? longer : 36, Filter::antialias);
        const auto middle = [](size_t side) { return float(std::nearbyint((double(side) - 32) / 2)); };
        const float transform[6] = {1, 0, middle(small.w), 0, 1, middle(small.h)}, color[2] = {1, 0};
        Normalize normalize;
        const float mean[3] = {0.485f, 0.456f, 0.406f}, deviation[3] = {0.229f, 0.224f, 0.225f};
        for (size_t c = 0; c < 3; ++c)
            normalize.scale[c] = 1 / (255 * deviation[c]), normalize.shift[c] = -mean[c] / deviation[c];
        std::vector<float> y(32 * 32 * 4);
        compute(cpu, ImageBatch<float>{.n = 1,
                                       .h = small.h,
                                       .w = small.w,
                                       .out_h = 32,
                                       .out_w = 32,
                                       .out_c = 4,
                                       .normalize = normalize,
                                       .images = small.rgb.data(),
                                       .transform = transform,
                                       .color = color,
                                       .y = y.data()});
        const std::vector<float> want = tensors.at(name).as<float>();
        // One level of 255, divided by the smallest deviation, as Pillow's integers are met within 1.
        for (size_t i = 0; i < 32 * 32; ++i) {
            for (size_t c = 0; c < 3; ++c)
                ASSERT_NEAR(y[4 * i + c], want[c * 1024 + i], 1.0f / 255 / 0.224f + 1e-5f) << file << " " << i;
            ASSERT_EQ(y[4 * i + 3], 0.0f);
        }
        count.check();
    }
}

}  // namespace
