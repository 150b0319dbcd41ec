// SHA-256, of files and of short texts: how results and dead letters say which model made them, and
// how a model that was fetched is known.
//
// Reads files in pieces of a fixed size; blocks. Any thread.
#pragma once

#include <string>
#include <string_view>

#include "base/status.h"

namespace millrace {

inline constexpr std::size_t kSha256Digits = 64;

// 64 lower-case hexadecimal digits. kNotFound or kInternal with the path and the reason.
Result<std::string> Sha256OfFile(const std::string& path);

// Of bytes in memory, in the same notation.
std::string Sha256Hex(std::string_view bytes);

// HMAC with SHA-256: 32 bytes, not text.
std::string HmacSha256(std::string_view key, std::string_view bytes);

// Two lower-case digits for each byte.
std::string HexText(std::string_view bytes);

// Whether `text` is 64 lower-case hexadecimal digits.
bool IsSha256(std::string_view text);

}  // namespace millrace
