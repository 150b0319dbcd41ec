# Writes ${OUTPUT} (see MillraceBuildInfo.cmake); leaves it untouched when nothing changed.
execute_process(COMMAND git -C "${SOURCE_DIR}" rev-parse --short=12 HEAD
  OUTPUT_VARIABLE revision OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET RESULT_VARIABLE failed)
if(failed)
  set(revision unknown)
else()
  execute_process(
    COMMAND git --no-optional-locks -C "${SOURCE_DIR}" status --porcelain --untracked-files=no
    OUTPUT_VARIABLE changes ERROR_QUIET)
  if(changes)
    string(APPEND revision "-dirty")
  endif()
endif()
string(STRIP "${TYPE}" TYPE)

file(CONFIGURE OUTPUT "${OUTPUT}" CONTENT [[
#include "generated/build_info.h"

namespace millrace {

std::string_view BuildVersion() { return "@VERSION@"; }
std::string_view BuildRevision() { return "@revision@"; }
std::string_view BuildCompiler() { return "@COMPILER@"; }
std::string_view BuildType() { return "@TYPE@"; }

}  // namespace millrace
]] @ONLY)
