// SHA-256 of a file: how results and dead letters say which model made them. And of a text.
//
// Reads the file in pieces of a fixed size; blocks. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

// 64 lower-case hexadecimal digits. kNotFound or kInternal with the path and the reason.
Result<std::string> Sha256OfFile(const std::string& path);

// The same of bytes in memory.
Result<std::string> Sha256OfText(std::string_view text);

}  // namespace millrace
