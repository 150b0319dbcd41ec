// NumberText: numbers as JSON writes them to elements of a tensor, exactly: the nearest value of
// the element's type, ties to even, never by way of another type.
//
// "Plain" functions are the fast way for text that is as nearly all text is. They read a number in
// one pass, eight digits at a time, and answer null for whatever they leave to someone slower; a
// null says nothing about whether the text is legal, an answer says that it is. They may read up
// to kReadablePadding bytes behind `end`, and never use what they read there. Pure functions;
// private to the codec.
#pragma once

#if defined(__SSSE3__)
#include <tmmintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <array>
#include <bit>
#include <cmath>
#include <cstddef>
#include <cstdint>
#include <limits>
#include <string_view>
#include <type_traits>

#include "codec/words_internal.h"
#include "types/float16.h"

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
  // Digits become 0 to 9, and then at most 0x7F; others end above, for the sum stops at 0xFF.
  const __m128i digits = _mm_xor_si128(text, _mm_set1_epi8('0'));
  const __m128i others = _mm_adds_epu8(digits, _mm_set1_epi8(0x7F - 9));
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
std::uint64_t ReadManyDigitsPortable(const char* at, std::size_t count);

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

#if defined(__SSSE3__)
// The values of sixteen digits to four numbers of four digits.
inline __m128i FourDigits(__m128i digits) {
  const __m128i pairs = _mm_maddubs_epi16(digits, _mm_set1_epi16(10 + (1 << 8)));
  return _mm_madd_epi16(pairs, _mm_set1_epi32(100 + (1 << 16)));
}

// Two such vectors to four numbers of eight digits.
inline __m128i EightDigits(__m128i first, __m128i second) {
  return _mm_madd_epi16(_mm_packs_epi32(first, second), _mm_set1_epi32(10000 + (1 << 16)));
}

// A short number is one digit, a point and 1 to kMaxShort decimals, with or without a minus: most
// numbers are. It stands in one vector, and its nearest value needs no second look (see ReadPair).
constexpr std::size_t kMaxShort = 12;

// Two numbers and what ends them are searched for in so many characters. No form is longer than
// what leaves room for another, so that an end beyond is too far from the number's start.
constexpr std::size_t kPairBytes = 32;

// How to read a number of a certain length, with or without a space and a minus before it.
struct alignas(64) ShortForm {
  // Which character goes where: the digits to the end, the point and the space to the start. What
  // is left over becomes 0.
  std::array<std::uint8_t, 16> from{};
  // Makes 0 of the point and the space, and values of digits. No character will do where a short
  // number has not that length.
  std::array<std::uint8_t, 16> zeros{};
  // 10^decimals, or its opposite.
  double divisor = 1;
};

constexpr ShortForm MakeShortForm(std::size_t length, std::size_t space, std::size_t minus) {
  ShortForm form;
  form.from.fill(0x80);
  const std::size_t digit = space + minus;
  if (length < digit + 3 || length > digit + 2 + kMaxShort || length >= kPairBytes / 2) {
    form.zeros[0] = 0xFF;
    return form;
  }
  std::size_t to = form.from.size();
  for (std::size_t at = length; at-- > digit;) {
    if (at == digit + 1) continue;
    form.from[--to] = static_cast<std::uint8_t>(at);
    form.zeros[to] = '0';
  }
  form.from[0] = static_cast<std::uint8_t>(digit + 1);
  form.zeros[0] = '.';
  if (space != 0) {
    form.from[1] = 0;
    form.zeros[1] = ' ';
  }
  const double tens = kDoubleTens[length - digit - 2];
  form.divisor = minus != 0 ? -tens : tens;
  return form;
}

// By twice the length with the space, and 1 more for a minus.
using ShortForms = std::array<ShortForm, 2 * kPairBytes + 2>;
// By the count of spaces.
inline constexpr std::array<ShortForms, 2> kShortForms = [] {
  std::array<ShortForms, 2> forms{};
  for (std::size_t space = 0; space < forms.size(); ++space) {
    for (std::size_t i = 0; i < forms[space].size(); ++i) {
      forms[space][i] = MakeShortForm(i / 2, space, i % 2);
    }
  }
  return forms;
}();

inline __m128i ShortDigits(const char* at, const ShortForm& form) {
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  const __m128i from = _mm_load_si128(reinterpret_cast<const __m128i*>(form.from.data()));
  const __m128i zeros = _mm_load_si128(reinterpret_cast<const __m128i*>(form.zeros.data()));
  return _mm_xor_si128(_mm_shuffle_epi8(text, from), zeros);
}

// A bit for each of the sixteen characters at `at` that is a comma, or a bracket if one is due.
template <bool kLast>
inline std::uint32_t Separators(const char* at) {
  const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
  __m128i found = _mm_cmpeq_epi8(text, _mm_set1_epi8(','));
  if (kLast) found = _mm_or_si128(found, _mm_cmpeq_epi8(text, _mm_set1_epi8(']')));
  return static_cast<std::uint32_t>(_mm_movemask_epi8(found));
}

inline void StorePair(__m128d numbers, double* out) { _mm_storeu_pd(out, numbers); }
inline void StorePair(__m128d numbers, float* out) {
  _mm_storel_epi64(reinterpret_cast<__m128i*>(out), _mm_castps_si128(_mm_cvtpd_ps(numbers)));
}

