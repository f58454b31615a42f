// The colour arithmetic of CameraBatch (kernels/image_math.h) gives the very pixels of libjpeg-turbo's conversion to
// RGB.
#include <gtest/gtest.h>
#include <turbojpeg.h>

#include <random>

#include "tests/camera_reference.h"

namespace {

struct Planes {
    std::vector<uint8_t> luma, cb, cr, rgb;
};

// A JPEG file of smoothed noise, 4:2:0, decoded both ways.
Planes decoded(int h, int w) {
    std::mt19937 generator(unsigned(h * 1000 + w));
    std::vector<uint8_t> image(size_t(h * w * 3));
    for (size_t i = 0; i < image.size(); ++i)
        image[i] = uint8_t(i < 9 ? generator() % 256 : (image[i - 9] * 3u + generator() % 256) / 4);
    tjhandle to = tjInitCompress(), from = tjInitDecompress();
    unsigned char* file = nullptr;
    unsigned long bytes = 0;
    EXPECT_EQ(tjCompress2(to, image.data(), w, 0, h, TJPF_RGB, &file, &bytes, TJSAMP_420, 90, 0), 0);
    const size_t chroma = size_t((h + 1) / 2) * size_t((w + 1) / 2);
    Planes planes{
        {}, std::vector<uint8_t>(chroma), std::vector<uint8_t>(chroma), std::vector<uint8_t>(size_t(h * w * 3))};
    const int pitch = (w + 1) / 2 * 2;  // the library pads luma to whole chroma samples
    std::vector<uint8_t> padded(size_t(pitch * ((h + 1) / 2 * 2)));
    unsigned char* pointers[3] = {padded.data(), planes.cb.data(), planes.cr.data()};
    EXPECT_EQ(tjDecompressToYUVPlanes(from, file, bytes, pointers, w, nullptr, h, TJFLAG_ACCURATEDCT), 0);
    EXPECT_EQ(tjDecompress2(from, file, bytes, planes.rgb.data(), w, 0, h, TJPF_RGB, TJFLAG_ACCURATEDCT), 0);
    for (int i = 0; i < h; ++i)
        planes.luma.insert(planes.luma.end(), &padded[size_t(i * pitch)], &padded[size_t(i * pitch)] + w);
    tjFree(file), tjDestroy(to), tjDestroy(from);
    return planes;
}

TEST(CameraPlanes, give_the_colours_of_libjpeg_turbo) {
    for (const auto& [h, w] : {std::pair(16, 16), {33, 47}, {46, 31}, {17, 64}, {1, 9}}) {
        const Planes planes = decoded(h, w);
        CameraBatch<float> op{};
        op.h = size_t(h), op.w = size_t(w);
        op.luma = planes.luma.data(), op.cb = planes.cb.data(), op.cr = planes.cr.data();
        EXPECT_EQ(rgb_of_planes(op), planes.rgb) << h << "x" << w;
    }
}

}  // namespace
