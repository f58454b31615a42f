# The arithmetic. One .cu file gives two objects: by g++ for the device `simt`, by nvcc for the device `cuda`.
file(GLOB kernel_sources CONFIGURE_DEPENDS kernels/*.cpp kernels/conv/*.cpp)
file(GLOB simt_sources CONFIGURE_DEPENDS virtual_gpu/simt/*.cpp)
file(GLOB cuda_sources CONFIGURE_DEPENDS kernels/*.cu kernels/conv/*.cu)
if(NOT TUNDRA_HAS_CUDA)
    list(FILTER kernel_sources EXCLUDE REGEX "(cudnn|cublas)[a-z_]*\\.cpp$")
endif()
list(FILTER simt_sources EXCLUDE REGEX "/race\\.cpp$")

# The execution model never runs under the checker that it feeds.
add_library(tundra_simt STATIC ${simt_sources} ${empty_source})
target_compile_options(tundra_simt PRIVATE -fno-strict-aliasing)

if(TUNDRA_RACE)
    target_sources(tundra_simt PRIVATE virtual_gpu/simt/race.cpp)
    target_compile_definitions(tundra_simt PRIVATE SIMT_RACE)  # and the .cu files: all else compiles as in other builds
    target_link_libraries(tundra_simt PUBLIC ${CMAKE_DL_LIBS})
endif()

# What nvcc generates, executed on the CPU (virtual_gpu/ptx). Overflow wraps there, and no loop waits for floating-point traps.
file(GLOB ptx_sources CONFIGURE_DEPENDS virtual_gpu/ptx/*.cpp)
add_library(tundra_ptx STATIC EXCLUDE_FROM_ALL ${ptx_sources})
target_compile_options(tundra_ptx PRIVATE -fwrapv -fno-trapping-math)
if(NOT TUNDRA_SANITIZE)
    target_compile_options(tundra_ptx PRIVATE $<$<CONFIG:Release>:-O3>)
endif()
target_link_libraries(tundra_ptx PUBLIC tundra_simt ${CMAKE_DL_LIBS})

# .cu files for g++. -fsanitize=thread is for the compiler only: race.cpp stands in for the library.
function(tundra_simt_flavour)
    set(options -fno-strict-aliasing -Wno-unused-function)
    set(definitions TUNDRA_SIMT_FLAVOUR)
    if(TUNDRA_RACE)
        list(APPEND options -fsanitize=thread)
        list(APPEND definitions SIMT_RACE)
    endif()
    set_source_files_properties(${ARGN} PROPERTIES LANGUAGE CXX
        COMPILE_OPTIONS "${options}" COMPILE_DEFINITIONS "${definitions}")
endfunction()

# The convolution loops are written as vectors, so the compiler has nothing to find, and GCC 12's fault with AVX-512 constants
# (cmake/levels.cmake) no occasion.
set(loop_options -ffp-contract=fast -fno-tree-vectorize -fno-tree-slp-vectorize)
# Tuned for some processors, GCC leaves some multiplications and additions apart (GCC 14 for Zen 5 those of 512 bits): the two
# levels would give different results (tests/conv_product_test.cpp).
if(CMAKE_CXX_COMPILER_ID STREQUAL GNU)
    list(APPEND loop_options --param=avoid-fma-max-bits=0)
endif()
set_source_files_properties(kernels/conv/loops_avx2.cpp kernels/conv/loops_bf16_avx2.cpp PROPERTIES COMPILE_OPTIONS "${loop_options}")
list(APPEND loop_options -mprefer-vector-width=512)
set_source_files_properties(kernels/conv/loops_avx512.cpp PROPERTIES COMPILE_OPTIONS "${loop_options}")
list(APPEND loop_options -mavx512bw -mavx512vl -mavx512bf16)
set_source_files_properties(kernels/conv/loops_bf16_avx512.cpp PROPERTIES COMPILE_OPTIONS "${loop_options}")
# What follows the exact sums of bytes has the same bits everywhere: nothing is fused.
set(loop_options -fno-tree-vectorize -fno-tree-slp-vectorize)
set_source_files_properties(kernels/conv/loops_int8_avx2.cpp PROPERTIES COMPILE_OPTIONS "${loop_options}")
set_source_files_properties(kernels/conv/loops_int8_avx2_vnni.cpp PROPERTIES COMPILE_OPTIONS "${loop_options};-mavxvnni")
list(APPEND loop_options -mprefer-vector-width=512 -mavx512bw -mavx512vl -mavx512vnni)
set_source_files_properties(kernels/conv/loops_int8_avx512_vnni.cpp PROPERTIES COMPILE_OPTIONS "${loop_options}")

# Loops are compiled per instruction level; what chooses, remembers and calls libraries is not.
set(loop_sources ${kernel_sources})
list(FILTER loop_sources EXCLUDE REGEX "(onednn|cudnn|cublas)[a-z_]*\\.cpp$")
list(FILTER loop_sources EXCLUDE REGEX "conv/(cpu|product|winograd|simd_loops|bf16|bf16_weight|int8)\\.cpp$")
list(REMOVE_ITEM kernel_sources ${loop_sources})
if(NOT TUNDRA_SANITIZE)
    set_source_files_properties(${kernel_sources} PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Release>:-O3>")
endif()
add_library(tundra_kernels STATIC ${kernel_sources} ${cuda_sources} ${empty_source})
tundra_simt_flavour(${cuda_sources})
tundra_levels(tundra_kernels "tundra_onednn;OpenMP::OpenMP_CXX" ${loop_sources})
target_link_libraries(tundra_kernels PUBLIC tundra_base tundra_simt tundra_onednn OpenMP::OpenMP_CXX Threads::Threads)

if(TUNDRA_HAS_CUDA)
    add_subdirectory(cmake/cuda)
    target_sources(tundra_kernels PRIVATE $<TARGET_OBJECTS:tundra_cuda_kernels>)
    target_link_libraries(tundra_kernels PUBLIC tundra_ptx tundra_cuda_libraries)
    # The device ptx sees the kernels that nvcc's host code registers and launches.
    foreach(call __cudaRegisterFatBinary __cudaRegisterFunction __cudaGetKernel __cudaLaunchKernel cudaLaunchKernel
                 cudaGetLastError cudaGetErrorString cudaFuncGetName cudaFuncSetAttribute)
        target_link_options(tundra_kernels INTERFACE LINKER:--wrap=${call})
    endforeach()
endif()
