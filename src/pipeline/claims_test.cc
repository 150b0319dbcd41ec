#include "pipeline/claims.h"

#include <gtest/gtest.h>

#include <deque>
#include <functional>
#include <map>
#include <random>
#include <set>
#include <string>

namespace millrace {
namespace {

// One record of what happened, in order: "claim 0:5 1:3", "poll".
using Events = std::vector<std::string>;

class ScriptedSource final : public Source {
 public:
  explicit ScriptedSource(Events* events) : events_(events) {}
  Status Start(Listener*) override { return {}; }
  Status Poll(const PollLimits& limits, RecordBatch* batch) override {
    EXPECT_EQ(limits.max_records, 0u) << "records are in hand already";
    batch->Clear();
    events_->push_back("poll");
    if (on_poll) on_poll();
    return answer;
  }
  void HoldDispatch(PartitionSlot, bool) override {}
  void Wake() override {}
  Result<std::vector<PartitionLag>> Lags() override { return std::vector<PartitionLag>{}; }
  Status Close() override { return {}; }

  std::function<void()> on_poll;
  Status answer;

 private:
  Events* const events_;
};

class ScriptedCommitter final : public Committer {
 public:
  explicit ScriptedCommitter(Events* events) : events_(events) {}
  CommitResult Commit(const UnitOfWork&) override { return {}; }
  CommitResult Claim(std::span<const PartitionPosition> positions) override {
    std::string event = "claim";
    for (const PartitionPosition& position : positions) {
      EXPECT_LT(position.base, position.next);
      event +=
          " " + std::to_string(position.slot.value()) + ":" + std::to_string(position.next.value());
    }
    events_->push_back(event);
    if (on_claim) on_claim();
    CommitResult result;
    if (!answers.empty()) {
      result = answers.front();
      answers.pop_front();
    }
    if (result.outcome != CommitOutcome::kCommitted) {
      if (result.status.ok()) result.status = Status(StatusCode::kUnavailable, "away");
      return result;
    }
    for (const PartitionPosition& position : positions) {
      const std::int32_t slot = position.slot.value();
      EXPECT_LT(taken[slot].position, position.next) << "a position went back";
      taken[slot] = {position.next, position.note};
    }
    return result;
  }

  struct Taken {
    Offset position;
    std::string note;
  };
  std::deque<CommitResult> answers;  // Else kCommitted.
  std::function<void()> on_claim;
  std::map<std::int32_t, Taken> taken;

 private:
  Events* const events_;
};

class ClaimsTest : public testing::Test {
 protected:
  ClaimsTest() : source_(&events_), committer_(&events_), claims_(Fast(), source_, committer_) {
    Open(0);
    Open(1);
  }
  static RetryOptions Fast() {
    RetryOptions retry;
    retry.initial_backoff = retry.max_backoff = Millis(1);
    return retry;
  }

  void Open(std::int32_t slot, std::int64_t position = 0, std::vector<OffsetRange> done = {}) {
    committer_.taken[slot] = {Offset(position), EncodeNote(Offset(position), done)};
    claims_.Open({PartitionSlot(slot), Epoch(1), {"requests", slot}, Offset(position)},
                 std::move(done));
  }
  void Add(std::int32_t slot, std::int64_t offset) {
    Record& record = batch_.records.emplace_back();
    record.slot = PartitionSlot(slot);
    record.offset = Offset(offset);
  }
  Status Take() { return claims_.Take(stop_, &reachable_, &batch_); }
  // "slot:offset" of what is left of the batch.
  std::vector<std::string> Left() const {
    std::vector<std::string> left;
    for (const Record& record : batch_.records) {
      left.push_back(std::to_string(record.slot.value()) + ":" +
                     std::to_string(record.offset.value()));
    }
    return left;
  }
  using Names = std::vector<std::string>;

  Events events_;
  ScriptedSource source_;
  ScriptedCommitter committer_;
  Claims claims_;
  RecordBatch batch_;
  std::atomic<bool> stop_{false};
  std::atomic<bool> reachable_{true};
};

TEST_F(ClaimsTest, MovesEachPositionBehindWhatWasPolled) {
  Add(0, 3);
  Add(0, 4);
  Add(1, 7);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(Left(), (Names{"0:3", "0:4", "1:7"}));
  EXPECT_EQ(events_, (Events{"claim 0:5 1:8"}));
  batch_.records.clear();
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_.size(), 1u) << "nothing was to be claimed";
}

TEST_F(ClaimsTest, ServesTheSourceBetweenAttemptsThatWereRefused) {
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}, {CommitOutcome::kRetry, {}, {}}};
  Add(0, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_, (Events{"claim 0:1", "poll", "claim 0:1", "poll", "claim 0:1"}));
  EXPECT_EQ(Left(), Names{"0:0"});
  EXPECT_FALSE(reachable_.load()) << "whoever polls next says that it is back";
}

