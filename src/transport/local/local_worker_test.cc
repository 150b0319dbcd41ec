#include <gtest/gtest.h>
#include <sqlite3.h>

#include <thread>

#include "transport/local/local_log.h"
#include "transport/local/local_log_testing.h"

namespace millrace::local {
namespace {

constexpr char kRequests[] = "inference.requests";
constexpr char kResults[] = "inference.results";
constexpr char kDeadLetters[] = "inference.dlq";

// A worker that has started, on a log with some requests.
class LocalWorkerTest : public testing::Test {
 protected:
  void SetUp() override {
    log_ = OpenLogWithTopics(dir_.path());
    Join();
  }

  void Join() {
    auto worker = log_->OpenWorker({.group = "g", .mode = mode_});
    ASSERT_TRUE(worker.ok()) << worker.status().ToString();
    worker_ = std::move(*worker);
    listener_ = NotingListener();
    ASSERT_TRUE(worker_.source->Start(&listener_).ok());
  }

  void Leave() {
    ASSERT_TRUE(worker_.source->Close().ok());
    worker_.committer.reset();
    worker_.source.reset();
  }

  void AppendTo(std::int32_t partition, int count) {
    auto producer = log_->NewProducer();
    ASSERT_TRUE(producer.ok());
    std::vector<ProducerRecord> records(static_cast<std::size_t>(count), Keyed("k", "v"));
    for (ProducerRecord& record : records) record.partition = partition;
    ASSERT_TRUE((*producer)->Append(kRequests, records).ok());
  }

  std::map<std::int32_t, int> Poll(Millis max_wait = Millis(0)) {
    PollLimits limits;
    limits.max_wait = max_wait;
    const Status status = worker_.source->Poll(limits, &batch_);
    EXPECT_TRUE(status.ok()) << status.ToString();
    std::map<std::int32_t, int> counts;
    for (const Record& record : batch_.records) ++counts[record.slot.value()];
    return counts;
  }

  void Execute(const std::string& sql) {
    sqlite3* db = nullptr;
    ASSERT_EQ(sqlite3_open((dir_.path() + "/log.db").c_str(), &db), SQLITE_OK);
    ASSERT_EQ(sqlite3_exec(db, sql.c_str(), nullptr, nullptr, nullptr), SQLITE_OK)
        << sqlite3_errmsg(db);
    sqlite3_close(db);
  }

