// The seam between the device cuda and the operations: tests put simt kernels here (tests/cuda_runtime_simt_test.cpp).
#pragma once

#include "engine/device.h"
#include "kernels/cuda_libraries.h"

struct Cuda;

void run_on_cuda(const Cuda& cuda, const Step& step);

// Stream, handles and scratch memory of a device that open_cuda() made, for benches: they time between two events.
const Cuda& cuda_of(Device&);

// Sums between the GPUs of several ranks; every rank calls it with its GPU chosen. `in_order`: always in the same
// order. Errors (usage): no NCCL.
std::unique_ptr<GpuSums> open_nccl(Ranks& ranks, bool in_order);
CudaLibraryFile nccl_library_file();  // opens NCCL
