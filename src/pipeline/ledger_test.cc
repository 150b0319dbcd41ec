#include "pipeline/ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <mutex>
#include <random>
#include <set>
#include <string>
#include <thread>

namespace millrace {
namespace {

DeliveryOptions Options() {
  DeliveryOptions options;
  options.commit_interval = Millis(0);
  return options;
}

class LedgerTest : public ::testing::Test {
 protected:
  void Open(Ledger& ledger, int slot, std::uint32_t epoch, std::int64_t position = 0,
            std::vector<OffsetRange> done = {}) {
    ledger.Open(
        PartitionAssignment{PartitionSlot(slot), Epoch(epoch), {"in", slot}, Offset(position)},
        std::move(done));
  }

  // Registers offsets [first, first + count) of a partition.
  std::vector<Ledger::Ticket> Read(Ledger& ledger, int slot, std::int64_t first, int count) {
    std::vector<Record> records(static_cast<std::size_t>(count));
    for (int i = 0; i < count; ++i) {
      Record& record = records[static_cast<std::size_t>(i)];
      record.slot = PartitionSlot(slot);
      record.offset = Offset(first + i);
      record.value = "value";
      record.key = keys_[static_cast<std::size_t>(record.offset.value()) % keys_.size()];
      record.has_key = true;
    }
    std::vector<Ledger::Ticket> tickets;
    ledger.Begin(records, &tickets);
    return tickets;
  }

  void Finish(Ledger& ledger, int slot, const Ledger::Ticket& ticket, WallMillis mark = 0) {
    std::unique_ptr<OutcomeChunk> chunk = chunks_.Take();
    chunk->bytes.Append("x");
    Outcome& outcome = chunk->outcomes.emplace_back();
    outcome.record.chunk = chunk.get();
    outcome.record.value = ByteSpan{0, 1};
    outcome.slot = PartitionSlot(slot);
    outcome.epoch = ticket.epoch;
    outcome.seq = ticket.seq;
    outcome.input_timestamp = mark;
    ledger.Complete(std::move(chunk));
  }

  // Gathers until the unit is due; false when the ledger was stopped.
  static bool NextUnit(Ledger& ledger, SealedUnit* unit) {
    Ledger::Gathered gathered = Ledger::Gathered::kMore;
    std::vector<const OutputRecord*> staged;
    while (gathered == Ledger::Gathered::kMore) {
      gathered = ledger.Gather(unit);
      if (gathered != Ledger::Gathered::kMore) break;
      EXPECT_FALSE(unit->newest().empty());
      staged.insert(staged.end(), unit->newest().begin(), unit->newest().end());
    }
    EXPECT_LE(staged.size(), unit->outputs.size());
    EXPECT_TRUE(std::equal(staged.begin(), staged.end(), unit->outputs.begin()))
        << "what was handed out early is not what the unit begins with";
    return gathered == Ledger::Gathered::kDue;
  }

  // Key of an offset: every fifth has the same.
  const std::vector<std::string> keys_ = {"a", "b", "c", "d", "e"};
  ManualClock clock_;
  OutcomeChunkPool chunks_;
};

TEST_F(LedgerTest, UnitHoldsTheOutcomesBelowThePositionAndNoOther) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 3);
  Finish(ledger, 0, tickets[0], 100);
  Finish(ledger, 0, tickets[2], 102);
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  ASSERT_EQ(unit.outcomes.size(), 1u);
  EXPECT_EQ(unit.outcomes[0]->input_timestamp, 100);
  ASSERT_EQ(unit.positions.size(), 1u);
  EXPECT_EQ(unit.positions[0].next, Offset(1));
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.Totals().in_flight_records, 2u);
  ledger.Close(PartitionSlot(0));
}

TEST_F(LedgerTest, OutcomesOfAnOlderEpochAreDropped) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  const auto old = Read(ledger, 0, 0, 1);
  ledger.Close(PartitionSlot(0));
  Open(ledger, 0, 2);
  const auto fresh = Read(ledger, 0, 0, 1);
  Finish(ledger, 0, old[0], 1);
  EXPECT_EQ(ledger.Totals().ready_records, 0u);
  Finish(ledger, 0, fresh[0], 2);
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  ASSERT_EQ(unit.outcomes.size(), 1u);
  EXPECT_EQ(unit.outcomes[0]->input_timestamp, 2);
  ledger.Committed(&unit);
}

