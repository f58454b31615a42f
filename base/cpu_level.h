// The instruction level of the CPU loops. The loops of kernels/ and of data/ are compiled once per level
// (cmake/levels.cmake), and a program uses the highest one that the processor and the operating system support.
// The rest of the program runs on every processor of its architecture.
#pragma once

enum class CpuLevel : int { plain, avx2, avx512 };  // plain: whatever every x86-64 or aarch64 has

// Of this process, from its start on. The environment variable TUNDRA_CPU_LEVEL=plain|avx2|avx512 lowers it, so that
// machines of different age compute the same bits.
CpuLevel cpu_level();
const char* cpu_level_name();   // "AVX-512"
bool cpu_level_is_lowered();    // by the environment variable
void check_cpu_level_wanted();  // fails if the variable is misspelt or names more than the processor has
