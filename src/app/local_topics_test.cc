#include "app/local_topics.h"

#include <gtest/gtest.h>

#include "pipeline/verify/fake_log.h"

namespace millrace {
namespace {

AllOptions LocalOptions() {
  AllOptions options;
  options.transport.kind = TransportKind::kLocal;
  return options;
}

TEST(EnsureLocalTopics, MakesTheContractsTopicsAndLeavesThoseThatExist) {
  FakeLog log;
  ASSERT_TRUE(log.CreateTopic({.name = "inference.requests", .partitions = 3}).ok());
  ASSERT_TRUE(EnsureLocalTopics(log, LocalOptions()).ok());
  EXPECT_EQ(log.topics.at("inference.requests").spec.partitions, 3);
  EXPECT_EQ(log.topics.at("inference.results").spec.partitions, 32);
  EXPECT_EQ(log.topics.at("inference.dlq").spec.partitions, 8);
  EXPECT_EQ(log.topics.at("model.events").spec.cleanup, CleanupPolicy::kCompact);
  ASSERT_TRUE(EnsureLocalTopics(log, LocalOptions()).ok());
  EXPECT_EQ(log.topics.size(), 6u);
}

TEST(EnsureLocalTopics, MakesNothingOnKafka) {
  FakeLog log;
  AllOptions options;
  options.transport.kind = TransportKind::kKafka;
  ASSERT_TRUE(EnsureLocalTopics(log, options).ok());
  EXPECT_TRUE(log.topics.empty());
}

}  // namespace
}  // namespace millrace
