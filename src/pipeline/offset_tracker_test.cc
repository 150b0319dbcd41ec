#include "pipeline/offset_tracker.h"

#include <gtest/gtest.h>

#include <deque>
#include <random>

namespace millrace {
namespace {

constexpr std::size_t kNoLimit = std::numeric_limits<std::size_t>::max();

struct Sealed {
  std::vector<const Outcome*> outcomes;
  std::size_t bytes = 0;
  std::size_t count = 0;
};

Sealed SealAll(OffsetTracker& tracker, std::size_t max_records = kNoLimit,
               std::size_t max_bytes = kNoLimit) {
  Sealed sealed;
  sealed.count = tracker.Seal(max_records, max_bytes, &sealed.bytes, &sealed.outcomes);
  return sealed;
}

Outcome OutcomeOf(std::uint32_t bytes) {
  Outcome outcome;
  outcome.record.value.size = bytes;
  return outcome;
}

void Commit(OffsetTracker& tracker) {
  tracker.FixPosition();
  tracker.CommitSealed();
}

TEST(OffsetTracker, CommitsNothingBeforeTheFirstRecordIsDone) {
  OffsetTracker tracker(Offset(5));
  Outcome outcome;
  tracker.Begin(Offset(5), 10).value();
  const auto second = tracker.Begin(Offset(6), 10).value();
  tracker.Finish(second, &outcome);
  EXPECT_EQ(SealAll(tracker).count, 0u);
  EXPECT_FALSE(tracker.dirty());
  EXPECT_EQ(tracker.sealed_position(), Offset(5));
}

TEST(OffsetTracker, SealsThePrefixInOffsetOrderWhateverTheOrderOfFinishing) {
  OffsetTracker tracker(Offset(0));
  std::vector<Outcome> outcomes(3);
  std::vector<OffsetTracker::Seq> seqs;
  for (int i = 0; i < 3; ++i) seqs.push_back(tracker.Begin(Offset(i), 1).value());
  tracker.Finish(seqs[2], &outcomes[2]);
  tracker.Finish(seqs[0], &outcomes[0]);
  tracker.Finish(seqs[1], &outcomes[1]);
  const Sealed sealed = SealAll(tracker);
  EXPECT_EQ(sealed.outcomes,
            (std::vector<const Outcome*>{&outcomes[0], &outcomes[1], &outcomes[2]}));
  EXPECT_EQ(tracker.sealed_position(), Offset(3));
}

TEST(OffsetTracker, GivesOutcomesBackWhenTheUnitDidNotCommit) {
  OffsetTracker tracker(Offset(0));
  Outcome outcome = OutcomeOf(7);
  tracker.Finish(tracker.Begin(Offset(0), 1).value(), &outcome);
  EXPECT_EQ(SealAll(tracker).count, 1u);
  EXPECT_EQ(SealAll(tracker).count, 0u) << "a sealed outcome must not enter a second unit";
  tracker.Unseal();
  EXPECT_EQ(tracker.committed_position(), Offset(0));
  EXPECT_EQ(SealAll(tracker).count, 1u);
  Commit(tracker);
  EXPECT_EQ(tracker.committed_position(), Offset(1));
  EXPECT_EQ(tracker.in_flight(), 0u);
  EXPECT_EQ(tracker.bytes(), 0u);
}

TEST(OffsetTracker, PositionStepsOverOffsetsThatCarryNoRecord) {
  OffsetTracker tracker(Offset(0));
  Outcome outcome;
  tracker.Finish(tracker.Begin(Offset(10), 1).value(), &outcome);
  tracker.Advance(Offset(15));
  EXPECT_EQ(SealAll(tracker).count, 1u);
  EXPECT_EQ(tracker.sealed_position(), Offset(15));
  Commit(tracker);
  tracker.Advance(Offset(20));
  EXPECT_TRUE(tracker.dirty()) << "an idle partition still commits past control records";
  EXPECT_EQ(SealAll(tracker).count, 0u);
  Commit(tracker);
  EXPECT_EQ(tracker.committed_position(), Offset(20));
}

TEST(OffsetTracker, UnitIsBoundedInRecordsAndBytesButNeverStuckOnOneLargeOutcome) {
  OffsetTracker tracker(Offset(0));
  std::vector<Outcome> outcomes(4, OutcomeOf(100));
  for (int i = 0; i < 4; ++i) {
    tracker.Finish(tracker.Begin(Offset(i), 1).value(), &outcomes[static_cast<std::size_t>(i)]);
  }
  EXPECT_EQ(SealAll(tracker, kNoLimit, 50).count, 1u) << "the first goes even if too large";
  Commit(tracker);
  EXPECT_EQ(SealAll(tracker, kNoLimit, 250).count, 2u);
  Commit(tracker);
  EXPECT_EQ(SealAll(tracker, 1).count, 1u);
}

// Against a model that keeps everything in plain containers: any interleaving of reading,
// finishing, sealing, committing and failing commits each outcome once, in offset order.
TEST(OffsetTracker, EveryScheduleCommitsEachOffsetOnceAndInOrder) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int schedule = 0; schedule < 2000; ++schedule) {
    std::int64_t next_offset = static_cast<std::int64_t>(random() % 100);
    OffsetTracker tracker{Offset(next_offset)};
    std::deque<Outcome> outcomes;
    std::vector<std::pair<OffsetTracker::Seq, Outcome*>> open;
    std::vector<std::int64_t> begun;
    std::vector<const Outcome*> committed;
    std::vector<const Outcome*> sealed;
    Offset last_position = tracker.committed_position();
    const int steps = 1 + static_cast<int>(random() % 200);
    for (int step = 0; step < steps || !open.empty() || !sealed.empty(); ++step) {
      const std::uint64_t dice = random() % 10;
      if (dice < 4 && step < steps) {
        next_offset += static_cast<std::int64_t>(random() % 5 == 0 ? random() % 7 : 0);
        outcomes.emplace_back();
        outcomes.back().input_timestamp = next_offset;
        open.emplace_back(tracker.Begin(Offset(next_offset), 3).value(), &outcomes.back());
        begun.push_back(next_offset++);
      } else if (dice < 8 && !open.empty()) {
        const std::size_t pick = random() % open.size();
        tracker.Finish(open[pick].first, open[pick].second);
        open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
      } else if (sealed.empty() || random() % 4 == 0) {  // In one step or in more.
        std::size_t bytes = 0;
        tracker.Seal(1 + random() % 8, kNoLimit, &bytes, &sealed);
        if (sealed.empty() && tracker.dirty()) Commit(tracker);
      } else if (dice == 8) {
        tracker.Unseal();
        sealed.clear();
      } else {
        Commit(tracker);
        committed.insert(committed.end(), sealed.begin(), sealed.end());
        sealed.clear();
        ASSERT_GE(tracker.committed_position(), last_position);
        last_position = tracker.committed_position();
      }
      ASSERT_EQ(tracker.in_flight(), begun.size() - committed.size());
    }
    std::size_t bytes = 0;
    tracker.Seal(kNoLimit, kNoLimit, &bytes, &committed);
    Commit(tracker);
    ASSERT_EQ(committed.size(), begun.size());
    for (std::size_t i = 0; i < begun.size(); ++i) {
      ASSERT_EQ(committed[i]->input_timestamp, begun[i]);
    }
    ASSERT_EQ(tracker.committed_position(), Offset(next_offset));
    ASSERT_EQ(tracker.bytes(), 0u);
  }
}

