# millrace_build_info: `#include "generated/build_info.h"` gives version, git revision and compiler.
# The revision is read at each build; the source is rewritten, and one file compiled, only when it
# changed.

set(_generated "${CMAKE_BINARY_DIR}/generated-include")
file(CONFIGURE OUTPUT "${_generated}/generated/build_info.h" CONTENT [[
// What this binary was built from. Constants: any thread may call these.
#pragma once

#include <string_view>

namespace millrace {

// The release, for example "0.1.0".
std::string_view BuildVersion();
// Short git revision, with "-dirty" when the tree had changes; "unknown" outside a git checkout.
std::string_view BuildRevision();
// Compiler and version, for example "GNU 12.2.0".
std::string_view BuildCompiler();
// "Release", "Debug", and the sanitizer when there is one.
std::string_view BuildType();

}  // namespace millrace
]])

add_custom_target(millrace_revision
  COMMAND "${CMAKE_COMMAND}"
    "-DOUTPUT=${CMAKE_BINARY_DIR}/build_info.cc"
    "-DSOURCE_DIR=${CMAKE_SOURCE_DIR}"
    "-DVERSION=${PROJECT_VERSION}"
    "-DCOMPILER=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION}"
    "-DTYPE=${CMAKE_BUILD_TYPE} ${MILLRACE_SANITIZE}"
    -P "${CMAKE_SOURCE_DIR}/cmake/write_build_info.cmake"
  BYPRODUCTS "${CMAKE_BINARY_DIR}/build_info.cc"
  COMMENT "" VERBATIM)

add_library(millrace_build_info STATIC "${CMAKE_BINARY_DIR}/build_info.cc")
add_dependencies(millrace_build_info millrace_revision)
target_include_directories(millrace_build_info PUBLIC "${_generated}")
target_link_libraries(millrace_build_info PRIVATE millrace_flags)
