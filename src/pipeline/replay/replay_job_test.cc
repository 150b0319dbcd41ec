#include "pipeline/replay/replay_job.h"

#include <gtest/gtest.h>

#include <deque>
#include <memory>
#include <string>
#include <vector>

namespace millrace {
namespace {

// A topic of one or more partitions in memory, the group's positions and what was copied. Polls
// give one record at a time, so that a script can act between any two.
struct FakeLog {
  std::map<int, std::int64_t> ends;                // By partition.
  std::map<int, std::int64_t> committed;           // Of the group.
  std::vector<std::string> copied;                 // Visible, in order.
  std::deque<CommitOutcome> answers;               // Else kCommitted.
  bool takes_before_unknown = false;               // An unknown unit was in, after all.
  std::function<void(Source::Listener*)> on_poll;  // Acts once.
  std::map<int, std::uint32_t> epochs;
  std::map<int, std::int64_t> reads;  // The next offset of each partition that is ours.
  int commits = 0;
};

class FakeSource final : public Source {
 public:
  explicit FakeSource(FakeLog* log) : log_(log) {}
  Status Start(Listener* listener) override {
    listener_ = listener;
    for (const auto& [partition, end] : log_->ends) Assign(partition);
    return {};
  }
  void Assign(int partition) {
    log_->reads[partition] = log_->committed[partition];
    const std::vector<PartitionAssignment> assigned = {{PartitionSlot(partition),
                                                        Epoch(++log_->epochs[partition]),
                                                        {"t", partition},
                                                        Offset(log_->committed[partition])}};
    listener_->OnAssigned(assigned);
  }
  Status Poll(const PollLimits& limits, RecordBatch* batch) override {
    batch->Clear();
    if (limits.max_records == 0) return {};
    if (log_->on_poll) std::exchange(log_->on_poll, nullptr)(listener_);
    for (auto& [partition, next] : log_->reads) {
      if (next >= log_->ends[partition]) {
        listener_->OnPositionAdvanced(PartitionSlot(partition), Offset(next));
        continue;
      }
      Record& record = batch->records.emplace_back();
      record.offset = Offset(next++);
      record.slot = PartitionSlot(partition);
      return {};
    }
    return {};
  }
  void HoldDispatch(PartitionSlot, bool) override {}
  void Wake() override {}
  Result<std::vector<PartitionLag>> Lags() override { return std::vector<PartitionLag>{}; }
  Status Close() override { return {}; }

 private:
  FakeLog* const log_;
  Listener* listener_ = nullptr;
};

class FakeCommitter final : public Committer {
 public:
  explicit FakeCommitter(FakeLog* log) : log_(log) {}
  CommitResult Commit(const UnitOfWork& unit) override {
    ++log_->commits;
    CommitResult result;
    if (!log_->answers.empty()) {
      result.outcome = log_->answers.front();
      log_->answers.pop_front();
      result.status = Status(StatusCode::kUnavailable, "away");
    }
    for (const PartitionPosition& position : unit.positions) {
      if (position.epoch.value() != log_->epochs[position.slot.value()]) {
        result.outcome = CommitOutcome::kLost;
        result.lost.push_back(position.slot);
      }
    }
    const bool taken = result.outcome == CommitOutcome::kCommitted ||
                       (result.outcome == CommitOutcome::kUnknown && log_->takes_before_unknown);
    if (taken) Take(unit);
    return result;
  }

 private:
  void Take(const UnitOfWork& unit) {
    for (const PartitionPosition& position : unit.positions) {
      std::int64_t& committed = log_->committed[position.slot.value()];
      if (committed == position.next.value()) return;  // It is in already.
      EXPECT_EQ(committed, position.base.value());
      committed = position.next.value();
    }
    for (const OutputRecord* output : unit.outputs) log_->copied.emplace_back(output->Value());
  }

  FakeLog* const log_;
};

class ReplayJobTest : public testing::Test {
 protected:
  // Copies the even offsets, each as "partition:offset".
  static ReplayChoice Even(const Record& record, std::int32_t partition, OutputChunk& chunk,
                           OutputRecord* out) {
    if (record.offset.value() % 2 != 0) return ReplayChoice::kSkip;
    const std::string text =
        std::to_string(partition) + ":" + std::to_string(record.offset.value());
    out->value = {static_cast<std::uint32_t>(chunk.bytes.size()),
                  static_cast<std::uint32_t>(text.size())};
    chunk.bytes.Append(text);
    out->chunk = &chunk;
    return ReplayChoice::kCopy;
  }

  Status Run(
      std::map<std::int32_t, Offset> ends, ReplayJob::Choose choose = Even,
      const ReplayJob::GoOn& go_on = [](const ReplayTotals&) { return true; }) {
    WorkerLog worker;
    worker.max_result_bytes = max_bytes_;
    auto source = std::make_unique<FakeSource>(&log_);
    source_ = source.get();
    worker.source = std::move(source);
    worker.committer = std::make_unique<FakeCommitter>(&log_);
    ReplayJobOptions options;
    options.ends = std::move(ends);
    options.retry = {Millis(1), Millis(2), 2.0};
    options.patience = Millis(500);
    options.committed = [this]() -> Result<std::map<std::int32_t, Offset>> {
      std::map<std::int32_t, Offset> offsets;
      for (const auto& [partition, offset] : log_.committed) offsets[partition] = Offset(offset);
      return offsets;
    };
    ReplayJob job(std::move(worker), std::move(options), std::move(choose));
    const Status status = job.Run(go_on);
    totals_ = job.totals();
    finished_ = job.finished();
    return status;
  }

