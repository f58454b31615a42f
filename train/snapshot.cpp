#include "train/snapshot.h"

#include <chrono>
#include <memory>
#include <system_error>

void require_finite(const StateDict& network, size_t step, double learning_rate) {
    for (const std::string& number : bad_numbers(network))
        fail(Fault::not_finite, "step {}: {}; lower --lr (now {}), the last checkpoint stays", step, number,
             learning_rate);
}

Snapshot snapshot_of(Trainer& trainer, StateDict network, const TrainingState& state) {
    Snapshot snapshot{state, std::move(network), {}};
    for (const Optimizer::Slot& slot : trainer.optimizer().slots()) {
        std::vector<std::byte>& bytes = snapshot.slots.emplace_back(slot.name, slot.memory->bytes()).second;
        trainer.parameters().device().download(bytes.data(), slot.memory->data(), bytes.size());
    }
    return snapshot;
}

BackgroundWriter::BackgroundWriter(std::filesystem::path folder, size_t keep, uint64_t newest, FileCalls calls)
    : writer_(std::move(folder), keep, std::move(calls)), newest_(newest) {}

void BackgroundWriter::start(Snapshot snapshot) {
    finish();
    const auto write = [this, s = std::make_shared<const Snapshot>(std::move(snapshot))] {
        std::vector<FileTensor> tensors;
        for (const auto& [name, tensor] : s->network)
            tensors.push_back({"model." + name, DType::f32, tensor.shape, std::as_bytes(std::span(tensor.values))});
        for (const auto& [name, bytes] : s->slots)
            tensors.push_back({"optimizer." + name, DType::f32, {bytes.size() / sizeof(float)}, bytes});
        writer_.save(s->state, tensors);
        newest_ = s->state.step;
    };
    try {
        writing_ = std::async(std::launch::async, write);
    } catch (const std::system_error&) {  // no more threads: then the training waits
        write();
    }
}

void BackgroundWriter::look() {
    if (writing_.valid() && writing_.wait_for(std::chrono::seconds(0)) == std::future_status::ready) finish();
}

void BackgroundWriter::finish() {
    if (writing_.valid()) writing_.get();
}

std::string BackgroundWriter::fault() {
    try {
        finish();
    } catch (const std::exception& e) {
        return e.what();
    }
    return "";
}

uint64_t BackgroundWriter::last_written() {
    if (writing_.valid()) writing_.wait();
    return newest_;
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
