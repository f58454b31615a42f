#include "kernels/conv/cudnn_plans.h"

#include <cuda_runtime_api.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <limits>
#include <sstream>
#include <thread>

#include "kernels/elementwise.h"

namespace {

// Per problem: ready-made engines cost nothing but their timing, those that are compiled take seconds each.
constexpr size_t kCompiled = 4;
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

// FNV-1a: a damaged plan must not run. http://www.isthe.com/chongo/tech/comp/fnv/
std::string checksum(const std::string& key, const std::string& text) {
    uint64_t hash = 14695981039346656037u;
    for (const char c : key + text) hash = (hash ^ static_cast<unsigned char>(c)) * 1099511628211u;
    return std::to_string(hash);
}

// body(i) for every i below count, on all processors, but on `most` threads at most.
template <class Body>
void in_parallel(size_t count, size_t most, const Body& body) {
    std::atomic<size_t> next = 0;
    const auto work = [&] {
        for (size_t i = next++; i < count; i = next++) body(i);
    };
    std::vector<std::jthread> threads;
    for (size_t t = 1; t < std::min<size_t>({count, most, std::thread::hardware_concurrency()}); ++t)
        threads.emplace_back(work);
    work();
}

template <class T>
const void* rounded(Cuda& cuda, size_t count, const void* values) {
    const Cuda before = cuda;
    T* const copy = cuda.scratch.split<T>(count);
    compute(before, Cast<T>{.count = count, .x = static_cast<const float*>(values), .y = copy});
    return copy;
}

// A copy of the bias in the problem's type takes its place, at the beginning of the scratch memory.
void round_bias(Cuda& cuda, const ConvProblem& problem, CudaConvolutions::Pointers& pointers) {
    for (auto& [id, pointer] : pointers)
        if (id == kConvBias)
            pointer = problem.type == CUDNN_DATA_HALF ? rounded<fp16>(cuda, problem.shape.c_out, pointer)
                                                      : rounded<bf16>(cuda, problem.shape.c_out, pointer);
}

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
    std::ifstream in(file_, std::ios::binary);
    for (std::string key, line; in >> key && std::getline(in, line);) {
        if (!line.ends_with(" .")) continue;
        line.resize(line.size() - 2);
        const size_t begin = line.find('{');
        Stored stored;
        if (begin != line.npos) {
            stored.plan = line.substr(begin);
            line.resize(begin);
            std::istringstream words(line);
            std::string word, last;
            line.clear();
            while (words >> word) line += last + ' ', last = word;
            if (last != checksum(key + line, stored.plan)) continue;
        }
        if (const auto engine = parse_conv_engine(line.substr(0, line.find_last_not_of(' ') + 1))) {
            stored.engine = *engine;
            stored_[key] = std::move(stored);
        }
    }
}

// Appended line by line, so that a killed run keeps what it measured and two runs at once do little harm. The line
// break comes first: the line before may have no end.
void ConvPlans::remember(const std::string& key, const ConvEngine& engine, const std::string& plan) {
    if (file_.empty()) return;
    std::string line = ' ' + to_string(engine) + ' ';
    if (plan.starts_with('{') && plan.find('\n') == plan.npos) line += checksum(key + line, plan) + ' ' + plan + ' ';
    std::ofstream(file_, std::ios::app | std::ios::binary) << '\n' + key + line + ".\n";
}

void ConvPlans::run(const Cuda& cuda, const ConvProblem& problem, const Pointers& pointers) {
    Cuda on = cuda;
    Pointers given = pointers;
    if (problem.rounded_bias) round_bias(on, problem, given);
    const std::string key = to_string(problem) + (cuda.deterministic ? "-deterministic" : "");
    auto found = plans_.find(key);
    if (found == plans_.end()) found = plans_.emplace(key, choose(on, problem, key, given)).first;
    execute(on, found->second, given);
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
    const ConvEngineRules rules{
        .deterministic = cuda.deterministic, .workspace = cuda.scratch.bytes, .handle = bound_ ? handle_ : nullptr};
    if (stored_.contains(key)) try {
            return stored_plan(graph, problem, rules, key);
        } catch (const CudnnError&) {  // the file is of another build of cuDNN after all, or damaged: choose anew
        }
    ++chosen_;
    struct Candidate {
        ConvPlan plan;
        std::string text;
        std::string reason;
    };
    const std::vector<ConvEngine> engines = conv_engines(graph, device_, problem.type, rules, kCompiled);
    std::vector<Candidate> candidates(engines.size());
    // A handle is for one thread at a time; plans of a description do without.
    in_parallel(engines.size(), rules.handle ? 1 : engines.size(), [&](size_t i) {
        Candidate& made = candidates[i];
        try {
            made.plan = conv_plan(graph, device_, problem.type, rules, engines[i]);
            made.text = plan_text(made.plan);
        } catch (const CudnnError& e) {  // heuristics only propose; an engine without a plan is skipped
            made.reason = e.what();
        }
    });
    size_t best = engines.size();
    float fastest = std::numeric_limits<float>::infinity();
    std::string reason = "cuDNN proposes no engine";
    bool refused = false;  // where a plan was run
    for (size_t i = 0; i < engines.size(); ++i) {
        const Candidate& made = candidates[i];
        const auto same = [&](const Candidate& other) { return !made.text.empty() && other.text == made.text; };
        if (std::any_of(candidates.begin(), candidates.begin() + ptrdiff_t(i), same)) continue;
        if (!made.reason.empty())
            reason = made.reason;
        else
            try {
                const float taken = milliseconds(cuda, made.plan, pointers);
                if (taken < fastest) fastest = taken, best = i;
            } catch (const CudnnError& e) {
                reason = e.what(), refused = true;
                cudaGetLastError();  // or the next launch would report this error
            }
    }
    if (best == engines.size() && refused && handle_ && !bound_) {  // perhaps this cuDNN wants plans of its handle
        bound_ = true;
        return choose(cuda, problem, key, pointers);
    }
    if (best == engines.size()) throw std::runtime_error("conv " + key + ": no usable engine: " + reason);
    remember(key, engines[best], candidates[best].text);
    return candidates[best].plan;
}

ConvPlan ConvPlans::stored_plan(const CudnnDescriptor& graph, const ConvProblem& problem, const ConvEngineRules& rules,
                                const std::string& key) const {
    const Stored& known = stored_.at(key);
    if (!known.plan.empty()) try {
            return conv_plan(graph, device_, problem.type, rules, known.engine, known.plan);
        } catch (const CudnnError&) {  // then from the engine, which keeps or breaks the rules by itself
        }
    return conv_plan(graph, device_, problem.type, rules, known.engine);
}

// Below some tens of microseconds it is the host's work that one run would time: short ones run ten times in a row.
float ConvPlans::milliseconds(const Cuda& cuda, const ConvPlan& plan, const Pointers& pointers) const {
    execute(cuda, plan, pointers);  // warm: code is loaded here
    Event start, stop;
    const auto taken_by = [&](int runs) {
        float taken = 0;
        check_cuda(cudaEventRecord(start.event, cuda.stream));
        for (int i = 0; i < runs; ++i) execute(cuda, plan, pointers);
        check_cuda(cudaEventRecord(stop.event, cuda.stream));
        check_cuda(cudaEventSynchronize(stop.event));
        check_cuda(cudaEventElapsedTime(&taken, start.event, stop.event));
        return taken / float(runs);
    };
    const int runs = taken_by(1) < 0.2f ? 10 : 1;
    float fastest = std::numeric_limits<float>::infinity();
    for (int i = 0; i < kTimedRuns; ++i) fastest = std::min(fastest, taken_by(runs));
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
