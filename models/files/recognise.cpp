// Which network a weight file belongs to, from the names and shapes of its tensors.
#include <algorithm>
#include <nlohmann/json.hpp>

#include "models/files/weights.h"

namespace {

// A list of names, or a dict {0: name, ...}, of a pickled module; or JSON text in the metadata.
std::vector<std::string> class_names(const WeightFile& file) {
    std::vector<std::string> names;
    const PickleValue pickled = file.module.find("names");
    for (size_t i = 0; i < std::min<size_t>(pickled.size(), 10'000); ++i)
        if (pickled[i].is(PickleKind::text)) names.emplace_back(pickled[i].text().substr(0, 1000));
    for (const char* key : {"class_names", "names", "classes"}) {
        const auto found = file.metadata.find(key);
        if (!names.empty() || found == file.metadata.end()) continue;
        const nlohmann::json list = nlohmann::json::parse(found->second, nullptr, false);
        if (list.is_array())
            for (const auto& name : list)
                if (name.is_string()) names.push_back(name);
    }
    return names;
}

}  // namespace

RecognisedModel recognise(const WeightFile& file) {
    for (const ModelFamily& family : model_families()) {
        std::optional<RecognisedModel> model = family.recognise({file.path, file.state, file.metadata});
        if (!model) continue;
        if (model->classes == 0) return *model;  // known by name, but not one that tundra builds
        model->task = family.task;
        model->class_names = class_names(file);
        if (model->class_names.size() != model->classes) model->class_names.clear();
        model->text += fmt::format(", {} classes", model->classes);
        if (!model->class_names.empty() && model->classes <= 10)
            model->text += fmt::format(": {}", fmt::join(model->class_names, ", "));
        return *model;
    }
    return {};
}
