#include "app/detect/classifiers.h"

#include <algorithm>
#include <set>

#include "app/jobs/names.h"
#include "base/error.h"

ReadyModel open_classifier(const std::string& path, MachineOptions machine,
                           const std::function<void(const std::string&)>& note) {
    machine.batch = 0;  // --batch is the detector's
    // Its answers are kept under names that do not say in which precision, and with which instructions, a cpu ran.
    ReadyModel model = open_model(path, machine, SIZE_MAX, {}, {.fp32_on_cpu = true});
    for (const std::string& text : model.file.notes) note(fmt::format("{}: {}", path, text));
    return model;
}

void name_for_tables(std::vector<std::string>& names, const std::function<void(const std::string&)>& note) {
    for (std::string& name : names) {
        std::string plain = name;
        std::ranges::replace_if(
            plain, [](char c) { return c == '|' || c == ':'; }, '/');
        if (plain == name) continue;
        if (std::ranges::find(names, plain) != names.end())
            fail(Fault::usage, "--species: the classes '{}' and '{}' would have the same name in the tables", name,
                 plain);
        note(
            fmt::format("the class '{}' is called '{}' here, because | and : part species in the tables", name, plain));
        name = plain;
    }
}

void name_classes(const std::vector<std::string>& names, ResultHead& head) {
    std::set<std::string> categories, used;
    for (const auto& name : head.categories) categories.insert(name.get<std::string>());
    for (size_t c = 0; c < names.size(); ++c) {
        const bool blank = names[c].find_first_not_of(" \t\r\n") == std::string::npos;
        std::string name = blank ? fmt::format("class {}", c) : json_name(names[c]);
        if (c == 0 && categories.contains(name)) name += " (class)";
        const std::string plain = name;
        for (size_t n = 2; !used.insert(name).second; ++n) name = fmt::format("{} ({})", plain, n);
        head.classes[std::to_string(c)] = name;
    }
}

ClassStage stage_of(ReadyModel& model) {
    return {.fit = model.file.input.fit,
            .batch = model.classifier->config().batch,
            .classes = model.file.classes.size(),
            .network = [&model](std::span<const uint8_t> images) { return model.ready().run(images); }};
}
