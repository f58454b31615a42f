// Convolution on the CPU by oneDNN: see conv.h. Primitives are created once per shape and kept; x and y stay NHWC,
// weights are reordered to and from the layout that oneDNN prefers.
#include "kernels/conv/onednn.h"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <optional>
#include <type_traits>

#include "base/aligned_memory.h"
#include "kernels/conv/bf16.h"
#include "kernels/conv/onednn_call.h"
#include "kernels/onednn.h"
#include "kernels/parallel.h"

namespace {
using onednn::Call;
using onednn::Desc;
using onednn::Memory;
using onednn::with_user_scratchpad;

enum class Direction { forward, backward_data, backward_weight };

// Everything that a primitive depends on.
struct Key {
    Direction direction;
    int threads;
    ConvShape shape;
    Activation activation = Activation::none;
    bool bias = false, residual = false, residual_last = false, in_place = false, bf16 = false;
    auto operator<=>(const Key&) const = default;
};

// The residual already lies where y goes. oneDNN then adds to its destination, for which it has its fast kernels: with
// a residual elsewhere a 1x1 convolution of ResNet-50 takes up to twice as long.
template <class T>
bool in_place(const ConvForward<T>& op) {
    return op.residual && op.residual == op.y;
}

// oneDNN's SiLU takes half as long as a convolution in bf16: an own pass over y follows instead, and adds a residual
// that comes last. Not if that lies in y.
template <class T>
bool silu_follows(const ConvForward<T>& op) {
    return std::is_same_v<T, bf16> && op.activation == Activation::silu && !(op.residual_last && in_place(op)) &&
           bf16_loops();
}
template <class T>
ConvForward<T> without_silu(ConvForward<T> op) {
    op.activation = Activation::none;
    if (op.residual_last) op.residual = nullptr, op.residual_last = false;
    return op;
}

template <class T>
constexpr Memory::data_type type_of = std::is_same_v<T, bf16> ? Memory::data_type::bf16 : Memory::data_type::f32;

template <class T>
Desc activations(size_t n, size_t h, size_t w, size_t c) {
    const auto dim = [](size_t size) { return Memory::dim(size); };
    return {{dim(n), dim(c), dim(h), dim(w)}, type_of<T>, {dim(h * w * c), 1, dim(w * c), dim(c)}};
}
template <class T>
Desc x_desc(const ConvShape& s) {
    return activations<T>(s.n, s.h, s.w, s.c_in);
}
template <class T>
Desc y_desc(const ConvShape& s) {
    return activations<T>(s.n, s.out_h(), s.out_w(), s.c_out);
}
template <class T>
Desc weight_desc(const ConvShape& s, Memory::format_tag tag) {
    return {
        {Memory::dim(s.c_out), Memory::dim(s.c_in), Memory::dim(s.kernel_h), Memory::dim(s.kernel_w)}, type_of<T>, tag};
}
Desc bias_desc(const ConvShape& s) { return {{Memory::dim(s.c_out)}, Memory::data_type::f32, Memory::format_tag::a}; }

template <class T>
dnnl::convolution_forward::primitive_desc describe_forward(const dnnl::engine& engine,
                                                           const dnnl::primitive_attr& attributes, dnnl::prop_kind kind,
                                                           const ConvShape& s, const Desc& x, const Desc& bias,
                                                           const Desc& y) {
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    return describe<dnnl::convolution_forward>(engine, attributes, kind, dnnl::algorithm::convolution_direct, x,
                                               weight_desc<T>(s, Memory::format_tag::any), bias, y, strides, padding,
                                               padding);
}

template <class T>
int residual_argument(const ConvForward<T>& op) {  // which post-op it is
    const bool second = op.residual_last && op.activation != Activation::none;
    return DNNL_ARG_ATTR_MULTIPLE_POST_OP(second) | DNNL_ARG_SRC_1;
}

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
    std::multimap<const char*, PackedWeight> constant_weights;
    dnnl::engine engine{dnnl::engine::kind::cpu, 0};
    dnnl::stream stream{engine};

    // oneDNN does not look for a profiler: that takes longer than generating its code.
    Convolutions() {
        if (!std::getenv("DNNL_JIT_PROFILE")) dnnl_set_jit_profiling_flags(DNNL_JIT_PROFILE_NONE);
    }

