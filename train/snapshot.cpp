#include "train/snapshot.h"

void require_finite(const StateDict& network, size_t step, double learning_rate) {
    for (const std::string& number : bad_numbers(network))
        fail(Fault::not_finite, "step {}: {}; lower --lr (now {}), the last checkpoint stays", step, number,
             learning_rate);
}

void save_trainer(Trainer& trainer, const StateDict& network, const TrainingState& state, CheckpointWriter& writer) {
    std::vector<FileTensor> tensors;
    std::vector<std::vector<std::byte>> slots;
    for (const auto& [name, tensor] : network)
        tensors.push_back({"model." + name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
    for (const Optimizer::Slot& slot : trainer.optimizer().slots()) {
        slots.emplace_back(slot.memory->bytes());
        trainer.parameters().device().download(slots.back().data(), slot.memory->data(), slot.memory->bytes());
        tensors.push_back({"optimizer." + slot.name, DType::f32, {slot.memory->bytes() / sizeof(float)}, slots.back()});
    }
    writer.save(state, tensors);
}

void restore_trainer(Trainer& trainer, const Checkpoint& checkpoint) {
    StateDict network;
    for (const FileTensor& t : checkpoint.file.tensors())
        if (t.name.starts_with("model.")) network[t.name.substr(6)] = {Shape(t.shape), elements<float>(t)};
    trainer.load(network, checkpoint.path.string());
    for (const Optimizer::Slot& slot : trainer.optimizer().slots()) {
        const FileTensor& tensor = checkpoint.file.at("optimizer." + slot.name);
        if (tensor.data.size() != slot.memory->bytes())
            fail(Fault::damaged, "{}: {} has {} bytes, this run needs {}", checkpoint.path.string(), tensor.name,
                 tensor.data.size(), slot.memory->bytes());
        trainer.parameters().device().upload(slot.memory->data(), tensor.data.data(), tensor.data.size());
    }
}
