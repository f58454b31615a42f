// More cases for ptx only: nvcc unrolls and duplicates loops by option and by length, and what the cases of
// bench/op_cases.h leave out of that is run here (tests/ptx_coverage_test.cpp counts). Addresses that 16 bytes do not
// divide, too. 5 s.
#include "kernels/detect.h"
#include "kernels/elementwise.h"
#include "kernels/image.h"
#include "kernels/optimizer.h"
#include "tests/check_op.h"
#include "tests/detect_cases.h"
#include "tests/simt_fixture.h"

namespace {

using namespace op_cases_detail;

const std::string kElsewhere = "finite differences: bench/op_cases.h";

OpCase batch_norm_case(const Shape& s, Activation activation, bool residual, bool two_gradients) {
    OpCase c{fmt::format("batch_norm {} {} {} {}", dims(s), int(activation), residual, two_gradients),
             {{"x", s, CaseInput::same, 0.5f}, vector_of("scale", s[1], 1, 0.3f), vector_of("shift", s[1])},
             [=](NamedValues& v) {
                 const Value y =
                     batch_norm(v["x"], v["scale"], v["shift"], {.activation = activation, .residual = v["residual"]});
                 return two_gradients ? add(y, y) : y;
             }};
    if (residual) c.inputs.push_back({"residual", s});
    c.tolerance = 1e-4, c.chained = two_gradients, c.no_gradient = kElsewhere;
    return c;
}

OpCase image_batch_case(size_t channels, size_t width) {
    OpCase c{fmt::format("image_batch {} {}", channels, width),
             {{"images", {2, 13, 17, 3}, CaseInput::u8, 0, 256},
              constant("transform", {2, 6}, {1, 0, 0, 0, 1, 0, -1, 0, 16, 0, 1, 2}),
              constant("color", {2, 2}, {1, 0, 0.75f, 20})},
             [=](NamedValues& v) {
                 return image_batch(v["images"], v["transform"], v["color"],
                                    {.out_h = 16,
                                     .out_w = width,
                                     .out_channels = channels,
                                     .normalize = {{0.02f, 0.03f, 0.02f}, {-2, -1, -2}}});
             }};
    c.training = false;
    return c;
}

std::vector<OpCase> cases() {
    std::vector<OpCase> all;
    for (const Shape& s : {Shape{70, 16}, {70, 5}, {2100, 8}})
        for (const Activation a : {Activation::none, Activation::relu, Activation::silu})
            for (const bool residual : {false, true})
                for (const bool two : {false, true})
                    if (a != Activation::silu || !residual) all.push_back(batch_norm_case(s, a, residual, two));
    // Rows of more than 16 bytes: a thread starts behind the four numbers that are not scores.
    OpCase decode{"decode_boxes of 11 classes", {{"head0", {1, 3, 2, 48}}}, [](NamedValues& v) {
                      return decode_boxes(std::vector{v["head0"]}, std::vector{levels()[0]}, 11);
                  }};
    decode.training = false;
    all.push_back(decode);
    for (size_t n = 1; n <= 8; ++n)
        all.push_back({fmt::format("add {}", 2048 + n), {{"a", {2048 + n}}, {"b", {2048 + n}}}, [](NamedValues& v) {
                           return add(v["a"], v["b"]);
                       }});
    for (const Shape& s : {Shape{3000, 3}, {3, 3000}, {2, 2500}})
        for (const bool weighted : {false, true}) {
            OpCase c{fmt::format("cross_entropy {} {}", dims(s), weighted),
                     {{"logits", s, CaseInput::f32, 0, 3}, {"labels", {s[0]}, CaseInput::i32, -1, float(s[1])}},
                     [=](NamedValues& v) {
                         return cross_entropy(v["logits"], v["labels"],
                                              {.smoothing = weighted ? 0.1f : 0, .class_weight = v["class_weight"]})
                             .loss;
                     }};
            if (weighted) c.inputs.push_back({"class_weight", {s[1]}, CaseInput::f32, 1, 0.1f, false});
            all.push_back(c);
        }
    for (const size_t kernel : {2, 3, 5, 13})
        for (const size_t stride : {1, 2})
            for (const size_t channels : {5, 16})
                for (const bool two : {false, true}) {
                    OpCase c{fmt::format("max_pool {} {} {} {}", kernel, stride, channels, two),
                             {{"x", {2, 17, 14, channels}}},
                             [=](NamedValues& v) {
                                 const Value y = max_pool(v["x"], kernel, stride, kernel / 2);
                                 return two ? add(y, y) : y;
                             }};
                    c.chained = two;
                    all.push_back(c);
                }
    for (const size_t channels : {3, 4, 8})
        for (const size_t width : {24, 9, 70}) all.push_back(image_batch_case(channels, width));
    for (const Shape& s : {Shape{2, 23, 19, 16}, {3, 17, 5, 3}, {1, 8, 8, 5}, {1, 65, 33, 24}})
        all.push_back(
            {"global_average_pool " + dims(s), {{"x", s}}, [](NamedValues& v) { return global_average_pool(v["x"]); }});
    for (const size_t classes : {2, 3, 11}) {  // 16 numbers in a row: two accesses that decode differently
        OpCase c{fmt::format("decode_boxes {} classes", classes),
                 {{"head0", {2, 8, 6, 3 * (5 + classes)}}, {"head1", {2, 4, 3, 3 * (5 + classes)}}},
                 [=](NamedValues& v) {
                     return decode_boxes(std::vector{v["head0"], v["head1"]}, levels(), classes);
                 }};
        c.training = false;
        all.push_back(c);
    }
    for (const size_t classes : {1, 2, 9}) {
        const size_t channels = 3 * (5 + classes);
        OpCase c{fmt::format("detect_loss {} classes", classes),
                 {{"head0", {2, 40, 36, channels}}, {"head1", {2, 20, 18, channels}}},
                 [=](NamedValues& v) {
                     return detect_loss(std::vector{v["head0"], v["head1"]}, v["boxes"], levels(), classes,
                                        {.smoothing = 0.1f, .balance = {4, 1}})
                         .loss;
                 }};
        Floats boxes;
        std::mt19937 random(5);
        for (size_t i = 0; i < 2 * 30; ++i) {
            boxes.push_back(i % 7 == 6 ? -1.0f : float(random() % classes));
            for (const float most : {280.0f, 310.0f}) boxes.push_back(most * float(random() % 1000) / 1000);
            for (int k = 0; k < 2; ++k) boxes.push_back(8 + float(random() % 100));
        }
        c.inputs.push_back(constant("boxes", {2, 30, 5}, boxes));
        c.tolerance = 1e-4;
        all.push_back(c);
    }
    for (OpCase& c : all) c.no_gradient = kElsewhere;
    return all;
}

template <class Param>
class Unaligned : public testing::Test {
protected:
    PtxDevice gpu;
    CpuDevice cpu{1};
};
using Types = testing::Types<float, bf16, fp16>;
TYPED_TEST_SUITE(Unaligned, Types);

constexpr size_t kCount = 1501;
template <class T>
struct Slice {  // begins where no 16 bytes do
    DeviceArray<T> all;
    explicit Slice(const Floats& values) : all(shifted(values)) {}
    T* get() const { return all.get() + 1; }
    std::vector<T> host() const {
        std::vector<T> values = all.host();
        values.erase(values.begin());
        return values;
    }
    static std::vector<T> shifted(const Floats& values) {
        std::vector<T> result = stored<T>(values);
        result.insert(result.begin(), T(7.0f));
        return result;
    }
};
const StepState kState = {
    .learning_rate = 0.05f, .momentum = 0.9f, .bias_correction1 = 0.271f, .bias_correction2 = 0.003f, .loss_scale = 4};

}  // namespace

