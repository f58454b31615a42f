// Boxes go where the pixels go; what is left of a box decides whether it stays; the loader's batches hold both.
#include "data/mosaic.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "data/box_dataset.h"
#include "data/loader.h"
#include "tests/images.h"

namespace {

constexpr Fit kFit{.size = 96, .mode = FitMode::letterbox, .filter = Filter::linear, .height = 64};

// Dark images, each with a bright rectangle in a colour of its own, on whole pixels of the frame.
struct Shots {
    Dataset data;
    std::vector<std::vector<uint8_t>> frames;
    std::vector<uint32_t> samples;

    Shots() {
        data.classes = {"animal"};
        for (uint32_t i = 0; i < 8; ++i) {
            // 96 x 64 fills the frame, 48 x 64 leaves margins at both sides.
            const size_t h = 64, w = i % 2 ? 48 : 96;
            Sample s{.name = std::to_string(i), .h = h, .w = w};
            const Letterbox place = place_in_frame(s, kFit);
            std::vector<uint8_t> frame(kFit.bytes(), 114);
            const size_t left = 8 + i, top = 10 + i, width = 20, height = 16;
            for (size_t y = 0; y < h; ++y)
                for (size_t x = 0; x < w; ++x)
                    for (size_t c = 0; c < 3; ++c)
                        frame[((place.top + y) * kFit.w() + place.left + x) * 3 + c] =
                            x >= left && x < left + width && y >= top && y < top + height ? 255 : 0;
            s.boxes = {
                {0, float(left) / float(w), float(top) / float(h), float(width) / float(w), float(height) / float(h)}};
            data.samples.push_back(s);
            frames.push_back(frame);
            samples.push_back(i);
        }
    }
    std::vector<uint8_t> draw(const Composition& c) const {
        std::vector<uint8_t> frame(kFit.bytes(), 114);
        for (const Tile& tile : c.tiles)
            paste(paste_of(tile, place_in_frame(data.samples[tile.sample], kFit), kFit, frames[tile.sample].data(),
                           frame.data()));
        return frame;
    }
};

// Bright pixels of a tile, as left, top, right, bottom; half-covered ones count half a pixel by the threshold.
std::array<size_t, 4> bright(const std::vector<uint8_t>& frame, const Tile& t) {
    std::array<size_t, 4> b{kFit.w(), kFit.h(), 0, 0};
    for (size_t y = t.top; y < t.bottom; ++y)
        for (size_t x = t.left; x < t.right; ++x)
            if (frame[(y * kFit.w() + x) * 3] > 184)
                b = {std::min(b[0], x), std::min(b[1], y), std::max(b[2], x + 1), std::max(b[3], y + 1)};
    return b;
}

TEST(Mosaic, BoxesLieOnTheirPixels) {
    const Shots shots;
    const BoxAugment how{.flip = 0.5, .zoom = 0.5, .shift = 0.1, .mosaic = 0.7};
    size_t boxes_seen = 0, left_out = 0, four = 0;
    for (uint64_t epoch = 0; epoch < 60; ++epoch)
        for (uint32_t sample = 0; sample < 8; ++sample) {
            const Composition c =
                compose(how, {.seed = 3, .epoch = epoch, .sample = sample}, shots.data, shots.samples, kFit);
            const std::vector<uint8_t> frame = shots.draw(c);
            four += c.tiles.size() > 1;
            for (const Tile& tile : c.tiles) {
                std::vector<std::array<float, 5>> boxes;
                append_boxes(tile, shots.data.samples[tile.sample], kFit, boxes);
                const auto [left, top, right, bottom] = bright(frame, tile);
                if (boxes.empty()) {
                    ++left_out;
                    // At most a fifth is there, or less than two pixels of a side, or, with the threshold's pixel,
                    // three.
                    const double whole = 20.0 / tile.a * 16.0 / tile.e,
                                 there = right > left ? double(right - left) * double(bottom - top) : 0;
                    EXPECT_TRUE(there < 0.35 * std::abs(whole) || right - left < 3 || bottom - top < 3)
                        << there << " of " << whole;
                    continue;
                }
                ++boxes_seen;
                ASSERT_EQ(boxes.size(), 1u);
                const auto [category, x, y, w, h] = boxes[0];
                EXPECT_NEAR(x - w / 2, left, 1.01);
                EXPECT_NEAR(x + w / 2, right, 1.01);
                EXPECT_NEAR(y - h / 2, top, 1.01);
                EXPECT_NEAR(y + h / 2, bottom, 1.01);
            }
        }
    EXPECT_GT(four, 250u);
    EXPECT_GT(boxes_seen, 700u);
    EXPECT_GT(left_out, 50u);
}

TEST(Mosaic, WithoutRangesAImageIsItself) {
    const Shots shots;
    const Composition c = compose({}, {.seed = 3, .epoch = 1, .sample = 3}, shots.data, shots.samples, kFit);
    ASSERT_EQ(c.tiles.size(), 1u);
    EXPECT_EQ(shots.draw(c), shots.frames[3]);
    EXPECT_EQ(c.color, (std::array<float, 2>{1, 0}));
    std::vector<std::array<float, 5>> boxes;
    append_boxes(c.tiles[0], shots.data.samples[3], kFit, boxes);
    EXPECT_EQ(boxes.at(0), (std::array<float, 5>{0, 24 + 11 + 10, 13 + 8, 20, 16}));  // behind a margin of 24
}

TEST(Mosaic, TheLastEpochsShowSingleImages) {
    const Shots shots;
    const BoxAugment how{.mosaic = 1, .mosaic_epochs = 4};
    for (uint64_t epoch = 0; epoch < 8; ++epoch)
        EXPECT_EQ(
            compose(how, {.seed = 1, .epoch = epoch, .sample = 2}, shots.data, shots.samples, kFit).tiles.size() > 1,
            epoch < 4);
}

// From files: every row's boxes lie on bright pixels, whatever the threads and wherever the loader starts.
TEST(Mosaic, TheLoaderGivesTheSameBatchesEverywhere) {
    const TemporaryFolder folder;
    nlohmann::json coco = {{"images", nlohmann::json::array()},
                           {"annotations", nlohmann::json::array()},
                           {"categories", {{{"id", 1}, {"name", "animal"}}}}};
    for (int i = 0; i < 13; ++i) {
        Image p{.h = 48, .w = 72, .rgb = FileContent(48 * 72 * 3, 20)};
        for (size_t y = 16; y < 32; ++y)
            for (size_t x = 24; x < 48; ++x)
                for (size_t c = 0; c < 3; ++c) p.rgb[(y * 72 + x) * 3 + c] = 230;
        const std::string name = std::to_string(i) + ".jpg";
        folder.write(name, i == 5 ? text_content("no image") : jpeg_of(p, {.quality = 95, .full_chroma = true}));
        coco["images"].push_back({{"id", i}, {"file_name", name}, {"width", 72}, {"height", 48}});
        coco["annotations"].push_back({{"id", i}, {"image_id", i}, {"category_id", 1}, {"bbox", {24, 16, 24, 16}}});
    }
    folder.write("all.json", text_content(coco.dump()));
    const Dataset data = open_box_dataset(folder.path.string(), {.validation = 0, .test = 0});
    ASSERT_EQ(data.samples.size(), 13u);
    LoaderOptions options{
        .batch = 4,
        .fit = kFit,
        .boxes = BoxOptions{.augment = {.flip = 0.5, .zoom = 0.3, .shift = 0.1, .contrast = 0.2, .mosaic = 0.5},
                            .max_boxes = 6},
        .seed = 9,
        .shuffle = true,
        .threads = 1};
    Loader first(data, data.part(Part::train), options);
    std::vector<Batch> batches;
    for (int i = 0; i < 12; ++i) batches.push_back(first.next());
    options.threads = 3;
    Cache cache(data, kFit, CacheMode::memory, "");
    Loader second(data, data.part(Part::train), options, &cache);
    second.start(1, 2);
    size_t boxes = 0, bad_rows = 0;
    for (int i = 6; i < 12; ++i) {
        const Batch& b = second.next();
        ASSERT_EQ(b.images, batches[size_t(i)].images);
        ASSERT_EQ(b.boxes, batches[size_t(i)].boxes);
        ASSERT_EQ(b.color, batches[size_t(i)].color);
        ASSERT_EQ(b.transform, batches[size_t(i)].transform);
        for (size_t row = 0; row < 4; ++row) {
            bad_rows += b.labels[row] < 0;
            for (size_t k = 0; k < 6; ++k) {
                const float* box = &b.boxes[(row * 6 + k) * 5];
                if (box[0] < 0) continue;
                ++boxes;
                const size_t at = (size_t(box[2]) * kFit.w() + size_t(box[1])) * 3;
                EXPECT_GT(b.images[row * kFit.bytes() + at], 200) << "the middle of a box is dark";
            }
        }
    }
    EXPECT_GT(boxes, 20u);
    EXPECT_GT(bad_rows, 3u);  // the broken file, and the end of each epoch
    ASSERT_EQ(second.bad_files().size(), 1u);
}

}  // namespace
