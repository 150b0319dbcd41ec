#include "transport/partitioner.h"

#include <cstring>

namespace millrace {

std::uint32_t Murmur2(std::string_view key) {
  constexpr std::uint32_t kSeed = 0x9747b28c;
  constexpr std::uint32_t kMultiplier = 0x5bd1e995;
  constexpr int kShift = 24;
  std::uint32_t hash = kSeed ^ static_cast<std::uint32_t>(key.size());
  std::size_t at = 0;
  for (; at + 4 <= key.size(); at += 4) {
    std::uint32_t word = 0;
    std::memcpy(&word, key.data() + at, sizeof word);
    word *= kMultiplier;
    word ^= word >> kShift;
    word *= kMultiplier;
    hash = (hash * kMultiplier) ^ word;
  }
  const auto byte = [&](std::size_t i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(key[at + i]));
  };
  switch (key.size() - at) {
    case 3:
      hash ^= byte(2) << 16;
      [[fallthrough]];
    case 2:
      hash ^= byte(1) << 8;
      [[fallthrough]];
    case 1:
      hash = (hash ^ byte(0)) * kMultiplier;
      break;
    default:
      break;
  }
  hash ^= hash >> 13;
  hash *= kMultiplier;
  return hash ^ (hash >> 15);
}

}  // namespace millrace
