// Every operation of a training step and of inference of ResNet-50, and of inference of YOLOv5x6, one by one.
//
//   kernels [--device cpu|cuda|ptx|all] [--precision fp32|bf16|fp16] [--batch 8] [--size 224] [--pixels 960x1280]
//           [--yolo yolov5x6] [--threads 2] [--direct] [--cases] [--plans]
//           [options of Google Benchmark: --benchmark_filter=..., --benchmark_out=FILE, ...]
//
// The rows are the distinct nodes of the graphs that the engine traces (train, infer: ResNet-50 of that batch and size;
// yolov5x6: one image of --pixels), on cpu and, where there is a GPU, cuda. --precision: of the networks on cuda and
// ptx; cpu knows float32 only. Before a row is timed its results are compared with another implementation on the same
// numbers: convolutions with the direct kernels of the device, everything else with the CUDA kernels executed on the
// CPU (cpu) or with the CPU's loops in float32 (cuda, ptx). A row uses as many copies of its tensors in turn as exceed
// 128 MB, so that nothing stays in a cache. On cuda at least 20 launches lie between two events, in one recorded graph.
// Counters: GB/s and GFLOP/s from the operation's own counts, and `peak%`: the floor of the row, max(bytes / copy peak,
// flops / peak of arithmetic), in percent of the time taken. Peaks are measured when the program starts: on a CPU
// memcpy and fused multiply-adds, on a GPU a copy within it and cuBLASLt's product of large matrices in that precision.
// --direct: the hand-written direct convolutions as rows of their own beside the library's; on a CPU they take minutes.
// --cases: the operations of bench/op_cases.h too. Rows that begin with cuda/cudnn/: cuDNN's own batch normalization
// and pooling of those shapes, without activation and residual; errors where it has none. --plans: rows cuda/plans/
// with each engine that cuDNN proposes for a convolution; the row of the convolution itself has the one that Tundra
// chose.
#include <benchmark/benchmark.h>

#include <cmath>
#include <random>
#include <set>

#include "bench/device_time.h"
#include "bench/device_time_cuda.h"
#include "bench/direct_conv.h"
#include "bench/kernel_row.h"
#include "bench/op_cases.h"
#include "bench/workload.h"
#include "engine/meta_device.h"
#include "kernels/conv/winograd.h"

