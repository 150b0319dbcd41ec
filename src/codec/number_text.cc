#include "codec/number_text_internal.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "codec/text.h"

namespace millrace {
namespace {

bool IsOfNumber(char c) {
  return (c >= '0' && c <= '9') || c == '-' || c == '+' || c == '.' || c == 'e' || c == 'E';
}

// Whether a number that is not zero is less than one. REQUIRES: IsJsonNumber(text).
bool IsLessThanOne(std::string_view text) {
  const std::size_t mark = text.find_first_of("eE");
  const std::string_view digits = text.substr(0, mark);
  const std::size_t point = std::min(digits.find('.'), digits.size());
  const std::size_t first = digits.find_first_of("123456789");
  // The power of ten of the first digit that counts; an exponent without end outweighs it.
  const auto power =
      static_cast<std::int64_t>(point) - static_cast<std::int64_t>(first) - (first < point ? 1 : 0);
  if (mark == std::string_view::npos) return power < 0;
  std::string_view exponent = text.substr(mark + 1);
  if (exponent.front() == '+') exponent.remove_prefix(1);
  std::int64_t number = 0;
  const auto parsed = std::from_chars(exponent.data(), exponent.data() + exponent.size(), number);
  if (parsed.ec != std::errc()) return exponent.front() == '-';
  return number < -power;
}

template <class T>
bool ReadExact(std::string_view text, T* out) {
  if (!IsJsonNumber(text)) return false;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (parsed.ec == std::errc()) return true;
  // Out of range, one way or the other.
  if (!IsLessThanOne(text)) return false;
  *out = text.front() == '-' ? -T{0} : T{0};
  return true;
}

template <class T>
const char* ReadLong(const char* at, const char* end, T* out) {
  const char* stop = at;
  while (stop < end && IsOfNumber(*stop)) ++stop;
  return ReadExact({at, static_cast<std::size_t>(stop - at)}, out) ? stop : nullptr;
}

}  // namespace

bool ReadExactNumber(std::string_view text, float* out) { return ReadExact(text, out); }
bool ReadExactNumber(std::string_view text, double* out) { return ReadExact(text, out); }

// In three words whatever the count: how many digits the next number has cannot be foreseen.
std::uint64_t number_text::ReadManyDigitsPortable(const char* at, std::size_t count) {
  const char* const last = at + count - kWord;
  const std::size_t before = count - kWord;
  const std::size_t middle = std::min(before, kWord);
  const std::size_t first = before - middle;
  std::uint64_t number = EightDigits(LoadDigits(at) << 1 << (63 - 8 * first));
  number = number * kTens[kWord] + FewDigits(at + first, middle);
  return number * kTens[kWord] + EightDigits(LoadDigits(last));
}

#if defined(__SSSE3__)
// The same with the last two words in one vector.
std::uint64_t number_text::ReadManyDigits(const char* at, std::size_t count) {
  // Moves characters to the end of a vector; which ones says where to read from here.
  static constexpr std::array<std::uint8_t, 32> kMoves = [] {
    std::array<std::uint8_t, 32> moves{};
    for (std::uint8_t i = 0; i < 16; ++i) {
      moves[i] = 0x80;
      moves[16U + i] = i;
    }
    return moves;
  }();
  const std::size_t rest = std::min(count, 2 * kWord);
  const std::size_t first = count - rest;
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at + first));
  const __m128i move = _mm_loadu_si128(reinterpret_cast<const __m128i*>(&kMoves[rest]));
  const __m128i zeros = _mm_set1_epi8('0');
  const __m128i digits = FourDigits(_mm_subs_epu8(_mm_shuffle_epi8(text, move), zeros));
  const auto halves = static_cast<std::uint64_t>(_mm_cvtsi128_si64(EightDigits(digits, digits)));
  std::uint64_t number = EightDigits(LoadDigits(at) << 1 << (63 - 8 * first));
  number = number * kTens[kWord] + (halves & 0xFFFFFFFF);
  return number * kTens[kWord] + (halves >> 32);
}
#else
std::uint64_t number_text::ReadManyDigits(const char* at, std::size_t count) {
  return ReadManyDigitsPortable(at, count);
}
#endif

const char* number_text::ReadExponent(const char* at, int* exponent) {
  const bool negative = *at == '-';
  if (negative || *at == '+') ++at;
  const char* const digits = at;
  int number = 0;
  for (; static_cast<unsigned char>(*at - '0') <= 9; ++at) {
    if (at == digits + 4) return nullptr;  // More than anyone's numbers have.
    number = 10 * number + (*at - '0');
  }
  *exponent = negative ? -number : number;
  return at == digits ? nullptr : at;
}

const char* number_text::ReadLongNumber(const char* at, const char* end, float* out) {
  return ReadLong(at, end, out);
}
const char* number_text::ReadLongNumber(const char* at, const char* end, double* out) {
  return ReadLong(at, end, out);
}

}  // namespace millrace
