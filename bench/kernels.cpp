// Every operation of a training step and of inference of ResNet-50, and of inference of YOLOv5x6, one by one.
//
//   kernels [--batch 8] [--size 224] [--pixels 960x1280] [--threads 2] [--direct] [--cases]
//           [options of Google Benchmark: --benchmark_filter=..., --benchmark_out=FILE, ...]
//
// The rows are the distinct nodes of the graphs that the engine traces (train, infer: ResNet-50 of that batch and size;
// yolov5x6: one image of --pixels), on every device of this build. Before a row is timed its results are compared with
// another implementation on the same numbers: convolutions with the direct kernels of the device, everything else with
// the CUDA kernels executed on the CPU (cpu) or with the CPU's loops (cuda). A row uses as many copies of its tensors
// in turn as exceed 128 MB, so that nothing stays in a cache. Counters: GB/s and GFLOP/s from the operation's own
// counts, and `peak%`: the floor of the row, max(bytes / copy peak, flops / FMA peak), in percent of the time taken.
// Peaks are measured when the program starts. --direct: the hand-written direct convolutions as rows of their own
// beside the library's; on a CPU they take minutes. --cases: the operations of bench/op_cases.h too.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <set>

#include "bench/op_cases.h"
#include "bench/peaks.h"
#include "bench/workload.h"
#include "engine/meta_device.h"
#include "engine/op.h"
#include "kernels/batch_norm.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/onednn.h"
#include "kernels/conv/winograd.h"

namespace {

constexpr size_t kRotated = size_t(128) << 20;

// A convolution by compute_direct(): the reference of the fast ones, and on a GPU a row of its own. With `library`, on
// the CPU by oneDNN: a row beside Winograd's method. `original` is the operation that it stands for.
struct DirectConv final : Op {
    std::shared_ptr<const Op> original;
    ConvShape shape;
    Activation activation;
    bool residual_last;
    bool library = false, constant = false;
    DirectConv(std::shared_ptr<const Op> original, const ConvShape& shape, Activation activation, bool residual_last)
        : original(std::move(original)), shape(shape), activation(activation), residual_last(residual_last) {}
    std::string_view name() const override { return "conv_direct"; }
    Operands operands() const override { return original->operands(); }
    double flops() const override { return shape.flops(); }
    void run(const Cpu& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { library ? onednn::convolve(d, op) : compute_direct(d, op); });
    }
    void run(const Simt& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { compute_direct(d, op); });
    }
    void run([[maybe_unused]] const Cuda& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) {
            if constexpr (has_cuda) compute_direct(d, op);
        });
    }

private:
    void call(Tensors in, Tensors out, const auto& run) const {
        const Step step{original, {in.begin(), in.end()}, {out.begin(), out.end()}};
        const auto at = [&](const char* name) { return step[name].as<float>(); };
        if (original->name() == "conv")
            run(ConvForward<float>{.shape = shape,
                                   .activation = activation,
                                   .residual_last = residual_last,
                                   .x = at("x"),
                                   .weight = at("weight"),
                                   .bias = at("bias"),
                                   .residual = at("residual"),
                                   .y = at("y"),
                                   .weight_is_constant = constant});
        else if (original->name() == "conv_backward_data")
            run(ConvBackwardData<float>{.shape = shape, .dy = at("dy"), .weight = at("weight"), .dx = at("dx")});
        else
            run(ConvBackwardWeight<float>{.shape = shape, .x = at("x"), .dy = at("dy"), .dweight = at("dweight")});
    }
};

struct Slot {  // one operand of a row
    std::string name;
    Shape shape;
    DType dtype;
};

// One operation with its operands' shapes: what a row of the table times.
struct Row {
    std::shared_ptr<const Op> op, reference;  // reference: same operands; null where another device is the reference
    std::vector<Slot> in;                     // without those that are absent
    std::vector<OutputSpec> out;
    std::string name;

    size_t bytes() const {
        size_t sum = 0;
        for (const Slot& s : in) sum += numel(s.shape) * size_of(s.dtype);
        for (const OutputSpec& o : out) sum += numel(o.shape) * size_of(o.dtype);
        return sum;
    }
};

