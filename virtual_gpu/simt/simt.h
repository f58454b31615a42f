// Included by a .cu file, so that one source compiles twice: by nvcc for a GPU (define SIMT_CUDA), by g++ for the CPU.
#pragma once

#if defined(SIMT_CUDA)
#include "cuda_flavour.h"
#else
#include "cpu_flavour.h"
#endif
