# millrace_embed(<target> NAME <Function> [BASE <dir>] FILES <file>...)
# Puts the files into <target>'s read-only data. `#include "generated/<function>.h"` (the name in
# snake case) declares
#   std::string_view <Function>(std::string_view path);         // empty when there is no such file
#   std::span<const std::string_view> <Function>Paths();        // sorted
# with paths relative to BASE (default: the caller's source folder). A changed file is embedded
# anew. A module calls it from src/<module>/embed.cmake.
function(millrace_embed target)
  cmake_parse_arguments(PARSE_ARGV 1 arg "" "NAME;BASE" "FILES")
  if(NOT arg_NAME OR NOT arg_FILES)
    message(FATAL_ERROR "millrace_embed: NAME and FILES are needed")
  endif()
  if(NOT arg_BASE)
    set(arg_BASE "${CMAKE_CURRENT_LIST_DIR}")
  endif()
  string(REGEX REPLACE "([a-z0-9])([A-Z])" "\\1_\\2" stem "${arg_NAME}")
  string(TOLOWER "${stem}" stem)
  set(dir "${CMAKE_BINARY_DIR}/embed/${target}")

  set(files "")
  foreach(file IN LISTS arg_FILES)
    cmake_path(ABSOLUTE_PATH file BASE_DIRECTORY "${arg_BASE}" NORMALIZE)
    list(APPEND files "${file}")
  endforeach()
  list(SORT files)

  set(assembly "# Generated.\n  .section .rodata\n")
  set(symbols "")
  set(paths "")
  set(entries "")
  set(index 0)
  foreach(file IN LISTS files)
    if(NOT EXISTS "${file}")
      message(FATAL_ERROR "millrace_embed: no file ${file}")
    endif()
    cmake_path(RELATIVE_PATH file BASE_DIRECTORY "${arg_BASE}" OUTPUT_VARIABLE path)
    set(symbol "millrace_embed_${stem}_${index}")
    string(APPEND assembly
      "  .balign 16\n  .globl ${symbol}\n  .hidden ${symbol}\n${symbol}:\n  .incbin \"${file}\"\n"
      "  .globl ${symbol}_end\n  .hidden ${symbol}_end\n${symbol}_end:\n  .byte 0\n")
    string(APPEND symbols "extern const char ${symbol}[];\nextern const char ${symbol}_end[];\n")
    string(APPEND paths "    \"${path}\",\n")
    string(APPEND entries "    {${symbol}, ${symbol}_end},\n")
    math(EXPR index "${index} + 1")
  endforeach()
  string(APPEND assembly "  .section .note.GNU-stack,\"\",%progbits\n")

  file(CONFIGURE OUTPUT "${dir}/${stem}.S" CONTENT "${assembly}" @ONLY)
  file(CONFIGURE OUTPUT "${dir}/generated/${stem}.h" CONTENT [[
// Files inside the binary. Any thread may call these; the bytes live as long as the process.
#pragma once

#include <span>
#include <string_view>

namespace millrace {

// The file's bytes (followed by a NUL that is not counted); empty when there is no such file.
std::string_view @arg_NAME@(std::string_view path);
// All paths, sorted.
std::span<const std::string_view> @arg_NAME@Paths();

}  // namespace millrace
]] @ONLY)
  file(CONFIGURE OUTPUT "${dir}/${stem}.cc" CONTENT [[
#include "generated/@stem@.h"

#include <algorithm>
#include <array>
#include <cstddef>

extern "C" {
@symbols@}

namespace millrace {
namespace {

struct Range {
  const char* begin;
  const char* end;
};

constexpr std::array<std::string_view, @index@> kPaths = {
@paths@};

const std::array<Range, @index@> kRanges = {{
@entries@}};

}  // namespace

std::string_view @arg_NAME@(std::string_view path) {
  const auto found = std::find(kPaths.begin(), kPaths.end(), path);
  if (found == kPaths.end()) return {};
  const Range& range = kRanges[static_cast<std::size_t>(found - kPaths.begin())];
  return {range.begin, static_cast<std::size_t>(range.end - range.begin)};
}

std::span<const std::string_view> @arg_NAME@Paths() { return kPaths; }

}  // namespace millrace
]] @ONLY)

  target_sources(${target} PRIVATE "${dir}/${stem}.S" "${dir}/${stem}.cc")
  target_include_directories(${target} PUBLIC "${dir}")
  set_source_files_properties("${dir}/${stem}.S" PROPERTIES OBJECT_DEPENDS "${files}")
endfunction()
