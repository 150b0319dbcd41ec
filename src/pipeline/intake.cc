#include "pipeline/intake.h"

#include <fmt/format.h>

#include <algorithm>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "pipeline/backoff.h"
#include "telemetry/log.h"

namespace millrace {

namespace {

// The deadline on the clock that the scheduler knows. Far ones count as none: they could not be
// told apart anyway, and the clocks' units differ by a million.
MonoTime DeadlineOf(const RequestBlock& block, const InferenceRequest& request) {
  constexpr WallMillis kFar = WallMillis{1000} * 86'400 * 365;
  WallMillis left = kFar;
  if (request.deadline != 0) left = request.deadline - block.polled_wall;
  if (request.timeout_ms != 0) left = std::min(left, request.timeout_ms);
  if (left >= kFar) return MonoTime::max();
  return block.polled_at + Millis(std::max<WallMillis>(left, 0));
}

}  // namespace

Intake::Intake(WorkerParts& parts, Source& source, Committer& committer)
    : parts_(parts), source_(source), decoder_(parts.limits), index_(parts.models) {
  if (parts.delivery.mode == DeliveryMode::kAtMostOnce) {
    claims_.emplace(parts.retry, source, committer,
                    parts.seeker == nullptr ? nullptr : &parts.seeker->progress());
  }
}

Status Intake::Start() { return source_.Start(this); }

void Intake::Stop() {
  stop_.store(true, std::memory_order_relaxed);
  source_.Wake();
}

Status Intake::Close() {
  stop_.store(true, std::memory_order_relaxed);
  leaving_ = true;
  return source_.Close();
}

Status Intake::Run() {
  Backoff backoff(parts_.retry);
  while (!stop_.load(std::memory_order_relaxed)) {
    const Status status = PollOnce();
    if (status.ok()) {
      backoff.Reset();
      reachable_.store(true, std::memory_order_relaxed);
      continue;
    }
    if (status.code() != StatusCode::kUnavailable &&
        status.code() != StatusCode::kResourceExhausted) {
      return status;
    }
    reachable_.store(false, std::memory_order_relaxed);
    LogEvery(unreachable_log_, LogLevel::kWarn, "source_unavailable",
             "the log cannot be read; polling again until it answers", {{"error", status}});
    std::this_thread::sleep_for(backoff.Next());
  }
  return Status::Ok();
}

Status Intake::PollOnce() {
  constexpr Millis kRoomWait{50};
  constexpr Millis kPollWait{100};
  ApplyHolds();
  if (!behind_.empty()) ResumeCaughtUp();
  ForgetAnsweredSuspects();
  TakeRoutes();
  std::size_t room = parts_.ledger.WaitForRoom(kRoomWait);
  if (room > 0) room = std::min(room, parts_.queue.WaitForRoom(kRoomWait));
  PollLimits limits;
  limits.max_records = std::min(room, kMaxPollRecords);
  limits.max_bytes = parts_.poll_bytes;
  limits.max_wait = room > 0 ? kPollWait : Millis(0);
  RequestBlock* const block = parts_.blocks.Take();
  Status status = source_.Poll(limits, &block->batch);
  if (!note_error_.ok()) status = note_error_;
  block->open_rows.store(1, std::memory_order_relaxed);  // The poll's own hold on the block.
  if (status.ok() && !block->batch.records.empty()) CrashPoint("after_poll");
  if (status.ok() && claims_) status = claims_->Take(stop_, &reachable_, &block->batch);
  // What was told to serve before a record was written serves it.
  TakeRoutes();
  if (status.ok() && !block->batch.records.empty()) Process(block);
  ApplyAdvances();
  parts_.blocks.Release(block, 1);
  return status;
}

// REQUIRES: no decoded row waits to be admitted.
void Intake::TakeRoutes() {
  const bool changed = index_.Refresh();
  if (changed) {
    last_route_ = nullptr;
    last_model_id_.clear();
  }
  if (!waiting_.empty()) SettleWaiting(changed);
}

void Intake::Process(RequestBlock* block) {
  const std::vector<Record>& records = block->batch.records;
  block->polled_at = parts_.clock.Now();
  block->polled_wall = parts_.clock.WallNow();
  block->rows.clear();
  block->rows.resize(records.size());
  block->open_rows.fetch_add(records.size(), std::memory_order_relaxed);
  parts_.ledger.Begin(records, &tickets_);
  admitted_.clear();
  most_dead_letters_ = records.size();
  std::size_t settled = 0;
  for (std::size_t i = 0; i < records.size(); ++i) {
    RequestRow& row = block->rows[i];
    row.block = block;
    row.record = &records[i];
    row.partition = partitions_[records[i].slot.index()];
    row.epoch = tickets_[i].epoch;
    row.seq = tickets_[i].seq;
    if (row.epoch == Ledger::kNoEpoch || Settle(block, i)) ++settled;
  }
  CrashPoint("after_decode");
  parts_.probe.OnPolled(records.size(), parts_.clock.Now() - block->polled_at);
  parts_.blocks.Count(block);
  Dispatch(block->polled_at);
  if (settled > 0) parts_.blocks.Release(block, settled);
}

bool Intake::Settle(RequestBlock* block, std::size_t i) {
  RequestRow& row = block->rows[i];
  if (const std::optional<Failure> failure = DecodeRow(block, i); failure.has_value()) {
    AddDeadLetter(row, *failure);
    return true;
  }
  if (row.model == kNoModel) {
    const bool asleep = last_route_ != nullptr && last_route_->asleep;
    const MonoTime until = asleep ? MonoTime::max() : block->polled_at + parts_.allow_missing_for;
    waiting_.push_back({block, i, until});
    waiting_until_ = std::min(waiting_until_, until);
    waiting_rows_.store(waiting_.size(), std::memory_order_relaxed);
    if (parts_.seeker != nullptr) parts_.seeker->Want(row.request.model_id, until);
  } else {
    admitted_.push_back(&row);
  }
  return false;
}

// Dead letters first: an admitted row may finish, and with it the block, before Admit returns.
void Intake::Dispatch(MonoTime now) {
  if (dead_letters_ != nullptr) parts_.ledger.Complete(std::move(dead_letters_));
  parts_.queue.Admit(admitted_, now);
}

void Intake::SettleWaiting(bool arrived) {
  const MonoTime now = parts_.clock.Now();
  if (!arrived && now < waiting_until_) return;
  std::vector<WaitingRow> rows = std::exchange(waiting_, {});
  waiting_until_ = MonoTime::max();
  admitted_.clear();
  most_dead_letters_ = rows.size();
  std::vector<RequestBlock*> settled;
  for (const WaitingRow& waiting : rows) {
    give_up_waiting_ = now >= waiting.until;
    if (Settle(waiting.block, waiting.row)) settled.push_back(waiting.block);
  }
  give_up_waiting_ = false;
  waiting_rows_.store(waiting_.size(), std::memory_order_relaxed);
  Dispatch(now);
  for (RequestBlock* block : settled) parts_.blocks.Release(block, 1);
}

std::optional<Failure> Intake::DecodeRow(RequestBlock* block, std::size_t i) {
  RequestRow& row = block->rows[i];
  const Record& record = *row.record;
  if (auto failure = decoder_.Begin(record, block->strings, &row.request)) return failure;
  if (auto failure = FindModel(record, row.request.model_id)) return failure;
  if (row_model_ == nullptr) return std::nullopt;
  auto failure = DecodeFor(*row_model_, block, row);
  const std::string_view version = row.request.model_version;
  if (!version.empty() && version != row_model_->ref().version) {
    block->inputs.Undo(row_model_->row_layout().bytes);
    const ServedModel* const named = last_route_->Named(version);
    if (named == nullptr) {
      return Failure{FailureReason::kUnknownModel,
                     fmt::format("model_version '{}' of model '{}' is not served; version '{}' is",
                                 version, last_model_id_, row_model_->ref().version)};
    }
    row_model_ = named;
    failure = DecodeFor(*named, block, row);
  }
  if (!failure.has_value() && parts_.journal != nullptr && parts_.journal->suspects() > 0) {
    failure = JudgeSuspect(*row_model_, row);
  }
  if (failure.has_value()) {
    block->inputs.Undo(row_model_->row_layout().bytes);
    return failure;
  }
  block->outcome_bytes += row_model_->outcome_size.bytes();
  row.model = row_model_->slot;
  row.shadowed = last_route_->shadowed && parts_.shadow != nullptr;
  row.priority = row.request.priority;
  row.deadline = DeadlineOf(*block, row.request);
  row.tenant = tenants_.Intern(row.request.tenant_id);
  parts_.probe.OnTenant(row.tenant, row.request.tenant_id);
  return std::nullopt;
}

std::optional<Failure> Intake::FindModel(const Record& record, std::string_view model_id) {
  if (last_route_ == nullptr || last_model_id_ != model_id) {
    last_route_ = index_.Find(model_id);
    last_model_id_ = model_id;
  }
  row_model_ = nullptr;
  if (last_route_ != nullptr) row_model_ = last_route_->Choose(record.key);
  if (row_model_ != nullptr) return std::nullopt;
  if (last_route_ != nullptr && last_route_->asleep && parts_.seeker != nullptr) {
    return std::nullopt;
  }
  const bool may_come = parts_.allow_missing_for > Millis(0) && !give_up_waiting_ &&
                        (last_route_ == nullptr || !last_route_->retired);
  if (may_come && IsValidModelId(model_id)) return std::nullopt;
  std::string detail;
  if (last_route_ != nullptr && !last_route_->absent.empty()) {
    detail = fmt::format("no version of model '{}' serves: {}", model_id, last_route_->absent);
  } else {
    detail = fmt::format(
        "model '{}' is not in the repository of this worker; see `millrace models list`", model_id);
  }
  if (give_up_waiting_) {
    detail += fmt::format("; it had not come after {} ms (repository.allow_missing_for)",
                          parts_.allow_missing_for.count());
  }
  return Failure{FailureReason::kUnknownModel, std::move(detail)};
}

// Takes memory for the row that Undo gives back.
std::optional<Failure> Intake::DecodeFor(const ServedModel& model, RequestBlock* block,
                                         RequestRow& row) {
  const RowLayout& layout = model.row_layout();
  row.input = block->inputs.Allocate(layout.bytes);
  return decoder_.Finish(*row.record, layout, block->strings, &row.request, row.input);
}

std::optional<Failure> Intake::JudgeSuspect(const ServedModel& model, RequestRow& row) const {
  const auto suspect =
      parts_.journal->Find({row.partition, row.record->offset, row.record->timestamp}, model.ref());
  if (!suspect.has_value()) return std::nullopt;
  if (suspect->crashes < CrashJournal::kDeadAfter) {
    row.suspect = static_cast<std::int32_t>(suspect->index);
    return std::nullopt;
  }
  return Failure{
      FailureReason::kModelCrash,
      fmt::format("model '{}:{}' crashed the worker {} times with this request, the last time by "
                  "{}: it is not run again",
                  model.ref().model_id, model.ref().version, suspect->crashes,
                  SignalName(suspect->signal))};
}

void Intake::ForgetAnsweredSuspects() {
  constexpr Millis kEvery{500};
  if (parts_.journal == nullptr || parts_.journal->suspects() == 0) return;
  const MonoTime now = parts_.clock.Now();
  if (now - suspects_checked_ < kEvery) return;
  suspects_checked_ = now;
  for (std::size_t i = 0; i < partitions_.size(); ++i) {
    if (partitions_[i] < 0) continue;
    const PartitionSlot slot(static_cast<PartitionSlot::rep>(i));
    parts_.journal->ForgetBefore(partitions_[i], parts_.ledger.CommittedPosition(slot));
  }
}

void Intake::AddDeadLetter(const RequestRow& row, const Failure& failure) {
  if (dead_letters_ == nullptr) {
    dead_letters_ = parts_.chunks.Take();
    dead_letters_->outcomes.reserve(most_dead_letters_);
  }
  Outcome& outcome = dead_letters_->outcomes.emplace_back();
  outcome.slot = row.record->slot;
  outcome.epoch = row.epoch;
  outcome.seq = row.seq;
  outcome.input_timestamp = row.record->timestamp;
  DeadLetterContext context;
  context.consumer_group = parts_.group;
  context.model_id = row.request.model_id;
  if (failure.reason == FailureReason::kModelCrash) {
    context.model_version = row_model_->ref().version;
  }
  context.tenant_id = row.request.tenant_id;
  context.now = row.block->polled_wall;
  const RecordOrigin origin{parts_.requests_topic, row.partition, row.record};
  EncodeDeadLetter(origin, failure, context, *dead_letters_, &outcome.record);
  const bool known = index_.Find(row.request.model_id) != nullptr;
  // What a version refused is counted as that version's.
  const bool refused = row_model_ != nullptr && row_model_->ref().model_id == row.request.model_id;
  parts_.probe.OnDeadLetter(failure.reason, known ? row.request.model_id : std::string_view(),
                            refused ? row_model_->series : Probe::kNoSeries);
}

void Intake::ApplyHolds() {
  parts_.ledger.TakeHoldChanges(&hold_changes_);
  for (const Ledger::HoldChange& change : hold_changes_) {
    source_.HoldDispatch(change.slot, change.hold);
  }
}

void Intake::ResumeCaughtUp() {
  const std::int64_t applied = parts_.seeker->progress().applied.load();
  const MonoTime now = parts_.clock.Now();
  std::erase_if(behind_, [&](const Behind& one) {
    if (applied < one.events && now < one.until) return false;
    if (applied < one.events) {
      LogEvent(LogLevel::kWarn, "models_behind",
               "a partition is served by models that are behind those of its last owner: the model "
               "events that it had seen were not here in time",
               {{"partition", partitions_[one.slot.index()]},
                {"events", one.events},
                {"applied", applied}});
    }
    source_.HoldDispatch(one.slot, false);
    return true;
  });
}

// Those that the source told while records before them were in hand.
void Intake::ApplyAdvances() {
  if (!claims_) return;
  for (const Claims::Advanced& one : claims_->TakeAdvances()) {
    OnPositionAdvanced(one.slot, one.position);
  }
}

void Intake::OnAssigned(std::span<const PartitionAssignment> partitions) {
  for (const PartitionAssignment& assignment : partitions) {
    if (assignment.slot.index() >= partitions_.size()) {
      partitions_.resize(assignment.slot.index() + 1, -1);
    }
    partitions_[assignment.slot.index()] = assignment.partition.partition;
    std::int64_t events = 0;
    auto done = DecodeNote(assignment.position, assignment.note, &events);
    if (!done.ok()) {  // Nothing is read of it: the next poll ends the worker.
      note_error_ = done.status().WithContext(
          fmt::format("{} partition {}", parts_.requests_topic, assignment.partition.partition));
    }
    if (parts_.journal != nullptr) {
      parts_.journal->ForgetBefore(assignment.partition.partition, assignment.position);
    }
    if (claims_) claims_->Open(assignment, done.ok() ? *done : std::vector<OffsetRange>());
    parts_.ledger.Open(assignment, done.ok() ? std::move(*done) : std::vector<OffsetRange>());
    if (parts_.seeker != nullptr && parts_.seeker->progress().applied.load() < events) {
      source_.HoldDispatch(assignment.slot, true);
      behind_.push_back({assignment.slot, events, parts_.clock.Now() + kModelsPatience});
    }
  }
  assigned_.fetch_add(partitions.size(), std::memory_order_relaxed);
  parts_.probe.OnRebalance(assigned_partitions());
  LogEvent(LogLevel::kInfo, "partitions_assigned", "partitions assigned",
           {{"count", std::to_string(partitions.size())},
            {"total", std::to_string(assigned_partitions())}});
}

void Intake::OnRevoked(std::span<const PartitionSlot> partitions) {
  const bool wait_for_all = claims_ && !leaving_;
  parts_.ledger.FlushAndWait(
      partitions, parts_.clock.Now() + kRevokeTimeout,
      wait_for_all ? Ledger::FlushUntil::kAllIsCommitted : Ledger::FlushUntil::kReadyIsCommitted);
  OnLost(partitions);
}

void Intake::OnLost(std::span<const PartitionSlot> partitions) {
  std::size_t dropped = 0;
  for (const PartitionSlot slot : partitions) {
    std::erase_if(behind_, [slot](const Behind& one) { return one.slot == slot; });
    dropped += parts_.ledger.Close(slot);
    if (claims_) claims_->Close(slot);
  }
  if (claims_ && dropped > 0) {
    parts_.probe.OnUnanswered(dropped);
    LogEvent(LogLevel::kWarn, "requests_unanswered",
             "partitions went before everything that was claimed of them had its outcome; with "
             "delivery.mode=at-most-once nobody runs it again",
             {{"records", dropped}});
  }
  assigned_.fetch_sub(partitions.size(), std::memory_order_relaxed);
  parts_.probe.OnRebalance(assigned_partitions());
}

void Intake::OnPositionAdvanced(PartitionSlot slot, Offset position) {
  if (claims_ && !claims_->Advance(slot, position)) return;
  parts_.ledger.Advance(slot, position);
}

}  // namespace millrace
