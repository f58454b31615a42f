// Every operation of the menu: the table of cases on cpu, simt and (with nvcc) ptx, and what each operation refuses.
#include "tests/check_op.h"
#include "virtual_gpu/ptx/launch.h"

TEST(Operations, GradientsDevicesTypesAndOrders) {
    const auto cpu = open_device("cpu", {.threads = 2});
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(open_device("simt"));
    if constexpr (has_cuda) {
        devices.push_back(open_device("ptx"));
        ptx::config().off_by = 2;  // as far as the hardware's approximate instructions may be off
    }
    for (const OpCase& test : op_cases()) printf("%s\n", test.name.c_str()), check_op(test, *cpu, devices);
}

template <class F>
void expect_error(F f, const std::string& part) {
    try {
        f();
        ADD_FAILURE() << "no error; expected one with: " << part;
    } catch (const Error& e) {
        EXPECT_NE(std::string(e.what()).find(part), std::string::npos) << e.what();
    }
}

TEST(Errors, SayWhatIsWrong) {
    Graph g(DType::f32, true);
    const Value x = g.input("x", {2, 8, 8, 3}, DType::f32), w = g.input("w", {4, 3, 3, 5}, DType::f32);
    const Value v = g.input("v", {3}, DType::f32), flat = g.input("flat", {2, 3}, DType::f32);
    expect_error([&] { conv(x, w); }, "x has 3 channels, weight (4, 3, 3, 5) expects 5");
    expect_error([&] { conv(x, v); }, "four dimensions");
    expect_error([&] { conv(x, g.input("w", {4, 9, 9, 3}, DType::f32)); }, "does not fit an image of 8x8");
    expect_error([&] { batch_norm(x, v, g.input("s", {4}, DType::f32)); }, "x has 3 channels");
    expect_error([&] { batch_norm(x, v, v, {.activation = Activation::silu, .residual = x}); },
                 "silu takes no residual");
    expect_error([&] { batch_norm(g.input("one", {1, 3}, DType::f32), v, v); }, "more than one row");
    expect_error([&] { max_pool(x, 3, 2, 2); }, "padding 2");
    expect_error([&] { max_pool(x, 16, 2, 1); }, "kernel 16");
    expect_error([&] { global_average_pool(flat); }, "(2, 3)");
    expect_error([&] { linear(flat, v, {}); }, "linear");
    const Node& node = (add(x, x), g.nodes.back());
    expect_error([&] { add_node(node.op, {{"a", x}, {"c", x}}, {}); }, "add has no operand c");
    expect_error([&] { static_cast<void>(node["weight"]); }, "add has no operand weight");
    expect_error([&] { add(x, flat); }, "(2, 8, 8, 3) and (2, 3)");
    expect_error([&] { concat(std::vector{x}); }, "at least two");
    expect_error([&] { concat(std::vector{x, flat}); }, "does not match");
    expect_error([&] { upsample2(flat); }, "upsample2");
    expect_error([&] { cross_entropy(flat, flat); }, "labels have shape (2, 3)");
    expect_error([&] { cross_entropy(flat, g.input("l", {2}, DType::i32), {.smoothing = 1}); }, "smoothing 1");
    expect_error([&] { image_batch(x, flat, flat, {8, 8, 3, {}}); }, "image_batch");
    expect_error([&] { gradients(x, flat, std::vector{x}); }, "gradients");
    Graph inference;
    const Value p = inference.input("x", {1, 8, 8, 3}, DType::f32);
    const Value y = max_pool(p, 3, 2, 1);
    expect_error([&] { gradients(y, inference.input("dy", y.shape(), DType::f32), std::vector{p}); },
                 "built for training");
}
