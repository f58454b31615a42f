// Convolution on the CPU by oneDNN: see conv.h. Primitives are created once per shape and kept; x and y stay NHWC,
// weights are reordered to and from the layout that oneDNN prefers.
#include "kernels/conv/onednn.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <memory>
#include <mutex>
#include <new>
#include <optional>
#include <vector>

#include "base/aligned_memory.h"
#include "kernels/onednn.h"

namespace {
using Memory = dnnl::memory;
using Desc = dnnl::memory::desc;

enum class Direction { forward, backward_data, backward_weight };

// Everything that a primitive depends on.
struct Key {
    Direction direction;
    int threads;
    ConvShape shape;
    Activation activation = Activation::none;
    bool bias = false, residual = false, residual_last = false, in_place = false;
    auto operator<=>(const Key&) const = default;
};

// The residual already lies where y goes. oneDNN then adds to its destination, for which it has its fast kernels: with
// a residual elsewhere a 1x1 convolution of ResNet-50 takes up to twice as long.
bool in_place(const ConvForward<float>& op) { return op.residual && op.residual == op.y; }

Desc activations(size_t n, size_t h, size_t w, size_t c) {
    const auto dim = [](size_t size) { return Memory::dim(size); };
    return {{dim(n), dim(c), dim(h), dim(w)}, Memory::data_type::f32, {dim(h * w * c), 1, dim(w * c), dim(c)}};
}
Desc x_desc(const ConvShape& s) { return activations(s.n, s.h, s.w, s.c_in); }
Desc y_desc(const ConvShape& s) { return activations(s.n, s.out_h(), s.out_w(), s.c_out); }
Desc weight_desc(const ConvShape& s, Memory::format_tag tag) {
    return {{Memory::dim(s.c_out), Memory::dim(s.c_in), Memory::dim(s.kernel_h), Memory::dim(s.kernel_w)},
            Memory::data_type::f32,
            tag};
}
Desc bias_desc(const ConvShape& s) { return {{Memory::dim(s.c_out)}, Memory::data_type::f32, Memory::format_tag::a}; }

dnnl::convolution_forward::primitive_desc describe_forward(const dnnl::engine& engine,
                                                           const dnnl::primitive_attr& attributes, dnnl::prop_kind kind,
                                                           const ConvShape& s, const Desc& x, const Desc& bias,
                                                           const Desc& y) {
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    return describe<dnnl::convolution_forward>(engine, attributes, kind, dnnl::algorithm::convolution_direct, x,
                                               weight_desc(s, Memory::format_tag::any), bias, y, strides, padding,
                                               padding);
}

int residual_argument(const ConvForward<float>& op) {  // which post-op it is
    const bool second = op.residual_last && op.activation != Activation::none;
    return DNNL_ARG_ATTR_MULTIPLE_POST_OP(second) | DNNL_ARG_SRC_1;
}

dnnl::primitive_attr with_user_scratchpad() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
}

// A primitive with its memory objects; from run to run only their addresses change.
class Call {
public:
    template <class PrimitiveDesc>
    Call(const PrimitiveDesc& desc, dnnl::primitive primitive) : primitive_(std::move(primitive)) {
        scratchpad_bytes_ = desc.scratchpad_desc().get_size();
        add(DNNL_ARG_SCRATCHPAD, desc.scratchpad_desc(), desc.get_engine());
    }
    size_t scratchpad_bytes() const { return scratchpad_bytes_; }
    void add(int argument, const Desc& desc, const dnnl::engine& engine) {
        memories_.emplace_back(desc, engine, nullptr);
        arguments_.push_back({argument, memories_.back().get()});
    }
    void set(int argument, const void* address) {
        for (size_t i = 0; i < arguments_.size(); ++i)
            if (arguments_[i].arg == argument) memories_[i].set_data_handle(const_cast<void*>(address));
    }
    void run(const dnnl::stream& stream) const {
        check_onednn(dnnl_primitive_execute(primitive_.get(), stream.get(), int(arguments_.size()), arguments_.data()),
                     "convolution");
    }

private:
    dnnl::primitive primitive_;
    std::vector<Memory> memories_;
    std::vector<dnnl_exec_arg_t> arguments_;  // one per memory, in the same order
    size_t scratchpad_bytes_ = 0;
};

// A convolution and, where oneDNN wants other weights than the plain ones, the reorder before or after it.
struct Prepared {
    Call convolution;
    std::optional<Call> reorder;
    Desc packed;
    size_t packed_bytes = 0;  // 0 without reorder

    size_t scratch_bytes() const {
        const size_t pad = std::max(convolution.scratchpad_bytes(), reorder ? reorder->scratchpad_bytes() : 0);
        return alignment + aligned(packed_bytes) + pad;
    }
};

struct PackedWeight {
    Desc desc;
    AlignedMemory memory;
};

// The parts of Cpu::scratch during one convolution.
struct Parts {
    char *packed, *pad;

    Parts(const Cpu& cpu, const Prepared& p) {
        const auto start = reinterpret_cast<uintptr_t>(cpu.scratch.take<char>(p.scratch_bytes()));
        packed = reinterpret_cast<char*>(aligned(start));
        pad = packed + aligned(p.packed_bytes);
    }
};

