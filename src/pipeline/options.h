// Settings of the pipeline: delivery, how much may be in flight, how units of work are cut.
#pragma once

#include <cstdint>

#include "base/settings.h"
#include "transport/options.h"

namespace millrace {

enum class ExpiredOutcome : std::uint8_t { kDeadLetter, kResult };

// One limit for everything that grows with load; pipeline/memory_plan.h divides it.
struct MemoryOptions {
  static constexpr std::int64_t kLeastBudget = std::int64_t{32} << 20;
  std::int64_t budget = std::int64_t{512} << 20;
};

struct DeliveryOptions {
  DeliveryMode mode = DeliveryMode::kExactlyOnce;
  Millis commit_interval{20};
  Millis min_commit_interval{-1};  // Negative: what the log asks for.
  std::int64_t max_in_flight_records = 131072;
  std::int64_t max_in_flight_bytes = 0;  // 0: from the memory budget, as the next but one.
  std::int64_t max_unit_records = 16384;
  std::int64_t max_unit_bytes = 0;
  bool commit_beyond = true;
  ExpiredOutcome expired = ExpiredOutcome::kDeadLetter;
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
  std::int64_t nice = 0;
  std::string crash_journal;  // Path of its file; empty: none, or the supervisor's.
};

void DescribeSettings(SettingSet& set, MemoryOptions& options);
void DescribeSettings(SettingSet& set, DeliveryOptions& options);
void DescribeSettings(SettingSet& set, RetryOptions& options);
void DescribeSettings(SettingSet& set, ExecutorOptions& options);

}  // namespace millrace
