#include "transport/local/retention.h"

#include <gtest/gtest.h>

#include "transport/local/local_log_testing.h"

namespace millrace::local {
namespace {

constexpr char kRequests[] = "inference.requests";
constexpr char kResults[] = "inference.results";
constexpr char kEvents[] = "model.events";
constexpr WallMillis kHour = 3'600'000;
constexpr WallMillis kDay = 24 * kHour;
// Far in the future: the log's own maintenance, which goes by the clock, finds nothing to remove.
constexpr WallMillis kNow = 4'000'000'000'000;

class RetentionTest : public testing::Test {
 protected:
  void SetUp() override {
    log_ = OpenLogWithTopics(dir_.path());
    context_.dir = dir_.path();
    context_.path = dir_.path() + "/log.db";
    auto notifier = Notifier::Open(dir_.path());
    ASSERT_TRUE(notifier.ok());
    context_.notifier = std::move(*notifier);
    retention_ = std::make_unique<Retention>(context_);
  }

  void Append(const std::string& topic, const std::string& key, WallMillis timestamp,
              bool tombstone = false, int count = 1) {
    std::vector<ProducerRecord> records(static_cast<std::size_t>(count), Keyed(key, "value"));
    for (ProducerRecord& record : records) {
      record.timestamp = timestamp;
      record.partition = 0;
      record.has_value = !tombstone;
    }
    auto producer = log_->NewProducer();
    ASSERT_TRUE(producer.ok());
    ASSERT_TRUE((*producer)->Append(topic, records).ok());
  }

  std::int64_t Run(WallMillis now) {
    const auto removed = retention_->RunOnce(now, [] { return false; });
    EXPECT_TRUE(removed.ok()) << removed.status().ToString();
    return removed.ok() ? *removed : -1;
  }

  PartitionInfo Partition(const std::string& topic) {
    const auto topics = log_->DescribeTopics({});
    for (const TopicInfo& info : *topics) {
      if (info.spec.name == topic) return info.partitions[0];
    }
    ADD_FAILURE() << topic;
    return {};
  }

  std::vector<std::int64_t> Offsets(const std::string& topic) {
    std::vector<std::int64_t> offsets;
    for (const Stored& record : ReadAll(*log_, topic)) offsets.push_back(record.offset);
    return offsets;
  }

  using Numbers = std::vector<std::int64_t>;
  TempDir dir_;
  std::unique_ptr<Log> log_;
  LogContext context_;
  std::unique_ptr<Retention> retention_;
};

TEST_F(RetentionTest, RemovesWhatIsOldAndNeverUsesAnOffsetTwice) {
  Append(kResults, "k", kNow - 8 * kDay, false, 3);
  Append(kResults, "k", kNow - 6 * kDay, false, 2);
  EXPECT_EQ(Run(kNow), 3);
  EXPECT_EQ(Offsets(kResults), (Numbers{3, 4}));
  EXPECT_EQ(Partition(kResults).start, Offset(3));
  EXPECT_EQ(Run(kNow + 2 * kDay), 2);
  EXPECT_EQ(Partition(kResults).start, Offset(5));
  EXPECT_EQ(Partition(kResults).end, Offset(5));
  Append(kResults, "k", kNow + 2 * kDay);
  EXPECT_EQ(Offsets(kResults), (Numbers{5}));
}

TEST_F(RetentionTest, RemovesInManySmallTransactions) {
  Append(kResults, "k", kNow - 8 * kDay, false, 5000);
  // Interrupted at each point in turn until one lies inside the removal.
  std::int64_t removed = 0;
  for (int patience = 1; removed == 0 && patience < 100; ++patience) {
    int asked = 0;
    const auto some = retention_->RunOnce(kNow, [&] { return ++asked > patience; });
    ASSERT_TRUE(some.ok());
    removed = *some;
  }
  EXPECT_GT(removed, 0);
  EXPECT_LT(removed, 5000);
  EXPECT_EQ(Run(kNow) + removed, 5000);
}

TEST_F(RetentionTest, KeepsWhatAGroupHasStillToRead) {
  auto worker = log_->OpenWorker({.group = "g"});
  ASSERT_TRUE(worker.ok());
  Append(kRequests, "k", kNow - 2 * kDay, false, 10);
  EXPECT_EQ(Run(kNow), 0);
  UnitBuilder unit;
  unit.Position(0, 4);
  ASSERT_EQ(worker->committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(Run(kNow), 4);
  EXPECT_EQ(Partition(kRequests).start, Offset(4));
}

TEST_F(RetentionTest, WaitsForNoJobThatCopiesDeadLetters) {
  for (const char* group : {"g.replay.0123", "g.park.0123.2"}) {
    ASSERT_TRUE(log_->OpenWorker({.group = group}).ok());
  }
  Append(kRequests, "k", kNow - 2 * kDay, false, 10);
  EXPECT_EQ(Run(kNow), 10);
}

TEST_F(RetentionTest, RemovesRequestsThatNoGroupReads) {
  Append(kRequests, "k", kNow - 2 * kDay, false, 10);
  EXPECT_EQ(Run(kNow), 10);
}

TEST_F(RetentionTest, AReaderBehindTheStartGoesOnFromIt) {
  Append(kResults, "k", kNow - 8 * kDay, false, 3);
  Append(kResults, "k", kNow, false, 1);
  Run(kNow);
  auto reader = log_->NewReader();
  ASSERT_TRUE(reader.ok());
  const Reader::Start starts[] = {{{kResults, 0}, Offset(0)}};
  ASSERT_TRUE((*reader)->Assign(starts).ok());
  RecordBatch batch;
  ASSERT_TRUE((*reader)->Poll({}, &batch).ok());
  ASSERT_EQ(batch.records.size(), 1u);
  EXPECT_EQ(batch.records[0].offset, Offset(3));
}

TEST_F(RetentionTest, CompactionKeepsTheLastOfEachKey) {
  for (const char* key : {"a", "b", "a", "c", "b", "a"}) Append(kEvents, key, kNow);
  EXPECT_EQ(Run(kNow), 3);
  EXPECT_EQ(Offsets(kEvents), (Numbers{3, 4, 5}));
  EXPECT_EQ(Partition(kEvents).start, Offset(3));
  EXPECT_EQ(Partition(kEvents).end, Offset(6));
  EXPECT_EQ(Run(kNow + 100 * kDay), 0);
}

TEST_F(RetentionTest, ATombstoneGoesADayAfterItBecameTheLast) {
  Append(kEvents, "a", kNow);
  Append(kEvents, "a", kNow, /*tombstone=*/true);
  Append(kEvents, "b", kNow);
  EXPECT_EQ(Run(kNow + 23 * kHour), 1);
  EXPECT_EQ(Offsets(kEvents), (Numbers{1, 2}));
  EXPECT_EQ(Run(kNow + 25 * kHour), 1);
  EXPECT_EQ(Offsets(kEvents), (Numbers{2}));
  Append(kEvents, "c", kNow);
  EXPECT_EQ(Offsets(kEvents), (Numbers{2, 3}));
}

}  // namespace
}  // namespace millrace::local
