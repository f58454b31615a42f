// Every operation of the menu: gradients against finite differences, simt against cpu, awkward shapes, default options;
// and what each operation refuses.
#include "tests/check_op.h"

TEST(BatchNorm, AwkwardShapes) {
    for (size_t rows : {2, 7, 33, 513})
        for (size_t channels : {1, 3, 32})
            for (Activation a : {Activation::none, Activation::relu})
                check_op({fmt::format("batch_norm {}x{} {}", rows, channels, int(a)),
                          {{rows, channels}, {channels}, {channels}, {rows, channels}},
                          [=](auto& v) { return batch_norm(v[0], v[1], v[2], {.activation = a, .residual = v[3]}); },
                          2e-2,
                          0.5f});
}

TEST(BatchNorm, DefaultsAndSilu) {
    check_op({"batch_norm", {{9, 5}, {5}, {5}}, [](auto& v) { return batch_norm(v[0], v[1], v[2]); }, 1e-2});
    check_op({"batch_norm silu",
              {{33, 6}, {6}, {6}},
              [](auto& v) { return batch_norm(v[0], v[1], v[2], {.activation = Activation::silu}); },
              1e-2});
}

TEST(BatchNorm, TwoGradientsMeet) {
    check_op({"residual connection",
              {{8, 4}, {4}, {4}},
              [](auto& v) {
                  const Value y = batch_norm(v[0], v[1], v[2], {.activation = Activation::relu});
                  return batch_norm(y, v[1], v[2], {.residual = y});
              },
              2e-2});
}

TEST(Conv, AwkwardShapes) {
    struct Case {
        size_t n, h, w, c_in, c_out, kernel, stride, padding;
    };
    for (const Case& c : {Case{1, 1, 1, 1, 1, 1, 1, 0},
                          {2, 7, 5, 3, 4, 3, 1, 1},
                          {2, 7, 7, 3, 3, 3, 2, 1},
                          {1, 9, 9, 3, 8, 7, 2, 3},
                          {2, 6, 6, 7, 5, 1, 1, 0},
                          {2, 7, 6, 8, 4, 1, 2, 0},
                          {1, 8, 8, 3, 4, 6, 2, 2},
                          {1, 5, 5, 33, 3, 3, 1, 1}})
        check_op({fmt::format("conv {}x{}x{}x{} -> {} kernel {} stride {}", c.n, c.h, c.w, c.c_in, c.c_out, c.kernel,
                              c.stride),
                  {{c.n, c.h, c.w, c.c_in}, {c.c_out, c.kernel, c.kernel, c.c_in}, {c.c_out}},
                  [=](auto& v) { return conv(v[0], v[1], {.stride = c.stride, .padding = c.padding, .bias = v[2]}); }});
}

TEST(Conv, Defaults) {
    check_op({"conv", {{1, 4, 4, 2}, {3, 3, 3, 2}}, [](auto& v) { return conv(v[0], v[1]); }});
}

TEST(Pool, Max) {
    for (size_t kernel : {2, 3, 5})
        for (size_t stride : {1, 2})
            check_op({fmt::format("max_pool {} {}", kernel, stride),
                      {{2, 7, 6, 3}},
                      [=](auto& v) { return max_pool(v[0], kernel, stride, kernel / 2); },
                      2e-2});
}

TEST(Pool, GlobalAverage) {
    check_op({"global_average_pool", {{3, 5, 7, 6}}, [](auto& v) { return global_average_pool(v[0]); }});
    check_op({"global_average_pool of one pixel", {{1, 1, 1, 1}}, [](auto& v) { return global_average_pool(v[0]); }});
}

TEST(Linear, AwkwardShapes) {
    for (size_t rows : {1, 7, 33})
        check_op({fmt::format("linear {}", rows), {{rows, 20}, {3, 20}, {3}}, [](auto& v) {
                      return linear(v[0], v[1], v[2]);
                  }});
    check_op({"linear without bias", {{2, 33}, {5, 33}}, [](auto& v) { return linear(v[0], v[1], {}); }});
}

TEST(Elementwise, Add) {
    check_op({"add", {{7, 3}, {7, 3}}, [](auto& v) { return add(v[0], v[1]); }});
    check_op({"add to itself", {{7, 3}}, [](auto& v) { return add(v[0], v[0]); }});
}

TEST(Layout, ConcatAndUpsample) {
    check_op({"concat", {{2, 3, 3, 3}, {2, 3, 3, 7}, {2, 3, 3, 1}}, [](auto& v) { return concat(v); }});
    check_op({"upsample2", {{2, 3, 4, 5}}, [](auto& v) { return upsample2(v[0]); }});
}

TEST(CrossEntropy, Variants) {
    const std::vector<int32_t> labels = {0, 4, 2, -1, 1, 1, 3};
    for (float smoothing : {0.0f, 0.1f})
        check_op({fmt::format("cross_entropy {}", smoothing),
                  {{7, 5}},
                  [=](auto& v) { return cross_entropy(v[0], v[1], {.smoothing = smoothing}).loss; },
                  1e-3,
                  0,
                  {{{7}, labels}}});
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
    expect_error([&] { add(x, flat); }, "(2, 8, 8, 3) and (2, 3)");
    expect_error([&] { concat(std::vector{x}); }, "at least two");
    expect_error([&] { concat(std::vector{x, flat}); }, "does not go with");
    expect_error([&] { upsample2(flat); }, "upsample2");
    expect_error([&] { cross_entropy(flat, flat); }, "labels have shape (2, 3)");
    expect_error([&] { cross_entropy(flat, g.input("l", {2}, DType::i32), {.smoothing = 1}); }, "smoothing 1");
    expect_error([&] { image_batch(x, flat, flat, {8, 8, 3, {}}); }, "image_batch");
    expect_error([&] { gradients(x, flat, std::vector{x}); }, "gradients");
    Graph inference;
    const Value p = inference.input("x", {1, 8, 8, 3}, DType::f32);
    const Value y = max_pool(p, 3, 2, 1);
    expect_error([&] { gradients(y, inference.input("dy", y.shape(), DType::f32), std::vector{p}); },
                 "made for training");
}
