// Names of the environment variables that stand for settings.
//
// Pure; any thread may call it.
#pragma once

#include <string>
#include <string_view>

namespace millrace {

inline constexpr std::string_view kEnvironmentPrefix = "MILLRACE_";

// "batch.max_rows" -> "MILLRACE_BATCH_MAX_ROWS"; whatever is no letter or digit becomes "_".
std::string EnvironmentName(std::string_view path);

// Variables that start like a setting's and are none: read elsewhere, or put there by an
// orchestrator (service links).
bool IsReservedEnvironmentName(std::string_view name);

}  // namespace millrace
