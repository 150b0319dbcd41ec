// Scheduler: decides which waiting rows run next, together, and when.
//
// Rows wait in one queue per (model, tenant), first in first out. A batch holds rows of one model;
// models take turns, and inside a model tenants take turns row by row, so that a tenant with a long
// queue delays a tenant with a short one by at most one batch. A batch closes when it is full, when
// its first row has waited max_wait, or, for an adaptive model, as soon as an executor asks for
// work (work-conserving).
//
// Pure: no thread, no lock, no clock, no I/O, no allocation per row. The caller serialises calls
// and passes the time, which never goes back. Rows are linked through QueuedRow; the scheduler
// never owns one and gives back each admitted row exactly once.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "base/clock.h"
#include "base/strong.h"

namespace millrace {

// What the scheduler knows of a row; the pipeline's row derives from it.
struct QueuedRow {
  QueuedRow* next_queued = nullptr;  // Owned by the scheduler while the row waits.
  MonoTime queued_at;
};

// Policy of one model; fixed for its lifetime.
struct BatchPolicy {
  std::size_t max_rows = 64;
  Millis max_wait{50};
  bool adaptive = true;  // Give what there is to an idle executor instead of waiting for more.
};

enum class CloseReason : std::uint8_t { kFull, kTimer, kIdle, kDrain };
inline constexpr std::size_t kCloseReasons = 4;
const char* CloseReasonName(CloseReason reason);

struct FormedBatch {
  ModelSlot model;
  CloseReason reason = CloseReason::kFull;
  std::vector<QueuedRow*> rows;  // Cleared and filled by Next; keeps its memory.
};

class Scheduler {
 public:
  Scheduler() = default;
  Scheduler(const Scheduler&) = delete;
  Scheduler& operator=(const Scheduler&) = delete;

  // Slots are dense from 0. REQUIRES: max_rows > 0.
  ModelSlot AddModel(const BatchPolicy& policy);

  // Puts `row` behind the other rows of its model and tenant. Tenants need no registration.
  void Admit(ModelSlot model, TenantSlot tenant, QueuedRow* row, MonoTime now);

  // An executor is idle: forms the next batch into `batch`. False when nothing is due.
  bool Next(MonoTime now, FormedBatch* batch);

  // When Next may have something without a further Admit; nothing when no timer runs.
  std::optional<MonoTime> NextDue() const;

  // From now on every waiting row is due, full batch or not: the worker is draining.
  void Drain() { draining_ = true; }

  std::size_t waiting() const { return waiting_; }
  std::size_t waiting(ModelSlot model) const { return models_[model.index()].waiting; }

 private:
  struct TenantQueue {
    QueuedRow* head = nullptr;
    QueuedRow* tail = nullptr;
    std::int32_t next_active = -1;  // Ring of tenants with rows waiting.
  };
  struct ModelQueue {
    BatchPolicy policy;
    std::vector<TenantQueue> tenants;  // By TenantSlot.
    std::int32_t last_active = -1;     // The ring's tail; its successor is served next.
    std::size_t waiting = 0;
  };

  static void Activate(ModelQueue& model, std::int32_t tenant);
  static QueuedRow* TakeNext(ModelQueue& model);
  static MonoTime OldestRow(const ModelQueue& model);
  std::optional<CloseReason> Due(const ModelQueue& model, MonoTime now) const;

  std::vector<ModelQueue> models_;
  std::size_t next_model_ = 0;  // Where the next turn starts.
  std::size_t waiting_ = 0;
  bool draining_ = false;
};

}  // namespace millrace
