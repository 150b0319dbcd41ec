// The tables of the local log, and the topics they describe. Internal to transport/local.
//
//   topics       one row per topic: how many partitions, how long records are kept
//   partitions   one row per partition: its first held offset and its next one. Offsets go on from
//                `next` whatever was deleted, so they are never used twice
//   records_<id> the records of the partition with that id, by offset
//   groups       one row per consumer group, with the generation that fences an older worker
//   committed    the position of a group in a partition
//
// The schema's version is SQLite's user_version.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "transport/local/connection.h"
#include "transport/log.h"

namespace millrace::local {

inline constexpr int kSchemaVersion = 2;
// Larger pages mean fewer reads per record, but more bytes for a small commit to rewrite and for
// SQLite to checksum. local_log_bench.cc, CPU per record polled and per record committed in units
// of 4,096: 4 KiB 0.57 and 1.2 us, 8 KiB 0.41 and 1.1 us, 16 KiB 0.40 and 1.1 us. So 8: 16 wins
// nothing and would double what a commit of one record writes.
inline constexpr int kPageBytes = 8192;
inline constexpr std::int32_t kMaxPartitionsPerTopic = 1024;
// Of key, headers and value together. Far above what any topic of ours carries, and well below
// what SQLite stores in one row.
inline constexpr std::size_t kMaxRecordBytes = 64 << 20;

struct TopicRow {
  std::int64_t id = 0;
  TopicSpec spec;
  std::vector<std::int64_t> partition_ids;  // By partition number.
};

// Creates the tables in a new file; checks the version of an old one.
// REQUIRES: the write lock is held. Errors: kUnsupported (newer), kCorruption (not ours).
Status EnsureSchema(Connection& connection, const std::string& path);

// REQUIRES: in a write transaction. Errors: kAlreadyExists, kInvalidArgument.
Status InsertTopic(Connection& connection, const TopicSpec& spec);

// In name order.
Result<std::vector<TopicRow>> ReadTopics(Connection& connection);
// kNotFound says which command makes the topic; `dir` is for that message.
Result<TopicRow> FindTopic(Connection& connection, const std::string& name, const std::string& dir);

}  // namespace millrace::local