class Convolutions {
public:
    std::mutex mutex;  // held by whoever uses anything below: calls share their memory objects
    size_t created = 0;
    std::multimap<const float*, PackedWeight> constant_weights;
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};

    // oneDNN does not look for a profiler: that takes longer than generating its code.
    Convolutions() {
        if (!std::getenv("DNNL_JIT_PROFILE")) dnnl_set_jit_profiling_flags(DNNL_JIT_PROFILE_NONE);
    }

    Prepared& find(const Cpu& cpu, const ConvForward<float>& op) {
        return find(cpu,
                    {.direction = Direction::forward,
                     .threads = cpu.threads,
                     .shape = op.shape,
                     .activation = op.activation,
                     .bias = op.bias != nullptr,
                     .residual = op.residual != nullptr,
                     .residual_last = op.residual_last,
                     .in_place = in_place(op)},
                    op);
    }
    Prepared& find(const Cpu& cpu, const ConvBackwardData<float>& op) {
        return find(cpu, {.direction = Direction::backward_data, .threads = cpu.threads, .shape = op.shape}, op);
    }
    Prepared& find(const Cpu& cpu, const ConvBackwardWeight<float>& op) {
        return find(cpu, {.direction = Direction::backward_weight, .threads = cpu.threads, .shape = op.shape}, op);
    }

private:
    template <class Op>
    Prepared& find(const Cpu& cpu, const Key& key, const Op& op) {
        use_threads(cpu);
        const auto found = prepared_.find(key);
        return found != prepared_.end() ? found->second : prepared_.emplace(key, make(op)).first->second;
    }
    Prepared make(const ConvForward<float>&);
    Prepared make(const ConvBackwardData<float>&);
    Prepared make(const ConvBackwardWeight<float>&);
    Prepared prepare(Call convolution, const ConvShape&, const Desc& packed, bool packed_is_result);

    std::map<Key, Prepared> prepared_;
};

Prepared Convolutions::prepare(Call convolution, const ConvShape& shape, const Desc& packed, bool packed_is_result) {
    ++created;
    const Desc plain = weight_desc(shape, Memory::format_tag::ohwi);
    Prepared p{std::move(convolution), {}, packed};
    if (packed == plain) return p;
    const Desc &from = packed_is_result ? packed : plain, &to = packed_is_result ? plain : packed;
    const dnnl::reorder::primitive_desc desc(engine, from, engine, to, with_user_scratchpad());
    ++created;
    p.reorder.emplace(desc, dnnl::reorder(desc));
    p.reorder->add(DNNL_ARG_FROM, from, engine);
    p.reorder->add(DNNL_ARG_TO, to, engine);
    p.packed_bytes = packed.get_size();
    return p;
}

Prepared Convolutions::make(const ConvForward<float>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc(s), y = y_desc(s), bias = op.bias ? bias_desc(s) : Desc();
    dnnl::post_ops post_ops;
    const auto append_residual = [&] {
        in_place(op) ? post_ops.append_sum(1.0f) : post_ops.append_binary(dnnl::algorithm::binary_add, y);
    };
    if (op.residual && !op.residual_last) append_residual();
    append_activation(post_ops, op.activation);
    if (op.residual && op.residual_last) append_residual();
    dnnl::primitive_attr attributes = with_user_scratchpad();
    attributes.set_post_ops(post_ops);

    const auto desc = describe_forward(engine, attributes, dnnl::prop_kind::forward_inference, s, x, bias, y);
    Call call(desc, dnnl::convolution_forward(desc));
    call.add(DNNL_ARG_SRC, x, engine);
    call.add(DNNL_ARG_WEIGHTS, desc.weights_desc(), engine);
    if (op.bias) call.add(DNNL_ARG_BIAS, bias, engine);
    call.add(DNNL_ARG_DST, y, engine);
    if (op.residual && !in_place(op)) call.add(residual_argument(op), y, engine);
    return prepare(std::move(call), s, desc.weights_desc(), false);
}

Prepared Convolutions::make(const ConvBackwardData<float>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc(s), y = y_desc(s);
    const dnnl::primitive_attr attributes = with_user_scratchpad();
    const auto forward = describe_forward(engine, attributes, dnnl::prop_kind::forward_training, s, x, Desc(), y);
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    const auto desc = describe_backward<dnnl::convolution_backward_data>(
        engine, attributes, forward, dnnl::algorithm::convolution_direct, x, weight_desc(s, Memory::format_tag::any), y,
        strides, padding, padding);
    Call call(desc, dnnl::convolution_backward_data(desc));
    call.add(DNNL_ARG_DIFF_SRC, x, engine);
    call.add(DNNL_ARG_WEIGHTS, desc.weights_desc(), engine);
    call.add(DNNL_ARG_DIFF_DST, y, engine);
    return prepare(std::move(call), s, desc.weights_desc(), false);
}

