// Claims: with delivery.mode=at-most-once, moves the group's positions past records before they
// run.
//
// What is claimed is read by nobody again, so a crash leaves some requests without an outcome and
// gives none a second one. Invariants:
//   - a record is handed on only when the log has said that the position stands behind it;
//   - positions only grow, and nobody else moves them: units of work carry none in this mode;
//   - while the log does not take a claim its records stay in hand. The source's events are served
//     between two attempts, never during one: a partition that goes takes its records along, unrun;
//   - what stands in a position's note (committed there in another mode) stays in it until the
//     position has passed it.
//
// The intake thread's.
#pragma once

#include <atomic>
#include <utility>
#include <vector>

#include "base/status.h"
#include "pipeline/backoff.h"
#include "pipeline/model_progress.h"
#include "pipeline/position_note.h"
#include "telemetry/log.h"
#include "transport/committer.h"
#include "transport/source.h"

namespace millrace {

class Claims {
 public:
  // `progress`: null, or what every claim notes of the model events.
  Claims(const RetryOptions& retry, Source& source, Committer& committer,
         const ModelProgress* progress = nullptr)
      : source_(source), committer_(committer), progress_(progress), backoff_(retry) {}

  // `done`: what is committed beyond the partition's position.
  void Open(const PartitionAssignment& partition, std::vector<OffsetRange> done);
  void Close(PartitionSlot slot);

  // The log goes on at `position`; the next Take claims that, too. False while a batch is in hand,
  // whose records come first: tell it again after them (TakeAdvances).
  bool Advance(PartitionSlot slot, Offset position);
  struct Advanced {
    PartitionSlot slot;
    Offset position;
  };
  std::vector<Advanced> TakeAdvances() { return std::exchange(advances_, {}); }

  // Claims the records of `batch` for as long as it takes, and removes those that are not ours any
  // more; all that are not claimed once `stop` is set. `reachable` is false meanwhile. An error
  // ends the worker; then no record is left.
  Status Take(const std::atomic<bool>& stop, std::atomic<bool>* reachable, RecordBatch* batch);

 private:
  struct Part {
    bool ours = false;
    Epoch epoch;
    Offset claimed;                 // Everything below is.
    Offset wanted;                  // To be claimed next; at or above `claimed`.
    bool doubtful = false;          // The log may have a claim that it did not say it took.
    std::vector<OffsetRange> done;  // What is left of the note.
  };

  bool Want(const std::vector<Record>& records);
  bool FillPositions();
  void Claimed();
  Status Failed(const CommitResult& result);
  void PutDownUnclaimed(RecordBatch* batch);

  Source& source_;
  Committer& committer_;
  const ModelProgress* const progress_;
  Backoff backoff_;
  LogLimiter failed_log_{Millis(5'000)};
  std::vector<Part> parts_;  // By slot.
  std::vector<PartitionPosition> positions_;
  std::vector<Advanced> advances_;
  RecordBatch events_;  // Stays empty: for polls that only serve the source.
  bool in_hand_ = false;
};

}  // namespace millrace