TEST_F(ClaimsTest, AsksForAClaimThatIsUnderWayBeforeAllElse) {
  committer_.answers = {{CommitOutcome::kUnknown, {}, {}}, {CommitOutcome::kUnknown, {}, {}}};
  Add(0, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_, (Events{"claim 0:1", "claim 0:1", "claim 0:1"}));
  EXPECT_EQ(Left(), Names{"0:0"});
}

TEST_F(ClaimsTest, PartitionThatGoesMeanwhileTakesItsRecordsAlong) {
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}};
  source_.on_poll = [this] { claims_.Close(PartitionSlot(0)); };
  Add(0, 0);
  Add(1, 0);
  Add(1, 1);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_, (Events{"claim 0:1 1:2", "poll", "claim 1:2"}));
  EXPECT_EQ(Left(), (Names{"1:0", "1:1"}));
}

TEST_F(ClaimsTest, RecordsOfALostPartitionAreNotHandedOn) {
  committer_.answers = {{CommitOutcome::kLost, {}, {PartitionSlot(1)}}};
  Add(0, 0);
  Add(1, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(Left(), Names{"0:0"});
  batch_.records.clear();
  Add(1, 1);  // The source does not know yet.
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(Left(), Names{});
  EXPECT_EQ(committer_.taken[1].position, Offset(0));
}

TEST_F(ClaimsTest, OnesThatStopWithoutAnAnswerRunNothing) {
  for (const CommitOutcome outcome : {CommitOutcome::kRetry, CommitOutcome::kUnknown}) {
    stop_.store(false);
    committer_.answers = {{outcome, {}, {}}};
    committer_.on_claim = [this] { stop_.store(true); };
    batch_.records.clear();
    Add(0, 0);
    ASSERT_TRUE(Take().ok());
    EXPECT_EQ(Left(), Names{});
    EXPECT_EQ(committer_.taken[0].position, Offset(0));
  }
}

TEST_F(ClaimsTest, FatalAnswerAndAFencedSourceEndTheWorker) {
  committer_.answers = {{CommitOutcome::kFatal, Status(StatusCode::kFenced, "gone"), {}}};
  Add(0, 0);
  EXPECT_EQ(Take().code(), StatusCode::kFenced);
  EXPECT_EQ(Left(), Names{});
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}};
  source_.answer = Status(StatusCode::kFenced, "gone");
  Add(0, 0);
  EXPECT_EQ(Take().code(), StatusCode::kFenced);
  EXPECT_EQ(Left(), Names{});
}

TEST_F(ClaimsTest, LogThatIsAwayForTheSourceTooIsWaitedFor) {
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}};
  source_.answer = Status(StatusCode::kUnavailable, "away");
  Add(0, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(Left(), Names{"0:0"});
}

TEST_F(ClaimsTest, PositionsWithoutRecordsWaitForTheNextBatch) {
  EXPECT_TRUE(claims_.Advance(PartitionSlot(0), Offset(9)));
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}};
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_, (Events{"claim 0:9", "poll"}));
  Add(1, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(events_.back(), "claim 0:9 1:1");
}

TEST_F(ClaimsTest, PositionToldWhileRecordsAreInHandComesBehindThem) {
  committer_.answers = {{CommitOutcome::kRetry, {}, {}}};
  source_.on_poll = [this] {
    EXPECT_FALSE(claims_.Advance(PartitionSlot(0), Offset(9)));
    EXPECT_FALSE(claims_.Advance(PartitionSlot(1), Offset(5)));
    claims_.Close(PartitionSlot(1));
  };
  Add(0, 0);
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(committer_.taken[0].position, Offset(1));
  const auto advances = claims_.TakeAdvances();
  ASSERT_EQ(advances.size(), 1u) << "the other partition has gone";
  EXPECT_EQ(advances[0].slot, PartitionSlot(0));
  EXPECT_EQ(advances[0].position, Offset(9));
}

