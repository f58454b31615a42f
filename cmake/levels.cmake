# One library from sources that are compiled once per instruction level (base/cpu_level.h):
#
#   tundra_levels(TARGET LIBRARIES FILE...)
#
# cmake/levels.sh makes one object of each level, which shares nothing with other files but the functions that the sources
# define, and stubs that jump to the chosen level. Sources named *_avx2.cpp and *_avx512*.cpp are of that level alone. Where objects
# cannot be joined (other processors, other object formats, and sanitizers, which see more in whole files) all else is plain.
find_program(TUNDRA_LD NAMES ld.bfd ld)
set(levels plain)
if(CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    list(APPEND levels avx2 avx512)
endif()
set(joined OFF)
if(UNIX AND NOT TUNDRA_SANITIZE AND NOT levels STREQUAL plain)
    set(joined ON)
endif()

function(tundra_levels target libraries)
    set(objects "")
    set(words "")
    foreach(level ${levels})
        set(files ${ARGN})
        list(FILTER files EXCLUDE REGEX "_avx(2|512)[a-z0-9_]*\\.cpp$")
        if(NOT joined AND NOT level STREQUAL plain)
            set(files "")
        endif()
        # GCC 12.2 with AVX-512 turns the constant {1, 1, 0, 0} into {1, 1, 1, 1} (tests/metrics_test.cpp sees it).
        if(level STREQUAL avx512 AND CMAKE_CXX_COMPILER_ID STREQUAL GNU AND CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
            set(files "")
        endif()
        set(own ${ARGN})
        list(FILTER own INCLUDE REGEX "_${level}[a-z0-9_]*\\.cpp$")
        add_library(${target}_${level} OBJECT ${files} ${own} ${empty_source})
        target_link_libraries(${target}_${level} PRIVATE ${libraries})
        if(NOT level STREQUAL plain)
            target_compile_options(${target}_${level} PRIVATE -mavx2 -mfma)
        endif()
        if(level STREQUAL avx512)
            target_compile_options(${target}_avx512 PRIVATE -mavx512f)
            if(files)
                target_compile_options(${target}_avx512 PRIVATE -mavx512bw -mavx512cd -mavx512dq -mavx512vl)
            endif()
        endif()
        # GCC 12 vectorises the plain loops only at -O3: batch norm is four times slower without.
        if(NOT TUNDRA_SANITIZE)
            target_compile_options(${target}_${level} PRIVATE $<$<CONFIG:Release>:-O3>)
        endif()
        list(APPEND objects $<TARGET_OBJECTS:${target}_${level}>)
        list(APPEND words ${level} $<TARGET_OBJECTS:${target}_${level}>)
    endforeach()
    if(NOT joined)
        target_sources(${target} PRIVATE ${objects})
        return()
    endif()
    set(folder ${CMAKE_BINARY_DIR}/levels/${target})
    file(MAKE_DIRECTORY ${folder})
    set(made ${folder}/stubs.o)
    foreach(level ${levels})
        list(APPEND made ${folder}/${level}.o)
    endforeach()
    add_custom_command(OUTPUT ${made} VERBATIM COMMAND_EXPAND_LISTS COMMENT "Joining the levels of ${target}"
        COMMAND ${CMAKE_COMMAND} -E env CXX=${CMAKE_CXX_COMPILER} LD=${TUNDRA_LD} NM=${CMAKE_NM} OBJCOPY=${CMAKE_OBJCOPY} OBJDUMP=${CMAKE_OBJDUMP}
                ${CMAKE_SOURCE_DIR}/cmake/levels.sh ${folder} ${words}
        DEPENDS ${objects} ${CMAKE_SOURCE_DIR}/cmake/levels.sh)
    target_sources(${target} PRIVATE ${made})
    list(TRANSFORM levels PREPEND ${target}_ OUTPUT_VARIABLE targets)
    add_dependencies(${target} ${targets})  # make, unlike ninja, knows files of other targets only once they are there
endfunction()
