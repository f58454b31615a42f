// Every operation of a training step and of inference of ResNet-50, and of inference of YOLOv5x6, one by one.
//
//   kernels [--batch 8] [--size 224] [--pixels 960x1280] [--threads 2] [--direct] [Google Benchmark's options:
//   --benchmark_filter=,
//           --benchmark_out=FILE, ...]
//
// The rows are the distinct nodes of the graphs that the engine traces (train, infer: ResNet-50 of that batch and size;
// yolov5x6: one image of --pixels), on every device of this build. Before a row is timed its results are compared
// with another implementation on the same numbers: convolutions with the direct kernels of the device, everything else
// with the CUDA kernels executed on the CPU (cpu) or with the CPU's loops (cuda). A row uses as many copies of its
// tensors in turn as exceed 128 MB, so that nothing stays in a cache. Counters: GB/s and GFLOP/s from the operation's
// own counts, and `peak%`: the floor of the row, max(bytes / copy peak, flops / FMA peak), in percent of the time
// taken. Peaks are measured when the program starts. --direct: the hand-written direct convolutions as rows of their
// own beside the library's; on a CPU they take minutes.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <set>

#include "bench/paper_device.h"
#include "bench/peaks.h"
#include "bench/workload.h"
#include "engine/op.h"
#include "engine/ops.h"
#include "engine/program.h"
#include "kernels/batch_norm.h"
#include "kernels/conv/conv.h"
#include "kernels/conv/cpu.h"
#include "kernels/conv/onednn.h"
#include "kernels/conv/winograd.h"

namespace {

constexpr size_t kRotated = size_t(128) << 20;

// A convolution of one kind by compute_direct(): the reference of the fast ones, and on a GPU a row of its own. With
// `library`, on the CPU by oneDNN: a row beside Winograd's method.
struct DirectConv final : Op {
    enum class Kind { forward, backward_data, backward_weight } kind;
    ConvShape shape;
    Activation activation;
    bool residual_last;
    bool library = false, constant = false;
    DirectConv(Kind kind, const ConvShape& shape, Activation activation, bool residual_last)
        : kind(kind), shape(shape), activation(activation), residual_last(residual_last) {}
    std::string_view name() const override {
        constexpr std::string_view names[] = {"conv_direct", "conv_backward_data_direct",
                                              "conv_backward_weight_direct"};
        return names[size_t(kind)];
    }
    double flops() const override { return shape.flops(); }
    void run(const Cpu& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { library ? onednn::convolve(d, op) : compute_direct(d, op); });
    }
    void run(const Simt& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { compute_direct(d, op); });
    }
#ifdef TUNDRA_HAS_CUDA
    void run(const Cuda& d, Tensors in, Tensors out) const override {
        call(in, out, [&](const auto& op) { compute_direct(d, op); });
    }
#endif

private:
    template <class Run>
    void call(Tensors in, Tensors out, const Run& run) const {
        const auto a = in[0].as<float>(), b = in[1].as<float>();
        float* const result = out[0].as<float>();
        switch (kind) {
            case Kind::forward:
                return run(ConvForward<float>{.shape = shape,
                                              .activation = activation,
                                              .residual_last = residual_last,
                                              .x = a,
                                              .weight = b,
                                              .bias = in.size() > 2 ? in[2].as<float>() : nullptr,
                                              .residual = in.size() > 3 ? in[3].as<float>() : nullptr,
                                              .y = result,
                                              .weight_is_constant = constant});
            case Kind::backward_data: return run(ConvBackwardData<float>{shape, a, b, result});
            case Kind::backward_weight: return run(ConvBackwardWeight<float>{shape, a, b, result});
        }
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
    std::vector<Slot> in;                     // an empty name: an absent optional operand
    std::vector<Graph::Output> out;
    std::string name;

    size_t bytes() const {
        size_t sum = 0;
        for (const Slot& s : in) sum += s.name.empty() ? 0 : count(s.shape) * size_of(s.dtype);
        for (const Graph::Output& o : out) sum += count(o.shape) * size_of(o.dtype);
        return sum;
    }
};