  using Counts = std::map<std::int32_t, int>;
  DeliveryMode mode_ = DeliveryMode::kExactlyOnce;
  TempDir dir_;
  std::unique_ptr<Log> log_;
  NotingListener listener_;
  WorkerLog worker_;
  RecordBatch batch_;
};

TEST_F(LocalWorkerTest, OwnsEveryPartitionFromItsCommittedPosition) {
  ASSERT_EQ(listener_.assigned.size(), 4u);
  AppendTo(0, 5);
  AppendTo(3, 2);
  EXPECT_EQ(Poll(), (Counts{{0, 5}, {3, 2}}));
  EXPECT_EQ(Poll(), Counts{});
  UnitBuilder unit;
  unit.Position(0, 4).Position(3, 2);
  ASSERT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  Leave();
  Join();
  ASSERT_EQ(listener_.assigned.size(), 4u);
  EXPECT_EQ(listener_.assigned[0].position, Offset(4));
  EXPECT_EQ(listener_.assigned[0].epoch, Epoch(1));
  EXPECT_EQ(listener_.assigned[0].partition, (TopicPartition{kRequests, 0}));
  EXPECT_EQ(listener_.assigned[1].position, Offset(0));
  EXPECT_EQ(listener_.assigned[3].position, Offset(2));
  EXPECT_EQ(Poll(), (Counts{{0, 1}}));
}

TEST_F(LocalWorkerTest, CommitsOutputsAndPositionsTogether) {
  AppendTo(1, 3);
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r1", "one")
      .Output(OutputTopic::kDeadLetters, "", "bad")
      .Output(OutputTopic::kResults, "r1", "two")
      .Position(1, 3);
  const CommitResult result = worker_.committer->Commit(unit.unit());
  ASSERT_EQ(result.outcome, CommitOutcome::kCommitted) << result.status.ToString();
  const auto results = ReadAll(*log_, kResults);
  ASSERT_EQ(results.size(), 2u);
  EXPECT_EQ(results[0].value, "one");
  EXPECT_EQ(results[1].value, "two");
  EXPECT_EQ(results[1].offset, results[0].offset + 1);
  const auto dead = ReadAll(*log_, kDeadLetters);
  ASSERT_EQ(dead.size(), 1u);
  EXPECT_TRUE(dead[0].has_key);
  const auto offsets = log_->CommittedOffsets("g", kRequests);
  ASSERT_TRUE(offsets.ok());
  EXPECT_EQ(offsets->at(1).position, Offset(3));
  EXPECT_EQ(*log_->Groups(), std::vector<std::string>{"g"});
}

TEST_F(LocalWorkerTest, HoldsAPartitionBackUntilTold) {
  AppendTo(0, 2);
  AppendTo(1, 2);
  worker_.source->HoldDispatch(PartitionSlot(0), true);
  EXPECT_EQ(Poll(), (Counts{{1, 2}}));
  EXPECT_EQ(Poll(), Counts{});
  worker_.source->HoldDispatch(PartitionSlot(0), false);
  EXPECT_EQ(Poll(), (Counts{{0, 2}}));
}

TEST_F(LocalWorkerTest, NeverMovesAPositionBack) {
  AppendTo(0, 5);
  UnitBuilder forward;
  forward.Position(0, 3);
  ASSERT_EQ(worker_.committer->Commit(forward.unit()).outcome, CommitOutcome::kCommitted);
  UnitBuilder back;
  back.Output(OutputTopic::kResults, "r", "again").Position(0, 2);
  const CommitResult result = worker_.committer->Commit(back.unit());
  EXPECT_EQ(result.outcome, CommitOutcome::kFatal);
  EXPECT_NE(result.status.message().find("somebody else"), std::string::npos);
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
  EXPECT_EQ(log_->CommittedOffsets("g", kRequests)->at(0).position, Offset(3));
}

TEST_F(LocalWorkerTest, AttemptWhoseAnswerWasLostIsNotWrittenTwice) {
  AppendTo(0, 5);
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 3).Position(1, 0);
  ASSERT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  // The worker did not hear of it, and tries the same unit again.
  EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(ReadAll(*log_, kResults).size(), 1u);
  EXPECT_EQ(log_->CommittedOffsets("g", kRequests)->at(0).position, Offset(3));
}

TEST_F(LocalWorkerTest, DropsTheWorkOfAnotherEpoch) {
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(2, 0, /*epoch=*/7);
  const CommitResult result = worker_.committer->Commit(unit.unit());
  EXPECT_EQ(result.outcome, CommitOutcome::kLost);
  EXPECT_EQ(result.lost, std::vector<PartitionSlot>{PartitionSlot(2)});
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
}

TEST_F(LocalWorkerTest, RefusesASecondWorkerOfTheGroup) {
  auto second_log = OpenLog(dir_.path());
  const auto second = second_log->OpenWorker({.group = "g"});
  ASSERT_FALSE(second.ok());
  EXPECT_EQ(second.status().code(), StatusCode::kAlreadyExists);
  const std::string pid = "pid " + std::to_string(getpid());
  EXPECT_NE(second.status().message().find(pid), std::string::npos) << second.status().message();
  EXPECT_NE(second.status().message().find("use another -g"), std::string::npos);
  // Another group is welcome, and the first goes on.
  EXPECT_TRUE(second_log->OpenWorker({.group = "g/2 \"x\""}).ok());
  UnitBuilder unit;
  unit.Position(0, 0);
  EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
}

TEST_F(LocalWorkerTest, CommitsNothingWhenFenced) {
  AppendTo(0, 1);
  // Whoever deletes the lock file lets a second worker in.
  std::filesystem::remove(dir_.path() + "/group-g.lock");
  auto second_log = OpenLog(dir_.path());
  auto second = second_log->OpenWorker({.group = "g"});
  ASSERT_TRUE(second.ok()) << second.status().ToString();
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 1);
  const CommitResult result = worker_.committer->Commit(unit.unit());
  EXPECT_EQ(result.outcome, CommitOutcome::kFatal);
  EXPECT_EQ(result.status.code(), StatusCode::kFenced);
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
  EXPECT_EQ(log_->CommittedOffsets("g", kRequests)->at(0).position, Offset(0));
  EXPECT_EQ(second->committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  // The idle first worker learns it by itself.
  PollLimits limits;
  limits.max_wait = Millis(100);
  Status status;
  for (int i = 0; i < 100 && status.ok(); ++i) status = worker_.source->Poll(limits, &batch_);
  EXPECT_EQ(status.code(), StatusCode::kFenced);
}

TEST_F(LocalWorkerTest, GoesOnAfterAFailedCommit) {
  AppendTo(0, 1);
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 1);
  // A stranger that holds SQLite's write lock for longer than we wait.
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((dir_.path() + "/log.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  const CommitResult failed = worker_.committer->Commit(unit.unit());
  EXPECT_EQ(failed.outcome, CommitOutcome::kRetry);
  EXPECT_EQ(failed.status.code(), StatusCode::kUnavailable);
  EXPECT_NE(failed.status.message().find(dir_.path()), std::string::npos);
  sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
  EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(ReadAll(*log_, kResults).size(), 1u);
}

TEST_F(LocalWorkerTest, SaysFatalWhenTheLogIsDamaged) {
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 0);
  Execute(
      "INSERT INTO records_5(offset, timestamp) VALUES(0, 0); "
      "INSERT INTO records_6(offset, timestamp) VALUES(0, 0);");
  const CommitResult result = worker_.committer->Commit(unit.unit());
  EXPECT_EQ(result.outcome, CommitOutcome::kFatal);
  EXPECT_EQ(result.status.code(), StatusCode::kCorruption) << result.status.ToString();
}

TEST_F(LocalWorkerTest, TellsTheLag) {
  AppendTo(0, 5);
  auto lags = worker_.source->Lags();
  ASSERT_TRUE(lags.ok());
  ASSERT_EQ(lags->size(), 4u);
  EXPECT_EQ((*lags)[0].end, Offset(5));
  EXPECT_GT((*lags)[0].oldest_uncommitted, 0);
  EXPECT_EQ((*lags)[1].end, Offset(0));
  EXPECT_EQ((*lags)[1].oldest_uncommitted, 0);
  UnitBuilder unit;
  unit.Position(0, 5);
  ASSERT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  lags = worker_.source->Lags();
  ASSERT_TRUE(lags.ok());
  EXPECT_EQ((*lags)[0].oldest_uncommitted, 0);
}

TEST_F(LocalWorkerTest, ReportsAPositionBehindAGapOnlyAfterTheRecordsBeforeIt) {
  AppendTo(0, 10);
  AppendTo(1, 4);
  Execute("DELETE FROM records_1 WHERE offset >= 6; DELETE FROM records_2;");
  // Ids follow creation: requests has 1..4.
  EXPECT_EQ(Poll(), (Counts{{0, 6}}));
  EXPECT_TRUE(listener_.advanced.empty());
  EXPECT_EQ(Poll(), Counts{});
  EXPECT_EQ(listener_.advanced, (std::map<std::int32_t, std::int64_t>{{0, 10}, {1, 4}}));
}

TEST_F(LocalWorkerTest, RevokesAtCloseAndMayStillCommitThen) {
  AppendTo(0, 1);
  Leave();
  EXPECT_EQ(listener_.revoked.size(), 4u);
}

TEST_F(LocalWorkerTest, AnEmptyUnitIsNoTransaction) {
  EXPECT_EQ(worker_.committer->Commit({}).outcome, CommitOutcome::kCommitted);
}

TEST_F(LocalWorkerTest, ClaimsOnlyWhenOpenedForIt) {
  UnitBuilder unit;
  unit.Position(0, 1);
  EXPECT_EQ(worker_.committer->Claim(unit.unit().positions).outcome, CommitOutcome::kFatal);
  const auto refused = log_->OpenWorker({.group = "h", .mode = DeliveryMode::kAtLeastOnce});
  EXPECT_EQ(refused.status().code(), StatusCode::kConfiguration);
}

class LocalAtMostOnceTest : public LocalWorkerTest {
 protected:
  LocalAtMostOnceTest() { mode_ = DeliveryMode::kAtMostOnce; }