namespace {

constexpr size_t kRotated = size_t(128) << 20;

// Numbers for the operand of that name, the same on every device.
Floats numbers_for(const Row& row, std::string_view name) {
    const size_t i = size_t(std::ranges::find(row.in, name, &Slot::name) - row.in.begin());
    const Slot& slot = row.in[i];
    std::mt19937 random(unsigned(i) + 1);
    std::uniform_real_distribution<float> uniform(-1, 1);
    Floats values(numel(slot.shape));
    if (is_float(slot.dtype))
        for (float& x : values) {
            x = uniform(random);
            x = slot.dtype == DType::bf16 ? float(bf16(x)) : slot.dtype == DType::f16 ? float(fp16(x)) : x;
        }
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

// `copies` times the operation of a row, each with its own operands, filled with the same numbers. `widened`: in
// float32 whatever the row's type.
class Fixture {
public:
    Fixture(Device& device, const Row& row, const std::shared_ptr<const Op>& op, size_t copies, bool widened = false)
        : graph_(device, DType::f32, false) {
        const auto type = [&](DType of_row) { return widened && is_float(of_row) ? DType::f32 : of_row; };
        std::vector<OutputSpec> specs = row.out;
        for (OutputSpec& o : specs) o.dtype = type(o.dtype);
        std::vector<Value> keep;
        for (size_t i = 0; i < copies; ++i) {
            NamedValues in;
            for (const Slot& s : row.in)
                in[s.name] = graph_.input(s.name, s.shape, type(s.dtype), numbers_for(row, s.name));
            const NamedValues out = add_node(op, in, specs);
            for (const auto& [name, v] : out) keep.push_back(v);
            if (i > 0) continue;
            for (const auto& [name, v] : out.empty() ? in : out)
                if (is_float(v.dtype())) results_.push_back(v);
        }
        graph_.plan(keep);
        graph_.write_inputs();
    }
    Fixture(const Fixture&) = delete;

    void run(size_t i) { graph_.program().run_step(i % graph_.program().steps().size()); }
    std::span<const Step> steps() { return graph_.program().steps(); }
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
// products, and in 16 bits within the last place of the largest number.
std::string difference(Device& device, Device& other, const Row& row) {
    Fixture timed(device, row, row.op, 1),
        reference(row.reference ? device : other, row, row.reference ? row.reference : row.op, 1, !row.reference);
    const auto rounding = [&](DType type) {
        return std::ranges::any_of(row.in, [&](const Slot& s) { return s.dtype == type; }) ||
               std::ranges::any_of(row.out, [&](const OutputSpec& o) { return o.dtype == type; });
    };
    const double tolerance = 1e-4 + (rounding(DType::bf16) ? 0x1p-7 : rounding(DType::f16) ? 0x1p-10 : 0);
    timed.run(0);
    reference.run(0);
    const auto got = timed.results(), want = reference.results();
    for (size_t i = 0; i < got.size(); ++i) {
        double largest = 0, worst = 0;
        for (float x : want[i]) largest = std::max(largest, std::fabs(double(x)));
        for (size_t j = 0; j < got[i].size(); ++j)
            worst = std::max(worst, std::fabs(double(got[i][j]) - double(want[i][j])));
        if (!(worst <= tolerance * largest + 1e-6))
            return fmt::format("result {} is off by {:.2g} of {:.2g}", i, worst, largest);
    }
    return {};
}

void time_row(benchmark::State& state, Device& device, Device& other, const Row& row, const Peaks& peaks) {
    static std::map<const Row*, std::string> checked;
    if (!checked.contains(&row)) checked[&row] = difference(device, other, row);
    if (!checked[&row].empty()) return state.SkipWithError(checked[&row].c_str());
    Fixture bed(device, row, row.op,
                device.kind() == "cpu" || on_silicon(device) ? std::clamp<size_t>(kRotated / row.bytes(), 1, 16) : 1);
    const Step& step = bed.step();
    const double bytes = step.op->bytes(step.in, step.out), flops = step.op->flops();
    for (size_t i = 0; i < 16 && device.kind() == "cpu"; ++i) bed.run(i);
    size_t i = 0;
    if (device.kind() == "cpu") {
        for (auto _ : state) bed.run(i++);
    } else {
        const size_t launches = on_silicon(device) ? 20 : 1;
        std::vector<Step> steps;
        while (steps.size() < launches) steps.insert(steps.end(), bed.steps().begin(), bed.steps().end());
        for (auto _ : state) state.SetIterationTime(seconds_of(device, steps) / double(steps.size()));
    }
    const auto rate = [](double v) { return benchmark::Counter(v, benchmark::Counter::kIsIterationInvariantRate); };
    state.counters["GB/s"] = rate(bytes * 1e-9);
    if (flops > 0) state.counters["GFLOP/s"] = rate(flops * 1e-9);
    if (peaks.flops_per_second > 0)
        state.counters["peak%"] = rate(100 * std::max(bytes / peaks.bytes_per_second, flops / peaks.flops_per_second));
}

// The row of a node of a traced graph.
Row row_of(const Graph& graph, const Node& node, const std::string& where) {
    const bool yolo = where.starts_with("yolo");
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

std::vector<Row> all_rows(const WorkloadOptions& resnet, const WorkloadOptions& yolo, bool cases,
                          const DeviceFacts& facts) {
    std::vector<Row> rows;
    std::set<std::string> seen;
    const auto take = [&](const Graph& graph, const std::string& where, bool convolutions = true) {
        for (const Node& node : graph.nodes) {
            if (!convolutions && node.op->name() == "conv") continue;
            if (Row row = row_of(graph, node, where); seen.insert(row.name).second) rows.push_back(std::move(row));
        }
    };
    MetaDevice meta(facts);
    WorkloadOptions training = resnet;
    training.training = true;
    take(open_workload(meta, training)->program().graph(), "train");
    take(open_workload(meta, resnet)->program().graph(), "infer");
    take(open_workload(meta, yolo)->program().graph(), yolo.model);
    // Shapes do not tell the activations of these networks' convolutions, which are of the kinds that YOLOv5 has.
    const auto add = [&](WorkloadOptions o) { take(open_workload(meta, o)->program().graph(), o.model, false); };
    add({.model = "yolo11s", .batch = yolo.batch, .h = 736, .w = 960});
    add({.model = "yolov9c", .batch = yolo.batch, .h = 480, .w = 640});
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

struct Options {
    WorkloadOptions resnet, yolo{.model = "yolov5x6", .batch = 1, .h = 960, .w = 1280};
    int threads = 2;
    bool direct = false, cases = false, plans = false;
    std::string device = "all";
};

void add_rows(Device& device, Device& other, const std::vector<Row>& rows, const Peaks& peaks) {
    for (const Row& row : rows) {
        auto* const bench = benchmark::RegisterBenchmark(
            fmt::format("{}/{}", device.kind(), row.name).c_str(),
            [&, peaks](benchmark::State& state) { time_row(state, device, other, row, peaks); });
        if (device.kind() == "cpu")
            bench->UseRealTime()->MinTime(0.05)->Repetitions(5)->ReportAggregatesOnly();
        else if (on_silicon(device))
            bench->UseManualTime()->Iterations(3)->Repetitions(5)->ReportAggregatesOnly();
        else
            bench->UseManualTime()->Iterations(1);
        bench->Unit(benchmark::kMillisecond);
    }
}

// A row that cuDNN alone runs, in `seconds` or not at all.
void add_cudnn_row(const std::string& name, const std::function<std::optional<double>()>& seconds) {
    benchmark::RegisterBenchmark(name.c_str(),
                                 [seconds](benchmark::State& state) {
                                     for (auto _ : state)
                                         if (const auto taken = seconds())
                                             state.SetIterationTime(*taken);
                                         else
                                             return state.SkipWithError("cuDNN has no such operation");
                                 })
        ->UseManualTime()
        ->Iterations(1)
        ->Repetitions(5)
        ->ReportAggregatesOnly()
        ->Unit(benchmark::kMillisecond);
}

// What cuDNN has in the place of our own kernels, and its engines for convolutions. Builds without CUDA have no use for
// it.
[[maybe_unused]] void add_cudnn_rows(Device& cuda, const std::vector<Row>& rows, bool plans) {
    for (const Row& row : rows) {
        const std::string_view op = row.op->name();
        if (plans && op.starts_with("conv") && op != "conv_direct")
            for (const std::string& engine : cudnn_engines(cuda, row.without_memory()))
                add_cudnn_row("cuda/plans/" + row.name + "/" + engine,
                              [&, engine] { return seconds_of_cudnn(cuda, row.without_memory(), engine); });
        if (!op.starts_with("batch_norm") && !op.starts_with("max_pool")) continue;
        const auto in = std::ranges::find(row.in, op == "max_pool_backward" ? "dy" : "x", &Slot::name);
        const Shape other = row.out.at(0).shape;  // y or dx
        const Shape x = op == "max_pool_backward" ? other : in->shape,
                    y = op == "max_pool_backward" ? in->shape : other;
        if (x.size() == 4)
            add_cudnn_row("cuda/cudnn/" + row.name,
                          [&cuda, op, x, y, type = in->dtype] { return seconds_of_cudnn(cuda, op, x, y, type); });
    }
}

void add_context(std::string_view device, const Peaks& peaks, const char* arithmetic) {
    benchmark::AddCustomContext(fmt::format("{}_copy_GB_per_s", device),
                                fmt::format("{:.1f}", peaks.bytes_per_second * 1e-9));
    benchmark::AddCustomContext(fmt::format("{}_{}_GFLOP_per_s", device, arithmetic),
                                fmt::format("{:.1f}", peaks.flops_per_second * 1e-9));
}

// A device with its rows, and the device that they are compared with; they live as long as the benchmarks.
struct Bench {
    std::unique_ptr<Device> device, other;
    std::vector<Row> rows;

    Bench(const std::string& kind, const Options& o)
        : device(open_device(kind, {.threads = o.threads})),
          other(open_device(kind == "cpu" ? "simt" : "cpu", {.threads = o.threads})) {
        WorkloadOptions resnet = o.resnet, yolo = o.yolo;
        if (kind == "cpu") resnet.precision = yolo.precision = DType::f32;
        rows = all_rows(resnet, yolo, o.cases, device->facts());
        const size_t networks = rows.size();
        if (o.direct)
            for (size_t i = 0; i < networks; ++i)
                if (const Row row = rows[i]; row.reference)
                    rows.push_back({row.reference, row.op, row.in, row.out, "direct/" + row.name});
        if (kind == "cpu")
            for (Row& row : library_rows({rows.begin(), rows.begin() + ptrdiff_t(networks)}))
                rows.push_back(std::move(row));
        Peaks peaks;
        if (kind == "cpu") peaks = measure_cpu_peaks(o.threads);
        if (kind == "cuda") peaks = measure_gpu_peaks(*device, resnet.precision);
        if (kind != "ptx") add_context(kind, peaks, kind == "cpu" ? "FMA" : "product");
        if (kind != "cpu") benchmark::AddCustomContext(kind + "_device", device->description());
        add_rows(*device, *other, rows, peaks);
        if constexpr (has_cuda)
            if (kind == "cuda" && has_cudnn(*device)) add_cudnn_rows(*device, rows, o.plans);
    }
};

int run(int argc, char** argv) {
    Options o;
    std::vector<char*> rest = {argv[0]};
    for (int i = 1; i < argc; ++i) {
        const std::string_view option = argv[i];
        const auto text = [&] { return i + 1 < argc ? argv[++i] : ""; };
        const auto number = [&] { return std::strtoul(text(), nullptr, 10); };
        if (option == "--batch")
            o.resnet.batch = number();
        else if (option == "--size")
            o.resnet.h = o.resnet.w = number();
        else if (option == "--pixels")
            parse_pixels(text(), o.yolo);
        else if (option == "--yolo")
            o.yolo.model = text();
        else if (option == "--precision")
            o.resnet.precision = o.yolo.precision = parse_precision(text());
        else if (option == "--device")
            o.device = text();
        else if (option == "--direct")
            o.direct = true;
        else if (option == "--cases")
            o.cases = true;
        else if (option == "--plans")
            o.plans = true;
        else if (option == "--threads")
            o.threads = int(number());
        else
            rest.push_back(argv[i]);
    }
    int left = int(rest.size());
    benchmark::Initialize(&left, rest.data());
    if (benchmark::ReportUnrecognizedArguments(left, rest.data())) return 2;

    std::vector<std::unique_ptr<Bench>> benches;
    benches.push_back(std::make_unique<Bench>(o.device == "all" ? "cpu" : o.device, o));
    if (o.device == "all" && has_cuda) try {
            benches.push_back(std::make_unique<Bench>("cuda", o));
        } catch (const Error& e) {
            fmt::print(stderr, "no rows for cuda: {}\n", e.what());
        }
    benchmark::RunSpecifiedBenchmarks();
    return 0;
}

}  // namespace

int main(int argc, char** argv) try { return run(argc, argv); } catch (const std::exception& error) {
    std::fprintf(stderr, "kernels: %s\n", error.what());
    return 1;
}
