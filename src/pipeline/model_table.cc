#include "pipeline/model_table.h"

#include "base/check.h"

namespace millrace {

void ModelTable::Add(std::shared_ptr<const LoadedModel> loaded, const BatchPolicy& policy,
                     Millis run_limit) {
  const ModelSlot slot(static_cast<std::int32_t>(models_.size()));
  const bool added = by_id_.emplace(loaded->ref.model_id, slot).second;
  MILLRACE_CHECK(added);
  models_.push_back(ServedModel{slot, std::move(loaded), policy, run_limit});
}

const ServedModel* ModelTable::Find(std::string_view model_id) const {
  const auto found = by_id_.find(model_id);
  return found == by_id_.end() ? nullptr : &models_[found->second.index()];
}

TenantTable::TenantTable() {
  const auto other = slots_.emplace(std::string(kOther), kOtherSlot).first;
  names_.push_back(&other->first);
}

TenantSlot TenantTable::Intern(std::string_view tenant_id) {
  const auto found = slots_.find(tenant_id);
  if (found != slots_.end()) return found->second;
  if (names_.size() >= kMaxTenants) return kOtherSlot;
  const TenantSlot slot(static_cast<std::int32_t>(names_.size()));
  names_.push_back(&slots_.emplace(std::string(tenant_id), slot).first->first);
  return slot;
}

}  // namespace millrace
