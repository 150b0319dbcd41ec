#include "pipeline/executor.h"

#include <algorithm>
#include <functional>
#include <utility>

#include "base/check.h"
#include "base/crash_point.h"
#include "runtime/gather.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

// Of open inputs in one run: what a runner keeps from batch to batch.
constexpr std::size_t kMaxRangeBytes = std::size_t{16} << 20;

// How many times as long as the shortest row of a run its longest may be.
constexpr std::int64_t kMaxPadding = 2;

// What was lacking may be there at the next try.
bool MayPass(StatusCode code) {
  return code == StatusCode::kResourceExhausted || code == StatusCode::kUnavailable;
}

// What the inputs of a row take whose shape is its own; not 0.
std::size_t OpenBytes(const RowLayout& layout, const std::byte* row) {
  std::size_t bytes = 1;
  for (const InputLayout& input : layout.inputs) {
    if (input.dynamic) bytes += TensorAt(row, input).elements * ElementBytes(input.type);
  }
  return bytes;
}

// Less than, equal to or greater than 0, as `memcmp` has it.
int CompareShapes(const RowLayout& layout, const std::byte* a, const std::byte* b) {
  for (const InputLayout& input : layout.inputs) {
    if (!input.dynamic) continue;
    const std::int64_t* const left = TensorAt(a, input).shape;
    const std::int64_t* const right = TensorAt(b, input).shape;
    for (std::size_t dim = 0; dim < input.row_shape.size(); ++dim) {
      if (left[dim] != right[dim]) return left[dim] < right[dim] ? -1 : 1;
    }
  }
  return 0;
}

// Texts of one failure differ in the numbers of their rows.
Breaker::Way WayOf(const Status& status) {
  std::string text(StatusCodeName(status.code()));
  for (const char c : status.message()) {
    if (c < '0' || c > '9') text += c;
  }
  return std::hash<std::string>()(text);
}

// Whether `row` may run with `first`, which is not longer.
bool MayJoin(const RowLayout& layout, const std::byte* first, const std::byte* row) {
  if (!layout.mask.has_value()) return CompareShapes(layout, first, row) == 0;
  const InputLayout& mask = layout.inputs[*layout.mask];
  return TensorAt(row, mask).shape[0] <= kMaxPadding * TensorAt(first, mask).shape[0];
}

}  // namespace

Executor::Executor(WorkerParts& parts, std::size_t index)
    : parts_(parts), index_(index), encoder_(parts.limits) {}

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
  watch_.Terminate();
}

void Executor::RunBatch(DispatchedBatch& batch) {
  MILLRACE_CHECK(!batch.rows.empty() || !batch.expired.empty());
  ServedModel& model = parts_.models.at(batch.model);
  const MonoTime started = parts_.clock.Now();
  rows_.clear();
  for (QueuedRow* row : batch.rows) rows_.push_back(static_cast<RequestRow*>(row));
  for (QueuedRow* row : batch.expired) rows_.push_back(static_cast<RequestRow*>(row));
  const std::size_t run = batch.rows.size();
  chunk_ = parts_.chunks.Take();
  chunk_->outcomes.resize(rows_.size());
  outcomes_ = 0;
  times_ = BatchTimes{};
  succeeded_ = 0;
  results_ = 0;
  failures_.clear();
  gave_up_ = false;
  returned_.clear();
  if (run > 0 && (!batch.trial || !RefuseUnsound(model))) RunRows(model, run);
  if (abandoned_.load()) {  // Not every row has an outcome: none may count.
    ReleaseRows();
    parts_.chunks.Give(std::move(chunk_));
    return;
  }
  if (!failures_.empty() || parts_.queue.ailing(model.slot)) SettleFailures(model);
  if (run < rows_.size()) EncodeExpired(model, run);
  CrashPoint("after_encode");

  const MonoTime done = parts_.clock.Now();
  elapsed_ = done - started;
  ObserveTimes(model.series, started, done, run);
  if (run > 0) parts_.probe.OnBatch(model.series, batch.reason, run, times_);
  parts_.probe.OnResults(model.series, results_);
  ReleaseRows();  // Encoded outcomes borrow nothing from their requests.
  if (!returned_.empty()) {
    parts_.probe.OnReturned(model.series, returned_.size());
    parts_.queue.Return(returned_);
  }
  chunk_->outcomes.resize(outcomes_);
  if (outcomes_ == 0) {
    parts_.chunks.Give(std::move(chunk_));
  } else {
    parts_.ledger.Complete(std::move(chunk_));
  }
}

