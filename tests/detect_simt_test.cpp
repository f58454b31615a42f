// Box decoding and selection on simt against the CPU; selection gives the same bits.
#include "tests/detect_cases.h"
#include "tests/simt_fixture.h"

namespace {

const Cpu cpu{.threads = 1, .scratch = {}};

TYPED_TEST(SimtKernels, detect_decode) {
    using T = typename TypeParam::Type;
    for (const auto& [h, w, classes] : {std::tuple(5, 7, 3), {1, 1, 1}, {3, 33, 2}, {3, 33, 3}, {2, 33, 11}}) {
        const size_t n = 2, values = 5 + size_t(classes), level = 3 * size_t(h * w), first_row = 11, rows = level + 13;
        const auto head = representable<T>(random_floats(n * level * values, 1));
        const float mirror = w == 33 ? 500 : 0;
        DecodeBoxes<float> reference{.n = n,
                                     .h = size_t(h),
                                     .w = size_t(w),
                                     .classes = size_t(classes),
                                     .stride = 16,
                                     .anchors = {{19, 27}, {44, 40}, {38, 94}},
                                     .mirror = mirror,
                                     .first_row = first_row,
                                     .rows = rows,
                                     .head = head.data(),
                                     .boxes = nullptr};
        std::vector<float> want(n * rows * values, -3.0f);
        reference.boxes = want.data();
        compute(cpu, reference);
        const DeviceArray<T> device_head(stored<T>(head));
        const auto [got] = in_every_order([&, h = h, w = w, classes = classes] {
            const DeviceArray<float> boxes(std::vector<float>(want.size(), -3.0f));  // -3: rows of other levels stay
            DecodeBoxes<T> op{.n = n,
                              .h = size_t(h),
                              .w = size_t(w),
                              .classes = size_t(classes),
                              .stride = 16,
                              .anchors = {{19, 27}, {44, 40}, {38, 94}},
                              .mirror = mirror,
                              .first_row = first_row,
                              .rows = rows,
                              .head = device_head.get(),
                              .boxes = boxes.get()};
            compute(this->gpu, op);
            return std::tuple(boxes.host());
        });
        expect_stored(want, got, 1e-6, "boxes");  // two versions of exp, within 2 ulp
    }
}

template <class Gpu>
void check_selection(const Gpu& gpu, const SelectCase& c) {
    std::vector<float> detections(c.n * c.most * 6);
    std::vector<int32_t> count(c.n);
    SelectBoxes op{.n = c.n,
                   .rows = c.rows,
                   .classes = c.classes,
                   .threshold = c.threshold,
                   .iou_threshold = c.overlap,
                   .max_detections = c.most,
                   .boxes = c.boxes.data(),
                   .detections = detections.data(),
                   .count = count.data()};
    compute(cpu, op);
    const DeviceArray<float> boxes(c.boxes);
    const size_t scratch_bytes = 2 * c.n * c.rows * sizeof(uint64_t);
    const auto got = in_every_order([&] {
        const DeviceArray<uint8_t> scratch(scratch_bytes);
        const DeviceArray<float> device_detections(detections.size());
        const DeviceArray<int32_t> device_count(c.n);
        op.boxes = boxes.get(), op.detections = device_detections.get(), op.count = device_count.get();
        typename Gpu::Handle small = gpu;
        small.scratch = {scratch.get(), scratch_bytes};
        compute(small, op);
        return std::tuple(device_detections.host(), device_count.host());
    });
    EXPECT_TRUE(same_bits(got, std::tuple(detections, count))) << c.rows << " rows";
}

TYPED_TEST(SimtDevices, selection) {
    for (unsigned seed = 0; seed < 6; ++seed)
        check_selection(this->gpu, random_select_case(1 + seed % 3, 1 + seed * 60, 1 + seed % 4, seed));
    SelectCase many = random_select_case(1, 1100, 3, 8);  // more candidates than threads
    many.threshold = 0;
    check_selection(this->gpu, many);
    SelectCase none = random_select_case(2, 50, 2, 9);
    none.threshold = 1;
    check_selection(this->gpu, none);
    SelectCase overflown = random_select_case(2, 600, 2, 10);
    overflown.boxes[(600 + 599) * 7 + 4] = std::numeric_limits<float>::quiet_NaN();
    check_selection(this->gpu, overflown);
}

TEST(DetectSimt, too_little_scratch_memory_is_an_error) {
    float number = 0;
    int32_t count = 0;
    EXPECT_THROW(compute(Simt{}, SelectBoxes{.n = 1,
                                             .rows = 9,
                                             .classes = 1,
                                             .threshold = 0,
                                             .iou_threshold = 0,
                                             .max_detections = 1,
                                             .boxes = &number,
                                             .detections = &number,
                                             .count = &count}),
                 std::length_error);
}

}  // namespace
