// Words: eight characters at a time in a 64-bit integer, the first one in the lowest byte.
//
// Pure functions; private to the codec.
#pragma once

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

}  // namespace millrace
