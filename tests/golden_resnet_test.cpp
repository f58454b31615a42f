// ResNet-50 against PyTorch's numbers in double precision (tests/golden/resnet50): evaluation, gradients, a few SGD
// steps, and the same steps by train/minimal.cpp.
#define main minimal_main
#include "train/minimal.cpp"
#undef main

#include "models/resnet.h"

#include "engine/ops.h"
#include "engine/program.h"
#include "models/state.h"
#include "tests/golden_statistics.h"
#include "tests/layers.h"
#include "train/optimizer.h"

namespace {

using Floats = std::vector<float>;
using nlohmann::json;

StateDict generate(const json& expected) {
    StateDict state;
    const std::string seed = std::to_string(expected.at("seed").get<int>());
    for (const auto& [name, w] : expected.at("weights").items()) {
        if (!w.contains("scale")) continue;  // num_batches_tracked
        HostTensor& t = state[name];
        t.shape = w.at("shape").get<Shape>();
        t.values = std::vector<float>(numel(t.shape));
        const std::span<float> values = t.values.mutable_data();
        const uint64_t key = golden_key(seed + "/" + name);
        const double scale = w.at("scale"), offset = w.at("offset");
        for (size_t i = 0; i < values.size(); ++i) {
            const double s = double(2 * (golden_bits(key, i) >> 40) + 1) / 0x1p24 - 1;
            values[i] = float(offset + scale * s);
        }
    }
    return state;
}

Floats nchw_to_nhwc(const GoldenArray& a) {
    const Floats x = a.as<float>();
    const size_t n = a.shape[0], c = a.shape[1], pixels = a.shape[2] * a.shape[3];
    Floats y(x.size());
    for (size_t i = 0; i < n; ++i)
        for (size_t k = 0; k < c; ++k)
            for (size_t p = 0; p < pixels; ++p) y[(i * pixels + p) * c + k] = x[(i * c + k) * pixels + p];
    return y;
}

void expect_logits(const Floats& got, const json& want, double tolerance) {
    const auto rows = want.get<std::vector<std::vector<double>>>();
    double top = 0;
    for (const auto& row : rows)
        for (double x : row) top = std::max(top, std::fabs(x));
    for (size_t i = 0; i < rows.size(); ++i)
        for (size_t k = 0; k < rows[i].size(); ++k)
            EXPECT_NEAR(got[i * rows[i].size() + k], rows[i][k], tolerance * top) << "logit " << i << "," << k;
}

using Taps = std::map<std::string, Value>;

// The values that `expected` names by torchvision's layers. A folded graph has no raw conv1.
Taps taps_of(const Graph& graph, const json* expected) {
    Taps taps;
    if (!expected) return taps;
    for (const auto& [name, statistics] : expected->items()) {
        if (name == "relu")
            taps[name] = value_of_layer(graph, graph.training ? "bn1" : "conv1");
        else if (graph.training || !name.ends_with("conv1"))
            taps[name] = value_of_layer(graph, name);
    }
    return taps;
}

class GoldenResNet : public testing::Test {
protected:
    void SetUp() override {
        expected = golden_json(golden_folder("resnet50") / "expected.json");
        inputs = golden_tensors(golden_folder("resnet50") / "inputs.safetensors");
        state = generate(expected);
        device = open_device(golden_device());
        size = expected.at("image_size"), classes = expected.at("num_classes");
        batch = expected.at("train_batch"), evaluation_batch = expected.at("eval_batch");
        weight_decay = expected.at("optimizer").at("weight_decay");
        model = make_model(ResNetConfig{.classes = classes});
    }

    const json& after_the_steps() const {
        return expected.at(fmt::format("eval_after_{}_steps", expected.at("train").size())).at("logits");
    }

    // Logits of eval_x with the normalization folded, and the taps.
    Floats evaluate(const StateDict& weights, const json* taps_expected) {
        auto graph = std::make_unique<Graph>();
        const Value x = graph->input("x", {evaluation_batch, size, size, 3}, DType::f32);
        const Value logits = model.trace(x)[0];
        const Taps taps = taps_of(*graph, taps_expected);
        std::vector<Value> keep = {logits};
        for (const auto& [name, v] : taps) keep.push_back(v);
        Parameters parameters(*device, *graph);
        upload(weights, parameters, "golden", model.folding);
        Arena arena(*device);
        Program program(arena, std::move(graph), parameters, keep);
        program.write<float>(x, nchw_to_nhwc(inputs.at("eval_x")));
        program.run();
        size_t compared = 0;
        for (const auto& [name, v] : taps) {
            expect_statistics("tap/" + name, nhwc_to_nchw(program.read<float>(v), v.shape()), taps_expected->at(name),
                              1e-4, 1e-4);
            ++compared;
        }
        if (taps_expected) {
            EXPECT_EQ(compared + 1, taps_expected->size());
        }
        return program.read<float>(logits);
    }

