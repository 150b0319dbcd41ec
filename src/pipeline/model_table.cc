#include "pipeline/model_table.h"

#include "base/check.h"

namespace millrace {

const ServedModel& ModelTable::Add(ModelToServe model) {
  const std::size_t count = size();
  MILLRACE_CHECK(count < kMaxModels);
  auto served = std::make_unique<ServedModel>(std::move(model));
  served->slot = ModelSlot(static_cast<std::int32_t>(count));
  const ServedModel& added = *served;
  state_->models.push_back(std::move(served));
  {
    const std::lock_guard lock(state_->mutex);
    const bool is_new = state_->by_id.emplace(added.ref().model_id, added.slot).second;
    MILLRACE_CHECK(is_new);
  }
  state_->count.store(count + 1, std::memory_order_release);
  return added;
}

const ServedModel* ModelTable::Find(std::string_view model_id) const {
  const std::lock_guard lock(state_->mutex);
  const auto found = state_->by_id.find(model_id);
  return found == state_->by_id.end() ? nullptr : &at(found->second);
}

std::vector<const ServedModel*> ModelTable::models() const {
  std::vector<const ServedModel*> models;
  const std::size_t count = size();
  for (std::size_t i = 0; i < count; ++i) models.push_back(state_->models[i].get());
  return models;
}

bool ModelIndex::Refresh() {
  const std::size_t count = table_.size();
  const bool grown = known_ < count;
  for (; known_ < count; ++known_) {
    const ServedModel& model = table_.at(ModelSlot(static_cast<std::int32_t>(known_)));
    by_id_.emplace(model.ref().model_id, &model);
  }
  return grown;
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
