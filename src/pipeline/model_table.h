// ModelTable: the versions a worker serves, by slot, and where the requests of each model go.
// Tenants: names to dense slots.
//
// A version is put in by whoever loads models (ServingSet), one thread at a time. Requests find it
// once a route leads to it; the intake takes in new routes between two polls, so that no poll is
// decoded half for one version and half for the next. A version is taken out when the intake knows
// routes that no longer lead to it and none of its rows is anywhere. The tenant table belongs to
// the intake thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/string_hash.h"
#include "base/strong.h"
#include "codec/output_mapping.h"
#include "models/repository.h"
#include "pipeline/crash_journal.h"
#include "pipeline/outcome_estimate.h"
#include "scheduler/scheduler.h"

namespace millrace {

// A model version with how it is to be run.
struct ModelToServe {
  std::shared_ptr<const LoadedModel> loaded;
  BatchPolicy policy;
  Millis run_limit{0};        // 0: a run may take for ever.
  std::size_t footprint = 0;  // Bytes that it is expected to hold while it is loaded.
  bool pinned = false;        // Is not unloaded to make room for others.
  std::shared_ptr<const OutputMapping> outputs = {};  // Null: results hold the outputs as they are.

  const ModelRef& ref() const { return loaded->ref; }
  const RowLayout& row_layout() const { return loaded->session->row_layout(); }
};

// One in its place in the worker.
struct ServedModel : ModelToServe {
  explicit ServedModel(ModelToServe model)
      : ModelToServe(std::move(model)), outcome_size(loaded->outcome_bytes) {}

  ModelSlot slot;
  SeriesSlot series;
  CrashJournal::Model journaled;         // Empty without a journal.
  mutable OutcomeEstimate outcome_size;  // Executors teach it, whoever they are.
  // By executor, each its own; null: not made yet.
  std::vector<std::unique_ptr<Runner>> runners;

  // The runner of this executor, made when it is first wanted. On the executor's thread, or before
  // a route leads here.
  Result<Runner*> RunnerOf(std::size_t executor);
};

// Where the requests of one model go. The versions stay the table's.
struct ModelRoute {
  // Of 10,000 keys.
  static constexpr std::uint32_t kWhole = 10'000;

  ServedModel* stable = nullptr;  // Null: no version serves.
  ServedModel* canary = nullptr;  // For some of the keys; null: for none.
  std::uint32_t canary_keys = 0;  // Of kWhole.
  bool asleep = false;            // Its version is loaded when requests wait for it.
  bool shadowed = false;          // A version runs beside these, for comparison.
  bool retired = false;           // No version is to serve: requests do not wait for one.
  std::string absent;             // Why no version serves, for people; empty: not known.

  // The version for requests with this key: the same for a key as long as there is a canary, and
  // for all that a smaller share had when the share grows. Null: none serves.
  ServedModel* Choose(std::string_view key) const;
  // The version that a request names; null: it does not serve.
  ServedModel* Named(std::string_view version) const;
};

class ModelTable {
 public:
  // Models of one worker.
  static constexpr std::size_t kMaxModels = 1024;
  // And versions of them at a time: while one takes over from another both are there.
  static constexpr std::size_t kMaxVersions = 2 * kMaxModels;

  ModelTable() : slots_(kMaxVersions) {}
  ModelTable(const ModelTable&) = delete;
  ModelTable& operator=(const ModelTable&) = delete;

  // REQUIRES: the version's slot is free, and below kMaxVersions.
  ServedModel& Add(std::unique_ptr<ServedModel> model);
  // REQUIRES: nobody uses it. A report may still hold it for a moment.
  void Remove(ModelSlot slot);
  // REQUIRES: the slot is taken, and the caller holds a row of it or is who adds and removes.
  ServedModel& at(ModelSlot slot) const { return *slots_[slot.index()]; }

  // Leads requests of the model from the next poll on. A route without stable and canary still says
  // that the model is known. Returns a number for Taken.
  std::uint64_t SetRoute(const std::string& model_id, ModelRoute route);
  // The intake uses the routes as they were when SetRoute returned the number, or later ones.
  bool Taken(std::uint64_t number) const;
  // The intake uses the routes as they are now, and none of those before.
  bool RoutesTaken() const;

  // For reports; any thread.
  std::vector<std::shared_ptr<const ServedModel>> versions() const;
  std::size_t size() const;  // Versions.

 private:
  friend class ModelIndex;

  std::vector<std::shared_ptr<ServedModel>> slots_;  // Its size never changes.
  std::atomic<std::uint64_t> generation_{1};
  std::atomic<std::uint64_t> taken_{0};
  mutable std::mutex mutex_;
  StringMap<ModelRoute> routes_;  // Guarded by mutex_.
};

// The intake's own copy of the routes.
class ModelIndex {
 public:
  explicit ModelIndex(ModelTable& table) : table_(table) {}
  // Takes in what was set since; once a poll, while no row waits to be admitted. True if anything
  // was: what Find returned before is gone.
  bool Refresh();
  const ModelRoute* Find(std::string_view model_id) const {
    const auto found = routes_.find(model_id);
    return found == routes_.end() ? nullptr : &found->second;
  }

 private:
  ModelTable& table_;
  std::uint64_t known_ = 0;
  StringMap<ModelRoute> routes_;
};

class TenantTable {
 public:
  // Tenants beyond this many share the slot of kOther: they are served, but as one.
  static constexpr std::size_t kMaxTenants = 65'536;
  static constexpr std::string_view kOther = "__other__";
  static constexpr TenantSlot kOtherSlot{0};

  TenantTable();
  TenantSlot Intern(std::string_view tenant_id);
  const std::string& name(TenantSlot slot) const { return *names_[slot.index()]; }
  std::size_t size() const { return names_.size(); }

 private:
  StringMap<TenantSlot> slots_;
  std::vector<const std::string*> names_;  // Keys of slots_, whose addresses are stable.
};

}  // namespace millrace
