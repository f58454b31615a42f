// Asks cuDNN for the engines of a graph and builds their plans: see cudnn_graph.h.
#include <algorithm>
#include <sstream>

#include "kernels/conv/cudnn_graph.h"

namespace {

bool any_of(const std::vector<cudnnBackendNumericalNote_t>& notes,
            std::initializer_list<cudnnBackendNumericalNote_t> unwanted) {
    return std::ranges::any_of(unwanted, [&](auto note) { return std::ranges::find(notes, note) != notes.end(); });
}

bool allowed(const CudnnDescriptor& engine, cudnnDataType_t type, const ConvEngineRules& rules) {
    const auto notes = engine.values<cudnnBackendNumericalNote_t>(
        CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
    const auto behaviour = engine.values<cudnnBackendBehaviorNote_t>(
        CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
    if (any_of(notes, {CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS, CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION}))
        return false;
    if (type == CUDNN_DATA_FLOAT && any_of(notes, {CUDNN_NUMERICAL_NOTE_TENSOR_CORE})) return false;
    if (rules.deterministic && any_of(notes, {CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC})) return false;
    return std::ranges::find(behaviour, CUDNN_BEHAVIOR_NOTE_REQUIRES_FILTER_INT8x32_REORDER) == behaviour.end();
}

bool compiled_at_run_time(const CudnnDescriptor& engine) {
    const auto behaviour = engine.values<cudnnBackendBehaviorNote_t>(
        CUDNN_ATTR_ENGINE_BEHAVIOR_NOTE, CUDNN_TYPE_BEHAVIOR_NOTE, CUDNN_BEHAVIOR_NOTE_TYPE_COUNT);
    return std::ranges::find(behaviour, CUDNN_BEHAVIOR_NOTE_RUNTIME_COMPILATION) != behaviour.end();
}

// Descriptors that cuDNN fills: made by the caller, as the API wants it.
std::vector<CudnnDescriptor> filled(const CudnnDescriptor& from, cudnnBackendAttributeName_t name,
                                    cudnnBackendDescriptorType_t type, int64_t max_count) {
    std::vector<CudnnDescriptor> owners;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (int64_t i = 0; i < max_count; ++i) raw.push_back(owners.emplace_back(type).get());
    int64_t count = 0;
    if (cudnnBackendGetAttribute(from.get(), name, CUDNN_TYPE_BACKEND_DESCRIPTOR, max_count, &count, raw.data()) !=
        CUDNN_STATUS_SUCCESS)
        count = 0;
    owners.resize(size_t(std::min(count, max_count)));
    return owners;
}

ConvEngine engine_of(const CudnnDescriptor& config, const CudnnDescriptor& engine) {
    ConvEngine result{
        engine.value<int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64), {}, compiled_at_run_time(engine)};
    for (const CudnnDescriptor& choice : filled(config, CUDNN_ATTR_ENGINECFG_KNOB_CHOICES,
                                                CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR, CUDNN_KNOB_TYPE_COUNTS))
        result.knobs.emplace_back(
            choice.value<cudnnBackendKnobType_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE),
            choice.value<int64_t>(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64));
    std::ranges::sort(result.knobs);
    return result;
}

}  // namespace

std::string to_string(const ConvEngine& e) {
    std::ostringstream out;
    out << e.index;
    for (const auto& [type, value] : e.knobs) out << ' ' << type << ':' << value;
    return out.str();
}

std::optional<ConvEngine> parse_conv_engine(const std::string& text) {
    std::istringstream in(text);
    ConvEngine engine{};
    if (!(in >> engine.index)) return std::nullopt;
    char colon;
    for (int64_t type, value; in >> type;) {
        if (!(in >> colon >> value) || colon != ':') return std::nullopt;
        engine.knobs.emplace_back(type, value);
    }
    if (!in.eof()) return std::nullopt;
    return engine;
}

