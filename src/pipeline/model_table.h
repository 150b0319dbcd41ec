// ModelTable: the models this worker serves, by id and by slot. Tenants: names to dense slots.
//
// The model table is filled before the worker starts and not changed while it runs; every thread
// reads it. The tenant table belongs to the intake thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/string_hash.h"
#include "base/strong.h"
#include "models/repository.h"
#include "scheduler/scheduler.h"

namespace millrace {

struct ServedModel {
  ModelSlot slot;
  std::shared_ptr<const LoadedModel> loaded;
  BatchPolicy policy;
  Millis run_limit{0};  // 0: a run may take for ever.

  const ModelRef& ref() const { return loaded->ref; }
  const RowLayout& row_layout() const { return loaded->session->row_layout(); }
};

class ModelTable {
 public:
  // REQUIRES: no model of this id yet. Slots are dense from 0, in the order of adding.
  void Add(std::shared_ptr<const LoadedModel> loaded, const BatchPolicy& policy,
           Millis run_limit = Millis(0));
  const ServedModel* Find(std::string_view model_id) const;
  const ServedModel& at(ModelSlot slot) const { return models_[slot.index()]; }
  const std::vector<ServedModel>& models() const { return models_; }

 private:
  std::vector<ServedModel> models_;
  StringMap<ModelSlot> by_id_;
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
