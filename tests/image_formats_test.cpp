// The formats that a build may lack: TIFF, WebP and GIF, in files made by hand.
#include <random>

#include "data/image.h"
#include "tests/images.h"

namespace {

Decoded decoded(const FileContent& file, const DecodeOptions& options = {}) { return decode_image(file, options); }

bool not_built_in(const Decoded& got) { return got.text.find(" is not supported; convert it") != std::string::npos; }

void append_little(FileContent& out, size_t value, int bytes) {
    for (int i = 0; i < bytes; ++i) out.push_back(uint8_t(value >> 8 * i));
}

// Without compression, one strip. `subfile`: 1 for an image that is a smaller copy of another one.
FileContent tiff_of(const Image& image, int orientation, size_t subfile = 0) {
    const size_t bits_at = 8 + 2 + 11 * 12 + 4, pixels_at = bits_at + 6;
    const size_t entries[11][4] = {
        {254, 4, 1, subfile}, {256, 4, 1, image.w}, {257, 4, 1, image.h},         {258, 3, 3, bits_at},
        {259, 3, 1, 1},       {262, 3, 1, 2},       {273, 4, 1, pixels_at},       {274, 3, 1, size_t(orientation)},
        {277, 3, 1, 3},       {278, 4, 1, image.h}, {279, 4, 1, image.rgb.size()}};
    FileContent file = text_content("II*");
    append_little(file, 0, 1), append_little(file, 8, 4), append_little(file, 11, 2);
    for (const auto& [tag, kind, count, value] : entries)
        append_little(file, tag, 2), append_little(file, kind, 2), append_little(file, count, 4),
            append_little(file, value, 4);
    append_little(file, 0, 4);
    for (int i = 0; i < 3; ++i) append_little(file, 8, 2);
    file.insert(file.end(), image.rgb.begin(), image.rgb.end());
    return file;
}

// Lossless, two rows of three pixels.
FileContent small_webp() {
    return {0x52, 0x49, 0x46, 0x46, 0x40, 0x00, 0x00, 0x00, 0x57, 0x45, 0x42, 0x50, 0x56, 0x50, 0x38, 0x4c, 0x34, 0x00,
            0x00, 0x00, 0x2f, 0x02, 0x40, 0x00, 0x00, 0x2f, 0x20, 0x16, 0x4c, 0x8e, 0x51, 0xe6, 0x0f, 0x92, 0x06, 0x41,
            0xb6, 0xcd, 0xb6, 0xfb, 0x2b, 0x9d, 0x8d, 0x20, 0xdb, 0x36, 0xb4, 0xed, 0x2e, 0x9f, 0xff, 0x18, 0x72, 0x6c,
            0x6c, 0x6c, 0xfa, 0x41, 0x21, 0xdb, 0x08, 0x70, 0xe8, 0x5e, 0x90, 0x63, 0xb9, 0x88, 0xfe, 0xc7, 0x7a, 0x00};
}

// Six rows of three pixels, of which the frame has all but the first column. Codes of eight bits are whole bytes.
FileContent small_gif() {
    FileContent file = text_content("GIF89a");
    append_little(file, 3, 2), append_little(file, 6, 2), append_little(file, 0xf6, 3);
    for (size_t i = 0; i < 128; ++i)
        append_little(file, i, 1), append_little(file, 0, 1), append_little(file, 2 * i, 1);
    file.insert(file.end(), {0x21, 0xf9, 4, 0, 0, 0, 0, 0, 0x2c, 1, 0, 0, 0, 2, 0, 6, 0, 0x40, 7, 14, 0x80});
    for (const uint8_t row : {0, 4, 2, 1, 3, 5})
        for (const uint8_t column : {1, 2}) file.push_back(uint8_t(10 * (row + 1) + column));
    file.insert(file.end(), {0x81, 0, 0x3b});
    return file;
}

}  // namespace

TEST(ImageFormats, tiff) {
    const Image image = sample_image(5, 7);
    for (int orientation = 1; orientation <= 8; ++orientation) {
        const Decoded got = decoded(tiff_of(image, orientation));
        if (not_built_in(got)) GTEST_SKIP() << got.text;
        EXPECT_EQ(got.trouble, DecodeStatus::none) << got.text;
        EXPECT_EQ(got.image.rgb, turned(image, orientation).rgb) << orientation;
        const Decoded size = decoded(tiff_of(image, orientation), {.size_only = true});
        EXPECT_EQ(size.full_h, orientation >= 5 ? 7u : 5u);
        EXPECT_FALSE(size.usable());
    }
    EXPECT_EQ(decoded(tiff_of(image, 6), {.orient = false}).image.rgb, image.rgb);
    FileContent cut = tiff_of(image, 1);
    cut.resize(cut.size() - 30);
    EXPECT_EQ(decoded(cut).trouble, DecodeStatus::truncated);
    EXPECT_EQ(decoded(tiff_of(image, 1), {.max_pixels = 34}).trouble, DecodeStatus::too_large);
    EXPECT_EQ(decoded(tiff_of(image, 1, 1)).trouble, DecodeStatus::unsupported) << "the preview of a raw file";
}

