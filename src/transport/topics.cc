// The contract's topics and how each is kept.
#include <algorithm>
#include <cmath>

#include "base/check.h"
#include "transport/log.h"

namespace millrace {
namespace {

constexpr Millis Days(std::int64_t days) { return Millis(days * 24 * 60 * 60 * 1000); }

// The largest request that a topic takes by default (1 MiB), with what a dead letter adds; and the
// largest result of limits.max_result_bytes with its headers.
constexpr std::int32_t kMaxOutcomeBytes = 2 << 20;

std::int32_t Scaled(std::int32_t partitions, double scale) {
  return std::max(1, static_cast<std::int32_t>(std::ceil(partitions * scale)));
}

}  // namespace

std::vector<TopicSpec> ContractTopics(const TopicOptions& names, double scale) {
  MILLRACE_CHECK(scale > 0.0 && scale <= 1.0);
  TopicSpec requests;
  requests.name = names.requests;
  requests.partitions = Scaled(64, scale);
  requests.retention = Days(1);
  TopicSpec results;
  results.name = names.results;
  results.partitions = Scaled(32, scale);
  results.retention = Days(7);
  results.max_message_bytes = kMaxOutcomeBytes;
  TopicSpec dead_letters;
  dead_letters.name = names.dlq;
  dead_letters.partitions = Scaled(8, scale);
  dead_letters.retention = Days(30);
  dead_letters.max_message_bytes = kMaxOutcomeBytes;
  TopicSpec events;
  events.name = names.events;
  events.partitions = Scaled(4, scale);
  events.cleanup = CleanupPolicy::kCompact;
  TopicSpec status = events;
  status.name = names.status;
  TopicSpec shadow = results;
  shadow.name = names.shadow;
  shadow.partitions = Scaled(8, scale);
  return {requests, results, dead_letters, events, status, shadow};
}

}  // namespace millrace
