#include "scheduler/scheduler.h"

#include <algorithm>

#include "base/check.h"

namespace millrace {

const char* CloseReasonName(CloseReason reason) {
  switch (reason) {
    case CloseReason::kFull:
      return "full";
    case CloseReason::kTimer:
      return "timer";
    case CloseReason::kIdle:
      return "idle";
    case CloseReason::kDrain:
      return "drain";
  }
  return "unknown";
}

ModelSlot Scheduler::AddModel(const BatchPolicy& policy) {
  MILLRACE_CHECK(policy.max_rows > 0);
  models_.emplace_back();
  models_.back().policy = policy;
  return ModelSlot(static_cast<std::int32_t>(models_.size()) - 1);
}

void Scheduler::Admit(ModelSlot model_slot, TenantSlot tenant_slot, QueuedRow* row, MonoTime now) {
  MILLRACE_DCHECK(model_slot.index() < models_.size());
  MILLRACE_DCHECK(row->next_queued == nullptr);
  ModelQueue& model = models_[model_slot.index()];
  if (tenant_slot.index() >= model.tenants.size()) model.tenants.resize(tenant_slot.index() + 1);
  TenantQueue& tenant = model.tenants[tenant_slot.index()];
  row->queued_at = now;
  row->next_queued = nullptr;
  if (tenant.head == nullptr) {
    tenant.head = row;
    Activate(model, tenant_slot.value());
  } else {
    tenant.tail->next_queued = row;
  }
  tenant.tail = row;
  ++model.waiting;
  ++waiting_;
}

// Puts a tenant at the end of the ring: it is served after all that wait already.
void Scheduler::Activate(ModelQueue& model, std::int32_t tenant) {
  TenantQueue& entry = model.tenants[static_cast<std::size_t>(tenant)];
  if (model.last_active < 0) {
    entry.next_active = tenant;
  } else {
    TenantQueue& last = model.tenants[static_cast<std::size_t>(model.last_active)];
    entry.next_active = last.next_active;
    last.next_active = tenant;
  }
  model.last_active = tenant;
}

// Takes one row of the tenant whose turn it is and passes the turn on.
QueuedRow* Scheduler::TakeNext(ModelQueue& model) {
  MILLRACE_DCHECK(model.last_active >= 0);
  TenantQueue& last = model.tenants[static_cast<std::size_t>(model.last_active)];
  const std::int32_t turn = last.next_active;
  TenantQueue& tenant = model.tenants[static_cast<std::size_t>(turn)];
  QueuedRow* const row = tenant.head;
  MILLRACE_DCHECK(row != nullptr);
  tenant.head = row->next_queued;
  row->next_queued = nullptr;
  if (tenant.head != nullptr) {
    model.last_active = turn;  // To the end of the ring.
    return row;
  }
  tenant.tail = nullptr;
  last.next_active = tenant.next_active;
  if (turn == model.last_active) model.last_active = -1;
  return row;
}

// The rows in front of each tenant's queue are its oldest; the ring is short next to the batch.
MonoTime Scheduler::OldestRow(const ModelQueue& model) {
  MILLRACE_DCHECK(model.last_active >= 0);
  MonoTime oldest = MonoTime::max();
  std::int32_t tenant = model.last_active;
  do {
    const TenantQueue& entry = model.tenants[static_cast<std::size_t>(tenant)];
    oldest = std::min(oldest, entry.head->queued_at);
    tenant = entry.next_active;
  } while (tenant != model.last_active);
  return oldest;
}

std::optional<CloseReason> Scheduler::Due(const ModelQueue& model, MonoTime now) const {
  if (model.waiting == 0) return std::nullopt;
  if (model.waiting >= model.policy.max_rows) return CloseReason::kFull;
  if (draining_) return CloseReason::kDrain;
  if (model.policy.adaptive) return CloseReason::kIdle;
  if (now >= OldestRow(model) + model.policy.max_wait) return CloseReason::kTimer;
  return std::nullopt;
}

bool Scheduler::Next(MonoTime now, FormedBatch* batch) {
  batch->rows.clear();
  for (std::size_t tried = 0; tried < models_.size(); ++tried) {
    const std::size_t index = (next_model_ + tried) % models_.size();
    ModelQueue& model = models_[index];
    const std::optional<CloseReason> reason = Due(model, now);
    if (!reason.has_value()) continue;
    const std::size_t rows = std::min(model.waiting, model.policy.max_rows);
    for (std::size_t i = 0; i < rows; ++i) batch->rows.push_back(TakeNext(model));
    model.waiting -= rows;
    waiting_ -= rows;
    next_model_ = index + 1;
    batch->model = ModelSlot(static_cast<std::int32_t>(index));
    batch->reason = *reason;
    MILLRACE_DCHECK((model.waiting == 0) == (model.last_active < 0));
    return true;
  }
  return false;
}

std::optional<MonoTime> Scheduler::NextDue() const {
  std::optional<MonoTime> due;
  for (const ModelQueue& model : models_) {
    if (model.waiting == 0) continue;
    const MonoTime at = model.policy.adaptive || draining_
                            ? MonoTime::min()
                            : OldestRow(model) + model.policy.max_wait;
    if (!due.has_value() || at < *due) due = at;
  }
  return due;
}

}  // namespace millrace
