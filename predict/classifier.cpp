#include "predict/classifier.h"

#include <cstring>

namespace {

std::vector<float> repeated(std::initializer_list<float> row, size_t n) {
    std::vector<float> result;
    for (size_t i = 0; i < n; ++i) result.insert(result.end(), row);
    return result;
}

}  // namespace

Classifier::Classifier(Device& device, Arena& arena, const ClassifierConfig& config)
    : device_(device),
      config_(config),
      graph_([&] {
          require((config.precision == DType::i8) == !config.model.int8.empty(), "a {} that is {}quantized, in {}",
                  config.model.name, config.model.int8.empty() ? "not " : "", precision_name(config.precision));
          auto graph = std::make_unique<Graph>(traced_type(config.precision));
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
          if (config.precision == DType::i8) use_int8(*graph, config.model.int8);
          return graph;
      }()),
      parameters_(device, *graph_),
      program_(arena, std::move(graph_), parameters_, std::array{in_.probabilities, in_.losses},
               {.eager = config.eager, .batch = config.batch, .overflow = true, .after_step = config.after_step}) {
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

Classifier::Started Classifier::start(std::span<const uint8_t> images, std::span<const int32_t> labels) {
    const size_t image = config_.size * config_.size * 3, n = images.size() / image;
    require(n * image == images.size() && n <= config_.batch, "classifier: {} bytes of images for a batch of {}",
            images.size(), config_.batch);
    if (!labels.empty()) {
        std::vector<int32_t> padded(labels.begin(), labels.end());
        padded.resize(config_.batch, -1);
        program_.write<int32_t>(in_.labels, padded);
    }
    const Piece piece{images.data(), images.size()};  // rows beyond n keep other images: no row depends on another
    program_.write(in_.images, {&piece, 1});
    return {program_.start(), n};
}

Classifier::Result Classifier::finish(const Started& started) {
    const std::span<const std::byte> bytes = program_.finish(started.run);
    const size_t classes = config_.model.classes;
    Result result{.probabilities = std::vector<float>(started.images * classes),
                  .losses = std::vector<float>(started.images)};
    std::memcpy(result.probabilities.data(), bytes.data(), result.probabilities.size() * sizeof(float));
    std::memcpy(result.losses.data(), bytes.data() + config_.batch * classes * sizeof(float),
                result.losses.size() * sizeof(float));
    return result;
}
