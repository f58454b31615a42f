// Device memory of the virtual GPUs as the tests use it.
#pragma once

#include <algorithm>
#include <vector>

#include "virtual_gpu/simt/runtime.h"

// An array in device memory, NaN until something is copied or written there. The host sees it through copies only.
template <class T>
class DeviceArray {
public:
    explicit DeviceArray(size_t count)
        : count_(count), data_(static_cast<T*>(simt::device_malloc(std::max<size_t>(count, 1) * sizeof(T)))) {}
    explicit DeviceArray(const std::vector<T>& values) : DeviceArray(values.size()) {
        simt::copy(data_, values.data(), count_ * sizeof(T));
    }
    DeviceArray(const DeviceArray&) = delete;
    ~DeviceArray() { simt::device_free(data_); }

    T* get() const { return data_; }
    std::vector<T> host() const {
        std::vector<T> values(count_);
        simt::copy(values.data(), data_, count_ * sizeof(T));
        return values;
    }

private:
    size_t count_;
    T* data_;
};
