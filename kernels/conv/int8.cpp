// Convolution of bytes on the CPU: see int8.h.
#include "kernels/conv/int8.h"

void compute(const Cpu& cpu, const ConvInt8& op) { compute_direct(cpu, op); }
size_t scratch_bytes(const Cpu&, const ConvInt8&) { return 0; }
