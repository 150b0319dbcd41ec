#include "pipeline/ledger.h"

#include <algorithm>

#include "base/check.h"
#include "pipeline/memory_plan.h"

namespace millrace {
namespace {

std::uint32_t InputBytes(const Record& record) {
  return static_cast<std::uint32_t>(record.key.size() + record.value.size() +
                                    record.headers.block().size());
}

}  // namespace

// A partition may hold half of what may be in flight: one that is stuck behind a slow request
// leaves the other half to the others.
Ledger::Ledger(const DeliveryOptions& options, const Clock& clock, OutcomeChunkPool& chunks,
               const LedgerMemory& memory, const ModelProgress* progress)
    : options_(WithByteLimits(options, MemoryOptions().budget)),
      memory_(memory),
      progress_(progress),
      // Half of what stops the intake: when it stops for outcomes, they are on their way already.
      heavy_bytes_(
          std::min(memory.max_bytes, static_cast<std::size_t>(options_.max_in_flight_bytes)) / 2),
      ready_limit_(std::max(kMaxReady, 2 * static_cast<std::size_t>(options_.max_unit_records))),
      partition_limit_(
          static_cast<std::size_t>(std::max<std::int64_t>(1, options.max_in_flight_records / 2))),
      clock_(clock),
      chunks_(chunks) {}

void Ledger::Open(const PartitionAssignment& assignment, std::vector<OffsetRange> done) {
  const std::lock_guard lock(mutex_);
  if (assignment.slot.index() >= partitions_.size()) {
    partitions_.resize(assignment.slot.index() + 1);
  }
  Partition& partition = partitions_[assignment.slot.index()];
  MILLRACE_CHECK(!partition.tracker.has_value());
  MILLRACE_CHECK(assignment.epoch > partition.epoch);
  partition.tracker.emplace(assignment.position, std::move(done));
  partition.epoch = assignment.epoch;
  partition.held = false;
  partition.loose = 0;
}

void Ledger::CountLocked(const Partition& partition, bool in) {
  const OffsetTracker& tracker = *partition.tracker;
  // Unsigned: taking away is adding what wraps around.
  const auto count = [in](std::size_t* total, std::size_t part) { *total += in ? part : -part; };
  count(&in_flight_, tracker.in_flight());
  count(&open_, tracker.open());
  count(&old_open_, tracker.old_open());
  count(&ready_, tracker.ready());
  count(&bytes_, tracker.bytes());
  count(&loose_, partition.loose);
  count(&late_, tracker.stuck() ? 0 : partition.loose);
}

std::size_t Ledger::Close(PartitionSlot slot) {
  std::unique_lock lock(mutex_);
  // The unit at hand borrows its outcomes: let it settle first.
  ++closing_;
  work_.notify_one();
  settled_.wait(lock, [this] { return sealed_ == 0; });
  --closing_;
  return CloseLocked(slot);
}

std::size_t Ledger::CloseLocked(PartitionSlot slot) {
  if (slot.index() >= partitions_.size()) return 0;
  Partition& partition = partitions_[slot.index()];
  if (!partition.tracker.has_value()) return 0;
  OffsetTracker& tracker = *partition.tracker;
  MILLRACE_CHECK(tracker.sealed() == 0);
  const std::size_t dropped = tracker.in_flight();
  CountLocked(partition, false);
  tracker.ForEachFinished([this](Outcome* outcome) { DropLocked(outcome->owner, 1); });
  partition.tracker.reset();
  room_.notify_all();
  work_.notify_all();
  settled_.notify_all();
  return dropped;
}

void Ledger::DropLocked(OutcomeChunk* chunk, std::size_t count) {
  MILLRACE_CHECK(chunk->live >= count);
  chunk->live -= count;
  if (chunk->live > 0) return;
  chunk_bytes_ -= chunk->counted;
  chunks_.Give(std::unique_ptr<OutcomeChunk>(chunk));
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
  const std::size_t requests = memory_.blocks == nullptr ? 0 : memory_.blocks->bytes_in_use();
  return in_flight_ < static_cast<std::size_t>(options_.max_in_flight_records) &&
         ready_ + sealed_ < ready_limit_ &&
         bytes_ < static_cast<std::size_t>(options_.max_in_flight_bytes) &&
         requests + chunk_bytes_ < memory_.max_bytes;
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
    const std::optional<OffsetTracker::Seq> seq = partition.tracker->Begin(
        record.offset, bytes, record.has_key ? KeyMark(record.key) : KeyMark());
    (*tickets)[i] = seq.has_value() ? Ticket{partition.epoch, *seq} : Ticket{kNoEpoch, 0};
    if (seq.has_value()) {
      ++in_flight_;
      ++open_;
      bytes_ += bytes;
    }
    const bool last_of_run = i + 1 == records.size() || records[i + 1].slot != record.slot;
    if (last_of_run) UpdateHoldsLocked(record.slot);
  }
}