TEST_F(ClaimsTest, NoteOfAnotherModeStaysUntilThePositionHasPassedIt) {
  Open(2, 100, {{Offset(105), Offset(110)}, {Offset(120), Offset(130)}});
  Add(2, 100);
  ASSERT_TRUE(Take().ok());
  const auto& taken = committer_.taken[2];
  EXPECT_EQ(DecodeNote(taken.position, taken.note).value(),
            (std::vector<OffsetRange>{{Offset(105), Offset(110)}, {Offset(120), Offset(130)}}));
  batch_.records.clear();
  Add(2, 104);  // What is done begins right behind it.
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(taken.position, Offset(110));
  EXPECT_EQ(DecodeNote(taken.position, taken.note).value(),
            (std::vector<OffsetRange>{{Offset(120), Offset(130)}}));
  batch_.records.clear();
  Add(2, 125);  // In the middle of it.
  ASSERT_TRUE(Take().ok());
  EXPECT_EQ(taken.position, Offset(130));
  EXPECT_EQ(taken.note, "");
  EXPECT_EQ(Left(), Names{"2:125"}) << "the ledger skips it";
}

// Whatever the log answers and whichever partitions come and go: a record is handed on once, only
// behind a position that the log has taken, and what a note lists is never read as undone again.
TEST_F(ClaimsTest, NeverHandsOnWhatIsNotClaimedWhateverHappens) {
  const std::uint32_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937 random(seed);
  const auto below = [&random](int n) {
    return static_cast<int>(random() % static_cast<unsigned>(n));
  };
  claims_.Close(PartitionSlot(0));
  claims_.Close(PartitionSlot(1));
  committer_.taken.clear();
  std::map<std::int32_t, CommittedSet> log;  // As a next owner finds it.
  std::map<std::int32_t, std::int64_t> reads;
  std::set<std::pair<std::int32_t, std::int64_t>> handed_on;
  for (const std::int32_t slot : {0, 1}) {
    log[slot] = {Offset(0), {{Offset(5), Offset(20)}, {Offset(40), Offset(41)}}};
  }
  const auto open = [&](std::int32_t slot) {
    Open(slot, log[slot].position.value(), log[slot].beyond);
    reads[slot] = log[slot].position.value();
  };
  const auto close = [&](std::int32_t slot) {
    claims_.Close(PartitionSlot(slot));
    reads.erase(slot);
  };
  source_.on_poll = [&] {
    if (below(4) == 0 && !reads.empty()) close(reads.begin()->first);
  };
  int dropped = 0;
  for (int round = 0; round < 2000; ++round) {
    for (const std::int32_t slot : {0, 1}) {
      if (!reads.contains(slot) && below(2) == 0) open(slot);
      if (reads.contains(slot) && below(40) == 0) close(slot);
    }
    batch_.records.clear();
    for (auto& [slot, next] : reads) {
      for (int i = below(4); i > 0; --i) Add(slot, next++);
    }
    committer_.answers.clear();
    for (int i = below(3); i > 0; --i) {
      committer_.answers.push_back(
          {below(2) == 0 ? CommitOutcome::kRetry : CommitOutcome::kUnknown, {}, {}});
    }
    const std::size_t polled = batch_.records.size();
    ASSERT_TRUE(Take().ok());
    dropped += static_cast<int>(polled - batch_.records.size());
    for (const std::int32_t slot : {0, 1}) {
      if (!committer_.taken.contains(slot)) continue;
      const auto& taken = committer_.taken[slot];
      log[slot] = {taken.position, DecodeNote(taken.position, taken.note).value()};
    }
    for (const Record& record : batch_.records) {
      const std::int32_t slot = record.slot.value();
      const std::int64_t offset = record.offset.value();
      ASSERT_TRUE(log[slot].Has(record.offset)) << slot << ":" << offset << " is not claimed";
      ASSERT_TRUE(handed_on.emplace(slot, offset).second) << slot << ":" << offset << " came twice";
    }
    for (const std::int64_t done : {5, 19, 40}) {
      for (const std::int32_t slot : {0, 1}) {
        ASSERT_TRUE(log[slot].Has(Offset(done))) << done << " was forgotten";
      }
    }
  }
  EXPECT_GT(handed_on.size(), 1000u);
  EXPECT_GT(dropped, 0);
}

}  // namespace
}  // namespace millrace