// Its rows' attempts do not count: they have no part in it.
bool Executor::RefuseUnsound(ServedModel& model) {
  const Result<Runner*> runner = model.RunnerOf(index_);
  Status status = runner.status();
  if (status.ok()) {
    watch_.Begin(*runner, parts_.clock.Now(), model.run_limit);
    status = TrySoundRow(*model.loaded, **runner);
    watch_.End();
    ++times_.runs;
    if (status.ok()) return false;
  }
  PauseAndTell(model, parts_.queue.Pause(model.slot), status);
  for (std::size_t i = 0; i < batch_.rows.size(); ++i) GiveBack(i);
  failures_.clear();
  return true;
}

void Executor::RunRows(ServedModel& model, std::size_t count) {
  ranges_.clear();
  const std::size_t together = SuspectsLast(count);
  AddRanges(model.row_layout(), together);
  for (std::size_t i = together; i < count; ++i) ranges_.push_back({i, 1});
  int stopped = 0;
  // Breadth first: whether anything of the model succeeds shows soonest.
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    if (abandoned_.load()) return;
    const Range range = ranges_[i];
    const Status status = RunRange(model, range);
    if (status.ok()) continue;
    if (range.count == 1) {
      failures_.push_back({range.first, status});
    } else {
      const std::size_t half = range.count / 2;
      ranges_.push_back({range.first, half, true});
      ranges_.push_back({range.first + half, range.count - half, true});
    }
    if (status.code() == StatusCode::kDeadlineExceeded && ++stopped >= kMaxStoppedRuns &&
        succeeded_ == 0) {
      GiveUp(std::span(ranges_).subspan(i + 1), status);
      return;
    }
  }
}

// Rows whose inputs differ in shape cannot run together, unless a mask tells the model what of them
// is padding: the batch is cut into those that can, and into pieces that need no more memory than a
// runner keeps.
void Executor::AddRanges(const RowLayout& layout, std::size_t count) {
  if (count == 0) return;
  if (!layout.dynamic) {
    ranges_.push_back({0, count});
    return;
  }
  std::stable_sort(rows_.begin(), rows_.begin() + static_cast<std::ptrdiff_t>(count),
                   [&layout](const RequestRow* a, const RequestRow* b) {
                     return CompareShapes(layout, a->input, b->input) < 0;
                   });
  for (std::size_t first = 0; first < count;) {
    std::size_t end = first + 1;
    for (; end < count; ++end) {
      const std::byte* const row = rows_[end]->input;
      const bool fits = (end + 1 - first) * OpenBytes(layout, row) <= kMaxRangeBytes;
      if (!fits || !MayJoin(layout, rows_[first]->input, row)) break;
    }
    ranges_.push_back({first, end - first});
    first = end;
  }
}

// Encodes what comes of it.
Status Executor::RunRange(ServedModel& model, Range range) {
  const Result<Runner*> found = model.RunnerOf(index_);
  if (!found.ok()) return found.status();
  Runner& runner = **found;
  const MonoTime t0 = parts_.clock.Now();
  RequestRow* const* const rows = &rows_[range.first];
  const auto row_at = [rows](std::size_t i) { return rows[i]->input; };
  MILLRACE_RETURN_IF_ERROR(GatherRows(model.row_layout(), range.count, row_at, runner));
  CrashPoint("before_run");
  const MonoTime t1 = parts_.clock.Now();
  bool stopped = false;
  Status status = RunJournaled(model, runner, range, &stopped);
  const MonoTime t2 = parts_.clock.Now();
  CrashPoint("after_run");
  times_.gather += t1 - t0;
  times_.run += t2 - t1;
  ++times_.runs;
  if (!status.ok()) {
    if (!stopped) return status;
    return {StatusCode::kDeadlineExceeded, std::string(status.message()) + " after " +
                                               std::to_string(model.run_limit.count()) +
                                               " ms (models." + model.ref().model_id + ".timeout)"};
  }
  succeeded_ += range.count;
  encoder_.BeginBatch(model.ref(), runner.Outputs(), static_cast<std::int32_t>(range.count),
                      parts_.clock.WallNow(), model.outputs.get());
  const std::size_t encoded = chunk_->bytes.size();
  results_ += EncodeResults(model, range);
  model.outcome_size.Learn((chunk_->bytes.size() - encoded) / range.count + sizeof(Outcome));
  runner.Done();
  times_.encode += parts_.clock.Now() - t2;
  return status;
}

std::size_t Executor::SuspectsLast(std::size_t run) {
  if (parts_.journal == nullptr || parts_.journal->suspects() == 0) return run;
  const auto begin = rows_.begin();
  const auto suspects = std::stable_partition(begin, begin + static_cast<std::ptrdiff_t>(run),
                                              [](RequestRow* row) { return row->suspect < 0; });
  return static_cast<std::size_t>(suspects - begin);
}

