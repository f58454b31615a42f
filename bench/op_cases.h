// One table of cases for every operation: shapes (most of them fill no vector and no block), options, inputs. Tests
// make of it the comparison of devices, element types and thread orders and the check of gradients (tests/check_op.h);
// bench/kernels --cases times it.
#pragma once

#include "bench/op_graph.h"

struct CaseInput {
    enum Type { same, f32, i32, u8 };  // same: the type under test
    std::string name;
    Shape shape;
    Type type = same;
    float mean = 0, deviation = 1;  // of normal numbers; of integers: their range is [mean, mean + deviation)
    bool gradient = true;           // asked for and checked, of inputs that are floats
    Floats numbers = {};            // instead of random ones
};

struct OpCase {
    std::string name;
    std::vector<CaseInput> inputs;
    std::function<Value(NamedValues&)> build;  // the output whose gradient is checked; empty where there is none
    double gradient_tolerance = 2e-4;          // relative to the sum of the parts of the directional derivative
    double tolerance = 3e-5;                   // between devices in float32, relative to the largest number
    bool chained = false;                      // several operations: the 16-bit types round in between
    double step = 2e-3;                        // of the finite differences; smaller where there are kinks
    std::string no_gradient = {};              // why finite differences cannot check it
    std::vector<std::string> changed = {};     // inputs that the operation writes to
    bool training = true;

    DType dtype(const CaseInput& input, DType type) const {
        constexpr DType types[] = {DType::f32, DType::f32, DType::i32, DType::u8};
        return input.type == CaseInput::same ? type : types[input.type];
    }
    bool wants_gradient(const CaseInput& input) const {
        return training && input.gradient && (input.type == CaseInput::same || input.type == CaseInput::f32);
    }
    bool has_types() const { return std::ranges::count(inputs, CaseInput::same, &CaseInput::type) > 0; }
    Floats numbers(size_t i) const {
        const CaseInput& input = inputs[i];
        if (!input.numbers.empty()) return input.numbers;
        Floats result(numel(input.shape));
        std::mt19937 random(unsigned(i) + 1);
        std::normal_distribution<float> normal(input.mean, input.deviation);
        for (float& x : result)
            x = input.type >= CaseInput::i32 ? input.mean + float(random() % unsigned(input.deviation))
                                             : normal(random);
        return result;
    }
};