TEST_F(LedgerTest, RecordsOfAPartitionThatIsGoneGetNoTicket) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  ledger.Close(PartitionSlot(0));
  EXPECT_EQ(Read(ledger, 0, 0, 1)[0].epoch, Ledger::kNoEpoch);
  EXPECT_EQ(ledger.Totals().in_flight_records, 0u);
}

TEST_F(LedgerTest, UnitThatDidNotCommitIsSealedAgainWithoutTheLostPartitions) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  Open(ledger, 1, 1);
  Finish(ledger, 0, Read(ledger, 0, 0, 1)[0], 10);
  Finish(ledger, 1, Read(ledger, 1, 0, 1)[0], 11);
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  ASSERT_EQ(unit.outcomes.size(), 2u);
  const std::vector<PartitionSlot> lost = {PartitionSlot(1)};
  ledger.Restore(&unit, lost);
  ASSERT_TRUE(NextUnit(ledger, &unit));
  ASSERT_EQ(unit.outcomes.size(), 1u);
  EXPECT_EQ(unit.outcomes[0]->input_timestamp, 10);
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.Totals().in_flight_records, 0u);
  EXPECT_EQ(ledger.Totals().in_flight_bytes, 0u);
}

TEST_F(LedgerTest, CommitsPastOffsetsWithoutRecords) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  ledger.Advance(PartitionSlot(0), Offset(7));
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  EXPECT_TRUE(unit.outcomes.empty());
  ASSERT_EQ(unit.positions.size(), 1u);
  EXPECT_EQ(unit.positions[0].next, Offset(7));
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.CommittedPosition(PartitionSlot(0)), Offset(7));
}

TEST_F(LedgerTest, OneSlowRequestHoldsItsPartitionBeforeItStopsTheWorker) {
  DeliveryOptions options = Options();
  options.max_in_flight_records = 8;
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  Open(ledger, 1, 1);
  Read(ledger, 0, 0, 4);
  std::vector<Ledger::HoldChange> changes;
  ledger.TakeHoldChanges(&changes);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_EQ(changes[0].slot, PartitionSlot(0));
  EXPECT_TRUE(changes[0].hold);
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 4u) << "the other partition still has room";
  Read(ledger, 1, 0, 4);
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 0u);
  ledger.Close(PartitionSlot(0));
  ledger.Close(PartitionSlot(1));
}

TEST_F(LedgerTest, OutcomesThatWaitForTheirCommitStopTheIntakeByThemselves) {
  DeliveryOptions options = Options();
  options.max_in_flight_records = 1 << 20;
  options.max_unit_records = Ledger::kMaxReady;
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  constexpr std::size_t kLimit = 2 * Ledger::kMaxReady;
  const auto tickets = Read(ledger, 0, 0, static_cast<int>(kLimit) + 10);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u) << "open ones do not count";
  for (std::size_t i = 1; i <= kLimit; ++i) Finish(ledger, 0, tickets[i]);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u) << "nor those that wait for the first one";
  Finish(ledger, 0, tickets[0]);
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 0u);
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 0u) << "not before it is committed";
  ledger.Committed(&unit);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u);
}

TEST_F(LedgerTest, MemoryOfRequestsAndOfOutcomesStopsTheIntake) {
  RequestBlockPool blocks;
  Ledger ledger(Options(), clock_, chunks_, {&blocks, 64 << 10});
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 3);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u);
  RequestBlock* const block = blocks.Take();
  block->batch.bytes.Append(std::string(70 << 10, 'x'));
  block->open_rows.store(1);
  blocks.Count(block);
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 0u);
  blocks.Release(block, 1);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u);

  // One chunk with two outcomes, the second behind an open record: what it holds, holds on.
  std::unique_ptr<OutcomeChunk> chunk = chunks_.Take();
  chunk->bytes.Append(std::string(70 << 10, 'y'));
  for (const int i : {0, 2}) {
    Outcome& outcome = chunk->outcomes.emplace_back();
    outcome.record.chunk = chunk.get();
    outcome.slot = PartitionSlot(0);
    outcome.epoch = tickets[static_cast<std::size_t>(i)].epoch;
    outcome.seq = tickets[static_cast<std::size_t>(i)].seq;
  }
  ledger.Complete(std::move(chunk));
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  EXPECT_EQ(unit.outcomes.size(), 1u);
  ledger.Committed(&unit);
  EXPECT_GE(ledger.Totals().outcome_memory, std::size_t{70} << 10);
  EXPECT_EQ(ledger.WaitForRoom(Millis(0)), 0u);
  Finish(ledger, 0, tickets[1]);
  ASSERT_TRUE(NextUnit(ledger, &unit));
  EXPECT_EQ(unit.outcomes.size(), 2u);
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.Totals().outcome_memory, 0u);
  EXPECT_GT(ledger.WaitForRoom(Millis(0)), 0u);
}

