#include "base/crash_point.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <string>

namespace millrace {
namespace {

constexpr std::array<std::string_view, 29> kCrashPoints = {
    // Of every log.
    "after_poll",
    "after_decode",
    "batch_formed",
    "before_run",
    "after_run",
    "after_encode",
    "unit_sealed",
    "before_commit",
    "after_commit",
    "shutdown_begin",
    "shutdown_drained",
    // Of delivery.mode=at-most-once.
    "claimed",
    // Of a replay of dead letters.
    "replay_start",
    "replay_middle",
    "replay_end",
    // Of the local log.
    "mid_produce",
    // Of Kafka.
    "partitions_assigned",
    "partitions_revoked",
    "partitions_lost",
    "unit_staged",
    "first_produced",
    "all_produced",
    "before_send_offsets",
    "before_end_txn",
    "end_txn_sent",
    "before_abort",
    "after_abort",
    "before_recreate",
    "after_recreate",
};

}  // namespace

std::span<const std::string_view> CrashPointNames() { return kCrashPoints; }

#ifdef MILLRACE_TEST_POINTS

bool CrashPointsCompiledIn() { return true; }

namespace {

struct Armed {
  std::string name;
  std::atomic<long> remaining{0};
};

Armed* ReadArmed() {
  const char* value = std::getenv("MILLRACE_CRASH_POINT");
  if (value == nullptr || *value == '\0') return nullptr;
  static Armed armed;
  const std::string text = value;
  const auto colon = text.find(':');
  armed.name = text.substr(0, colon);
  armed.remaining = colon == std::string::npos ? 1 : std::atol(text.c_str() + colon + 1);
  if (std::find(kCrashPoints.begin(), kCrashPoints.end(), armed.name) == kCrashPoints.end()) {
    std::fprintf(stderr, "millrace: MILLRACE_CRASH_POINT names no crash point: %s\n", value);
    std::exit(2);
  }
  return &armed;
}

}  // namespace

void CrashPoint(std::string_view name) {
  static Armed* const armed = ReadArmed();
  if (armed == nullptr || armed->name != name) return;
  if (armed->remaining.fetch_sub(1) == 1) _exit(kCrashPointExitCode);
}

#else

bool CrashPointsCompiledIn() { return false; }

void CrashPoint(std::string_view) {}

#endif

}  // namespace millrace
