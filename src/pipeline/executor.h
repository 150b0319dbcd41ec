// Executor: one thread that takes batches, runs them and encodes their outcomes.
//
// A batch that fails as a whole is bisected until the failing rows stand alone: they become dead
// letters, their mates results, all in one chunk of outcomes. Rows whose deadline has passed are
// not run; they become dead letters of the same chunk. Each executor has its own Runner for each
// model, so nothing is shared while a batch runs.
#pragma once

#include <atomic>
#include <memory>
#include <span>
#include <vector>

#include "codec/outcome_encoder.h"
#include "pipeline/intake.h"
#include "runtime/engine.h"

namespace millrace {

class Executor {
 public:
  explicit Executor(WorkerParts& parts);

  // Makes a Runner for every model. Before Run, on any one thread.
  Status Prepare();
  // Takes batches until the queue is stopped and empty. On the executor's thread.
  void Run();
  // Ends a run in progress; its batch and all later ones are dropped without outcomes. Call again
  // until Run has returned: a run that was just about to begin is missed. Any thread.
  void Abandon();

 private:
  void RunBatch(FormedBatch& batch);
  // Of the first `run` rows moves those that are suspected of a crash to the end, each to be run
  // alone; how many run together.
  std::size_t SuspectsLast(std::size_t run);
  // Runs rows [first, first + count) together and encodes what comes of it; on failure halves.
  void RunRows(const ServedModel& model, std::size_t first, std::size_t count);
  // The run, with its rows in the crash journal while it lasts.
  Status RunJournaled(const ServedModel& model, Runner& runner, std::size_t first,
                      std::size_t count);
  void Gather(const ServedModel& model, std::size_t first, std::size_t count, std::byte* input);
  void EncodeResults(const ServedModel& model, std::size_t first, std::size_t count);
  void EncodeExpired(const ServedModel& model, std::size_t index);
  void EncodeDead(const ServedModel& model, std::size_t index, const Failure& failure);
  Outcome& PrepareOutcome(const ServedModel& model, std::size_t index);
  void ReleaseRows();

  WorkerParts& parts_;
  std::vector<std::unique_ptr<Runner>> runners_;  // By ModelSlot.
  std::unique_ptr<CrashJournal::Place> place_;    // Null without a journal.
  std::vector<CrashJournal::Model> journaled_;    // By ModelSlot; empty without a journal.
  std::atomic<bool> abandoned_{false};
  ResultEncoder encoder_;

  // Of the batch in progress.
  FormedBatch batch_;
  std::vector<RequestRow*> rows_;  // Those to run, then those that expired.
  std::unique_ptr<OutcomeChunk> chunk_;
  BatchTimes times_;
  std::size_t results_ = 0;
  Nanos elapsed_{0};
};

}  // namespace millrace
