#include "kernels/conv/cudnn_plans.h"

#include <cuda_runtime_api.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>

namespace {

constexpr size_t kCandidates =
    12;  // per problem: later ones of cuDNN's ranking are seldom best, and each may compile code
constexpr int kTimedRuns = 3;

void check_cuda(cudaError_t error) {
    if (error != cudaSuccess)
        throw std::runtime_error(std::string("timing a convolution: ") + cudaGetErrorString(error));
}

struct Event {
    cudaEvent_t event = nullptr;
    Event() { check_cuda(cudaEventCreate(&event)); }
    ~Event() { cudaEventDestroy(event); }
    Event(const Event&) = delete;
};

}  // namespace

// https://specifications.freedesktop.org/basedir-spec/latest/
std::string conv_choices_file(const std::string& gpu, const std::string& cudnn_version) {
    std::string name = "convolutions " + gpu + " cudnn " + cudnn_version;
    for (char& c : name)
        if (!isalnum(static_cast<unsigned char>(c)) && c != '.') c = '_';
    const char *cache = std::getenv("XDG_CACHE_HOME"), *home = std::getenv("HOME");
    std::filesystem::path folder;
    if (cache && *cache == '/')
        folder = cache;
    else if (home && *home == '/')
        folder = std::filesystem::path(home) / ".cache";
    else
        return "";
    std::error_code error;
    std::filesystem::create_directories(folder / "tundra", error);
    return error ? "" : (folder / "tundra" / (name + ".txt")).string();
}

ConvPlans::ConvPlans(cudnnHandle_t handle, CudnnDescriptor device, std::string file)
    : handle_(handle), device_(std::move(device)), file_(std::move(file)) {
    read();
}

// A line that makes no sense is left out, and so is one without its end: the problem is then timed again.
void ConvPlans::read() {
    if (file_.empty()) return;
    std::ifstream in(file_);
    for (std::string key, engine; in >> key && std::getline(in, engine);)
        if (engine.ends_with(" ."))
            if (const auto parsed = parse_conv_engine(engine.substr(0, engine.size() - 2))) stored_[key] = *parsed;
}

// Appended line by line, so that a killed run keeps what it measured and two runs at once do little harm. The line
// break comes first: the line before may have no end.
void ConvPlans::remember(const std::string& key, const ConvEngine& engine) {
    if (!file_.empty()) std::ofstream(file_, std::ios::app) << '\n' + key + ' ' + to_string(engine) + " .\n";
}

void ConvPlans::run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) {
    const std::string key = to_string(problem) + (cuda.deterministic ? "-deterministic" : "");
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, choose(cuda, problem, key, pointers)).first;
    execute(cuda, found->second, pointers);
}

bool ConvPlans::recorded(const Cuda& cuda) const {
    cudaStreamCaptureStatus capturing;
    check_cuda(cudaStreamIsCapturing(cuda.stream, &capturing));
    return capturing != cudaStreamCaptureStatusNone;
}

ConvPlan ConvPlans::choose(const Cuda& cuda, const ConvProblem& problem, const std::string& key,
                           const Pointers& pointers) {
    if (recorded(cuda)) throw std::logic_error("conv " + key + " is recorded before it ran once");
    const CudnnDescriptor graph = conv_graph(problem);
    const ConvEngineRules rules{.deterministic = cuda.deterministic, .workspace = cuda.scratch.bytes};
    if (const auto known = stored_.find(key); known != stored_.end()) try {
            return conv_plan(graph, device_, problem.type, rules, known->second);
        } catch (const CudnnError&) {  // the file is of another build of cuDNN after all, or damaged: choose anew
        }
    ConvPlan best;
    std::optional<ConvEngine> chosen;
    float fastest = std::numeric_limits<float>::infinity();
    std::string reason = "cuDNN proposes no engine";
    for (const ConvEngine& engine : conv_engines(graph, device_, problem.type, rules, kCandidates)) try {
            const ConvPlan plan = conv_plan(graph, device_, problem.type, rules, engine);
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
