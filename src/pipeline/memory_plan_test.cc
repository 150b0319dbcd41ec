#include "pipeline/memory_plan.h"

#include <gtest/gtest.h>

#include <limits>
#include <numeric>
#include <random>

namespace millrace {
namespace {

constexpr std::int64_t kMib = 1 << 20;

struct Given {
  MemoryOptions memory;
  DeliveryOptions delivery;
  TransportOptions transport;
  CodecLimits limits;
  Result<MemoryPlan> Plan() const { return PlanMemory(memory, delivery, transport, limits); }
};

std::int64_t PartOf(const MemoryPlan& plan, const std::string& name) {
  for (const MemoryPart& part : plan.parts) {
    if (part.name == name) return part.bytes;
  }
  return -1;
}

TEST(MemoryPlanTest, DefaultBudgetGivesTheLimitsThatWereMeasured) {
  const Result<MemoryPlan> plan = Given().Plan();
  ASSERT_TRUE(plan.ok()) << plan.status().message();
  EXPECT_EQ(plan->delivery.max_in_flight_bytes, 128 * kMib);
  EXPECT_EQ(plan->delivery.max_unit_bytes, 16 * kMib);
  EXPECT_EQ(plan->log.prefetch_bytes, 16 * kMib);
  EXPECT_EQ(plan->log.unit_records, DeliveryOptions().max_unit_records);
  EXPECT_EQ(plan->worker.in_flight_bytes, WorkerMemory().in_flight_bytes);
  EXPECT_EQ(plan->worker.kept_request_bytes, WorkerMemory().kept_request_bytes);
  EXPECT_EQ(plan->worker.kept_outcome_bytes, WorkerMemory().kept_outcome_bytes);
  EXPECT_EQ(plan->worker.poll_bytes, WorkerMemory().poll_bytes);
  EXPECT_FALSE(plan->over);

  Given local;
  local.transport.kind = TransportKind::kLocal;
  const Result<MemoryPlan> on_local = local.Plan();
  ASSERT_TRUE(on_local.ok());
  EXPECT_EQ(on_local->log.commit_cache_bytes, 8 * kMib);
  EXPECT_EQ(on_local->log.scan_cache_bytes, 4 * kMib);
  EXPECT_EQ(PartOf(*on_local, "prefetch"), -1) << "a part of the other log";
}

TEST(MemoryPlanTest, PartsOfEveryBudgetComeToIt) {
  const auto seed = std::random_device()();
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> exponent(25, 40);  // The setting's bounds.
  for (int i = 0; i < 2000; ++i) {
    Given given;
    given.memory.budget = static_cast<std::int64_t>(std::exp2(exponent(random)));
    if (i == 0) given.memory.budget = MemoryOptions::kLeastBudget;
    given.transport.kind = i % 2 == 0 ? TransportKind::kKafka : TransportKind::kLocal;
    const Result<MemoryPlan> plan = given.Plan();
    ASSERT_TRUE(plan.ok()) << "seed " << seed << ": " << plan.status().message();
    std::int64_t sum = 0;
    for (const MemoryPart& part : plan->parts) {
      EXPECT_GT(part.bytes, 0) << part.name << ", seed " << seed;
      sum += part.bytes;
    }
    EXPECT_EQ(sum, plan->total) << "seed " << seed;
    EXPECT_EQ(sum, given.memory.budget) << "seed " << seed;
    EXPECT_GE(PartOf(*plan, "headroom"), given.memory.budget / 16) << "seed " << seed;
    EXPECT_FALSE(plan->over);
    EXPECT_LE(plan->delivery.max_unit_bytes, plan->delivery.max_in_flight_bytes);
  }
}

TEST(MemoryPlanTest, WhatIsSetWinsAndItsPartGrowsWithIt) {
  Given given;
  given.delivery.max_in_flight_bytes = 512 * kMib;
  given.delivery.max_unit_bytes = 2 * kMib;
  given.transport.kafka.properties["queued.max.messages.kbytes"] = "65536";
  const Result<MemoryPlan> plan = given.Plan();
  ASSERT_TRUE(plan.ok());
  EXPECT_EQ(plan->delivery.max_in_flight_bytes, 512 * kMib);
  EXPECT_EQ(plan->delivery.max_unit_bytes, 2 * kMib);
  EXPECT_EQ(plan->log.prefetch_bytes, 64 * kMib);
  EXPECT_EQ(PartOf(*plan, "in_flight"), 1024 * kMib);
  EXPECT_EQ(PartOf(*plan, "prefetch"), 192 * kMib);
  EXPECT_TRUE(plan->over);
  EXPECT_GT(plan->total, plan->budget + 700 * kMib);

  Given smaller;
  smaller.delivery.max_in_flight_bytes = 4 * kMib;
  const Result<MemoryPlan> fits = smaller.Plan();
  ASSERT_TRUE(fits.ok());
  EXPECT_FALSE(fits->over);
  EXPECT_EQ(fits->total, fits->budget);
  EXPECT_EQ(fits->delivery.max_unit_bytes, 4 * kMib) << "a unit is made of what is in flight";
}

TEST(MemoryPlanTest, BudgetThatIsTooSmallNamesTheLeast) {
  Given given;
  given.memory.budget = 64 * kMib;
  given.limits.max_request_bytes = 32 * kMib;
  Result<MemoryPlan> plan = given.Plan();
  ASSERT_FALSE(plan.ok());
  EXPECT_EQ(plan.status().code(), StatusCode::kConfiguration);
  EXPECT_EQ(plan.status().message(),
            "memory.budget=64MiB is too small for limits.max_request_bytes=32MiB: at least "
            "128MiB, or a smaller limits.max_request_bytes");
  given.memory.budget = 128 * kMib;
  EXPECT_TRUE(given.Plan().ok()) << "the least that it names is enough";
  given.delivery.max_unit_bytes = 33 * kMib;
  plan = given.Plan();
  ASSERT_FALSE(plan.ok());
  EXPECT_NE(plan.status().message().find("at least 132MiB"), std::string::npos)
      << plan.status().message();
}

TEST(MemoryPlanTest, LimitsInBytesAreZeroOrUseful) {
  Given given;
  given.delivery.max_in_flight_bytes = kMib - 1;
  EXPECT_FALSE(given.Plan().ok());
  given.delivery.max_in_flight_bytes = kMib;
  EXPECT_TRUE(given.Plan().ok());
  given.delivery.max_unit_bytes = 5;
  EXPECT_FALSE(given.Plan().ok());
}

}  // namespace
}  // namespace millrace
