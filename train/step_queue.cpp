#include "train/step_queue.h"

#include <cstdio>
#include <cstring>
#include <utility>

#include "engine/op.h"
#include "kernels/layout.h"

namespace {

constexpr size_t kAlignment = 16;  // of what is copied
size_t padded(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// Words of four bytes, whatever they mean.
struct Copy {
    static constexpr std::string_view name = "copy";
    size_t words;
    void bind(auto& kernel, auto& slot) const {
        const size_t width = words % 4 ? 1 : 4;  // 16 bytes for each thread
        kernel.rows = words / width, kernel.channels = kernel.x_pitch = kernel.y_pitch = width;
        slot.in("x", kernel.x);
        slot.out("y", kernel.y);
    }
};

Step copy(void* to, const void* from, size_t bytes) {
    const size_t words = bytes / sizeof(float);
    const auto tensor = [&](void* data) { return Tensor{.data = data, .shape = {words}, .dtype = DType::f32}; };
    return {std::make_shared<const KernelOp<CopyChannels, Copy>>(Copy{words}),
            {tensor(const_cast<void*>(from))},
            {tensor(to)}};
}

}  // namespace

StepQueue::StepQueue(Device& device, size_t steps, size_t input_bytes, size_t result_bytes)
    : device_(device),
      steps_(steps),
      input_bytes_(padded(input_bytes)),
      result_bytes_(result_bytes),
      host_{std::pmr::vector<std::byte>(steps * input_bytes_, &device.host_memory()),
            std::pmr::vector<std::byte>(steps * input_bytes_, &device.host_memory())},
      device_inputs_(device, steps * input_bytes_),
      device_results_(device, steps * result_bytes) {
    device.reserve_staging(device_inputs_.data(), device_inputs_.bytes());
}

void StepQueue::write(void* to, Piece piece) {
    if (starts_ == 0 && queued_ == 0) {
        const size_t at = inputs_.empty() ? 0 : padded(inputs_.back().at + inputs_.back().bytes);
        inputs_.push_back({to, piece.bytes, at});
        require(at + piece.bytes <= input_bytes_, "a step writes more than {} bytes", input_bytes_);
    }
    require(written_ < inputs_.size() && inputs_[written_].to == to && inputs_[written_].bytes == piece.bytes,
            "a step writes other inputs than the first one");
    std::memcpy(&host_[starts_ % 2][queued_ * input_bytes_ + inputs_[written_].at], piece.from, piece.bytes);
    ++written_;
}

void StepQueue::end_step() {
    require(written_ == inputs_.size() && !full(), "a step writes other inputs than the first one");
    ++queued_, written_ = 0;
}

std::vector<Step> StepQueue::copies_before(size_t step) const {
    std::vector<Step> copies;
    for (const Input& input : inputs_)
        copies.push_back(copy(input.to, device_inputs_.as<std::byte>() + step * input_bytes_ + input.at, input.bytes));
    return copies;
}

std::vector<Step> StepQueue::copies_behind(size_t step, const std::vector<Piece>& results) const {
    std::vector<Step> copies;
    std::byte* to = device_results_.as<std::byte>() + step * result_bytes_;
    for (const Piece& piece : results) copies.push_back(copy(to, piece.from, piece.bytes)), to += piece.bytes;
    return copies;
}

// Where they cannot be recorded together each runs as ever.
void StepQueue::record(Program& program, const std::vector<Piece>& results) try {
    std::vector<Step> all;
    const auto add = [&](std::span<const Step> steps) { all.insert(all.end(), steps.begin(), steps.end()); };
    for (size_t step = 0; step < steps_; ++step)
        add(copies_before(step)), add(program.steps()), add(copies_behind(step, results));
    recording_ = device_.record(all);
} catch (const Error& e) {
    if (e.fault == Fault::environment) throw;  // the device is lost
    refused_ = true;
    const std::string note =
        fmt::format("note: {} steps are not recorded as one graph but run one by one: {}\n", steps_, e.what());
    std::fputs(note.c_str(), stderr);  // as in Program::run()
}

Piece StepQueue::start(Program& program, const std::vector<Piece>& results) {
    const Piece all{host_[starts_++ % 2].data(), queued_ * input_bytes_};
    device_.upload_async(device_inputs_.data(), {&all, 1});
    if (full()) {
        // As a single step, the first time eager.
        const bool again = std::exchange(bound_to_, results.at(0).from) == results[0].from;
        if (!again) recording_.reset();
        if (again && !recording_ && !refused_) record(program, results);
    }
    if (full() && recording_)
        recording_->launch();
    else
        for (size_t step = 0; step < queued_; ++step) {
            device_.run(copies_before(step));
            program.run();
            device_.run(copies_behind(step, results));
        }
    return {device_results_.data(), std::exchange(queued_, 0) * result_bytes_};
}
