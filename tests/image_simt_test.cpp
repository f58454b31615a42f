// The image kernels on simt against the CPU: the same integers and floats, so the same bits.
#include "kernels/image.h"

#include <array>
#include <type_traits>

#include "tests/simt_fixture.h"

namespace {

const Cpu cpu{.threads = 1, .scratch = {}};
// In BGR; the identity has RGB.
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

// Smaller, larger, unchanged, one pixel, a great reduction, odd sides, one that is not there; a width that is no
// multiple of a warp's. 1 s.
void check_camera(const auto& gpu) {
    constexpr size_t kH = 26, kW = 36;
    std::vector<CameraPlace> places;
    size_t bytes = 0;
    for (const auto& [h, w, inner_h, inner_w, top, left] : {std::array{37, 53, 18, 26, 3, 2},
                                                            {9, 7, 20, 16, 0, 4},
                                                            {11, 12, 11, 12, 1, 0},
                                                            {0, 0, 0, 0, 0, 0},
                                                            {1, 1, 5, 3, 0, 1},
                                                            {400, 30, 4, 3, 2, 2},
                                                            {20, 90, 9, 36, 0, 0}}) {
        places.push_back({int32_t(bytes / kPlanesAlignment), h, w, inner_h, inner_w, top, left});
        bytes += size_t((h + 1) / 2 * ((w + 1) / 2) * 6 + 63) / 64 * 64;
    }
    const auto images = random_bytes(places.size() * kH * kW * 3, 1), planes = random_bytes(bytes, 2);
    const auto batch = [&](const uint8_t* i, const uint8_t* p, const CameraPlace* at, uint8_t* y) {
        return CameraBatch{.n = places.size(), .h = kH, .w = kW, .images = i, .planes = p, .places = at, .y = y};
    };
    std::vector<uint8_t> want(images.size());
    compute(cpu, batch(images.data(), planes.data(), places.data(), want.data()));
    const DeviceArray<uint8_t> device_images(images), device_planes(planes);
    const DeviceArray<CameraPlace> device_places(places);
    const auto [got] = in_every_order([&] {
        const DeviceArray<uint8_t> y(want.size());
        compute(gpu, batch(device_images.get(), device_planes.get(), device_places.get(), y.get()));
        return std::tuple(y.host());
    });
    EXPECT_TRUE(got == want);
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
    if constexpr (std::is_same_v<typename TypeParam::Type, float>) check_camera(this->gpu);
}

}  // namespace
