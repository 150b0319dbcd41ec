// What is committed beyond a committed position: sealed in the order of each key, listed in the
// note and skipped by whoever reads the partition next.

#include <gtest/gtest.h>

#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>

#include "pipeline/offset_tracker.h"

namespace millrace {
namespace {

constexpr std::size_t kNoLimit = ~std::size_t{0};

class BeyondTest : public ::testing::Test {
 protected:
  OffsetTracker::Seq Begin(std::int64_t offset, std::string_view key = {}) {
    return tracker_.Begin(Offset(offset), 1, key.empty() ? KeyMark() : KeyMark(key)).value();
  }
  void Finish(OffsetTracker::Seq seq) {
    outcomes_.emplace_back().input_timestamp = static_cast<WallMillis>(seq);
    tracker_.Finish(seq, &outcomes_.back());
  }
  // Sequence numbers of what a unit would take, the prefix first.
  std::vector<WallMillis> SealAll(std::size_t max_records = kNoLimit) {
    std::vector<const Outcome*> sealed;
    std::size_t bytes = 0;
    tracker_.Seal(max_records, kNoLimit, &bytes, &sealed);
    if (tracker_.ready() == 0) {
      tracker_.SealBeyond(max_records - sealed.size(), kNoLimit, &bytes, &sealed);
    }
    std::vector<WallMillis> seqs;
    for (const Outcome* outcome : sealed) seqs.push_back(outcome->input_timestamp);
    return seqs;
  }
  std::vector<OffsetRange> NoteAt(std::int64_t position) {
    EXPECT_EQ(tracker_.FixPosition(), Offset(position));
    return DecodeNote(Offset(position), tracker_.Note()).value();
  }

  OffsetTracker tracker_{Offset(0)};
  std::deque<Outcome> outcomes_;
};

TEST_F(BeyondTest, WhatIsFinishedBehindAnOpenRecordIsCommittedAndListed) {
  const auto slow = Begin(0, "a");
  const auto one = Begin(1, "b");
  const auto two = Begin(2, "c");
  Begin(5, "d");
  Finish(one);
  Finish(two);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{1, 2}));
  EXPECT_TRUE(tracker_.dirty());
  EXPECT_EQ(NoteAt(0), (std::vector<OffsetRange>{{Offset(1), Offset(3)}}));
  tracker_.CommitSealed();
  EXPECT_FALSE(tracker_.dirty());
  EXPECT_EQ(tracker_.in_flight(), 2u);
  Finish(slow);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{0}));
  EXPECT_EQ(NoteAt(3), (std::vector<OffsetRange>{}));
  tracker_.CommitSealed();
  EXPECT_EQ(tracker_.committed_position(), Offset(3));
  EXPECT_EQ(tracker_.in_flight(), 1u);
}

TEST_F(BeyondTest, OutcomesOfAKeyNeverOvertakeAnOpenOne) {
  Begin(0, "a");
  const auto same = Begin(1, "a");
  const auto other = Begin(2, "b");
  const auto nobody = Begin(3);
  Finish(same);
  Finish(nobody);
  Finish(other);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{2, 3}));
}

TEST_F(BeyondTest, OneThatHadNoRoomHoldsItsKeyBack) {
  Begin(0, "a");
  const auto first = Begin(1, "b");
  const auto second = Begin(2, "b");
  Finish(first);
  Finish(second);
  EXPECT_EQ(SealAll(0), (std::vector<WallMillis>{}));
  EXPECT_TRUE(tracker_.unit_full());
  EXPECT_EQ(SealAll(1), (std::vector<WallMillis>{1}));
  EXPECT_EQ(SealAll(1), (std::vector<WallMillis>{2}));
}

TEST_F(BeyondTest, WhatDidNotCommitIsSealedAgain) {
  Begin(0, "a");
  Finish(Begin(1, "b"));
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{1}));
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{}));
  tracker_.Unseal();
  EXPECT_EQ(tracker_.beyond(), 1u);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{1}));
}

TEST_F(BeyondTest, PrefixThatReachesWhatIsSealedInTheSameUnitPassesIt) {
  const auto slow = Begin(0, "a");
  Finish(Begin(1, "b"));
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{1}));
  Finish(slow);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{0}));
  EXPECT_EQ(NoteAt(2), (std::vector<OffsetRange>{}));
  tracker_.CommitSealed();
  EXPECT_EQ(tracker_.in_flight(), 0u);
  EXPECT_EQ(tracker_.bytes(), 0u);
}

