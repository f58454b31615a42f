// Attention of every position of an image to every other, in several heads. Vaswani et al. 2017,
// https://arxiv.org/abs/1706.03762, 3.2
//
//   qkv: (n, positions, heads * (2 key + value)), per head q, then k, then v
//   y, v: (n, positions, heads * value)
//   y[n,i,head] = sum over j of a[i,j] v[n,j,head]
//   a[i,.] = softmax over j of (q[n,i,head] . k[n,j,head]) / sqrt(key)
//   v is a copy of the values alone, head by head, which networks need beside the result
//
// key and value are at most 64 and 128; forward only. Sums are float, whatever T is.
#pragma once

#include "kernels/device.h"
#include "kernels/types.h"

template <class T>
struct Attention {
    size_t n, positions, heads, key, value;
    const T* qkv;
    T *y, *v;
    HOST_DEVICE size_t pitch() const { return heads * (2 * key + value); }
};

inline constexpr size_t kMaxAttentionKey = 64, kMaxAttentionValue = 128;

template <class T>
void compute(const Cpu&, const Attention<T>&);
template <class T>
size_t scratch_bytes(const Cpu&, const Attention<T>&);  // see device.h
template <class T>
void compute(const Simt&, const Attention<T>&);
template <class T>
void compute(const Cuda&, const Attention<T>&);
