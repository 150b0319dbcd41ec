// Small questions about text that the decoder and the encoders share: is it plain, is it an id, how
// does it look in a failure detail, how is it written as a JSON string.
//
// Pure functions; nothing here allocates except where a std::string is returned.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "types/failure.h"

namespace millrace {

// The most bytes of a record that a failure detail quotes at one place.
inline constexpr std::size_t kMaxExcerptBytes = 32;

// `text` in single quotes for a failure detail: at most kMaxExcerptBytes of it, on one line, valid
// UTF-8; what is cut is marked "...", what cannot be shown is '?'.
std::string Excerpt(std::string_view text);

// Position of the first byte that does not belong to valid UTF-8, or npos.
std::size_t FindInvalidUtf8(std::string_view text);

// Whether a byte below 0x20 or 0x7F occurs.
bool HasControlCharacter(std::string_view text);

// [A-Za-z0-9][A-Za-z0-9._-]{0,127}
bool IsModelName(std::string_view text);

// Whether `text` is one JSON number (RFC 8259, section 6), of any magnitude.
bool IsJsonNumber(std::string_view text);

// Whether `id` may be a request or tenant id: 1 to `max_bytes` bytes, no control character. Does
// not look at UTF-8.
bool IsId(std::string_view id, std::int64_t max_bytes);

// What is wrong with `id` as a request or tenant id, called `what` in the detail; nothing when it
// may be used (IsId).
std::optional<Failure> CheckId(std::string_view what, std::string_view id, std::int64_t max_bytes);
// The same for a model id or version.
std::optional<Failure> CheckModelName(std::string_view what, std::string_view name,
                                      std::int64_t max_bytes);

// The most bytes WriteEscaped writes for `size` bytes.
constexpr std::size_t EscapedBound(std::size_t size) { return 6 * size; }
// Writes `text` as the inside of a JSON string and returns the end. REQUIRES: valid UTF-8;
// EscapedBound(text.size()) writable bytes.
char* WriteEscaped(std::string_view text, char* out);

// `detail` on one line of valid UTF-8, at most kMaxFailureDetailBytes.
std::string OneLine(std::string_view detail);

}  // namespace millrace
