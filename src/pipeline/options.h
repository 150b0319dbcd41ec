// Settings of the pipeline: delivery, how much may be in flight, how units of work are cut.
#pragma once

#include <cstdint>

#include "base/settings.h"
#include "transport/options.h"

namespace millrace {

struct DeliveryOptions {
  DeliveryMode mode = DeliveryMode::kExactlyOnce;
  Millis commit_interval{20};
  Millis min_commit_interval{-1};  // Negative: what the log asks for.
  std::int64_t max_in_flight_records = 32768;
  std::int64_t max_in_flight_bytes = 128 << 20;
  std::int64_t max_unit_records = 16384;
  std::int64_t max_unit_bytes = 16 << 20;
  bool commit_beyond = true;
  Millis transaction_timeout{10'000};
  Millis drain_timeout{10'000};
};

struct RetryOptions {
  Millis initial_backoff{50};
  Millis max_backoff{5'000};
  double multiplier = 2.0;
  std::int64_t max_attempts = 3;
};

struct ExecutorOptions {
  std::int64_t threads = 0;  // 0: from the cgroup and the affinity of this process.
};

void DescribeSettings(SettingSet& set, DeliveryOptions& options);
void DescribeSettings(SettingSet& set, RetryOptions& options);
void DescribeSettings(SettingSet& set, ExecutorOptions& options);

}  // namespace millrace
