// concat of channels and upsample2.
#include "kernels/layout.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

// The gradient of one part of a concatenation.
struct Slice {
    static constexpr std::string_view name = "slice_channels";
    size_t part, rows, channels, pitch, offset;
    void bind(auto& k, auto& slot) const {
        k.rows = rows, k.channels = channels, k.x_pitch = pitch, k.x_offset = offset, k.y_pitch = channels;
        slot.in("dy", k.x);
        slot.out("dpart", part, k.y);
    }
};

constexpr size_t kMaxParts = 8;

template <class T>
struct CopyAll {
    size_t count;
    CopyChannels<T> part[kMaxParts];
};
template <class Device, class T>
void compute(const Device& device, const CopyAll<T>& copy) {
    for (size_t i = 0; i < copy.count; ++i) compute(device, copy.part[i]);
}

std::string part_name(size_t i) { return fmt::format("part{}", i); }

struct CopyAllInt8 {
    size_t count;
    CopyChannelsInt8 part[kMaxParts];
};
void compute(const Cpu& cpu, const CopyAllInt8& copy) {
    for (size_t i = 0; i < copy.count; ++i) compute(cpu, copy.part[i]);
}

void bind_concat(const auto& concat, auto& k, auto& slot) {
    k.count = concat.widths.size();
    size_t offset = 0;
    for (size_t i = 0; i < k.count; ++i) {
        auto& part = k.part[i];
        part.rows = concat.rows, part.channels = part.x_pitch = concat.widths[i];
        part.y_pitch = concat.channels, part.y_offset = offset;
        if constexpr (requires { part.x_range; }) part.x_range = concat.ranges[i], part.y_range = concat.y_range;
        offset += concat.widths[i];
        slot.in("part", i, part.x);
    }
    slot.out("y", k.part[0].y);
    for (size_t i = 1; i < k.count; ++i) k.part[i].y = k.part[0].y;
}

struct ConcatInt8 {
    static constexpr std::string_view name = "concat_int8";
    static constexpr bool untyped = true, cpu_only = true;
    size_t rows, channels;
    std::vector<size_t> widths;
    std::vector<Quantization> ranges;
    Quantization y_range;
    void bind(auto& k, auto& slot) const { bind_concat(*this, k, slot); }
};

struct Concat {
    static constexpr std::string_view name = "concat";
    static constexpr bool keeps_range = true;
    size_t rows, channels;
    std::vector<size_t> widths;
    void bind(auto& k, auto& slot) const { bind_concat(*this, k, slot); }
    std::shared_ptr<const Op> on_bytes(std::span<const Quantization> in, Quantization out) const {
        return cpu_op<CopyAllInt8>(ConcatInt8{rows, channels, widths, {in.begin(), in.end()}, out});
    }
    NamedValues backward(const BackwardArgs& node) const {
        NamedValues grads;
        size_t offset = 0;
        for (size_t i = 0; i < widths.size(); ++i) {
            if (node.needed(part_name(i)))
                grads.merge(add_node<CopyChannels>(Slice{i, rows, widths[i], channels, offset},
                                                   {{"dy", node.grad("y")}},
                                                   {{"d" + part_name(i), node[part_name(i)]}}));
            offset += widths[i];
        }
        return grads;
    }
};

struct UpsampleBackward {
    static constexpr std::string_view name = "upsample2_backward";
    Shape s;
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2], k.c = s[3];
        slot.in("dy", k.dy);
        slot.out("dx", k.dx);
    }
};

struct Upsample {
    static constexpr std::string_view name = "upsample2";
    static constexpr bool keeps_range = true, takes_bytes = true;
    Shape s;
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2], k.c = s[3];
        slot.in("x", k.x);
        slot.out("y", k.y);
    }
    NamedValues backward(const BackwardArgs& node) const {
        return add_node<Upsample2Backward>(UpsampleBackward{s}, {{"dy", node.grad("y")}}, {{"dx", node["x"]}});
    }
};

struct SliceInt8 {
    static constexpr std::string_view name = "slice_int8";
    static constexpr bool untyped = true, cpu_only = true;
    size_t rows, pitch, first, channels;
    void bind(auto& k, auto& slot) const {
        k.rows = rows, k.channels = channels, k.x_pitch = pitch, k.x_offset = first, k.y_pitch = channels;
        slot.in("x", k.x);
        slot.out("y", k.y);
    }
};

struct SliceForward {
    static constexpr std::string_view name = "slice";
    static constexpr bool keeps_range = true;
    size_t rows, pitch, first, channels;
    void bind(auto& k, auto& slot) const { SliceInt8{rows, pitch, first, channels}.bind(k, slot); }
    std::shared_ptr<const Op> on_bytes(std::span<const Quantization>, Quantization) const {
        return cpu_op<CopyChannelsInt8>(SliceInt8{rows, pitch, first, channels});
    }
};

}  // namespace

Value slice(Value x, size_t first, size_t channels) {
    const Shape& s = x.shape();
    require(s.size() == 4 && channels > 0 && first + channels <= s[3],
            "slice: x has shape {}, which has no channels {} to {}", to_string(s), first, first + channels);
    return add_node<CopyChannels>(SliceForward{s[0] * s[1] * s[2], s[3], first, channels}, {{"x", x}},
                                  {{"y", {s[0], s[1], s[2], channels}, x.dtype()}})["y"];
}

Value concat(Values parts) {
    require(parts.size() >= 2 && parts.size() <= kMaxParts, "concat: {} parts; it takes at least two and at most {}",
            parts.size(), kMaxParts);
    NamedValues in;
    std::vector<size_t> widths;
    Shape y = parts[0].shape();
    y.back() = 0;
    for (Value part : parts) {
        Shape s = part.shape();
        in[part_name(widths.size())] = part;
        widths.push_back(s.back());
        y.back() += s.back();
        s.back() = y.back();
        require(s == y && part.dtype() == parts[0].dtype(), "concat: {} does not match {}", to_string(part.shape()),
                to_string(parts[0].shape()));
    }
    const size_t rows = numel(y) / y.back();
    return add_node<CopyAll>(Concat{rows, y.back(), widths}, in, {{"y", y, parts[0].dtype()}})["y"];
}

Value upsample2(Value x) {
    const Shape& s = x.shape();
    require(s.size() == 4, "upsample2: x has shape {}, not (n, h, w, c)", to_string(s));
    const Shape y{s[0], 2 * s[1], 2 * s[2], s[3]};
    return add_node<Upsample2>(Upsample{s}, {{"x", x}}, {{"y", y, x.dtype()}})["y"];
}
