#include "pipeline/memory_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace millrace {
namespace {

constexpr std::int64_t kKib = 1 << 10;
constexpr std::int64_t kMib = 1 << 20;
constexpr std::int64_t kLeastInFlight = kMib;
constexpr std::int64_t kLeastUnit = 64 * kKib;
constexpr std::int64_t kMostPoll = 4 * kMib;
// More of it makes nothing faster (transport/kafka/client_config.cc).
constexpr std::int64_t kMostPrefetch = 64 * kMib;
// What librdkafka holds for a record of ours besides its bytes: message, headers, their list.
constexpr std::int64_t kClientRecord = kKib;
// The smallest outcome: with it a unit's bytes bound its records.
constexpr std::int64_t kSmallestOutcome = 256;
// The local log's other connections: control, retention, checkpoints, lag.
constexpr std::int64_t kOtherCaches = 4 * kMib;

Status Wrong(std::string message) { return {StatusCode::kConfiguration, std::move(message)}; }

Status TooSmall(const MemoryOptions& memory, const char* name, std::int64_t value,
                std::int64_t shares) {
  return Wrong(fmt::format("memory.budget={} is too small for {}={}: at least {}, or a smaller {}",
                           FormatBytes(memory.budget), name, FormatBytes(value),
                           FormatBytes(value * shares), name));
}

Status CheckSizes(const MemoryOptions& memory, const DeliveryOptions& given,
                  const CodecLimits& limits) {
  if (given.max_in_flight_bytes != 0 && given.max_in_flight_bytes < kLeastInFlight) {
    return Wrong("delivery.max_in_flight_bytes must be 0 or at least 1MiB");
  }
  if (given.max_unit_bytes != 0 && given.max_unit_bytes < kLeastUnit) {
    return Wrong("delivery.max_unit_bytes must be 0 or at least 64KiB");
  }
  if (given.max_in_flight_bytes != 0) return {};  // Then the settings' own relations say it.
  const std::int64_t in_flight = memory.budget / 4;
  if (given.max_unit_bytes > in_flight) {
    return TooSmall(memory, "delivery.max_unit_bytes", given.max_unit_bytes, 4);
  }
  if (limits.max_request_bytes > in_flight) {
    return TooSmall(memory, "limits.max_request_bytes", limits.max_request_bytes, 4);
  }
  return {};
}

// What the client is told: the share, or what the user says.
std::int64_t PrefetchOf(const TransportOptions& transport, std::int64_t share) {
  const auto& properties = transport.kafka.properties;
  const auto found = properties.find("queued.max.messages.kbytes");
  if (found == properties.end()) return std::min(share, kMostPrefetch);
  std::int64_t kib = 0;
  const std::string& text = found->second;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), kib);
  return parsed.ec == std::errc() ? kib * kKib : share;
}

}  // namespace

DeliveryOptions WithByteLimits(DeliveryOptions delivery, std::int64_t budget) {
  if (delivery.max_in_flight_bytes == 0) delivery.max_in_flight_bytes = budget / 4;
  if (delivery.max_unit_bytes == 0) {
    delivery.max_unit_bytes = std::min(budget / 32, delivery.max_in_flight_bytes);
  }
  return delivery;
}

Result<MemoryPlan> PlanMemory(const MemoryOptions& memory, const DeliveryOptions& delivery,
                              const TransportOptions& transport, const CodecLimits& limits) {
  MILLRACE_RETURN_IF_ERROR(CheckSizes(memory, delivery, limits));
  const std::int64_t budget = memory.budget;
  MemoryPlan plan;
  plan.budget = budget;
  plan.delivery = WithByteLimits(delivery, budget);
  // Text becomes numbers, and requests become outcomes while they are still there.
  const std::int64_t in_flight = std::max(budget / 2, 2 * plan.delivery.max_in_flight_bytes);
  const std::int64_t kept = budget / 16;
  plan.worker.in_flight_bytes = static_cast<std::size_t>(in_flight);
  plan.worker.kept_request_bytes = static_cast<std::size_t>(kept);
  plan.worker.kept_outcome_bytes = static_cast<std::size_t>(kept);
  plan.worker.poll_bytes = static_cast<std::size_t>(std::min(kMostPoll, in_flight / 16));
  plan.parts = {{"in_flight", in_flight}, {"kept_requests", kept}, {"kept_outcomes", kept}};
  const std::int64_t unit = plan.delivery.max_unit_bytes;
  if (transport.kind == TransportKind::kKafka) {
    plan.log.prefetch_bytes = PrefetchOf(transport, budget / 32);
    plan.log.unit_bytes = unit;
    plan.log.unit_records = std::min(plan.delivery.max_unit_records,
                                     std::max<std::int64_t>(1, unit / kSmallestOutcome));
    plan.parts.push_back({"prefetch", 3 * plan.log.prefetch_bytes});
    plan.parts.push_back({"unit", unit + plan.log.unit_records * kClientRecord});
  } else {
    plan.log.scan_cache_bytes = budget / 128;
    plan.log.commit_cache_bytes = budget / 64;
    plan.parts.push_back(
        {"caches", plan.log.scan_cache_bytes + plan.log.commit_cache_bytes + kOtherCaches});
  }
  for (const MemoryPart& part : plan.parts) plan.total += part.bytes;
  const std::int64_t headroom = std::max(budget / 16, budget - plan.total);
  plan.parts.push_back({"headroom", headroom});
  plan.total += headroom;
  plan.over = plan.total > budget;
  return plan;
}

}  // namespace millrace
