#include "models/files/find_network.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <optional>
#include <set>

#include "base/error.h"
#include "base/text.h"
#include "models/files/wrappers.h"

namespace {

// Where checkpoints keep weights, the preferred ones first: an average before what it is an average of, as YOLOv5 and
// timm do when they read their own files.
constexpr std::string_view kOrder[] = {"ema", "state_dict_ema", "state_dict", "model_state_dict", "model", "net"};

bool one_of(std::string_view name, std::initializer_list<std::string_view> list) {
    return std::find(list.begin(), list.end(), name) != list.end();
}
std::string_view first_part(std::string_view name) { return name.substr(0, name.find('.')); }

std::string torchvision_names(std::string_view rest) {
    return one_of(first_part(rest), {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4"}) ? std::string(rest) : "";
}

// Sequential(*resnet.children()): 2, 3 and 8 have no weights.
std::string sequential_names(std::string_view rest) {
    const std::string_view part = first_part(rest);
    if (part.size() != 1 || part.size() == rest.size()) return "";
    switch (part[0]) {
        case '0': return "conv1" + std::string(rest.substr(1));
        case '1': return "bn1" + std::string(rest.substr(1));
        case '4':
        case '5':
        case '6':
        case '7': return fmt::format("layer{}{}", part[0] - '3', rest.substr(1));
    }
    return "";
}

// embedder.embedder.convolution, encoder.stages.S.layers.B.{layer.K,shortcut}.{convolution,normalization}
std::string transformers_names(std::string_view rest) {
    std::vector<std::string_view> parts;
    for (std::string_view left = rest; !left.empty();) {
        parts.push_back(first_part(left));
        left = parts.back().size() == left.size() ? "" : left.substr(parts.back().size() + 1);
    }
    const auto with = [&](const std::string& conv, const std::string& norm) {
        const bool is_conv = parts[parts.size() - 2] == "convolution";
        if (!is_conv && parts[parts.size() - 2] != "normalization") return std::string(rest);  // nothing has this name
        return fmt::format("{}.{}", is_conv ? conv : norm, parts.back());
    };
    if (parts.size() == 4 && parts[0] == "embedder" && parts[1] == "embedder") return with("conv1", "bn1");
    if (parts.size() < 8 || parts[0] != "encoder" || parts[1] != "stages" || parts[2].size() != 1)
        return one_of(first_part(rest), {"embedder", "encoder"}) ? std::string(rest) : "";
    const std::string block = fmt::format("layer{}.{}.", int(parts[2][0] - '0') + 1, parts[4]);
    if (parts.size() == 8 && parts[5] == "shortcut") return with(block + "downsample.0", block + "downsample.1");
    if (parts.size() != 9 || parts[5] != "layer" || parts[6].size() != 1) return std::string(rest);
    const int k = parts[6][0] - '0' + 1;
    return with(fmt::format("{}conv{}", block, k), fmt::format("{}bn{}", block, k));
}

std::string yolov5_names(std::string_view rest) { return rest.starts_with("model.") ? std::string(rest) : ""; }

struct Scheme {
    std::string_view anchor;
    std::vector<std::string> stems;
    std::string (*canonical)(std::string_view rest);
    bool has_head;  // whose last layer stands beside
};
const Scheme kSchemes[] = {
    {"layer1.0.conv1.weight", {"conv1.weight", "conv1.0.weight"}, torchvision_names, true},
    {"4.0.conv1.weight", {"0.weight"}, sequential_names, true},
    {"encoder.stages.0.layers.0.layer.0.convolution.weight",
     {"embedder.embedder.convolution.weight"},
     transformers_names,
     true},
    {"model.1.conv.weight", {"model.0.conv.weight", "model.0.conv.conv.weight"}, yolov5_names, false},
};

struct Place {
    const Scheme* scheme;
    std::string prefix;
    size_t container;
    std::string storage;
    size_t rank;
    size_t tensor;  // that it was found by
};

std::vector<Place> places_of(std::span<const CheckpointTensor> tensors) {
    std::set<std::string_view> names;
    for (const CheckpointTensor& t : tensors) names.insert(t.name);
    std::vector<Place> places;
    for (const Scheme& scheme : kSchemes)
        for (const CheckpointTensor& t : tensors) {
            if (!t.name.ends_with(scheme.anchor)) continue;
            const std::string prefix = t.name.substr(0, t.name.size() - scheme.anchor.size());
            if (!prefix.empty() && prefix.back() != '.') continue;
            if (std::ranges::none_of(scheme.stems,
                                     [&](const std::string& stem) { return names.contains(prefix + stem); }))
                continue;
            const auto rank = std::ranges::find(kOrder, first_part(prefix)) - std::begin(kOrder);
            places.push_back({&scheme, prefix, std::min(t.container, prefix.size()), t.storage, 2 * size_t(rank),
                              size_t(&t - tensors.data())});
            // The copy that momentum contrast keeps of the network that it trains.
            if (prefix.find("encoder_k.") != prefix.npos || prefix.find("momentum") != prefix.npos)
                ++places.back().rank;
        }
    std::ranges::stable_sort(places, {}, &Place::rank);
    return places;
}

// What stands beside the network under one name.
struct Group {
    std::string root;
    bool inside;  // directly behind the prefix of the network
    std::vector<size_t> members{};
};

class Beside {
public:
    Beside(std::span<const CheckpointTensor> tensors, FoundNetwork& found, size_t classes)
        : tensors_(tensors), found_(found), classes_(classes) {}

    void look(const std::vector<Place>& others) {
        std::set<std::string_view> own;
        for (size_t i = 0; i < tensors_.size(); ++i)
            if (!found_.names[i].empty() && !tensors_[i].storage.empty()) own.insert(tensors_[i].storage);
        std::map<std::string, Group> groups;
        std::set<std::string> networks;
        for (size_t i = 0; i < tensors_.size(); ++i) {
            const CheckpointTensor& t = tensors_[i];
            if (!found_.names[i].empty() || !t.name.starts_with(found_.container) || !t.real) continue;
            if (t.container != found_.container.size()) continue;  // such as an optimizer's
            if (t.name.ends_with("_extra_state") || t.name.ends_with("num_batches_tracked")) continue;
            if (own.contains(t.storage)) continue;  // the network under a second name
            const auto other = std::ranges::find_if(others, [&](const Place& p) {
                return !p.prefix.empty() && !found_.prefix.starts_with(p.prefix) && t.name.starts_with(p.prefix);
            });
            if (other != others.end()) {
                networks.insert(other->prefix);
                continue;
            }
            const std::string root = root_of(t.name);
            groups.try_emplace(root, Group{root, t.name.starts_with(found_.prefix)}).first->second.members.push_back(i);
        }
        for (const std::string& prefix : networks) leave_out(prefix + "*");
        for (const auto& [root, group] : groups) sort_in(group);
        choose();
        for (const auto& [root, shown] : left_out_) found_.notes.push_back(fmt::format("{} is not used", shown));
    }

    size_t features = 0;

private:
    struct Head {
        const Group* group;
        size_t weight, bias, classes;
    };

    // "net.feature." and "net.classifier.1.weight" -> "net.classifier"
    std::string root_of(const std::string& name) const {
        size_t common = 0;
        for (size_t i = 0; i < std::min(name.size(), found_.prefix.size()) && name[i] == found_.prefix[i]; ++i)
            if (name[i] == '.') common = i + 1;
        return name.substr(0, std::min(name.find('.', common), name.size()));
    }
    std::string shown(const Group& g) const {
        const std::string& name = tensors_[g.members[0]].name;
        return name.substr(found_.container.size(),
                           g.members.size() == 1 ? name.npos : g.root.size() - found_.container.size()) +
               (g.members.size() == 1 || name == g.root ? "" : ".*");
    }
    std::string first_name(const Group& g) const { return tensors_[g.members[0]].name.substr(found_.container.size()); }
    void leave_out(const std::string& name) { left_out_[name] = name.substr(found_.container.size()); }

    std::optional<Head> linear(const Group& g) const {
        if (g.members.size() != 2) return {};
        Head head{&g, g.members[0], g.members[1], 0};
        if (tensors_[head.weight].shape.size() < tensors_[head.bias].shape.size()) std::swap(head.weight, head.bias);
        const CheckpointTensor &w = tensors_[head.weight], &b = tensors_[head.bias];
        if (!w.name.ends_with("weight") || !b.name.ends_with("bias") || w.shape.size() != 2 || w.shape[1] != features ||
            w.name.substr(0, w.name.size() - 6) != b.name.substr(0, b.name.size() - 4) || b.shape != Shape{w.shape[0]})
            return {};
        head.classes = w.shape[0];
        return head;
    }

    void sort_in(const Group& g) {
        const std::string words = lower(g.root.substr(found_.container.size()));
        for (const char* word : {"loss", "criterion", "metric", "accuracy", "auroc", "queue"})
            if (words.find(word) != words.npos) {
                left_out_[g.root] = shown(g);
                return;
            }
        // Statistics of three colours: the network normalizes its images itself, and not as tundra would.
        const auto colours = [&](size_t i) {
            const CheckpointTensor& t = tensors_[i];
            const auto elements = std::accumulate(t.shape.begin(), t.shape.end(), size_t(1), std::multiplies());
            return elements == 3 && t.name.find("mean", t.name.rfind('.') + 1) != t.name.npos;
        };
        if (const auto mean = std::ranges::find_if(g.members, colours); mean != g.members.end()) {
            found_.trouble = fmt::format("a ResNet with {}, and tundra does not know how that prepares its images",
                                         tensors_[*mean].name.substr(found_.container.size()));
            return;
        }
        if (const std::optional<Head> head = linear(g)) {
            const auto same = [&](const Head& other) {  // under a second name
                const CheckpointTensor &w = tensors_[other.weight], &b = tensors_[other.bias];
                return !w.storage.empty() && w.storage == tensors_[head->weight].storage &&
                       b.storage == tensors_[head->bias].storage && other.classes == head->classes;
            };
            if (std::ranges::none_of(heads_, same)) heads_.push_back(*head);
            return;
        }
        size_t vectors = 0, rank = 0;
        bool takes_features = false;
        for (const size_t i : g.members) {
            const Shape& s = tensors_[i].shape;
            vectors += s.size() == 1 && s[0] > 1;
            rank = std::max(rank, s.size());
            takes_features |= s.size() >= 2 && (s[1] == features || s[1] == 2 * features);
            takes_features |= s.size() == 1 && (s[0] == features || s[0] == 2 * features);
        }
        const bool scales = words.find("temperature") != words.npos || words.find("scale") != words.npos;
        const bool layer = rank >= 2 || vectors >= 2 || scales;
        if (g.inside && rank > 2 && !takes_features)
            found_.trouble =
                fmt::format("a ResNet with {}, which the ResNets that tundra builds do not have", first_name(g));
        else if (layer && (g.inside || takes_features || scales))
            layers_.push_back(&g);
        else if (layer)
            others_.push_back(&g);
        else
            left_out_[g.root] = shown(g);
    }

    static bool is_head_name(std::string_view root) {
        return one_of(lower(std::string(root.substr(root.rfind('.') + 1))), {"classifier",
                                                                             "head",
                                                                             "fc",
                                                                             "cls",
                                                                             "clf",
                                                                             "linear",
                                                                             "logits",
                                                                             "output",
                                                                             "out",
                                                                             "last_layer",
                                                                             "last_linear",
                                                                             "final",
                                                                             "final_layer",
                                                                             "classification_head",
                                                                             "classifier_head",
                                                                             "class_head",
                                                                             "cls_head",
                                                                             "prediction_head",
                                                                             "predictor",
                                                                             "fc_out"});
    }

    void choose() {
        const Head* chosen = nullptr;
        const auto only = [&](auto fits) {
            const auto n = std::ranges::count_if(heads_, fits);
            if (n == 1 && !chosen) chosen = &*std::ranges::find_if(heads_, fits);
        };
        if (classes_) only([&](const Head& h) { return h.classes == classes_; });
        if (heads_.size() == 1) chosen = &heads_[0];
        // A layer outside that takes the network's features shows that the network's own fc is a left-over.
        if (std::ranges::count_if(heads_, [](const Head& h) { return !h.group->inside; }) == 1)
            only([&](const Head& h) { return !h.group->inside && is_head_name(h.group->root); });
        std::vector<std::string> names;
        for (const Head& head : heads_) names.push_back(shown(*head.group));
        for (const Group* g : layers_) names.push_back(shown(*g));
        for (const Group* g : others_) {
            // fc (1000 outputs), then a layer that takes these 1000; or anything between network and last layer.
            const bool follows = chosen && std::ranges::any_of(g->members, [&](size_t i) {
                                     const Shape& s = tensors_[i].shape;
                                     return s.size() >= 2 && s[1] == chosen->classes;
                                 });
            if (chosen && (follows || !chosen->group->inside || (!g->inside && is_head_name(g->root))))
                names.push_back(shown(*g));
            else
                left_out_[g->root] = shown(*g);
        }
        if (heads_.empty() && names.empty()) {
            found_.lacks = "its last layer is missing";
        } else if (heads_.empty()) {
            found_.lacks = fmt::format(
                "its last layers ({}) are not one linear layer with a bias, the only kind that tundra builds",
                fmt::join(names, ", "));
        } else if (!chosen || names.size() != heads_.size()) {
            found_.lacks =
                fmt::format("nothing in the file says which of these is its last layer: {}", fmt::join(names, ", "));
        } else if (const bool contradiction =
                       classes_ && chosen->classes != classes_ && !(classes_ == 2 && chosen->classes == 1);
                   contradiction && !is_head_name(chosen->group->root)) {
            found_.lacks = fmt::format("the file speaks of {} classes, and its only linear layer {} has {} outputs",
                                       classes_, shown(*chosen->group), chosen->classes);
        } else {
            if (contradiction)
                found_.notes.push_back(
                    fmt::format("the file speaks of {} classes, and its last layer {} has {} outputs", classes_,
                                shown(*chosen->group), chosen->classes));
            found_.names[chosen->weight] = "fc.weight";
            found_.names[chosen->bias] = "fc.bias";
            for (const Head& head : heads_)
                if (&head != chosen) left_out_[head.group->root] = shown(*head.group);
            if (heads_.size() > 1)
                found_.notes.push_back(fmt::format("{} is taken as the last layer", shown(*chosen->group)));
        }
    }

    std::span<const CheckpointTensor> tensors_;
    FoundNetwork& found_;
    size_t classes_;
    std::vector<Head> heads_{};
    std::vector<const Group*> layers_{}, others_{};  // that take the features or stand inside; all others
    std::map<std::string, std::string> left_out_{};
};

}  // namespace

FoundNetwork find_network(std::span<const CheckpointTensor> given, size_t classes) {
    std::vector<CheckpointTensor> tensors(given.begin(), given.end());
    for (CheckpointTensor& t : tensors) t.name = without_wrappers(t.name, t.container);
    FoundNetwork found{.names = std::vector<std::string>(tensors.size())};
    const std::vector<Place> places = places_of(tensors);
    if (places.empty()) return found;
    const Place& place = places[0];
    found.found = true;
    found.transformers = place.scheme->canonical == transformers_names;
    found.container = place.prefix.substr(0, place.container);
    found.prefix = place.prefix;
    std::vector<Place> others;
    for (const Place& other : places) {
        if (other.prefix == place.prefix || (!other.storage.empty() && other.storage == place.storage)) continue;
        if (other.rank == place.rank)
            found.trouble =
                fmt::format("two networks, behind '{}' and behind '{}', and nothing says which counts; save one alone",
                            place.prefix, other.prefix);
        others.push_back(other);
        if (!other.prefix.starts_with(found.container))
            found.notes.push_back(fmt::format("another network, behind '{}', is not used", other.prefix));
    }
    Beside beside(tensors, found, classes);
    for (size_t i = 0; i < tensors.size(); ++i) {
        const CheckpointTensor& t = tensors[i];
        if (!t.name.starts_with(place.prefix)) continue;
        found.names[i] = place.scheme->canonical(std::string_view(t.name).substr(place.prefix.size()));
        const std::string& name = found.names[i];
        if (name.starts_with("layer4.") && name.ends_with(".conv3.weight") && !t.shape.empty())
            beside.features = t.shape[0];
    }
    if (place.scheme->has_head) beside.look(others);
    if (std::ranges::any_of(others, [&](const Place& other) { return other.rank == place.rank + 1; }))
        found.lacks = "it was trained by momentum contrast, so its outputs are features and no classes";
    std::set<std::string_view> once;
    for (const std::string& name : found.names)
        if (!name.empty() && !once.insert(name).second)
            found.trouble = fmt::format("a network that has {} twice", name);
    found.prefix = with_wrappers(given[place.tensor].name, place.container, found.prefix.size());
    return found;
}
