// cuDNN's and cuBLASLt's functions, as far as they are used here, under their own names: each opens its library when it
// is called first. So a program built with them runs on machines without, where only the device cuda is missing.
#include <cublasLt.h>
#include <cudnn.h>

#include "kernels/cuda_libraries.h"

namespace {

std::string text_of(size_t version, size_t major) {
    return std::to_string(version / major) + "." + std::to_string(version % major / 100) + "." +
           std::to_string(version % 100);
}

const std::vector<std::filesystem::path> of_build = {TUNDRA_CUDNN_FOLDER, TUNDRA_CUBLASLT_FOLDER};

const NvidiaLibrary& cudnn() {
    static const NvidiaLibrary library("libcudnn.so.9", "cuDNN 9", of_build);
    return library;
}
const NvidiaLibrary& cublaslt() {
    static const NvidiaLibrary library(TUNDRA_CUBLASLT, "cuBLASLt", of_build);
    return library;
}

template <class Version>
CudaLibraryFile library_file(std::string name, size_t compiled, size_t major, const NvidiaLibrary& (*open)(),
                             const char* symbol, Version* version) {
    CudaLibraryFile result{std::move(name), text_of(compiled, major), {}, {}};
    try {
        result.file = open().file_of(symbol);
        result.loaded = text_of(version(), major);
    } catch (const MissingLibrary& e) {
        result.missing = e.what();
    }
    return result;
}

}  // namespace

std::vector<CudaLibraryFile> cuda_library_files() {
    return {library_file("cuDNN", CUDNN_VERSION, 10000, cudnn, "cudnnGetVersion", cudnnGetVersion),
            library_file("cuBLASLt", CUBLAS_VERSION, 10000, cublaslt, "cublasLtGetVersion", cublasLtGetVersion)};
}

#define FROM(library, result, name, parameters, ...)                    \
    result name parameters {                                            \
        static const auto call = library().find<decltype(name)>(#name); \
        return call(__VA_ARGS__);                                       \
    }

FROM(cudnn, size_t, cudnnGetVersion, ())
FROM(cudnn, const char*, cudnnGetErrorString, (cudnnStatus_t s), s)
FROM(cudnn, cudnnStatus_t, cudnnCreate, (cudnnHandle_t * h), h)
FROM(cudnn, cudnnStatus_t, cudnnDestroy, (cudnnHandle_t h), h)
FROM(cudnn, cudnnStatus_t, cudnnSetStream, (cudnnHandle_t h, cudaStream_t s), h, s)
FROM(cudnn, cudnnStatus_t, cudnnBackendCreateDescriptor,
     (cudnnBackendDescriptorType_t type, cudnnBackendDescriptor_t* d), type, d)
FROM(cudnn, cudnnStatus_t, cudnnBackendDestroyDescriptor, (cudnnBackendDescriptor_t d), d)
FROM(cudnn, cudnnStatus_t, cudnnBackendSetAttribute,
     (cudnnBackendDescriptor_t d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t count,
      const void* values),
     d, name, type, count, values)
FROM(cudnn, cudnnStatus_t, cudnnBackendGetAttribute,
     (cudnnBackendDescriptor_t const d, cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
      int64_t wanted, int64_t* count, void* values),
     d, name, type, wanted, count, values)
FROM(cudnn, cudnnStatus_t, cudnnBackendFinalize, (cudnnBackendDescriptor_t d), d)
FROM(cudnn, cudnnStatus_t, cudnnBackendExecute,
     (cudnnHandle_t h, cudnnBackendDescriptor_t plan, cudnnBackendDescriptor_t pack), h, plan, pack)

FROM(cublaslt, size_t, cublasLtGetVersion, ())
FROM(cublaslt, const char*, cublasLtGetStatusString, (cublasStatus_t s), s)
FROM(cublaslt, cublasStatus_t, cublasLtCreate, (cublasLtHandle_t * h), h)
FROM(cublaslt, cublasStatus_t, cublasLtDestroy, (cublasLtHandle_t h), h)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulDescCreate,
     (cublasLtMatmulDesc_t * d, cublasComputeType_t compute, cudaDataType_t scale), d, compute, scale)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulDescDestroy, (cublasLtMatmulDesc_t d), d)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulDescSetAttribute,
     (cublasLtMatmulDesc_t d, cublasLtMatmulDescAttributes_t name, const void* value, size_t bytes), d, name, value,
     bytes)
FROM(cublaslt, cublasStatus_t, cublasLtMatrixLayoutCreate,
     (cublasLtMatrixLayout_t * l, cudaDataType type, uint64_t rows, uint64_t columns, int64_t pitch), l, type, rows,
     columns, pitch)
FROM(cublaslt, cublasStatus_t, cublasLtMatrixLayoutDestroy, (cublasLtMatrixLayout_t l), l)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulPreferenceCreate, (cublasLtMatmulPreference_t * p), p)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulPreferenceDestroy, (cublasLtMatmulPreference_t p), p)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulPreferenceSetAttribute,
     (cublasLtMatmulPreference_t p, cublasLtMatmulPreferenceAttributes_t name, const void* value, size_t bytes), p,
     name, value, bytes)
FROM(cublaslt, cublasStatus_t, cublasLtMatmulAlgoGetHeuristic,
     (cublasLtHandle_t h, cublasLtMatmulDesc_t d, cublasLtMatrixLayout_t a, cublasLtMatrixLayout_t b,
      cublasLtMatrixLayout_t c, cublasLtMatrixLayout_t y, cublasLtMatmulPreference_t p, int wanted,
      cublasLtMatmulHeuristicResult_t results[], int* count),
     h, d, a, b, c, y, p, wanted, results, count)
FROM(cublaslt, cublasStatus_t, cublasLtMatmul,
     (cublasLtHandle_t h, cublasLtMatmulDesc_t d, const void* alpha, const void* a, cublasLtMatrixLayout_t la,
      const void* b, cublasLtMatrixLayout_t lb, const void* beta, const void* c, cublasLtMatrixLayout_t lc, void* y,
      cublasLtMatrixLayout_t ly, const cublasLtMatmulAlgo_t* algorithm, void* workspace, size_t bytes, cudaStream_t s),
     h, d, alpha, a, la, b, lb, beta, c, lc, y, ly, algorithm, workspace, bytes, s)
