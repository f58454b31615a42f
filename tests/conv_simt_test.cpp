// The direct convolution kernels on simt against the loops of the CPU, for every type, under five orders of threads.
#include "kernels/conv/conv.h"

#include "tests/simt_fixture.h"

namespace {

// Sums of some hundred products of normal numbers, in another order: 2^-24 times their number at worst.
constexpr double kSumError = 2e-5;
const Cpu cpu{.threads = 1, .scratch = {}};

// Shapes that divide nothing, and ones that take the 16-byte loads: {n, h, w, c_in, c_out, kernel_h, kernel_w, stride,
// padding}
const ConvShape shapes[] = {
    {2, 7, 5, 3, 5, 3, 3, 1, 1},   {1, 9, 10, 8, 16, 1, 1, 1, 0}, {1, 9, 8, 16, 70, 1, 1, 2, 0},
    {1, 6, 7, 8, 8, 3, 3, 2, 1},   {1, 5, 5, 33, 7, 5, 3, 1, 2},  {3, 1, 1, 7, 3, 1, 1, 1, 0},
    {1, 12, 12, 4, 8, 6, 6, 2, 2}, {1, 17, 19, 3, 9, 7, 7, 2, 3}, {1, 18, 33, 4, 16, 7, 7, 2, 3}};

const ConvShape backward_shapes[] = {
    shapes[0], shapes[1], shapes[2], shapes[3], shapes[4], shapes[5], {1, 9, 11, 3, 9, 7, 7, 2, 3}};

struct Extras {
    Activation activation = Activation::none;
    bool bias = false, residual = false, residual_last = false;
};

template <class T>
void check_forward(const auto& gpu, const ConvShape& shape, const Extras& extras) {
    const auto x = representable<T>(random_floats(shape.x_count(), 1));
    const auto weight = representable<T>(random_floats(shape.weight_count(), 2)),
               residual = representable<T>(random_floats(shape.y_count(), 3));
    const auto bias = representable<float>(random_floats(shape.c_out, 4));
    ConvForward<float> reference{.shape = shape,
                                 .activation = extras.activation,
                                 .residual_last = extras.residual_last,
                                 .x = x.data(),
                                 .weight = weight.data(),
                                 .bias = extras.bias ? bias.data() : nullptr,
                                 .residual = extras.residual ? residual.data() : nullptr,
                                 .y = nullptr};
    std::vector<float> want(shape.y_count());
    reference.y = want.data();
    compute_direct(cpu, reference);

    const DeviceArray<T> device_x(stored<T>(x)), device_weight(stored<T>(weight)), device_residual(stored<T>(residual));
    const DeviceArray<float> device_bias(bias);
    const auto [got] = in_every_order([&] {
        const DeviceArray<T> y(shape.y_count());
        compute(gpu, ConvForward<T>{.shape = shape,
                                    .activation = extras.activation,
                                    .residual_last = extras.residual_last,
                                    .x = device_x.get(),
                                    .weight = device_weight.get(),
                                    .bias = extras.bias ? device_bias.get() : nullptr,
                                    .residual = extras.residual ? device_residual.get() : nullptr,
                                    .y = y.get()});
        return std::tuple(y.host());
    });
    expect_stored(want, got, kSumError, "y");
}

// `joined`: with a second gradient, and 0 where the ReLU behind x gave 0.
template <class T>
void check_backward_data(const auto& gpu, const ConvShape& shape, bool joined) {
    const auto dy = representable<T>(random_floats(shape.y_count(), 5)),
               weight = representable<T>(random_floats(shape.weight_count(), 6)),
               dx2 = representable<T>(random_floats(shape.x_count(), 9));
    auto x = representable<T>(random_floats(shape.x_count(), 10));
    for (float& value : x) value = std::max(value, 0.0f);
    std::vector<float> want(shape.x_count());
    compute_direct(
        cpu, ConvBackwardData<float>{.shape = shape, .dy = dy.data(), .weight = weight.data(), .dx = want.data()});
    for (size_t i = 0; i < want.size() && joined; ++i) want[i] = x[i] > 0 ? want[i] + dx2[i] : 0;
    const DeviceArray<T> device_dy(stored<T>(dy)), device_weight(stored<T>(weight)), device_dx2(stored<T>(dx2)),
        device_x(stored<T>(x));
    const auto [got] = in_every_order([&] {
        const DeviceArray<T> dx(shape.x_count());
        compute(gpu, ConvBackwardData<T>{.shape = shape,
                                         .dy = device_dy.get(),
                                         .weight = device_weight.get(),
                                         .dx = dx.get(),
                                         .dx2 = joined ? device_dx2.get() : nullptr,
                                         .x = joined ? device_x.get() : nullptr});
        return std::tuple(dx.host());
    });
    expect_stored(want, got, kSumError, "dx");
}

template <class T, class Gpu>
void check_backward_weight(const Gpu& gpu, const ConvShape& shape, size_t scratch_floats = 0) {
    const auto x = representable<T>(random_floats(shape.x_count(), 7)),
               dy = representable<T>(random_floats(shape.y_count(), 8));
    std::vector<float> want(shape.weight_count());
    compute_direct(cpu,
                   ConvBackwardWeight<float>{.shape = shape, .x = x.data(), .dy = dy.data(), .dweight = want.data()});
    const DeviceArray<T> device_x(stored<T>(x)), device_dy(stored<T>(dy));
    const DeviceArray<float> scratch(scratch_floats);
    typename Gpu::Handle device = gpu;
    device.scratch = {scratch.get(), scratch_floats * sizeof(float)};
    const auto [got] = in_every_order([&] {
        const DeviceArray<T> dweight(shape.weight_count());
        compute(device, ConvBackwardWeight<T>{
                            .shape = shape, .x = device_x.get(), .dy = device_dy.get(), .dweight = dweight.get()});
        return std::tuple(dweight.host());
    });
    expect_stored(want, got, kSumError, "dweight");
}

TYPED_TEST(SimtKernels, conv_forward) {
    for (const ConvShape& shape : shapes) check_forward<typename TypeParam::Type>(this->gpu, shape, {});
}

TYPED_TEST(SimtKernels, conv_forward_and_what_follows) {
    const ConvShape shape{1, 5, 6, 8, 16, 3, 3, 1, 1};
    for (const Activation activation : {Activation::relu, Activation::silu})
        check_forward<typename TypeParam::Type>(this->gpu, shape, {.activation = activation, .bias = true});
    check_forward<typename TypeParam::Type>(this->gpu, shape,
                                            {.activation = Activation::relu, .bias = true, .residual = true});
    check_forward<typename TypeParam::Type>(
        this->gpu, shape, {.activation = Activation::silu, .bias = true, .residual = true, .residual_last = true});
    check_forward<typename TypeParam::Type>(this->gpu, shapes[8], {.activation = Activation::relu, .bias = true});
}

TYPED_TEST(SimtKernels, conv_backward_data) {
    for (const ConvShape& shape : backward_shapes)
        for (const bool joined : {false, true}) check_backward_data<typename TypeParam::Type>(this->gpu, shape, joined);
}

TYPED_TEST(SimtKernels, conv_backward_weight) {
    for (const ConvShape& shape : backward_shapes) check_backward_weight<typename TypeParam::Type>(this->gpu, shape);
}

TYPED_TEST(SimtKernels, conv_backward_weight_in_parts) {
    const ConvShape wide{2, 20, 21, 8, 8, 3, 3, 1, 1}, narrow{2, 20, 21, 3, 5, 3, 3, 1, 1};
    check_backward_weight<typename TypeParam::Type>(this->gpu, wide, 3 * wide.weight_count());
    check_backward_weight<typename TypeParam::Type>(this->gpu, narrow, 100 * narrow.weight_count());
}

}  // namespace
