#include "models/files/checkpoint_facts.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/json.h"
#include "base/text.h"
#include "models/files/numpy_value.h"

namespace {

using nlohmann::json;

constexpr size_t kClassLimit = 10'000, kTextLimit = 1000, kFactLimit = 300;

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

bool is_statistic(std::string_view key) {
    for (const char* one : {"mean", "std", "image_mean", "image_std"})
        if (key == one) return true;
    return false;
}

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
                if (value.type_name().starts_with("omegaconf."))  // Hydra's settings: nodes around their values
                    for (const char* key : {"_content", "_val"})
                        if (const PickleValue inner = value.state().find(key);
                            !inner.is(PickleKind::absent) && !inner.is(PickleKind::object))
                            return read(inner, depth);
                if (value.type_name().starts_with("torch._utils.") || depth == 0) return {};
                if (const PickleValue sides = value.arguments()[0];
                    value.type_name() == "torch.Size" && !sides.is(PickleKind::object))
                    return read(sides, depth);
                if (json numbers = numpy_value(value, kClassLimit); !numbers.is_null()) {
                    if (numbers.is_array()) steps_ += 100 + numbers.size();
                    return numbers;
                }
                if (value.type_name().starts_with("numpy.")) steps_ += 100;
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
    // Of a layer's class, of the layer, or of functools.partial(class, ...).
    static std::string_view layer_name(PickleValue value) {
        const PickleValue layer = value.type_name() == "functools.partial" ? value.arguments()[0] : value;
        if (layer.type_name().starts_with("omegaconf.")) return {};
        return (layer.is(PickleKind::global) ? layer.text() : layer.type_name()).substr(0, kTextLimit);
    }
    void add(json& entries, PickleValue value, size_t depth) {
        for (size_t i = 0; i < std::min(value.size(), kClassLimit); ++i) {
            const PickleValue key = value.key(i);
            const json scalar = key.is(PickleKind::object) ? numpy_value(key, 1) : json();
            const std::string name = key.is(PickleKind::integer) ? std::to_string(key.integer())
                                     : !scalar.is_null()         ? as_text(scalar)
                                                                 : text(key);
            if (name.empty() || name[0] == '_') continue;
            json content = read(value[i], depth - 1);
            // So that the note about preprocessing tells that the file states it.
            const bool tensor = value[i].type_name().starts_with("torch.");
            if (is_statistic(name) && !is_short(content) && (tensor || !content.is_null()))
                content = tensor ? "(a tensor)" : "(in a form that tundra does not read)";
            if ((name == "act_layer" || name == "aa_layer") && (content.is_null() || content.is_object()))
                if (const std::string_view layer = layer_name(value[i]); !layer.empty()) content = layer;
            if (!content.is_null()) entries[name] = std::move(content);
        }
    }
    size_t steps_ = 0;
};

// In lower case, without blanks, hyphens and underscores. What matters more comes first.
constexpr std::string_view kNameKeys[] = {
    "tundra.classes", "classnames",  "names",       "classes",      "classtoidx",   "idxtoclass",   "labelnames",
    "labels",         "id2label",    "label2id",    "classmap",     "idx2class",    "class2idx",    "categories",
    "labeltoidx",     "idxtolabel",  "label2idx",   "idx2label",    "labelmap",     "labelsmap",    "classlabels",
    "classlist",      "classeslist", "labellist",   "classtoindex", "indextoclass", "labeltoindex", "indextolabel",
    "classtoid",      "idtoclass",   "labeltoid",   "idtolabel",    "class2id",     "id2class",     "class2index",
    "index2class",    "label2index", "index2label", "classtoint",   "inttoclass",   "labeltoint",   "inttolabel",
    "class2int",      "int2class",   "label2int",   "int2label",    "idxtoname",    "idx2name",     "nametoidx",
    "name2idx",       "classdict",   "labeldict",   "classmapping", "labelmapping", "targetnames",  "categorynames",
    "catnames",       "species",     "specieslist", "speciesnames", "vocab"};

// The keys of `level` as kNameKeys has them, each with the original and the value.
std::multimap<std::string, std::pair<std::string, const json*>> plain_keys(const json& level) {
    std::multimap<std::string, std::pair<std::string, const json*>> plain;
    for (const auto& [key, value] : level.items()) {
        std::string name = lower(key);
        std::erase_if(name, [](char c) { return c == '_' || c == '-' || c == ' '; });
        plain.emplace(name, std::pair(key, &value));
    }
    return plain;
}