void Ledger::UpdateHoldsLocked(PartitionSlot slot) {
  Partition& partition = partitions_[slot.index()];
  const OffsetTracker& tracker = *partition.tracker;
  const auto above = [&tracker](std::size_t records, std::size_t span) {
    // A prefix that moves will make room in its note by itself.
    const bool note_full = tracker.stuck() && tracker.note_full();
    return tracker.in_flight() >= records || tracker.span() >= span || note_full;
  };
  // Held at the limit, let go at half of it.
  const bool hold = partition.held ? above(partition_limit_ / 2 + 1, kMaxSpan / 2)
                                   : above(partition_limit_, kMaxSpan);
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
    owned->counted = owned->memory();
    chunk_bytes_ += owned->counted;
    std::size_t dropped = 0;
    const std::size_t ready_before = ready_;
    const bool first_of_unit = sealed_ + ready_ + loose_ == 0;
    for (std::size_t i = 0; i < owned->outcomes.size();) {  // Those of a partition come together.
      const Outcome& first = owned->outcomes[i];
      Partition* const partition = FindLocked(first.slot, first.epoch);
      if (partition != nullptr) CountLocked(*partition, false);
      for (; i < owned->outcomes.size(); ++i) {
        Outcome& outcome = owned->outcomes[i];
        if (outcome.slot != first.slot || outcome.epoch != first.epoch) break;
        outcome.owner = owned;
        if (partition == nullptr) {
          ++dropped;
          continue;
        }
        partition->tracker->Finish(outcome.seq, &outcome);
        ++partition->loose;
      }
      if (partition == nullptr) continue;
      // Some may have been in the prefix.
      const bool beyond = partition->tracker->goes_beyond();
      partition->loose = beyond ? std::min(partition->loose, partition->tracker->beyond()) : 0;
      CountLocked(*partition, true);
    }
    if (dropped > 0) DropLocked(owned, dropped);
    if (first_of_unit && ready_ + loose_ > 0) first_ready_at_ = clock_.Now();
    MonoTime ignored;
    // The first outcome starts a timer, the last one that is awaited shortens it.
    wake = first_of_unit || open_ == old_open_ ||
           (ready_before < kStepRecords && ready_ >= kStepRecords) ||
           DueLocked(first_ready_at_, &ignored);
  }
  if (wake) work_.notify_one();
}

// `now` earlier than the timer answers "is it due for another reason than time".
bool Ledger::DueLocked(MonoTime now, MonoTime* wake_at) const {
  *wake_at = MonoTime::max();
  const std::size_t in_unit = sealed_ + ready_ + loose_;
  if (in_unit == 0) return advanced_;
  if (stop_ || flushes_ > 0 || closing_ > 0 || full_) return true;
  if (in_unit >= static_cast<std::size_t>(options_.max_unit_records)) return true;
  if (HeavyLocked()) return true;
  const bool nothing_to_wait_for = open_ == old_open_;  // None open, or all of them stuck.
  *wake_at = nothing_to_wait_for
                 ? paced_until_
                 : std::max(paced_until_, first_ready_at_ + options_.commit_interval);
  return now >= *wake_at;
}

// The first step of a unit is small: it is what makes the log begin a transaction, and that takes
// its time.
bool Ledger::StepDueLocked(MonoTime now, MonoTime* wake_at) const {
  const std::size_t step = ready_ + loose_ - late_;
  if (step == 0 || (sealed_ > 0 && step < kStepRecords)) return false;
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
    if (now >= next_age_) AgeLocked(now);
    if (closing_ > 0 && sealed_ == 0) {  // Whoever closes goes first: no new unit before.
      work_.wait(lock);
    } else if (DueLocked(now, &wake_at)) {
      SealLocked(unit, true);
      FixPositionsLocked(unit);
      if (!unit->empty()) return Gathered::kDue;
      settled_.notify_all();  // There was less to do than it seemed.
    } else if (StepDueLocked(now, &wake_at)) {
      SealLocked(unit, false);
      if (!unit->newest().empty()) return Gathered::kMore;
    } else if (stop_) {
      return Gathered::kStopped;
    } else if (open_ > old_open_) {
      work_.wait_until(lock, std::min(wake_at, next_age_));
    } else if (wake_at == MonoTime::max()) {
      work_.wait(lock);
    } else {
      work_.wait_until(lock, wake_at);
    }
  }
}

// What is finished behind a record that is stuck is looked at from now on.
void Ledger::AgeLocked(MonoTime now) {
  next_age_ = now + std::max(options_.commit_interval, Millis(1));
  if (!options_.commit_beyond) return;
  const bool first_of_unit = sealed_ + ready_ + loose_ == 0;
  for (Partition& partition : partitions_) {
    if (!partition.tracker.has_value() || partition.tracker->open() == 0) continue;
    const bool went_beyond = partition.tracker->goes_beyond();
    CountLocked(partition, false);
    partition.tracker->Age();
    const bool beyond = partition.tracker->goes_beyond();
    if (beyond != went_beyond) partition.loose = beyond ? partition.tracker->beyond() : 0;
    CountLocked(partition, true);
  }
  if (first_of_unit && loose_ > 0) first_ready_at_ = now;
}

