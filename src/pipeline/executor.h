// Executor: one thread that takes batches, runs them and encodes their outcomes.
//
// A batch that fails is bisected until the failing rows stand alone: they become dead letters,
// their mates results, all in one chunk of outcomes. Some failures may pass: for want of memory, or
// while nothing of the model succeeds (Breaker). Those rows go back to the queue, up to
// retry.max_attempts runs each, and the model is paused. Rows whose deadline has passed are not
// run; they become dead letters of the same chunk. Each executor has its own Runner in each
// ServedModel, so nothing is shared while a batch runs.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "codec/outcome_encoder.h"
#include "pipeline/intake.h"
#include "pipeline/run_watch.h"
#include "runtime/engine.h"

namespace millrace {

class Executor {
 public:
  // `index`: of its runners in each ServedModel.
  Executor(WorkerParts& parts, std::size_t index);

  // Takes batches until the queue is stopped and empty. On the executor's thread.
  void Run();
  // Ends a run in progress; its batch and all later ones are dropped without outcomes. Call again
  // until Run has returned: a run that was just about to begin is missed. Any thread.
  void Abandon();
  // Ends a run that takes longer than its model allows; how much longer it has taken. Any thread.
  Nanos CheckRunTime(MonoTime now) { return watch_.Check(now); }

  // After so many runs of a batch that were stopped for their time, none having succeeded, the rest
  // is not tried: a model that hangs would take the limit for each of twice as many runs as rows.
  static constexpr int kMaxStoppedRuns = 3;

 private:
  struct Range {
    std::size_t first = 0;
    std::size_t count = 0;
    bool tried = false;  // It is a half of one that failed.
  };
  struct RowFailure {
    std::size_t row = 0;
    Status status;
  };

  void RunBatch(DispatchedBatch& batch);
  // Whether the model fails even with what it ran when it was loaded. Then it is paused, and the
  // whole batch goes back. REQUIRES: no row of the batch has a result.
  bool RefuseUnsound(ServedModel& model);
  // Runs the first `count` rows and encodes the results; failures_ has the rest.
  void RunRows(ServedModel& model, std::size_t count);
  // Of the first `count` rows.
  void AddRanges(const RowLayout& layout, std::size_t count);
  Status RunRange(ServedModel& model, Range range);
  // Of the first `run` rows moves those that are suspected of a crash to the end, each to be run
  // alone; how many run together.
  std::size_t SuspectsLast(std::size_t run);
  // The run, watched, and with its rows in the crash journal while it lasts. `stopped`: for its
  // time.
  Status RunJournaled(ServedModel& model, Runner& runner, Range range, bool* stopped);
  // What is left of the batch is not run: rows that were in a run share the fate of those that were
  // stopped; rows that were in none, as those of another shape, go back.
  void GiveUp(std::span<const Range> ranges, const Status& status);
  void NoteForShadow(const ServedModel& model, const RequestRow& row, const Outcome& outcome);
  // How many have a result; the others were too large.
  std::size_t EncodeResults(ServedModel& model, Range range);

  enum class Paused : std::uint8_t {
    kNo,       // Every failed row is answered.
    kPassing,  // Rows whose failure may pass go back.
    kWhole,    // Every failed row goes back.
  };
  // Tells the breaker how the batch ended. Answers the rows in failures_, or gives them back.
  void SettleFailures(ServedModel& model);
  // Whether the batch's failures call for a pause of the model, which is then begun.
  Paused PauseFor(ServedModel& model);
  std::optional<Breaker::Way> WayOfAll() const;
  void PauseAndTell(ServedModel& model, Nanos pause, const Status& status);
  void GiveBack(std::size_t index);

  void EncodeExpired(ServedModel& model, std::size_t first);
  void EncodeFailed(ServedModel& model, const RowFailure& failure);
  void EncodeDead(ServedModel& model, std::size_t index, const Failure& failure, Outcome* outcome);
  Outcome& NextOutcome(ServedModel& model, std::size_t index);
  void ObserveTimes(SeriesSlot model, MonoTime started, MonoTime done, std::size_t run);
  void ReleaseRows();

  WorkerParts& parts_;
  const std::size_t index_;
  std::unique_ptr<CrashJournal::Place> place_;  // Null without a journal.
  std::atomic<bool> abandoned_{false};
  RunWatch watch_;
  ResultEncoder encoder_;
  LogLimiter paused_log_{Millis(5'000)};

  // Of the batch in progress.
  DispatchedBatch batch_;
  std::vector<RequestRow*> rows_;     // Those to run, then those that expired; null: given back.
  std::vector<Range> ranges_;         // To be run, each once; halves join at the end.
  std::vector<RowFailure> failures_;  // Rows that failed alone.
  std::vector<RequestRow*> returned_;
  std::vector<ShadowRow> shadowed_;
  std::unique_ptr<OutcomeChunk> chunk_;
  std::size_t outcomes_ = 0;  // Of the chunk, in use.
  BatchTimes times_;
  bool gave_up_ = false;       // Some of failures_ were not tried alone.
  std::size_t succeeded_ = 0;  // Rows that ran.
  std::size_t results_ = 0;    // Of these, rows whose result could be encoded.
  Nanos elapsed_{0};
};

}  // namespace millrace
