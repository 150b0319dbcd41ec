// Ledger: the state of every partition of this worker, and the only maker of units of work.
//
// It knows what was read (Begin), what has its outcome (Complete), and hands the commit thread
// units of work: the outcomes of each partition's contiguous done-prefix with the position after
// them. A unit grows step by step (Gather), so that its first outcomes are on their way while the
// last ones are made. A unit that commits becomes history; one that does not goes back, to be
// sealed again with no new inference. Work of an older epoch is dropped on arrival.
//
// A partition whose first open record stays the same for a commit_interval is stuck, and one with
// outcomes that the prefix has not reached for that long is overtaken: nothing waits for those
// records any more, and what is finished behind them joins units too, its offsets listed in the
// position's note.
//
// It also bounds what is in flight: records, their bytes and the memory that they really hold, over
// all partitions, and records per partition, so that one slow request stops its own partition
// before it stops the worker. Outcomes that only wait for their commit have a bound of their own,
// or a slow log would let them take all the room. The memory is that of the request blocks in use,
// which the intake's pool counts, and of the chunks with outcomes that are not committed, counted
// here once per chunk.
//
// Thread-safe: intake, executors and the commit thread share it, each once per batch of records.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <optional>
#include <span>
#include <vector>

#include "base/clock.h"
#include "pipeline/model_progress.h"
#include "pipeline/offset_tracker.h"
#include "pipeline/options.h"
#include "pipeline/outcome.h"
#include "pipeline/request_block.h"
#include "transport/committer.h"
#include "transport/source.h"
#include "types/record.h"

namespace millrace {

// A unit of work, in the making or complete, with what the ledger needs to settle it. One at a
// time, reused.
struct SealedUnit {
  std::vector<const Outcome*> outcomes;
  std::vector<const OutputRecord*> outputs;  // The same, as the committer wants them.
  std::vector<PartitionPosition> positions;  // Once it is complete.
  std::size_t bytes = 0;
  std::size_t last_step = 0;  // Where in `outputs` the last Gather began.

  UnitOfWork view() const { return UnitOfWork{outputs, positions}; }
  std::span<const OutputRecord* const> newest() const {
    return std::span(outputs).subspan(last_step);
  }
  bool empty() const { return positions.empty(); }
};

// What bounds the memory of work in flight.
struct LedgerMemory {
  const RequestBlockPool* blocks = nullptr;  // Null: requests hold nothing.
  std::size_t max_bytes = SIZE_MAX;
};

struct LedgerTotals {
  std::size_t in_flight_records = 0;
  std::size_t in_flight_bytes = 0;
  std::size_t outcome_memory = 0;  // Of chunks with an outcome that is not committed.
  std::size_t ready_records = 0;
};

class Ledger {
 public:
  // `clock`, `chunks` and the pool of `memory` must outlive the ledger. Limits in bytes that are 0
  // are those of the default budget. `progress` outlives it too; null: no events lead the models.
  Ledger(const DeliveryOptions& options, const Clock& clock, OutcomeChunkPool& chunks,
         const LedgerMemory& memory = {}, const ModelProgress* progress = nullptr);

  // --- Intake thread ---
  // `done`: what is committed beyond the partition's position.
  void Open(const PartitionAssignment& partition, std::vector<OffsetRange> done = {});
  // Drops everything of the partition that is not committed, and says how many records that were;
  // late outcomes are dropped on arrival.
  std::size_t Close(PartitionSlot slot);
  // Waits until what the partitions' prefixes cover is committed, or all that was read of them, or
  // the deadline. For a revoke.
  enum class FlushUntil { kReadyIsCommitted, kAllIsCommitted };
  void FlushAndWait(std::span<const PartitionSlot> slots, MonoTime deadline,
                    FlushUntil until = FlushUntil::kReadyIsCommitted);
  void Advance(PartitionSlot slot, Offset position);

  // How many records may be begun now: waits up to `max_wait` for room for at least one.
  std::size_t WaitForRoom(Millis max_wait);

  struct Ticket {
    Epoch epoch;
    std::uint64_t seq = 0;
  };
  // Epoch of a ticket for a record to drop: its partition is not ours any more, or it is done.
  static constexpr Epoch kNoEpoch{0};
  // Registers polled records; tickets[i] belongs to records[i].
  void Begin(std::span<const Record> records, std::vector<Ticket>* tickets);
  // Partitions to hold or resume since the last call, as bounds were reached or left.
  struct HoldChange {
    PartitionSlot slot;
    bool hold = false;
  };
  void TakeHoldChanges(std::vector<HoldChange>* changes);

  // --- Any thread ---
  // Takes the outcomes of `chunk` (all encoded) into their partitions.
  void Complete(std::unique_ptr<OutcomeChunk> chunk);