    json expected;
    GoldenTensors inputs;
    StateDict state;
    std::unique_ptr<Device> device;
    size_t size = 0, classes = 0, batch = 0, evaluation_batch = 0;
    float weight_decay = 0;
    Model model;
};

TEST_F(GoldenResNet, Evaluation) {
    expect_logits(evaluate(state, &expected["eval"]["taps"]), expected["eval"]["logits"], 1e-4);
}

TEST_F(GoldenResNet, ParameterCount) {
    Graph graph;
    Graph training(DType::f32, true);
    resnet(training.input("x", {2, size, size, 3}, DType::f32), {.classes = classes});
    EXPECT_EQ(Parameters(*device, training).scalar_count(), expected["parameter_count"].get<size_t>());
    // Another size, the same parameters.
    resnet(training.input("x", {2, 2 * size, 3 * size, 3}, DType::f32), {.classes = classes});
    EXPECT_EQ(Parameters(*device, training).scalar_count(), expected["parameter_count"].get<size_t>());
}

TEST_F(GoldenResNet, Steps) {
    auto owned = std::make_unique<Graph>(DType::f32, true);
    Graph& graph = *owned;
    const Value x = graph.input("x", {batch, size, size, 3}, DType::f32),
                labels = graph.input("labels", {batch}, DType::i32);
    const Value logits = model.trace(x)[0];
    const Taps taps = taps_of(graph, expected["train"][0].contains("taps") ? &expected["train"][0]["taps"] : nullptr);
    const CrossEntropyResult loss = cross_entropy(logits, labels);
    std::map<std::string, Value> smoothed;  // by their keys in the file: loss_label_smoothing_0.1
    constexpr std::string_view kSmoothed = "loss_label_smoothing_";
    for (const auto& [key, value] : expected["train"][0].items())
        if (key.starts_with(kSmoothed))
            smoothed[key] = cross_entropy(logits, labels, {.smoothing = std::stof(key.substr(kSmoothed.size()))}).loss;
    Parameters parameters(*device, graph, {.gradients = true});
    upload(state, parameters, "golden");
    Optimizer optimizer(parameters, {.weight_decay = weight_decay, .decay_vectors = true});
    std::vector<Value> wanted, keep = {logits, loss.loss, loss.correct};
    for (const auto& [key, v] : smoothed) keep.push_back(v);
    for (size_t v = 0; v < graph.values.size(); ++v)
        if (graph.values[v].kind == ValueKind::parameter && graph.values[v].spec.role != ParameterRole::statistic)
            wanted.push_back({&graph, int(v)});
    const std::vector<Value> grads = gradients(loss.loss, optimizer.loss_scale(graph), wanted);
    for (size_t i = 0; i < wanted.size(); ++i)
        graph.bind(grads[i], parameters.gradient(graph.values[size_t(wanted[i].id)].name));
    optimizer.append(graph);
    for (const auto& [name, v] : taps) keep.push_back(v);
    Arena arena(*device);
    Program program(arena, std::move(owned), parameters, keep);
    const auto file_order = [&](const std::string& name, const Floats& values) {  // (o, h, w, i) -> (o, i, h, w)
        return nhwc_to_nchw(values, parameters.entry(name).shape);
    };

    for (size_t step = 0; step < expected["train"].size(); ++step) {
        SCOPED_TRACE("step " + std::to_string(step));
        const json& want = expected["train"][step];
        const double tolerance = step == 0 ? 1e-4 : 1e-3;
        program.write<float>(x, nchw_to_nhwc(inputs.at("train_x" + std::to_string(step))));
        program.write<int32_t>(labels, inputs.at("labels" + std::to_string(step)).as<int32_t>());
        optimizer.set(want["lr_used"], want["momentum_used"], step + 1);
        program.run();
        expect_logits(program.read<float>(logits), want["logits"], step == 0 ? 1e-4 : 1e-2);
        EXPECT_NEAR(program.read<float>(loss.loss)[0], want["loss"].get<double>(), tolerance);
        for (const auto& [key, v] : smoothed)
            EXPECT_NEAR(program.read<float>(v)[0], want.at(key).get<double>(), tolerance) << key;
        EXPECT_EQ(program.read<float>(loss.correct)[0], want["correct"].get<float>());
        if (want.contains("grads")) {
            EXPECT_EQ(want["grads"].size(), wanted.size());
            for (const auto& [name, statistics] : want["grads"].items())
                expect_statistics("grad/" + name, file_order(name, parameters.get_gradient(name)), statistics, 0.01,
                                  0.03);
            for (const auto& [name, v] : taps)
                if (want["taps"].contains(name))
                    expect_statistics("tap/" + name, nhwc_to_nchw(program.read<float>(v), v.shape()),
                                      want["taps"][name], 1e-4, 1e-4);
        }
        if (want.contains("buffers_after"))
            for (const auto& [name, statistics] : want["buffers_after"].items())
                if (!name.ends_with("num_batches_tracked"))
                    expect_statistics((step == 0 ? "buf/" : fmt::format("buf{}/", step + 1)) + name,
                                      parameters.get(name), statistics, 1e-4, 1e-3);
        if (want.contains("params_after"))
            for (const auto& [name, statistics] : want["params_after"].items()) {
                const Floats now = file_order(name, parameters.get(name));
                expect_statistics("param/" + name, now, statistics, 1e-4, 1e-3);
                double moved = 0;
                for (size_t i = 0; i < now.size(); ++i) moved += std::pow(double(now[i]) - state.at(name).values[i], 2);
                const double l2 = statistics.at("moved_l2");
                EXPECT_NEAR(std::sqrt(moved), l2, 0.05 * l2) << name << " moved";
            }
    }
    EXPECT_EQ(optimizer.state().skipped_steps, 0);
    const StateDict after = download(parameters);
    expect_logits(evaluate(after, nullptr), after_the_steps(), 1e-2);
}

// Losses of autocast.json (scripts/golden_autocast.py): PyTorch's autocast is 0.011 from its float32. 5 s.
TEST_F(GoldenResNet, Bf16FollowsAutocastOfPyTorch) {
    const json curve = golden_json(golden_folder("resnet50") / "autocast.json");
    auto owned = std::make_unique<Graph>(DType::bf16, true);
    Graph& graph = *owned;
    const Value x = graph.input("x", {batch, size, size, 3}, DType::bf16),
                labels = graph.input("labels", {batch}, DType::i32);
    const Value loss = cross_entropy(model.trace(x)[0], labels).loss;
    Parameters parameters(*device, graph, {.gradients = true});
    upload(state, parameters, "golden");
    Optimizer optimizer(parameters, {.weight_decay = curve["weight_decay"], .decay_vectors = true});
    std::vector<Value> wanted;
    for (size_t v = 0; v < graph.values.size(); ++v)
        if (graph.values[v].kind == ValueKind::parameter && graph.values[v].spec.role != ParameterRole::statistic)
            wanted.push_back({&graph, int(v)});
    const std::vector<Value> grads = gradients(loss, optimizer.loss_scale(graph), wanted);
    for (size_t i = 0; i < wanted.size(); ++i)
        graph.bind(grads[i], parameters.gradient(graph.values[size_t(wanted[i].id)].name));
    optimizer.append(graph);
    Arena arena(*device);
    Program program(arena, std::move(owned), parameters, std::array{loss});
    for (size_t step = 0; step < curve["autocast"].size(); ++step) {
        const Floats images = nchw_to_nhwc(inputs.at("train_x" + std::to_string(step % 3)));
        program.write<bf16>(x, std::vector<bf16>(images.begin(), images.end()));
        program.write<int32_t>(labels, inputs.at("labels" + std::to_string(step % 3)).as<int32_t>());
        optimizer.set(curve["rate"], curve["momentum"], step + 1);
        program.run();
        const double want = curve["autocast"][step], got = program.read<float>(loss)[0];
        printf("step %zu: autocast %.4f, here %.4f\n", step, want, got);
        EXPECT_NEAR(got, want, 0.02) << "step " << step;
    }
}

TEST_F(GoldenResNet, MinimalTakesTheSameSteps) {
    for (const char* const kind : {golden_device(), "simt"}) {
        SCOPED_TRACE(kind);
        const auto on = open_device(kind);
        Training training{*on, batch, size, classes};
        upload(state, training.parameters, "golden");
        for (size_t step = 0; step < expected["train"].size(); ++step) {
            const json& want = expected["train"][step];
            const Floats x = nchw_to_nhwc(inputs.at("train_x" + std::to_string(step)));
            const auto labels = inputs.at("labels" + std::to_string(step)).as<int32_t>();
            const float loss = training.step(x, labels, {want["lr_used"], want["momentum_used"]}, step + 1);
            EXPECT_NEAR(loss, want["loss"].get<double>(), step == 0 ? 1e-4 : 1e-3) << "step " << step;
        }
        expect_logits(evaluate(download(training.parameters), nullptr), after_the_steps(), 1e-2);
    }
}

}  // namespace
