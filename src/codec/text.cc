#include "codec/text.h"

#include <fmt/format.h>

#include <cstring>

#include "codec/words_internal.h"

namespace millrace {
namespace {

constexpr std::size_t kMaxModelNameBytes = 128;

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool IsAlphanumeric(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool IsContinuation(char c) { return (static_cast<unsigned char>(c) & 0xC0) == 0x80; }

// Length of the UTF-8 sequence `text` starts with, or 0 when it starts with none.
std::size_t Utf8SequenceBytes(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char first = byte(0);
  if (first < 0x80) return 1;
  if (first < 0xC2 || first > 0xF4) return 0;
  const std::size_t bytes = first < 0xE0 ? 2 : first < 0xF0 ? 3 : 4;
  if (text.size() < bytes) return 0;
  for (std::size_t i = 1; i < bytes; ++i) {
    if (!IsContinuation(text[i])) return 0;
  }
  // Overlong forms, surrogates and what lies above U+10FFFF.
  if (first == 0xE0 && byte(1) < 0xA0) return 0;
  if (first == 0xED && byte(1) > 0x9F) return 0;
  if (first == 0xF0 && byte(1) < 0x90) return 0;
  if (first == 0xF4 && byte(1) > 0x8F) return 0;
  return bytes;
}

// Bytes before the first one that JSON wants escaped.
std::size_t PlainPrefix(std::string_view text) {
  std::size_t i = 0;
#if defined(__SSE2__)
  // Most ids are as long as that.
  if (text.size() - kWord <= kWord &&
      _mm_movemask_epi8(BytesToEscape(LoadEnds(text.data(), text.size()))) == 0) {
    return text.size();
  }
#endif
  for (; i + kWord <= text.size(); i += kWord) {
    const std::uint64_t hits = BytesToEscape(LoadWord(text.data() + i));
    if (hits != 0) return i + FirstByte(hits);
  }
  // The rest again as the end of a whole word.
  if (text.size() >= kWord && BytesToEscape(LoadWord(text.data() + text.size() - kWord)) == 0) {
    return text.size();
  }
  for (; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == '"' || c == '\\') break;
  }
  return i;
}

// Copies valid UTF-8 of `text` to `out` up to `max_bytes`; the rest of a line break, of a control
// character or of a broken sequence becomes '?'. Returns how many bytes of `text` were used.
std::size_t AppendShown(std::string_view text, std::size_t max_bytes, std::string* out) {
  const std::size_t start = out->size();
  std::size_t i = 0;
  while (i < text.size()) {
    const std::size_t bytes = Utf8SequenceBytes(text.substr(i));
    const auto c = static_cast<unsigned char>(text[i]);
    // U+0080..U+009F are controls, U+2028 and U+2029 break lines.
    const bool hidden =
        bytes == 0 || (bytes == 1 && (c < 0x20 || c == 0x7F)) ||
        (bytes == 2 && c == 0xC2 && static_cast<unsigned char>(text[i + 1]) < 0xA0) ||
        (bytes == 3 && (text.substr(i, 3) == "\u2028" || text.substr(i, 3) == "\u2029"));
    const std::size_t shown = hidden ? 1 : bytes;
    if (out->size() - start + shown > max_bytes) break;
    if (hidden) {
      *out += '?';
    } else {
      out->append(text.substr(i, bytes));
    }
    i += bytes == 0 ? 1 : bytes;
  }
  return i;
}

}  // namespace

std::string Excerpt(std::string_view text) {
  std::string shown = "'";
  const std::size_t used = AppendShown(text, kMaxExcerptBytes, &shown);
  return shown.append(used < text.size() ? "...'" : "'");
}

std::size_t FindInvalidUtf8(std::string_view text) {
  std::size_t i = 0;
  while (i < text.size()) {
    if (i + kWord <= text.size() && (LoadWord(text.data() + i) & kHighs) == 0) {
      i += kWord;
      continue;
    }
    const std::size_t bytes = Utf8SequenceBytes(text.substr(i));
    if (bytes == 0) return i;
    i += bytes;
  }
  return std::string_view::npos;
}

bool HasControlCharacter(std::string_view text) {
#if defined(__SSE2__)
  if (text.size() - kWord <= kWord) {
    const __m128i bytes = LoadEnds(text.data(), text.size());
    const __m128i low = _mm_cmpeq_epi8(_mm_min_epu8(bytes, _mm_set1_epi8(0x1F)), bytes);
    return _mm_movemask_epi8(_mm_or_si128(low, _mm_cmpeq_epi8(bytes, _mm_set1_epi8(0x7F)))) != 0;
  }
#endif
  const auto controls = [](std::uint64_t word) {
    return BytesEqual(word, 0x7F) | BytesBelowSpace(word);
  };
  if (text.size() < kWord) {
    for (const char c : text) {
      if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return true;
    }
    return false;
  }
  // The last word may overlap the one before it.
  std::uint64_t hits = controls(LoadWord(text.data() + text.size() - kWord));
  for (std::size_t i = 0; i + kWord <= text.size(); i += kWord) {
    hits |= controls(LoadWord(text.data() + i));
  }
  return hits != 0;
}

bool IsModelName(std::string_view text) {
  if (text.empty() || text.size() > kMaxModelNameBytes || !IsAlphanumeric(text[0])) return false;
  for (const char c : text) {
    if (!IsAlphanumeric(c) && c != '.' && c != '_' && c != '-') return false;
  }
  return true;
}

bool IsJsonNumber(std::string_view text) {
  std::size_t i = 0;
  const auto at = [&](char c) { return i < text.size() && text[i] == c; };
  const auto digits = [&] {
    const std::size_t start = i;
    while (i < text.size() && IsDigit(text[i])) ++i;
    return i > start;
  };
  if (at('-')) ++i;
  if (at('0')) {
    ++i;
  } else if (!digits()) {
    return false;
  }
  if (at('.')) {
    ++i;
    if (!digits()) return false;
  }
  if (at('e') || at('E')) {
    ++i;
    if (at('+') || at('-')) ++i;
    if (!digits()) return false;
  }
  return i == text.size();
}

bool IsId(std::string_view id, std::int64_t max_bytes) {
  return !id.empty() && id.size() <= static_cast<std::size_t>(max_bytes) &&
         !HasControlCharacter(id);
}

std::optional<Failure> CheckId(std::string_view what, std::string_view id, std::int64_t max_bytes) {
  if (id.empty()) return Failure{FailureReason::kInvalidValue, fmt::format("{} is empty", what)};
  if (id.size() > static_cast<std::size_t>(max_bytes)) {
    return Failure{FailureReason::kTooLarge,
                   fmt::format("{} has {} bytes, at most {} are allowed (limits.max_id_bytes)",
                               what, id.size(), max_bytes)};
  }
  if (HasControlCharacter(id)) {
    return Failure{FailureReason::kInvalidValue,
                   fmt::format("{} has a control character: {}", what, Excerpt(id))};
  }
  return std::nullopt;
}

std::optional<Failure> CheckModelName(std::string_view what, std::string_view name,
                                      std::int64_t max_bytes) {
  if (IsModelName(name) && name.size() <= static_cast<std::size_t>(max_bytes)) return std::nullopt;
  if (auto failure = CheckId(what, name, max_bytes)) return failure;
  return Failure{
      FailureReason::kInvalidValue,
      fmt::format("{} {} does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}", what, Excerpt(name))};
}

char* WriteEscaped(std::string_view text, char* out) {
  constexpr char kHex[] = "0123456789abcdef";
  while (true) {
    const std::size_t plain = PlainPrefix(text);
    if (plain - kWord <= kWord) {
      const std::uint64_t last = LoadWord(text.data() + plain - kWord);
      std::memcpy(out, text.data(), kWord);
      std::memcpy(out + plain - kWord, &last, kWord);
    } else if (plain > 0) {
      std::memcpy(out, text.data(), plain);
    }
    out += plain;
    if (plain == text.size()) return out;
    const auto c = static_cast<unsigned char>(text[plain]);
    text.remove_prefix(plain + 1);
    *out++ = '\\';
    switch (c) {
      case '"':
        *out++ = '"';
        break;
      case '\\':
        *out++ = '\\';
        break;
      case '\b':
        *out++ = 'b';
        break;
      case '\f':
        *out++ = 'f';
        break;
      case '\n':
        *out++ = 'n';
        break;
      case '\r':
        *out++ = 'r';
        break;
      case '\t':
        *out++ = 't';
        break;
      default:
        std::memcpy(out, "u00", 3);
        out[3] = kHex[c >> 4];
        out[4] = kHex[c & 15];
        out += 5;
    }
  }
}

std::string OneLine(std::string_view detail) {
  std::string line;
  const std::size_t used = AppendShown(detail, kMaxFailureDetailBytes, &line);
  if (used < detail.size()) {
    // Cut again, so that the mark fits; AppendShown never splits a sequence.
    line.clear();
    AppendShown(detail, kMaxFailureDetailBytes - 3, &line);
    line += "...";
  }
  return line;
}

}  // namespace millrace
