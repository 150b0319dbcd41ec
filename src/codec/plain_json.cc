#include "codec/plain_json_internal.h"

#include <algorithm>
#include <array>

#include "codec/text.h"
#include "codec/words_internal.h"

namespace millrace {

bool PlainJson::ReadString(std::string_view* out) {
  const char* at = Start();  // Not at_, which would be stored and loaded for each word.
  if (at >= end_ || *at != '"') return false;
  const char* const begin = ++at;
  StringBytes bytes(at);
  auto not_ascii = bytes.not_ascii;
  while (bytes.hits == 0) {
    at += StringBytes::kBytes;
    if (at >= end_) return false;
    bytes = StringBytes(at);
    not_ascii |= bytes.not_ascii;
  }
  at += bytes.First();
  if (at >= end_ || *at != '"') return false;
  *out = {begin, static_cast<std::size_t>(at - begin)};
  at_ = at + 1;
  return not_ascii == 0 || FindInvalidUtf8(*out) == std::string_view::npos;
}

bool PlainJson::ReadObjectOfStrings(std::string_view* out) {
  constexpr std::size_t kMaxKeys = 8;  // Few enough to look for twins one by one.
  std::array<std::string_view, kMaxKeys> keys;
  std::size_t count = 0;
  const char* const begin = Start();
  if (!Take('{')) return false;
  do {
    std::string_view key;
    std::string_view value;
    if (count == kMaxKeys || !ReadKey(&key) || !ReadString(&value)) return false;
    if (std::find(keys.begin(), keys.begin() + count, key) != keys.begin() + count) return false;
    keys[count++] = key;
  } while (Take(','));
  if (!Take('}')) return false;
  *out = {begin, static_cast<std::size_t>(at_ - begin)};
  return true;
}

}  // namespace millrace