TEST_F(LedgerTest, OutcomesThatHoldHalfOfWhatMayBeHeldAreDue) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(3'600'000);
  Ledger ledger(options, clock_, chunks_, {nullptr, 256 << 10});
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 2);
  std::unique_ptr<OutcomeChunk> chunk = chunks_.Take();
  chunk->bytes.Append(std::string(130 << 10, 'y'));
  Outcome& outcome = chunk->outcomes.emplace_back();
  outcome.record.chunk = chunk.get();
  outcome.slot = PartitionSlot(0);
  outcome.epoch = tickets[0].epoch;
  outcome.seq = tickets[0].seq;
  ledger.Complete(std::move(chunk));
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit)) << "not after the hour";
  EXPECT_EQ(unit.outcomes.size(), 1u);
  ledger.Committed(&unit);
  ledger.Close(PartitionSlot(0));
}

TEST_F(LedgerTest, WaitsForMoreOnlyWhileMoreIsOnItsWay) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(3'600'000);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 2);
  Finish(ledger, 0, tickets[0]);
  std::thread finisher([&] { Finish(ledger, 0, tickets[1]); });
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));  // Returns without the hour: nothing else is in flight.
  EXPECT_EQ(unit.outcomes.size(), 2u);
  finisher.join();
  ledger.Committed(&unit);
}

TEST_F(LedgerTest, UnitGrowsInStepsWhileMoreIsOnItsWay) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(3'600'000);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  constexpr int kCount = static_cast<int>(Ledger::kStepRecords) + 2;
  const auto tickets = Read(ledger, 0, 0, kCount);
  Finish(ledger, 0, tickets[0], 0);
  SealedUnit unit;
  ASSERT_EQ(ledger.Gather(&unit), Ledger::Gathered::kMore) << "the first does not wait for a step";
  EXPECT_EQ(unit.newest().size(), 1u);
  EXPECT_TRUE(unit.positions.empty());
  for (int i = 1; i < kCount - 1; ++i) {
    Finish(ledger, 0, tickets[static_cast<std::size_t>(i)], i);
  }
  ASSERT_EQ(ledger.Gather(&unit), Ledger::Gathered::kMore);
  EXPECT_EQ(unit.newest().size(), Ledger::kStepRecords);
  Finish(ledger, 0, tickets[kCount - 1], kCount - 1);
  ASSERT_EQ(ledger.Gather(&unit), Ledger::Gathered::kDue);
  ASSERT_EQ(unit.outcomes.size(), static_cast<std::size_t>(kCount));
  for (int i = 0; i < kCount; ++i) {
    EXPECT_EQ(unit.outcomes[static_cast<std::size_t>(i)]->input_timestamp, i);
  }
  ASSERT_EQ(unit.positions.size(), 1u);
  EXPECT_EQ(unit.positions[0].next, Offset(kCount));
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.Totals().in_flight_records, 0u);
}