Status Executor::RunJournaled(ServedModel& model, Runner& runner, Range range, bool* stopped) {
  const std::int32_t suspect = rows_[range.first]->suspect;  // Then it is alone.
  std::optional<CrashJournal::Turn> turn;
  if (place_ != nullptr) {
    CrashJournal::RowId* const ids = place_->rows();
    for (std::size_t i = 0; i < range.count; ++i) {
      const RequestRow& row = *rows_[range.first + i];
      ids[i] = {row.partition, row.record->offset, row.record->timestamp};
    }
    turn.emplace(*parts_.journal, suspect >= 0);
  }
  watch_.Begin(&runner, parts_.clock.Now(), model.run_limit);
  if (place_ != nullptr) place_->Enter(model.journaled, range.count);
  Status status = runner.Run(range.count);
  if (place_ != nullptr) place_->Leave();
  *stopped = watch_.End();
  if (place_ != nullptr && suspect >= 0 && !abandoned_.load()) {
    parts_.journal->Clear(static_cast<std::size_t>(suspect));
  }
  return status;
}

void Executor::GiveUp(std::span<const Range> ranges, const Status& status) {
  for (const Range& range : ranges) {
    for (std::size_t i = range.first; i < range.first + range.count; ++i) {
      if (range.tried) {
        failures_.push_back({i, status});
      } else {
        GiveBack(i);
      }
    }
  }
  gave_up_ = true;
}

void Executor::SettleFailures(ServedModel& model) {
  if (succeeded_ > 0 && parts_.queue.OnResult(model.slot)) {
    parts_.probe.OnModelPaused(model.series, false);
    LogEvent(LogLevel::kInfo, "model_resumed", "the model runs again",
             {{"model", model.ref().model_id}, {"version", model.ref().version}});
  }
  const bool whole = succeeded_ == 0 && !failures_.empty();
  if (whole && !batch_.trial && !gave_up_ && RefuseUnsound(model)) return;
  const Paused paused = failures_.empty() ? Paused::kNo : PauseFor(model);
  for (const RowFailure& failure : failures_) {
    const bool may_pass =
        paused == Paused::kWhole || (paused == Paused::kPassing && MayPass(failure.status.code()));
    RequestRow& row = *rows_[failure.row];
    ++row.attempts;
    if (may_pass && row.attempts < parts_.retry.max_attempts) {
      GiveBack(failure.row);
    } else {
      EncodeFailed(model, failure);
    }
  }
}

Executor::Paused Executor::PauseFor(ServedModel& model) {
  const auto passing =
      std::find_if(failures_.begin(), failures_.end(),
                   [](const RowFailure& failure) { return MayPass(failure.status.code()); });
  if (passing != failures_.end() || gave_up_) {
    const bool whole = passing == failures_.end();
    const Status& status = whole ? failures_.front().status : passing->status;
    PauseAndTell(model, parts_.queue.Pause(model.slot), status);
    return whole ? Paused::kWhole : Paused::kPassing;
  }
  if (succeeded_ > 0) return Paused::kNo;
  const std::optional<Nanos> pause = parts_.queue.OnFailure(model.slot, WayOfAll());
  if (!pause.has_value()) return Paused::kNo;
  PauseAndTell(model, *pause, failures_.front().status);
  return Paused::kWhole;
}

// In which every row of the batch failed; nothing when they failed in different ways.
std::optional<Breaker::Way> Executor::WayOfAll() const {
  const Breaker::Way way = WayOf(failures_.front().status);
  for (const RowFailure& failure : failures_) {
    if (WayOf(failure.status) != way) return std::nullopt;
  }
  return way;
}

void Executor::PauseAndTell(ServedModel& model, Nanos pause, const Status& status) {
  parts_.probe.OnModelPaused(model.series, true);
  LogEvery(paused_log_, LogLevel::kError, "model_paused",
           "nothing of the model succeeds, or it lacks what may come back: its requests wait",
           {{"model", model.ref().model_id},
            {"version", model.ref().version},
            {"for_ms", std::chrono::duration_cast<Millis>(pause).count()},
            {"error", status}});
}

void Executor::GiveBack(std::size_t index) {
  returned_.push_back(rows_[index]);
  rows_[index] = nullptr;
}

Outcome& Executor::NextOutcome(ServedModel& model, std::size_t index) {
  const RequestRow& row = *rows_[index];
  Outcome& outcome = chunk_->outcomes[outcomes_++];
  outcome.slot = row.record->slot;
  outcome.epoch = row.epoch;
  outcome.seq = row.seq;
  outcome.input_timestamp = row.record->timestamp;
  outcome.model = model.series;
  return outcome;
}

