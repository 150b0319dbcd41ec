// NumberText: numbers as JSON writes them to elements of a tensor, exactly: the nearest value of
// the element's type, ties to even, never by way of another type.
//
// "Plain" functions are the fast way for text that is as nearly all text is. They read a number in
// one pass, eight digits at a time, and answer null for whatever they leave to someone slower; a
// null says nothing about whether the text is legal, an answer says that it is. They may read up
// to kReadablePadding bytes behind `end`, and never use what they read there. Pure functions;
// private to the codec.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "codec/words_internal.h"

namespace millrace {

// The JSON number that `text` is, or false when `text` is none, or none that T has room for. What
// is too small for T is zero.
bool ReadExactNumber(std::string_view text, float* out);
bool ReadExactNumber(std::string_view text, double* out);

namespace number_text {

__extension__ typedef unsigned __int128 Uint128;

constexpr std::size_t kMaxDigits = 19;  // As many nines fit 64 bits.

inline constexpr std::array<std::uint64_t, kMaxDigits + 1> kTens = [] {
  std::array<std::uint64_t, kMaxDigits + 1> powers{};
  std::uint64_t power = 1;
  for (std::uint64_t& entry : powers) {
    entry = power;
    power *= 10;
  }
  return powers;
}();

// Numbers with more decimals have too many digits to be exact as doubles; asking for the decimals
// first can be foreseen better than asking for the digits' value.
constexpr unsigned kMaxQuotient = 15;

// Powers of ten, exact as doubles.
inline constexpr std::array<double, kMaxQuotient + 1> kDoubleTens = [] {
  std::array<double, kMaxQuotient + 1> powers{};
  double power = 1;
  for (double& entry : powers) {
    entry = power;
    power *= 10;
  }
  return powers;
}();

// 10^q is bits * 2^exponent and less than 2^exponent more; the highest bit is set.
struct Power {
  std::uint64_t bits = 0;
  std::int32_t exponent = 0;
};
// 5^54 is the last power with room to spare in 128 bits.
constexpr int kMaxPower = 54;

constexpr Power MakePower(int q) {
  Uint128 five = 1;
  for (int i = 0; i < (q < 0 ? -q : q); ++i) five *= 5;
  Power power{0, q};
  if (q >= 0) {
    for (; five >> 64 != 0; five >>= 1) ++power.exponent;
    power.bits = static_cast<std::uint64_t>(five);
    for (; power.bits >> 63 == 0; power.bits <<= 1) --power.exponent;
    return power;
  }
  // 1 / 5^-q, one bit after the other.
  for (Uint128 rest = 1; power.bits >> 63 == 0; --power.exponent) {
    rest <<= 1;
    power.bits <<= 1;
    if (rest < five) continue;
    rest -= five;
    power.bits |= 1;
  }
  return power;
}

inline constexpr std::array<Power, 2 * kMaxPower + 1> kPowers = [] {
  std::array<Power, 2 * kMaxPower + 1> powers{};
  for (int q = -kMaxPower; q <= kMaxPower; ++q) {
    powers[static_cast<unsigned>(q + kMaxPower)] = MakePower(q);
  }
  return powers;
}();

// Eight characters; digits become their values.
inline std::uint64_t LoadDigits(const char* at) { return LoadWord(at) ^ (kOnes * '0'); }

// A bit for each of the sixteen characters at `at` that is no digit.
inline std::uint32_t NonDigitsPortable(const char* at) {
  std::uint32_t bits = 0;
  for (unsigned half = 0; half < 2; ++half) {
    const std::uint64_t word = LoadDigits(at + 8 * half);
    // The high bit of each byte above 9, gathered into the highest byte.
    const std::uint64_t high = ((word & 0x7F7F7F7F7F7F7F7F) + 0x7676767676767676) | word;
    bits |= static_cast<std::uint32_t>(((high >> 7 & kOnes) * 0x0102040810204080) >> 56)
            << (8 * half);
  }
  return bits;
}

#if defined(__SSE2__)
inline std::uint32_t NonDigits(const char* at) {
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  // '0' becomes the least signed byte.
  const __m128i shifted = _mm_sub_epi8(text, _mm_set1_epi8(static_cast<char>('0' + 0x80)));
  const __m128i others = _mm_cmpgt_epi8(shifted, _mm_set1_epi8(static_cast<char>(9 - 0x80)));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(others));
}
#else
inline std::uint32_t NonDigits(const char* at) { return NonDigitsPortable(at); }
#endif

// 32 when there is none. By way of unsigned, which widens for nothing.
inline std::size_t LowestBit(std::uint32_t bits) {
  return static_cast<unsigned>(std::countr_zero(bits));
}

// Eight bytes, each a digit's value, the first one in the lowest byte.
constexpr std::uint64_t EightDigits(std::uint64_t word) {
  constexpr std::uint64_t kPairs = 0x000000FF000000FF;
  word = word * 10 + (word >> 8);
  return ((word & kPairs) * (100 + (std::uint64_t{1000000} << 32)) +
          ((word >> 16) & kPairs) * (1 + (std::uint64_t{10000} << 32))) >>
         32;
}

// REQUIRES: 1 <= count <= 8, and as many digits at `at`.
inline std::uint64_t FewDigits(const char* at, std::size_t count) {
  // The digits to the end of the word, zeros before them.
  return EightDigits(LoadDigits(at) << (64 - 8 * count));
}

// REQUIRES: kWord < count <= kMaxDigits, and as many digits at `at`. Out of line, so that the
// common way stays in registers.
std::uint64_t ReadManyDigits(const char* at, std::size_t count);

// REQUIRES: 1 <= count <= kMaxDigits, and as many digits at `at`.
inline std::uint64_t ReadDigits(const char* at, std::size_t count) {
  return count <= kWord ? FewDigits(at, count) : ReadManyDigits(at, count);
}

template <class T>
using BitsOf = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;

// `number`, which is not negative, or its opposite; without a branch, for signs cannot be foreseen.
template <class T>
T WithSign(T number, std::uint32_t minus) {
  using Bits = BitsOf<T>;
  return std::bit_cast<T>(std::bit_cast<Bits>(number) |
                          static_cast<Bits>(static_cast<Bits>(minus) << (8 * sizeof(T) - 1)));
}

template <class T>
[[gnu::noinline]] bool NearestOfProduct(std::uint64_t digits, int exponent, std::uint32_t minus,
                                        T* out) {
  using Bits = BitsOf<T>;
  constexpr int kMantissaBits = std::numeric_limits<T>::digits;  // With the implicit one.
  constexpr int kBias = std::numeric_limits<T>::max_exponent - 1;
  constexpr int kShift = 64 - kMantissaBits;
  constexpr std::uint64_t kHalf = std::uint64_t{1} << (kShift - 1);
  Bits bits = 0;
  if (digits != 0) {
    if (exponent < -kMaxPower || exponent > kMaxPower) return false;
    const Power& power = kPowers[static_cast<unsigned>(exponent + kMaxPower)];
    const int zeros = std::countl_zero(digits);
    auto product =
        static_cast<std::uint64_t>((static_cast<Uint128>(digits << zeros) * power.bits) >> 64);
    const int top = static_cast<int>(product >> 63);
    if (top == 0) product *= 2;
    // The true product is less than 4 more. Its lowest bits are rounded away; where they are about
    // a half, either neighbour may be the nearest.
    const std::uint64_t rest = product & (2 * kHalf - 1);
    if (rest - (kHalf - 3) <= 3) return false;
    const std::uint64_t mantissa = ((product >> (kShift - 1)) + 1) >> 1;
    // The product's highest bit counts 2^(biased - kBias).
    const int biased = power.exponent - zeros + top + 126 + kBias;
    // Subnormals, and what may round to infinity.
    if (biased < 1 || biased >= 2 * kBias) return false;
    // The mantissa's highest bit adds one to the exponent, and so does its overflow.
    bits = (static_cast<Bits>(biased - 1) << (kMantissaBits - 1)) + static_cast<Bits>(mantissa);
  }
  *out = WithSign(std::bit_cast<T>(bits), minus);
  return true;
}

// The value of T nearest to digits / 10^decimals; false when that takes more than 64 bits to tell.
template <class T>
[[gnu::always_inline]] inline bool Nearest(std::uint64_t digits, int decimals, std::uint32_t minus,
                                           T* out) {
  // Both are exact as doubles, and so their quotient is the nearest double. It is the nearest float
  // too when it does not lie in the middle between two of them, where it may have been rounded to.
  // (Small enough for no float to overflow, large enough for none to be subnormal.)
  if (static_cast<unsigned>(decimals) <= kMaxQuotient && digits >> 53 == 0) [[likely]] {
    const double quotient = static_cast<double>(static_cast<std::int64_t>(digits)) /
                            kDoubleTens[static_cast<unsigned>(decimals)];
    constexpr std::uint64_t kMiddle = std::uint64_t{1} << 28;
    if (sizeof(T) == sizeof(double) ||
        (std::bit_cast<std::uint64_t>(quotient) & (2 * kMiddle - 1)) != kMiddle) [[likely]] {
      *out = WithSign(static_cast<T>(quotient), minus);
      return true;
    }
  }
  return NearestOfProduct(digits, -decimals, minus, out);
}

// What stands behind an 'e'; answers where it ends, or null.
const char* ReadExponent(const char* at, int* exponent);

template <class T>
const char* PlainInteger(const char* at, std::size_t count, bool negative, T* out) {
  const char* const end = at + count;
  if (*end == '.' || *end == 'e' || *end == 'E') return nullptr;
  const std::uint64_t digits = ReadDigits(at, count);
  if (negative && (std::is_unsigned_v<T> || digits == 0)) return nullptr;
  if (digits > static_cast<std::uint64_t>(std::numeric_limits<T>::max())) return nullptr;
  const auto number = static_cast<std::int64_t>(digits);
  *out = static_cast<T>(negative ? -number : number);
  return end;
}

// The same as ReadPlainNumber, for numbers that are longer or closer to a middle.
const char* ReadLongNumber(const char* at, const char* end, float* out);
const char* ReadLongNumber(const char* at, const char* end, double* out);

template <class T>
[[gnu::always_inline]] inline const char* ReadReal(const char* at, const char* end, T* out) {
  const char* const begin = at;
  // Not a bool: as a flag register's byte it would tie this number to the one before.
  const auto minus =
      static_cast<std::uint32_t>((std::uint64_t{static_cast<unsigned char>(*at ^ '-')} - 1) >> 63);
  std::uint32_t others = NonDigits(at) & ~minus;
  if ((others & (others - 1)) == 0) {
    others |= NonDigits(at + 16) << 16;
    if (others == 0) [[unlikely]]
      return ReadLongNumber(begin, end, out);
  }
  const auto point = LowestBit(others);
  const std::size_t whole = point - minus;
  const char* const first = at + minus;
  if (whole == 0 || (whole > 1 && *first == '0')) [[unlikely]]
    return nullptr;
  std::uint64_t digits = 0;
  int decimals = 0;
  at += point;
  if (*at == '.') {
    others &= others - 1;
    const auto stop = LowestBit(others);
    const std::size_t fraction = stop - point - 1;
    if (others == 0 || whole + fraction > kMaxDigits) [[unlikely]] {
      return ReadLongNumber(begin, end, out);
    }
    if (fraction == 0) [[unlikely]]
      return nullptr;
    digits = whole == 1 ? static_cast<std::uint64_t>(*first - '0') : ReadDigits(first, whole);
    digits = digits * kTens[fraction] + ReadDigits(at + 1, fraction);
    decimals = static_cast<int>(fraction);
    at = begin + stop;
  } else {
    if (whole > kMaxDigits) [[unlikely]]
      return ReadLongNumber(begin, end, out);
    digits = ReadDigits(first, whole);
  }
  if ((*at | 0x20) == 'e') {
    int exponent = 0;
    at = ReadExponent(at + 1, &exponent);
    if (at == nullptr) [[unlikely]]
      return ReadLongNumber(begin, end, out);
    decimals -= exponent;
  }
  if (Nearest(digits, decimals, minus, out)) [[likely]]
    return at;
  return ReadLongNumber(begin, end, out);
}

template <class T>
const char* ReadInteger(const char* at, T* out) {
  const auto minus = static_cast<std::uint32_t>(*at == '-');
  const std::uint32_t others = (NonDigits(at) | NonDigits(at + 16) << 16) & ~minus;
  const auto count = LowestBit(others) - minus;
  if (count == 0 || count > kMaxDigits || (count > 1 && at[minus] == '0')) return nullptr;
  return PlainInteger(at + minus, count, minus != 0, out);
}

}  // namespace number_text

