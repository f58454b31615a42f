#include "models/files/wrappers.h"

#include <algorithm>
#include <cstdint>
#include <unordered_map>
#include <utility>

namespace {

constexpr std::string_view kWrappers[] = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module",
                                          "_fpw_module"};

// The first part of `name` with its dot, and whether it is a wrapper's.
std::pair<std::string_view, bool> first_part(std::string_view name) {
    const std::string_view part = name.substr(0, name.find('.'));
    return {name.substr(0, part.size() + 1), std::ranges::count(kWrappers, part) > 0};
}

bool is_compiled(const PickleValue& module) { return module.type_name() == "torch._dynamo.eval_frame.OptimizedModule"; }

bool is_wrapper(const PickleValue& module) {
    return is_compiled(module) || module.type_name().starts_with("torch.distributed.algorithms._checkpoint.");
}

// `wrapper` itself if it has to stay.
uint32_t inner_module(const PickleValue& wrapper) {
    const bool compiled = is_compiled(wrapper);
    PickleValue inner = wrapper.find("_modules").find(compiled ? "_orig_mod" : "_checkpoint_wrapped_module");
    if (compiled && inner.is(PickleKind::absent)) inner = wrapper.arguments()[0];  // newer versions of torch
    const bool hooks = wrapper.find("_forward_hooks").size() + wrapper.find("_forward_pre_hooks").size() > 0;
    return inner.is(PickleKind::object) && !hooks ? inner.id() : wrapper.id();
}

}  // namespace

std::string without_wrappers(std::string_view name, size_t container) {
    std::string plain(name.substr(0, container));
    for (name.remove_prefix(container); !name.empty();) {
        const auto [part, wrapper] = first_part(name);
        if (!wrapper) plain += part;
        name.remove_prefix(part.size());
    }
    return plain;
}

std::string with_wrappers(std::string_view name, size_t container, size_t n) {
    size_t end = container;
    n -= container;
    while (end < name.size()) {
        const auto [part, wrapper] = first_part(name.substr(end));
        if (!wrapper && n == 0) break;
        if (!wrapper) n -= std::min(n, part.size());
        end += part.size();
    }
    return std::string(name.substr(0, end));
}

void unwrap_modules(PickleTree& tree) {
    std::unordered_map<uint32_t, uint32_t> known;  // of a wrapper, its inner module or itself: many may refer to it
    const auto unwrap = [&](uint32_t& node) {
        for (int depth = 0; depth < 8 && is_wrapper(PickleValue(&tree, node)); ++depth) {
            const auto [inner, is_new] = known.try_emplace(node, node);
            if (is_new) inner->second = inner_module(PickleValue(&tree, node));
            if (inner->second == node) return;
            node = inner->second;
        }
    };
    for (PickleNode& node : tree.nodes)
        for (uint32_t& child : node.children) unwrap(child);
    unwrap(tree.root);
}
