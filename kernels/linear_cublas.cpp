// The classifier's matrix products through cuBLASLt, which is column-major: every matrix is named there by its
// transpose. On ptx, where there is no cuBLASLt, the direct kernels.
// https://docs.nvidia.com/cuda/cublas/#using-the-cublaslt-api
#include <cublasLt.h>

#include <memory>
#include <type_traits>

#include "kernels/bias.h"
#include "kernels/elementwise.h"
#include "kernels/linear.h"

namespace {

template <class T>
constexpr cudaDataType_t kType = CUDA_R_32F;
template <>
constexpr cudaDataType_t kType<bf16> = CUDA_R_16BF;
template <>
constexpr cudaDataType_t kType<fp16> = CUDA_R_16F;

void check(cublasStatus_t status) {
    if (status != CUBLAS_STATUS_SUCCESS)
        throw std::runtime_error(std::string("cuBLASLt: ") + cublasLtGetStatusString(status));
}

struct Destroy {
    void operator()(cublasLtMatmulDesc_t d) const { cublasLtMatmulDescDestroy(d); }
    void operator()(cublasLtMatrixLayout_t d) const { cublasLtMatrixLayoutDestroy(d); }
    void operator()(cublasLtMatmulPreference_t d) const { cublasLtMatmulPreferenceDestroy(d); }
};
template <class Handle>
using Owned = std::unique_ptr<std::remove_pointer_t<Handle>, Destroy>;

struct Matrix {  // column-major
    const void* data;
    cudaDataType_t type;
    size_t rows, columns;
    bool transposed = false;
};

Owned<cublasLtMatrixLayout_t> layout(const Matrix& m) {
    cublasLtMatrixLayout_t made = nullptr;
    check(cublasLtMatrixLayoutCreate(&made, m.type, m.rows, m.columns, int64_t(m.rows)));
    return Owned<cublasLtMatrixLayout_t>(made);
}

// c = a * b (+ bias per row of c); sums in float. False where cuBLASLt has no way to do it.
bool multiply(const Cuda& cuda, const Scratch& workspace, const Matrix& a, const Matrix& b, const Matrix& c,
              const float* bias = nullptr) {
    cublasLtMatmulDesc_t made = nullptr;
    check(cublasLtMatmulDescCreate(&made, CUBLAS_COMPUTE_32F, CUDA_R_32F));  // float32 stays float32: no TF32
    const Owned<cublasLtMatmulDesc_t> product(made);
    const auto set = [&](cublasLtMatmulDescAttributes_t name, const auto& value) {
        check(cublasLtMatmulDescSetAttribute(product.get(), name, &value, sizeof value));
    };
    set(CUBLASLT_MATMUL_DESC_TRANSA, a.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, b.transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
    if (bias) {
        set(CUBLASLT_MATMUL_DESC_EPILOGUE, CUBLASLT_EPILOGUE_BIAS);
        set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, bias);
        set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, CUDA_R_32F);
    }
    const auto la = layout(a), lb = layout(b), lc = layout(c);
    cublasLtMatmulPreference_t preference_made = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference_made));
    const Owned<cublasLtMatmulPreference_t> preference(preference_made);
    check(cublasLtMatmulPreferenceSetAttribute(preference.get(), CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES,
                                               &workspace.bytes, sizeof workspace.bytes));
    // The default promises 256 bytes; slices of flat arrays give less.
    const auto promise = [&](cublasLtMatmulPreferenceAttributes_t name, const void* data) {
        uint32_t bytes = 256;
        while (reinterpret_cast<uintptr_t>(data) % bytes) bytes /= 2;
        check(cublasLtMatmulPreferenceSetAttribute(preference.get(), name, &bytes, sizeof bytes));
    };
    promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, a.data);
    promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, b.data);
    promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, c.data);
    promise(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, c.data);
    cublasLtMatmulHeuristicResult_t best;
    int found = 0;
    const auto status = cublasLtMatmulAlgoGetHeuristic(cuda.cublas, product.get(), la.get(), lb.get(), lc.get(),
                                                       lc.get(), preference.get(), 1, &best, &found);
    if (status == CUBLAS_STATUS_NOT_SUPPORTED || found == 0) return false;
    check(status);
    const float one = 1, zero = 0;
    check(cublasLtMatmul(cuda.cublas, product.get(), &one, a.data, la.get(), b.data, lb.get(), &zero, c.data, lc.get(),
                         const_cast<void*>(c.data), lc.get(), &best.algo, workspace.memory, workspace.bytes,
                         cuda.stream));
    return true;
}

}  // namespace

template <class T>
void compute(const Cuda& cuda, const LinearForward<T>& p) {
    if (!cuda.cublas) return compute_direct(cuda, p);
    const auto& [rows, in, out] = p.shape;
    const bool done = multiply(cuda, cuda.scratch, {p.weight, kType<T>, in, out, true}, {p.x, kType<T>, in, rows},
                               {p.y, CUDA_R_32F, out, rows}, p.bias);
    if (!done) compute_direct(cuda, p);
}

template <class T>
void compute(const Cuda& cuda, const LinearBackward<T>& p) {
    if (!cuda.cublas) return compute_direct(cuda, p);
    const auto& [rows, in, out] = p.shape;
    // cuBLASLt multiplies like with like: the gradient of the logits is rounded to T first.
    const T* dy = nullptr;
    size_t used = 0;
    if constexpr (std::is_same_v<T, float>) {
        dy = p.dy;
    } else {
        T* rounded = cuda.scratch.template take<T>(rows * out);
        compute(cuda, Cast<T>{.count = rows * out, .x = p.dy, .y = rounded});
        dy = rounded;
        used = (rows * out * sizeof(T) + 255) / 256 * 256;
    }
    if (used > cuda.scratch.bytes) used = cuda.scratch.bytes;
    const Scratch rest{static_cast<std::byte*>(cuda.scratch.memory) + used, cuda.scratch.bytes - used};
    const Matrix gradient{dy, kType<T>, out, rows};
    bool done = true;
    if (p.dx) done = multiply(cuda, rest, {p.weight, kType<T>, in, out}, gradient, {p.dx, kType<T>, in, rows});
    if (p.dweight && done)
        done = multiply(cuda, rest, {p.x, kType<T>, in, rows}, {dy, kType<T>, out, rows, true},
                        {p.dweight, kType<T>, in, out});
    if (!done) return compute_direct(cuda, p);
    if (p.dbias) compute(cuda, BiasBackward<float>{.rows = rows, .channels = out, .dy = p.dy, .dbias = p.dbias});
}

template void compute(const Cuda&, const LinearForward<float>&);
template void compute(const Cuda&, const LinearForward<bf16>&);
template void compute(const Cuda&, const LinearForward<fp16>&);
template void compute(const Cuda&, const LinearBackward<float>&);
template void compute(const Cuda&, const LinearBackward<bf16>&);
template void compute(const Cuda&, const LinearBackward<fp16>&);