Prepared Convolutions::make(const ConvBackwardWeight<float>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc(s), y = y_desc(s);
    const dnnl::primitive_attr attributes = with_user_scratchpad();
    const auto forward = describe_forward(engine, attributes, dnnl::prop_kind::forward_training, s, x, Desc(), y);
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    const auto desc = describe_backward<dnnl::convolution_backward_weights>(
        engine, attributes, forward, dnnl::algorithm::convolution_direct, x, weight_desc(s, Memory::format_tag::any), y,
        strides, padding, padding);
    Call call(desc, dnnl::convolution_backward_weights(desc));
    call.add(DNNL_ARG_SRC, x, engine);
    call.add(DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), engine);
    call.add(DNNL_ARG_DIFF_DST, y, engine);
    return prepare(std::move(call), s, desc.diff_weights_desc(), true);
}

Convolutions& convolutions() {
    static Convolutions all;
    return all;
}

void run_reorder(Convolutions& all, Prepared& p, const void* from, void* to, void* pad) {
    p.reorder->set(DNNL_ARG_SCRATCHPAD, pad);
    p.reorder->set(DNNL_ARG_FROM, from);
    p.reorder->set(DNNL_ARG_TO, to);
    p.reorder->run(all.stream);
}

// The weights as the convolution needs them: as they are, packed into scratch, or packed and kept. Constant weights are
// kept from their second use on: a network that runs once needs no new memory.
const void* packed_weight(Convolutions& all, Prepared& p, const float* weight, bool constant, const Parts& parts) {
    if (!p.reorder) return weight;
    void* to = parts.packed;
    if (constant) {
        const auto [first, last] = all.constant_weights.equal_range(weight);
        const auto known = std::find_if(first, last, [&](const auto& one) { return one.second.desc == p.packed; });
        if (known == last) {
            all.constant_weights.emplace(weight, PackedWeight{p.packed, {}});
        } else {
            AlignedMemory& kept = known->second.memory;
            if (kept) return kept.get();
            kept = aligned_memory(p.packed_bytes);
            to = kept.get();
        }
    }
    run_reorder(all, p, weight, to, parts.pad);
    return to;
}

template <class Op>
size_t bytes_of(const Cpu& cpu, const Op& op) {
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    return all.find(cpu, op).scratch_bytes();
}
}  // namespace

namespace onednn {
bool supports_this_cpu() {
    if (!has_onednn()) return false;
    static const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa != dnnl_cpu_isa_sse41 && isa != dnnl_cpu_isa_avx;
}

void convolve(const Cpu& cpu, const ConvForward<float>& op) {
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    Prepared& p = all.find(cpu, op);
    const Parts parts(cpu, p);
    Call& call = p.convolution;
    call.set(DNNL_ARG_WEIGHTS, packed_weight(all, p, op.weight, op.weight_is_constant, parts));
    call.set(DNNL_ARG_SCRATCHPAD, parts.pad);
    call.set(DNNL_ARG_SRC, op.x);
    call.set(DNNL_ARG_BIAS, op.bias);
    call.set(DNNL_ARG_DST, op.y);
    if (op.residual) call.set(residual_argument(op), op.residual);
    call.run(all.stream);
}

void convolve(const Cpu& cpu, const ConvBackwardData<float>& op) {
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    Prepared& p = all.find(cpu, op);
    const Parts parts(cpu, p);
    Call& call = p.convolution;
    call.set(DNNL_ARG_WEIGHTS, packed_weight(all, p, op.weight, false, parts));
    call.set(DNNL_ARG_SCRATCHPAD, parts.pad);
    call.set(DNNL_ARG_DIFF_DST, op.dy);
    call.set(DNNL_ARG_DIFF_SRC, op.dx);
    call.run(all.stream);
}

void convolve(const Cpu& cpu, const ConvBackwardWeight<float>& op) {
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    Prepared& p = all.find(cpu, op);
    const Parts parts(cpu, p);
    Call& call = p.convolution;
    call.set(DNNL_ARG_SCRATCHPAD, parts.pad);
    call.set(DNNL_ARG_SRC, op.x);
    call.set(DNNL_ARG_DIFF_DST, op.dy);
    call.set(DNNL_ARG_DIFF_WEIGHTS, p.reorder ? static_cast<void*>(parts.packed) : op.dweight);
    call.run(all.stream);
    if (p.reorder) run_reorder(all, p, parts.packed, op.dweight, parts.pad);
}

size_t scratch_bytes(const Cpu& cpu, const ConvForward<float>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<float>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<float>& op) { return bytes_of(cpu, op); }

void drop_packed_weights(const void* memory, size_t bytes) {
    if (!has_onednn()) return;
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    const auto* const begin = static_cast<const float*>(memory);
    all.constant_weights.erase(all.constant_weights.lower_bound(begin),
                               all.constant_weights.lower_bound(begin + bytes / sizeof(float)));
}

size_t packed_weight_count() {
    if (!has_onednn()) return 0;
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    return size_t(std::ranges::count_if(all.constant_weights, [](const auto& one) { return bool(one.second.memory); }));
}

size_t primitives_created() {
    if (!has_onednn()) return 0;
    const std::lock_guard lock(convolutions().mutex);
    return convolutions().created;
}
}  // namespace onednn