void Ledger::SealLocked(SealedUnit* unit, bool due) {
  const auto max_records = static_cast<std::size_t>(options_.max_unit_records);
  const auto max_bytes = static_cast<std::size_t>(options_.max_unit_bytes);
  const std::size_t count = partitions_.size();
  const std::size_t start = count == 0 ? 0 : first_to_seal_ % count;
  const std::size_t before = unit->outcomes.size();
  unit->last_step = before;
  full_ = false;
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t index = (start + i) % count;
    Partition& partition = partitions_[index];
    if (!partition.tracker.has_value()) continue;
    OffsetTracker& tracker = *partition.tracker;
    const auto room = [&] { return max_records - unit->outcomes.size(); };
    CountLocked(partition, false);
    std::size_t sealed = tracker.Seal(room(), max_bytes, &unit->bytes, &unit->outcomes);
    if (tracker.ready() > 0) {
      full_ = true;
    } else if (partition.loose > 0 && (due || tracker.stuck())) {
      sealed += tracker.SealBeyond(room(), max_bytes, &unit->bytes, &unit->outcomes);
      partition.loose = tracker.unit_full() ? tracker.beyond() : 0;
      full_ = full_ || tracker.unit_full();
    }
    CountLocked(partition, true);
    if (sealed > 0) first_to_seal_ = index + 1;
    UpdateHoldsLocked(PartitionSlot(static_cast<std::int32_t>(index)));
  }
  sealed_ += unit->outcomes.size() - before;
  for (std::size_t i = before; i < unit->outcomes.size(); ++i) {
    unit->outputs.push_back(&unit->outcomes[i]->record);
  }
}

void Ledger::FixPositionsLocked(SealedUnit* unit) {
  // Read after the outcomes were made: as far as any version that has made one of them.
  const std::int64_t events = progress_ == nullptr ? 0 : progress_->seen.load();
  for (std::size_t index = 0; index < partitions_.size(); ++index) {
    Partition& partition = partitions_[index];
    if (!partition.tracker.has_value() || !partition.tracker->dirty()) continue;
    PartitionPosition& position = unit->positions.emplace_back();
    position.slot = PartitionSlot(static_cast<std::int32_t>(index));
    position.epoch = partition.epoch;
    position.base = partition.tracker->committed_position();
    position.next = partition.tracker->FixPosition();
    position.note = partition.tracker->Note(events);
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
      CountLocked(*partition, false);
      partition->tracker->CommitSealed();
      CountLocked(*partition, true);
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
    CountLocked(*partition, false);
    partition->tracker->Unseal();
    if (partition->tracker->goes_beyond()) partition->loose = partition->tracker->beyond();
    CountLocked(*partition, true);
    if (!partition->tracker->dirty() || partition->tracker->ready() == 0) advanced_ = true;
  }
  BeginUnitLocked();
  for (const PartitionSlot slot : lost) CloseLocked(slot);
  settled_.notify_all();
}

void Ledger::FlushAndWait(std::span<const PartitionSlot> slots, MonoTime deadline,
                          FlushUntil until) {
  std::unique_lock lock(mutex_);
  ++flushes_;
  for (const PartitionSlot slot : slots) {  // What is finished out of order goes along.
    if (!options_.commit_beyond) break;
    if (slot.index() >= partitions_.size() || !partitions_[slot.index()].tracker) continue;
    Partition& partition = partitions_[slot.index()];
    CountLocked(partition, false);
    partition.loose = partition.tracker->beyond();
    CountLocked(partition, true);
  }
  work_.notify_all();
  const auto clean = [&] {
    return abandoned_ || std::all_of(slots.begin(), slots.end(), [&](PartitionSlot slot) {
             if (slot.index() >= partitions_.size()) return true;
             const auto& tracker = partitions_[slot.index()].tracker;
             if (until == FlushUntil::kAllIsCommitted) {
               return !tracker.has_value() || tracker->in_flight() == 0;
             }
             return !tracker.has_value() ||
                    (tracker->ready() == 0 && partitions_[slot.index()].loose == 0 &&
                     tracker->sealed() == 0);
           });
  };
  settled_.wait_until(lock, deadline, clean);
  --flushes_;
}

bool Ledger::WaitDrained(MonoTime deadline, std::size_t left) {
  std::unique_lock lock(mutex_);
  const auto drained = [this, left] { return in_flight_ <= left; };
  return settled_.wait_until(lock, deadline, [&] { return drained() || abandoned_; }) && drained();
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
  return LedgerTotals{in_flight_, bytes_, chunk_bytes_, ready_};
}

Offset Ledger::CommittedPosition(PartitionSlot slot) const {
  const std::lock_guard lock(mutex_);
  if (slot.index() >= partitions_.size() || !partitions_[slot.index()].tracker) return Offset(0);
  return partitions_[slot.index()].tracker->committed_position();
}

}  // namespace millrace
