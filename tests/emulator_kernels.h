// The kernels of emulator_kernels.cu by name: most of them wrong in one way, some right.
#pragma once

#include <string>

// Runs the kernel on device memory. Throws what the launch throws; std::out_of_range for an unknown name.
void run_kernel(const std::string& name, float* out, const float* in, int n);

// Kernels on their own terms.
void launch_shape(unsigned grid, unsigned block, size_t shared_bytes, int arch);  // does nothing
void coordinates(unsigned* out, unsigned gx, unsigned gy, unsigned bx, unsigned by, unsigned bz);
void warp_functions(int* out, unsigned threads);              // 12 ints per thread
void atomics(int* integers, float* floats, unsigned blocks);  // 8 ints, 1 float
void count_votes(int* out, unsigned threads);                 // 3 ints
void bytes_apart(unsigned char* out, unsigned count);         // neighbours write neighbours