// Numbers for the operand of that name, the same on every device.
Floats numbers_for(const Row& row, std::string_view name) {
    const size_t i = size_t(std::ranges::find(row.in, name, &Slot::name) - row.in.begin());
    const Slot& slot = row.in[i];
    std::mt19937 random(unsigned(i) + 1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    Floats values(numel(slot.shape));
    if (slot.dtype == DType::f32)
        for (float& x : values) x = uniform(random);
    else  // a class; a pixel, or a tap of a 3x3 window
        for (float& x : values) x = float(random() % (slot.dtype == DType::i32 ? 10 : 9));

    if (row.op->name() == "select_boxes") {  // some hundred of the boxes are above the threshold
        for (size_t k = 0; k < values.size(); ++k) {
            const size_t column = k % slot.shape.back();
            const float x = (values[k] + 1) / 2;
            values[k] = column < 2 ? 1000 * x : column < 4 ? 20 + 100 * x : x;
            if (column == 4 && k / slot.shape.back() % 256 != 0) values[k] *= 0.1f;
        }
    }
    if (name == "state") values = {0.01f, 0.9f, 0.1f, 0.1f, 1, 0, 0, 0};
    if (name == "transform")
        for (size_t k = 0; k < values.size(); ++k) values[k] = k % 6 == 0 || k % 6 == 4;
    return values;
}

// `copies` times the operation of a row, each with its own operands, filled with the same numbers.
class Fixture {
public:
    Fixture(Device& device, const Row& row, const std::shared_ptr<const Op>& op, size_t copies)
        : graph_(device, DType::f32, false) {
        std::vector<Value> keep;
        for (size_t i = 0; i < copies; ++i) {
            NamedValues in;
            for (const Slot& s : row.in) in[s.name] = graph_.input(s.name, s.shape, s.dtype, numbers_for(row, s.name));
            const NamedValues out = add_node(op, in, row.out);
            for (const auto& [name, v] : out) keep.push_back(v);
            if (i > 0) continue;
            for (const auto& [name, v] : out.empty() ? in : out)
                if (v.dtype() == DType::f32) results_.push_back(v);
        }
        graph_.plan(keep);
        graph_.write_inputs();
    }
    Fixture(const Fixture&) = delete;

    void run(size_t i) { graph_.program().run_step(i % graph_.program().steps().size()); }
    const Step& step() { return graph_.program().steps()[0]; }

    // The float results of the first copy; of an operation without outputs, what it did to its operands.
    std::vector<Floats> results() {
        std::vector<Floats> all;
        for (Value v : results_) all.push_back(graph_.read(v));
        return all;
    }

private:
    OpGraph graph_;
    std::vector<Value> results_;
};

// Empty when the row's results agree with the reference's: within 1e-4 of the largest number, a sum of 100,000
// products.
std::string difference(Device& device, Device& other, const Row& row) {
    Fixture timed(device, row, row.op, 1),
        reference(row.reference ? device : other, row, row.reference ? row.reference : row.op, 1);
    timed.run(0);
    reference.run(0);
    const auto got = timed.results(), want = reference.results();
    for (size_t i = 0; i < got.size(); ++i) {
        double largest = 0, worst = 0;
        for (float x : want[i]) largest = std::max(largest, std::fabs(double(x)));
        for (size_t j = 0; j < got[i].size(); ++j)
            worst = std::max(worst, std::fabs(double(got[i][j]) - double(want[i][j])));
        if (!(worst <= 1e-4 * largest + 1e-6))
            return fmt::format("result {} is off by {:.2g} of {:.2g}", i, worst, largest);
    }
    return {};
}

void time_row(benchmark::State& state, Device& device, Device& other, const Row& row, const Peaks& peaks) {
    static std::map<const Row*, std::string> checked;
    if (!checked.contains(&row)) checked[&row] = difference(device, other, row);
    if (!checked[&row].empty()) return state.SkipWithError(checked[&row].c_str());
    Fixture bed(device, row, row.op, std::clamp<size_t>(kRotated / row.bytes(), 1, 16));
    const Step& step = bed.step();
    const double bytes = step.op->bytes(step.in, step.out), flops = step.op->flops();
    for (size_t i = 0; i < 16; ++i) bed.run(i);
    size_t i = 0;
    for (auto _ : state) bed.run(i++);
    const auto rate = [](double v) { return benchmark::Counter(v, benchmark::Counter::kIsIterationInvariantRate); };
    state.counters["GB/s"] = rate(bytes * 1e-9);
    if (flops > 0) state.counters["GFLOP/s"] = rate(flops * 1e-9);
    if (peaks.flops_per_second > 0)
        state.counters["peak%"] = rate(100 * std::max(bytes / peaks.bytes_per_second, flops / peaks.flops_per_second));
}

ConvShape conv_shape(const Shape& x, const Shape& weight, const Shape& y) {
    ConvShape s{x[0], x[1], x[2], x[3], weight[0], weight[1], weight[2]};
    s.stride = (x[1] + y[1] - 1) / y[1];
    while (s.h + 2 * s.padding < s.kernel_h || s.out_h() < y[1]) ++s.padding;
    return s;
}

// What a convolution of inference computes besides; a wrong guess would fail the comparison. ResNet: relu after the
// addition, nothing where another convolution only adds the result. YOLOv5: silu before the addition, nothing in the
// heads.
Activation activation_of(const Graph& graph, const Node& node, bool yolo) {
    if (graph.training) return Activation::none;
    if (yolo) return graph.values[size_t(node["y"])].shape.back() == 24 ? Activation::none : Activation::silu;
    bool read = false, added = false;
    for (const Node& other : graph.nodes) {
        read |= other.in[0] == node["y"];
        added |= other.op->name() == "conv" && other["residual"] == node["y"];
    }
    return added && !read ? Activation::none : Activation::relu;
}

// The row of a node of a traced graph.
Row row_of(const Graph& graph, const Node& node, const std::string& where) {
    const bool yolo = where == "yolov5x6";
    const std::string_view name = node.op->name();
    const Operands operands = node.op->operands();
    Row row{node.op, {}, {}, {}, where + "/" + std::string(name)};
    const auto info = [&](int id) -> const ValueInfo& { return graph.values[size_t(id)]; };
    for (size_t i = 0; i < node.in.size(); ++i) {
        const int id = node.in[i];
        if (id >= 0) row.in.push_back({operands.in[i].name, info(id).shape, info(id).dtype});
        row.name += id < 0 ? "/-" : "/" + fmt::format("{}", fmt::join(info(id).shape, "x"));
    }
    for (size_t i = 0; i < node.out.size(); ++i)
        if (const int id = node.out[i]; id >= 0)
            row.out.emplace_back(operands.out[i].name, info(id).shape, info(id).dtype);
    const Activation activation = name == "conv" ? activation_of(graph, node, yolo) : Activation::none;
    const auto direct = [&](const char* x, const char* weight, const char* y) {
        row.reference = std::make_shared<DirectConv>(
            node.op, conv_shape(info(node[x]).shape, info(node[weight]).shape, info(node[y]).shape), activation, yolo);
    };
    if (name == "conv") direct("x", "weight", "y");
    if (name == "conv_backward_data") direct("dx", "weight", "dy");
    if (name == "conv_backward_weight") direct("x", "dweight", "dy");
    if (activation == Activation::relu) row.name += "/relu";
    if (activation == Activation::silu) row.name += "/silu";
    return row;
}

// Of the convolutions that may go by Winograd's method, oneDNN's. Each is checked against the other.
std::vector<Row> library_rows(const std::vector<Row>& rows) {
    std::vector<Row> all;
    for (const Row& row : rows) {
        const auto* direct = dynamic_cast<const DirectConv*>(row.reference.get());
        if (!direct || !winograd_supports(direct->shape)) continue;
        auto op = std::make_shared<DirectConv>(*direct);
        op->library = true;
        op->constant = !row.name.starts_with("train");
        all.push_back({op, row.op, row.in, row.out, "onednn/" + row.name});
    }
    return all;
}

std::vector<Row> all_rows(const WorkloadOptions& resnet, const WorkloadOptions& yolo, bool cases) {
    std::vector<Row> rows;
    std::set<std::string> seen;
    const auto take = [&](const Graph& graph, const std::string& where) {
        for (const Node& node : graph.nodes)
            if (Row row = row_of(graph, node, where); seen.insert(row.name).second) rows.push_back(std::move(row));
    };
    MetaDevice meta(*open_device("cpu"));
    WorkloadOptions training = resnet;
    training.training = true;
    take(open_workload(meta, training)->program().graph(), "train");
    take(open_workload(meta, resnet)->program().graph(), "infer");
    take(open_workload(meta, yolo)->program().graph(), "yolov5x6");
    if (cases)
        for (const OpCase& test : op_cases()) {
            if (!test.training) continue;  // their options are not in the shapes
            OpGraph traced(meta);
            std::vector<Value> wanted;
            NamedValues in;
            for (size_t i = 0; i < test.inputs.size(); ++i) {
                const CaseInput& input = test.inputs[i];
                in[input.name] = traced.input(input.name, input.shape, test.dtype(input, DType::f32), {});
                if (test.wants_gradient(input)) wanted.push_back(in[input.name]);
            }
            const Value y = test.build(in);
            gradients(y, traced.input("dy", y.shape(), DType::f32, {}), wanted);
            take(traced.graph(), "cases");
        }
    return rows;
}

}  // namespace