namespace op_cases_detail {

using Inputs = std::vector<CaseInput>;

inline std::string dims(const Shape& s) { return fmt::format("{}", fmt::join(s, "x")); }
inline CaseInput vector_of(std::string name, size_t n, float mean = 0, float deviation = 1) {
    return {std::move(name), {n}, CaseInput::f32, mean, deviation};
}
inline CaseInput constant(std::string name, Shape shape, Floats numbers) {
    return {std::move(name), std::move(shape), CaseInput::f32, 0, 1, false, std::move(numbers)};
}

inline void batch_norms(std::vector<OpCase>& cases) {
    struct Options {
        Activation activation;
        bool residual, two_gradients, statistics;
    };
    const std::vector<Options> options = {{Activation::none, false, false, true},
                                          {Activation::relu, true, true, false},
                                          {Activation::relu, false, false, false},
                                          {Activation::silu, false, true, false},
                                          {Activation::none, true, false, false}};
    const std::vector<Shape> shapes = {{2, 1},  {2, 64},  {7, 3},   {33, 8},   {33, 33},  {513, 8},
                                       {7, 70}, {513, 3}, {513, 1}, {1500, 8}, {1500, 3}, {33, 264}};
    for (size_t k = 0; k < options.size(); ++k)
        for (size_t i = 0; i < shapes.size(); ++i) {
            if (k > 0 && (i + k) % 2) continue;  // half of the shapes are enough for the others
            const Options o = options[k];
            const Shape s = shapes[i];
            const size_t channels = s[1];
            OpCase c{
                fmt::format("batch_norm {} activation {}{}{}", dims(s), int(o.activation),
                            o.residual ? " residual" : "", o.two_gradients ? " two gradients" : ""),
                {{"x", s, CaseInput::same, 0.5f}, vector_of("scale", channels, 1, 0.3f), vector_of("shift", channels)},
                [o](NamedValues& v) {
                    const Value y = batch_norm(v["x"], v["scale"], v["shift"],
                                               {.running_mean = v["running_mean"],
                                                .running_var = v["running_var"],
                                                .activation = o.activation,
                                                .residual = v["residual"]});
                    return o.two_gradients ? add(y, y) : y;
                }};
            if (o.residual) c.inputs.push_back({"residual", s});
            if (o.statistics) {
                c.inputs.push_back({"running_mean", {channels}, CaseInput::f32, 0, 1, false});
                c.inputs.push_back({"running_var", {channels}, CaseInput::f32, 2, 0.2f, false});
                c.changed = {"running_mean", "running_var"};
            }
            // With two rows dx is a small difference of large numbers.
            c.gradient_tolerance = 2e-2, c.tolerance = s[0] > 2 ? 3e-5 : 1e-3;
            c.chained = o.two_gradients;
            if (o.activation == Activation::relu) c.step = 2e-4;
            cases.push_back(c);
        }
    cases.push_back({"batch_norm residual connection",
                     {{"x", {8, 4}}, vector_of("scale", 4, 1, 0.3f), vector_of("shift", 4)},
                     [](NamedValues& v) {
                         const Value y = batch_norm(v["x"], v["scale"], v["shift"], {.activation = Activation::relu});
                         return batch_norm(y, v["scale"], v["shift"], {.residual = y});
                     },
                     2e-2,
                     3e-5,
                     true});
}

inline void convolutions(std::vector<OpCase>& cases) {
    struct Options {
        Shape x, weight;
        size_t stride, padding;
        bool bias = false;
    };
    // Shapes that divide nothing, and shapes for the 16-byte loads and the tensor cores.
    for (const Options& o : {Options{{1, 1, 1, 1}, {1, 1, 1, 1}, 1, 0, true},
                             {{2, 7, 5, 3}, {5, 3, 3, 3}, 1, 1, true},
                             {{2, 7, 7, 3}, {3, 3, 3, 3}, 2, 1, true},
                             {{1, 9, 9, 3}, {8, 7, 7, 3}, 2, 3, true},
                             {{2, 6, 6, 7}, {5, 1, 1, 7}, 1, 0, true},
                             {{1, 9, 8, 16}, {70, 1, 1, 16}, 2, 0, true},
                             {{1, 6, 7, 8}, {8, 3, 3, 8}, 2, 1},
                             {{1, 12, 12, 4}, {8, 6, 6, 4}, 2, 2, true},
                             {{1, 5, 5, 33}, {7, 5, 3, 33}, 1, 2},
                             {{2, 8, 8, 64}, {32, 3, 3, 64}, 1, 1},
                             {{2, 5, 5, 64}, {21, 1, 1, 64}, 1, 0, true},  // the head of a detector of two classes
                             {{1, 7, 7, 64}, {128, 1, 1, 64}, 1, 0}}) {
        OpCase c{fmt::format("conv {} by {}{}", dims(o.x), dims(o.weight), o.stride > 1 ? " stride 2" : ""),
                 {{"x", o.x}, {"weight", o.weight}},
                 [o](NamedValues& v) {
                     return conv(v["x"], v["weight"], {.stride = o.stride, .padding = o.padding, .bias = v["bias"]});
                 }};
        if (o.bias) c.inputs.push_back(vector_of("bias", o.weight[0]));
        cases.push_back(c);
    }
    for (const Activation a : {Activation::none, Activation::relu, Activation::silu})
        for (const bool last : {false, true}) {
            OpCase c{
                fmt::format("conv of inference activation {}{}", int(a), last ? " residual last" : ""),
                {{"x", {2, 6, 6, 32}, CaseInput::same, 0, 0.3f},
                 {"weight", {32, 3, 3, 32}, CaseInput::same, 0, 0.3f},
                 vector_of("bias", 32, 0, 0.3f)},
                [=](NamedValues& v) {
                    return conv(
                        v["x"], v["weight"],
                        {.padding = 1, .bias = v["bias"], .activation = a, .residual = v["x"], .residual_last = last});
                }};
            c.training = false;
            cases.push_back(c);
        }
}

inline void small_ones(std::vector<OpCase>& cases) {
    for (size_t kernel : {2, 3, 5})
        for (size_t stride : {1, 2})
            cases.push_back({fmt::format("max_pool {} stride {}", kernel, stride),
                             {{"x", {2, 7, 6, kernel == 3 ? 33u : 3u}}},
                             [=](NamedValues& v) { return max_pool(v["x"], kernel, stride, kernel / 2); },
                             2e-2});
    for (const Shape& s : {Shape{3, 5, 7, 6}, {1, 1, 1, 1}, {2, 7, 7, 40}, {1, 513, 1, 3}})
        cases.push_back(
            {"global_average_pool " + dims(s), {{"x", s}}, [](NamedValues& v) { return global_average_pool(v["x"]); }});
    for (const Shape& s : {Shape{1, 1, 1}, {2, 7, 3}, {33, 70, 10}, {7, 8, 65}, {64, 33, 32}, {1, 513, 3}})
        for (const bool bias : {true, false}) {
            OpCase c{fmt::format("linear {}{}", dims(s), bias ? " bias" : ""),
                     {{"x", {s[0], s[1]}}, {"weight", {s[2], s[1]}}},
                     [](NamedValues& v) { return linear(v["x"], v["weight"], v["bias"]); }};
            if (bias) c.inputs.push_back(vector_of("bias", s[2]));
            cases.push_back(c);
        }
    for (size_t n : {1, 7, 33, 513, 1500})
        cases.push_back(
            {fmt::format("add {}", n), {{"a", {n}}, {"b", {n}}}, [](NamedValues& v) { return add(v["a"], v["b"]); }});
    cases.push_back({"add to itself", {{"x", {7, 3}}}, [](NamedValues& v) { return add(v["x"], v["x"]); }});
    for (const Shape& widths : {Shape{3, 7, 1}, {8, 16}, {70, 33}, {1, 264, 2, 3}}) {
        OpCase c{"concat " + dims(widths), {}, [n = widths.size()](NamedValues& v) {
                     std::vector<Value> parts;
                     for (size_t i = 0; i < n; ++i) parts.push_back(v[fmt::format("part{}", i)]);
                     return concat(parts);
                 }};
        for (size_t i = 0; i < widths.size(); ++i) c.inputs.push_back({fmt::format("part{}", i), {2, 3, 3, widths[i]}});
        cases.push_back(c);
    }
    for (const Shape& s : {Shape{1, 1, 1, 1}, {2, 3, 5, 8}, {1, 7, 3, 33}, {3, 2, 1, 264}})
        cases.push_back({"upsample2 " + dims(s), {{"x", s}}, [](NamedValues& v) { return upsample2(v["x"]); }});
}

inline void inference_only(std::vector<OpCase>& cases) {
    const auto add_case = [&](OpCase c) {
        c.training = false;
        cases.push_back(std::move(c));
    };
    for (const Shape& s : {Shape{1, 1, 1, 1}, {2, 5, 7, 8}, {1, 9, 3, 33}, {2, 3, 17, 264}})
        for (const bool residual : {false, true}) {
            OpCase c{fmt::format("depthwise_conv {}{}", dims(s), residual ? " residual" : ""),
                     {{"x", s}, {"weight", {s[3], 3, 3, 1}}, vector_of("bias", s[3])},
                     [=](NamedValues& v) {
                         return depthwise_conv(v["x"], v["weight"],
                                               {.bias = v["bias"],
                                                .activation = residual ? Activation::none : Activation::silu,
                                                .residual = v["residual"]});
                     }};
            if (residual) c.inputs.push_back({"residual", s});
            add_case(c);
        }
    struct Heads {
        size_t n, h, w, heads, key, value;
    };
    for (const Heads& a : {Heads{1, 1, 1, 1, 1, 1}, {2, 5, 7, 2, 8, 16}, {1, 9, 11, 3, 5, 33}, {1, 2, 40, 1, 64, 128}})
        add_case({fmt::format("attention {}x{}x{} {} heads {} {}", a.n, a.h, a.w, a.heads, a.key, a.value),
                  {{"qkv", {a.n, a.h, a.w, a.heads * (2 * a.key + a.value)}}},
                  [=](NamedValues& v) { return attention(v["qkv"], a.heads, a.key).y; }});
    for (const Shape& s : {Shape{1, 2, 2, 1}, {2, 6, 7, 8}, {1, 3, 5, 33}, {1, 9, 12, 264}}) {
        add_case({"average_pool2 " + dims(s), {{"x", s}}, [](NamedValues& v) { return average_pool2(v["x"]); }});
        add_case(
            {"slice " + dims(s), {{"x", s}}, [=](NamedValues& v) { return slice(v["x"], s[3] / 2, s[3] - s[3] / 2); }});
    }
    const std::vector<BoxLevel> strides = {{.stride = 8}, {.stride = 16, .mirror = 64}};
    for (const size_t classes : {1, 3})
        add_case({fmt::format("decode_distances {}", classes),
                  {{"box0", {2, 8, 6, 64}, CaseInput::same, 0, 3},
                   {"score0", {2, 8, 6, classes}},
                   {"box1", {2, 4, 3, 64}, CaseInput::same, 0, 3},
                   {"score1", {2, 4, 3, classes}}},
                  [=](NamedValues& v) {
                      return decode_distances(std::vector{v["box0"], v["box1"]}, std::vector{v["score0"], v["score1"]},
                                              strides, 0.503f);
                  }});
}

inline void losses(std::vector<OpCase>& cases) {
    for (const Shape& s : {Shape{1, 2}, {7, 5}, {33, 10}, {300, 6}, {5, 1000}, {2, 129}})
        for (const bool weighted : {false, true}) {
            OpCase c{fmt::format("cross_entropy {}{}", dims(s), weighted ? " weighted" : ""),
                     {{"logits", s, CaseInput::f32, 0, 3},
                      {"labels", {s[0]}, CaseInput::i32, s[0] > 1 ? -1.0f : 0.0f, float(s[1])}},
                     [=](NamedValues& v) {
                         return cross_entropy(v["logits"], v["labels"],
                                              {.smoothing = weighted ? 0.1f : 0, .class_weight = v["class_weight"]})
                             .loss;
                     },
                     1e-3};
            if (weighted) c.inputs.push_back({"class_weight", {s[1]}, CaseInput::f32, 1, 0.1f, false});
            cases.push_back(c);
        }
}

inline std::vector<BoxLevel> levels() {
    return {{.stride = 8, .anchors = {{{10, 13}, {16, 30}, {33, 23}}}},
            {.stride = 16, .anchors = {{{30, 61}, {62, 45}, {59, 119}}}}};
}

inline void boxes(std::vector<OpCase>& cases) {
    const size_t classes = 3, channels = 3 * (5 + classes);
    const std::vector<CaseInput> heads = {{"head0", {2, 8, 6, channels}}, {"head1", {2, 4, 3, channels}}};
    OpCase decode{"decode_boxes", heads, [=](NamedValues& v) {
                      return decode_boxes(std::vector{v["head0"], v["head1"]}, levels(), classes);
                  }};
    decode.training = false;
    cases.push_back(decode);

    Floats rows;
    std::mt19937 random(3);
    std::uniform_real_distribution<float> uniform(0, 1);
    for (size_t i = 0; i < 2 * 513; ++i) {
        for (int k : {0, 1}) rows.push_back(200 * uniform(random) + float(k));
        for (int k : {0, 1}) rows.push_back(20 + 60 * uniform(random) + float(k));
        for (int k = 0; k < 4; ++k) rows.push_back(uniform(random));
    }
    OpCase select{"select_boxes", {constant("boxes", {2, 513, 8}, rows)}, [](NamedValues& v) {
                      return select_boxes(v["boxes"], {.threshold = 0.3f, .iou_threshold = 0.45f, .max_detections = 50})
                          .detections;
                  }};
    select.training = false;
    cases.push_back(select);

    Floats truth;
    for (size_t i = 0; i < 2 * 5; ++i)
        for (float x : {i % 5 == 4 ? -1.0f : float(i % classes), 48 * uniform(random), 64 * uniform(random),
                        12 + 30 * uniform(random), 12 + 40 * uniform(random)})
            truth.push_back(x);
    OpCase loss{"detect_loss", heads, [=](NamedValues& v) {
                    return detect_loss(std::vector{v["head0"], v["head1"]}, v["boxes"], levels(), classes,
                                       {.smoothing = 0.1f, .balance = {4, 1}})
                        .loss;
                }};
    loss.inputs.push_back(constant("boxes", {2, 5, 5}, truth));
    loss.no_gradient = "its gradient takes the CIoU in targets as a constant: tests/detect_loss_cpu_test.cpp";
    cases.push_back(loss);
}

inline void images(std::vector<OpCase>& cases) {
    OpCase camera{"camera_batch",
                  {{"images", {2, 8, 12, 3}, CaseInput::u8, 0, 256},
                   {"planes", {1024}, CaseInput::u8, 0, 256},
                   {"places", {2, 7}, CaseInput::i32, 0, 1, false, {1, 18, 27, 8, 11, 0, 1, 0, 0, 0, 0, 0, 0, 0}},
                   constant("transform", {2, 6}, {1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, 0}),
                   constant("color", {2, 2}, {1, 0, 1, 0})},
                  [](NamedValues& v) {
                      return image_batch(camera_batch(v["images"], v["planes"], v["places"]), v["transform"],
                                         v["color"],
                                         {.out_h = 8, .out_w = 12, .normalize = {{0.1f, 0.1f, 0.1f}, {0, 0, 0}}});
                  }};
    camera.training = false;
    cases.push_back(camera);
    for (const size_t channels : {3, 8}) {
        Floats transform = {1, 0, 0, 0, 1, 0, -1.5f, 0.25f, 17, 0.1f, 0.75f, -2}, color = {1, 0, 0.75f, 20};
        OpCase c{fmt::format("image_batch to {} channels", channels),
                 {{"images", {2, 13, 17, 3}, CaseInput::u8, 0, 256},
                  constant("transform", {2, 6}, transform),
                  constant("color", {2, 2}, color)},
                 [=](NamedValues& v) {
                     return image_batch(v["images"], v["transform"], v["color"],
                                        {.out_h = 9,
                                         .out_w = 11,
                                         .out_channels = channels,
                                         .normalize = {{0.02f, 0.03f, 0.02f}, {-2, -1, -2}},
                                         .inner_h = 8,
                                         .inner_w = 10,
                                         .grey = 114});
                 }};
        c.training = false;
        cases.push_back(c);
    }
}

// They change their inputs and have no outputs.
inline void optimizers(std::vector<OpCase>& cases) {
    const auto state = [](float nonfinite) {
        return constant("state", {8}, {0.05f, 0.9f, 0.3f, 0.02f, 4, nonfinite, 1, 0});
    };
    const auto add_case = [&](const std::string& name, size_t n, Inputs inputs, std::vector<std::string> changed,
                              const std::function<void(NamedValues&)>& build) {
        OpCase c{fmt::format("{} {}", name, n), std::move(inputs), [build](NamedValues& v) {
                     build(v);
                     return Value{};
                 }};
        c.training = false, c.changed = std::move(changed);
        cases.push_back(c);
    };
    for (size_t n : {1, 7, 513}) {
        const CaseInput gradient{"gradient", {n}}, parameter = vector_of("parameter", n), copy{"compute_copy", {n}};
        for (const OptimizerRule& rule : optimizer_rules())
            for (const bool variant : {false, true})
                for (const float nonfinite : {0.0f, 1.0f}) {  // 1: the step is skipped
                    std::vector<CaseInput> inputs = {state(nonfinite), gradient, parameter, copy, vector_of("m", n)};
                    std::vector<std::string> changed = {"parameter", "compute_copy", "m"};
                    if (rule.moments == 2) inputs.push_back(vector_of("v", n, 2, 0.3f)), changed.push_back("v");
                    const OptimizerOptions options{.weight_decay = 0.01f,
                                                   .nesterov = variant,
                                                   .form = variant ? AdamForm::keras : AdamForm::torch};
                    add_case(fmt::format("{}_step {}{}", rule.name, variant ? "nesterov or keras" : "",
                                         nonfinite > 0 ? " skipped" : ""),
                             n, std::move(inputs), std::move(changed), [&rule, options](NamedValues& v) {
                                 rule.step({.state = v["state"],
                                            .gradient = v["gradient"],
                                            .parameter = v["parameter"],
                                            .moments = {v["m"], v["v"]},
                                            .compute_copy = v["compute_copy"]},
                                           options);
                             });
                }
        add_case("ema_update", n, {state(0), constant("rate", {1}, {0.1f}), parameter, vector_of("average", n)},
                 {"average"}, [](NamedValues& v) { ema_update(v["state"], v["rate"], v["parameter"], v["average"]); });
        add_case("check_finite", n, {state(0), gradient}, {"state"},
                 [](NamedValues& v) { check_finite(v["state"], v["gradient"]); });
    }
    for (const float nonfinite : {0.0f, 3.0f})
        add_case("finish_step", size_t(nonfinite), {state(nonfinite)}, {"state"},
                 [](NamedValues& v) { finish_step(v["state"], 2); });
}

}  // namespace op_cases_detail

inline std::vector<OpCase> op_cases() {
    std::vector<OpCase> cases;
    op_cases_detail::batch_norms(cases);
    op_cases_detail::convolutions(cases);
    op_cases_detail::small_ones(cases);
    op_cases_detail::inference_only(cases);
    op_cases_detail::losses(cases);
    op_cases_detail::boxes(cases);
    op_cases_detail::images(cases);
    op_cases_detail::optimizers(cases);
    return cases;
}
