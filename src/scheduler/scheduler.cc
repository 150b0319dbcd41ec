#include "scheduler/scheduler.h"

#include <algorithm>
#include <cmath>

#include "base/check.h"

namespace millrace {
namespace {

// What a row counts at least, so that turns pass on even where running costs nothing measurable;
// and what one is thought to cost before the first batch of its model has been settled.
constexpr double kMinRowCost = 100;
constexpr double kFirstRowCost = 1000;

// To sleep and be woken costs about this much: to wait for less saves nothing.
constexpr double kWakeCost = 50'000;
// The rate of arrivals is that of some ten polls; a longer pause than this says only "idle".
constexpr double kKeepArrivals = 0.875;
constexpr Nanos kIdlePause = Millis(100);

// Between a deadline and the end of the run that must meet it: for the commit, and as many average
// errors of the prediction as TCP allows for a retransmission.
constexpr double kDeadlineMargin = 2'000'000;
constexpr double kDeviations = 4;

Nanos ToNanos(double time) { return Nanos(static_cast<std::int64_t>(time)); }

}  // namespace

const char* CloseReasonName(CloseReason reason) {
  switch (reason) {
    case CloseReason::kFull:
      return "full";
    case CloseReason::kTimer:
      return "timer";
    case CloseReason::kDeadline:
      return "deadline";
    case CloseReason::kIdle:
      return "idle";
    case CloseReason::kDrain:
      return "drain";
  }
  return "unknown";
}

Scheduler::Scheduler(double default_weight) : default_weight_(InUnits(default_weight)) {}

std::int64_t Scheduler::InUnits(double weight) {
  MILLRACE_CHECK(weight >= kMinWeight && weight <= kMaxWeight);
  return std::llround(weight * static_cast<double>(kWeightUnits));
}

ModelSlot Scheduler::AddModel(const BatchPolicy& policy) {
  MILLRACE_CHECK(policy.max_rows > 0);
  MILLRACE_CHECK(policy.weight > 0);
  if (!free_slots_.empty()) {
    const ModelSlot slot = free_slots_.back();
    free_slots_.pop_back();
    models_[slot.index()].policy = policy;
    return slot;
  }
  models_.emplace_back();
  models_.back().policy = policy;
  return ModelSlot(static_cast<std::int32_t>(models_.size()) - 1);
}

void Scheduler::RemoveModel(ModelSlot slot) {
  MILLRACE_CHECK(slot.index() < models_.size());
  MILLRACE_CHECK(models_[slot.index()].waiting == 0);
  MILLRACE_DCHECK(!ready_.contains(slot.value()));
  timers_.Remove(slot.value());
  models_[slot.index()] = ModelQueue();
  free_slots_.push_back(slot);
}

void Scheduler::SetWeight(TenantSlot tenant, double weight) {
  if (tenant.index() >= weights_.size()) weights_.resize(tenant.index() + 1, 0);
  weights_[tenant.index()] = InUnits(weight);
}

std::int64_t Scheduler::WeightOf(std::int32_t tenant) const {
  const auto index = static_cast<std::size_t>(tenant);
  return index < weights_.size() && weights_[index] > 0 ? weights_[index] : default_weight_;
}

void Scheduler::Admit(ModelSlot model_slot, TenantSlot tenant, QueuedRow* row, MonoTime now) {
  MILLRACE_DCHECK(model_slot.index() < models_.size());
  ModelQueue& model = models_[model_slot.index()];
  row->queued_at = now;
  NoteArrival(model, now);
  Enqueue(model, tenant, row);
  if (!ready_.contains(model_slot.value())) Refresh(model_slot.value(), now);
}

void Scheduler::Return(ModelSlot model_slot, TenantSlot tenant, QueuedRow* row, MonoTime now) {
  MILLRACE_DCHECK(model_slot.index() < models_.size());
  Enqueue(models_[model_slot.index()], tenant, row);
  if (!ready_.contains(model_slot.value())) Refresh(model_slot.value(), now);
}

void Scheduler::Enqueue(ModelQueue& model, TenantSlot tenant_slot, QueuedRow* row) {
  if (tenant_slot.index() >= model.tenants.size()) model.tenants.resize(tenant_slot.index() + 1);
  TenantQueue& tenant = model.tenants[tenant_slot.index()];
  if (tenant.rows.empty()) Activate(model, tenant_slot.value());
  tenant.rows.Push(row);
  if (model.waiting == 0) {
    model.bounds_known = true;
    model.first_queued = row->queued_at;
    model.earliest_deadline = row->deadline;
  } else {
    model.first_queued = std::min(model.first_queued, row->queued_at);
    model.earliest_deadline = std::min(model.earliest_deadline, row->deadline);
  }
  ++model.waiting;
  ++waiting_;
}

// A tenant comes back from being idle: it starts level with the least served of those who wait, and
// after them.
void Scheduler::Activate(ModelQueue& model, std::int32_t id) {
  MILLRACE_DCHECK(!model.active.contains(id));
  TenantQueue& tenant = model.tenants[static_cast<std::size_t>(id)];
  const double level = model.active.empty() ? model.counter : model.active.top_key().time;
  tenant.counter = std::max(tenant.counter, level);
  model.active.Set(id, Turn{tenant.counter, ++turn_});
  model.active_weight += WeightOf(id);
}

// Rows of one poll come at the same time; what counts is the time between polls.
void Scheduler::NoteArrival(ModelQueue& model, MonoTime now) {
  if (now != model.last_arrival) {
    const Nanos pause = std::min<Nanos>(now - model.last_arrival, kIdlePause);
    MILLRACE_DCHECK(pause > Nanos(0));
    model.arrived_rows = model.arrived_rows * kKeepArrivals + model.last_rows;
    model.arrived_time = model.arrived_time * kKeepArrivals + static_cast<double>(pause.count());
    model.last_rows = 0;
    model.last_arrival = now;
  }
  ++model.last_rows;
}

// Asked only while fewer rows wait than fill a batch, and once after a batch that left some.
void Scheduler::LearnBounds(ModelQueue& model) {
  MILLRACE_DCHECK(model.waiting > 0 && model.waiting < model.policy.max_rows);
  model.first_queued = MonoTime::max();
  model.earliest_deadline = MonoTime::max();
  const auto look = [&model](const QueuedRow& row) {
    model.first_queued = std::min(model.first_queued, row.queued_at);
    model.earliest_deadline = std::min(model.earliest_deadline, row.deadline);
  };
  model.active.ForEach([&](std::int32_t tenant) {
    model.tenants[static_cast<std::size_t>(tenant)].rows.ForEach(look);
  });
  model.bounds_known = true;
}

// How long the first row should wait for company while an executor is idle; 0: not at all.
Nanos Scheduler::Patience(const ModelQueue& model) {
  const double saved = model.run_time.fixed();
  if (saved < kWakeCost || model.arrived_rows <= 0) return Nanos(0);
  const double next_row = model.arrived_time / model.arrived_rows;
  if (next_row * static_cast<double>(model.waiting) >= saved) return Nanos(0);
  return ToNanos(saved);
}

Scheduler::Due Scheduler::DueOf(ModelQueue& model) const {
  Due due = WantedAt(model);
  due.at = std::max(due.at, model.held_until);
  return due;
}

Scheduler::Due Scheduler::WantedAt(ModelQueue& model) const {
  MILLRACE_DCHECK(model.waiting > 0);
  if (model.waiting >= model.policy.max_rows) return {MonoTime::min(), CloseReason::kFull};
  if (draining_) return {MonoTime::min(), CloseReason::kDrain};
  const Nanos patience = model.policy.adaptive ? Patience(model) : Nanos::max();
  if (patience == Nanos(0)) return {MonoTime::min(), CloseReason::kIdle};
  if (!model.bounds_known) LearnBounds(model);
  Due due{model.first_queued + model.policy.max_wait, CloseReason::kTimer};
  if (model.earliest_deadline < MonoTime::max()) {
    const double run = model.run_time.Predict(model.waiting) +
                       kDeviations * model.run_time.deviation() + kDeadlineMargin;
    const MonoTime latest = model.earliest_deadline - ToNanos(run);
    if (latest < due.at) due = {latest, CloseReason::kDeadline};
  }
  if (model.policy.adaptive) {
    const MonoTime patient = model.first_queued + patience;
    if (patient < due.at) due = {patient, CloseReason::kIdle};
  }
  return due;
}

// Puts a model that is not ready where it belongs.
void Scheduler::Refresh(std::int32_t slot, MonoTime now) {
  MILLRACE_DCHECK(!ready_.contains(slot));
  ModelQueue& model = models_[static_cast<std::size_t>(slot)];
  const Due due = DueOf(model);
  if (due.at > now) {
    timers_.Set(slot, due.at);
    return;
  }
  timers_.Remove(slot);
  model.reason = due.reason;
  model.tag = std::max(model.tag, tag_);  // What it did not use while it had nothing due is gone.
  ready_.Set(slot, Turn{model.tag, ++turn_});
}

double Scheduler::RowEstimate(const ModelQueue& model, std::size_t rows) {
  if (!model.cost.known()) return kFirstRowCost;
  return std::max(kMinRowCost, model.cost.Predict(rows) / static_cast<double>(rows));
}

Nanos Scheduler::Backlog() const {
  double cost = 0;
  for (const ModelQueue& model : models_) {
    const std::size_t rows = std::min(model.waiting, model.policy.max_rows);
    if (rows > 0) cost += RowEstimate(model, rows) * static_cast<double>(model.waiting);
  }
  return Nanos(static_cast<std::int64_t>(cost));
}

std::optional<ModelSlot> Scheduler::Upcoming(MonoTime now) {
  while (!timers_.empty() && timers_.top_key() <= now) {
    const std::int32_t slot = timers_.top();
    Refresh(slot, now);  // Removes the timer, or moves it beyond now.
  }
  if (ready_.empty()) return std::nullopt;
  return ModelSlot(ready_.top());
}

bool Scheduler::Next(MonoTime now, FormedBatch* batch) {
  batch->rows.clear();
  batch->expired.clear();
  batch->shares.clear();
  const std::optional<ModelSlot> upcoming = Upcoming(now);
  if (!upcoming.has_value()) return false;
  const std::int32_t slot = upcoming->value();
  ModelQueue& model = models_[static_cast<std::size_t>(slot)];
  batch->model = ModelSlot(slot);
  batch->reason = model.waiting >= model.policy.max_rows ? CloseReason::kFull : model.reason;
  tag_ = std::max(tag_, model.tag);
  const std::size_t before = model.waiting;
  Fill(model, now, batch);
  MILLRACE_DCHECK(before - model.waiting == batch->rows.size() + batch->expired.size());
  waiting_ -= before - model.waiting;
  model.tag += batch->estimate / model.policy.weight;
  model.bounds_known = false;
  MILLRACE_DCHECK((model.waiting == 0) == model.active.empty());
  const Due due = model.waiting > 0 ? DueOf(model) : Due{MonoTime::max(), CloseReason::kIdle};
  if (due.at <= now) {
    model.reason = due.reason;
    ready_.Set(slot, Turn{model.tag, ++turn_});
  } else {
    ready_.Remove(slot);
    if (model.waiting > 0) timers_.Set(slot, due.at);
  }
  return true;
}

bool Scheduler::Full(const ModelQueue& model, const FormedBatch& batch) const {
  return model.waiting == 0 || batch.rows.size() >= model.policy.max_rows ||
         batch.expired.size() >= model.policy.max_rows;
}

void Scheduler::Fill(ModelQueue& model, MonoTime now, FormedBatch* batch) {
  const std::size_t rows = std::min(model.waiting, model.policy.max_rows);
  const double row_estimate = RowEstimate(model, rows);
  // What is shared out: the batch but for the rows of tenants that have no more of them.
  auto room = static_cast<std::int64_t>(rows);
  while (!Full(model, *batch)) {
    // The shares of those who still have rows grow as others run out of theirs.
    if (model.active.empty() ||
        (!capped_.empty() && capped_rows_ * model.active_weight < room * capped_weight_)) {
      Uncap(model);
    }
    const std::int32_t id = model.active.top();
    const TenantQueue& tenant = model.tenants[static_cast<std::size_t>(id)];
    const std::int64_t weight = WeightOf(id);
    model.counter = std::max(model.counter, tenant.counter);
    const std::int64_t cap = (room * weight + model.active_weight - 1) / model.active_weight;
    TakeRun(model, id, static_cast<std::uint32_t>(cap), row_estimate, now, batch);
    model.active.Remove(id);
    if (tenant.rows.empty()) {
      model.active_weight -= weight;
      room -= tenant.in_batch;
    } else {
      if (capped_.empty() || tenant.in_batch * capped_weight_ < capped_rows_ * weight) {
        capped_rows_ = tenant.in_batch;
        capped_weight_ = weight;
      }
      capped_.push_back(id);
    }
  }
  Uncap(model);
  for (FormedBatch::Share& share : batch->shares) {
    TenantQueue& tenant = model.tenants[share.tenant.index()];
    share.rows = tenant.in_batch;
    tenant.in_batch = 0;
  }
  batch->estimate = row_estimate * static_cast<double>(batch->rows.size());
}

// Lets the tenants that have had their share of the batch take part again.
void Scheduler::Uncap(ModelQueue& model) {
  for (const std::int32_t id : capped_) {
    model.active.Set(id, Turn{model.tenants[static_cast<std::size_t>(id)].counter, ++turn_});
  }
  capped_.clear();
}

// Takes rows of the tenant in front up to its share, all in one go: rows that were decoded one
// after another stay together.
void Scheduler::TakeRun(ModelQueue& model, std::int32_t id, std::uint32_t cap, double row_estimate,
                        MonoTime now, FormedBatch* batch) {
  TenantQueue& tenant = model.tenants[static_cast<std::size_t>(id)];
  const std::uint32_t before = tenant.in_batch;
  MILLRACE_DCHECK(!tenant.rows.empty());
  while (!tenant.rows.empty() && tenant.in_batch < cap && !Full(model, *batch)) {
    QueuedRow* const row = tenant.rows.Pop();
    --model.waiting;
    if (row->deadline <= now) {
      batch->expired.push_back(row);  // Costs no run: not charged.
    } else {
      batch->rows.push_back(row);
      ++tenant.in_batch;
    }
  }
  if (before == 0 && tenant.in_batch > 0) batch->shares.push_back({TenantSlot(id), 0});
  tenant.counter += row_estimate * static_cast<double>(tenant.in_batch - before) *
                    static_cast<double>(kWeightUnits) / static_cast<double>(WeightOf(id));
}

void Scheduler::Settle(const FormedBatch& batch, Nanos cpu, Nanos elapsed) {
  if (batch.rows.empty()) return;
  MILLRACE_DCHECK(batch.model.index() < models_.size());
  MILLRACE_DCHECK(!batch.shares.empty());
  ModelQueue& model = models_[batch.model.index()];
  const auto rows = static_cast<double>(batch.rows.size());
  const double cost = std::max(static_cast<double>(cpu.count()), kMinRowCost * rows);
  model.cost.Add(batch.rows.size(), ToNanos(cost));
  model.run_time.Add(batch.rows.size(), elapsed);
  const double more = cost - batch.estimate;
  model.tag += more / model.policy.weight;
  const std::int32_t slot = batch.model.value();
  if (ready_.contains(slot)) ready_.Set(slot, Turn{model.tag, ready_.key(slot).since});
  for (const FormedBatch::Share& share : batch.shares) {
    TenantQueue& tenant = model.tenants[share.tenant.index()];
    const std::int32_t id = share.tenant.value();
    tenant.counter += more / rows * static_cast<double>(share.rows) *
                      static_cast<double>(kWeightUnits) / static_cast<double>(WeightOf(id));
    if (model.active.contains(id)) {
      model.active.Set(id, Turn{tenant.counter, model.active.key(id).since});
    }
  }
}

std::optional<MonoTime> Scheduler::NextDue() const {
  if (!ready_.empty()) return MonoTime::min();
  if (!timers_.empty()) return timers_.top_key();
  return std::nullopt;
}

void Scheduler::Hold(ModelSlot slot, MonoTime until, MonoTime now) {
  MILLRACE_DCHECK(slot.index() < models_.size());
  ModelQueue& model = models_[slot.index()];
  model.held_until = until;
  if (model.waiting == 0) return;
  ready_.Remove(slot.value());
  Refresh(slot.value(), now);
}

void Scheduler::Drain(MonoTime now) {
  draining_ = true;
  for (std::size_t i = 0; i < models_.size(); ++i) {
    const auto slot = static_cast<std::int32_t>(i);
    if (models_[i].waiting > 0 && !ready_.contains(slot)) Refresh(slot, now);
  }
}

}  // namespace millrace
