// One check for every operation: a test names shapes and calls the operation, as a model would.
//
// On cpu the gradient of every input must agree with finite differences along a random direction. On simt every value
// of the graph must agree with cpu. The arena starts as NaN, so that what is read before or left unwritten shows.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/ops.h"
#include "engine/program.h"

struct OpCase {
    std::string name;
    std::vector<Shape> inputs;                                        // float
    std::function<Value(const std::vector<Value>&)> build;            // the output whose gradient is checked
    double tolerance = 2e-4;                                          // of a gradient, relative to the sum of its parts
    float mean = 0;                                                   // of the random inputs
    std::vector<std::pair<Shape, std::vector<int32_t>>> labels = {};  // further inputs, integers, after the others
};

class OpCheck {
public:
    explicit OpCheck(const OpCase& test) : test_(test) {
        for (const Shape& shape : test.inputs) values_.push_back(normal(count(shape), test.mean));
    }

    void run() {
        SCOPED_TRACE(test_.name);
        const auto cpu = evaluate("cpu"), simt = evaluate("simt");
        ASSERT_EQ(cpu.size(), simt.size());
        for (size_t v = 0; v < cpu.size(); ++v) compare(names_[v], cpu[v], simt[v]);
        for (size_t k = 0; k < test_.inputs.size(); ++k) check_gradient(k, cpu);
    }

private:
    using Floats = std::vector<float>;

    Floats normal(size_t n, float mean) {
        std::normal_distribution<float> distribution(mean, 1);
        Floats result(n);
        for (float& x : result) x = distribution(rng_);
        return result;
    }

    // The gradients of all inputs first, then y, then every other float value of the graph.
    std::vector<Floats> evaluate(const char* kind) {
        const auto device = open_device(kind, {.threads = 2});
        auto owned = std::make_unique<Graph>(DType::f32, true);
        Graph& graph = *owned;
        std::vector<Value> in;
        for (const Shape& shape : test_.inputs) in.push_back(graph.input("in", shape, DType::f32));
        for (const auto& [shape, labels] : test_.labels) in.push_back(graph.input("labels", shape, DType::i32));
        const Value y = test_.build(in), dy = graph.input("dy", y.shape(), DType::f32);
        const size_t floats = test_.inputs.size();
        std::vector<Value> kept = gradients(y, dy, std::span(in).first(floats));
        for (Value v : kept) EXPECT_TRUE(v) << "an input has no gradient";
        kept.push_back(y);
        for (size_t v = 0; v < graph.values.size(); ++v)
            if (graph.values[v].kind == ValueKind::temporary && graph.values[v].dtype == DType::f32)
                kept.push_back({&graph, int(v)});
        Parameters parameters(*device, graph);
        Arena arena(*device);
        Program program(arena, std::move(owned), parameters, kept);
        const Floats nans(arena.bytes() / sizeof(float), NAN);
        device->upload(arena.data(), nans.data(), nans.size() * sizeof(float));
        for (size_t i = 0; i < floats; ++i) program.write<float>(in[i], values_[i]);
        for (size_t i = 0; i < test_.labels.size(); ++i) program.write<int32_t>(in[floats + i], test_.labels[i].second);
        if (dy_.empty()) dy_ = normal(count(y.shape()), 0);
        program.write<float>(dy, dy_);
        program.run();
        std::vector<Floats> result;
        names_.clear();
        for (Value v : kept) {
            result.push_back(program.read<float>(v));
            names_.push_back(graph.values[size_t(v.id)].name);
        }
        return result;
    }

    static void compare(const std::string& name, const Floats& want, const Floats& got) {
        ASSERT_EQ(want.size(), got.size());
        double top = 0.1;
        for (float x : want) top = std::max(top, std::fabs(double(x)));
        // Batch norm's gradient over two rows is a difference of terms thirty times its size.
        for (size_t i = 0; i < want.size(); ++i)
            ASSERT_NEAR(got[i], want[i], 3e-5 * top) << name << ", element " << i << " of " << want.size();
    }

    double along(size_t k, const Floats& direction, double h) {  // sum(y * dy) at input k + h * direction
        const Floats at_zero = values_[k];
        for (size_t i = 0; i < direction.size(); ++i) values_[k][i] = float(at_zero[i] + h * direction[i]);
        const Floats y = evaluate("cpu")[test_.inputs.size()];
        values_[k] = at_zero;
        double sum = 0;
        for (size_t i = 0; i < y.size(); ++i) sum += double(y[i]) * dy_[i];
        return sum;
    }

    void check_gradient(size_t k, const std::vector<Floats>& cpu) {
        if (dy_.size() > 600) return;  // the more elements, the more of them cross a kink of relu or max
        const Floats direction = normal(values_[k].size(), 0);
        const double h = 2e-3, want = (along(k, direction, h) - along(k, direction, -h)) / (2 * h);
        double got = 0, size = 0;
        for (size_t i = 0; i < direction.size(); ++i) {
            got += double(cpu[k][i]) * direction[i];
            size += std::fabs(double(cpu[k][i]) * direction[i]);
        }
        EXPECT_NEAR(got, want, test_.tolerance * std::max(size, 1.0)) << "the gradient of input " << k;
    }

    const OpCase& test_;
    std::mt19937 rng_{0};
    std::vector<Floats> values_;
    Floats dy_;
    std::vector<std::string> names_;
};

inline void check_op(const OpCase& test) { OpCheck(test).run(); }
