// A graph around one operation, for tests and benchmarks: inputs with their numbers, a run, results as floats.
#pragma once

#include <cmath>
#include <limits>
#include <random>

#include "engine/ops.h"
#include "engine/program.h"
#include "kernels/types.h"

using Floats = std::vector<float>;

class OpGraph {
public:
    explicit OpGraph(Device& device, DType type = DType::f32, bool training = true)
        : device_(device), arena_(device), graph_(std::make_unique<Graph>(type, training)) {}

    Graph& graph() { return program_ ? const_cast<Graph&>(program_->graph()) : *graph_; }

    // Every run starts from `numbers`, rounded to the type.
    Value input(const std::string& name, const Shape& shape, DType dtype, Floats numbers) {
        inputs_.push_back({graph_->input(name, shape, dtype), std::move(numbers)});
        return inputs_.back().value;
    }

    // After this the graph takes no more nodes.
    void plan(Values keep, const std::function<void(Parameters&)>& set_parameters = {}) {
        keep_.assign(keep.begin(), keep.end());
        parameters_ = std::make_unique<Parameters>(device_, *graph_);
        if (set_parameters) set_parameters(*parameters_);
        program_ = std::make_unique<Program>(arena_, std::move(graph_), *parameters_, keep_);
    }

    // The kept values. Temporaries are NaN before the run, so that what is read before or left unwritten shows.
    std::vector<Floats> run() {
        const Floats nans(arena_.bytes() / sizeof(float), std::numeric_limits<float>::quiet_NaN());
        device_.upload(arena_.data(), nans.data(), nans.size() * sizeof(float));
        write_inputs();
        program_->run();
        std::vector<Floats> results;
        for (Value v : keep_) results.push_back(read(v));
        return results;
    }

    void write_inputs() {
        for (const Input& input : inputs_) write(input.value, input.numbers);
    }
    Floats& numbers(size_t input) { return inputs_[input].numbers; }
    Parameters& parameters() { return *parameters_; }
    Program& program() { return *program_; }

    void write(Value v, const Floats& numbers) {
        switch (v.dtype()) {
            case DType::f32: return program_->write<float>(v, numbers);
            case DType::bf16: return write_as<bf16>(v, numbers);
            case DType::f16: return write_as<fp16>(v, numbers);
            case DType::i32: return write_as<int32_t>(v, numbers);
            case DType::u8: return write_as<uint8_t>(v, numbers);
            default: fail(Fault::runtime, "no operation takes {}", to_string(v.dtype()));
        }
    }
    Floats read(Value v) const {
        switch (v.dtype()) {
            case DType::f32: return program_->read<float>(v);
            case DType::bf16: return read_as<bf16>(v);
            case DType::f16: return read_as<fp16>(v);
            case DType::i32: return read_as<int32_t>(v);
            case DType::u8: return read_as<uint8_t>(v);
            default: fail(Fault::runtime, "no operation gives {}", to_string(v.dtype()));
        }
    }

private:
    struct Input {
        Value value;
        Floats numbers;
    };
    template <class T>
    void write_as(Value v, const Floats& numbers) {
        std::vector<T> typed;
        for (float x : numbers) typed.push_back(T(x));
        program_->write<T>(v, typed);
    }
    template <class T>
    Floats read_as(Value v) const {
        Floats result;
        for (T x : program_->read<T>(v)) result.push_back(float(x));
        return result;
    }

    Device& device_;
    Arena arena_;
    std::unique_ptr<Graph> graph_;
    std::unique_ptr<Parameters> parameters_;
    std::unique_ptr<Program> program_;
    std::vector<Input> inputs_;
    std::vector<Value> keep_;
};
