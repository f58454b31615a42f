// PyTorch's numbers for every operation that a model here uses (tests/golden/ops), through the engine, on cpu.
// What no model here uses is refused with a reason.
#include "bench/op_graph.h"
#include "kernels/optimizer.h"
#include "tests/golden.h"

namespace {

Floats to_nhwc(const GoldenArray& a) {
    const Floats x = a.as<float>();
    if (a.shape.size() != 4) return x;
    const size_t n = a.shape[0], c = a.shape[1], pixels = a.shape[2] * a.shape[3];
    Floats y(x.size());
    for (size_t i = 0; i < n; ++i)
        for (size_t k = 0; k < c; ++k)
            for (size_t p = 0; p < pixels; ++p) y[(i * pixels + p) * c + k] = x[(i * c + k) * pixels + p];
    return y;
}

Shape nhwc(const GoldenArray& a) {
    const auto& s = a.shape;
    return s.size() == 4 ? Shape{s[0], s[2], s[3], s[1]} : Shape(s);
}

// One golden file run through a graph: inputs and gradients by name.
class GoldenGraph {
public:
    explicit GoldenGraph(const GoldenTensors& golden)
        : golden_(golden), device_(open_device(golden_device())), graph_(*device_) {}

    Value operator()(const std::string& name) {
        if (!golden_.has(name)) return {};
        const Value v = graph_.input(name, nhwc(golden_.at(name)), DType::f32, to_nhwc(golden_.at(name)));
        if (golden_.has("grad_" + name)) wanted_.push_back(v), names_.push_back("grad_" + name);
        return v;
    }
    Value parameter(const std::string& name, ParameterRole role) {
        parameters_.push_back(name);
        return graph_.graph().parameter(name, nhwc(golden_.at(name)), {.role = role});
    }
    // activation(a + b) as models compute it: fused into the operation before, here a convolution of one pixel per
    // element with the weight 1. The gradient is that of the bottlenecks.
    void check_activation(const std::string& a, const std::string& b, Activation activation) {
        const auto column = [&](const std::string& name) {
            if (!golden_.has(name)) return Value{};
            const Floats x = to_nhwc(golden_.at(name));
            return graph_.input(name, {x.size(), 1, 1, 1}, DType::f32, x);
        };
        const Value x = column(a), residual = column(b), one = graph_.input("one", {1, 1, 1, 1}, DType::f32, {1});
        check(conv(x, one, {.activation = activation, .residual = residual}), "y");
    }
    Value labels() {
        const auto& a = golden_.at("target");
        const auto labels = a.as<int32_t>();
        return graph_.input("target", Shape(a.shape), DType::i32, Floats(labels.begin(), labels.end()));
    }

    // Compares y, its gradients and the parameters that the operation updates with the file.
    void check(Value y, const std::string& y_name, bool scalar = false) {
        const Value dy = graph_.input("dy", y.shape(), DType::f32, scalar ? Floats{1} : to_nhwc(golden_.at("gy")));
        std::vector<Value> keep = gradients(y, dy, wanted_);
        for (size_t i = 0; i < keep.size(); ++i) ASSERT_TRUE(keep[i]) << names_[i];
        keep.push_back(y), names_.push_back(y_name);
        graph_.plan(keep, [&](Parameters& parameters) {
            for (const std::string& name : parameters_) parameters.set(name, to_nhwc(golden_.at(name)));
        });
        const std::vector<Floats> results = graph_.run();
        for (size_t i = 0; i < names_.size(); ++i) compare(names_[i], results[i]);
        for (const std::string& name : parameters_)
            if (golden_.has(name + "_after_1")) compare(name + "_after_1", graph_.parameters().get(name));
    }

private:
    void compare(const std::string& name, const Floats& got) const {
        const Floats want = to_nhwc(golden_.at(name));
        ASSERT_EQ(got.size(), want.size()) << name;
        double top = 0;
        for (float x : want) top = std::max(top, std::fabs(double(x)));
        const auto error = golden_.metadata.find("err." + name);
        const double tolerance =
            2e-6 * top + (error == golden_.metadata.end() ? 0 : 4 * std::stod(error->second) * top) + 1e-12;
        for (size_t i = 0; i < got.size(); ++i) ASSERT_NEAR(got[i], want[i], tolerance) << name << " element " << i;
    }

