// Words: eight characters at a time in a 64-bit integer, the first one in the lowest byte; and
// sixteen at a time, where there are vectors.
//
// Pure functions; private to the codec.
#pragma once

#if defined(__SSE2__)
#include <emmintrin.h>
#endif

#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>

namespace millrace {

static_assert(std::endian::native == std::endian::little);

constexpr std::size_t kWord = sizeof(std::uint64_t);
constexpr std::uint64_t kOnes = 0x0101010101010101;
constexpr std::uint64_t kHighs = 0x8080808080808080;

inline std::uint64_t LoadWord(const char* at) {
  std::uint64_t word = 0;
  std::memcpy(&word, at, kWord);
  return word;
}

// The high bit of each byte that equals `c`; exact up to and including the first such byte.
constexpr std::uint64_t BytesEqual(std::uint64_t word, unsigned char c) {
  const std::uint64_t x = word ^ (kOnes * c);
  return (x - kOnes) & ~x & kHighs;
}

// The same for bytes below 0x20.
constexpr std::uint64_t BytesBelowSpace(std::uint64_t word) {
  return (word - kOnes * 0x20) & ~word & kHighs;
}

// The same for what JSON wants escaped in a string, and the quote that ends it.
constexpr std::uint64_t BytesToEscape(std::uint64_t word) {
  return BytesEqual(word, '"') | BytesEqual(word, '\\') | BytesBelowSpace(word);
}

// Which byte the lowest of such bits stands for.
constexpr std::size_t FirstByte(std::uint64_t bits) {
  return static_cast<std::size_t>(std::countr_zero(bits)) / 8;
}

#if defined(__SSE2__)
// Which characters JSON wants escaped in a string, and the quote that ends it.
inline __m128i BytesToEscape(__m128i text) {
  const __m128i quotes = _mm_cmpeq_epi8(text, _mm_set1_epi8('"'));
  const __m128i escapes = _mm_cmpeq_epi8(text, _mm_set1_epi8('\\'));
  const __m128i controls = _mm_cmpeq_epi8(_mm_min_epu8(text, _mm_set1_epi8(0x1F)), text);
  return _mm_or_si128(_mm_or_si128(quotes, escapes), controls);
}

// The first and the last eight characters of `size`. REQUIRES: 8 <= size <= 16.
inline __m128i LoadEnds(const char* at, std::size_t size) {
  const auto load = [](const char* from) {
    return _mm_loadl_epi64(reinterpret_cast<const __m128i*>(from));
  };
  return _mm_unpacklo_epi64(load(at), load(at + size - kWord));
}
#endif

// Which of a string's next characters JSON wants escaped, the quote that ends it among them, and
// whether one is not ASCII.
struct StringBytes {
#if defined(__SSE2__)
  static constexpr std::size_t kBytes = 16;

  explicit StringBytes(const char* at) {
    const __m128i text = _mm_loadu_si128(reinterpret_cast<const __m128i*>(at));
    hits = static_cast<std::uint32_t>(_mm_movemask_epi8(BytesToEscape(text)));
    not_ascii = static_cast<std::uint32_t>(_mm_movemask_epi8(text));
  }
  // REQUIRES: hits != 0.
  std::size_t First() const { return static_cast<unsigned>(std::countr_zero(hits)); }

  std::uint32_t hits;
  std::uint32_t not_ascii;
#else
  static constexpr std::size_t kBytes = kWord;

  explicit StringBytes(const char* at) {
    const std::uint64_t word = LoadWord(at);
    hits = BytesToEscape(word);
    not_ascii = word & kHighs;
  }
  // REQUIRES: hits != 0.
  std::size_t First() const { return FirstByte(hits); }

  std::uint64_t hits;
  std::uint64_t not_ascii;
#endif
};

}  // namespace millrace