TEST(PtxShapes, MoreThanTheTableOfCases) {
    const auto cpu = open_device("cpu", {.threads = 2});
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(open_device("ptx"));
    for (const OpCase& test : cases()) check_op(test, *cpu, devices);
}

TYPED_TEST(Unaligned, Casts) {
    const Floats x = random_floats(kCount, 1, 0, 100);
    const Slice<float> from(x);
    const Slice<TypeParam> to(Floats(kCount, 0));
    compute(this->gpu, Cast<TypeParam>{kCount, from.get(), to.get()});
    EXPECT_TRUE(same_bits(std::tuple(to.host()), std::tuple(stored<TypeParam>(x))));
}

TYPED_TEST(Unaligned, Images) {
    using T = TypeParam;
    constexpr size_t n = 2, h = 13, w = 17, out_h = 9, out_w = 70;
    std::vector<uint8_t> pixels(n * h * w * 3);
    std::mt19937 random(3);
    for (uint8_t& p : pixels) p = uint8_t(random());
    const std::vector<float> transform = {0.3f, 0.1f, -1, 0.2f, 0.9f, 1.5f, -0.4f, 0, 17, 0.1f, 1.2f, -2},
                             color = {1, 0, 0.75f, 20};
    const DeviceArray<uint8_t> device_pixels(pixels);
    const DeviceArray<float> device_transform(transform), device_color(color);
    for (const size_t channels : {3, 4, 8}) {
        const Floats nothing(n * out_h * out_w * channels);
        const Slice<T> y(nothing);
        Floats want = nothing;
        const auto fill = [&](auto& op) {
            op.n = n, op.h = h, op.w = w, op.out_h = out_h, op.out_w = out_w, op.out_c = channels;
            op.normalize = {{0.02f, 0.03f, 0.02f}, {-2, -1, -2}};
        };
        ImageBatch<float> reference{};
        ImageBatch<T> op{};
        fill(reference), fill(op);
        reference.images = pixels.data(), reference.transform = transform.data(), reference.color = color.data();
        op.images = device_pixels.get(), op.transform = device_transform.get(), op.color = device_color.get();
        reference.y = want.data(), op.y = y.get();
        compute(this->cpu, reference);
        compute(this->gpu, op);
        expect_stored(want, y.host(), 1e-5, "pixels");
    }
}

