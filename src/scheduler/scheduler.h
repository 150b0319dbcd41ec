// Scheduler: decides which waiting rows run next, together, and when.
//
// What is shared is CPU time: each batch is charged an estimate when it is formed and what it
// really cost when it is settled. Models that have work due share it by start-time fair queueing,
// in proportion to their weights; the tenants of a model by a counter of virtual time each, lowest
// first (VTC, arXiv 2401.00588). Whoever comes back from being idle starts at the present virtual
// time: idling saves no credit. Two that always have work waiting are therefore never further apart
// in service for weight than two of the largest batches for each executor, at the least weight, and
// nobody starves. While more rows wait than fit, a tenant gets at most its share of a batch,
// rounded up, and of what those leave who have fewer. Within a tenant rows go in order of arrival
// and priority (RowQueue).
//
// A batch holds rows of one model. It is due when it is full; when its first row has waited
// max_wait; when the earliest deadline among its rows leaves just the time to run it; or, for an
// adaptive model, when an executor is idle and waiting would not pay. Waiting pays while the rows
// at hand lose less time until the next row comes than a batch of its own costs that row, which is
// the fixed part of a run, and for no longer than that part: at worst it costs what it could have
// saved. Near zero load nobody waits, nor for a model whose fixed part is small.
//
// Pure: no thread, no lock, no clock, no I/O, no allocation per row; O(log models + log tenants)
// for a row. The caller serialises calls and passes the time, which never goes back. Rows are
// linked through QueuedRow; the scheduler never owns one and gives back each admitted row exactly
// once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/strong.h"
#include "scheduler/indexed_heap.h"
#include "scheduler/row_queue.h"
#include "scheduler/run_time_fit.h"

namespace millrace {

// Policy of one model; fixed for its lifetime.
struct BatchPolicy {
  std::size_t max_rows = 64;
  Millis max_wait{50};
  bool adaptive = true;     // Give what there is to an idle executor unless waiting for more pays.
  double weight = 1;        // Share of the CPU next to other models that have work.
  std::size_t threads = 1;  // CPUs that a run of it keeps busy.
};

enum class CloseReason : std::uint8_t { kFull, kTimer, kDeadline, kIdle, kDrain };
inline constexpr std::size_t kCloseReasons = 5;
const char* CloseReasonName(CloseReason reason);

struct FormedBatch {
  struct Share {
    TenantSlot tenant;
    std::uint32_t rows = 0;
  };

  ModelSlot model;
  CloseReason reason = CloseReason::kFull;
  // Cleared and filled by Next; keep their memory.
  std::vector<QueuedRow*> rows;  // To be run; at most max_rows. May be empty when others expired.
  std::vector<QueuedRow*> expired;  // Their deadline has passed: must not run. At most max_rows.
  std::vector<Share> shares;        // Of the rows to be run.
  double estimate = 0;              // Charged for them, in nanoseconds.
};

class Scheduler {
 public:
  // `default_weight` is that of the tenants that SetWeight does not name.
  explicit Scheduler(double default_weight = 1);
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Slots are dense from 0; one that was given back comes first. REQUIRES: max_rows > 0,
  // weight > 0.
  ModelSlot AddModel(const BatchPolicy& policy);
  // Forgets the model and gives its slot back. REQUIRES: none of its rows waits and none of its
  // batches will be settled or returned any more.
  void RemoveModel(ModelSlot model);

  // Share of a tenant next to the others of a model, kMinWeight to kMaxWeight. Before its first
  // row.
  void SetWeight(TenantSlot tenant, double weight);
  static constexpr double kMinWeight = 0.01;
  static constexpr double kMaxWeight = 1000;

  // Puts `row` among the other rows of its model and tenant. Tenants need no registration.
  // REQUIRES: deadline and priority are set.
  void Admit(ModelSlot model, TenantSlot tenant, QueuedRow* row, MonoTime now);

  // The model whose batch Next would form; nothing when nothing is due.
  std::optional<ModelSlot> Upcoming(MonoTime now);

  // An executor is idle: forms the next batch into `batch`. False when nothing is due.
  bool Next(MonoTime now, FormedBatch* batch);

  // A batch that Next formed has been run: `cpu` is what it cost, `elapsed` what it took. Its rows
  // need not exist any more. At most once for each batch; one that is never settled stays charged
  // with its estimate.
  void Settle(const FormedBatch& batch, Nanos cpu, Nanos elapsed);

  // Takes back a row that Next gave out and that was not answered: it goes where its arrival and
  // priority place it. What running it has cost stays charged.
  void Return(ModelSlot model, TenantSlot tenant, QueuedRow* row, MonoTime now);

