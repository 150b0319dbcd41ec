#include "pipeline/ledger.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {
namespace {

std::uint32_t InputBytes(const Record& record) {
  return static_cast<std::uint32_t>(record.key.size() + record.value.size() +
                                    record.headers.block().size());
}

}  // namespace

// A partition may hold half of what may be in flight: one that is stuck behind a slow request
// leaves the other half to the others.
Ledger::Ledger(const DeliveryOptions& options, const Clock& clock, OutcomeChunkPool& chunks)
    : options_(options),
      partition_limit_(
          static_cast<std::size_t>(std::max<std::int64_t>(1, options.max_in_flight_records / 2))),
      clock_(clock),
      chunks_(chunks) {}

void Ledger::Open(const PartitionAssignment& assignment) {
  const std::lock_guard lock(mutex_);
  if (assignment.slot.index() >= partitions_.size()) {
    partitions_.resize(assignment.slot.index() + 1);
  }
  Partition& partition = partitions_[assignment.slot.index()];
  MILLRACE_CHECK(!partition.tracker.has_value());
  MILLRACE_CHECK(assignment.epoch > partition.epoch);
  partition.tracker.emplace(assignment.position);
  partition.epoch = assignment.epoch;
  partition.held = false;
}

void Ledger::Close(PartitionSlot slot) {
  std::unique_lock lock(mutex_);
  // The unit at hand borrows its outcomes: let it settle first.
  ++closing_;
  work_.notify_one();
  settled_.wait(lock, [this] { return sealed_ == 0; });
  --closing_;
  CloseLocked(slot);
}

void Ledger::CloseLocked(PartitionSlot slot) {
  if (slot.index() >= partitions_.size()) return;
  Partition& partition = partitions_[slot.index()];
  if (!partition.tracker.has_value()) return;
  OffsetTracker& tracker = *partition.tracker;
  MILLRACE_CHECK(tracker.sealed() == 0);
  in_flight_ -= tracker.in_flight();
  bytes_ -= tracker.bytes();
  ready_ -= tracker.ready();
  tracker.ForEachFinished([this](Outcome* outcome) { DropLocked(outcome->owner, 1); });
  partition.tracker.reset();
  room_.notify_all();
  work_.notify_all();
  settled_.notify_all();
}

void Ledger::DropLocked(OutcomeChunk* chunk, std::size_t count) {
  MILLRACE_CHECK(chunk->live >= count);
  chunk->live -= count;
  if (chunk->live == 0) chunks_.Give(std::unique_ptr<OutcomeChunk>(chunk));
}

Ledger::Partition* Ledger::FindLocked(PartitionSlot slot, Epoch epoch) {
  if (slot.index() >= partitions_.size()) return nullptr;
  Partition& partition = partitions_[slot.index()];
  return partition.tracker.has_value() && partition.epoch == epoch ? &partition : nullptr;
}

void Ledger::Advance(PartitionSlot slot, Offset position) {
  const std::lock_guard lock(mutex_);
  MILLRACE_CHECK(slot.index() < partitions_.size() && partitions_[slot.index()].tracker);
  partitions_[slot.index()].tracker->Advance(position);
  advanced_ = true;
  work_.notify_one();
}

bool Ledger::RoomLocked() const {
  return in_flight_ < static_cast<std::size_t>(options_.max_in_flight_records) &&
         bytes_ < static_cast<std::size_t>(options_.max_in_flight_bytes);
}

std::size_t Ledger::WaitForRoom(Millis max_wait) {
  std::unique_lock lock(mutex_);
  room_.wait_for(lock, max_wait, [this] { return RoomLocked() || stop_; });
  return RoomLocked() ? static_cast<std::size_t>(options_.max_in_flight_records) - in_flight_ : 0;
}

void Ledger::Begin(std::span<const Record> records, std::vector<Ticket>* tickets) {
  tickets->resize(records.size());
  const std::lock_guard lock(mutex_);
  for (std::size_t i = 0; i < records.size(); ++i) {
    const Record& record = records[i];
    MILLRACE_DCHECK(record.slot.index() < partitions_.size());
    Partition& partition = partitions_[record.slot.index()];
    if (!partition.tracker.has_value()) {
      (*tickets)[i] = Ticket{kNoEpoch, 0};
      continue;
    }
    const std::uint32_t bytes = InputBytes(record);
    (*tickets)[i] = Ticket{partition.epoch, partition.tracker->Begin(record.offset, bytes)};
    ++in_flight_;
    bytes_ += bytes;
    const bool last_of_run = i + 1 == records.size() || records[i + 1].slot != record.slot;
    if (last_of_run) UpdateHoldsLocked(record.slot);
  }
}

void Ledger::UpdateHoldsLocked(PartitionSlot slot) {
  Partition& partition = partitions_[slot.index()];
  const std::size_t in_flight = partition.tracker->in_flight();
  const bool hold =
      partition.held ? in_flight > partition_limit_ / 2 : in_flight >= partition_limit_;
  if (hold == partition.held) return;
  partition.held = hold;
  hold_changes_.push_back(HoldChange{slot, hold});
}

