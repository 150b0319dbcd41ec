// Settings of the log: which one, where, and how the topics are called.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/settings.h"

namespace millrace {

enum class TransportKind : std::uint8_t { kKafka, kLocal };
// What a crash may do to outcomes. At least once: repeat some. At most once: lose some.
enum class DeliveryMode : std::uint8_t { kExactlyOnce, kAtLeastOnce, kAtMostOnce };
enum class LocalDurability : std::uint8_t { kFull, kNormal };

struct TopicOptions {
  std::string requests = "inference.requests";
  std::string results = "inference.results";
  std::string dlq = "inference.dlq";
  std::string events = "model.events";
  std::string status = "model.status";
  std::string shadow = "inference.shadow";
};

struct LocalLogOptions {
  std::string dir = "millrace-data";
  LocalDurability durability = LocalDurability::kFull;
};

struct KafkaOptions {
  std::string brokers = "localhost:9092";  // host:port, comma-separated.
  std::string instance_id;                 // group.instance.id; empty: a dynamic member.
  std::string slot;  // transactional.id is <group>-<slot>; empty: one of this host's.
  bool allow_unsafe = false;
  std::map<std::string, std::string> properties;  // By librdkafka's own names.
  // No setting: what a supervisor calls all workers that it starts one after the other.
  std::string supervised_member;
};

// What of a log grows with load; 0: what it does by itself.
struct LogMemory {
  std::int64_t prefetch_bytes = 0;  // Kafka: records that the client has read ahead.
  std::int64_t unit_bytes = 0;      // Encoded outcomes of one unit, the largest; and their number.
  std::int64_t unit_records = 0;
  std::int64_t scan_cache_bytes = 0;    // Local: pages of the reading connection.
  std::int64_t commit_cache_bytes = 0;  // And of the one that writes units.
};

struct TransportOptions {
  TransportKind kind = TransportKind::kKafka;
  std::string group = "millrace";
  KafkaOptions kafka;
  TopicOptions topics;
  LocalLogOptions local;
};

void DescribeSettings(SettingSet& set, TransportOptions& options);

}  // namespace millrace
