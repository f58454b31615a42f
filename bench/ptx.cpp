// What nvcc's kernels ask for at real shapes, counted while their PTX is executed on the CPU (virtual_gpu/ptx): a table
// per operation and kernel, no times. Needs nvcc, no GPU.
//
//   ptx [--batch 2] [--size 224] [--pixels 640x640] [--precision bf16] [--convolutions] [--json FILE]
//
// The rows are the distinct nodes of a training step of ResNet-50 and of inference of YOLOv5s: bytes that the threads
// request per element of the largest operand, beside the floor of the operation (op->bytes()); 32-byte sectors that the
// requests touch against the fewest that hold as many bytes; passes through the banks of shared memory against the
// fewest; lanes that are active; PTX instructions per element. Requests are those to L1: what repeats there does not
// reach memory.
// --convolutions: the direct ones too, which take minutes.
#include <fmt/format.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <set>

#include "bench/ptx_counts.h"
#include "bench/workload.h"
#include "engine/op.h"

namespace {

using nlohmann::json;

std::string name_of(const Step& step) {
    std::string name(step.op->name());
    for (const auto& tensors : {step.in, step.out})
        for (const Tensor& t : tensors)
            if (t.data && t.shape.size() > 1) name += fmt::format(" {}", fmt::join(t.shape, "x"));
    return name;
}

// Every picture as it is: where pixels are read depends on it.
void identity(Device& device, const Step& step) {
    for (const auto& [name, values] :
         {std::pair{"transform", std::vector<float>{1, 0, 0, 0, 1, 0}}, {"color", {1, 0}}}) {
        const Tensor t = step[name];
        std::vector<float> all;
        while (all.size() < numel(t.shape)) all.insert(all.end(), values.begin(), values.end());
        device.upload(t.data, all.data(), t.bytes());
    }
}

void report(Device& device, Program& program, const std::string& where, bool convolutions, json& out) {
    std::set<std::string> seen;
    for (size_t i = 0; i < program.steps().size(); ++i) {
        const Step& step = program.steps()[i];
        const std::string_view op = step.op->name();
        if (!convolutions && (op.starts_with("conv") || op.starts_with("linear"))) continue;
        const std::string name = name_of(step);
        if (!seen.insert(name).second) continue;
        double elements = 1;
        for (const auto& tensors : {step.in, step.out})
            for (const Tensor& t : tensors)
                if (t.data) elements = std::max(elements, double(numel(t.shape)));
        if (op == "image_batch") identity(device, step);
        const double floor = step.op->bytes(step.in, step.out) / elements;
        for (const KernelCounts& k : count_kernels([&] { program.run_step(i); })) {
            fmt::print("| {} | {} | {:.1f} | {:.0f} % | {:.1f} ({:.1f}) | {:.2f} | {} |\n", name, k.kernel,
                       k.thread_instructions / elements, 100 * k.lanes(), k.bytes() / elements, floor,
                       k.sectors_ratio(), k.least_wavefronts > 0 ? fmt::format("{:.2f}", k.wavefronts_ratio()) : "-");
            out.push_back(
                {{"where", where},
                 {"operation", name},
                 {"kernel", k.kernel},
                 {"elements", elements},
                 {"instructions_per_element", k.thread_instructions / elements},
                 {"active_lanes", k.lanes()},
                 {"bytes_per_element", k.bytes() / elements},
                 {"floor_of_operation", floor},
                 {"sectors_per_least", k.sectors_ratio()},
                 {"wavefronts_per_least", k.wavefronts_ratio()},
                 {"worst", {{"source", k.worst.source}, {"ptx", k.worst.statement}, {"times", k.worst.times}}}});
            std::fflush(stdout);
        }
    }
}

}  // namespace

int main(int argc, char** argv) {
    WorkloadOptions resnet{.training = true, .batch = 2, .precision = DType::bf16},
        yolo{.batch = 1, .h = 640, .w = 640, .precision = DType::bf16};
    bool convolutions = false;
    std::string file;
    for (int i = 1; i < argc; ++i) {
        const std::string option = argv[i];
        const std::string value = i + 1 < argc ? argv[i + 1] : "";
        if (option == "--convolutions") {
            convolutions = true;
            continue;
        }
        ++i;
        if (option == "--batch")
            resnet.batch = std::stoul(value);
        else if (option == "--size")
            resnet.h = resnet.w = std::stoul(value);
        else if (option == "--pixels")
            parse_pixels(value, yolo);
        else if (option == "--precision")
            resnet.precision = yolo.precision = parse_precision(value);
        else if (option == "--json")
            file = value;
        else
            return fmt::print(stderr, "{}: not an option\n", option), 2;
    }
    try {
        const auto device = open_device("ptx");
        fmt::print(
            "{}\n\n| operation | kernel | instructions per element | lanes active | bytes per element (floor of the "
            "operation) | sectors / least | wavefronts / least |\n| --- | --- | --- | --- | --- | --- | --- |\n",
            device->description());
        json rows = json::array();
        report(*device, open_workload(*device, resnet)->program(), "train resnet50", convolutions, rows);
        for (const char* model : {"yolov5s", "yolo11s", "yolov9c"}) {
            yolo.model = model;
            report(*device, open_workload(*device, yolo)->program(), "infer " + yolo.model, convolutions, rows);
        }
        if (!file.empty())
            std::ofstream(file) << json{{"device", device->description()}, {"rows", rows}}.dump(1) << "\n";
    } catch (const Error& e) {
        fmt::print(stderr, "{}\n", e.what());
        return int(e.fault);
    }
}
