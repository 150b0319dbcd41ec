#include "pipeline/executor.h"

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "base/crash_point.h"

namespace millrace {

Executor::Executor(WorkerParts& parts) : parts_(parts), encoder_(parts.limits) {}

Status Executor::Prepare() {
  for (const ServedModel& model : parts_.models.models()) {
    Result<std::unique_ptr<Runner>> runner = model.loaded->session->NewRunner();
    if (!runner.ok()) return runner.status().WithContext("model '" + model.ref().model_id + "'");
    runners_.push_back(std::move(runner).value());
    if (parts_.journal != nullptr) journaled_.push_back(CrashJournal::ModelOf(model.ref()));
  }
  return Status::Ok();
}

void Executor::Run() {
  if (parts_.journal != nullptr) place_ = parts_.journal->TakePlace();
  Nanos cpu{0};
  Nanos used = parts_.clock.ThreadCpu();
  while (parts_.queue.Take(&batch_, cpu, elapsed_)) {
    CrashPoint("batch_formed");
    RunBatch(batch_);
    const Nanos now = parts_.clock.ThreadCpu();
    cpu = now - used;
    used = now;
  }
  place_.reset();  // It belongs to this thread.
}

void Executor::Abandon() {
  abandoned_.store(true);
  for (const std::unique_ptr<Runner>& runner : runners_) runner->Terminate();
}

void Executor::RunBatch(FormedBatch& batch) {
  MILLRACE_CHECK(!batch.rows.empty() || !batch.expired.empty());
  const ServedModel& model = parts_.models.at(batch.model);
  const MonoTime started = parts_.clock.Now();
  rows_.clear();
  for (QueuedRow* row : batch.rows) rows_.push_back(static_cast<RequestRow*>(row));
  for (QueuedRow* row : batch.expired) rows_.push_back(static_cast<RequestRow*>(row));
  const std::size_t run = batch.rows.size();
  chunk_ = parts_.chunks.Take();
  chunk_->outcomes.resize(rows_.size());
  times_ = BatchTimes{};
  results_ = 0;
  const std::size_t together = SuspectsLast(run);
  if (together > 0) RunRows(model, 0, together);
  for (std::size_t i = together; i < run; ++i) RunRows(model, i, 1);
  for (std::size_t i = run; i < rows_.size(); ++i) EncodeExpired(model, i);
  CrashPoint("after_encode");
  if (abandoned_.load()) {  // Not every row has an outcome: none may count.
    ReleaseRows();
    parts_.chunks.Give(std::move(chunk_));
    return;
  }

  const MonoTime done = parts_.clock.Now();
  elapsed_ = done - started;
  for (std::size_t i = 0; i < run;) {  // Rows of one poll share their times.
    const RequestBlock* const block = rows_[i]->block;
    const std::size_t first = i;
    while (i < run && rows_[i]->block == block) ++i;
    parts_.probe.OnRowTimes(batch.model, started - rows_[first]->queued_at, done - block->polled_at,
                            i - first);
  }
  if (run > 0) parts_.probe.OnBatch(batch.model, batch.reason, run, times_);
  parts_.probe.OnResults(batch.model, results_);
  ReleaseRows();  // Encoded outcomes borrow nothing from their requests.
  parts_.ledger.Complete(std::move(chunk_));
}

void Executor::RunRows(const ServedModel& model, std::size_t first, std::size_t count) {
  if (abandoned_.load()) return;
  Runner& runner = *runners_[model.slot.index()];
  const MonoTime t0 = parts_.clock.Now();
  Gather(model, first, count, runner.Input());
  CrashPoint("before_run");
  const MonoTime t1 = parts_.clock.Now();
  const Status status = RunJournaled(model, runner, first, count);
  const MonoTime t2 = parts_.clock.Now();
  CrashPoint("after_run");
  times_.gather += t1 - t0;
  times_.run += t2 - t1;
  if (status.ok()) {
    encoder_.BeginBatch(model.ref(), runner.Outputs(), static_cast<std::int32_t>(count),
                        parts_.clock.WallNow());
    EncodeResults(model, first, count);
    times_.encode += parts_.clock.Now() - t2;
    return;
  }
  if (count == 1) {
    const FailureReason reason = status.code() == StatusCode::kDeadlineExceeded
                                     ? FailureReason::kInferenceTimeout
                                     : FailureReason::kInferenceError;
    EncodeDead(model, first, Failure{reason, std::string(status.message())});
    return;
  }
  const std::size_t half = count / 2;
  RunRows(model, first, half);
  RunRows(model, first + half, count - half);
}

std::size_t Executor::SuspectsLast(std::size_t run) {
  if (parts_.journal == nullptr || parts_.journal->suspects() == 0) return run;
  const auto begin = rows_.begin();
  const auto suspects = std::stable_partition(begin, begin + static_cast<std::ptrdiff_t>(run),
                                              [](RequestRow* row) { return row->suspect < 0; });
  return static_cast<std::size_t>(suspects - begin);
}

Status Executor::RunJournaled(const ServedModel& model, Runner& runner, std::size_t first,
                              std::size_t count) {
  if (place_ == nullptr) return runner.Run(count);
  CrashJournal::RowId* const ids = place_->rows();
  for (std::size_t i = 0; i < count; ++i) {
    const RequestRow& row = *rows_[first + i];
    ids[i] = {row.partition, row.record->offset, row.record->timestamp};
  }
  const std::int32_t suspect = rows_[first]->suspect;  // Then it is alone.
  const CrashJournal::Turn turn(*parts_.journal, suspect >= 0);
  place_->Enter(journaled_[model.slot.index()], count);
  Status status = runner.Run(count);
  place_->Leave();
  if (suspect >= 0 && !abandoned_.load()) {
    parts_.journal->Clear(static_cast<std::size_t>(suspect));
  }
  return status;
}

void Executor::Gather(const ServedModel& model, std::size_t first, std::size_t count,
                      std::byte* input) {
  const std::size_t bytes = model.row_layout().bytes;
  // Rows decoded one after another lie one after another when their size is a multiple of the
  // slab's alignment: copy such runs at once.
  for (std::size_t i = first; i < first + count;) {
    const std::byte* const from = rows_[i]->input;
    std::size_t run = 1;
    while (i + run < first + count && rows_[i + run]->input == from + run * bytes) ++run;
    std::memcpy(input + (i - first) * bytes, from, run * bytes);
    i += run;
  }
}

Outcome& Executor::PrepareOutcome(const ServedModel& model, std::size_t index) {
  const RequestRow& row = *rows_[index];
  Outcome& outcome = chunk_->outcomes[index];
  outcome.slot = row.record->slot;
  outcome.epoch = row.epoch;
  outcome.seq = row.seq;
  outcome.input_timestamp = row.record->timestamp;
  outcome.model = model.slot;
  return outcome;
}

void Executor::EncodeResults(const ServedModel& model, std::size_t first, std::size_t count) {
  const MonoTime now = parts_.clock.Now();
  for (std::size_t i = 0; i < count; ++i) {
    const RequestRow& row = *rows_[first + i];
    Outcome& outcome = PrepareOutcome(model, first + i);
    const auto latency = std::chrono::duration_cast<Micros>(now - row.block->polled_at);
    const RecordOrigin origin{parts_.requests_topic, row.partition, row.record};
    const std::optional<Failure> failure =
        encoder_.EncodeRow(row.request, origin, i, latency, *chunk_, &outcome.record);
    if (failure.has_value()) {
      EncodeDead(model, first + i, *failure);
    } else {
      ++results_;
    }
  }
}

void Executor::EncodeExpired(const ServedModel& model, std::size_t index) {
  const WallMillis deadline = rows_[index]->request.deadline;
  const WallMillis late = std::max<WallMillis>(0, parts_.clock.WallNow() - deadline);
  EncodeDead(model, index,
             Failure{FailureReason::kExpired, "the deadline, " + std::to_string(deadline) +
                                                  " in Unix milliseconds, had passed by " +
                                                  std::to_string(late) +
                                                  " ms when the request's turn came"});
}

void Executor::EncodeDead(const ServedModel& model, std::size_t index, const Failure& failure) {
  const RequestRow& row = *rows_[index];
  Outcome& outcome = PrepareOutcome(model, index);
  DeadLetterContext context;
  context.consumer_group = parts_.group;
  context.model_id = model.ref().model_id;
  context.model_version = model.ref().version;
  context.tenant_id = row.request.tenant_id;
  context.now = parts_.clock.WallNow();
  const RecordOrigin origin{parts_.requests_topic, row.partition, row.record};
  EncodeDeadLetter(origin, failure, context, *chunk_, &outcome.record);
  parts_.probe.OnDeadLetter(failure.reason, model.ref().model_id);
}

void Executor::ReleaseRows() {
  for (std::size_t i = 0; i < rows_.size();) {
    RequestBlock* const block = rows_[i]->block;
    const std::size_t first = i;
    while (i < rows_.size() && rows_[i]->block == block) ++i;
    parts_.blocks.Release(block, i - first);
  }
}

}  // namespace millrace
