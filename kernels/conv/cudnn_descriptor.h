// A descriptor of cuDNN's backend API as an owned object, and cuDNN's errors as exceptions with a readable line.
// https://docs.nvidia.com/deeplearning/cudnn/backend/latest/api/cudnn-graph-library.html
#pragma once

#include <cudnn.h>

#include <algorithm>
#include <memory>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

struct CudnnError : std::runtime_error {
    cudnnStatus_t status;
    CudnnError(cudnnStatus_t status, const char* what)
        : std::runtime_error(std::string(what) + ": " + cudnnGetErrorString(status)), status(status) {}
};

inline void check(cudnnStatus_t status, const char* what) {
    if (status != CUDNN_STATUS_SUCCESS) throw CudnnError(status, what);
}

class CudnnDescriptor {
public:
    CudnnDescriptor() = default;
    explicit CudnnDescriptor(cudnnBackendDescriptorType_t type) {
        cudnnBackendDescriptor_t made = nullptr;
        check(cudnnBackendCreateDescriptor(type, &made), "cuDNN: making a descriptor");
        descriptor_ = {made, Destroy()};
    }

    cudnnBackendDescriptor_t get() const { return static_cast<cudnnBackendDescriptor_t>(descriptor_.get()); }

    template <class T>
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type,
                         std::span<const T> values) {
        check(cudnnBackendSetAttribute(get(), name, type, int64_t(values.size()), values.data()),
              "cuDNN: setting an attribute");
        return *this;
    }
    template <class T>
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const T& value) {
        return set(name, type, std::span<const T>(&value, 1));
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, const CudnnDescriptor& value) {
        return set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.get());
    }
    CudnnDescriptor& set(cudnnBackendAttributeName_t name, std::span<const int64_t> values) {
        return set(name, CUDNN_TYPE_INT64, values);
    }
    CudnnDescriptor& finalize(const char* what) {
        check(cudnnBackendFinalize(get()), what);
        return *this;
    }

    template <class T>
    T value(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type) const {
        T result{};
        int64_t count = 0;
        check(cudnnBackendGetAttribute(get(), name, type, 1, &count, &result), "cuDNN: reading an attribute");
        return result;
    }
    // At most `max_count` values; a missing attribute has none.
    template <class T>
    std::vector<T> values(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, int64_t max_count) const {
        std::vector<T> result(size_t(max_count), T{});
        int64_t count = 0;
        if (cudnnBackendGetAttribute(get(), name, type, max_count, &count, result.data()) != CUDNN_STATUS_SUCCESS)
            count = 0;
        result.resize(size_t(std::min(count, max_count)));
        return result;
    }

private:
    struct Destroy {
        void operator()(void* descriptor) const {
            cudnnBackendDestroyDescriptor(static_cast<cudnnBackendDescriptor_t>(descriptor));
        }
    };
    std::shared_ptr<void> descriptor_;  // shared: plans keep alive the graph that they were made from
};
