#include "train/training_program.h"

#include <cstring>

TrainingProgram::TrainingProgram(Device& device, Arena& arena, TracedLoss traced, const TrainingOptions& options)
    : shown_(traced.figures),
      parameters_(device, *traced.graph, {.gradients = true, .trained = options.trained}),
      optimizer_(parameters_, options.optimizer),
      program_(arena, with_gradients(std::move(traced)), parameters_, shown_, options.program) {
    size_t bytes = sizeof(StepState);
    for (Value v : shown_) bytes += numel(v.shape()) * sizeof(float);
    for (auto& figures : figures_) figures = device.readback(bytes);
}

std::unique_ptr<Graph> TrainingProgram::with_gradients(TracedLoss traced) {
    std::unique_ptr<Graph> graph = std::move(traced.graph);
    std::vector<Value> wanted;
    for (const Parameters::Entry& e : parameters_.entries())
        if (e.trained && e.spec.role != ParameterRole::statistic)
            wanted.push_back(graph->parameter(e.name, e.shape, e.spec));
    const std::vector<Value> grads = gradients(traced.loss, optimizer_.loss_scale(*graph), wanted);
    for (size_t i = 0; i < wanted.size(); ++i)
        graph->bind(grads[i], parameters_.gradient(graph->values[size_t(wanted[i].id)].name));
    optimizer_.append(*graph);
    return graph;
}

void TrainingProgram::step(double learning_rate, double momentum, size_t step) {
    optimizer_.set(learning_rate, momentum, step);
    program_.run();
    std::vector<Readback::Piece> pieces;
    for (Value v : shown_) pieces.push_back({program_.address(v), numel(v.shape()) * sizeof(float)});
    pieces.push_back({optimizer_.step_state().data(), sizeof(StepState)});
    figures_[steps_++ % 2]->start(pieces);
}

TrainingProgram::Figures TrainingProgram::figures_of(size_t step) const {
    const std::span<const std::byte> bytes = figures_[step % 2]->wait();
    Figures figures;
    figures.values.resize((bytes.size() - sizeof(StepState)) / sizeof(float));
    std::memcpy(figures.values.data(), bytes.data(), figures.values.size() * sizeof(float));
    std::memcpy(&figures.state, bytes.data() + bytes.size() - sizeof(StepState), sizeof(StepState));
    return figures;
}

TrainingProgram::Figures TrainingProgram::figures() const {
    require(steps_ > 0, "there are no figures before the first step");
    return figures_of(steps_ - 1);
}

std::optional<TrainingProgram::Figures> TrainingProgram::previous_figures() const {
    if (steps_ < 2) return std::nullopt;
    return figures_of(steps_ - 2);
}

size_t TrainingProgram::memory_bytes() const {
    size_t bytes = program_.plan().bytes + program_.input_bytes();
    for (const ParameterRole role : {ParameterRole::weight, ParameterRole::vector, ParameterRole::statistic}) {
        const ParameterGroup& g = parameters_.group(role);
        bytes += g.master.bytes() + g.gradient.bytes() + g.copy.bytes();
    }
    for (const Optimizer::Slot& slot : optimizer_.slots()) bytes += slot.memory->bytes();
    return bytes;
}