TEST_F(LedgerTest, CloseMakesTheUnitInTheMakingDueAndLetsNoOtherBegin) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(3'600'000);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 3);
  Finish(ledger, 0, tickets[0]);
  SealedUnit unit;
  ASSERT_EQ(ledger.Gather(&unit), Ledger::Gathered::kMore);
  Finish(ledger, 0, tickets[1]);
  std::thread closer([&] { ledger.Close(PartitionSlot(0)); });
  ASSERT_EQ(ledger.Gather(&unit), Ledger::Gathered::kDue);  // Without the hour.
  EXPECT_EQ(unit.outcomes.size(), 2u);
  ledger.Committed(&unit);
  std::thread stopper([&] {
    closer.join();
    ledger.StopCommits();
  });
  EXPECT_EQ(ledger.Gather(&unit), Ledger::Gathered::kStopped);
  stopper.join();
  EXPECT_EQ(ledger.Totals().in_flight_records, 0u);
}

TEST_F(LedgerTest, UnitsFollowEachOtherNoFasterThanThePaceAfterAPauseAtOnce) {
  DeliveryOptions options = Options();
  options.min_commit_interval = Millis(5);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  SealedUnit unit;
  const auto answer = [&](std::int64_t offset) {
    Finish(ledger, 0, Read(ledger, 0, offset, 1)[0]);
  };
  answer(0);
  ASSERT_TRUE(NextUnit(ledger, &unit));  // After a pause: at once.
  ledger.Committed(&unit);
  answer(1);
  std::atomic<bool> sealed{false};
  std::thread committer([&] {
    EXPECT_TRUE(NextUnit(ledger, &unit));
    sealed = true;
    ledger.Committed(&unit);
  });
  std::this_thread::sleep_for(Millis(20));
  EXPECT_FALSE(sealed);
  answer(2);  // Joins the unit that waits.
  EXPECT_FALSE(sealed);
  clock_.Advance(Millis(5));
  committer.join();
  EXPECT_EQ(unit.outcomes.size(), 2u);
  ledger.Close(PartitionSlot(0));
}

TEST_F(LedgerTest, OutcomesBehindAStuckRequestAreCommittedInTheOrderOfTheirKeys) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(20);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 8);  // Offsets 0 and 5 are of one key.
  SealedUnit unit;
  std::atomic<bool> sealed{false};
  for (const int i : {3, 1, 5, 2}) Finish(ledger, 0, tickets[static_cast<std::size_t>(i)], i);
  std::thread gatherer([&] {
    EXPECT_TRUE(NextUnit(ledger, &unit));
    sealed = true;
  });
  while (!sealed) {  // Nothing waits for the first one any more.
    std::this_thread::sleep_for(Millis(2));
    clock_.Advance(Millis(20));
  }
  gatherer.join();
  std::vector<WallMillis> offsets;
  for (const Outcome* outcome : unit.outcomes) offsets.push_back(outcome->input_timestamp);
  EXPECT_EQ(offsets, (std::vector<WallMillis>{1, 2, 3}));
  ASSERT_EQ(unit.positions.size(), 1u);
  EXPECT_EQ(unit.positions[0].base, Offset(0));
  EXPECT_EQ(unit.positions[0].next, Offset(0));
  const auto done = DecodeNote(Offset(0), unit.positions[0].note).value();
  EXPECT_EQ(done, (std::vector<OffsetRange>{{Offset(1), Offset(4)}}));
  ledger.Committed(&unit);
  EXPECT_EQ(ledger.Totals().in_flight_records, 5u);
  ledger.Close(PartitionSlot(0));

  // Whoever reads the partition next skips them.
  Open(ledger, 0, 2, 0, done);
  const auto again = Read(ledger, 0, 0, 8);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(again[static_cast<std::size_t>(i)].epoch == Ledger::kNoEpoch, i >= 1 && i <= 3) << i;
  }
  EXPECT_EQ(ledger.Totals().in_flight_records, 5u);
  ledger.Close(PartitionSlot(0));
}