std::size_t Executor::EncodeResults(ServedModel& model, Range range) {
  std::size_t results = 0;
  const MonoTime now = parts_.clock.Now();
  for (std::size_t i = 0; i < range.count; ++i) {
    const RequestRow& row = *rows_[range.first + i];
    Outcome& outcome = NextOutcome(model, range.first + i);
    const auto latency = std::chrono::duration_cast<Micros>(now - row.block->polled_at);
    const RecordOrigin origin{parts_.requests_topic, row.partition, row.record};
    const std::optional<Failure> failure =
        encoder_.EncodeRow(row.request, origin, i, latency, *chunk_, &outcome.record);
    if (failure.has_value()) {
      EncodeDead(model, range.first + i, *failure, &outcome);
    } else {
      ++results;
      if (row.shadowed) NoteForShadow(model, row, outcome);
    }
  }
  if (!shadowed_.empty()) parts_.shadow->Offer(std::exchange(shadowed_, {}));
  return results;
}

void Executor::NoteForShadow(const ServedModel& model, const RequestRow& row,
                             const Outcome& outcome) {
  const Record& record = *row.record;
  ShadowRow noted;
  noted.model_id = model.ref().model_id;
  noted.key = record.key;
  noted.has_key = record.has_key;
  noted.headers = record.headers.block();
  noted.value = record.value;
  noted.partition = row.partition;
  noted.offset = record.offset;
  noted.timestamp = record.timestamp;
  noted.result = outcome.record.Value();
  noted.version = model.ref().version;
  shadowed_.push_back(std::move(noted));
}

// Rows from `first` on.
void Executor::EncodeExpired(ServedModel& model, std::size_t first) {
  const WallMillis now = parts_.clock.WallNow();
  if (parts_.delivery.expired == ExpiredOutcome::kResult) {
    encoder_.BeginExpired(model.ref(), now);
    const Range expired{first, rows_.size() - first};
    parts_.probe.OnExpired(model.series, EncodeResults(model, expired));
    return;
  }
  for (std::size_t i = first; i < rows_.size(); ++i) {
    const WallMillis deadline = rows_[i]->request.deadline;
    const WallMillis late = std::max<WallMillis>(0, now - deadline);
    EncodeDead(model, i,
               Failure{FailureReason::kExpired, "the deadline, " + std::to_string(deadline) +
                                                    " in Unix milliseconds, had passed by " +
                                                    std::to_string(late) +
                                                    " ms when the request's turn came"},
               &NextOutcome(model, i));
  }
}

void Executor::EncodeFailed(ServedModel& model, const RowFailure& failure) {
  const FailureReason reason = failure.status.code() == StatusCode::kDeadlineExceeded
                                   ? FailureReason::kInferenceTimeout
                                   : FailureReason::kInferenceError;
  EncodeDead(model, failure.row, Failure{reason, std::string(failure.status.message())},
             &NextOutcome(model, failure.row));
}

void Executor::EncodeDead(ServedModel& model, std::size_t index, const Failure& failure,
                          Outcome* outcome) {
  const RequestRow& row = *rows_[index];
  DeadLetterContext context;
  context.consumer_group = parts_.group;
  context.model_id = model.ref().model_id;
  context.model_version = model.ref().version;
  context.tenant_id = row.request.tenant_id;
  context.attempts = std::max(1, row.attempts);
  context.now = parts_.clock.WallNow();
  const RecordOrigin origin{parts_.requests_topic, row.partition, row.record};
  EncodeDeadLetter(origin, failure, context, *chunk_, &outcome->record);
  parts_.probe.OnDeadLetter(failure.reason, model.ref().model_id, model.series);
}

// Rows of one poll share their times.
void Executor::ObserveTimes(SeriesSlot model, MonoTime started, MonoTime done, std::size_t run) {
  for (std::size_t i = 0; i < run;) {
    if (rows_[i] == nullptr) {
      ++i;
      continue;
    }
    const RequestBlock* const block = rows_[i]->block;
    const std::size_t first = i;
    while (i < run && rows_[i] != nullptr && rows_[i]->block == block) ++i;
    parts_.probe.OnRowTimes(model, started - rows_[first]->queued_at, done - block->polled_at,
                            i - first);
  }
}

void Executor::ReleaseRows() {
  for (std::size_t i = 0; i < rows_.size();) {
    if (rows_[i] == nullptr) {
      ++i;
      continue;
    }
    RequestBlock* const block = rows_[i]->block;
    const std::size_t first = i;
    while (i < rows_.size() && rows_[i] != nullptr && rows_[i]->block == block) ++i;
    parts_.blocks.Release(block, i - first);
  }
}

}  // namespace millrace
