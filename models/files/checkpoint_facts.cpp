#include "models/files/checkpoint_facts.h"

#include <algorithm>
#include <charconv>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/text.h"

namespace {

using nlohmann::json;

constexpr size_t kClassLimit = 10'000, kTextLimit = 1000, kFactLimit = 300;

class Reader {
public:
    json read(PickleValue value, size_t depth) {
        if (++steps_ > 200'000) return {};
        switch (value.kind()) {
            case PickleKind::text: return text(value);
            case PickleKind::boolean: return value.boolean();
            case PickleKind::integer: return value.integer();
            case PickleKind::real: return value.real();
            case PickleKind::list:
            case PickleKind::tuple: {
                if (depth == 0 || value.size() > kClassLimit) return {};
                json list = json::array();
                for (size_t i = 0; i < value.size(); ++i) list.push_back(read(value[i], depth - 1));
                return list;
            }
            case PickleKind::object:
                if (value.type_name().starts_with("torch._utils.") || depth == 0) return {};
                if (value.type_name() == "torch.Size") return read(value.arguments()[0], depth);
                [[fallthrough]];
            case PickleKind::dict: {
                if (depth == 0) return {};
                json entries = json::object();
                add(entries, value, depth);
                if (value.state().is(PickleKind::dict)) add(entries, value.state(), depth);
                return entries;
            }
            default: return {};
        }
    }

private:
    static std::string text(PickleValue value) { return std::string(value.text().substr(0, kTextLimit)); }
    void add(json& entries, PickleValue value, size_t depth) {
        for (size_t i = 0; i < std::min(value.size(), kClassLimit); ++i) {
            const PickleValue key = value.key(i);
            const std::string name = key.is(PickleKind::integer) ? std::to_string(key.integer()) : text(key);
            if (name.empty() || name[0] == '_') continue;
            if (json content = read(value[i], depth - 1); !content.is_null()) entries[name] = std::move(content);
        }
    }
    size_t steps_ = 0;
};

bool is_short(const json& value) {
    if (!value.is_array()) return !value.is_null() && !value.is_object();
    return !value.empty() && value.size() <= 8 &&
           std::ranges::all_of(value, [](const json& v) { return v.is_primitive(); });
}

std::string as_text(const json& value) {
    if (value.is_string()) return value.get<std::string>();
    return value.is_boolean() ? std::to_string(int(value.get<bool>()))
                              : value.dump(-1, ' ', false, json::error_handler_t::replace);
}

constexpr const char* kNameKeys[] = {"tundra.classes", "class_names",  "names",       "classes",   "CLASSES",
                                     "class_to_idx",   "idx_to_class", "label_names", "labels",    "id2label",
                                     "label2id",       "class_map",    "idx2class",   "class2idx", "categories"};

bool is_template(std::string_view key) { return key == "pretrained_cfg" || key == "default_cfg"; }

// The facts at the top, and those below each key.
template <class Visit>
void each_level(const json& facts, Visit visit) {
    if (!facts.is_object()) return;
    visit(std::string(), facts);
    for (const auto& [key, value] : facts.items())
        if (value.is_object()) visit(key, value);
}

std::optional<size_t> number(const json& value, const std::string& text) {
    if (value.is_number_integer() && value.get<int64_t>() >= 0) return size_t(value.get<int64_t>());
    size_t result = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), result);
    if (error == std::errc() && end == text.data() + text.size() && !text.empty()) return result;
    return {};
}

// A list of texts, {name: number} or {number: name} with the numbers from 0 on; empty if it is nothing of these.
std::vector<std::string> names_in(const json& value) {
    std::vector<std::string> names(value.size());
    if (value.is_array())
        for (size_t i = 0; i < names.size(); ++i) {
            if (!value[i].is_string()) return {};
            names[i] = value[i];
        }
    else if (value.is_object())
        for (const auto& [key, content] : value.items()) {
            const bool by_number = content.is_string();
            const std::optional<size_t> at = by_number ? number({}, key) : number(content, "");
            const std::string name = by_number ? content.get<std::string>() : key;
            if (!at || *at >= names.size() || !names[*at].empty() || name.empty()) return {};
            names[*at] = name;
        }
    else
        return {};
    const std::set<std::string> distinct(names.begin(), names.end());
    return distinct.size() == names.size() ? names : std::vector<std::string>{};
}

// Texts, or texts with numbers.
bool looks_like_names(const json& value) {
    if (!value.is_array() && !value.is_object()) return false;
    return !value.empty() && std::ranges::all_of(value, [&](const json& v) {
        return v.is_string() || (value.is_object() && v.is_number_integer());
    });
}

}  // namespace

json facts_of(PickleValue root) {
    json facts = Reader().read(root, 4);
    return facts.is_object() ? facts : json::object();
}