TEST_F(LedgerTest, OutcomesFarBeforeAPrefixThatMovesDoNotWaitForIt) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(20);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  constexpr int kCount = 200;
  const int keys = static_cast<int>(keys_.size());
  const int light = kCount - 1;  // Those of its key have all been answered.
  const auto tickets = Read(ledger, 0, 0, kCount);
  std::atomic<bool> seen{false};
  std::thread committer([&] {
    SealedUnit unit;
    while (NextUnit(ledger, &unit)) {
      for (const Outcome* outcome : unit.outcomes) {
        if (outcome->input_timestamp == light) seen = true;
      }
      ledger.Committed(&unit);
    }
  });
  const auto finish = [&](int i) { Finish(ledger, 0, tickets[static_cast<std::size_t>(i)], i); };
  for (int i = light % keys; i < kCount; i += keys) finish(i);
  int next = 0;
  for (; next < kCount && !seen; ++next) {  // Each time the prefix moves.
    if (next % keys == light % keys) continue;
    finish(next);
    std::this_thread::sleep_for(Millis(2));
    clock_.Advance(Millis(20));
  }
  EXPECT_TRUE(seen) << "it waited for all of the others";
  EXPECT_LT(next, kCount / 2);
  for (; next < kCount; ++next) {
    if (next % keys != light % keys) finish(next);
  }
  while (ledger.Totals().in_flight_records > 0) {
    clock_.Advance(Millis(20));
    std::this_thread::sleep_for(Millis(1));
  }
  ledger.StopCommits();
  committer.join();
  EXPECT_EQ(ledger.CommittedPosition(PartitionSlot(0)), Offset(kCount));
  EXPECT_EQ(ledger.Totals().outcome_memory, 0u);
}