    const GoldenTensors& golden_;
    std::unique_ptr<Device> device_;
    OpGraph graph_;
    std::vector<Value> wanted_;
    std::vector<std::string> parameters_, names_;
};

void run_conv(const GoldenTensors& g) {
    GoldenGraph graph(g);
    const Value x = graph("x"), weight = graph("weight"), bias = graph("bias");
    graph.check(conv(x, weight,
                     {.stride = std::stoul(g.metadata.at("stride")),
                      .padding = std::stoul(g.metadata.at("padding")),
                      .bias = bias}),
                "y");
}

void run_batch_norm(const GoldenTensors& g) {
    GoldenGraph graph(g);
    const Value x = graph("x"), weight = graph("weight"), bias = graph("bias");
    graph.check(batch_norm(x, weight, bias,
                           {.eps = std::stof(g.metadata.at("eps")),
                            .momentum = std::stof(g.metadata.at("momentum")),
                            .running_mean = graph.parameter("running_mean", ParameterRole::statistic),
                            .running_var = graph.parameter("running_var", ParameterRole::statistic)}),
                "y");
}

void run_max_pool(const GoldenTensors& g) {
    GoldenGraph graph(g);
    graph.check(max_pool(graph("x"), std::stoul(g.metadata.at("kernel")), std::stoul(g.metadata.at("stride")),
                         std::stoul(g.metadata.at("padding"))),
                "y");
}

void run_cross_entropy(const GoldenTensors& g) {
    GoldenGraph graph(g);
    const Value logits = graph("logits"), labels = graph.labels();
    graph.check(
        cross_entropy(logits, labels,
                      {.smoothing = std::stof(g.metadata.at("label_smoothing")), .class_weight = graph("class_weight")})
            .loss,
        "loss", true);
}

void run_bottleneck(const GoldenTensors& g) {
    GoldenGraph graph(g);
    const size_t stride = std::stoul(g.metadata.at("stride"));
    const Value x = graph("x");
    auto layer = [&](Value in, const std::string& conv_name, const std::string& bn, size_t s, size_t padding,
                     Activation a, Value residual) {
        const Value y = conv(in, graph(conv_name + ".weight"), {.stride = s, .padding = padding});
        const Value scale = graph(bn + ".weight"), shift = graph(bn + ".bias");
        return batch_norm(y, scale, shift, {.activation = a, .residual = residual});
    };
    const Value shortcut =
        g.has("downsample.0.weight") ? layer(x, "downsample.0", "downsample.1", stride, 0, Activation::none, {}) : x;
    Value y = layer(x, "conv1", "bn1", 1, 0, Activation::relu, {});
    y = layer(y, "conv2", "bn2", stride, 1, Activation::relu, {});
    graph.check(layer(y, "conv3", "bn3", 1, 0, Activation::relu, shortcut), "y");
}

// Four steps of an optimizer over one flat array.
void run_optimizer(const GoldenTensors& g) {
    const auto number = [&](const char* key, float otherwise) {
        return g.metadata.contains(key) ? std::stof(g.metadata.at(key)) : otherwise;
    };
    const std::string op = g.metadata.at("op");
    const bool adam = op.find("adam") != std::string::npos;
    const Cpu cpu{.threads = 2, .scratch = {}};
    Floats p = g.at("p0").as<float>(), first(p.size()), second(p.size());
    float beta1 = number("momentum", 0), beta2 = 0;
    if (adam) {
        const std::string betas = g.metadata.at("betas");
        beta1 = std::stof(betas), beta2 = std::stof(betas.substr(betas.find(',') + 1));
    }
    for (int step = 1; g.has(fmt::format("g{}", step - 1)); ++step) {
        const Floats gradient = g.at(fmt::format("g{}", step - 1)).as<float>();
        StepState state{.learning_rate = number("lr", 0),
                        .momentum = beta1,
                        .bias_correction1 = float(1 - std::pow(double(beta1), step)),
                        .bias_correction2 = float(1 - std::pow(double(beta2), step))};
        if (adam)
            compute(cpu, AdamStep<float>{.count = p.size(),
                                         .weight_decay = number("weight_decay", 0),
                                         .beta2 = beta2,
                                         .epsilon = number("eps", 1e-8f),
                                         .decoupled = op == "optimizer_adamw",
                                         .form = AdamForm::torch,
                                         .state = &state,
                                         .gradient = gradient.data(),
                                         .parameter = p.data(),
                                         .m = first.data(),
                                         .v = second.data(),
                                         .compute_copy = nullptr});
        else
            compute(cpu, SgdStep<float>{.count = p.size(),
                                        .weight_decay = number("weight_decay", 0),
                                        .nesterov = op.find("nesterov") != std::string::npos,
                                        .state = &state,
                                        .gradient = gradient.data(),
                                        .parameter = p.data(),
                                        .momentum = first.data(),
                                        .compute_copy = nullptr});
        const Floats want = g.at(fmt::format("p{}", step)).as<float>();
        double top = 0;
        for (float x : want) top = std::max(top, std::fabs(double(x)));
        for (size_t i = 0; i < p.size(); ++i)
            ASSERT_NEAR(p[i], want[i], 2e-6 * top) << "step " << step << " element " << i;
    }
}

// Why a case is not run, or an empty text.
std::string why_refused(const GoldenTensors& g, const std::string& op) {
    const auto is = [&](const char* key, const char* value) {
        return g.metadata.contains(key) && g.metadata.at(key) == value;
    };
    if (g.metadata.contains("groups") && !is("groups", "1")) return "no model here has grouped convolutions";
    if (g.metadata.contains("dilation") && !is("dilation", "1")) return "no model here has dilated convolutions";
    if (g.metadata.contains("stride") && g.metadata.at("stride")[0] == '(')
        return "strides here are alike in both directions";
    if (is("ceil_mode", "1")) return "no model here pools with ceil_mode";
    if (op == "sigmoid") return "no model here has a sigmoid outside decode_boxes and detect_loss";
    if (op.ends_with("_eval"))
        return "batch normalization with fixed statistics is folded into convolutions when weights are loaded";
    return "";
}

void run(const GoldenTensors& g, const std::string& op, GoldenCount& cases) {
    GoldenGraph graph(g);
    const auto starts = [&](const char* with) { return op.starts_with(with); };
    if (const std::string why = why_refused(g, op); !why.empty()) return cases.refuse(why);
    if (starts("conv_"))
        run_conv(g);
    else if (starts("batchnorm_"))
        run_batch_norm(g);
    else if (starts("maxpool_"))
        run_max_pool(g);
    else if (starts("cross_entropy"))
        run_cross_entropy(g);
    else if (starts("bottleneck_"))
        run_bottleneck(g);
    else if (starts("optimizer_"))
        run_optimizer(g);
    else if (op == "relu")
        graph.check_activation("x", "", Activation::relu);
    else if (op == "silu")
        graph.check_activation("x", "", Activation::silu);
    else if (op == "upsample_nearest_x2")
        graph.check(upsample2(graph("x")), "y");
    else if (op == "global_avgpool")
        graph.check(global_average_pool(graph("x")), "y");
    else if (op == "add") {
        const Value a = graph(g.has("a") ? "a" : "x0"), b = graph(g.has("b") ? "b" : "x1");
        graph.check(add(a, b), "y");
    } else if (op == "add_relu") {
        graph.check_activation(g.has("a") ? "a" : "x0", g.has("b") ? "b" : "x1", Activation::relu);
    } else if (starts("linear_")) {
        const Value x = graph("x"), weight = graph("weight");
        graph.check(linear(x, weight, graph("bias")), "y");
    } else if (op == "concat_channels") {
        std::vector<Value> parts;
        for (int i = 0; g.has(fmt::format("x{}", i)); ++i) parts.push_back(graph(fmt::format("x{}", i)));
        graph.check(concat(parts), "y");
    } else {
        return cases.refuse("no operation of this kind");
    }
    cases.check();
}

}  // namespace

TEST(Golden, Operations) {
    GoldenCount cases;
    for (const auto& file : golden_files("ops", ".safetensors")) {
        const GoldenTensors g = golden_tensors(file);
        SCOPED_TRACE(file.filename().string());
        run(g, g.metadata.at("op"), cases);
    }
}
