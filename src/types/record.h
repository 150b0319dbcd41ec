// Records as they come in from a log and go out to it.
//
// A Record borrows its bytes from the RecordBatch it came in; an OutputRecord names spans of the
// OutputChunk it was encoded into. Neither owns anything, both are cheap to copy.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_buffer.h"
#include "base/clock.h"
#include "base/strong.h"
#include "types/headers.h"

namespace millrace {

struct TopicPartition {
  std::string topic;
  std::int32_t partition = 0;
  friend auto operator<=>(const TopicPartition&, const TopicPartition&) = default;
};

// One record of a log. `value` is followed by at least kReadablePadding readable bytes.
struct Record {
  std::string_view key;
  std::string_view value;
  HeadersView headers;
  Offset offset;
  WallMillis timestamp = 0;
  PartitionSlot slot;  // Which partition, in the terms of the Source or Reader that gave it.
  bool has_key = false;
  bool has_value = false;  // False: a tombstone.
};

// Owns the bytes of many records, of many partitions, polled at once. Reused: Clear keeps memory.
// Records of one partition are in offset order.
struct RecordBatch {
  // What a transport must keep alive for the records besides `bytes`; released by Clear.
  class Backing {
   public:
    virtual ~Backing() = default;
    virtual void Release() = 0;
  };

  std::vector<Record> records;
  ByteBuffer bytes;
  std::unique_ptr<Backing> backing;

  void Clear() {
    records.clear();
    bytes.Clear();
    if (backing != nullptr) backing->Release();
  }
};

// The topics a worker writes to, by role; the names are settings (topics.*).
enum class OutputTopic : std::uint8_t { kResults, kDeadLetters };
inline constexpr std::size_t kOutputTopics = 2;

struct ByteSpan {
  std::uint32_t at = 0;
  std::uint32_t size = 0;
};

struct OutputChunk;

// One record to write, encoded. The partition follows from the key (transport/partitioner.h).
struct OutputRecord {
  const OutputChunk* chunk = nullptr;
  ByteSpan key;
  ByteSpan value;
  ByteSpan headers;
  WallMillis timestamp = 0;
  OutputTopic topic = OutputTopic::kResults;

  inline std::string_view Key() const;
  inline std::string_view Value() const;
  inline HeadersView Headers() const;
  std::size_t bytes() const { return std::size_t{key.size} + value.size + headers.size; }
};

// Owns the encoded bytes of many output records. Must not move while an OutputRecord names it.
struct OutputChunk {
  ByteBuffer bytes;
};

std::string_view OutputRecord::Key() const { return chunk->bytes.view(key.at, key.size); }
std::string_view OutputRecord::Value() const { return chunk->bytes.view(value.at, value.size); }
HeadersView OutputRecord::Headers() const {
  return HeadersView(chunk->bytes.view(headers.at, headers.size));
}

}  // namespace millrace
