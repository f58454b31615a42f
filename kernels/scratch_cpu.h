// How many bytes of Cpu::scratch an operation needs. Pointers in the struct are not read (null and not null differs for
// the optional ones). An operation that is not listed needs none. For convolutions this creates the oneDNN primitive.
#pragma once

#include "kernels/batch_norm.h"
#include "kernels/bias.h"
#include "kernels/conv/conv.h"
#include "kernels/linear.h"

// How much a device should have: parts that all threads share, and parts of each. The system gives pages only where
// they are touched.
constexpr size_t scratch_reserved(int threads) { return (size_t(256) << 20) + size_t(threads) * (size_t(8) << 20); }

size_t scratch_bytes(const Cpu&, const BatchNormForward<float>&);
size_t scratch_bytes(const Cpu&, const BatchNormBackward<float>&);
size_t scratch_bytes(const Cpu&, const BiasBackward<float>&);
size_t scratch_bytes(const Cpu&, const ConvForward<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardData<float>&);
size_t scratch_bytes(const Cpu&, const ConvBackwardWeight<float>&);
size_t scratch_bytes(const Cpu&, const LinearBackward<float>&);
