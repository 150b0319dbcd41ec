// ModelTable: the models this worker serves, by id and by slot. Tenants: names to dense slots.
//
// Models are only ever added, by one thread at a time; slots are dense from 0 in that order, and a
// ServedModel stays where it is. Any thread reads. The tenant table belongs to the intake thread.
#pragma once

#include <atomic>
#include <cstdint>
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
#include "pipeline/outcome_estimate.h"
#include "scheduler/scheduler.h"

namespace millrace {

// A model with how it is to be run.
struct ModelToServe {
  std::shared_ptr<const LoadedModel> loaded;
  BatchPolicy policy;
  Millis run_limit{0};                                // 0: a run may take for ever.
  std::shared_ptr<const OutputMapping> outputs = {};  // Null: results hold the outputs as they are.
};

struct ServedModel : ModelToServe {
  explicit ServedModel(ModelToServe model)
      : ModelToServe(std::move(model)), outcome_size(loaded->outcome_bytes) {}

  ModelSlot slot;
  mutable OutcomeEstimate outcome_size;  // Executors teach it, whoever they are.

  const ModelRef& ref() const { return loaded->ref; }
  const RowLayout& row_layout() const { return loaded->session->row_layout(); }
};

class ModelTable {
 public:
  // Models of one worker.
  static constexpr std::size_t kMaxModels = 1024;

  ModelTable() : state_(std::make_unique<State>()) {}

  // REQUIRES: no model of this id yet, and fewer than kMaxModels.
  const ServedModel& Add(ModelToServe model);
  // Takes a lock: for set-up and reports. ModelIndex is for the data plane.
  const ServedModel* Find(std::string_view model_id) const;
  const ServedModel& at(ModelSlot slot) const { return *state_->models[slot.index()]; }
  // How many there are; at() has all slots below.
  std::size_t size() const { return state_->count.load(std::memory_order_acquire); }
  std::vector<const ServedModel*> models() const;

 private:
  struct State {
    State() { models.reserve(kMaxModels); }  // Never reallocated: at() takes no lock.
    std::vector<std::unique_ptr<const ServedModel>> models;
    std::atomic<std::size_t> count{0};
    mutable std::mutex mutex;
    StringMap<ModelSlot> by_id;  // Guarded by mutex.
  };

  std::unique_ptr<State> state_;  // So that a table can be moved until it is shared.
};

// One thread's own index of a ModelTable.
class ModelIndex {
 public:
  explicit ModelIndex(const ModelTable& table) : table_(table) {}
  // Takes in what was added since; once a poll. True if anything was.
  bool Refresh();
  const ServedModel* Find(std::string_view model_id) const {
    const auto found = by_id_.find(model_id);
    return found == by_id_.end() ? nullptr : found->second;
  }

 private:
  const ModelTable& table_;
  std::size_t known_ = 0;
  StringMap<const ServedModel*> by_id_;
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
