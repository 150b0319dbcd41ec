// Settings of the log: which one, where, and how the topics are called.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/settings.h"

namespace millrace {

enum class TransportKind : std::uint8_t { kKafka, kLocal };
enum class LocalDurability : std::uint8_t { kFull, kNormal };

struct TopicOptions {
  std::string requests = "inference.requests";
  std::string results = "inference.results";
  std::string dlq = "inference.dlq";
  std::string events = "model.events";
};

struct LocalLogOptions {
  std::string dir = "millrace-data";
  LocalDurability durability = LocalDurability::kFull;
};

struct TransportOptions {
  TransportKind kind = TransportKind::kKafka;
  std::string brokers = "localhost:9092";  // kafka.brokers: host:port, comma-separated.
  std::string group = "millrace";
  // kafka.properties: straight to librdkafka; a later version reads them.
  std::map<std::string, std::string> kafka_properties;
  TopicOptions topics;
  LocalLogOptions local;
};

void DescribeSettings(SettingSet& set, TransportOptions& options);

}  // namespace millrace
