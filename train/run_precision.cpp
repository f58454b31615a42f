#include "train/run_precision.h"

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "models/files/detector_file.h"
#include "predict/model_file.h"
#include "predict/precision_check.h"
#include "train/setup.h"

using nlohmann::json;

namespace {

bool passed_the_check(const TrainConfig& config) {
    if (config.init.empty()) return false;
    if (config.task == "detect") {
        const DetectorModel model = read_detector(config.init);
        return check_passed(model.bf16_check, model.state);
    }
    const ModelFile file = read_model(config.init, {.initial = true});
    return check_passed(file.bf16_check, file.state);
}

}  // namespace

PrecisionChoice precision_of_run(const TrainConfig& config, Device& device, Ranks& ranks, const RunFolder& folder,
                                 const Dataset& data) {
    const bool automatic = config.precision == "auto", on_cpu = device.kind() == "cpu";
    PrecisionWish wish{.named = config.precision, .automatic = device.default_precision()};
    if (ranks.count > 1 && on_cpu && !automatic && config.precision != "fp32")
        fail(Fault::usage, "--precision {}: several ranks, or parts of --micro-batch, train in fp32; leave it out",
             config.precision);
    if (ranks.count > 1) wish.alone = "several ranks";
    std::string earlier_why;
    if (const json before = folder.record(); on_cpu && before.is_object()) {
        const json& precision = member(before, "precision");
        const std::string there = text_of(precision, "instructions"), here = device.instructions(DType::bf16);
        wish.earlier = there.empty() ? "fp32" : text_of(precision, "type");  // of an earlier version, or of a GPU
        if (!there.empty() && ranks.count > 1)
            fail(Fault::usage, "{}: the run trains in bf16, which several ranks cannot; go on with one",
                 folder.path().string());
        earlier_why = text_of(precision, "why");
        if (!there.empty() && there != here)
            fail(Fault::usage,
                 "{}: the run trains in bf16 and began on a processor with {}, this one has {}, which gives other "
                 "bits; go on there, or begin anew with --fresh",
                 folder.path().string(), there, here);
    }
    if (automatic && on_cpu && wish.earlier.empty()) wish.checked = passed_the_check(config);
    PrecisionChoice choice = choose_precision(wish, device, [&](DType precision) {
        Arena arena(device);
        const std::unique_ptr<Task> task = make_task(config, ranks);
        task->build({device, arena, precision, false, 1, false}, data, [](const std::string&) {});
        return time_of_a_step(*task, ranks, 0);
    });
    if (!earlier_why.empty()) choice.why = earlier_why;
    return choice;
}

json precision_facts(const PrecisionChoice& choice, const Device& device) {
    json facts = {{"type", precision_name(choice.type)}};
    if (!choice.why.empty()) facts["why"] = choice.why;
    if (const std::string level = device.instructions(choice.type); !level.empty()) facts["instructions"] = level;
    return facts;
}
