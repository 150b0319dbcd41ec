#include "pipeline/serving_set.h"

#include <memory>

#include "base/check.h"

namespace millrace {

Result<ServedModel*> ServingSet::Add(ModelToServe model) {
  if (count_ >= ModelTable::kMaxVersions) {
    return Status(StatusCode::kResourceExhausted,
                  "this worker holds " + std::to_string(count_) +
                      " model versions, which is all it takes; retire some");
  }
  auto served = std::make_unique<ServedModel>(std::move(model));
  served->runners.resize(options_.executors);
  for (std::size_t i = 0; i < options_.executors; ++i) {
    const Result<Runner*> runner = served->RunnerOf(i);
    if (!runner.ok()) return runner.status();
    MILLRACE_RETURN_IF_ERROR(TrySoundRow(*served->loaded, **runner));
  }
  if (options_.journal) served->journaled = CrashJournal::ModelOf(served->ref());
  served->series = probe_.AddModel(*served->loaded);
  served->slot = queue_.AddModel(served->policy);
  ++count_;
  return &table_.Add(std::move(served));
}

std::uint64_t ServingSet::SetRoute(const std::string& model_id, ModelRoute route) {
  const std::uint64_t number = table_.SetRoute(model_id, std::move(route));
  if (wake_intake_) wake_intake_();
  return number;
}

bool ServingSet::Unused(const ServedModel& model) const {
  // In this order: once the intake has let go of it, idle stays true.
  return table_.RoutesTaken() && queue_.idle(model.slot);
}

void ServingSet::Remove(ServedModel* model) {
  MILLRACE_CHECK(Unused(*model));
  const ModelSlot slot = model->slot;
  queue_.RemoveModel(slot);
  table_.Remove(slot);
  --count_;
}

}  // namespace millrace
