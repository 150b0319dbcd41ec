#include "pipeline/model_table.h"

#include "base/check.h"
#include "transport/partitioner.h"

namespace millrace {
namespace {

// Where a key stands among all keys, 0 to ModelRoute::kWhole - 1. The partition is chosen by the
// same hash: mixed once more, so that a share of the keys is a share of those of each partition.
// The last steps are those of Austin Appleby's fmix64.
std::uint32_t PointOf(std::string_view key) {
  std::uint64_t mixed = Murmur2(key);
  mixed *= 0xff51afd7ed558ccdULL;
  mixed ^= mixed >> 33;
  mixed *= 0xc4ceb9fe1a85ec53ULL;
  mixed ^= mixed >> 33;
  return static_cast<std::uint32_t>(mixed % ModelRoute::kWhole);
}

}  // namespace

Result<Runner*> ServedModel::RunnerOf(std::size_t executor) {
  MILLRACE_DCHECK(executor < runners.size());
  std::unique_ptr<Runner>& runner = runners[executor];
  if (runner == nullptr) {
    Result<std::unique_ptr<Runner>> made = loaded->session->NewRunner();
    if (!made.ok()) return made.status().WithContext("model '" + ref().model_id + "'");
    runner = std::move(made).value();
  }
  return runner.get();
}

ServedModel* ModelRoute::Choose(std::string_view key) const {
  if (canary != nullptr && PointOf(key) < canary_keys) return canary;
  return stable;
}

ServedModel* ModelRoute::Named(std::string_view version) const {
  if (stable != nullptr && stable->ref().version == version) return stable;
  if (canary != nullptr && canary->ref().version == version) return canary;
  return nullptr;
}

ServedModel& ModelTable::Add(std::unique_ptr<ServedModel> model) {
  const std::size_t index = model->slot.index();
  MILLRACE_CHECK(index < slots_.size());
  const std::lock_guard lock(mutex_);
  MILLRACE_CHECK(slots_[index] == nullptr);
  slots_[index] = std::move(model);
  return *slots_[index];
}

void ModelTable::Remove(ModelSlot slot) {
  std::shared_ptr<ServedModel> gone;  // Destroyed after the lock.
  const std::lock_guard lock(mutex_);
  MILLRACE_CHECK(slots_[slot.index()] != nullptr);
  gone = std::move(slots_[slot.index()]);
}

std::uint64_t ModelTable::SetRoute(const std::string& model_id, ModelRoute route) {
  const std::lock_guard lock(mutex_);
  routes_[model_id] = std::move(route);
  return generation_.fetch_add(1, std::memory_order_release) + 1;
}

bool ModelTable::Taken(std::uint64_t number) const {
  return taken_.load(std::memory_order_acquire) >= number;
}

bool ModelTable::RoutesTaken() const {
  return taken_.load(std::memory_order_acquire) == generation_.load(std::memory_order_acquire);
}

std::vector<std::shared_ptr<const ServedModel>> ModelTable::versions() const {
  std::vector<std::shared_ptr<const ServedModel>> versions;
  const std::lock_guard lock(mutex_);
  for (const std::shared_ptr<ServedModel>& model : slots_) {
    if (model != nullptr) versions.push_back(model);
  }
  return versions;
}

std::size_t ModelTable::size() const { return versions().size(); }

bool ModelIndex::Refresh() {
  if (known_ == table_.generation_.load(std::memory_order_acquire)) return false;
  const std::lock_guard lock(table_.mutex_);
  routes_ = table_.routes_;
  known_ = table_.generation_.load(std::memory_order_relaxed);
  table_.taken_.store(known_, std::memory_order_release);
  return true;
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
