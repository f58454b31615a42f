// The planes of a JPEG file through CameraBatch give the very pixels that libjpeg-turbo's own conversion to RGB gives.
#include <gtest/gtest.h>
#include <turbojpeg.h>

#include <random>

#include "kernels/image.h"

namespace {

const Cpu cpu{.threads = 2, .scratch = {}};

struct Planes {
    std::vector<uint8_t> luma, cb, cr, rgb;
};

// A JPEG file of smoothed noise, 4:2:0, decoded both ways.
Planes decoded(int h, int w) {
    std::mt19937 generator(unsigned(h * 1000 + w));
    std::vector<uint8_t> picture(size_t(h * w * 3));
    for (size_t i = 0; i < picture.size(); ++i)
        picture[i] = uint8_t(i < 9 ? generator() % 256 : (picture[i - 9] * 3u + generator() % 256) / 4);
    tjhandle to = tjInitCompress(), from = tjInitDecompress();
    unsigned char* file = nullptr;
    unsigned long bytes = 0;
    EXPECT_EQ(tjCompress2(to, picture.data(), w, 0, h, TJPF_RGB, &file, &bytes, TJSAMP_420, 90, 0), 0);
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

CameraBatch<float> camera(size_t h, size_t w, size_t out_h, size_t out_w, Filter filter, float* y) {
    return {.h = h,
            .w = w,
            .inner_h = out_h,
            .inner_w = out_w,
            .top = 0,
            .left = 0,
            .index = 0,
            .out_h = out_h,
            .out_w = out_w,
            .out_c = 3,
            .filter = filter,
            .normalize = {{1, 1, 1}, {0, 0, 0}},
            .rgb = nullptr,
            .luma = nullptr,
            .cb = nullptr,
            .cr = nullptr,
            .y = y};
}

TEST(camera_planes, equal_decoding_to_rgb) {
    for (const auto& [h, w] : {std::pair(16, 16), {33, 47}, {46, 31}, {17, 64}, {1, 9}}) {
        const Planes planes = decoded(h, w);
        for (const Filter filter : {Filter::nearest, Filter::linear, Filter::antialias}) {
            const size_t out_h = filter == Filter::nearest ? size_t(h) : size_t(h) * 2 / 3 + 1;
            const size_t out_w = filter == Filter::nearest ? size_t(w) : size_t(w) * 2 / 3 + 1;
            std::vector<float> from_planes(out_h * out_w * 3), from_rgb(from_planes.size());
            CameraBatch<float> op = camera(size_t(h), size_t(w), out_h, out_w, filter, from_planes.data());
            op.luma = planes.luma.data(), op.cb = planes.cb.data(), op.cr = planes.cr.data();
            compute(cpu, op);
            op.rgb = planes.rgb.data(), op.y = from_rgb.data();
            compute(cpu, op);
            EXPECT_EQ(from_planes, from_rgb) << h << "x" << w << " filter " << int(filter);
        }
    }
}

TEST(camera_planes, frame_too_small_is_refused) {
    float y[3] = {};
    CameraBatch<float> op = camera(4, 4, 4, 4, Filter::linear, y);
    op.top = 1;
    EXPECT_THROW(compute(cpu, op), std::invalid_argument);
}

}  // namespace