// Every other record stays open: as many runs as there can be. The note takes what fits, and
// everything else waits.
TEST_F(BeyondTest, NoteNeverOutgrowsItsLimit) {
  constexpr int kPairs = 4000;
  std::vector<OffsetTracker::Seq> slow;
  for (int i = 0; i < kPairs; ++i) {
    slow.push_back(Begin(2 * i));
    Finish(Begin(2 * i + 1));
  }
  const std::size_t first = SealAll().size();
  EXPECT_TRUE(tracker_.note_full());
  EXPECT_GT(first, 1000u) << "the note should be used well";
  tracker_.FixPosition();
  EXPECT_LE(tracker_.Note().size(), kMaxNoteBytes);
  EXPECT_GT(tracker_.Note().size(), kMaxNoteBytes * 9 / 10);
  tracker_.CommitSealed();
  std::size_t sealed = first;
  for (const OffsetTracker::Seq seq : slow) {  // The position moves on, and makes room.
    Finish(seq);
    EXPECT_FALSE(tracker_.note_full());
    sealed += SealAll().size();
    tracker_.FixPosition();
    ASSERT_LE(tracker_.Note().size(), kMaxNoteBytes);
    tracker_.CommitSealed();
  }
  EXPECT_EQ(sealed, static_cast<std::size_t>(2 * kPairs));
  EXPECT_EQ(tracker_.committed_position(), Offset(2 * kPairs));
}

TEST_F(BeyondTest, FirstOpenRecordIsStuckWhenItStaysTheSame) {
  const auto slow = Begin(0);
  tracker_.Age();  // Seen for the first time: nothing is known yet.
  const auto next = Begin(1);
  tracker_.Age();
  EXPECT_TRUE(tracker_.stuck());
  EXPECT_EQ(tracker_.old_open(), 1u) << "the second one is not old";
  tracker_.Age();
  EXPECT_EQ(tracker_.old_open(), 2u);
  Finish(slow);
  EXPECT_FALSE(tracker_.stuck());
  tracker_.Age();
  EXPECT_FALSE(tracker_.stuck()) << "another record is the first one now";
  tracker_.Age();
  EXPECT_TRUE(tracker_.stuck());
  Finish(next);
  EXPECT_EQ(tracker_.old_open(), 0u);
}

// A log of one partition and the workers that come and go: what each commits is remembered, and the
// next one starts from the position and the note, as after a crash or a reassignment.
class LifeOfAPartition {
 public:
  explicit LifeOfAPartition(std::uint64_t seed) : random_(seed) {
    for (std::int64_t offset = 0; offset < kRecords; ++offset) {
      if (random_() % 8 == 0) continue;  // A control record.
      keys_[offset] = "k" + std::to_string(random_() % (1 + random_() % 12));
    }
    Restart();
  }

  void Run() {
    while (position_ < Offset(kRecords) && !::testing::Test::HasFatalFailure()) Step();
    for (const auto& [offset, key] : keys_) ASSERT_TRUE(committed_.contains(offset)) << offset;
  }

 private:
  static constexpr std::int64_t kRecords = 300;

  void Restart() {
    auto done = DecodeNote(position_, note_);
    ASSERT_TRUE(done.ok());
    tracker_ = std::make_unique<OffsetTracker>(position_, std::move(*done));
    open_.clear();
    sealed_.clear();
    next_ = position_.value();
  }

  void Step() {
    switch (random_() % 8) {
      case 0:
      case 1:
      case 2:
        return Read();
      case 3:
      case 4:
      case 5:
        return FinishOne();
      case 6:
        return Seal();
      default:
        return random_() % 40 == 0 ? Restart() : Settle();
    }
  }

  void Read() {
    if (next_ == kRecords) return tracker_->Advance(Offset(kRecords));
    const std::int64_t offset = next_++;
    const auto key = keys_.find(offset);
    if (key == keys_.end()) return;
    const auto seq = tracker_->Begin(Offset(offset), 1, KeyMark(key->second));
    ASSERT_EQ(!seq.has_value(), committed_.contains(offset)) << "offset " << offset;
    if (!seq.has_value()) return;
    outcomes_.emplace_back().input_timestamp = offset;
    open_.emplace_back(*seq, &outcomes_.back());
  }

  void FinishOne() {
    if (open_.empty()) return;
    // The first one is slow, as a rule.
    const std::size_t pick = random_() % 20 == 0 ? 0 : random_() % open_.size();
    tracker_->Finish(open_[pick].first, open_[pick].second);
    open_.erase(open_.begin() + static_cast<std::ptrdiff_t>(pick));
  }