bool is_template(std::string_view key) { return key == "pretrained_cfg" || key == "default_cfg"; }

// Settings of the training alone ("config.train", beside "config.val"), whose sizes are often others.
bool is_training(std::string_view path) {
    const std::string_view last = path.substr(path.rfind('.') + 1);
    return last.starts_with("train") && !last.ends_with("args") && !last.ends_with("config") && !last.ends_with("cfg");
}

// The facts at the top, then those below each key; with `deep` those below each key of these ("meta.dataset_meta").
template <class Visit>
void each_level(const json& facts, Visit visit, bool deep = false) {
    if (!facts.is_object()) return;
    std::vector<std::pair<std::string, const json*>> above, below;
    if (!deep) visit(std::string(), facts);
    for (const auto& [key, value] : facts.items())
        if (value.is_object()) above.emplace_back(key, &value);
    if (deep)
        for (const auto& [name, level] : above)
            for (const auto& [key, value] : level->items())
                if (value.is_object() && !is_template(name) && !is_template(key))
                    below.emplace_back(name + "." + key, &value);
    for (const auto& [name, level] : deep ? below : above) visit(name, *level);
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
            // COCO's categories have an id and a name each.
            const json &id = member(value[i], "id"), &name = value[i].is_object() ? member(value[i], "name") : value[i];
            const std::optional<size_t> at = value[i].is_object() ? number(id, "") : i;
            if (!name.is_string() || !at || *at >= names.size() || !names[*at].empty()) return {};
            names[*at] = name;
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

bool is_colours(const json& value) {
    return value.is_array() && (value.size() == 3 || value.size() == 1) &&
           std::ranges::all_of(value, [](const json& v) { return v.is_number(); });
}

// What transformers does with pixels where it is not (x / 255 - mean) / std, as predict/preprocessing.h spells it.
json rescaled(const json& level, const json* mean, const json* deviation) {
    const bool plain = member(level, "do_normalize") == json(false), raw = member(level, "do_rescale") == json(false);
    const double stated = number_of(level, "rescale_factor"), by = raw ? 1 : std::isnan(stated) ? 1 / 255.0 : stated;
    const bool usable = plain || (mean && deviation && is_colours(*mean) && is_colours(*deviation));
    if (!usable || !(by > 0) || (!plain && std::abs(255 * by - 1) < 1e-6)) return {};
    std::vector<double> parts[2];
    for (const bool second : {false, true})
        for (size_t c = 0; c < 3; ++c) {
            const json& given = plain ? json() : second ? *deviation : *mean;
            parts[second].push_back((plain ? double(second) : given[given.size() == 3 ? c : 0].get<double>()) / by);
        }
    return fmt::format("{}/{}", fmt::join(parts[0], ","), fmt::join(parts[1], ","));
}

// preprocessor_config.json of transformers. Its ConvNext processor, which ResNets come with, crops below 384 pixels and
// squeezes from there on; those with a crop_size crop to it; those with height and width, or with one number, squeeze.
template <class Take>
void processor(const json& level, Take take) {
    const json &size = member(level, "size"), &crop = member(level, "crop_size"), &height = member(size, "height");
    if (member(level, "do_resize") != json(true)) return;
    const json& edge = size.is_number_integer() ? size : member(size, "shortest_edge");
    const json squash = "squash", usual = 224.0 / 256;
    const json &up = member(crop, "height"), &across = member(crop, "width");
    const json side = crop.is_number_integer() ? crop : up == across ? up : json{up, across};
    const bool both = size.is_number_integer();
    const json sides = {both ? size : height, both ? size : member(size, "width")};
    const auto convnext = [&](const char* key) { return text_of(level, key).starts_with("ConvNext"); };
    if (edge.is_number_integer() && member(level, "do_center_crop") == json(true) && !side.is_null()) {
        take("input_size", &side);
        take("resize", &edge);
    } else if (edge.is_number_integer() &&
               (!both || convnext("image_processor_type") || convnext("feature_extractor_type"))) {
        take("input_size", &edge);
        if (edge >= json(384)) take("crop_mode", &squash);
        if (edge < json(384) && member(level, "crop_pct").is_null()) take("crop_pct", &usual);
    } else if (both || height.is_number_integer()) {
        take("input_size", &sides);
        take("crop_mode", &squash);
    }
    const json filters = {"nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"};  // as Pillow numbers them
    for (const size_t i : {0, 1, 3, 4, 5})
        if (member(level, "resample") == json(i)) take("interpolation", &filters[i]);
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
    std::map<std::string, std::string> unclear;
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
        const auto any = [](const json&) { return true; };
        const auto size = [](const json& v) {
            return v.is_number_integer() || (v.is_array() && v[0].is_number_integer());
        };
        const auto text = [](const json& v) { return v.is_string(); };
        const auto statistic = [&](std::initializer_list<const char*> names) {
            const json* const colours = value(names, is_colours);
            return colours ? colours : value(names, any);
        };
        const json *mean = statistic({"mean", "image_mean"}), *deviation = statistic({"std", "image_std"});
        const double factor = number_of(level, "rescale_factor");
        const json formula = rescaled(level, mean, deviation);
        if (!formula.is_null())
            take("normalize", &formula);
        else if (factor <= 0)
            unclear.try_emplace("mean",
                                fmt::format("{} with rescale_factor {}", mean ? as_text(*mean) : "none", factor)),
                unclear.try_emplace("std", deviation ? as_text(*deviation) : "none");
        else if (mean && deviation && is_colours(*mean) && is_colours(*deviation))
            take("mean", mean), take("std", deviation);
        else if (mean && deviation)
            unclear.try_emplace("mean", as_text(*mean) + (as_text(*mean)[0] == '(' ? "" : " (not three numbers)")),
                unclear.try_emplace("std", as_text(*deviation));
        if (is_training(source)) return;
        processor(level, take);
        take("input_size", value({"input_size", "img_size", "image_size", "imgsz", "val_crop_size"}, size));
        take("resize", value({"val_resize_size"}, size));
        take("crop_pct", value({"crop_pct"}, [](const json& v) { return v.is_number(); }));
        take("interpolation", value({"interpolation"}, text));
        take("crop_mode", value({"crop_mode"}, text));
    };
    // Left out with a word (predict/preprocessing.cpp).
    const auto mention_unclear = [&] {
        if (metadata.contains("preprocess.normalize") || metadata.contains("preprocess.mean")) return;
        for (const auto& [key, content] : unclear) metadata.emplace("preprocess." + key, content);
    };
    // What was used in training before what a network is published with.
    for (const bool deep : {false, true})
        each_level(
            facts,
            [&](const std::string& above, const json& level) {
                if (!is_template(above)) stated(above, level);
            },
            deep);
    mention_unclear();
    each_level(facts, [&](const std::string& above, const json& level) {
        for (const char* key : {"pretrained_cfg", "default_cfg"})
            if (const auto found = level.find(key); found != level.end() && found->is_object())
                stated(above.empty() ? key : above + "." + key, *found);
    });
    mention_unclear();
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
            const auto keys = plain_keys(level);
            for (const std::string_view key : kNameKeys)
                for (auto [found, end] = keys.equal_range(std::string(key)); found != end; ++found)
                    if (const size_t names = names_in(*found->second.second).size()) counts.insert(names);
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
    const auto look = [&](const std::string& above, const json& level) {
        if (above == "state_dict") return;
        const auto keys = plain_keys(level);
        std::vector<std::pair<std::string, const json*>> stated;
        for (const std::string_view wanted : kNameKeys)
            for (auto [found, end] = keys.equal_range(std::string(wanted)); found != end; ++found)
                stated.push_back(found->second);
        for (const auto& [key, value] : stated) {
            const std::vector<std::string> names = names_in(*value);
            const std::string here = above.empty() ? key : above + "." + key;
            if (names.empty()) {
                if (value->is_structured() && !value->empty() && !(value->is_array() && value->front().is_number()))
                    notes.push_back(fmt::format(
                        "{} is not used: it is not a list of different names, nor names with the numbers 0, 1, 2, ...",
                        here));
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
    };
    each_level(facts, look);
    const size_t before = notes.size();
    if (chosen.empty()) each_level(facts, look, true);
    if (const size_t more = notes.size() - before; more > 1) {
        notes.resize(before + 1);
        notes.back() += fmt::format("; {} more such cases in the file", more - 1);
    }
    return contradiction ? std::vector<std::string>{} : chosen;
}
