// A complete trainer on the engine's public API, the file to read first: ResNet-50, SGD with momentum and weight decay,
// the one-cycle policy. `tundra train` adds validation, augmentation, checkpoints, mixed precision, reports.
//
//   tundra_minimal                               random images of two classes, to see that everything runs
//   tundra_minimal photos --device simt          a folder of class folders (JPEG, PNG); the device: cpu, simt or cuda
//
// Prints the loss of every step and writes minimal.safetensors, whose tensors carry torchvision's names.
#include "base/safetensors.h"
#include "data/loader.h"
#include "engine/ops.h"
#include "engine/program.h"
#include "models/resnet.h"
#include "models/state.h"
#include "train/optimizer.h"
#include "train/schedule.h"

namespace {

struct Training {
    Device& device;
    size_t batch, size, classes;

    // Trace: nothing is computed here. Every call checks shapes and appends a node to the graph.
    std::unique_ptr<Graph> graph = std::make_unique<Graph>(DType::f32, true);
    Value images = graph->input("images", {batch, size, size, 3}, DType::f32);
    Value labels = graph->input("labels", {batch}, DType::i32);
    Value logits = resnet(images, {.depth = 50, .classes = classes});
    Value loss = cross_entropy(logits, labels).loss;

    Parameters parameters{device, *graph, {.gradients = true}};  // flat arrays on the device
    Optimizer optimizer{parameters, {.weight_decay = 1e-4f, .decay_vectors = true}};
    Arena arena{device};  // memory of every temporary, planned before the first step
    Program program{arena, differentiate(), parameters, Values(&loss, 1)};

    // Gradients are operations of the same graph; each writes where the optimizer, which comes last, reads it.
    std::unique_ptr<Graph> differentiate() {
        std::vector<Value> trained;
        for (const Parameters::Entry& e : parameters.entries())
            if (e.spec.role != ParameterRole::statistic) trained.push_back(graph->parameter(e.name, e.shape, e.spec));
        const std::vector<Value> grads = gradients(loss, optimizer.loss_scale(*graph), trained);
        for (size_t i = 0; i < trained.size(); ++i)
            graph->bind(grads[i], parameters.gradient(graph->values[size_t(trained[i].id)].name));
        optimizer.append(*graph);
        return std::move(graph);
    }

    // x: (batch, size, size, 3)   y: (batch)   number: counts from 1. Returns the loss before the update.
    float step(std::span<const float> x, std::span<const int32_t> y, ScheduleValue now, size_t number) {
        program.write(images, x);
        program.write(labels, y);
        optimizer.set(now.learning_rate, now.momentum, number);
        program.run();
        return program.read<float>(loss)[0];
    }
};

std::vector<float> normalized(std::span<const uint8_t> rgb) {  // as torchvision's models expect it
    constexpr float mean[] = {0.485f, 0.456f, 0.406f}, deviation[] = {0.229f, 0.224f, 0.225f};
    std::vector<float> x(rgb.size());
    for (size_t i = 0; i < x.size(); ++i) x[i] = (float(rgb[i]) / 255 - mean[i % 3]) / deviation[i % 3];
    return x;
}

void train(const std::string& folder, Device& device) {
    const LoaderOptions options{.batch = 16, .fit = {.size = 64}, .shuffle = true, .drop_last = true};
    const Dataset data = folder.empty() ? Dataset() : open_dataset(folder);
    std::optional<Loader> loader;
    if (!folder.empty()) loader.emplace(data, data.part(Part::train), options);
    Batch noise = blank_batch(options);  // without a folder: one batch of random pixels, dark or bright
    for (size_t i = 0; i < options.batch; ++i) noise.labels[i] = int32_t(i % 2);
    for (size_t i = 0, pixels = noise.images.size() / options.batch; i < noise.images.size(); ++i)
        noise.images[i] = uint8_t((i * 2654435761u >> 16) % 128 + 128 * (i / pixels % 2));
    Training training{device, options.batch, options.fit.size, std::max<size_t>(data.classes.size(), 2)};
    initialize(training.parameters, 1);
    const size_t steps = loader ? 5 * loader->steps() : 20;  // 5 epochs
    const Schedule schedule({.learning_rate = 0.01}, steps);
    for (size_t step = 0; step < steps; ++step) {
        const Batch& batch = loader ? loader->next() : noise;
        const ScheduleValue now = schedule.at(step);
        const float loss = training.step(normalized(batch.images), batch.labels, now, step + 1);
        fmt::print("step {}/{}  learning rate {:.5f}  loss {:.4f}\n", step + 1, steps, now.learning_rate, loss);
    }
    std::vector<FileTensor> tensors;
    const StateDict state = download(training.parameters);
    for (const auto& [name, t] : state)
        tensors.push_back({name, DType::f32, t.shape, std::as_bytes(std::span(t.values))});
    write_safetensors("minimal.safetensors", tensors, {{"format", "pt"}});
}

}  // namespace

int main(int argc, char** argv) try {
    const bool named = argc > 2 && argv[argc - 2] == std::string("--device");
    train(argc > (named ? 3 : 1) ? argv[1] : "", *open_device(named ? argv[argc - 1] : "cpu"));
    return 0;
} catch (const std::exception& e) {
    fmt::print(stderr, "tundra_minimal: {}\n", e.what());
    return 1;
}
