#include "app/log_scan.h"

#include <gtest/gtest.h>

#include <set>
#include <string>

#include "pipeline/verify/fake_log.h"

namespace millrace {
namespace {

class LogScanTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(log_.CreateTopic({.name = "a", .partitions = 3}).ok());
    ASSERT_TRUE(log_.CreateTopic({.name = "b", .partitions = 1}).ok());
    for (int i = 0; i < 30; ++i) log_.Append("a", "k" + std::to_string(i), std::to_string(i));
    log_.Append("b", "k", "of b");
  }

  std::multiset<std::string> ReadAll(LogScan& scan, int polls = 100) {
    std::multiset<std::string> values;
    RecordBatch batch;
    while (!scan.done() && polls-- > 0) {
      EXPECT_TRUE(scan.Poll(&batch).ok());
      for (const Record& record : batch.records) values.emplace(record.value);
    }
    return values;
  }

  FakeLog log_;
};

TEST_F(LogScanTest, ReadsTopicsToWhereTheyEndedWhenItWasMade) {
  auto scan = LogScan::Open(
      log_,
      {{.topic = "a", .partitions = {}, .from = {}}, {.topic = "b", .partitions = {}, .from = {}}},
      false);
  ASSERT_TRUE(scan.ok());
  log_.Append("b", "k", "too late");
  const auto values = ReadAll(*scan);
  EXPECT_EQ(values.size(), 31u);
  EXPECT_TRUE(values.contains("of b"));
}

TEST_F(LogScanTest, FollowsWhatComes) {
  auto scan =
      LogScan::Open(log_, {{.topic = "b", .partitions = {}, .from = {}, .from_end = true}}, true);
  ASSERT_TRUE(scan.ok());
  EXPECT_TRUE(ReadAll(*scan, 5).empty());
  log_.Append("b", "k", "new");
  EXPECT_TRUE(ReadAll(*scan, 5).contains("new"));
  EXPECT_FALSE(scan->done());
}

TEST_F(LogScanTest, ReadsOnePartitionFromAnOffset) {
  const auto& stored = log_.topics["a"].partitions[1].records;
  ASSERT_GT(stored.size(), 3u);
  auto scan = LogScan::Open(log_, {{.topic = "a", .partitions = {1}, .from = Offset(2)}}, false);
  ASSERT_TRUE(scan.ok());
  const auto values = ReadAll(*scan);
  EXPECT_EQ(values.size(), stored.size() - 2);
  EXPECT_FALSE(values.contains(stored[1].value));
}

TEST_F(LogScanTest, EndsWhenTheLastOffsetsCarryNoRecord) {
  log_.topics["a"].partitions[0].end += 5;
  auto scan = LogScan::Open(log_, {{.topic = "a", .partitions = {}, .from = {}}}, false);
  ASSERT_TRUE(scan.ok());
  EXPECT_EQ(ReadAll(*scan).size(), 30u);
  EXPECT_TRUE(scan->done());
}

TEST_F(LogScanTest, SaysWhatDoesNotExist) {
  auto topic = LogScan::Open(log_, {{.topic = "c", .partitions = {}, .from = {}}}, false);
  EXPECT_EQ(topic.status().code(), StatusCode::kNotFound);
  auto partition = LogScan::Open(log_, {{.topic = "a", .partitions = {3}, .from = {}}}, false);
  EXPECT_EQ(partition.status().code(), StatusCode::kInvalidArgument);
  EXPECT_EQ(PartitionCount(log_, "a").value(), 3);
  EXPECT_FALSE(PartitionCount(log_, "c").ok());
}

}  // namespace
}  // namespace millrace
