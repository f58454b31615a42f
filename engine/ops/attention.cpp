// attention: inference only.
#include "kernels/attention.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct Attend {
    static constexpr std::string_view name = "attention";
    static constexpr bool keeps_range = true;  // means of the values
    Shape s;
    size_t heads, key, value;
    double flops() const {
        const double positions = double(s[1] * s[2]);
        return 2.0 * double(s[0] * heads * (key + value)) * positions * positions;
    }
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.positions = s[1] * s[2], k.heads = heads, k.key = key, k.value = value;
        slot.in("qkv", k.qkv);
        slot.out("y", k.y), slot.out("v", k.v);
    }
};

}  // namespace

AttentionResult attention(Value qkv, size_t heads, size_t key) {
    const Shape& s = qkv.shape();
    require(s.size() == 4 && heads > 0 && key > 0 && s[3] % heads == 0 && s[3] / heads > 2 * key,
            "attention: qkv has shape {}; {} heads with keys of {} do not fit", to_string(s), heads, key);
    const size_t value = s[3] / heads - 2 * key;
    require(key <= kMaxAttentionKey && value <= kMaxAttentionValue,
            "attention: keys of {} and values of {}; up to {} and {} are possible", key, value, kMaxAttentionKey,
            kMaxAttentionValue);
    const Shape y{s[0], s[1], s[2], heads * value};
    NamedValues out = add_node<Attention>(Attend{s, heads, key, value}, {{"qkv", qkv}},
                                          {{"y", y, qkv.dtype()}, {"v", y, qkv.dtype()}});
    return {out["y"], out["v"]};
}
