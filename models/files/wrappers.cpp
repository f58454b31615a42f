#include "models/files/wrappers.h"

#include <algorithm>
#include <cstdint>
#include <utility>

namespace {

constexpr std::string_view kWrappers[] = {"_orig_mod", "_checkpoint_wrapped_module", "_fsdp_wrapped_module",
                                          "_fpw_module"};

// The first part of `name` with its dot, and whether it is a wrapper's.
std::pair<std::string_view, bool> first_part(std::string_view name) {
    const std::string_view part = name.substr(0, name.find('.'));
    return {name.substr(0, part.size() + 1), std::ranges::count(kWrappers, part) > 0};
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
    const auto unwrap = [&](uint32_t& node) {
        for (int depth = 0; depth < 8 && tree.nodes[node].kind == PickleKind::object; ++depth) {
            const PickleValue module(&tree, node), inside = module.find("_modules");
            PickleValue inner;
            if (module.type_name() == "torch._dynamo.eval_frame.OptimizedModule") {
                inner = inside.find("_orig_mod");
                if (inner.is(PickleKind::absent)) inner = module.arguments()[0];  // newer versions of torch
            } else if (module.type_name().starts_with("torch.distributed.algorithms._checkpoint.")) {
                inner = inside.find("_checkpoint_wrapped_module");
            }
            const bool hooks = module.find("_forward_hooks").size() + module.find("_forward_pre_hooks").size() > 0;
            if (!inner.is(PickleKind::object) || hooks) return;
            node = inner.id();
        }
    };
    for (PickleNode& node : tree.nodes)
        for (uint32_t& child : node.children) unwrap(child);
    unwrap(tree.root);
}
