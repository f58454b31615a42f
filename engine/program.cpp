#include "engine/program.h"

#include <algorithm>
#include <bit>
#include <cstdio>
#include <cstring>
#include <limits>

#include "engine/op.h"
#include "kernels/types.h"

void Arena::reserve(size_t bytes) {
    if (bytes <= memory_.bytes()) return;
    memory_ = Buffer();  // release first: both at once may not fit
    memory_ = Buffer(device_, bytes);
}

Program::Program(Arena& arena, std::unique_ptr<Graph> graph, const Parameters& parameters, Values keep,
                 const ProgramOptions& options)
    : arena_(arena),
      device_(parameters.device()),
      graph_(std::move(graph)),
      options_(options),
      kept_(keep.begin(), keep.end()) {
    const size_t gap = device_.facts().guard_bytes;
    plan_ = plan_memory(*graph_, keep, {.share = gap == 0, .in_place = device_.facts().in_place, .gap = gap});
    inputs_.resize(graph_->values.size());
    storage_.resize(graph_->values.size());
    try {
        allocate_inputs(parameters);
    } catch (const Error& e) {
        if (e.fault != Fault::memory) throw;
        fail_for_memory(e);
    }
}

void Program::allocate_inputs(const Parameters& parameters) {
    for (size_t v = 0; v < graph_->values.size(); ++v) {
        const ValueInfo& info = graph_->values[v];
        if (info.kind == ValueKind::parameter) {
            const Parameters::Entry& entry = parameters.entry(info.name);
            require(entry.shape == info.shape, "parameter {} has shape {}, the graph needs {}", info.name,
                    to_string(entry.shape), to_string(info.shape));
            storage_[v] = parameters.address(info.name);
        }
        if (info.kind == ValueKind::input) {
            inputs_[v] = Buffer(device_, numel(info.shape) * size_of(info.dtype));
            storage_[v] = inputs_[v].data();
            device_.reserve_staging(inputs_[v].data(), inputs_[v].bytes());
        }
    }
    arena_.reserve(plan_.bytes);
}

uint64_t largest_batch(uint64_t free, BatchMemory small, BatchMemory large) {
    const uint64_t room = free / 20 * 19;
    if (room < small.bytes) return 0;
    return small.batch +
           (room - small.bytes) * (large.batch - small.batch) / std::max<uint64_t>(large.bytes - small.bytes, 1);
}

// Nearly all memory of a program is activations and inputs, so an empty batch takes nothing.
void Program::fail_for_memory(const Error& error) {
    size_t needed = plan_.bytes;
    for (const ValueInfo& info : graph_->values)
        if (info.kind == ValueKind::input)
            needed += (1 + device_.facts().staging_buffers) * numel(info.shape) * size_of(info.dtype);
    inputs_.clear();
    const size_t free = device_.free_bytes();
    if (free == kUnknownBytes) throw error;
    const uint64_t batch = largest_batch(free + arena_.bytes(), {0, 0}, {options_.batch, needed});
    if (batch >= options_.batch) throw error;
    fail(Fault::memory, "{}; {}", error.what(),
         batch ? fmt::format("of batch {}, about {} would fit", options_.batch, batch)
               : "a smaller image or model would fit");
}

std::span<const Step> Program::steps() {
    arena_.reserve(plan_.bytes);
    if (bound_to_ != arena_.data() || steps_.empty()) {
        steps_ = bind_steps(*graph_, plan_, arena_.data(), storage_);
        bound_to_ = arena_.data();
        recording_.reset();
        runs_ = 0;
        watches_ = options_.overflow && device_.kind() == "cpu";
    }
    if (const size_t gap = device_.facts().guard_bytes) {  // each time: another program may have used the arena
        const auto* begin = static_cast<const std::byte*>(arena_.data());
        for (const Step& step : steps_)
            for (const Tensor& t : step.out) {
                auto* data = static_cast<std::byte*>(t.data);
                const bool in_arena = data >= begin && data < begin + arena_.bytes();  // not bound elsewhere
                if (in_arena) device_.guard(data + t.bytes(), gap);
            }
    }
    return steps_;
}

namespace {
// The largest magnitude as the bits of a float, which are ordered as the numbers are: NaN and infinity come last.
template <class T>
uint32_t largest(std::span<const T> numbers) {
    uint32_t most = 0;
    for (const T& x : numbers) most = std::max(most, std::bit_cast<uint32_t>(float(x)) & 0x7fffffffu);
    return most;
}
uint32_t largest(const Tensor& t) {
    if (!t.data) return 0;
    return t.dtype == DType::bf16 ? largest(std::span(t.as<const bf16>(), numel(t.shape)))
                                  : largest(std::span(t.as<const float>(), numel(t.shape)));
}
}  // namespace