TYPED_TEST(Unaligned, Optimizers) {
    using T = TypeParam;
    const DeviceArray<StepState> state(std::vector{kState});
    for (const bool variant : {false, true}) {
        const Floats gradient = representable<T>(random_floats(kCount, 1)), start = random_floats(kCount, 2),
                     m_start = random_floats(kCount, 3), v_start = random_floats(kCount, 4, 2, 0.2f);
        Floats want = start, m = m_start, v = v_start;
        {
            const Slice<T> g(gradient), copy(gradient);
            const Slice<float> p(start), momentum(m_start);
            compute(this->gpu,
                    SgdStep<T>{kCount, 0.01f, variant, state.get(), g.get(), p.get(), momentum.get(), copy.get()});
            compute(this->cpu,
                    SgdStep<float>{kCount, 0.01f, variant, &kState, gradient.data(), want.data(), m.data(), nullptr});
            expect_stored(want, p.host(), 1e-6, "parameter");
            expect_stored(m, momentum.host(), 1e-6, "momentum");
            EXPECT_EQ(floats(copy.host()), representable<T>(p.host()));
        }
        want = start, m = m_start;
        const Slice<T> g(gradient), copy(gradient);
        const Slice<float> p(start), first(m_start), second(v_start);
        AdamStep<T> op{.count = kCount,
                       .weight_decay = 0.01f,
                       .beta2 = 0.999f,
                       .epsilon = 1e-8f,
                       .decoupled = variant,
                       .form = variant ? AdamForm::keras : AdamForm::torch,
                       .state = state.get(),
                       .gradient = g.get(),
                       .parameter = p.get(),
                       .m = first.get(),
                       .v = second.get(),
                       .compute_copy = copy.get()};
        compute(this->gpu, op);
        compute(this->cpu, AdamStep<float>{kCount, 0.01f, 0.999f, 1e-8f, variant, op.form, &kState, gradient.data(),
                                           want.data(), m.data(), v.data(), nullptr});
        expect_stored(want, p.host(), 2e-6, "parameter");
        expect_stored(m, first.host(), 1e-6, "m");
        expect_stored(v, second.host(), 1e-6, "v");
    }
}

TYPED_TEST(Unaligned, CheckFinite) {
    for (const size_t count : {size_t(3), kCount, size_t(150001)}) {
        Floats gradient(count, 1);
        gradient[count / 2] = NAN, gradient[count - 1] = INFINITY;
        const Slice<TypeParam> g(gradient);
        const DeviceArray<StepState> state(std::vector{kState});
        compute(this->gpu, ::CheckFinite<TypeParam>{count, g.get(), state.get()});
        EXPECT_EQ(state.host()[0].nonfinite, 2) << count;
    }
}

TEST(PtxShapes, SelectsAmongManyClasses) {
    const PtxDevice gpu;
    const CpuDevice cpu;
    for (const size_t classes : {16, 37, 80}) {
        SelectCase c = random_select_case(2, classes == 16 ? 4500 : 300, classes, unsigned(classes));
        if (classes == 16) c.most = 400;  // several turns of the loops over rows and over what is written
        Floats detections(c.n * c.most * 6);
        std::vector<int32_t> count(c.n);
        SelectBoxes op{.n = c.n,
                       .rows = c.rows,
                       .classes = classes,
                       .threshold = c.threshold,
                       .iou_threshold = c.overlap,
                       .max_detections = c.most,
                       .boxes = c.boxes.data(),
                       .detections = detections.data(),
                       .count = count.data()};
        compute(cpu, op);
        const DeviceArray<float> boxes(c.boxes), device_detections(detections.size());
        const DeviceArray<int32_t> device_count(c.n);
        op.boxes = boxes.get(), op.detections = device_detections.get(), op.count = device_count.get();
        compute(gpu, op);
        EXPECT_TRUE(same_bits(std::tuple(device_detections.host(), device_count.host()), std::tuple(detections, count)))
            << classes << " classes";
    }
}