  using Texts = std::vector<std::string>;
  FakeLog log_;
  FakeSource* source_ = nullptr;
  std::size_t max_bytes_ = 0;
  ReplayTotals totals_;
  bool finished_ = false;
};

TEST_F(ReplayJobTest, CopiesWhatWasChosenAndMovesPastTheRest) {
  log_.ends = {{0, 5}, {1, 2}};
  ASSERT_TRUE(Run({{0, Offset(5)}, {1, Offset(2)}}).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2", "0:4", "1:0"}));
  EXPECT_EQ(log_.committed, (std::map<int, std::int64_t>{{0, 5}, {1, 2}}));
  EXPECT_EQ(totals_.copied, 4);
  EXPECT_TRUE(finished_);
  ASSERT_TRUE(Run({{0, Offset(5)}, {1, Offset(2)}}).ok());
  EXPECT_EQ(log_.copied.size(), 4U) << "a second run has nothing to do";
}

TEST_F(ReplayJobTest, ReadsNoFurtherThanTheEndsItWasGiven) {
  log_.ends = {{0, 50}, {1, 50}};
  ASSERT_TRUE(Run({{0, Offset(3)}}).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2"}));
  EXPECT_EQ(log_.committed[0], 3) << "what came later is for another run";
  EXPECT_EQ(log_.committed[1], 0) << "a partition without an end is not ours to move";
}

TEST_F(ReplayJobTest, StopsAPartitionBeforeWhatIsForLater) {
  log_.ends = {{0, 9}, {1, 3}};
  ASSERT_TRUE(Run({{0, Offset(9)}, {1, Offset(3)}}, [](const Record& record, std::int32_t partition,
                                                       OutputChunk& chunk, OutputRecord* out) {
                if (partition == 0 && record.offset.value() == 5) return ReplayChoice::kStop;
                return Even(record, partition, chunk, out);
              }).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2", "0:4", "1:0", "1:2"}));
  EXPECT_EQ(log_.committed[0], 5);
  EXPECT_TRUE(finished_);
}

TEST_F(ReplayJobTest, TriesAUnitAgainAndTakesAnUnknownOneForWhatItIs) {
  for (const bool in : {false, true}) {
    log_ = {};
    log_.ends = {{0, 4}};
    log_.takes_before_unknown = in;
    log_.answers = {CommitOutcome::kRetry, CommitOutcome::kUnknown, CommitOutcome::kCommitted};
    ASSERT_TRUE(Run({{0, Offset(4)}}).ok());
    EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2"})) << in;
    EXPECT_EQ(log_.committed[0], 4);
  }
}

TEST_F(ReplayJobTest, GivesUpWhenTheLogStaysAway) {
  log_.ends = {{0, 4}};
  log_.answers.assign(100'000, CommitOutcome::kRetry);
  const Status status = Run({{0, Offset(4)}});
  EXPECT_EQ(status.code(), StatusCode::kUnavailable) << status.ToString();
  EXPECT_TRUE(log_.copied.empty());
  EXPECT_FALSE(finished_);
}

TEST_F(ReplayJobTest, DropsWhatItReadOfAPartitionThatIsLostAndReadsItAnew) {
  log_.ends = {{0, 6}};
  int taken = 0;
  ASSERT_TRUE(Run({{0, Offset(6)}}, [&](const Record& record, std::int32_t partition,
                                        OutputChunk& chunk, OutputRecord* out) {
                if (++taken == 2) {
                  log_.on_poll = [&](Source::Listener* listener) {
                    const std::vector<PartitionSlot> slots = {PartitionSlot(0)};
                    listener->OnLost(slots);
                    source_->Assign(0);
                  };
                }
                return Even(record, partition, chunk, out);
              }).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2", "0:4"}));
  EXPECT_EQ(log_.committed[0], 6);
}

TEST_F(ReplayJobTest, IsDoneWhenAnotherRunHasDoneTheRest) {
  log_.ends = {{0, 4}, {1, 4}};
  log_.on_poll = [&](Source::Listener* listener) {
    const std::vector<PartitionSlot> slots = {PartitionSlot(1)};
    listener->OnRevoked(slots);
    log_.reads.erase(1);
    log_.committed[1] = 4;
    ++log_.epochs[1];
  };
  ASSERT_TRUE(Run({{0, Offset(4)}, {1, Offset(4)}}).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2"}));
  EXPECT_TRUE(finished_);
}

TEST_F(ReplayJobTest, EndsWhenToldToWithWhatIsAtHandCommitted) {
  log_.ends = {{0, 100'000}};
  int asked = 0;
  ASSERT_TRUE(
      Run({{0, Offset(100'000)}}, Even, [&](const ReplayTotals&) { return ++asked < 20; }).ok());
  EXPECT_FALSE(finished_);
  EXPECT_GT(log_.committed[0], 0);
  EXPECT_EQ(static_cast<std::int64_t>(log_.copied.size()), (log_.committed[0] + 1) / 2);
}

TEST_F(ReplayJobTest, LeavesOutWhatTheTargetDoesNotTake) {
  log_.ends = {{0, 12}};
  max_bytes_ = 3;
  ASSERT_TRUE(Run({{0, Offset(12)}}).ok());
  EXPECT_EQ(log_.copied, (Texts{"0:0", "0:2", "0:4", "0:6", "0:8"}));
  EXPECT_EQ(totals_.too_large, 1);
  EXPECT_EQ(log_.committed[0], 12);
}

}  // namespace
}  // namespace millrace