std::vector<ConvEngine> conv_engines(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                                     const ConvEngineRules& rules, size_t compiled) {
    constexpr int64_t kMaxConfigs = 64;
    std::vector<ConvEngine> engines;
    for (const cudnnBackendHeurMode_t mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_B, CUDNN_HEUR_MODE_FALLBACK}) {
        std::vector<CudnnDescriptor> configs;
        try {
            CudnnDescriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
            heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph)
                .set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode)
                .set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, device)
                .finalize("cuDNN: heuristics");
            configs =
                filled(heuristics, CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_BACKEND_ENGINECFG_DESCRIPTOR, kMaxConfigs);
        } catch (const CudnnError&) {
            continue;  // not every mode knows every graph
        }
        for (const CudnnDescriptor& config : configs) {
            const auto engine = filled(config, CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_BACKEND_ENGINE_DESCRIPTOR, 1);
            if (engine.empty() || !allowed(engine[0], type, rules)) continue;
            const ConvEngine found = engine_of(config, engine[0]);
            // Without knobs an engine is what its first proposal was: compiling it twice would take seconds.
            const auto same = [&](const ConvEngine& e) {
                return e == found || (found.compiled && found.knobs.empty() && e.index == found.index);
            };
            if (std::ranges::any_of(engines, same) || (found.compiled && compiled == 0)) continue;
            compiled -= found.compiled;
            engines.push_back(found);
        }
    }
    return engines;
}

namespace {

CudnnDescriptor allowed_engine(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                               const ConvEngineRules& rules, int64_t index) {
    CudnnDescriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
    engine.set(CUDNN_ATTR_ENGINE_OPERATION_GRAPH, graph)
        .set(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, index)
        .set(CUDNN_ATTR_ENGINE_DEVICEPROP, device)
        .finalize("cuDNN: engine");
    if (!allowed(engine, type, rules))
        throw CudnnError(CUDNN_STATUS_NOT_SUPPORTED, "cuDNN: an engine that rounds or orders differently");
    return engine;
}

CudnnDescriptor& bound(CudnnDescriptor& plan, const CudnnDescriptor& device, const ConvEngineRules& rules) {
    return rules.handle ? plan.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, rules.handle)
                        : plan.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, device);
}

ConvPlan within(const ConvEngineRules& rules, const CudnnDescriptor& plan) {
    const auto workspace = size_t(plan.value<int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64));
    if (workspace > rules.workspace)
        throw CudnnError(CUDNN_STATUS_NOT_SUPPORTED, "cuDNN: an engine that wants more scratch memory");
    return {plan, workspace};
}

}  // namespace

ConvPlan conv_plan(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                   const ConvEngineRules& rules, const ConvEngine& chosen) {
    const CudnnDescriptor engine = allowed_engine(graph, device, type, rules, chosen.index);
    std::vector<CudnnDescriptor> choices;
    std::vector<cudnnBackendDescriptor_t> raw;
    for (const auto& [type, value] : chosen.knobs) {
        CudnnDescriptor& choice = choices.emplace_back(CUDNN_BACKEND_KNOB_CHOICE_DESCRIPTOR);
        choice.set(CUDNN_ATTR_KNOB_CHOICE_KNOB_TYPE, CUDNN_TYPE_KNOB_TYPE, cudnnBackendKnobType_t(type))
            .set(CUDNN_ATTR_KNOB_CHOICE_KNOB_VALUE, CUDNN_TYPE_INT64, value)
            .finalize("cuDNN: knob");
        raw.push_back(choice.get());
    }
    CudnnDescriptor config(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR);
    config.set(CUDNN_ATTR_ENGINECFG_ENGINE, engine);
    if (!raw.empty())
        config.set(CUDNN_ATTR_ENGINECFG_KNOB_CHOICES, CUDNN_TYPE_BACKEND_DESCRIPTOR,
                   std::span<const cudnnBackendDescriptor_t>(raw));
    config.finalize("cuDNN: engine configuration");
    CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    bound(plan, device, rules).set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, config).finalize("cuDNN: plan");
    return within(rules, plan);
}

std::string plan_text(const ConvPlan& plan) {
    std::string text(size_t(1) << 20, 0);
    int64_t count = 0;
    for (int attempt = 0; attempt < 2; ++attempt) {
        if (cudnnBackendGetAttribute(plan.plan.get(), CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                                     int64_t(text.size()), &count, text.data()) != CUDNN_STATUS_SUCCESS)
            return "";
        if (size_t(count) <= text.size()) break;
        text.resize(size_t(count));
    }
    text.resize(size_t(count));
    return text.substr(0, text.find('\0'));
}

ConvPlan conv_plan(const CudnnDescriptor& graph, const CudnnDescriptor& device, cudnnDataType_t type,
                   const ConvEngineRules& rules, const ConvEngine& engine, const std::string& text) {
    (void)allowed_engine(graph, device, type, rules, engine.index);
    CudnnDescriptor plan(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
    bound(plan, device, rules)
        .set(CUDNN_ATTR_EXECUTION_PLAN_JSON_REPRESENTATION, CUDNN_TYPE_CHAR, std::span<const char>(text))
        .finalize("cuDNN: a stored plan");
    return within(rules, plan);
}
