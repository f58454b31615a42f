# The page of `tundra review` inside of the program: page.html, page.css and page.js as raw strings of a header.
foreach(part html css js)
    set(file ${CMAKE_SOURCE_DIR}/app/review/page.${part})
    set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${file})
    file(READ ${file} review_${part})
endforeach()
file(CONFIGURE OUTPUT ${CMAKE_BINARY_DIR}/generated/review_page_parts.h CONTENT [[
#pragma once
inline constexpr const char* kReviewHtml = R"review(@review_html@)review";
inline constexpr const char* kReviewCss = R"review(@review_css@)review";
inline constexpr const char* kReviewJs = R"review(@review_js@)review";
]] @ONLY)
set_source_files_properties(app/review/page.cpp PROPERTIES INCLUDE_DIRECTORIES ${CMAKE_BINARY_DIR}/generated)
# One file knows the library: its header takes seconds to compile.
if(httplib_FOUND)
    set_source_files_properties(app/review/server.cpp PROPERTIES COMPILE_DEFINITIONS TUNDRA_HTTPLIB
        COMPILE_OPTIONS "${httplib_CFLAGS}" SKIP_PRECOMPILE_HEADERS ON)
    target_link_libraries(tundra_app PUBLIC ${httplib_LINK_LIBRARIES})
endif()