  CommitResult Claim(const UnitBuilder& unit) {
    return worker_.committer->Claim(unit.unit().positions);
  }
  Offset Committed(std::int32_t partition) {
    return log_->CommittedOffsets("g", kRequests)->at(partition).position;
  }
};

TEST_F(LocalAtMostOnceTest, ClaimMovesPositionsAndUnitsAreTheirOutputsAlone) {
  AppendTo(0, 5);
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 5).Position(1, 0);
  ASSERT_EQ(Claim(unit).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(Committed(0), Offset(5));
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
  UnitBuilder later;  // The intake is ahead of the units.
  later.Position(0, 9, 1, 5);
  ASSERT_EQ(Claim(later).outcome, CommitOutcome::kCommitted);
  ASSERT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(ReadAll(*log_, kResults).size(), 1u);
  EXPECT_EQ(Committed(0), Offset(9));
}

TEST_F(LocalAtMostOnceTest, ClaimThatWasTakenMayBeAskedForAgain) {
  AppendTo(0, 5);
  UnitBuilder first;
  first.Position(0, 3);
  ASSERT_EQ(Claim(first).outcome, CommitOutcome::kCommitted);
  // The answer was lost, and more was read meanwhile.
  UnitBuilder more;
  more.Position(0, 5).Position(1, 2);
  EXPECT_EQ(Claim(more).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(Claim(more).outcome, CommitOutcome::kCommitted);
  EXPECT_EQ(Committed(0), Offset(5));
  EXPECT_EQ(Claim(first).outcome, CommitOutcome::kFatal) << "a claim never goes back";
  EXPECT_EQ(Committed(0), Offset(5));
}

TEST_F(LocalAtMostOnceTest, ClaimsNothingOfAnotherEpochOrWhenFenced) {
  UnitBuilder other_epoch;
  other_epoch.Position(2, 4, /*epoch=*/7);
  const CommitResult lost = Claim(other_epoch);
  EXPECT_EQ(lost.outcome, CommitOutcome::kLost);
  EXPECT_EQ(lost.lost, std::vector<PartitionSlot>{PartitionSlot(2)});
  std::filesystem::remove(dir_.path() + "/group-g.lock");
  auto second_log = OpenLog(dir_.path());
  ASSERT_TRUE(second_log->OpenWorker({.group = "g", .mode = mode_}).ok());
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 1);
  const CommitResult fenced = Claim(unit);
  EXPECT_EQ(fenced.outcome, CommitOutcome::kFatal);
  EXPECT_EQ(fenced.status.code(), StatusCode::kFenced);
  EXPECT_EQ(Committed(0), Offset(0));
  EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kFatal);
  EXPECT_TRUE(ReadAll(*log_, kResults).empty());
}