  void Seal() {
    std::size_t bytes = 0;
    std::vector<const Outcome*> sealed;
    tracker_->Seal(1 + random_() % 8, kNoLimit, &bytes, &sealed);
    if (tracker_->ready() == 0 && random_() % 2 == 0) {
      tracker_->SealBeyond(1 + random_() % 8, kNoLimit, &bytes, &sealed);
    }
    sealed_.insert(sealed_.end(), sealed.begin(), sealed.end());
  }

  void Settle() {
    if (random_() % 5 == 0) {
      tracker_->Unseal();
      sealed_.clear();
      return;
    }
    if (!tracker_->dirty()) return;
    const Offset position = tracker_->FixPosition();
    const std::string note = tracker_->Note();
    ASSERT_GE(position, position_);
    ASSERT_TRUE(position != position_ || note != note_) << "units must differ";
    position_ = position;
    note_ = note;
    for (const Outcome* outcome : sealed_) {
      const std::int64_t offset = outcome->input_timestamp;
      ASSERT_TRUE(committed_.insert(offset).second) << "twice: " << offset;
      std::int64_t& last = last_of_key_[keys_.at(offset)];
      ASSERT_LE(last, offset) << "out of order";
      last = offset;
    }
    sealed_.clear();
    tracker_->CommitSealed();
    const CommittedSet set{position_, DecodeNote(position_, note_).value()};
    for (const auto& [offset, key] : keys_) {
      ASSERT_EQ(set.Has(Offset(offset)), committed_.contains(offset)) << "offset " << offset;
    }
    std::size_t in_flight = 0;
    for (const auto& [offset, key] : keys_) {
      in_flight += offset < next_ && !committed_.contains(offset) ? 1 : 0;
    }
    ASSERT_EQ(tracker_->in_flight(), in_flight);
  }

  std::mt19937_64 random_;
  std::map<std::int64_t, std::string> keys_;  // The log.
  Offset position_{0};
  std::string note_;
  std::set<std::int64_t> committed_;
  std::map<std::string, std::int64_t> last_of_key_;

  std::unique_ptr<OffsetTracker> tracker_;
  std::int64_t next_ = 0;
  std::deque<Outcome> outcomes_;
  std::vector<std::pair<OffsetTracker::Seq, Outcome*>> open_;
  std::vector<const Outcome*> sealed_;
};

TEST(OffsetTrackerBeyondProperty, EachRecordOnceInTheOrderOfItsKeyThroughRestarts) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  for (std::uint64_t life = 0; life < 300; ++life) {
    SCOPED_TRACE("life " + std::to_string(life));
    LifeOfAPartition(seed + life).Run();
    if (HasFatalFailure()) return;
  }
}

TEST_F(BeyondTest, PartitionWhosePrefixMovesTooSlowlyIsOvertaken) {
  for (int offset = 0; offset < 10; ++offset) Begin(offset, offset == 9 ? "light" : "heavy");
  tracker_.Age();
  Finish(9);
  Finish(0);
  tracker_.Age();
  EXPECT_FALSE(tracker_.overtaken()) << "it has not waited for long";
  Finish(1);
  tracker_.Age();
  EXPECT_TRUE(tracker_.overtaken());
  EXPECT_FALSE(tracker_.stuck()) << "the prefix moves";
  EXPECT_EQ(tracker_.old_open(), 7u);
  EXPECT_EQ(SealAll(), (std::vector<WallMillis>{0, 1, 9}));
  EXPECT_EQ(NoteAt(2), (std::vector<OffsetRange>{{Offset(9), Offset(10)}}));
  tracker_.CommitSealed();
  Finish(2);
  EXPECT_TRUE(tracker_.overtaken()) << "a step of the prefix changes nothing";
  tracker_.Age();
  EXPECT_TRUE(tracker_.overtaken()) << "the next light one should not wait either";
  for (int offset = 3; offset < 9; ++offset) Finish(static_cast<OffsetTracker::Seq>(offset));
  EXPECT_FALSE(tracker_.overtaken());
  EXPECT_EQ(tracker_.old_open(), 0u);
  EXPECT_EQ(SealAll().size(), 7u);
  EXPECT_TRUE(NoteAt(10).empty());
}

TEST_F(BeyondTest, OutcomesThatComeInTheirOrderNeverOvertake) {
  std::int64_t begun = 0;
  OffsetTracker::Seq finished = 0;
  for (int round = 0; round < 100; ++round) {
    for (int i = 0; i < 20; ++i) Begin(begun++, "key");
    // Two executors: the second batch ends first, the first one before the next look.
    if (round > 1) {
      Finish(finished + 1);
      tracker_.Age();
      Finish(finished);
      finished += 2;
    }
    EXPECT_FALSE(tracker_.overtaken()) << round;
  }
}

}  // namespace
}  // namespace millrace