    template <class T>
    Prepared& find(const Cpu& cpu, const ConvForward<T>& op) {
        return find(cpu,
                    {.direction = Direction::forward,
                     .threads = cpu.threads,
                     .shape = op.shape,
                     .activation = op.activation,
                     .bias = op.bias != nullptr,
                     .residual = op.residual != nullptr,
                     .residual_last = op.residual_last,
                     .in_place = in_place(op),
                     .bf16 = std::is_same_v<T, bf16>},
                    op);
    }
    template <class T>
    Prepared& find(const Cpu& cpu, const ConvBackwardData<T>& op) {
        return find(cpu, key_of<T>(Direction::backward_data, cpu, op.shape), op);
    }
    template <class T>
    Prepared& find(const Cpu& cpu, const ConvBackwardWeight<T>& op) {
        return find(cpu, key_of<T>(Direction::backward_weight, cpu, op.shape), op);
    }

private:
    template <class T>
    static Key key_of(Direction direction, const Cpu& cpu, const ConvShape& shape) {
        return {.direction = direction, .threads = cpu.threads, .shape = shape, .bf16 = std::is_same_v<T, bf16>};
    }
    template <class Op>
    Prepared& find(const Cpu& cpu, const Key& key, const Op& op) {
        use_threads(cpu);
        const auto found = prepared_.find(key);
        return found != prepared_.end() ? found->second : prepared_.emplace(key, make(op)).first->second;
    }
    template <class T>
    Prepared make(const ConvForward<T>&);
    template <class T>
    Prepared make(const ConvBackwardData<T>&);
    template <class T>
    Prepared make(const ConvBackwardWeight<T>&);
    template <class T>
    Prepared prepare(Call convolution, const ConvShape&, const Desc& packed, bool packed_is_result);

    std::map<Key, Prepared> prepared_;
};

