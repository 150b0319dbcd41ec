#include <gtest/gtest.h>

#include "transport/log.h"

namespace millrace {
namespace {

TEST(ContractTopics, AreTheContracts) {
  const auto topics = ContractTopics({}, 1.0);
  ASSERT_EQ(topics.size(), 6u);
  const Millis day(86'400'000);
  EXPECT_EQ(topics[0].name, "inference.requests");
  EXPECT_EQ(topics[0].partitions, 64);
  EXPECT_EQ(topics[0].retention, day);
  EXPECT_EQ(topics[1].name, "inference.results");
  EXPECT_EQ(topics[1].partitions, 32);
  EXPECT_EQ(topics[1].retention, 7 * day);
  EXPECT_EQ(topics[2].name, "inference.dlq");
  EXPECT_EQ(topics[2].partitions, 8);
  EXPECT_EQ(topics[2].retention, 30 * day);
  EXPECT_EQ(topics[3].name, "model.events");
  EXPECT_EQ(topics[3].partitions, 4);
  EXPECT_EQ(topics[3].cleanup, CleanupPolicy::kCompact);
  EXPECT_EQ(topics[4].name, "model.status");
  EXPECT_EQ(topics[4].partitions, 4);
  EXPECT_EQ(topics[4].cleanup, CleanupPolicy::kCompact);
  EXPECT_EQ(topics[5].name, "inference.shadow");
  EXPECT_EQ(topics[5].partitions, 8);
  EXPECT_EQ(topics[5].retention, 7 * day);
}

TEST(ContractTopics, ScaleRoundsUpAndNeverToNone) {
  const auto topics = ContractTopics({}, 0.1);
  EXPECT_EQ(topics[0].partitions, 7);
  EXPECT_EQ(topics[1].partitions, 4);
  EXPECT_EQ(topics[2].partitions, 1);
  EXPECT_EQ(topics[3].partitions, 1);
}

TEST(ContractTopics, HaveTheNamesOfTheSettings) {
  TopicOptions names;
  names.requests = "in";
  names.dlq = "bad";
  const auto topics = ContractTopics(names, 1.0);
  EXPECT_EQ(topics[0].name, "in");
  EXPECT_EQ(topics[2].name, "bad");
}

}  // namespace
}  // namespace millrace
