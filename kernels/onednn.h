// Shared by the oneDNN files: the differences between versions 2 and 3 (3 has no operation descriptors) end here.
// oneDNN: https://uxlfoundation.github.io/oneDNN/
//
// The library is opened when it is first needed, and a program runs without it: products and convolutions are then
// computed by own loops, which are slower.
#pragma once

#include <dnnl.h>
#include <omp.h>

#include <stdexcept>
#include <string>

#include "kernels/device.h"
#include "kernels/matrix_product.h"
#include "kernels/types.h"

bool has_onednn();
void* onednn_symbol(const char* function);  // throws std::runtime_error if there is none

// Every function of the library, found once by its name. The list is made from dnnl.h (cmake/dependencies.cmake).
#define ONEDNN(name)                                                                        \
    (*[] {                                                                                  \
        static const auto call = reinterpret_cast<decltype(&::name)>(onednn_symbol(#name)); \
        return call;                                                                        \
    }())
#include "onednn_calls.h"
// After the list: its inline functions call what the list names.
#include <dnnl.hpp>

inline void check_onednn(dnnl_status_t status, const char* what) {
    if (status != dnnl_success)
        throw std::runtime_error(std::string("oneDNN: ") + what + " failed with status " + std::to_string(status));
}

// oneDNN asks OpenMP how many threads there are, when a primitive is created and when it runs.
inline void use_threads(const Cpu& cpu) {
    if (omp_get_max_threads() != cpu.threads) omp_set_num_threads(cpu.threads);
}

// y (m, n) = a (m, k) * b (k, n) + beta * y, all row-major; `a_transposed`: a is stored as (k, m), likewise b.
inline void multiply(const Cpu& cpu, size_t m, size_t n, size_t k, const float* a, bool a_transposed, const float* b,
                     bool b_transposed, float beta, float* y) {
    if (!has_onednn())
        return compute(cpu, MatrixProduct{.m = m,
                                          .n = n,
                                          .k = k,
                                          .a = a,
                                          .a_pitch = a_transposed ? m : k,
                                          .a_transposed = a_transposed,
                                          .b = b,
                                          .b_pitch = b_transposed ? k : n,
                                          .b_transposed = b_transposed,
                                          .beta = beta,
                                          .y = y,
                                          .y_pitch = n});
    use_threads(cpu);
    check_onednn(dnnl_sgemm(a_transposed ? 'T' : 'N', b_transposed ? 'T' : 'N', dnnl_dim_t(m), dnnl_dim_t(n),
                            dnnl_dim_t(k), 1.0f, a, dnnl_dim_t(a_transposed ? m : k), b,
                            dnnl_dim_t(b_transposed ? k : n), beta, y, dnnl_dim_t(n)),
                 "matrix product");
}

// The descriptor of a forward primitive; args are those of the operation, in oneDNN's order.
template <class Primitive, class... Args>
typename Primitive::primitive_desc describe(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                            const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, args..., attributes};
#else
    return {typename Primitive::desc(args...), attributes, engine};
#endif
}

// Likewise of a backward primitive.
template <class Primitive, class Hint, class... Args>
typename Primitive::primitive_desc describe_backward(const dnnl::engine& engine, const dnnl::primitive_attr& attributes,
                                                     const Hint& forward, const Args&... args) {
#if DNNL_VERSION_MAJOR >= 3
    return {engine, args..., forward, attributes};
#else
    return {typename Primitive::desc(args...), attributes, engine, forward};
#endif
}

inline void append_activation(dnnl::post_ops& post_ops, Activation activation) {
    const auto append = [&](dnnl::algorithm algorithm, float alpha) {
#if DNNL_VERSION_MAJOR >= 3
        post_ops.append_eltwise(algorithm, alpha, 0.0f);
#else
        post_ops.append_eltwise(1.0f, algorithm, alpha, 0.0f);
#endif
    };
    switch (activation) {
        case Activation::none: return;
        case Activation::relu: return append(dnnl::algorithm::eltwise_relu, 0.0f);
        case Activation::silu: return append(dnnl::algorithm::eltwise_swish, 1.0f);
    }
}