// The number at `at`, before `end`; answers where it ends. The caller looks at what follows.
template <class T>
[[gnu::always_inline]] inline const char* ReadPlainNumber(const char* at, const char* end, T* out) {
  if constexpr (std::is_same_v<T, bool>) {
    return nullptr;
  } else if constexpr (std::is_integral_v<T>) {
    return number_text::ReadInteger(at, out);
  } else {
    return number_text::ReadReal(at, end, out);
  }
}

inline const char* SkipJsonSpace(const char* at, const char* end) {
  while (at < end && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r')) ++at;
  return at;
}

// The array of exactly `count` numbers that starts at `at`, before `end`; answers where it ends.
// When it answers null, `out` has lost its content. REQUIRES: *at == '['.
template <class T>
const char* ReadPlainArray(const char* at, const char* end, std::size_t count, T* out) {
  for (std::size_t i = 0; i < count;) {
    ++at;
    if (*at <= ' ') at = SkipJsonSpace(at, end);
    at = ReadPlainNumber(at, end, out + i);
    if (at == nullptr) [[unlikely]]
      return nullptr;
    ++i;
    if (*at <= ' ') at = SkipJsonSpace(at, end);
    if (at >= end) [[unlikely]]
      return nullptr;
    if (*at != ',') return *at == ']' && i == count ? at + 1 : nullptr;
  }
  return nullptr;
}

}  // namespace millrace