TEST(ImageFormats, webp) {
    const Decoded got = decoded(small_webp());
    if (not_built_in(got)) GTEST_SKIP() << got.text;
    EXPECT_EQ(got.trouble, DecodeStatus::none) << got.text;
    EXPECT_EQ(got.image.rgb, (FileContent{1, 2, 3, 4, 5, 6, 200, 100, 50, 7, 8, 9, 10, 11, 12, 0, 255, 0}));
    EXPECT_EQ(decoded(small_webp(), {.size_only = true}).full_w, 3u);
    for (const size_t prefix : {0, 6}) {  // orientation, in a chunk that some programs begin as JPEG does
        const std::vector<uint8_t> segment = exif_segment({.orientation = 6});
        const FileContent block(segment.begin() + long(6 - prefix), segment.end());
        FileContent file = text_content("RIFF");
        append_little(file, 4 + 18 + 60 + 8 + block.size() + block.size() % 2, 4);
        for (const char c : std::string_view("WEBPVP8X")) file.push_back(uint8_t(c));
        append_little(file, 10, 4), append_little(file, 8, 4), append_little(file, 2, 3), append_little(file, 1, 3);
        const FileContent image = small_webp();
        file.insert(file.end(), image.begin() + 12, image.end());
        for (const char c : std::string_view("EXIF")) file.push_back(uint8_t(c));
        append_little(file, block.size(), 4);
        file.insert(file.end(), block.begin(), block.end());
        if (block.size() % 2) file.push_back(0);
        const Decoded upright = decoded(file);
        EXPECT_EQ(upright.trouble, DecodeStatus::none) << upright.text;
        EXPECT_EQ(upright.image.rgb, turned(got.image, 6).rgb);
    }
    EXPECT_EQ(decoded(small_webp(), {.max_pixels = 5}).trouble, DecodeStatus::too_large);
    FileContent cut = small_webp();
    cut.resize(cut.size() - 20);
    EXPECT_EQ(decoded(cut).trouble, DecodeStatus::truncated);
}

TEST(ImageFormats, first_frame_of_gif) {
    const Decoded got = decoded(small_gif());
    if (not_built_in(got)) GTEST_SKIP() << got.text;
    EXPECT_EQ(got.trouble, DecodeStatus::none) << got.text;
    ASSERT_EQ(got.image.h, 6u);
    ASSERT_EQ(got.image.w, 3u);
    for (size_t i = 0; i < 18; ++i) {  // column 0 is outside of the frame, whose rows are interlaced
        const size_t expected = i % 3 == 0 ? 0 : 10 * (i / 3 + 1) + i % 3;
        EXPECT_EQ(got.image.rgb[3 * i], expected) << i;
        EXPECT_EQ(got.image.rgb[3 * i + 2], expected ? 2 * expected : 0) << i;
    }
    FileContent cut = small_gif();
    cut.resize(cut.size() - 10);
    EXPECT_EQ(decoded(cut).trouble, DecodeStatus::truncated);
    EXPECT_EQ(decoded(small_gif(), {.max_pixels = 17}).trouble, DecodeStatus::too_large);
}

// No crash (the sanitizer run watches), and an image or a reason each time.
TEST(ImageFormats, random_damage) {
    std::mt19937 random(7);
    for (const FileContent& start : {tiff_of(sample_image(40, 40), 6), small_webp(), small_gif()})
        for (int round = 0; round < 1000; ++round) {
            FileContent file = start;
            for (unsigned n = 1 + random() % 4; n > 0; --n) file[random() % file.size()] = uint8_t(random());
            if (random() % 4 == 0) file.resize(random() % file.size());
            const Decoded got = decoded(file, {.max_pixels = 1'000'000});
            EXPECT_TRUE(got.usable() || got.trouble != DecodeStatus::none);
            EXPECT_EQ(got.image.rgb.size(), got.image.h * got.image.w * 3);
        }
}