// `copies` times the operation of a row, each with its own operands, filled with the same random numbers.
class Fixture {
public:
    Fixture(Device& device, const Row& row, std::shared_ptr<const Op> op, size_t copies) : arena_(device) {
        auto graph = std::make_unique<Graph>();
        for (size_t i = 0; i < copies; ++i) {
            std::vector<Value> in;
            for (const Slot& s : row.in)
                in.push_back(s.name.empty() ? Value{} : graph->input(s.name, s.shape, s.dtype));
            const std::vector<Value> out = graph->add_node(op, in, row.out);
            keep_.insert(keep_.end(), out.begin(), out.end());
            if (i == 0) in_ = in, out_ = out;
            all_in_.insert(all_in_.end(), in.begin(), in.end());
        }
        parameters_ = std::make_unique<Parameters>(device, *graph);
        program_ = std::make_unique<Program>(arena_, std::move(graph), *parameters_, keep_);
        for (size_t i = 0; i < all_in_.size(); ++i)
            if (all_in_[i]) fill(row, i % row.in.size(), all_in_[i]);
        drop_packed_weights();  // packed copies are found by address, and memory was zeros or another bed's until
                                // now
    }
    Fixture(const Fixture&) = delete;
    ~Fixture() { drop_packed_weights(); }

    void run(size_t i) { program_->run_step(i % program_->steps().size()); }
    const Step& step() { return program_->steps()[0]; }

    // The float results of the first copy; of an operation without outputs, what it did to its operands.
    std::vector<std::vector<float>> results() {
        std::vector<std::vector<float>> all;
        for (Value v : out_.empty() ? in_ : out_)
            if (v && v.dtype() == DType::f32) all.push_back(program_->read<float>(v));
        return all;
    }

private:
    static std::vector<float> floats(const Row& row, size_t operand) {
        std::mt19937 random(unsigned(operand) + 1);
        std::vector<float> values(count(row.in[operand].shape));
        std::uniform_real_distribution<float> uniform(-1, 1);
        for (float& x : values) x = uniform(random);
        return values;
    }

    // What batch norm gave forward: the gradient of relu may look at it, or compute it again from x.
    static std::vector<float> normalised(const Row& row) {
        std::vector<float> y = floats(row, 0);
        const auto scale = floats(row, 4), shift = floats(row, 5), mean = floats(row, 6), rstd = floats(row, 7);
        for (size_t i = 0, channels = scale.size(); i < y.size(); ++i) {
            const size_t c = i % channels;
            y[i] = std::max(0.0f, scale[c] * rstd[c] * (y[i] - mean[c]) + shift[c]);
        }
        return y;
    }

    // Some hundred of the boxes are above the threshold, as on an image with animals.
    static std::vector<float> boxes(const Shape& shape) {
        std::mt19937 random(1);
        std::uniform_real_distribution<float> uniform(0, 1);
        std::vector<float> values(count(shape));
        const size_t columns = shape.back();
        for (size_t i = 0; i < values.size(); ++i) {
            const size_t column = i % columns;
            values[i] = column < 2 ? 1000 * uniform(random) : column < 4 ? 20 + 100 * uniform(random) : uniform(random);
            if (column == 4 && i / columns % 256 != 0) values[i] *= 0.1f;
        }
        return values;
    }

    void fill(const Row& row, size_t operand, Value v) {
        const Slot& slot = row.in[operand];
        std::mt19937 random(unsigned(operand) + 1);
        const size_t n = count(slot.shape);
        if (slot.dtype == DType::f32) {
            std::vector<float> values = floats(row, operand);
            if (row.op->name() == "batch_norm_backward" && operand == 1) values = normalised(row);
            if (row.op->name() == "select_boxes") values = boxes(slot.shape);
            if (slot.name == "step state") values = {0.01f, 0.9f, 0.1f, 0.1f, 1, 0, 0, 0};
            if (slot.name == "transform")
                for (size_t i = 0; i < n; ++i) values[i] = i % 6 == 0 || i % 6 == 4;
            program_->write<float>(v, values);
        } else if (slot.dtype == DType::i32) {
            std::vector<int32_t> values(n);
            for (int32_t& x : values) x = int32_t(random() % 10);
            program_->write<int32_t>(v, values);
        } else {
            std::vector<uint8_t> values(n);
            for (uint8_t& x : values) x = uint8_t(random() % 9);  // also a tap of a 3x3 window
            program_->write<uint8_t>(v, values);
        }
    }