std::map<std::string, std::string> metadata_of(const json& facts) {
    std::map<std::string, std::string> metadata;
    each_level(facts, [&](const std::string& above, const json& level) {
        for (const auto& [key, value] : level.items())
            if (is_short(value) && metadata.size() < kFactLimit)
                metadata[above.empty() ? key : above + "." + key] = as_text(value);
    });
    const auto stated = [&](const std::string& source, const json& level) {
        const auto value = [&](std::initializer_list<const char*> names, auto fits) -> const json* {
            for (const char* name : names)
                if (const auto found = level.find(name); found != level.end() && is_short(*found) && fits(*found))
                    return &*found;
            return nullptr;
        };
        const auto take = [&](const char* key, const json* value) {
            if (!value) return;
            metadata.emplace(std::string("preprocess.") + key, as_text(*value));
            metadata.emplace("preprocess.source", source.empty() ? "settings" : source);
        };
        const auto three = [](const json& v) { return v.is_array() && v.size() == 3 && v[0].is_number(); };
        const auto size = [](const json& v) {
            return v.is_number_integer() || (v.is_array() && v[0].is_number_integer());
        };
        const auto text = [](const json& v) { return v.is_string(); };
        const json *mean = value({"mean", "image_mean"}, three), *deviation = value({"std", "image_std"}, three);
        const auto normalized = level.find("do_normalize");
        if (mean && deviation && (normalized == level.end() || *normalized != json(false)))
            take("mean", mean), take("std", deviation);
        take("input_size", value({"input_size", "img_size", "image_size", "imgsz"}, size));
        take("crop_pct", value({"crop_pct"}, [](const json& v) { return v.is_number(); }));
        take("interpolation", value({"interpolation"}, text));
        take("crop_mode", value({"crop_mode"}, text));
    };
    // What was used in training before what a network is published with.
    each_level(facts, [&](const std::string& above, const json& level) {
        if (!is_template(above)) stated(above, level);
    });
    each_level(facts, [&](const std::string& above, const json& level) {
        for (const char* key : {"pretrained_cfg", "default_cfg"})
            if (const auto found = level.find(key); found != level.end() && found->is_object())
                stated(above.empty() ? key : above + "." + key, *found);
    });
    return metadata;
}

size_t stated_classes(const json& facts) {
    std::set<size_t> counts;
    each_level(facts, [&](const std::string& above, const json& level) {
        if (is_template(above)) return;
        for (const char* key : {"num_classes", "n_classes", "num_class", "num_labels", "nb_classes", "num_cls", "nc"})
            if (const auto found = level.find(key); found != level.end() && found->is_number_integer())
                counts.insert(size_t(std::max<int64_t>(0, found->get<int64_t>())));
    });
    if (counts.empty())
        each_level(facts, [&](const std::string&, const json& level) {
            for (const char* key : kNameKeys)
                if (const auto found = level.find(key); found != level.end())
                    if (const size_t names = names_in(*found).size()) counts.insert(names);
        });
    return counts.size() == 1 ? *counts.begin() : 0;
}

std::vector<std::string> class_names(const json& facts, size_t classes, std::vector<std::string>& notes) {
    const auto fits = [&](const std::vector<std::string>& names) {  // a single output tells two classes apart
        return names.size() == classes || (classes == 1 && names.size() == 2);
    };
    if (const auto own = facts.find("tundra.classes"); own != facts.end())
        if (std::vector<std::string> names = names_in(*own); fits(names)) return names;
    std::vector<std::string> chosen;
    std::string source;
    bool contradiction = false;
    each_level(facts, [&](const std::string& above, const json& level) {
        if (above == "state_dict") return;
        for (const char* key : kNameKeys) {
            const auto found = level.find(key);
            if (found == level.end()) continue;
            const std::vector<std::string> names = names_in(*found);
            const std::string here = above.empty() ? key : above + "." + key;
            if (names.empty()) {
                if (looks_like_names(*found))
                    notes.push_back(
                        fmt::format("{} is not used: its names repeat, or their numbers are not 0, 1, 2, ...", here));
                continue;
            }
            if (!fits(names)) {
                notes.push_back(fmt::format("{} names {} classes, the network has {}: these names are not used", here,
                                            names.size(), classes));
            } else if (chosen.empty()) {
                chosen = names;
                source = here;
            } else if (chosen != names && std::ranges::is_permutation(chosen, names)) {
                contradiction = true;
                notes.push_back(fmt::format("{} and {} order the classes differently: neither is used", source, here));
            } else if (chosen != names) {
                notes.push_back(fmt::format("{0} and {1} name the classes differently: {0} is used", source, here));
            }
        }
    });
    return contradiction ? std::vector<std::string>{} : chosen;
}
