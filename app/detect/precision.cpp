#include "app/detect/precision.h"

#include <set>

#include "app/detect/earlier.h"
#include "app/jobs/journal.h"
#include "base/error.h"
#include "base/hash.h"

using nlohmann::ordered_json;

namespace {

struct Begun {
    std::string precision = {}, instructions = {};  // "" if no image was looked at yet
};

Begun begun_in(const DetectJob& job, const std::string& journal, const ordered_json& settings, const KeyOf& key_of) {
    if (job.survey) {
        std::set<std::string> keys;
        if (std::error_code ignored; std::filesystem::exists(journal, ignored))
            Journal(journal, kSurveyJournal,
                    [&](std::string_view line, uint64_t) { keys.insert(text_of(ordered_json::parse(line), "key")); });
        const auto has = [&](DType type, const char* instructions) {
            ordered_json with = settings;
            set_precision(with, type, instructions);
            return keys.contains(key_of(with));
        };
        if (has(DType::f32, "")) return {"fp32"};
        for (const char* level : kBf16Instructions)
            if (has(DType::bf16, level)) return {"bf16", level};
        return {};
    }
    if (const std::string said = precision_of_journal(journal); !said.empty()) return {said};
    if (job.update.empty()) return {};
    const ordered_json info = read_results(job.update).head.info;
    const std::string said = text_of(member(member(info, "custom_metadata"), "tundra"), "precision");
    return {said.empty() ? "fp32" : said};
}

}  // namespace

void set_precision(ordered_json& settings, DType type, const std::string& instructions) {
    settings["precision"] = precision_name(type), settings["instructions"] = instructions;
    if (type == DType::f32) settings.erase("precision");
    if (instructions.empty()) settings.erase("instructions");
}

std::string key_of_boxes(ordered_json settings, size_t image_size, bool given_species) {
    const ordered_json classify = member(settings, "classify");
    for (const char* key : {"quality", "quality_classes", "classify", "shard", "pictures", "list"}) settings.erase(key);
    if (!given_species) settings.erase("classify_threshold");
    settings["image_size"] = image_size;
    if (given_species) settings["classify"] = classify;
    return hash_hex(one_line(settings));
}

PrecisionChoice choose_for_detector(const DetectJob& job, const DetectorModel& model, Device& device,
                                    const std::string& journal, const ordered_json& settings, const KeyOf& key_of) {
    EarlierPrecision earlier;
    if (!job.shard.empty()) earlier.alone = "shards must agree; name --precision for all of them";
    if (device.kind() == "cpu" && job.machine.precision != "fp32") {
        const Begun begun = begun_in(job, journal, settings, key_of);
        earlier.name = begun.precision;
        if (const std::string here = device.instructions(DType::bf16);
            !begun.instructions.empty() && begun.instructions != here)
            fail(Fault::usage,
                 "{}: was begun in bf16 on a processor with {}, this one has {}, which gives other bits; go on there, "
                 "or begin another survey",
                 std::filesystem::path(journal).parent_path().string(), begun.instructions, here);
    }
    return detector_precision(job.machine, device, model, earlier);
}
