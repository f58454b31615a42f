// The formats that a build may lack, and the EXIF of other formats than JPEG. TIFF, WebP, GIF and PNG in files made by
// hand; HEIC and AVIF written by libheif, where it has an encoder. Below 2 s.
#include <random>
#ifdef TUNDRA_HEIF
#include <dlfcn.h>
#include <libheif/heif.h>
#endif

#include "data/image.h"
#include "tests/images.h"

#ifdef __SANITIZE_ADDRESS__
// x265, with which this test writes HEIC, forgets a block.
extern "C" const char* __lsan_default_suppressions() { return "leak:libx265"; }
#endif

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

// The TIFF block of a file with this date and orientation.
FileContent exif_block(const Exif& exif) {
    const std::vector<uint8_t> segment = exif_segment(exif);
    return {segment.begin() + 6, segment.end()};
}

TEST(ImageFormats, exif_of_png) {
    const Image image = sample_image(17, 23);
    const FileContent plain = png_of(image);
    FileContent marked(plain.begin(), plain.begin() + 33), late(plain.begin(), plain.end() - 12);
    for (FileContent* file : {&marked, &late})
        append_chunk(*file, "eXIf", exif_block({.date = "2024:07:31 13:05:59", .make = "CAM", .orientation = 6}));
    marked.insert(marked.end(), plain.begin() + 33, plain.end());
    late.insert(late.end(), plain.end() - 12, plain.end());
    EXPECT_EQ(exif_of(marked).date, "2024:07:31 13:05:59");
    EXPECT_EQ(exif_of(marked).make, "CAM");
    EXPECT_EQ(exif_of(plain).date, "");
    EXPECT_EQ(decoded(marked).image.rgb, turned(image, 6).rgb);
    EXPECT_EQ(decoded(marked, {.size_only = true}).full_h, 23u);
    EXPECT_EQ(decoded(late).image.rgb, image.rgb) << "behind the pixels it is not looked for";
    marked.resize(60);
    EXPECT_EQ(exif_of(marked).date, "");
}

TEST(ImageFormats, exif_of_tiff_and_webp) {
    const TemporaryFolder folder;
    FileContent tiff = tiff_of(sample_image(200, 200), 1), webp = text_content("RIFF");
    if (not_built_in(decoded(tiff)) || not_built_in(decoded(small_webp()))) GTEST_SKIP();
    // The date of a TIFF is a tag of its own directory: 254, which says nothing here, becomes 306, behind the pixels.
    const std::string date = "2024:07:31 13:05:59";
    const auto put = [&](size_t at, size_t value, int bytes) {
        for (int i = 0; i < bytes; ++i) tiff[at + size_t(i)] = uint8_t(value >> 8 * i);
    };
    const size_t date_at = tiff.size();
    tiff.insert(tiff.end(), date.begin(), date.end());
    tiff.push_back(0);
    std::rotate(tiff.begin() + 10, tiff.begin() + 22, tiff.begin() + 10 + 11 * 12);
    put(130, 306, 2), put(132, 2, 2), put(134, 20, 4), put(138, date_at, 4);
    ASSERT_TRUE(decoded(tiff).usable()) << decoded(tiff).text;
    EXPECT_EQ(exif_of(tiff).date, date);
    const FileContent block = exif_block({.date = date, .orientation = 1}), image = small_webp();
    append_little(webp, 4 + 18 + 60 + 8 + block.size() + block.size() % 2, 4);
    for (const char c : std::string_view("WEBPVP8X")) webp.push_back(uint8_t(c));
    append_little(webp, 10, 4), append_little(webp, 8, 4), append_little(webp, 2, 3), append_little(webp, 1, 3);
    webp.insert(webp.end(), image.begin() + 12, image.end());
    for (const char c : std::string_view("EXIF")) webp.push_back(uint8_t(c));
    append_little(webp, block.size(), 4);
    webp.insert(webp.end(), block.begin(), block.end());
    if (block.size() % 2) webp.push_back(0);
    EXPECT_EQ(exif_of(webp).date, date);
    // From the start of a file, as data sets read it.
    for (const FileContent& file : {tiff, webp}) {
        const std::string path = folder.write("image", file);
        EXPECT_EQ(exif_of_file(Bytes(file).first(std::min<size_t>(file.size(), 90)), path).date, date);
    }
}

