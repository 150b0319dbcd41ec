// Probe: every metric the pipeline keeps, by the names of the public contract.
//
// Made once by the Worker for its models; series are looked up here at set-up and then only
// counted, per batch or per record at a few nanoseconds. Any thread may call the On... methods.
#pragma once

#include <array>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/strong.h"
#include "models/repository.h"
#include "pipeline/outcome.h"
#include "scheduler/scheduler.h"
#include "telemetry/metrics.h"
#include "types/failure.h"
#include "types/model_event.h"

namespace millrace {

// Where the executor's time went in one batch.
struct BatchTimes {
  Nanos gather{0};
  Nanos run{0};
  Nanos encode{0};
  std::size_t runs = 0;  // More than one when it failed.
};

class Probe {
 public:
  // Labels of tenants beyond this many are __other__.
  static constexpr std::size_t kMaxTenantSeries = 50;
  // And those of versions; a worker that has swapped more is an old one.
  static constexpr std::size_t kMaxVersionSeries = 4096;

  Probe(MetricRegistry& registry, const std::string& requests_topic,
        const std::string& results_topic, const std::string& dlq_topic);

  // The series of this version: those it had if it served before. One thread at a time, with the
  // two after it.
  SeriesSlot AddModel(const LoadedModel& model);
  // The one state of a version, until it is told another one.
  void OnModelState(const std::string& model_id, const std::string& version, ModelState state);
  // A version was to be loaded.
  void OnModelLoad(const std::string& model_id, bool ok);

  // --- Intake thread ---
  void OnPolled(std::size_t records, Nanos decode_time);
  void OnTenant(TenantSlot slot, std::string_view tenant_id);
  void OnRebalance(std::size_t assigned);

  // --- Executors, once per batch ---
  void OnBatch(SeriesSlot model, CloseReason reason, std::size_t rows, const BatchTimes& times);
  void OnResults(SeriesSlot model, std::size_t count);
  // Requests that were not run and whose result says so.
  void OnExpired(SeriesSlot model, std::size_t count);
  void OnModelPaused(SeriesSlot model, bool paused);
  // Rows that go back to be run again.
  void OnReturned(SeriesSlot model, std::size_t rows);
  // Time a row waited for its batch and from poll to its encoded outcome; `rows` share it.
  void OnRowTimes(SeriesSlot model, Nanos queued, Nanos total, std::size_t rows);

  // --- Any thread ---
  // `model_id` empty: not known, or not one of ours (labels stay bounded). `model`: of the version
  // that it was for; kNoSeries when it never got as far as one.
  static constexpr SeriesSlot kNoSeries{-1};
  void OnDeadLetter(FailureReason reason, std::string_view model_id, SeriesSlot model);
  // At most once: requests that nobody will answer any more, or whose outcome may be missing.
  void OnUnanswered(std::size_t requests);

  // --- Commit thread ---
  void OnCommit(const std::vector<const Outcome*>& outcomes, WallMillis now, Nanos duration);
  void OnCommitFailed(std::string_view result);

  MetricRegistry& registry() { return registry_; }

 private:
  struct ModelSeries {
    std::string id;
    std::string version;
    Counter* ok = nullptr;
    Counter* dead_letter = nullptr;
    Counter* expired = nullptr;
    Histogram* queue = nullptr;
    Histogram* run = nullptr;
    Histogram* total = nullptr;
    Histogram* end_to_end = nullptr;
    Histogram* rows = nullptr;
    Counter* returned = nullptr;
    Counter* runs = nullptr;
    std::array<Counter*, kCloseReasons> batches{};
  };

  MetricRegistry& registry_;
  // By SeriesSlot. All are there from the start: threads read theirs while another one is taken.
  std::vector<ModelSeries> models_{kMaxVersionSeries};
  std::size_t known_ = 0;          // So many are taken.
  std::vector<Counter*> tenants_;  // By TenantSlot; intake thread only.
  std::size_t tenant_series_ = 0;
  Counter* consumed_;
  Counter* produced_results_;
  Counter* produced_dead_letters_;
  Counter* committed_;
  Counter* decode_time_;
  Counter* gather_time_;
  Counter* run_time_;
  Counter* encode_time_;
  Counter* commit_time_;
  Counter* rebalances_;
  Gauge* assigned_;
  Histogram* commit_duration_;
  Histogram* commit_records_;
  Histogram* commit_stage_;
};

}  // namespace millrace
