// How ModelLifecycle keeps what is loaded within repository.memory.
#include <algorithm>
#include <optional>
#include <string>

#include "pipeline/model_lifecycle.h"
#include "telemetry/log.h"

namespace millrace {

bool ModelLifecycle::MaySleep(const std::string& model_id, Model& model,
                              const VersionSpec& stable) {
  if (model.awake || loader_.Pinned(model_id) || FindLane(model, stable) != nullptr) return false;
  return options_.lazy || (options_.memory > 0 && Staying() >= options_.memory);
}

std::size_t ModelLifecycle::Staying() const {
  const std::lock_guard lock(mutex_);  // Events may name further models meanwhile.
  std::size_t bytes = 0;
  for (const auto& [id, model] : models_) {
    for (const std::unique_ptr<Lane>& lane : model->lanes) bytes += lane->footprint;
    bytes += model->shadow_footprint;
  }
  return bytes;
}

std::size_t ModelLifecycle::LeavingBytes() const {
  std::size_t bytes = 0;
  for (const Leaving& leaving : leaving_) bytes += leaving.lane->footprint;
  return bytes;
}

std::optional<std::string> ModelLifecycle::LongestUnused(const std::string& except,
                                                         Choice choice) const {
  const auto fits = [&](const Lane& lane) {
    switch (choice) {
      case Choice::kIdle:
        return serving_->Taken(lane.route) && serving_->Idle(*lane.served);
      case Choice::kBusy:
        return serving_->Taken(lane.route) && clock_.Now() - lane.since >= kRoomPatience;
      case Choice::kAny:
        return true;
    }
    return false;
  };
  const std::lock_guard lock(mutex_);
  std::optional<std::string> found;
  MonoTime oldest = MonoTime::max();
  for (const auto& [id, model] : models_) {
    const Lane* const lane = model->stable;
    const bool fixed = id == except || lane == nullptr || lane->pinned ||
                       model->canary != nullptr || model->shadow.has_value();
    if (fixed || !fits(*lane)) continue;
    const MonoTime used = serving_->LastUsed(*lane->served);
    if (used >= oldest) continue;
    oldest = used;
    found = id;
  }
  return found;
}

void ModelLifecycle::PutToSleep(const std::string& model_id) {
  Model* model = nullptr;
  ModelTarget target;
  {
    const std::lock_guard lock(mutex_);
    model = &ModelOf(model_id);
    model->asleep = true;
    model->awake = false;
    target = model->target;
  }
  LogEvent(LogLevel::kInfo, "model_put_to_sleep", "unloaded to make room; requests load it again",
           {{"model", model_id}, {"version", model->stable->ref.version}});
  model->stable = nullptr;
  Publish(model_id, *model, target);
  RetireLanes(model_id, *model);
}

void ModelLifecycle::Trim(const std::string& except) {
  if (options_.memory == 0) return;
  while (Staying() > options_.memory) {
    const std::optional<std::string> id = LongestUnused(except, Choice::kIdle);
    if (!id.has_value()) return;
    PutToSleep(*id);
  }
}

bool ModelLifecycle::RoomFor(const std::string& model_id, MonoTime since) {
  if (options_.memory == 0) return true;
  std::size_t need = 0;
  {
    const std::lock_guard lock(mutex_);
    need = ModelOf(model_id).footprint;
  }
  const bool patient = clock_.Now() - since < kRoomPatience;
  while (Staying() + need > options_.memory) {
    std::optional<std::string> id = LongestUnused(model_id, Choice::kIdle);
    if (!id.has_value() && !patient) id = LongestUnused(model_id, Choice::kBusy);
    if (!id.has_value()) break;
    PutToSleep(*id);
  }
  if (Staying() + need > options_.memory) {
    if (LongestUnused(model_id, Choice::kAny).has_value()) return false;
    LogEvery(no_room_, LogLevel::kWarn, "models_over_budget",
             "more is loaded than repository.memory allows, and none of it may be unloaded",
             {{"bytes", Staying() + need}, {"budget", options_.memory}});
  }
  // What leaves holds its memory until its last request has its outcome.
  return leaving_.empty() || Staying() + LeavingBytes() + need <= options_.memory;
}

}  // namespace millrace