// Cause: the end of a partition was seen while the unit with its last record was committed; the
// control record there was taken for committed, and the group's lag stayed at 1.
TEST(OffsetTracker, CommitsWhatWasSealedAndNotWhatWasReadMeanwhile) {
  OffsetTracker tracker(Offset(0));
  Outcome outcome;
  tracker.Finish(tracker.Begin(Offset(0), 1).value(), &outcome);
  SealAll(tracker);
  EXPECT_EQ(tracker.FixPosition(), Offset(1));
  tracker.Advance(Offset(2));
  tracker.CommitSealed();
  EXPECT_EQ(tracker.committed_position(), Offset(1));
  EXPECT_TRUE(tracker.dirty());
  SealAll(tracker);
  Commit(tracker);
  EXPECT_EQ(tracker.committed_position(), Offset(2));
  EXPECT_FALSE(tracker.dirty());
}

TEST(OffsetTrackerDeathTest, FinishingTwiceEndsTheProcess) {
  OffsetTracker tracker(Offset(0));
  Outcome outcome;
  tracker.Begin(Offset(0), 1).value();
  const auto second = tracker.Begin(Offset(1), 1).value();
  tracker.Finish(second, &outcome);
  EXPECT_DEATH(tracker.Finish(second, &outcome), "invariant");
}

TEST(OffsetTrackerDeathTest, OffsetsNeverGoBack) {
  OffsetTracker tracker(Offset(5));
  EXPECT_DEATH(tracker.Begin(Offset(4), 1).value(), "invariant");
}

}  // namespace
}  // namespace millrace