    Arena arena_;
    std::vector<Value> in_, out_, all_in_, keep_;
    std::unique_ptr<Parameters> parameters_;
    std::unique_ptr<Program> program_;
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

void time_row(benchmark::StateDict& state, Device& device, Device& other, const Row& row, const Peaks& peaks) {
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

// What stands behind a convolution of inference; a wrong guess would fail the comparison. ResNet: relu after the
// addition, nothing where the result is only what another convolution adds. YOLOv5: silu before the addition, nothing
// in the heads.
Activation activation_of(const Graph& graph, const Node& node, bool yolo) {
    if (graph.training) return Activation::none;
    if (yolo) return graph.values[size_t(node.out[0])].shape.back() == 24 ? Activation::none : Activation::silu;
    bool read = false, added = false;
    for (const Node& other : graph.nodes) {
        const bool is_conv = other.op->name() == "conv";
        read |= other.in[0] == node.out[0];
        added |= is_conv && other.in[3] == node.out[0];
    }
    if (added && !read) return Activation::none;
    return Activation::relu;
}

// The row of a node of a traced graph.
Row row_of(const Graph& graph, const Node& node, const std::string& where) {
    const bool yolo = where == "yolov5x6";
    Row row{node.op, {}, {}, {}, where + "/" + std::string(node.op->name())};
    const auto info = [&](int id) -> const ValueInfo& { return graph.values[size_t(id)]; };
    for (int id : node.in) {
        row.in.push_back(
            id < 0 ? Slot{} : Slot{info(id).name.empty() ? "value" : info(id).name, info(id).shape, info(id).dtype});
        row.name += id < 0 ? "/-" : "/" + fmt::format("{}", fmt::join(info(id).shape, "x"));
    }
    for (int id : node.out) row.out.push_back({info(id).shape, info(id).dtype});
    using Kind = DirectConv::Kind;
    const Activation activation = node.op->name() == "conv" ? activation_of(graph, node, yolo) : Activation::none;
    const auto direct = [&](Kind kind, int x, int weight, int y) {
        row.reference = std::make_shared<DirectConv>(kind, conv_shape(info(x).shape, info(weight).shape, info(y).shape),
                                                     activation, yolo);
    };
    if (node.op->name() == "conv") direct(Kind::forward, node.in[0], node.in[1], node.out[0]);
    if (node.op->name() == "conv_backward_data") direct(Kind::backward_data, node.out[0], node.in[1], node.in[0]);
    if (node.op->name() == "conv_backward_weight") direct(Kind::backward_weight, node.in[0], node.out[0], node.in[1]);
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

std::vector<Row> all_rows(const WorkloadOptions& resnet, const WorkloadOptions& yolo) {
    std::vector<Row> rows;
    std::set<std::string> seen;
    PaperDevice paper("cpu");
    const auto take = [&](const WorkloadOptions& options, const std::string& where) {
        const auto work = open_workload(paper, options);
        const Graph& graph = work->program().graph();
        for (const Node& node : graph.nodes)
            if (Row row = row_of(graph, node, where); seen.insert(row.name).second) rows.push_back(std::move(row));
    };
    WorkloadOptions training = resnet;
    training.training = true;
    take(training, "train");
    take(resnet, "infer");
    take(yolo, "yolov5x6");
    return rows;
}

}  // namespace

int main(int argc, char** argv) {
    WorkloadOptions resnet, yolo{.model = "yolov5x6", .batch = 1, .h = 960, .w = 1280};
    int threads = 2;
    bool direct = false;
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
    const std::vector<Row> rows = all_rows(resnet, yolo);
    std::vector<Row> by_hand;
    if (direct)
        for (const Row& row : rows)
            if (row.reference) by_hand.push_back({row.reference, row.op, row.in, row.out, "direct/" + row.name});
    const auto cpu = open_device("cpu", {.threads = threads}), simt = open_device("simt");
    std::unique_ptr<Device> cuda;
    const auto add = [](Device& device, Device& other, const Row& row, const Peaks& device_peaks) {
        benchmark::RegisterBenchmark(
            fmt::format("{}/{}", device.kind(), row.name).c_str(),
            [&, device_peaks](benchmark::StateDict& state) { time_row(state, device, other, row, device_peaks); })
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
#ifdef TUNDRA_HAS_CUDA
    try {
        cuda = open_device("cuda");
    } catch (const Error& e) {
        fmt::print(stderr, "no rows for cuda: {}\n", e.what());
    }
    if (cuda) {
        for (const Row& row : rows) add(*cuda, *cpu, row, {});
        for (const Row& row : by_hand) add(*cuda, *cpu, row, {});
    }
#endif
    benchmark::RunSpecifiedBenchmarks();
}