TEST_F(LocalAtMostOnceTest, ClaimsWhileAUnitIsWrittenAndTriesAgainWhenTheLogIsBusy) {
  UnitBuilder unit;
  unit.Output(OutputTopic::kResults, "r", "v").Position(0, 1);
  sqlite3* db = nullptr;
  ASSERT_EQ(sqlite3_open((dir_.path() + "/log.db").c_str(), &db), SQLITE_OK);
  ASSERT_EQ(sqlite3_exec(db, "BEGIN IMMEDIATE", nullptr, nullptr, nullptr), SQLITE_OK);
  EXPECT_EQ(Claim(unit).outcome, CommitOutcome::kRetry);
  EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kRetry);
  sqlite3_exec(db, "ROLLBACK", nullptr, nullptr, nullptr);
  sqlite3_close(db);
  EXPECT_EQ(Committed(0), Offset(0));
  std::thread commits([&] {
    for (int i = 0; i < 100; ++i) {
      EXPECT_EQ(worker_.committer->Commit(unit.unit()).outcome, CommitOutcome::kCommitted);
    }
  });
  for (int i = 1; i <= 100; ++i) {
    UnitBuilder claim;
    claim.Position(0, i);
    EXPECT_EQ(Claim(claim).outcome, CommitOutcome::kCommitted);
  }
  commits.join();
  EXPECT_EQ(Committed(0), Offset(100));
  EXPECT_EQ(ReadAll(*log_, kResults).size(), 100u);
}

}  // namespace
}  // namespace millrace::local