  // --- Commit thread ---
  enum class Gathered {
    kMore,     // The unit has grown by newest() and may grow further.
    kDue,      // It is complete: to be settled, by Committed or Restore, before the next Gather.
    kStopped,  // StopCommits was called and nothing is left.
  };
  // Waits for ready outcomes and seals them into the unit; after one was settled, into a new one.
  // A unit is due when it is full, when everything in flight is ready (nothing to wait for), when
  // its first outcome has waited commit_interval, or when a flush, a close or a stop asks for it.
  Gathered Gather(SealedUnit* unit);
  void Committed(SealedUnit* unit);
  // Nothing of the unit is visible: its outcomes are ready again, except those of `lost`.
  void Restore(SealedUnit* unit, std::span<const PartitionSlot> lost);

  // So many outcomes at a time join a unit that is not due yet: enough to pay for waking the commit
  // thread, few enough to be in its processor's cache still.
  static constexpr std::size_t kStepRecords = 512;
  // Most records of a partition between its position and the last one read, done ones included.
  static constexpr std::size_t kMaxSpan = 65'536;

  // Outcomes that a unit may take or has taken, before reading stops; two full units, if that is
  // more.
  static constexpr std::size_t kMaxReady = 32'768;

  // A Close waits for the unit in the committer's hands: give it back rather than try again.
  bool CloseWaits() const;

  // --- Any thread ---
  // Waits until nothing is in flight but `left` records that have no outcome to come, or the
  // deadline. True when drained.
  bool WaitDrained(MonoTime deadline, std::size_t left = 0);
  // After this Gather hands out what is ready without waiting, then false.
  void StopCommits();
  // The commit thread has ended for good: nobody waits for a commit any more.
  void Abandon();
  LedgerTotals Totals() const;
  Offset CommittedPosition(PartitionSlot slot) const;

 private:
  struct Partition {
    std::optional<OffsetTracker> tracker;  // Nothing while not ours.
    Epoch epoch;
    bool held = false;
    // Finished behind an open record that nothing waits for, and not looked at by a seal since.
    std::size_t loose = 0;
  };

  bool DueLocked(MonoTime now, MonoTime* wake_at) const;
  bool StepDueLocked(MonoTime now, MonoTime* wake_at) const;
  // `due`: the unit is complete with this. What is behind moving prefixes joins only then: to find
  // it every record in flight is looked at.
  void SealLocked(SealedUnit* unit, bool due);
  void FixPositionsLocked(SealedUnit* unit);
  void BeginUnitLocked();
  void AgeLocked(MonoTime now);
  // What stands in the totals of a partition's tracker. Before and after each change of it.
  void CountLocked(const Partition& partition, bool in);
  std::size_t CloseLocked(PartitionSlot slot);
  void DropLocked(OutcomeChunk* chunk, std::size_t count);
  void UpdateHoldsLocked(PartitionSlot slot);
  Partition* FindLocked(PartitionSlot slot, Epoch epoch);
  bool RoomLocked() const;
  // Outcomes hold so much that they had better be committed.
  bool HeavyLocked() const { return chunk_bytes_ >= heavy_bytes_; }

  const DeliveryOptions options_;
  const LedgerMemory memory_;
  const ModelProgress* const progress_;
  const std::size_t heavy_bytes_;
  const std::size_t ready_limit_;
  const std::size_t partition_limit_;  // Records in flight of one partition before it is held.
  const Clock& clock_;
  OutcomeChunkPool& chunks_;

  mutable std::mutex mutex_;
  std::condition_variable room_;     // In-flight work shrank.
  std::condition_variable work_;     // Something became ready, or a flush or stop was asked for.
  std::condition_variable settled_;  // A unit was committed or restored.

  // Guarded by mutex_.
  std::vector<Partition> partitions_;
  std::vector<HoldChange> hold_changes_;
  std::size_t in_flight_ = 0;
  std::size_t open_ = 0;
  std::size_t old_open_ = 0;
  std::size_t ready_ = 0;
  std::size_t loose_ = 0;
  std::size_t late_ = 0;  // Of the loose ones, those of partitions that are not stuck.
  std::size_t sealed_ = 0;
  std::size_t bytes_ = 0;
  std::size_t chunk_bytes_ = 0;
  std::size_t first_to_seal_ = 0;  // Partition where the next unit starts, so that none starves.
  MonoTime paced_until_{};         // No unit before, unless it is full.
  MonoTime first_ready_at_{};      // When the unit's first outcome, sealed or not, became ready.
  bool full_ = false;              // What is ready did not fit into the unit at hand.
  bool advanced_ = false;          // A position moved without a record.
  MonoTime next_age_{};            // When the partitions are looked at for stuck records next.
  int flushes_ = 0;                // Threads in FlushAndWait.
  int closing_ = 0;                // Threads in Close.
  bool stop_ = false;
  bool abandoned_ = false;
};

}  // namespace millrace
