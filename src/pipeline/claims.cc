#include "pipeline/claims.h"

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"

namespace millrace {
namespace {

constexpr PollLimits kOnlyEvents = {.max_records = 0, .max_bytes = 0, .max_wait = Millis(0)};

bool Passes(const Status& status) {
  return status.code() == StatusCode::kUnavailable ||
         status.code() == StatusCode::kResourceExhausted;
}

}  // namespace

void Claims::Open(const PartitionAssignment& partition, std::vector<OffsetRange> done) {
  const std::size_t index = partition.slot.index();
  if (index >= parts_.size()) parts_.resize(index + 1);
  MILLRACE_CHECK(!parts_[index].ours);
  parts_[index] =
      Part{true, partition.epoch, partition.position, partition.position, false, std::move(done)};
}

void Claims::Close(PartitionSlot slot) {
  if (slot.index() >= parts_.size()) return;
  parts_[slot.index()].ours = false;
  std::erase_if(advances_, [slot](const Advanced& one) { return one.slot == slot; });
}

bool Claims::Advance(PartitionSlot slot, Offset position) {
  if (in_hand_) {
    advances_.push_back({slot, position});
    return false;
  }
  Part& part = parts_.at(slot.index());
  part.wanted = std::max(part.wanted, position);
  return true;
}

Status Claims::Take(const std::atomic<bool>& stop, std::atomic<bool>* reachable,
                    RecordBatch* batch) {
  bool all_claimed = Want(batch->records);
  in_hand_ = true;
  Status status;
  bool again = true;
  while (again && FillPositions()) {
    const CommitResult result = committer_.Claim(positions_);
    if (result.outcome == CommitOutcome::kCommitted) {
      Claimed();
      continue;
    }
    all_claimed = false;
    reachable->store(false, std::memory_order_relaxed);
    status = Failed(result);
    if (!status.ok() || stop.load(std::memory_order_relaxed)) again = false;
    // Positions without records may wait for the next batch; a claim under way may not.
    if (batch->records.empty() && result.outcome != CommitOutcome::kUnknown) again = false;
  }
  in_hand_ = false;
  if (!all_claimed) PutDownUnclaimed(batch);
  if (!status.ok()) batch->records.clear();
  return status;
}

// False when there are records of partitions that are not ours.
bool Claims::Want(const std::vector<Record>& records) {
  bool all_ours = true;
  for (std::size_t i = 0; i < records.size(); ++i) {
    const bool last_of_run = i + 1 == records.size() || records[i + 1].slot != records[i].slot;
    if (!last_of_run) continue;
    Part& part = parts_.at(records[i].slot.index());
    part.wanted = std::max(part.wanted, Next(records[i].offset));
    all_ours = all_ours && part.ours;
  }
  return all_ours;
}

// False when there is nothing to claim.
bool Claims::FillPositions() {
  positions_.clear();
  const std::int64_t events = progress_ == nullptr ? 0 : progress_->seen.load();
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    Part& part = parts_[i];
    if (!part.ours || part.wanted <= part.claimed) continue;
    if (!part.done.empty()) {
      // A note begins behind its position: what the position would stand in is passed as a whole.
      for (const OffsetRange& range : part.done) {
        if (range.first <= part.wanted) part.wanted = std::max(part.wanted, range.end);
      }
      std::erase_if(part.done, [&](const OffsetRange& range) { return range.end <= part.wanted; });
    }
    PartitionPosition& position = positions_.emplace_back();
    position.slot = PartitionSlot(static_cast<std::int32_t>(i));
    position.epoch = part.epoch;
    position.base = part.claimed;
    position.next = part.wanted;
    position.note = EncodeNote(part.wanted, part.done, events);
  }
  return !positions_.empty();
}

void Claims::Claimed() {
  for (const PartitionPosition& position : positions_) {
    Part& part = parts_[position.slot.index()];
    part.claimed = position.next;
    part.doubtful = false;
  }
  backoff_.Reset();
  CrashPoint("claimed");
}

// After an attempt that did not succeed: what has to come before the next.
Status Claims::Failed(const CommitResult& result) {
  if (result.outcome == CommitOutcome::kFatal) return result.status;
  LogEvery(failed_log_, LogLevel::kWarn, "claim_failed",
           "records cannot be claimed, so they wait; trying again until the log takes the claim",
           {{"error", result.status}, {"partitions", positions_.size()}});
  const bool doubtful = result.outcome == CommitOutcome::kUnknown ||
                        (result.outcome == CommitOutcome::kRetry && !result.refused);
  if (doubtful) {
    for (const PartitionPosition& position : positions_) {
      parts_[position.slot.index()].doubtful = true;
    }
  }
  if (result.outcome == CommitOutcome::kUnknown) return Status::Ok();
  for (const PartitionSlot slot : result.lost) Close(slot);
  if (result.outcome == CommitOutcome::kRetry) std::this_thread::sleep_for(backoff_.Next());
  const Status served = source_.Poll(kOnlyEvents, &events_);
  return Passes(served) ? Status::Ok() : served;
}

void Claims::PutDownUnclaimed(RecordBatch* batch) {
  std::size_t doubtful = 0;
  const auto unclaimed = [&](const Record& record) {
    const Part& part = parts_[record.slot.index()];
    if (part.ours && record.offset < part.claimed) return false;
    if (part.doubtful) ++doubtful;
    return true;
  };
  const std::size_t records = std::erase_if(batch->records, unclaimed);
  if (records == 0) return;
  // Positions that they were to move stay where they are.
  for (Part& part : parts_) part.wanted = part.claimed;
  if (doubtful == 0) {
    LogEvent(LogLevel::kInfo, "claim_put_down",
             "records whose partition moved on, or this worker, before they were claimed are read "
             "again by whoever has it next",
             {{"records", records}});
    return;
  }
  LogEvent(LogLevel::kWarn, "claim_given_up",
           "records were put down before the log had said that it has their claim: those that it "
           "has stay without an outcome, the others are read again",
           {{"records", doubtful}});
}

}  // namespace millrace
