// JPEG files letterboxed from their planes (kernels/image.h, CameraBatch) have the very pixels of decoding to RGB and
// letterboxing; decode_planes() refuses what would not. Under 1 s.
#include <random>

#include "data/fit.h"
#include "kernels/image.h"
#include "tests/images.h"

namespace {

Image noise(size_t h, size_t w) {  // with every colour that a conversion has to clip
    std::mt19937 random(unsigned(h * 1000 + w));
    Image image{.h = h, .w = w, .rgb = FileContent(h * w * 3)};
    for (size_t i = 0; i < image.rgb.size(); ++i)
        image.rgb[i] = uint8_t(i < 9 ? random() % 256 : (image.rgb[i - 9] * 3u + random() % 256) / 4);
    for (size_t i = 0; i < image.rgb.size() / 4; ++i) image.rgb[random() % image.rgb.size()] = random() % 2 ? 255 : 0;
    return image;
}

std::vector<uint8_t> from_planes(const Planes& planes, const Letterbox& box) {
    const CameraPlace place{0,
                            int32_t(planes.h),
                            int32_t(planes.w),
                            int32_t(box.inner_h),
                            int32_t(box.inner_w),
                            int32_t(box.top),
                            int32_t(box.left)};
    std::vector<uint8_t> y(box.out_h * box.out_w * 3);
    compute(Cpu{}, CameraBatch{.n = 1,
                               .h = box.out_h,
                               .w = box.out_w,
                               .images = nullptr,
                               .planes = planes.bytes.data(),
                               .places = &place,
                               .y = y.data()});
    return y;
}

TEST(CameraPlanes, GiveThePixelsOfDecodingAndLetterboxing) {
    for (const auto& [h, w] : {std::pair<size_t, size_t>{16, 16},
                               {33, 47},
                               {46, 31},
                               {17, 64},
                               {1, 9},
                               {64, 64},
                               {31, 5},
                               {200, 131},
                               {120, 160}})
        for (const bool progressive : {false, true}) {
            const FileContent file = jpeg_of(noise(h, w), {.quality = 90, .progressive = progressive});
            const Planes planes = decode_planes(file);
            ASSERT_EQ(planes.h, h);
            ASSERT_EQ(planes.w, w);
            ASSERT_EQ(planes.bytes.size() % kPlanesAlignment, 0u);
            const Decoded rgb = decode_image(file);
            for (const size_t side : {64, 96, 128}) {
                const Letterbox box = letterbox({.h = h, .w = w, .out_h = side, .out_w = side, .stride = 32});
                std::vector<uint8_t> want(box.out_h * box.out_w * 3);
                letterbox_image(rgb.image, box, Filter::linear, want.data());
                EXPECT_TRUE(from_planes(planes, box) == want) << h << "x" << w << " to " << side;
            }
        }
}

// What is not a sound, upright 4:2:0 JPEG of more than four columns is left to decode_image().
TEST(CameraPlanes, AreRefusedWhereTheyWouldDiffer) {
    const Image image = sample_image(40, 48);
    for (const int orientation : {2, 3, 6, 8}) {
        const Exif exif{.orientation = orientation};
        EXPECT_EQ(decode_planes(jpeg_of(image, {}, &exif)).h, 0u) << orientation;
    }
    for (const int subsampling : {TJSAMP_444, TJSAMP_422, TJSAMP_440, TJSAMP_411, TJSAMP_GRAY})
        EXPECT_EQ(decode_planes(jpeg_of_samples(image.rgb, 40, 48, TJPF_RGB, subsampling)).h, 0u) << subsampling;
    EXPECT_EQ(decode_planes(jpeg_of_samples(FileContent(40 * 48 * 4, 9), 40, 48, TJPF_CMYK, TJSAMP_420)).h, 0u);
    EXPECT_EQ(decode_planes(jpeg_of(sample_image(30, 4))).h, 0u);
    EXPECT_EQ(decode_planes(jpeg_of(image), {.max_pixels = 40 * 48 - 1}).h, 0u);
    EXPECT_EQ(decode_planes(png_of(image)).h, 0u);
    EXPECT_EQ(decode_planes({}).h, 0u);
}

// Damage of every kind: planes exactly where the whole image is sound, so that no damaged image counts as sound.
TEST(CameraPlanes, OfDamagedFilesAreRefused) {
    std::mt19937 random(7);
    const Image image = sample_image(40, 40);
    const FileContent sound[] = {jpeg_of(image), jpeg_of(image, {.progressive = true})};
    size_t refused = 0;
    for (const FileContent& start : sound)
        for (int round = 0; round < 600; ++round) {
            FileContent file = start;
            if (round % 2) file.resize(random() % file.size());
            for (unsigned n = round % 2 ? 0 : 1 + random() % 4; n > 0; --n)
                file[random() % file.size()] = uint8_t(random());
            const Planes planes = decode_planes(file, {.max_pixels = 1'000'000});
            const Decoded rgb = decode_image(file, {.max_pixels = 1'000'000});
            refused += planes.h == 0;
            if (planes.h == 0) continue;
            EXPECT_EQ(rgb.trouble, DecodeStatus::none) << rgb.text;
            ASSERT_EQ(rgb.image.h, planes.h);
            const Letterbox box = letterbox({.h = planes.h, .w = planes.w, .out_h = 64, .out_w = 64, .stride = 32});
            std::vector<uint8_t> want(box.out_h * box.out_w * 3);
            letterbox_image(rgb.image, box, Filter::linear, want.data());
            EXPECT_TRUE(from_planes(planes, box) == want) << "round " << round;
        }
    EXPECT_GT(refused, 500u);
}

}  // namespace