#ifdef TUNDRA_HEIF
// `format`: HEVC or AV1. Empty if this libheif has no encoder for it.
FileContent heif_of(const Image& image, heif_compression_format format, const Exif* exif = nullptr) {
    void* const library = dlopen(TUNDRA_HEIF, RTLD_NOW);
#define HEIF(name) (*reinterpret_cast<decltype(&::name)>(dlsym(library, #name)))
    heif_context* context = HEIF(heif_context_alloc)();
    heif_encoder* encoder = nullptr;
    FileContent file;
    if (HEIF(heif_context_get_encoder_for_format)(context, format, &encoder).code == heif_error_Ok) {
        HEIF(heif_encoder_set_lossy_quality)(encoder, 95);
        heif_image* picture = nullptr;
        HEIF(heif_image_create)
        (int(image.w), int(image.h), heif_colorspace_RGB, heif_chroma_interleaved_RGB, &picture);
        HEIF(heif_image_add_plane)(picture, heif_channel_interleaved, int(image.w), int(image.h), 24);
        int stride = 0;
        uint8_t* rows = HEIF(heif_image_get_plane)(picture, heif_channel_interleaved, &stride);
        for (size_t y = 0; y < image.h; ++y)
            std::copy_n(&image.rgb[y * image.w * 3], image.w * 3, rows + y * size_t(stride));
        heif_image_handle* handle = nullptr;
        EXPECT_EQ(HEIF(heif_context_encode_image)(context, picture, encoder, nullptr, &handle).code, heif_error_Ok);
        if (exif) {
            const FileContent block = exif_block(*exif);
            HEIF(heif_context_add_exif_metadata)(context, handle, block.data(), int(block.size()));
        }
        heif_writer writer{.writer_api_version = 1,
                           .write = [](heif_context*, const void* bytes, size_t size, void* out) {
                               const auto* start = static_cast<const uint8_t*>(bytes);
                               static_cast<FileContent*>(out)->assign(start, start + size);
                               return heif_error{heif_error_Ok, heif_suberror_Unspecified, "ok"};
                           }};
        HEIF(heif_context_write)(context, &writer, &file);
        HEIF(heif_image_handle_release)(handle);
        HEIF(heif_image_release)(picture);
        HEIF(heif_encoder_release)(encoder);
    }
    HEIF(heif_context_free)(context);
#undef HEIF
    return file;
}

TEST(ImageFormats, heic_and_avif) {
    const Image image = sample_image(96, 128);
    const TemporaryFolder folder;
    size_t seen = 0;
    for (const heif_compression_format format : {heif_compression_HEVC, heif_compression_AV1}) {
        // Cameras write the orientation of their file (irot) into EXIF as well: it must not be applied twice.
        const Exif exif{.date = "2024:07:31 13:05:59", .make = "PHONE", .orientation = 6};
        const FileContent file = heif_of(image, format, &exif);
        if (file.empty()) continue;
        const Decoded got = decoded(file);
        if (got.trouble == DecodeStatus::unsupported) continue;  // no decoder
        ++seen;
        ASSERT_EQ(got.trouble, DecodeStatus::none) << got.text;
        ASSERT_EQ(got.image.h, 96u);
        EXPECT_LT(difference(got.image.rgb, image.rgb).mean, 4);
        EXPECT_EQ(exif_of(file).date, exif.date);
        EXPECT_EQ(exif_of_file(Bytes(file).first(100), folder.write("image", file)).make, "PHONE");
        EXPECT_EQ(decoded(file, {.size_only = true}).full_w, 128u);
        EXPECT_EQ(decoded(file, {.max_pixels = 96 * 128 - 1}).trouble, DecodeStatus::too_large);
        EXPECT_FALSE(decoded({file.begin(), file.begin() + 40}).usable());
        EXPECT_FALSE(decoded({file.begin(), file.end() - ptrdiff_t(file.size() / 2)}).usable());
        std::mt19937 random(11);
        for (int round = 0; round < 100; ++round) {
            FileContent damaged = file;
            for (unsigned n = 1 + random() % 4; n > 0; --n)
                damaged[random() % std::min<size_t>(damaged.size(), 600)] = uint8_t(random());
            const Decoded result = decoded(damaged, {.max_pixels = 1'000'000});
            EXPECT_TRUE(result.usable() || result.trouble != DecodeStatus::none);
            EXPECT_EQ(result.image.rgb.size(), result.image.h * result.image.w * 3);
            (void)exif_of(damaged);
        }
    }
    if (!seen) GTEST_SKIP() << "this libheif cannot encode";
}
#endif

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
