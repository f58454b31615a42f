// What every case of bench/op_cases.h must fulfil.
//
// Gradients: on cpu that of every input agrees with finite differences along a random direction, whatever the size.
// Devices: every value of the graph agrees with cpu, in each element type; both sides start from numbers that the type
// can hold. Orders: on simt and ptx no bit depends on the order of the threads.
#pragma once

#include <gtest/gtest.h>

#include "bench/op_cases.h"
#include "virtual_gpu/simt/runtime.h"

// A case on one device in one type: its gradients, changed inputs, output, and every other float value.
class CaseGraph {
public:
    CaseGraph(Device& device, const OpCase& test, DType type)
        : test_(test), graph_(device, type, test.training), rng_(7) {
        NamedValues in;
        std::vector<Value> wanted;
        for (size_t i = 0; i < test.inputs.size(); ++i) {
            const CaseInput& input = test.inputs[i];
            in[input.name] = graph_.input(input.name, input.shape, test.dtype(input, type), test.numbers(i));
            if (test.wants_gradient(input)) wanted.push_back(in[input.name]), differentiated_.push_back(i);
        }
        NamedValues given = in;  // build() may look for optional inputs and so add empty ones
        y_ = test.build(given);
        if (y_ && test.training) {
            dy_ = normal(numel(y_.shape()));
            const Value dy = graph_.input("dy", y_.shape(), y_.dtype(), dy_);
            keep_ = gradients(y_, dy, wanted);
            for (Value v : keep_) EXPECT_TRUE(v) << "an input has no gradient";
        }
        for (size_t i = 0; i < keep_.size(); ++i) names_.push_back("d" + test.inputs[differentiated_[i]].name);
        for (const std::string& name : test.changed) keep_.push_back(in[name]), names_.push_back(name);
        const Graph& graph = graph_.graph();
        for (size_t v = 0; v < graph.values.size(); ++v)
            if (graph.values[v].kind == ValueKind::temporary) {
                if (y_ && int(v) == y_.id) y_index_ = keep_.size();
                keep_.push_back({y_.graph, int(v)}), names_.push_back(graph.values[v].name);
            }
        graph_.plan(keep_);
    }

    std::vector<Floats> run() { return graph_.run(); }
    const std::string& name(size_t value) const { return names_[value]; }

    // Numbers that `type` can hold, where the input has the type under test.
    void round_inputs(DType type) {
        for (size_t i = 0; i < test_.inputs.size(); ++i)
            if (test_.inputs[i].type == CaseInput::same) round_to(type, graph_.numbers(i));
        if (!dy_.empty() && test_.has_types()) round_to(type, graph_.numbers(test_.inputs.size()));
    }

    void check_gradients() {
        if (!test_.training || !test_.no_gradient.empty()) return;
        const std::vector<Floats> at = run();
        for (size_t k = 0; k < differentiated_.size(); ++k) {
            Floats& numbers = graph_.numbers(differentiated_[k]);
            const Floats start = numbers, direction = normal(start.size());
            const double h = test_.step;
            const auto along = [&](double step) {  // sum(y * dy)
                for (size_t i = 0; i < start.size(); ++i) numbers[i] = float(start[i] + step * direction[i]);
                const Floats y = run()[y_index_];
                numbers = start;
                double sum = 0;
                for (size_t i = 0; i < y.size(); ++i) sum += double(y[i]) * dy_[i];
                return sum;
            };
            const double want = (along(h) - along(-h)) / (2 * h);
            double got = 0, size = 0;
            for (size_t i = 0; i < direction.size(); ++i) {
                got += double(at[k][i]) * direction[i];
                size += double(at[k][i]) * direction[i] * double(at[k][i]) * direction[i];
            }
            EXPECT_NEAR(got, want, test_.gradient_tolerance * std::max(2 * std::sqrt(size), 1.0)) << names_[k];
        }
    }

private:
    Floats normal(size_t n) {
        std::normal_distribution<float> distribution;
        Floats result(n);
        for (float& x : result) x = distribution(rng_);
        return result;
    }
    static void round_to(DType type, Floats& numbers) {
        for (float& x : numbers) x = type == DType::bf16 ? float(bf16(x)) : type == DType::f16 ? float(fp16(x)) : x;
    }

    const OpCase& test_;
    OpGraph graph_;
    std::mt19937 rng_;
    Value y_;
    Floats dy_;
    std::vector<size_t> differentiated_;
    std::vector<Value> keep_;
    std::vector<std::string> names_;
    size_t y_index_ = 0;
};

// `got` within the case's tolerance of `want`, plus what storing in `type` may add: half a unit of the last place on
// one side, or where both sides are stored twice that.
inline void compare(const OpCase& test, const CaseGraph& graph, const std::vector<Floats>& want,
                    const std::vector<Floats>& got, DType type, int stored = 1) {
    const double rounding = stored * (type == DType::bf16 ? 0x1p-8 : type == DType::f16 ? 0x1p-11 : 0);
    ASSERT_EQ(want.size(), got.size());
    for (size_t v = 0; v < want.size(); ++v) {
        double largest = 0.1;
        for (float x : want[v]) largest = std::max(largest, std::fabs(double(x)));
        ASSERT_EQ(want[v].size(), got[v].size());
        for (size_t i = 0; i < want[v].size(); ++i)
            ASSERT_NEAR(got[v][i], want[v][i],
                        test.tolerance * largest +
                            (test.chained ? 4 * rounding * largest : 1.01 * rounding * std::fabs(double(want[v][i]))) +
                            (type == DType::f16 ? 0x1p-25 : 0))
                << graph.name(v) << ", element " << i << " of " << want[v].size();
    }
}

inline void check_op(const OpCase& test, Device& cpu, std::span<const std::unique_ptr<Device>> devices) {
    SCOPED_TRACE(test.name);
    CaseGraph(cpu, test, DType::f32).check_gradients();
    for (const DType type : {DType::f32, DType::bf16, DType::f16}) {
        if (type != DType::f32 && !test.has_types()) continue;
        SCOPED_TRACE(to_string(type));
        CaseGraph on_cpu(cpu, test, DType::f32);
        on_cpu.round_inputs(type);
        const std::vector<Floats> want = on_cpu.run();
        for (const auto& device : devices) {
            SCOPED_TRACE(device->kind());
            CaseGraph graph(*device, test, type);
            graph.round_inputs(type);
            std::vector<Floats> first;
            simt::for_each_schedule(3, [&] {
                auto result = graph.run();
                if (first.empty())
                    first = std::move(result);
                else
                    EXPECT_EQ(first, result) << "the result depends on the order of the threads";
            });
            compare(test, on_cpu, want, first, type);
            if (testing::Test::HasFatalFailure()) return;
        }
    }
}