  // Forms no batch of `model` before `until`, not even for a deadline or a drain; MonoTime::max():
  // until the next call. The other models go on.
  void Hold(ModelSlot model, MonoTime until, MonoTime now);

  // When Next may have something without a further Admit; nothing when no timer runs. May be
  // earlier than that.
  std::optional<MonoTime> NextDue() const;

  // From now on every waiting row is due, full batch or not, except those of models on hold: the
  // worker is draining.
  void Drain(MonoTime now);

  std::size_t waiting() const { return waiting_; }
  // CPU time that the waiting rows are expected to need. O(models).
  Nanos Backlog() const;
  std::size_t waiting(ModelSlot model) const { return models_[model.index()].waiting; }
  // When its last row was admitted; the epoch: none was.
  MonoTime last_arrival(ModelSlot model) const { return models_[model.index()].last_arrival; }

 private:
  // Virtual time, and who has waited longer at the same.
  struct Turn {
    double time = 0;
    std::uint64_t since = 0;
    friend bool operator<(const Turn& a, const Turn& b) {
      return a.time != b.time ? a.time < b.time : a.since < b.since;
    }
  };
  struct Due {
    MonoTime at;
    CloseReason reason;
  };
  struct TenantQueue {
    RowQueue rows;
    double counter = 0;          // Nanoseconds of CPU per weight.
    std::uint32_t in_batch = 0;  // Rows in the batch being formed.
  };
  struct ModelQueue {
    BatchPolicy policy;
    std::vector<TenantQueue> tenants;  // By TenantSlot.
    IndexedHeap<Turn> active;          // Tenants with rows waiting.
    std::int64_t active_weight = 0;    // Of these, in units of 1 / kWeightUnits.
    double counter = 0;                // Virtual time: of the tenant served last.
    std::size_t waiting = 0;

    MonoTime held_until = MonoTime::min();

    double tag = 0;  // Start tag of the model's next batch, nanoseconds of CPU per weight.
    CloseReason reason = CloseReason::kFull;  // Why it is in ready_.

    // Of the waiting rows; unknown after rows were taken and others left.
    bool bounds_known = false;
    MonoTime first_queued;
    MonoTime earliest_deadline;

    // Arrivals: rows and nanoseconds between them, older ones counting less.
    MonoTime last_arrival;
    double last_rows = 0;
    double arrived_rows = 0;
    double arrived_time = 0;

    RunTimeFit cost;      // CPU.
    RunTimeFit run_time;  // What a clock on the wall would show.
  };

  static constexpr std::int64_t kWeightUnits = 1000;

  static std::int64_t InUnits(double weight);
  std::int64_t WeightOf(std::int32_t tenant) const;
  void Enqueue(ModelQueue& model, TenantSlot tenant, QueuedRow* row);
  void Activate(ModelQueue& model, std::int32_t tenant);
  static void NoteArrival(ModelQueue& model, MonoTime now);
  static void LearnBounds(ModelQueue& model);
  static Nanos Patience(const ModelQueue& model);
  // When it should run, and when it may.
  Due WantedAt(ModelQueue& model) const;
  Due DueOf(ModelQueue& model) const;
  void Refresh(std::int32_t slot, MonoTime now);
  static double RowEstimate(const ModelQueue& model, std::size_t rows);
  void Fill(ModelQueue& model, MonoTime now, FormedBatch* batch);
  void Uncap(ModelQueue& model);
  bool Full(const ModelQueue& model, const FormedBatch& batch) const;
  void TakeRun(ModelQueue& model, std::int32_t tenant, std::uint32_t cap, double row_estimate,
               MonoTime now, FormedBatch* batch);

  std::vector<ModelQueue> models_;
  std::vector<ModelSlot> free_slots_;
  // In units of 1 / kWeightUnits; by TenantSlot, 0 for those not named.
  const std::int64_t default_weight_;
  std::vector<std::int64_t> weights_;
  IndexedHeap<Turn> ready_;       // Models with a batch due, by start tag.
  IndexedHeap<MonoTime> timers_;  // Other models with rows, by when they may be due.

  // Of the batch being formed: tenants that have their share of it, and of those the one with the
  // fewest rows for its weight.
  std::vector<std::int32_t> capped_;
  std::int64_t capped_rows_ = 0;
  std::int64_t capped_weight_ = 1;

  double tag_ = 0;  // Virtual time: start tag of the batch formed last.
  std::uint64_t turn_ = 0;
  std::size_t waiting_ = 0;
  bool draining_ = false;
};

}  // namespace millrace
