#include "pipeline/probe.h"

#include "base/check.h"

namespace millrace {
namespace {

constexpr std::string_view kRequests = "millrace_requests_total";
constexpr std::string_view kRequestsHelp = "Requests answered, by outcome.";
constexpr std::string_view kDuration = "millrace_request_duration_seconds";
constexpr std::string_view kDurationHelp = "Time of a request in a stage of the worker.";
constexpr std::string_view kStageTime = "millrace_stage_seconds_total";
constexpr std::string_view kStageTimeHelp = "Wall time the worker's threads spent in each stage.";
constexpr std::string_view kDeadLetters = "millrace_dead_letters_total";
constexpr std::string_view kDeadLettersHelp = "Dead letters, by reason.";

std::uint64_t Count(Nanos time) { return static_cast<std::uint64_t>(time.count()); }

}  // namespace

Probe::Probe(MetricRegistry& registry, const std::string& requests_topic,
             const std::string& results_topic, const std::string& dlq_topic)
    : registry_(registry) {
  constexpr std::string_view kProduced = "millrace_records_produced_total";
  constexpr std::string_view kProducedHelp = "Records committed to a topic.";
  consumed_ = registry.GetCounter("millrace_records_consumed_total", "Records read from a topic.",
                                  {{"topic", requests_topic}});
  produced_results_ = registry.GetCounter(kProduced, kProducedHelp, {{"topic", results_topic}});
  produced_dead_letters_ = registry.GetCounter(kProduced, kProducedHelp, {{"topic", dlq_topic}});
  committed_ = registry.GetCounter("millrace_transactions_total", "Units of work, by result.",
                                   {{"result", "committed"}});
  const auto stage = [&](const char* name) {
    return registry.GetCounter(kStageTime, kStageTimeHelp, {{"stage", name}},
                               MetricUnit::kNanoseconds);
  };
  decode_time_ = stage("decode");
  gather_time_ = stage("gather");
  run_time_ = stage("run");
  encode_time_ = stage("encode");
  commit_time_ = stage("commit");
  rebalances_ = registry.GetCounter("millrace_rebalances_total",
                                    "Times partitions were assigned, revoked or lost.");
  assigned_ = registry.GetGauge("millrace_assigned_partitions", "Partitions of this worker.");
  commit_duration_ = registry.GetHistogram("millrace_transaction_duration_seconds",
                                           "Time to commit one unit of work.", DurationHistogram());
  commit_records_ = registry.GetHistogram("millrace_transaction_records",
                                          "Outcomes in one unit of work.", RowsHistogram());
  commit_stage_ = registry.GetHistogram(kDuration, kDurationHelp, DurationHistogram(),
                                        {{"model", ""}, {"version", ""}, {"stage", "commit"}});
}

SeriesSlot Probe::AddModel(const LoadedModel& loaded) {
  const std::string& id = loaded.ref.model_id;
  registry_
      .GetHistogram("millrace_model_load_duration_seconds",
                    "Time to read, load and warm a model version.", DurationHistogram(),
                    {{"model", id}})
      ->Observe(Count(loaded.load_time));
  const bool full = known_ + 1 >= models_.size();
  const std::string version = full ? std::string(kOtherSeries) : loaded.ref.version;
  for (std::size_t i = 0; i < known_; ++i) {
    if (models_[i].id == id && models_[i].version == version) {
      return SeriesSlot(static_cast<std::int32_t>(i));
    }
  }
  if (known_ == models_.size()) return SeriesSlot(0);
  ModelSeries model;
  model.id = id;
  model.version = version;
  const auto requests = [&](const char* outcome) {
    return registry_.GetCounter(kRequests, kRequestsHelp,
                                {{"model", id}, {"version", version}, {"outcome", outcome}});
  };
  model.ok = requests("ok");
  model.dead_letter = requests("dead_letter");
  model.expired = requests("expired");
  const auto duration = [&](const char* stage) {
    return registry_.GetHistogram(kDuration, kDurationHelp, DurationHistogram(),
                                  {{"model", id}, {"version", version}, {"stage", stage}});
  };
  model.queue = duration("queue");
  model.run = duration("run");
  model.total = duration("total");
  model.end_to_end = registry_.GetHistogram("millrace_end_to_end_duration_seconds",
                                            "From a request's record timestamp to its outcome "
                                            "being visible.",
                                            DurationHistogram(), {{"model", id}});
  model.rows = registry_.GetHistogram("millrace_batch_rows", "Rows that ran together.",
                                      RowsHistogram(), {{"model", id}});
  for (std::size_t i = 0; i < kCloseReasons; ++i) {
    model.batches[i] = registry_.GetCounter(
        "millrace_batches_total", "Batches, by why they were closed.",
        {{"model", id}, {"close_reason", CloseReasonName(static_cast<CloseReason>(i))}});
  }
  model.runs = registry_.GetCounter(
      "millrace_model_runs_total",
      "Runs of a model: one for each batch, and those that find the failing rows of one.",
      {{"model", id}});
  model.returned =
      registry_.GetCounter("millrace_retries_total",
                           "Runs of requests that failed and will be repeated.", {{"model", id}});
  models_[known_] = std::move(model);
  return SeriesSlot(static_cast<std::int32_t>(known_++));
}

void Probe::OnModelState(const std::string& model_id, const std::string& version,
                         ModelState state) {
  for (std::size_t i = 0; i < kModelStates; ++i) {
    const auto other = static_cast<ModelState>(i);
    registry_
        .GetGauge("millrace_model_state", "1 for the state a model version is in.",
                  {{"model", model_id},
                   {"version", version},
                   {"state", std::string(ModelStateName(other))}})
        ->Set(other == state ? 1 : 0);
  }
}

void Probe::OnModelLoad(const std::string& model_id, bool ok) {
  registry_
      .GetCounter("millrace_model_loads_total", "Versions that were to be loaded, by result.",
                  {{"model", model_id}, {"result", ok ? "ok" : "failed"}})
      ->Add();
}

void Probe::OnPolled(std::size_t records, Nanos decode_time) {
  consumed_->Add(records);
  decode_time_->Add(Count(decode_time));
}

void Probe::OnTenant(TenantSlot slot, std::string_view tenant_id) {
  if (slot.index() >= tenants_.size()) tenants_.resize(slot.index() + 1, nullptr);
  Counter*& counter = tenants_[slot.index()];
  if (counter == nullptr) {
    const bool own = tenant_series_ < kMaxTenantSeries;
    if (own) ++tenant_series_;
    counter = registry_.GetCounter(
        "millrace_tenant_requests_total", "Requests admitted, by tenant.",
        {{"tenant", own ? std::string(tenant_id) : std::string(kOtherSeries)}});
  }
  counter->Add();
}

void Probe::OnRebalance(std::size_t assigned) {
  rebalances_->Add();
  assigned_->Set(static_cast<double>(assigned));
}

void Probe::OnBatch(SeriesSlot slot, CloseReason reason, std::size_t rows,
                    const BatchTimes& times) {
  MILLRACE_DCHECK(slot.index() < models_.size());
  ModelSeries& model = models_[slot.index()];
  model.batches[static_cast<std::size_t>(reason)]->Add();
  model.rows->Observe(rows);
  model.runs->Add(times.runs);
  model.run->ObserveN(Count(times.run), rows);
  gather_time_->Add(Count(times.gather));
  run_time_->Add(Count(times.run));
  encode_time_->Add(Count(times.encode));
}

void Probe::OnResults(SeriesSlot slot, std::size_t count) { models_[slot.index()].ok->Add(count); }

void Probe::OnRowTimes(SeriesSlot slot, Nanos queued, Nanos total, std::size_t rows) {
  ModelSeries& model = models_[slot.index()];
  model.queue->ObserveN(Count(queued), rows);
  model.total->ObserveN(Count(total), rows);
}

void Probe::OnUnanswered(std::size_t requests) {
  registry_
      .GetCounter("millrace_unanswered_requests_total",
                  "Requests that were claimed and given up (delivery.mode=at-most-once).")
      ->Add(requests);
}

void Probe::OnExpired(SeriesSlot slot, std::size_t count) {
  models_[slot.index()].expired->Add(count);
}

void Probe::OnModelPaused(SeriesSlot slot, bool paused) {
  const ModelSeries& model = models_[slot.index()];
  OnModelState(model.id, model.version, paused ? ModelState::kFailed : ModelState::kServing);
}

void Probe::OnReturned(SeriesSlot slot, std::size_t rows) {
  models_[slot.index()].returned->Add(rows);
}

// Dead letters are rare next to results; finding the series by name is fine.
void Probe::OnDeadLetter(FailureReason reason, std::string_view model_id, SeriesSlot model) {
  registry_
      .GetCounter(
          kDeadLetters, kDeadLettersHelp,
          {{"reason", std::string(FailureReasonName(reason))}, {"model", std::string(model_id)}})
      ->Add();
  if (model != kNoSeries) models_[model.index()].dead_letter->Add();
}

void Probe::OnCommit(const std::vector<const Outcome*>& outcomes, WallMillis now, Nanos duration) {
  std::size_t results = 0;
  for (const Outcome* outcome : outcomes) {
    if (outcome->record.topic == OutputTopic::kResults) ++results;
    if (outcome->model == kNoSeries || outcome->input_timestamp <= 0) continue;
    const WallMillis elapsed = std::max<WallMillis>(0, now - outcome->input_timestamp);
    models_[outcome->model.index()].end_to_end->Observe(static_cast<std::uint64_t>(elapsed) *
                                                        1'000'000);
  }
  produced_results_->Add(results);
  produced_dead_letters_->Add(outcomes.size() - results);
  committed_->Add();
  commit_time_->Add(Count(duration));
  commit_duration_->Observe(Count(duration));
  commit_records_->Observe(outcomes.size());
  commit_stage_->ObserveN(Count(duration), outcomes.size());
}

void Probe::OnCommitFailed(std::string_view result) {
  registry_
      .GetCounter("millrace_transactions_total", "Units of work, by result.",
                  {{"result", std::string(result)}})
      ->Add();
}

}  // namespace millrace
