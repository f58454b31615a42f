#include "predict/classifier.h"

namespace {

std::vector<float> repeated(std::initializer_list<float> row, size_t n) {
    std::vector<float> result;
    for (size_t i = 0; i < n; ++i) result.insert(result.end(), row);
    return result;
}

}  // namespace

Classifier::Classifier(Device& device, Arena& arena, const ClassifierConfig& config)
    : config_(config),
      graph_([&] {
          auto graph = std::make_unique<Graph>(config.precision);
          const size_t n = config.batch, size = config.size;
          in_.images = graph->input("images", {n, size, size, 3}, DType::u8);
          in_.transform = graph->input("transform", {n, 6}, DType::f32);
          in_.color = graph->input("color", {n, 2}, DType::f32);
          in_.labels = graph->input("labels", {n}, DType::i32);
          const Value x = image_batch(in_.images, in_.transform, in_.color,
                                      {.out_h = size,
                                       .out_w = size,
                                       .out_channels = device.image_channels(config.precision),
                                       .normalize = config.normalize});
          const CrossEntropyResult result = cross_entropy(config.model.trace(x)[0], in_.labels);
          in_.probabilities = result.probabilities, in_.losses = result.sample_loss;
          return graph;
      }()),
      parameters_(device, *graph_),
      program_(arena, std::move(graph_), parameters_, std::array{in_.probabilities, in_.losses},
               {.eager = config.eager, .batch = config.batch, .overflow = true}) {
    program_.write<float>(in_.transform, repeated({1, 0, 0, 0, 1, 0}, config.batch));
    program_.write<float>(in_.color, repeated({1, 0}, config.batch));
}

std::function<void()> Classifier::prepare_load(StateDict state, const std::string& where) {
    const Folding& folding = config_.model.folding;
    for (const auto& [conv, bn] : folding.conv_bn)
        for (const std::string& name :
             {conv + ".weight", bn + ".weight", bn + ".bias", bn + ".running_mean", bn + ".running_var"})
            if (!state.contains(name))
                fail(Fault::damaged, "{}: has no tensor {}; it is not a {}", where, name, config_.model.name);
    return [this, upload = prepare_upload(std::move(state), parameters_, where, folding)] {
        upload();
        program_.prepare();
    };
}

std::vector<float> Classifier::run(std::span<const uint8_t> images) {
    const size_t image = config_.size * config_.size * 3, n = images.size() / image;
    require(n * image == images.size() && n <= config_.batch, "classifier: {} bytes of images for a batch of {}",
            images.size(), config_.batch);
    std::vector<uint8_t> padded(images.begin(), images.end());
    padded.resize(config_.batch * image);
    program_.write<uint8_t>(in_.images, padded);
    program_.run();
    std::vector<float> probabilities = program_.read<float>(in_.probabilities);
    probabilities.resize(n * config_.model.classes);
    return probabilities;
}

std::vector<float> Classifier::run(std::span<const uint8_t> images, std::span<const int32_t> labels,
                                   std::vector<float>& losses) {
    std::vector<int32_t> padded(labels.begin(), labels.end());
    padded.resize(config_.batch, -1);
    program_.write<int32_t>(in_.labels, padded);
    std::vector<float> probabilities = run(images);
    losses = program_.read<float>(in_.losses);
    losses.resize(labels.size());
    return probabilities;
}
