// An operation on a GPU.
#include "engine/device_cuda.h"
#include "engine/op.h"

void run_on_cuda(const Cuda& cuda, const Step& step) { step.op->run(cuda, step.in, step.out); }
