#include "kernels/conv_plans_cudnn.h"

#include <cuda_runtime_api.h>

#include <fstream>
#include <limits>

namespace {

constexpr size_t kCandidates = 12;  // per problem: later ones of cuDNN's ranking are seldom best, and each may compile code
constexpr int kTimedRuns = 3;

void check_cuda(cudaError_t error) {
    if (error != cudaSuccess) throw std::runtime_error(std::string("timing a convolution: ") + cudaGetErrorString(error));
}

struct Event {
    cudaEvent_t event = nullptr;
    Event() { check_cuda(cudaEventCreate(&event)); }
    ~Event() { cudaEventDestroy(event); }
    Event(const Event&) = delete;
};

}  // namespace

ConvPlans::ConvPlans(cudnnHandle_t handle, std::string file) : handle_(handle), device_(cudnn_device(handle)), file_(std::move(file)) {
    read();
}

// A line that makes no sense is left out: the problem is then timed again.
void ConvPlans::read() {
    if (file_.empty()) return;
    std::ifstream in(file_);
    for (std::string key, engine; in >> key && std::getline(in, engine);)
        if (const auto parsed = parse_conv_engine(engine)) stored_[key] = *parsed;
}

// Appended line by line, so that a killed run keeps what it measured and two runs at once do little harm.
void ConvPlans::remember(const std::string& key, const ConvEngine& engine) {
    if (!file_.empty()) std::ofstream(file_, std::ios::app) << key + ' ' + text(engine) + '\n';
}

void ConvPlans::run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) {
    const std::string key = text(problem) + (cuda.deterministic ? "-deterministic" : "");
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, choose(cuda, problem, pointers)).first;
    execute(cuda, found->second, pointers);
}

ConvPlan ConvPlans::choose(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) {
    const std::string key = text(problem) + (cuda.deterministic ? "-deterministic" : "");
    cudaStreamCaptureStatus capturing;
    check_cuda(cudaStreamIsCapturing(cuda.stream, &capturing));
    if (capturing != cudaStreamCaptureStatusNone) throw std::logic_error("conv " + key + " is recorded before it ran once");
    const CudnnDescriptor graph = conv_graph(problem);
    if (const auto known = stored_.find(key); known != stored_.end()) try {
            ConvPlan plan = conv_plan(graph, device_, known->second);
            if (plan.workspace <= cuda.scratch.bytes) return plan;
        } catch (const CudnnError&) {  // the file is of another build of cuDNN after all: choose anew
        }
    const ConvEngineRules rules{.deterministic = cuda.deterministic, .workspace = cuda.scratch.bytes};
    ConvPlan best;
    std::optional<ConvEngine> chosen;
    float fastest = std::numeric_limits<float>::infinity();
    std::string reason = "cuDNN proposes no engine";
    for (const ConvEngine& engine : conv_engines(graph, device_, problem.type, rules, kCandidates)) try {
            const ConvPlan plan = conv_plan(graph, device_, engine);
            if (plan.workspace > rules.workspace) {
                reason = "every engine wants more than the scratch memory of " + std::to_string(rules.workspace) + " bytes";
                continue;
            }
            const float taken = milliseconds(cuda, plan, pointers);
            if (taken < fastest) fastest = taken, best = plan, chosen = engine;
        } catch (const CudnnError& e) {  // support is only proposed; a plan that cannot be made is no candidate
            reason = e.what();
            cudaGetLastError();  // or the next launch reports it as its own
        }
    if (!chosen) throw std::runtime_error("conv " + key + ": no usable engine: " + reason);
    remember(key, *chosen);
    return best;
}

float ConvPlans::milliseconds(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const {
    execute(cuda, plan, pointers);  // warm: code is loaded here
    Event start, stop;
    float fastest = std::numeric_limits<float>::infinity();
    for (int i = 0; i < kTimedRuns; ++i) {
        float taken = 0;
        check_cuda(cudaEventRecord(start.event, cuda.stream));
        execute(cuda, plan, pointers);
        check_cuda(cudaEventRecord(stop.event, cuda.stream));
        check_cuda(cudaEventSynchronize(stop.event));
        check_cuda(cudaEventElapsedTime(&taken, start.event, stop.event));
        fastest = std::min(fastest, taken);
    }
    return fastest;
}

void ConvPlans::execute(const Cuda& cuda, const ConvPlan& plan, const Pointers& p) const {
    std::vector<int64_t> ids;
    std::vector<const void*> data;
    for (const auto& [id, pointer] : p)
        if (pointer) ids.push_back(id), data.push_back(pointer);
    CudnnDescriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, ids)
        .set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::span<const void* const>(data))
        .set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, cuda.scratch.memory)
        .finalize("cuDNN: variant pack");
    check(cudnnBackendExecute(handle_, plan.plan.get(), pack.get()), "cuDNN: convolution");
}