template <class T>
Prepared Convolutions::prepare(Call convolution, const ConvShape& shape, const Desc& packed, bool packed_is_result) {
    ++created;
    const Desc plain = weight_desc<T>(shape, Memory::format_tag::ohwi);
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

template <class T>
Prepared Convolutions::make(const ConvForward<T>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc<T>(s), y = y_desc<T>(s), bias = op.bias ? bias_desc(s) : Desc();
    dnnl::post_ops post_ops;
    const auto append_residual = [&] {
        in_place(op) ? post_ops.append_sum(1.0f) : post_ops.append_binary(dnnl::algorithm::binary_add, y);
    };
    if (op.residual && !op.residual_last) append_residual();
    append_activation(post_ops, op.activation);
    if (op.residual && op.residual_last) append_residual();
    dnnl::primitive_attr attributes = with_user_scratchpad();
    attributes.set_post_ops(post_ops);

    const auto desc = describe_forward<T>(engine, attributes, dnnl::prop_kind::forward_inference, s, x, bias, y);
    Call call(desc, dnnl::convolution_forward(desc));
    call.add(DNNL_ARG_SRC, x, engine);
    call.add(DNNL_ARG_WEIGHTS, desc.weights_desc(), engine);
    if (op.bias) call.add(DNNL_ARG_BIAS, bias, engine);
    call.add(DNNL_ARG_DST, y, engine);
    if (op.residual && !in_place(op)) call.add(residual_argument(op), y, engine);
    return prepare<T>(std::move(call), s, desc.weights_desc(), false);
}

template <class T>
Prepared Convolutions::make(const ConvBackwardData<T>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc<T>(s), y = y_desc<T>(s);
    const dnnl::primitive_attr attributes = with_user_scratchpad();
    const auto forward = describe_forward<T>(engine, attributes, dnnl::prop_kind::forward_training, s, x, Desc(), y);
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    const auto desc = describe_backward<dnnl::convolution_backward_data>(
        engine, attributes, forward, dnnl::algorithm::convolution_direct, x, weight_desc<T>(s, Memory::format_tag::any),
        y, strides, padding, padding);
    Call call(desc, dnnl::convolution_backward_data(desc));
    call.add(DNNL_ARG_DIFF_SRC, x, engine);
    call.add(DNNL_ARG_WEIGHTS, desc.weights_desc(), engine);
    call.add(DNNL_ARG_DIFF_DST, y, engine);
    return prepare<T>(std::move(call), s, desc.weights_desc(), false);
}

template <class T>
Prepared Convolutions::make(const ConvBackwardWeight<T>& op) {
    const ConvShape& s = op.shape;
    const Desc x = x_desc<T>(s), y = y_desc<T>(s);
    const dnnl::primitive_attr attributes = with_user_scratchpad();
    const auto forward = describe_forward<T>(engine, attributes, dnnl::prop_kind::forward_training, s, x, Desc(), y);
    const Memory::dims strides(2, Memory::dim(s.stride)), padding(2, Memory::dim(s.padding));
    const auto desc = describe_backward<dnnl::convolution_backward_weights>(
        engine, attributes, forward, dnnl::algorithm::convolution_direct, x, weight_desc<T>(s, Memory::format_tag::any),
        y, strides, padding, padding);
    Call call(desc, dnnl::convolution_backward_weights(desc));
    call.add(DNNL_ARG_SRC, x, engine);
    call.add(DNNL_ARG_DIFF_WEIGHTS, desc.diff_weights_desc(), engine);
    call.add(DNNL_ARG_DIFF_DST, y, engine);
    return prepare<T>(std::move(call), s, desc.diff_weights_desc(), true);
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
const void* packed_weight(Convolutions& all, Prepared& p, const void* weight, bool constant, const Parts& parts) {
    if (!p.reorder) return weight;
    void* to = parts.packed;
    if (constant) {
        const auto [first, last] = all.constant_weights.equal_range(static_cast<const char*>(weight));
        const auto known = std::find_if(first, last, [&](const auto& one) { return one.second.desc == p.packed; });
        if (known == last) {
            all.constant_weights.emplace(static_cast<const char*>(weight), PackedWeight{p.packed, {}});
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

template <class T>
void run(const Cpu& cpu, const ConvForward<T>& op) {
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

template <class T>
void run(const Cpu& cpu, const ConvBackwardData<T>& op) {
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

template <class T>
void run(const Cpu& cpu, const ConvBackwardWeight<T>& op) {
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
}  // namespace

namespace onednn {
bool has_amx() {
    static const bool amx =
        has_onednn() && (dnnl_get_effective_cpu_isa() & dnnl_cpu_isa_avx512_core_amx) == dnnl_cpu_isa_avx512_core_amx;
    return amx;
}

bool supports_this_cpu() {
    if (!has_onednn()) return false;
    static const dnnl_cpu_isa_t isa = dnnl_get_effective_cpu_isa();
    return isa != dnnl_cpu_isa_sse41 && isa != dnnl_cpu_isa_avx;
}

void convolve(const Cpu& cpu, const ConvBackwardData<float>& op) { run(cpu, op); }
void convolve(const Cpu& cpu, const ConvBackwardWeight<float>& op) { run(cpu, op); }
void convolve(const Cpu& cpu, const ConvBackwardData<bf16>& op) { run(cpu, op); }
void convolve(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) { run(cpu, op); }
void convolve(const Cpu& cpu, const ConvForward<float>& op) { run(cpu, op); }
void convolve(const Cpu& cpu, const ConvForward<bf16>& op) {
    if (!silu_follows(op)) return run(cpu, op);
    run(cpu, without_silu(op));
    parallel_for(cpu, op.shape.y_count(), 4096, [&](size_t begin, size_t end) {
        bf16_loops()->activate(op.y + begin, op.residual_last ? op.residual + begin : nullptr, end - begin);
    });
}
size_t scratch_bytes(const Cpu& cpu, const ConvForward<float>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<float>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<float>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvForward<bf16>& op) {
    return bytes_of(cpu, silu_follows(op) ? without_silu(op) : op);
}
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardData<bf16>& op) { return bytes_of(cpu, op); }
size_t scratch_bytes(const Cpu& cpu, const ConvBackwardWeight<bf16>& op) { return bytes_of(cpu, op); }

void drop_packed_weights(const void* memory, size_t bytes) {
    if (!has_onednn()) return;
    Convolutions& all = convolutions();
    const std::lock_guard lock(all.mutex);
    const auto* const begin = static_cast<const char*>(memory);
    all.constant_weights.erase(all.constant_weights.lower_bound(begin),
                               all.constant_weights.lower_bound(begin + bytes));
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