// The short number at `at`, with `space` spaces before it, and the one behind its comma; `kLast`:
// the last two of their array. Answers what is behind the character that ends the second one, or
// null when they are other numbers. (Two in one go, for where a number ends is known late.)
//
// A number's digits, at most 13, are less than 2^53 and so exact as a double, as 10^decimals is,
// and their quotient is the nearest double. It is the nearest float as well, unless it was rounded
// to the middle m of two floats, which is k / 2^s with k < 2^25. Digits p over 10^d differ from m
// by |p * 2^s - k * 10^d| / (2^s * 10^d). Where that is not zero (and where it is, m ties to even
// as it should), the integer on top is a multiple of 2^min(s, d), and min(s, d) is d, for less than
// 10 has s >= 21. In terms of m that is at least 2^d / (k * 10^d) > 1 / (2^25 * 5^d), which for d
// <= 12 is more than 2^-53, the most that rounding to double changes.
template <bool kLast, class T>
[[gnu::always_inline]] inline const char* ReadPair(const char* at, const char* end,
                                                   std::size_t space, T* out) {
  // Two bits more, so that there always are two; no number ends there.
  std::uint64_t separators = Separators<kLast>(at) |
                             std::uint64_t{Separators<kLast>(at + 16)} << 16 |
                             std::uint64_t{3} << kPairBytes;
  const auto middle = static_cast<std::size_t>(std::countr_zero(separators));
  separators &= separators - 1;
  const auto stop = static_cast<std::size_t>(std::countr_zero(separators));
  const char* const next = at + middle + 1;
  const auto form_of = [space](const char* text, std::size_t length) {
    return &kShortForms[space][2 * length + static_cast<std::size_t>(text[space] == '-')];
  };
  const ShortForm* const form = form_of(at, middle);
  const ShortForm* const next_form = form_of(next, stop - middle - 1);
  const __m128i digits = ShortDigits(at, *form);
  const __m128i next_digits = ShortDigits(next, *next_form);
  // Digits are at most 9, and what was the point and the space is 0; else a highest bit is set.
  constexpr char kMore = 0x7F;
  const __m128i room = _mm_setr_epi8(kMore, kMore, kMore, kMore - 9, kMore - 9, kMore - 9,
                                     kMore - 9, kMore - 9, kMore - 9, kMore - 9, kMore - 9,
                                     kMore - 9, kMore - 9, kMore - 9, kMore - 9, kMore - 9);
  const __m128i most = _mm_max_epu8(digits, next_digits);
  if (_mm_movemask_epi8(_mm_adds_epu8(most, room)) != 0 || at + stop >= end) return nullptr;
  if (kLast && (at[middle] != ',' || at[stop] != ']')) return nullptr;

  const __m128i halves = EightDigits(FourDigits(digits), FourDigits(next_digits));
  const __m128d high = _mm_cvtepi32_pd(_mm_shuffle_epi32(halves, _MM_SHUFFLE(2, 0, 2, 0)));
  const __m128d low = _mm_cvtepi32_pd(_mm_shuffle_epi32(halves, _MM_SHUFFLE(3, 1, 3, 1)));
  const __m128d all = _mm_add_pd(_mm_mul_pd(high, _mm_set1_pd(1e8)), low);
  const __m128d divisors = _mm_loadh_pd(_mm_load_sd(&form->divisor), &next_form->divisor);
  StorePair(_mm_div_pd(all, divisors), out);
  return at + stop + 1;
}

// Reads numbers from `at` on, behind a bracket or a comma, to `out` as long as they are short, not
// beyond `full`. Answers where it stopped, behind a comma or, after the last one, behind a bracket.
// Out of line: the loop wants all registers for itself.
template <class T>
[[gnu::noinline]] const char* ReadShorts(const char* at, const char* end, T* full, T** out) {
  // As some write all their commas. The first number of an array has none.
  const auto space = static_cast<std::size_t>(*at == ' ');
  T* to = *out;
  const char* next = at;
  for (; full - to > 2; to += 2) {
    next = ReadPair<false>(at, end, space, to);
    if (next == nullptr) break;
    at = next;
  }
  if (full - to == 2) {
    next = ReadPair<true>(at, end, space, to);
    if (next != nullptr) {
      at = next;
      to += 2;
    }
  }
  *out = to;
  return at;
}
#else
template <class T>
const char* ReadShorts(const char* at, const char*, T*, T**) {
  return at;
}
#endif

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
  } else if constexpr (std::is_same_v<T, Float16>) {
    double number = 0;
    at = number_text::ReadReal(at, end, &number);
    *out = NearestFloat16(number);
    return std::fabs(number) < Float16::kOverflow ? at : nullptr;
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
  T* const full = out + count;
  // How many numbers to read before looking for short ones again: twice as many each time that
  // there was none.
  std::ptrdiff_t others = 1;
  ++at;
  while (true) {
    if constexpr (std::is_floating_point_v<T>) {
      T* to = out;  // Not `out`, which would be kept in memory.
      at = number_text::ReadShorts(at, end, full, &to);
      others = to == out ? 2 * others : 1;
      out = to;
      if (at[-1] == ']') return at;
    }
    const T* const pause = full - out < others ? full : out + others;
    if (out == full) return nullptr;
    do {
      if (*at <= ' ') at = SkipJsonSpace(at, end);
      at = ReadPlainNumber(at, end, out++);
      if (at == nullptr) [[unlikely]]
        return nullptr;
      if (*at <= ' ') at = SkipJsonSpace(at, end);
      if (at >= end) [[unlikely]]
        return nullptr;
      if (*at != ',') return *at == ']' && out == full ? at + 1 : nullptr;
      ++at;
    } while (out != pause);
  }
}

}  // namespace millrace
