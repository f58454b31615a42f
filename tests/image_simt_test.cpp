// The image kernels on simt against the CPU: the same integers and floats, so the same bits; the triangle filter
// within 1.
#include "kernels/image.h"

#include "tests/camera_reference.h"
#include "tests/simt_fixture.h"

namespace {

const Cpu cpu{.threads = 1, .scratch = {}};
// In BGR; the test of the camera's pixels has RGB.
const Normalize imagenet{{0.017f, 0.0175f, 0.0174f}, {-2.1f, -2.0f, -1.8f}, true};

std::vector<uint8_t> random_bytes(size_t count, unsigned seed) {
    std::mt19937 generator(seed);
    std::vector<uint8_t> bytes(count);
    for (uint8_t& byte : bytes) byte = uint8_t(generator());
    return bytes;
}

struct Inner {
    size_t h = 0, w = 0;
};

template <class T>
void check_batch(const auto& gpu, size_t h, size_t w, size_t out_h, size_t out_w, size_t out_c,
                 const std::vector<float>& transform, const std::vector<float>& color, const Inner& inner = {}) {
    const size_t n = color.size() / 2;
    const auto images = random_bytes(n * h * w * 3, unsigned(h * w));
    std::vector<float> want(n * out_h * out_w * out_c);
    compute(cpu, ImageBatch<float>{.n = n,
                                   .h = h,
                                   .w = w,
                                   .out_h = out_h,
                                   .out_w = out_w,
                                   .out_c = out_c,
                                   .normalize = imagenet,
                                   .inner_h = inner.h,
                                   .inner_w = inner.w,
                                   .grey = 113.985f,
                                   .images = images.data(),
                                   .transform = transform.data(),
                                   .color = color.data(),
                                   .y = want.data()});
    const DeviceArray<uint8_t> device_images(images);
    const DeviceArray<float> device_transform(transform), device_color(color);
    const auto [got] = in_every_order([&] {
        const DeviceArray<T> y(want.size());
        compute(gpu, ImageBatch<T>{.n = n,
                                   .h = h,
                                   .w = w,
                                   .out_h = out_h,
                                   .out_w = out_w,
                                   .out_c = out_c,
                                   .normalize = imagenet,
                                   .inner_h = inner.h,
                                   .inner_w = inner.w,
                                   .grey = 113.985f,
                                   .images = device_images.get(),
                                   .transform = device_transform.get(),
                                   .color = device_color.get(),
                                   .y = y.get()});
        return std::tuple(y.host());
    });
    EXPECT_TRUE(same_bits(std::tuple(got), std::tuple(stored<T>(want))))
        << h << "x" << w << " to " << out_h << "x" << out_w << "x" << out_c;
}

struct Frame {
    size_t h, w, inner_h, inner_w, top, left, out_h, out_w;
};
// Smaller, larger, unchanged, one pixel, a reduction that takes many strips, a strip of the frame's width and not.
const Frame frames[] = {{37, 53, 18, 26, 3, 2, 24, 32}, {9, 7, 20, 16, 0, 4, 20, 24}, {11, 12, 11, 12, 1, 0, 13, 12},
                        {1, 1, 5, 3, 0, 1, 5, 5},       {400, 30, 4, 3, 2, 2, 9, 8},  {20, 90, 9, 40, 0, 0, 9, 41}};

template <class T>
void check_camera(const auto& gpu, const Frame& f, size_t out_c, Filter filter, bool planar) {
    const size_t chroma = ((f.h + 1) / 2) * ((f.w + 1) / 2), index = 1, count = 2 * f.out_h * f.out_w * out_c;
    const auto rgb = random_bytes(f.h * f.w * 3, 1), luma = random_bytes(f.h * f.w, 2), cb = random_bytes(chroma, 3),
               cr = random_bytes(chroma, 4);
    const Normalize normalize{{1, 1, 1}, {0.5f, -0.25f, 0}};
    std::vector<float> want(count, 9.0f);
    camera_reference(CameraBatch<float>{.h = f.h,
                                        .w = f.w,
                                        .inner_h = f.inner_h,
                                        .inner_w = f.inner_w,
                                        .top = f.top,
                                        .left = f.left,
                                        .index = index,
                                        .out_h = f.out_h,
                                        .out_w = f.out_w,
                                        .out_c = out_c,
                                        .filter = filter,
                                        .normalize = normalize,
                                        .rgb = planar ? nullptr : rgb.data(),
                                        .luma = luma.data(),
                                        .cb = cb.data(),
                                        .cr = cr.data(),
                                        .y = want.data()});
    const DeviceArray<uint8_t> device_rgb(rgb), device_luma(luma), device_cb(cb), device_cr(cr);
    const auto [got] = in_every_order([&] {
        const DeviceArray<T> y(stored<T>(std::vector<float>(count, 9.0f)));
        compute(gpu, CameraBatch<T>{.h = f.h,
                                    .w = f.w,
                                    .inner_h = f.inner_h,
                                    .inner_w = f.inner_w,
                                    .top = f.top,
                                    .left = f.left,
                                    .index = index,
                                    .out_h = f.out_h,
                                    .out_w = f.out_w,
                                    .out_c = out_c,
                                    .filter = filter,
                                    .normalize = normalize,
                                    .rgb = planar ? nullptr : device_rgb.get(),
                                    .luma = device_luma.get(),
                                    .cb = device_cb.get(),
                                    .cr = device_cr.get(),
                                    .y = y.get()});
        return std::tuple(y.host());
    });
    if (filter != Filter::antialias) {
        EXPECT_TRUE(same_bits(std::tuple(got), std::tuple(stored<T>(want))))
            << f.h << "x" << f.w << " filter " << int(filter);
        return;
    }
    // The CPU rounds to 8 bits between the two passes, as Pillow does: half a level there, half a level at the end.
    for (size_t i = 0; i < count; ++i)
        ASSERT_NEAR(float(got[i]), want[i], 1.0 + 256 * rounding<T>()) << f.h << "x" << f.w << " at " << i;
}

TYPED_TEST(SimtKernels, image_identity_copies_exactly) {
    using T = typename TypeParam::Type;
    const auto images = random_bytes(2 * 5 * 6 * 3, 1);
    const DeviceArray<uint8_t> device_images(images);
    const DeviceArray<float> transform({1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0}), color({1, 0, 1, 0});
    const DeviceArray<T> y(2 * 5 * 6 * 4);
    compute(this->gpu, ImageBatch<T>{.n = 2,
                                     .h = 5,
                                     .w = 6,
                                     .out_h = 5,
                                     .out_w = 6,
                                     .out_c = 4,
                                     .normalize = {{1, 1, 1}, {0, 0, 0}},
                                     .images = device_images.get(),
                                     .transform = transform.get(),
                                     .color = color.get(),
                                     .y = y.get()});
    const auto got = y.host();
    for (size_t i = 0; i < got.size(); ++i)
        ASSERT_EQ(float(got[i]), i % 4 == 3 ? 0.0f : float(images[i / 4 * 3 + i % 4])) << i;
}

TYPED_TEST(SimtKernels, image_augmentation) {
    const std::vector<float> turned{0.8f, 0.3f, -1.5f, -0.2f, 1.1f, 2.5f}, mirrored{-1, 0, 13, 0, 1, 0},
        far{900, 0, -1e9f, 0, 1e9f, 3};
    for (const size_t out_c : {3, 4, 8}) {
        check_batch<typename TypeParam::Type>(this->gpu, 11, 13, 9, 17, out_c, turned, {1.2f, -20});
        check_batch<typename TypeParam::Type>(this->gpu, 11, 13, 11, 16, out_c, mirrored, {0.7f, 11});
        check_batch<typename TypeParam::Type>(this->gpu, 11, 13, 12, 16, out_c, mirrored, {1, 0}, {9, 11});
    }
    check_batch<typename TypeParam::Type>(this->gpu, 7, 5, 3, 8, 4, far, {1, 0});
    std::vector<float> both = turned;
    both.insert(both.end(), mirrored.begin(), mirrored.end());
    check_batch<typename TypeParam::Type>(this->gpu, 11, 13, 8, 8, 4, both, {3, -100, 1, 0});
}

TEST(ImageBatch, beyond_the_inner_pixels_is_grey) {
    const auto images = random_bytes(2 * 6 * 6 * 3, 3);
    const std::vector<float> transform{1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0}, color{1, 0, 1, 0};
    std::vector<float> y(2 * 8 * 9 * 4, -1.0f);
    compute(cpu, ImageBatch<float>{.n = 2,
                                   .h = 6,
                                   .w = 6,
                                   .out_h = 8,
                                   .out_w = 9,
                                   .out_c = 4,
                                   .normalize = {{2, 2, 2}, {1, 1, 1}},
                                   .inner_h = 5,
                                   .inner_w = 4,
                                   .grey = 7,
                                   .images = images.data(),
                                   .transform = transform.data(),
                                   .color = color.data(),
                                   .y = y.data()});
    for (size_t i = 0; i < y.size(); ++i) {
        const size_t c = i % 4, j = i / 4 % 9, row = i / 36 % 8, n = i / (36 * 8);
        const bool inside = row < 5 && j < 4;
        ASSERT_EQ(y[i], c == 3 ? 0 : inside ? 2.0f * images[((n * 6 + row) * 6 + j) * 3 + c] + 1 : 15) << i;
    }
}

TYPED_TEST(SimtKernels, image_camera) {
    for (const Frame& frame : frames)
        for (const Filter filter : {Filter::antialias, Filter::linear, Filter::nearest})
            for (const bool planar : {false, true})
                check_camera<typename TypeParam::Type>(this->gpu, frame, 4, filter, planar);
    for (const size_t out_c : {3, 8})
        for (const Frame& frame : frames)
            for (const Filter filter : {Filter::antialias, Filter::linear, Filter::nearest})
                for (const bool planar : {false, true})
                    check_camera<typename TypeParam::Type>(this->gpu, frame, out_c, filter, planar);
}

}  // namespace
