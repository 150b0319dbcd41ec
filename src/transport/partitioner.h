// Which partition a key belongs to: murmur2 as the Java client has it, so that every client of a
// topic, ours or not, agrees. Source: Apache Kafka's default partitioner (KIP-480 keeps it for
// keyed records); the hash is Austin Appleby's MurmurHash2 with seed 0x9747b28c.
#pragma once

#include <cstdint>
#include <string_view>

namespace millrace {

std::uint32_t Murmur2(std::string_view key);

// REQUIRES: partitions > 0.
inline std::int32_t PartitionForKey(std::string_view key, std::int32_t partitions) {
  return static_cast<std::int32_t>(Murmur2(key) & 0x7FFFFFFF) % partitions;
}

}  // namespace millrace