void Ledger::TakeHoldChanges(std::vector<HoldChange>* changes) {
  const std::lock_guard lock(mutex_);
  changes->swap(hold_changes_);
  hold_changes_.clear();
}

void Ledger::Complete(std::unique_ptr<OutcomeChunk> chunk) {
  if (chunk->outcomes.empty()) {
    chunks_.Give(std::move(chunk));
    return;
  }
  bool wake = false;
  {
    const std::lock_guard lock(mutex_);
    OutcomeChunk* const owned = chunk.release();
    owned->live = owned->outcomes.size();
    std::size_t dropped = 0;
    const std::size_t ready_before = ready_;
    const bool first_of_unit = sealed_ + ready_ == 0;
    for (Outcome& outcome : owned->outcomes) {
      outcome.owner = owned;
      Partition* const partition = FindLocked(outcome.slot, outcome.epoch);
      if (partition == nullptr) {
        ++dropped;
        continue;
      }
      OffsetTracker& tracker = *partition->tracker;
      const std::size_t tracker_ready = tracker.ready();
      const std::size_t tracker_bytes = tracker.bytes();
      tracker.Finish(outcome.seq, &outcome);
      ready_ += tracker.ready() - tracker_ready;
      bytes_ = bytes_ - tracker_bytes + tracker.bytes();
    }
    if (dropped > 0) DropLocked(owned, dropped);
    if (first_of_unit && ready_ > 0) first_ready_at_ = clock_.Now();
    MonoTime ignored;
    // The first outcome starts a timer, the last one that is awaited shortens it.
    wake = first_of_unit || sealed_ + ready_ == in_flight_ ||
           (ready_before < kStepRecords && ready_ >= kStepRecords) ||
           DueLocked(first_ready_at_, &ignored);
  }
  if (wake) work_.notify_one();
}

// `now` earlier than the timer answers "is it due for another reason than time".
bool Ledger::DueLocked(MonoTime now, MonoTime* wake_at) const {
  *wake_at = MonoTime::max();
  const std::size_t in_unit = sealed_ + ready_;
  if (in_unit == 0) return advanced_;
  if (stop_ || flushes_ > 0 || closing_ > 0 || full_) return true;
  if (in_unit >= static_cast<std::size_t>(options_.max_unit_records)) return true;
  if (bytes_ >= static_cast<std::size_t>(options_.max_in_flight_bytes)) return true;
  const bool nothing_to_wait_for = in_unit == in_flight_;
  *wake_at = nothing_to_wait_for
                 ? paced_until_
                 : std::max(paced_until_, first_ready_at_ + options_.commit_interval);
  return now >= *wake_at;
}

// The first step of a unit is small: it is what makes the log begin a transaction, and that takes
// its time.
bool Ledger::StepDueLocked(MonoTime now, MonoTime* wake_at) const {
  if (ready_ == 0 || (sealed_ > 0 && ready_ < kStepRecords)) return false;
  *wake_at = std::min(*wake_at, paced_until_);
  return now >= paced_until_;
}

Ledger::Gathered Ledger::Gather(SealedUnit* unit) {
  std::unique_lock lock(mutex_);
  if (sealed_ == 0) {
    unit->outcomes.clear();
    unit->outputs.clear();
    unit->bytes = 0;
  }
  unit->positions.clear();
  MILLRACE_CHECK(sealed_ == unit->outcomes.size());
  while (true) {
    MonoTime wake_at = MonoTime::max();
    const MonoTime now = clock_.Now();
    if (closing_ > 0 && sealed_ == 0) {  // Whoever closes goes first: no new unit before.
      work_.wait(lock);
    } else if (DueLocked(now, &wake_at)) {
      SealLocked(unit);
      FixPositionsLocked(unit);
      if (!unit->empty()) return Gathered::kDue;
    } else if (StepDueLocked(now, &wake_at)) {
      SealLocked(unit);
      return Gathered::kMore;
    } else if (stop_) {
      return Gathered::kStopped;
    } else if (wake_at == MonoTime::max()) {
      work_.wait(lock);
    } else {
      work_.wait_until(lock, wake_at);
    }
  }
}

void Ledger::SealLocked(SealedUnit* unit) {
  const auto max_records = static_cast<std::size_t>(options_.max_unit_records);
  const auto max_bytes = static_cast<std::size_t>(options_.max_unit_bytes);
  const std::size_t count = partitions_.size();
  const std::size_t start = count == 0 ? 0 : first_to_seal_ % count;
  const std::size_t before = unit->outcomes.size();
  unit->last_step = before;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = (start + i) % count;
    Partition& partition = partitions_[index];
    if (!partition.tracker.has_value()) continue;
    const std::size_t room = max_records - unit->outcomes.size();
    if (room == 0) break;
    const std::size_t sealed =
        partition.tracker->Seal(room, max_bytes, &unit->bytes, &unit->outcomes);
    if (sealed > 0) first_to_seal_ = index + 1;
  }
  const std::size_t sealed = unit->outcomes.size() - before;
  MILLRACE_CHECK(sealed <= ready_);
  sealed_ += sealed;
  ready_ -= sealed;
  full_ = ready_ > 0;
  for (std::size_t i = before; i < unit->outcomes.size(); ++i) {
    unit->outputs.push_back(&unit->outcomes[i]->record);
  }
}

