#include "pipeline/replay/replay_job.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "base/settings.h"

namespace millrace {
namespace {

constexpr PollLimits kPollLimits = {
    .max_records = 4096, .max_bytes = 4 << 20, .max_wait = Millis(100)};
constexpr PollLimits kOnlyEvents = {.max_records = 0, .max_bytes = 0, .max_wait = Millis(0)};
// Between two looks at the rate: short enough for a steady stream, long enough for real units.
constexpr Millis kRatePause{100};
constexpr Millis kAskEvery{2'000};

}  // namespace

ReplayJob::ReplayJob(WorkerLog worker, ReplayJobOptions options, Choose choose)
    : worker_(std::move(worker)),
      options_(std::move(options)),
      choose_(std::move(choose)),
      clock_(options_.clock != nullptr ? *options_.clock : SystemClock()),
      backoff_(options_.retry) {
  MILLRACE_CHECK(worker_.source != nullptr && worker_.committer != nullptr);
}

// The committer goes first, with what it borrowed; closing the source then calls this listener.
ReplayJob::~ReplayJob() {
  worker_.committer.reset();
  worker_.source.reset();
}

Status ReplayJob::Run(const GoOn& go_on) {
  CrashPoint("replay_start");
  last_progress_ = allowance_at_ = Now();
  MILLRACE_RETURN_IF_ERROR(worker_.source->Start(this));
  Status status;
  bool wanted = true;
  while (status.ok() && wanted && !Done()) {
    wanted = go_on(totals_);
    if (wanted) status = Step(go_on);
  }
  if (status.ok() && Moved()) status = CommitUnit([](const ReplayTotals&) { return false; });
  finished_ = status.ok() && Done();
  if (finished_) CrashPoint("replay_end");
  const Status closed = worker_.source->Close();
  return status.ok() ? closed : status;
}

// Looks at what was read as far as the unit and the rate allow; reads on; commits when it is time.
Status ReplayJob::Step(const GoOn& go_on) {
  while (cursor_ < batch_.records.size() && !UnitIsFull() && RateAllows()) {
    TakeRecord(batch_.records[cursor_++]);
  }
  const bool read_all = cursor_ == batch_.records.size();
  if (!read_all) {
    MILLRACE_RETURN_IF_ERROR(Moved() ? CommitUnit(go_on) : Status::Ok());
    if (RateAllows()) return Status::Ok();
    std::this_thread::sleep_for(kRatePause);
    last_progress_ = Now();
    return worker_.source->Poll(kOnlyEvents, &events_);
  }
  for (Part& part : parts_) part.next = std::max(part.next, std::min(part.advanced, part.end));
  const bool commits = Moved() && (options_.rate > 0 || UnitIsFull());
  if (commits) MILLRACE_RETURN_IF_ERROR(CommitUnit(go_on));
  if (Done()) return Status::Ok();
  MILLRACE_RETURN_IF_ERROR(Poll());
  if (!batch_.records.empty()) return Status::Ok();
  if (Moved()) return CommitUnit(go_on);
  return AskForOthers();
}

Status ReplayJob::Poll() {
  cursor_ = 0;
  batch_.Clear();
  PollLimits limits = kPollLimits;
  if (Moved()) limits.max_wait = Millis(0);
  Status status = worker_.source->Poll(limits, &batch_);
  if (!batch_.records.empty()) {
    last_progress_ = Now();
    CrashPoint("replay_middle");
  }
  if (status.ok()) backoff_.Reset();
  const bool passes = status.code() == StatusCode::kUnavailable;
  if (status.ok() || !passes) return status;
  if (Now() - last_progress_ > options_.patience) return status;
  std::this_thread::sleep_for(backoff_.Next());
  return Status::Ok();
}

void ReplayJob::TakeRecord(const Record& record) {
  Part& part = At(record.slot);
  if (!part.ours || record.offset < part.next) return;
  if (record.offset >= part.end) {
    part.next = std::max(part.next, part.end);
    return;
  }
  ++totals_.looked_at;
  ++unit_looked_at_;
  OutputRecord out;
  switch (choose_(record, part.partition, chunk_, &out)) {
    case ReplayChoice::kStop:
      part.end = std::max(part.next, part.base);
      SettleAtEnd(part);
      return;
    case ReplayChoice::kSkip:
      break;
    case ReplayChoice::kCopy:
      MILLRACE_CHECK(out.topic == OutputTopic::kResults && out.chunk == &chunk_);
      if (worker_.max_result_bytes > 0 && out.bytes() > worker_.max_result_bytes) {
        ++totals_.too_large;
        break;
      }
      copies_.push_back({out, record.slot, part.epoch});
      allowance_ -= 1;
      break;
  }
  part.next = Next(record.offset);
}

bool ReplayJob::UnitIsFull() const {
  return copies_.size() >= kMaxUnitRecords || chunk_.bytes.size() >= kMaxUnitBytes ||
         unit_looked_at_ >= kMaxUnitLookedAt;
}

bool ReplayJob::Moved() const {
  return std::any_of(parts_.begin(), parts_.end(),
                     [](const Part& part) { return part.ours && part.next > part.base; });
}

bool ReplayJob::RateAllows() {
  if (options_.rate <= 0) return true;
  const MonoTime now = Now();
  const double burst =
      std::max(1.0, options_.rate * std::chrono::duration<double>(kMaxBurst).count());
  const double earned = std::chrono::duration<double>(now - allowance_at_).count() * options_.rate;
  allowance_ = std::min(burst, allowance_ + earned);
  allowance_at_ = now;
  return allowance_ >= 1;
}

// --- Commits ------------------------------------------------------------------------------------

// What of the unit is still ours.
void ReplayJob::FillUnit() {
  outputs_.clear();
  positions_.clear();
  for (const Copy& copy : copies_) {
    const Part& part = At(copy.slot);
    if (part.ours && part.epoch == copy.epoch) outputs_.push_back(&copy.record);
  }
  for (std::size_t i = 0; i < parts_.size(); ++i) {
    const Part& part = parts_[i];
    if (!part.ours || part.next <= part.base) continue;
    positions_.push_back(
        {PartitionSlot(static_cast<std::int32_t>(i)), part.epoch, part.base, part.next});
  }
}

Status ReplayJob::CommitUnit(const GoOn& go_on) {
  CommitOutcome last = CommitOutcome::kRetry;
  const MonoTime first = Now();
  while (true) {
    // One whose fate is not known has to be asked for again as it is.
    if (last != CommitOutcome::kUnknown) FillUnit();
    if (positions_.empty()) break;
    const CommitResult result =
        worker_.committer->Commit({.outputs = outputs_, .positions = positions_});
    last = result.outcome;
    if (last == CommitOutcome::kCommitted) {
      Committed();
      break;
    }
    if (last == CommitOutcome::kFatal) return result.status;
    if (last == CommitOutcome::kLost && !result.lost.empty()) {
      for (const PartitionSlot slot : result.lost) Drop(slot);
      continue;
    }
    const bool patient = Now() - first <= options_.patience;
    if (!patient || !go_on(totals_)) return result.status.WithContext("committing the replay");
    std::this_thread::sleep_for(backoff_.Next());
    // A member that was away has to hear of it, or its commits would be refused for ever.
    Status events = worker_.source->Poll(kOnlyEvents, &events_);
    if (!events.ok() && events.code() != StatusCode::kUnavailable) return events;
  }
  copies_.clear();
  chunk_.bytes.Clear();
  unit_looked_at_ = 0;
  backoff_.Reset();
  return Status::Ok();
}

void ReplayJob::Committed() {
  totals_.copied += static_cast<std::int64_t>(outputs_.size());
  for (const PartitionPosition& position : positions_) {
    Part& part = At(position.slot);
    if (part.epoch != position.epoch) continue;
    part.base = position.next;
    SettleAtEnd(part);
  }
  last_progress_ = Now();
}

void ReplayJob::SettleAtEnd(const Part& part) {
  if (part.base >= part.end) settled_.insert(part.partition);
}

// --- Partitions that come and go ----------------------------------------------------------------

ReplayJob::Part& ReplayJob::At(PartitionSlot slot) {
  MILLRACE_CHECK(slot.value() >= 0);
  if (slot.index() >= parts_.size()) parts_.resize(slot.index() + 1);
  return parts_[slot.index()];
}

void ReplayJob::OnAssigned(std::span<const PartitionAssignment> partitions) {
  for (const PartitionAssignment& assigned : partitions) {
    ForgetRead(assigned.slot);
    const auto end = options_.ends.find(assigned.partition.partition);
    Part part;
    part.ours = true;
    part.partition = assigned.partition.partition;
    part.epoch = assigned.epoch;
    part.base = part.next = part.advanced = assigned.position;
    // A partition that was made since the ends were taken is another run's.
    part.end = end == options_.ends.end() ? assigned.position : end->second;
    SettleAtEnd(part);
    At(assigned.slot) = part;
  }
  last_progress_ = Now();
}

void ReplayJob::OnRevoked(std::span<const PartitionSlot> partitions) {
  for (const PartitionSlot slot : partitions) Drop(slot);
}

void ReplayJob::OnLost(std::span<const PartitionSlot> partitions) { OnRevoked(partitions); }

void ReplayJob::OnPositionAdvanced(PartitionSlot slot, Offset position) {
  Part& part = At(slot);
  part.advanced = std::max(part.advanced, position);
}

// Its uncommitted work is the next owner's, which begins at the same committed position.
void ReplayJob::Drop(PartitionSlot slot) {
  ForgetRead(slot);
  At(slot).ours = false;
}

void ReplayJob::ForgetRead(PartitionSlot slot) {
  const auto begin = batch_.records.begin() +
                     static_cast<std::ptrdiff_t>(std::min(cursor_, batch_.records.size()));
  batch_.records.erase(std::remove_if(begin, batch_.records.end(),
                                      [slot](const Record& record) { return record.slot == slot; }),
                       batch_.records.end());
}

// --- The end ------------------------------------------------------------------------------------

bool ReplayJob::Done() const {
  return std::all_of(options_.ends.begin(), options_.ends.end(), [this](const auto& entry) {
    return entry.second <= Offset(0) || settled_.contains(entry.first);
  });
}

// Nothing to read. Partitions that are not settled are with another run, or not handed out yet.
Status ReplayJob::AskForOthers() {
  if (Now() - asked_at_ < kAskEvery || !options_.committed) return Status::Ok();
  asked_at_ = Now();
  const auto committed = options_.committed();
  if (committed.ok()) {
    for (const auto& [partition, position] : *committed) {
      const auto end = options_.ends.find(partition);
      if (end != options_.ends.end() && position >= end->second) settled_.insert(partition);
    }
  }
  if (Now() - last_progress_ <= options_.patience) return Status::Ok();
  return {StatusCode::kUnavailable,
          fmt::format("nothing came for {}: another run of this replay may hold partitions, or the "
                      "group still waits for one that died; run it again",
                      FormatDuration(options_.patience))};
}

}  // namespace millrace
