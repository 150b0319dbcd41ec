#include "app/topic_setup.h"

#include <gtest/gtest.h>

#include "pipeline/verify/fake_log.h"

namespace millrace {
namespace {

TEST(MakeMissingTopics, MakesWhatIsMissingAndLeavesTheRest) {
  FakeLog log;
  ASSERT_TRUE(log.CreateTopic({.name = "a", .partitions = 3}).ok());
  const TopicSpec specs[] = {{.name = "a", .partitions = 1}, {.name = "b", .partitions = 2}};
  ASSERT_TRUE(MakeMissingTopics(log, specs).ok());
  EXPECT_EQ(log.topics.at("a").spec.partitions, 3);
  EXPECT_EQ(log.topics.at("b").spec.partitions, 2);
}

TEST(WaitForTopics, WaitsForATopicThatBecomesKnownLater) {
  FakeLog log;
  log.on_look = [&](int look) {
    if (look == 3) log.topics["a"] = {{.name = "a"}, std::vector<FakeLog::Partition>(1)};
  };
  EXPECT_TRUE(WaitForTopics(log, {"a"}).ok());
  EXPECT_TRUE(log.topics.contains("a"));
}

}  // namespace
}  // namespace millrace
