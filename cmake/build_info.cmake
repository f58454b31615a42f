# The commit that is being built, looked up at every build because configuring happens seldom. Without git, or without a
# repository, it is "unknown"; the header is touched only when it changes.
if(CMAKE_SCRIPT_MODE_FILE)
    set(commit "unknown")
    find_program(GIT git)
    if(GIT AND EXISTS ${SOURCE}/.git)  # not of a repository that the sources were unpacked in
        execute_process(COMMAND ${GIT} describe --always --dirty --abbrev=12 --exclude * WORKING_DIRECTORY ${SOURCE}
                        OUTPUT_VARIABLE described ERROR_QUIET OUTPUT_STRIP_TRAILING_WHITESPACE)
        if(described)
            set(commit ${described})
        endif()
    endif()
    set(text "#define TUNDRA_COMMIT \"${commit}\"\n")
    set(old "")
    if(EXISTS ${HEADER})
        file(READ ${HEADER} old)
    endif()
    if(NOT text STREQUAL old)
        file(WRITE ${HEADER} "${text}")
    endif()
    return()
endif()

set(build_info ${CMAKE_BINARY_DIR}/generated/build_info.h)
add_custom_target(tundra_build_info BYPRODUCTS ${build_info} COMMENT ""
    COMMAND ${CMAKE_COMMAND} -DSOURCE=${CMAKE_SOURCE_DIR} -DHEADER=${build_info} -P ${CMAKE_CURRENT_LIST_FILE})
add_dependencies(tundra_train tundra_build_info)

get_directory_property(flags COMPILE_OPTIONS)
list(JOIN flags " " flags)
string(TOUPPER "${CMAKE_BUILD_TYPE}" type)
string(STRIP "${CMAKE_CXX_FLAGS} ${CMAKE_CXX_FLAGS_${type}} ${flags}" flags)
set_source_files_properties(train/machine.cpp PROPERTIES
    INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/generated
    OBJECT_DEPENDS ${build_info}
    COMPILE_DEFINITIONS "TUNDRA_VERSION=\"${PROJECT_VERSION}\";TUNDRA_FLAGS=\"${flags}\";TUNDRA_TURBOJPEG=\"${turbojpeg_VERSION}\"")
