// The seam between the device cuda and the operations: tests put simt kernels here (tests/cuda_runtime_simt_test.cpp).
#pragma once

#include "engine/plan.h"

struct Cuda;

void run_on_cuda(const Cuda& cuda, const Step& step);