int main(int argc, char** argv) {
    WorkloadOptions resnet, yolo{.model = "yolov5x6", .batch = 1, .h = 960, .w = 1280};
    int threads = 2;
    bool direct = false, cases = false;
    std::vector<char*> rest = {argv[0]};
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        const auto number = [&] { return i + 1 < argc ? std::strtoul(argv[++i], nullptr, 10) : 0; };
        if (option == "--batch")
            resnet.batch = number();
        else if (option == "--size")
            resnet.h = resnet.w = number();
        else if (option == "--pixels" && i + 1 < argc)
            parse_pixels(argv[++i], yolo);
        else if (option == "--direct")
            direct = true;
        else if (option == "--cases")
            cases = true;
        else if (option == "--threads")
            threads = int(number());
        else
            rest.push_back(argv[i]);
    }
    int left = int(rest.size());
    benchmark::Initialize(&left, rest.data());
    if (benchmark::ReportUnrecognizedArguments(left, rest.data())) return 2;

    const Peaks peaks = measure_cpu_peaks(threads);
    benchmark::AddCustomContext("cpu_copy_GB_per_s", fmt::format("{:.1f}", peaks.bytes_per_second * 1e-9));
    benchmark::AddCustomContext("cpu_FMA_GFLOP_per_s", fmt::format("{:.1f}", peaks.flops_per_second * 1e-9));
    const std::vector<Row> rows = all_rows(resnet, yolo, cases);
    std::vector<Row> by_hand;
    if (direct)
        for (const Row& row : rows)
            if (row.reference) by_hand.push_back({row.reference, row.op, row.in, row.out, "direct/" + row.name});
    const auto cpu = open_device("cpu", {.threads = threads}), simt = open_device("simt");
    std::unique_ptr<Device> cuda;
    const auto add = [](Device& device, Device& other, const Row& row, const Peaks& device_peaks) {
        benchmark::RegisterBenchmark(
            fmt::format("{}/{}", device.kind(), row.name).c_str(),
            [&, device_peaks](benchmark::State& state) { time_row(state, device, other, row, device_peaks); })
            ->UseRealTime()
            ->MinTime(0.05)
            ->Repetitions(5)
            ->ReportAggregatesOnly()
            ->Unit(benchmark::kMillisecond);
    };
    for (const Row& row : rows) add(*cpu, *simt, row, peaks);
    for (const Row& row : by_hand) add(*cpu, *simt, row, peaks);
    const std::vector<Row> by_library = library_rows(rows);
    for (const Row& row : by_library) add(*cpu, *simt, row, peaks);
    if (has_cuda) try {
            cuda = open_device("cuda");
            for (const Row& row : rows) add(*cuda, *cpu, row, {});
            for (const Row& row : by_hand) add(*cuda, *cpu, row, {});
        } catch (const Error& e) {
            fmt::print(stderr, "no rows for cuda: {}\n", e.what());
        }
    benchmark::RunSpecifiedBenchmarks();
}
