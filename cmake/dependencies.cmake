# Every library comes from the system's packages; nothing is downloaded. scripts/setup.sh installs what is missing.
find_package(PkgConfig REQUIRED)
find_package(Threads REQUIRED)
find_package(OpenMP REQUIRED)
find_package(fmt REQUIRED)
find_package(nlohmann_json REQUIRED)
find_package(CLI11 REQUIRED)
pkg_check_modules(zip REQUIRED IMPORTED_TARGET libzip)  # its CMake package fails on Debian without ziptool
pkg_check_modules(turbojpeg REQUIRED IMPORTED_TARGET libturbojpeg)
pkg_check_modules(jpeg REQUIRED IMPORTED_TARGET libjpeg)
pkg_check_modules(exif REQUIRED IMPORTED_TARGET libexif)
pkg_check_modules(xxhash REQUIRED IMPORTED_TARGET libxxhash)
find_package(ZLIB REQUIRED)

include(${CMAKE_SOURCE_DIR}/cmake/image_formats.cmake)

# oneDNN; TUNDRA_ONEDNN_ROOT names the folder of another one than the system's. The program opens it when it is first needed, by the
# name it is built with (kernels/load_onednn.cpp): each function of its headers becomes a macro that looks it up.
if(TUNDRA_ONEDNN_ROOT)
    find_path(DNNL_INCLUDE dnnl.hpp PATHS ${TUNDRA_ONEDNN_ROOT}/include NO_DEFAULT_PATH REQUIRED)
    find_library(DNNL_LIBRARY dnnl PATHS ${TUNDRA_ONEDNN_ROOT}/lib NO_DEFAULT_PATH REQUIRED)
else()
    find_path(DNNL_INCLUDE dnnl.hpp REQUIRED)
    find_library(DNNL_LIBRARY dnnl REQUIRED)
endif()
set(calls "")
file(GLOB headers ${DNNL_INCLUDE}/oneapi/dnnl/dnnl.h ${DNNL_INCLUDE}/oneapi/dnnl/dnnl_common.h)
foreach(header ${headers})
    file(READ ${header} text)
    string(REGEX MATCHALL "DNNL_API[ \n*]+dnnl_[a-z0-9_]+\\(" found "${text}")
    list(TRANSFORM found REPLACE ".*(dnnl_[a-z0-9_]+)\\(" "#define \\1 ONEDNN(\\1)\n")
    list(APPEND calls ${found})
endforeach()
list(JOIN calls "" calls)
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/onednn/onednn_calls.h CONTENT "${calls}" @ONLY)
tundra_soname(onednn_soname ${DNNL_LIBRARY})
add_library(tundra_onednn INTERFACE)
target_include_directories(tundra_onednn SYSTEM INTERFACE ${DNNL_INCLUDE} ${CMAKE_BINARY_DIR}/generated/onednn)
target_link_libraries(tundra_onednn INTERFACE ${CMAKE_DL_LIBS})
set_source_files_properties(kernels/load_onednn.cpp PROPERTIES COMPILE_DEFINITIONS "TUNDRA_ONEDNN=\"${onednn_soname}\"")
cmake_path(GET DNNL_LIBRARY PARENT_PATH folder)
if(NOT folder IN_LIST CMAKE_CXX_IMPLICIT_LINK_DIRECTORIES)
    list(APPEND CMAKE_INSTALL_RPATH ${folder})
endif()

find_path(STB_INCLUDE stb_image.h PATH_SUFFIXES stb REQUIRED)
add_library(tundra_stb INTERFACE)
target_include_directories(tundra_stb SYSTEM INTERFACE ${STB_INCLUDE})

# HDF5 reads Keras weights; without it `.h5` files are refused with a message. The program opens it when the first such file comes,
# by this name: it brings forty libraries with it, half of what an empty start takes.
pkg_search_module(hdf5 IMPORTED_TARGET hdf5 hdf5-serial)
if(hdf5_FOUND)
    tundra_soname(hdf5_soname ${hdf5_LINK_LIBRARIES})
    if(hdf5_soname)
        add_library(tundra_hdf5 INTERFACE)
        target_include_directories(tundra_hdf5 SYSTEM INTERFACE ${hdf5_INCLUDE_DIRS})
        target_link_libraries(tundra_hdf5 INTERFACE ${CMAKE_DL_LIBS})
        target_compile_definitions(tundra_hdf5 INTERFACE TUNDRA_HDF5="${hdf5_soname}")
    else()
        message(STATUS "${hdf5_LINK_LIBRARIES} has no name to load it by: built without HDF5")
    endif()
endif()

# MPI: several processes train one network; only tundra_mpi.so, which the program opens under mpirun, is linked with it.
set(MPI_CXX_SKIP_MPICXX TRUE)
find_package(MPI QUIET COMPONENTS CXX)

# cpp-httplib serves the page of `tundra review`; without it that command says so.
pkg_check_modules(httplib cpp-httplib)

# yaml-cpp reads the data.yaml of YOLO's data sets; without it such files are refused with a message.
pkg_check_modules(yaml IMPORTED_TARGET yaml-cpp)
if(yaml_FOUND)
    add_library(tundra_yaml INTERFACE)
    target_link_libraries(tundra_yaml INTERFACE PkgConfig::yaml)
    target_compile_definitions(tundra_yaml INTERFACE TUNDRA_YAML)
endif()