TEST_F(LedgerTest, FlushCommitsWhatIsFinishedOutOfOrderAndWaitsForNothingElse) {
  DeliveryOptions options = Options();
  options.commit_interval = Millis(3'600'000);
  Ledger ledger(options, clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 6);
  Finish(ledger, 0, tickets[5], 5);  // Of the key of the first, which is open.
  Finish(ledger, 0, tickets[4], 4);
  std::thread flusher([&] {
    const std::vector<PartitionSlot> slots = {PartitionSlot(0)};
    ledger.FlushAndWait(slots, SystemClock().Now() + Millis(60'000));
    ledger.StopCommits();
  });
  SealedUnit unit;
  ASSERT_TRUE(NextUnit(ledger, &unit));
  ASSERT_EQ(unit.outcomes.size(), 1u);
  EXPECT_EQ(unit.outcomes[0]->input_timestamp, 4);
  ledger.Committed(&unit);
  EXPECT_FALSE(NextUnit(ledger, &unit));  // And not after the minute.
  flusher.join();
  ledger.Close(PartitionSlot(0));
}

TEST_F(LedgerTest, FlushOfAllWaitsForWhatIsOpenAndCloseSaysWhatWasLeft) {
  Ledger ledger(Options(), clock_, chunks_);
  Open(ledger, 0, 1);
  const auto tickets = Read(ledger, 0, 0, 3);
  const std::vector<PartitionSlot> slots = {PartitionSlot(0)};
  constexpr auto kAll = Ledger::FlushUntil::kAllIsCommitted;
  std::thread commits([&] {
    SealedUnit unit;
    while (NextUnit(ledger, &unit)) ledger.Committed(&unit);
  });
  Finish(ledger, 0, tickets[0]);
  ledger.FlushAndWait(slots, SystemClock().Now() + Millis(20), kAll);
  EXPECT_EQ(ledger.Totals().in_flight_records, 2u) << "the deadline ends it";
  std::thread executor([&] {
    std::this_thread::sleep_for(Millis(20));
    Finish(ledger, 0, tickets[2]);
    Finish(ledger, 0, tickets[1]);
  });
  ledger.FlushAndWait(slots, SystemClock().Now() + Millis(60'000), kAll);
  EXPECT_EQ(ledger.Totals().in_flight_records, 0u);
  executor.join();
  Read(ledger, 0, 3, 2);
  EXPECT_EQ(ledger.Close(PartitionSlot(0)), 2u);
  EXPECT_EQ(ledger.Close(PartitionSlot(0)), 0u);
  ledger.StopCommits();
  commits.join();
}

// What the commit thread of the test below keeps, as a log would.
struct Kept {
  std::mutex mutex;
  std::map<int, std::set<std::int64_t>> committed;
  std::map<int, PartitionPosition> positions;
  std::map<std::pair<int, std::int64_t>, std::int64_t> last_of_key;
  std::string fault;

  void Commit(const SealedUnit& unit, std::int64_t keys) {
    const std::lock_guard lock(mutex);
    for (const Outcome* outcome : unit.outcomes) {
      const int slot = outcome->slot.value();
      const std::int64_t offset = outcome->input_timestamp;
      if (!committed[slot].insert(offset).second) fault = "twice: " + std::to_string(offset);
      std::int64_t& last = last_of_key[{slot, offset % keys}];
      if (offset < last) fault = "out of order: " + std::to_string(offset);
      last = offset;
    }
    for (const PartitionPosition& position : unit.positions) {
      positions[position.slot.value()] = position;
      const CommittedSet set{position.next, DecodeNote(position.next, position.note).value()};
      for (std::int64_t offset = 0; offset < position.next.value() + 100; ++offset) {
        const bool is = committed[position.slot.value()].contains(offset);
        if (set.Has(Offset(offset)) != is) fault = "not as told: " + std::to_string(offset);
      }
    }
  }
};

// Three threads, many partitions, failing commits, partitions that come and go: what commits is,
// for each partition, each offset once, those of a key in order, and as position and note say.
TEST_F(LedgerTest, RandomFailuresAndRebalancesCommitEachOffsetOnceInOrder) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  constexpr int kPartitions = 5;
  constexpr int kRounds = 3000;
  DeliveryOptions options = Options();
  options.max_unit_records = 37;
  options.commit_interval = Millis(20);
  Ledger ledger(options, clock_, chunks_);
  Kept kept;

  std::thread committer([&] {
    std::mt19937_64 random(seed + 1);
    SealedUnit unit;
    while (NextUnit(ledger, &unit)) {
      if (random() % 4 == 0) {
        ledger.Restore(&unit, {});
        continue;
      }
      kept.Commit(unit, static_cast<std::int64_t>(keys_.size()));
      ledger.Committed(&unit);
    }
  });

  std::mt19937_64 random(seed);
  std::vector<std::uint32_t> epochs(kPartitions, 0);
  std::vector<std::int64_t> next(kPartitions, 0);
  std::vector<std::pair<int, std::pair<Ledger::Ticket, std::int64_t>>> open;
  const auto finish = [&](std::size_t pick) {
    Finish(ledger, open[pick].first, open[pick].second.first, open[pick].second.second);
    open.erase(open.begin() + static_cast<std::ptrdiff_t>(pick));
  };
  for (int i = 0; i < kPartitions; ++i) Open(ledger, i, ++epochs[static_cast<std::size_t>(i)]);
  for (int round = 0; round < kRounds; ++round) {
    const int slot = static_cast<int>(random() % kPartitions);
    const auto index = static_cast<std::size_t>(slot);
    if (round % 200 == 199) {  // Revoke and assign again, from what is committed.
      const std::vector<PartitionSlot> slots = {PartitionSlot(slot)};
      ledger.FlushAndWait(slots, SystemClock().Now() + Millis(5'000));
      ledger.Close(PartitionSlot(slot));
      const std::lock_guard lock(kept.mutex);
      const PartitionPosition& at = kept.positions[slot];
      next[index] = at.next.value();
      Open(ledger, slot, ++epochs[index], at.next.value(), DecodeNote(at.next, at.note).value());
    }
    if (round % 10 == 0) clock_.Advance(Millis(20));
    const int count = 1 + static_cast<int>(random() % 5);
    const auto tickets = Read(ledger, slot, next[index], count);
    for (const Ledger::Ticket& ticket : tickets) {
      if (ticket.epoch != Ledger::kNoEpoch) open.push_back({slot, {ticket, next[index]}});
      ++next[index];
    }
    // The first ones stay longest, as a rule.
    while (open.size() > 20) finish(random() % 10 == 0 ? 0 : 5 + random() % (open.size() - 5));
  }
  while (!open.empty()) finish(0);
  EXPECT_TRUE(ledger.WaitDrained(SystemClock().Now() + Millis(20'000)));
  ledger.StopCommits();
  committer.join();
  EXPECT_EQ(kept.fault, "");
  for (int i = 0; i < kPartitions; ++i) {
    for (std::int64_t offset = 0; offset < next[static_cast<std::size_t>(i)]; ++offset) {
      EXPECT_TRUE(kept.committed[i].contains(offset)) << i << ':' << offset;
    }
  }
}

}  // namespace
}  // namespace millrace