void Program::run_with_checks(std::span<const Step> steps) {
    constexpr auto infinity = std::bit_cast<uint32_t>(std::numeric_limits<float>::infinity());
    constexpr auto far_from_it = std::bit_cast<uint32_t>(1e6f);
    uint32_t most = 0;
    for (const Step& step : steps) {
        device_.run(std::span(&step, 1));
        if (step.op->name() != "conv") continue;
        const uint32_t result = largest(step.out[0]);
        if (result >= infinity)
            fail(Fault::not_finite,
                 "{}: numbers overflow in the network, its weights are of no use; training needs a lower --lr",
                 to_string(step));
        most = std::max({most, result, largest(step["weight"]), largest(step["bias"])});
    }
    watches_ = most > far_from_it;
}

void Program::run() {
    const std::span<const Step> steps = this->steps();
    // The first run is eager: libraries choose their plans then, and errors name the operation.
    if (runs_ == 1 && !options_.eager) try {
            recording_ = device_.record(steps);
        } catch (const Error& e) {
            if (e.fault == Fault::environment) throw;  // the device is lost
            const std::string note = fmt::format(
                "note: steps are not recorded but started operation by operation, which is slower: {}\n", e.what());
            std::fputs(note.c_str(), stderr);  // a stderr that is gone ends no work
        }
    if (options_.after_step)
        for (const Step& step : steps) device_.run(std::span(&step, 1)), options_.after_step(step);
    else if (watches_)
        run_with_checks(steps);
    else if (recording_)
        recording_->launch();
    else
        device_.run(steps);
    ++runs_;
}

size_t Program::start() {
    run();
    std::vector<Piece> pieces;
    size_t bytes = 0;
    for (const Value v : kept_) {
        pieces.push_back({address(v), numel(v.shape()) * size_of(v.dtype())});
        bytes += pieces.back().bytes;
    }
    std::unique_ptr<Readback>& readback = readbacks_[starts_ % 2];
    if (!readback) readback = device_.readback(bytes);
    readback->start(pieces);
    return starts_++;
}

std::span<const std::byte> Program::finish(size_t run) {
    require(run < starts_ && run + 2 >= starts_, "run {} of {} cannot be finished", run, starts_);
    return readbacks_[run % 2]->wait();
}

void Program::prepare() { device_.prepare(steps()); }

void Program::run_step(size_t i) {
    device_.run(steps().subspan(i, 1));
    device_.synchronize();
}

size_t Program::input_bytes() const {
    size_t bytes = 0;
    for (const Buffer& m : inputs_) bytes += m.bytes();
    return bytes;
}

void Program::write_bytes(Value input, std::span<const std::byte> bytes) {
    const Buffer& memory = inputs_[size_t(input.id)];
    require(memory.bytes() == bytes.size() && memory.data(), "input {} has {} bytes, {} were given",
            graph_->values[size_t(input.id)].name, memory.bytes(), bytes.size());
    const Piece piece{bytes.data(), bytes.size()};
    device_.upload_async(memory.data(), {&piece, 1});
}

void Program::write(Value input, std::span<const Piece> pieces) {
    size_t bytes = 0;
    for (const Piece& piece : pieces) bytes += piece.bytes;
    const Buffer& memory = inputs_[size_t(input.id)];
    require(memory.data() && bytes <= memory.bytes(), "input {} has {} bytes, {} were given",
            graph_->values[size_t(input.id)].name, memory.bytes(), bytes);
    device_.upload_async(memory.data(), pieces);
}

const void* Program::address(Value v) const {
    const ValueInfo& info = graph_->values[size_t(v.id)];
    return info.address                        ? info.address
           : info.kind == ValueKind::temporary ? static_cast<const std::byte*>(bound_to_) + plan_.offset[size_t(v.id)]
                                               : storage_[size_t(v.id)];
}

void Program::read_bytes(Value v, std::span<std::byte> bytes) const {
    const ValueInfo& info = graph_->values[size_t(v.id)];
    require(numel(info.shape) * size_of(info.dtype) == bytes.size(), "value {} has type {}, read with a different size",
            info.name, to_string(info.dtype));
    device_.download(bytes.data(), address(v), bytes.size());
}