void Ledger::FixPositionsLocked(SealedUnit* unit) {
  for (std::size_t index = 0; index < partitions_.size(); ++index) {
    Partition& partition = partitions_[index];
    if (!partition.tracker.has_value() || !partition.tracker->dirty()) continue;
    const Offset committed = partition.tracker->committed_position();
    unit->positions.push_back(PartitionPosition{PartitionSlot(static_cast<std::int32_t>(index)),
                                                partition.epoch, committed,
                                                partition.tracker->FixPosition()});
  }
  advanced_ = false;
}

// What is ready already begins the next unit now.
void Ledger::BeginUnitLocked() {
  sealed_ = 0;
  full_ = false;
  first_ready_at_ = clock_.Now();
  paced_until_ = first_ready_at_ + options_.min_commit_interval;
}

void Ledger::Committed(SealedUnit* unit) {
  {
    const std::lock_guard lock(mutex_);
    MILLRACE_CHECK(unit->outcomes.size() == sealed_);
    for (const PartitionPosition& position : unit->positions) {
      Partition* const partition = FindLocked(position.slot, position.epoch);
      MILLRACE_CHECK(partition != nullptr);
      OffsetTracker& tracker = *partition->tracker;
      const std::size_t before = tracker.bytes();
      in_flight_ -= tracker.sealed();
      tracker.CommitSealed();
      bytes_ = bytes_ - before + tracker.bytes();
      UpdateHoldsLocked(position.slot);
    }
    BeginUnitLocked();
    // Outcomes of one chunk stand together: one subtraction for each run of them.
    for (std::size_t i = 0; i < unit->outcomes.size();) {
      OutcomeChunk* const owner = unit->outcomes[i]->owner;
      const std::size_t first = i;
      while (i < unit->outcomes.size() && unit->outcomes[i]->owner == owner) ++i;
      DropLocked(owner, i - first);
    }
  }
  room_.notify_all();
  settled_.notify_all();
}

void Ledger::Restore(SealedUnit* unit, std::span<const PartitionSlot> lost) {
  const std::lock_guard lock(mutex_);
  MILLRACE_CHECK(unit->outcomes.size() == sealed_);
  for (const PartitionPosition& position : unit->positions) {
    Partition* const partition = FindLocked(position.slot, position.epoch);
    MILLRACE_CHECK(partition != nullptr);
    const std::size_t before = partition->tracker->ready();
    partition->tracker->Unseal();
    ready_ += partition->tracker->ready() - before;
    if (!partition->tracker->dirty() || partition->tracker->ready() == 0) advanced_ = true;
  }
  BeginUnitLocked();
  for (const PartitionSlot slot : lost) CloseLocked(slot);
  settled_.notify_all();
}

void Ledger::FlushAndWait(std::span<const PartitionSlot> slots, MonoTime deadline) {
  std::unique_lock lock(mutex_);
  ++flushes_;
  work_.notify_all();
  const auto clean = [&] {
    return abandoned_ || std::all_of(slots.begin(), slots.end(), [&](PartitionSlot slot) {
             if (slot.index() >= partitions_.size()) return true;
             const auto& tracker = partitions_[slot.index()].tracker;
             return !tracker.has_value() || (tracker->ready() == 0 && tracker->sealed() == 0);
           });
  };
  settled_.wait_until(lock, deadline, clean);
  --flushes_;
}

bool Ledger::WaitDrained(MonoTime deadline) {
  std::unique_lock lock(mutex_);
  return settled_.wait_until(lock, deadline, [this] { return in_flight_ == 0 || abandoned_; }) &&
         in_flight_ == 0;
}

void Ledger::Abandon() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  abandoned_ = true;
  room_.notify_all();
  settled_.notify_all();
}

void Ledger::StopCommits() {
  const std::lock_guard lock(mutex_);
  stop_ = true;
  work_.notify_all();
  room_.notify_all();
}

bool Ledger::CloseWaits() const {
  const std::lock_guard lock(mutex_);
  return closing_ > 0;
}

LedgerTotals Ledger::Totals() const {
  const std::lock_guard lock(mutex_);
  return LedgerTotals{in_flight_, bytes_, ready_};
}

Offset Ledger::CommittedPosition(PartitionSlot slot) const {
  const std::lock_guard lock(mutex_);
  if (slot.index() >= partitions_.size() || !partitions_[slot.index()].tracker) return Offset(0);
  return partitions_[slot.index()].tracker->committed_position();
}

}  // namespace millrace
