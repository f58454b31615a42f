// max_pool and global_average_pool.
#include "kernels/pool.h"

#include "engine/op.h"
#include "engine/ops.h"

namespace {

struct MaxBackward {
    static constexpr std::string_view name = "max_pool_backward";
    MaxPoolShape shape;
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("dy", k.dy), slot.in("dy2", k.dy2), slot.in("argmax", k.argmax);
        slot.out("dx", k.dx);
    }
};

struct MaxForward {
    static constexpr std::string_view name = "max_pool";
    static constexpr bool keeps_range = true, takes_bytes = true;
    MaxPoolShape shape;
    void bind(auto& k, auto& slot) const {
        k.shape = shape;
        slot.in("x", k.x);
        slot.out("y", k.y), slot.out("argmax", k.argmax);
    }
    NamedValues backward(const BackwardArgs& node) const {
        require(bool(node["argmax"]), "max_pool: gradients need a graph built for training");
        const auto [dy, dy2] = node.two_grads("y");
        return add_node<MaxPoolBackward>(MaxBackward{shape}, {{"dy", dy}, {"dy2", dy2}, {"argmax", node["argmax"]}},
                                         {{"dx", node["x"]}});
    }
};

struct AverageBackward {
    static constexpr std::string_view name = "global_average_pool_backward";
    size_t n, pixels, channels;
    void bind(auto& k, auto& slot) const {
        k.n = n, k.pixels = pixels, k.c = channels;
        slot.in("dy", k.dy);
        slot.out("dx", k.dx);
    }
};

struct AverageForward {
    static constexpr std::string_view name = "global_average_pool";
    size_t n, pixels, channels;
    void bind(auto& k, auto& slot) const {
        k.n = n, k.pixels = pixels, k.c = channels;
        slot.in("x", k.x);
        slot.out("y", k.y);
    }
    NamedValues backward(const BackwardArgs& node) const {
        return add_node<GlobalAveragePoolBackward>(AverageBackward{n, pixels, channels}, {{"dy", node.grad("y")}},
                                                   {{"dx", node["x"]}});
    }
};

struct Average2 {
    static constexpr std::string_view name = "average_pool2";
    static constexpr bool keeps_range = true;
    Shape s;
    void bind(auto& k, auto& slot) const {
        k.n = s[0], k.h = s[1], k.w = s[2], k.c = s[3];
        slot.in("x", k.x);
        slot.out("y", k.y);
    }
};

}  // namespace

Value average_pool2(Value x) {
    const Shape& s = x.shape();
    require(s.size() == 4 && s[1] > 1 && s[2] > 1, "average_pool2: x has shape {}; it needs two lines and two columns",
            to_string(s));
    return add_node<AveragePool2>(Average2{s}, {{"x", x}}, {{"y", {s[0], s[1] - 1, s[2] - 1, s[3]}, x.dtype()}})["y"];
}

Value max_pool(Value x, size_t kernel, size_t stride, size_t padding) {
    const Shape& s = x.shape();
    require(s.size() == 4, "max_pool: x has shape {}, not (n, h, w, c)", to_string(s));
    require(kernel >= 1 && kernel <= 15 && stride >= 1 && padding <= kernel / 2,
            "max_pool: kernel {}, stride {}, padding {}; kernels may be 1 to 15, padding up to half of that", kernel,
            stride, padding);
    require(s[1] + 2 * padding >= kernel && s[2] + 2 * padding >= kernel, "max_pool: a window of {} does not fit {}",
            kernel, to_string(s));
    const MaxPoolShape shape{s[0], s[1], s[2], s[3], kernel, stride, padding};
    const Shape y{s[0], shape.out_h(), shape.out_w(), s[3]};
    std::vector<OutputSpec> out = {{"y", y, x.dtype()}};
    if (x.graph->training) out.emplace_back("argmax", y, DType::u8);
    return add_node<MaxPoolForward>(MaxForward{shape}, {{"x", x}}, out)["y"];
}

Value global_average_pool(Value x) {
    const Shape& s = x.shape();
    require(s.size() == 4, "global_average_pool: x has shape {}, not (n, h, w, c)", to_string(s));
    return add_node<GlobalAveragePoolForward>(AverageForward{s[0], s[1] * s[2], s[3]}, {{"x", x}},
                                              {{"y", {s[0], s[3]}, x.dtype()}})["y"];
}
