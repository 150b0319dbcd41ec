#include "pipeline/model_lifecycle.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/check.h"
#include "base/thread_name.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

// How often versions that leave are looked at: soon enough that their memory is free for the next.
constexpr Millis kSweepEvery{20};
constexpr Millis kIdleWait{1'000};
// Loading is work, of which requests should notice little; a version may take its time to come.
constexpr int kLowerWeight = 10;

bool MayPass(StatusCode code) {
  return code == StatusCode::kUnavailable || code == StatusCode::kResourceExhausted ||
         code == StatusCode::kNotFound || code == StatusCode::kDeadlineExceeded;
}

}  // namespace

ModelLifecycle::ModelLifecycle(Options options, const Clock& clock, Log& log, VersionLoader& loader,
                               Shadow& shadow)
    : options_(std::move(options)),
      clock_(clock),
      loader_(loader),
      shadow_(shadow),
      feed_(
          log, options_.topics, options_.worker, progress_,
          [this](const ModelEvent& event) { OnEvent(event); }, [this] { OnTold(); }) {}

ModelLifecycle::~ModelLifecycle() { Stop(); }

// --- What events and requests ask for ---

ModelLifecycle::Model& ModelLifecycle::ModelOf(const std::string& model_id) {
  std::unique_ptr<Model>& model = models_[model_id];
  if (model == nullptr) model = std::make_unique<Model>();
  return *model;
}

void ModelLifecycle::OnEvent(const ModelEvent& event) {
  std::string id = event.model_id.empty() ? options_.model_path_for : event.model_id;
  if (id.empty()) {
    const auto defaults = loader_.Defaults();
    if (defaults.ok() && defaults->size() == 1) id = defaults->front().model_id;
  }
  if (id.empty()) {
    LogEvent(LogLevel::kWarn, "model_event_invalid",
             "a message with a model_path and no model was passed over: there is more than one "
             "model; set repository.model_path_for",
             {{"model_path", event.version.uri}});
    return;
  }
  LogEvent(LogLevel::kInfo, "model_event", "what shall serve changes",
           {{"model", id},
            {"action", ModelActionName(event.action)},
            {"version", event.version.version},
            {"uri", event.version.uri},
            {"issued_by", event.issued_by}});
  const std::lock_guard lock(mutex_);
  if (models_.size() >= ModelTable::kMaxModels && !models_.contains(id)) {
    LogEvent(LogLevel::kError, "too_many_models", "this worker takes no further model",
             {{"model", id}, {"limit", ModelTable::kMaxModels}});
    return;
  }
  Model& model = ModelOf(id);
  ApplyEvent(event, &model.target);
  model.has_events = true;
  model.reload = event.model_id.empty();
  model.news.push_back(event.version);
  if (std::find(dirty_.begin(), dirty_.end(), id) == dirty_.end()) dirty_.push_back(id);
  changed_.notify_one();
}

void ModelLifecycle::OnTold() {
  const std::lock_guard lock(mutex_);
  told_ = progress_.seen.load();
  if (serving_ != nullptr) NoteProgressLocked();
}

void ModelLifecycle::NoteProgressLocked() {
  if (dirty_.empty() && !busy_) progress_.applied.store(told_);
}

void ModelLifecycle::Want(std::string_view model_id, MonoTime until) {
  const std::lock_guard lock(mutex_);
  const auto found = wanted_.find(model_id);
  if (found != wanted_.end()) {
    found->second.until = std::max(found->second.until, until);
  } else if (wanted_.size() < kMaxWanted) {
    wanted_.emplace(model_id, Wanted{clock_.Now(), until});
    look_now_ = true;
    changed_.notify_one();
  }
}

// --- Lifecycle of its own ---

Status ModelLifecycle::LoadAll() {
  const auto defaults = loader_.Defaults();
  if (!defaults.ok()) return defaults.status();
  std::vector<std::string> ids;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& one : *defaults) ModelOf(one.model_id);
    dirty_.clear();
    if (models_.size() > ModelTable::kMaxModels) {
      return {StatusCode::kConfiguration,
              fmt::format("the repository and the model events name {} models, a worker takes {}",
                          models_.size(), ModelTable::kMaxModels)};
    }
    for (const auto& [id, model] : models_) ids.push_back(id);
  }
  if (!options_.lazy) loader_.Prepare();
  for (const std::string& id : ids) {
    if (cancelled_.load()) return {StatusCode::kCancelled, "stopped while models were loaded"};
    MILLRACE_RETURN_IF_ERROR(Reconcile(id));
  }
  return {};
}

Status ModelLifecycle::Serve(ServingSet& serving) {
  MILLRACE_CHECK(serving_ == nullptr);
  serving_ = &serving;
  for (const auto& [id, model] : models_) {
    for (const std::unique_ptr<Lane>& lane : model->lanes) {
      Result<ServedModel*> served = serving.Add(std::move(*lane->waiting));
      if (!served.ok()) return served.status();
      lane->waiting.reset();
      lane->served = *served;
    }
    Publish(id, *model, model->target);
    if (model->told.has_value()) {
      serving.probe().OnModelState(id, model->told->version, model->told->state);
    }
  }
  const std::lock_guard lock(mutex_);
  NoteProgressLocked();
  return {};
}

void ModelLifecycle::Start() {
  MILLRACE_CHECK(serving_ != nullptr && !thread_.joinable());
  thread_ = std::thread([this] {
    SetThreadName("mr-models");
    SetThreadNice(kLowerWeight);
    Run();
  });
  feed_.Start();
}

void ModelLifecycle::Cancel() {
  cancelled_.store(true);
  loader_.Cancel();
}

void ModelLifecycle::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  Cancel();
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
  feed_.Stop();
}

std::size_t ModelLifecycle::models() const {
  return static_cast<std::size_t>(std::count_if(
      models_.begin(), models_.end(),
      [](const auto& entry) { return entry.second->stable != nullptr || entry.second->asleep; }));
}

std::optional<std::string> ModelLifecycle::NextDirty(MonoTime now) {
  if (!dirty_.empty()) {
    std::string id = std::move(dirty_.front());
    dirty_.erase(dirty_.begin());
    return id;
  }
  for (const auto& [id, model] : models_) {
    if (model->retry_at <= now) return id;
  }
  return std::nullopt;
}

void ModelLifecycle::Run() {
  MonoTime look_at{};
  std::unique_lock lock(mutex_);
  while (!stop_) {
    const MonoTime now = clock_.Now();
    if (leaving_.size() < kMaxLeaving) {
      if (const std::optional<std::string> id = NextDirty(now); id.has_value()) {
        busy_ = true;
        lock.unlock();
        const Status told = Reconcile(*id);
        static_cast<void>(told);  // To everybody who cares.
        Sweep();
        lock.lock();
        busy_ = false;
        NoteProgressLocked();
        continue;
      }
    }
    const bool look = now >= look_at || std::exchange(look_now_, false);
    lock.unlock();
    if (look) {
      LookForWanted();
      look_at = now + (short_of_room_ ? kSweepEvery : kLookEvery);
    }
    Trim("");
    Sweep();
    lock.lock();
    if (stop_ || look_now_ || (!dirty_.empty() && leaving_.size() < kMaxLeaving)) continue;
    MonoTime wake = clock_.Now() + kIdleWait;
    if (!leaving_.empty()) wake = clock_.Now() + kSweepEvery;
    if (!wanted_.empty()) wake = std::min(wake, look_at);
    for (const auto& [id, model] : models_) wake = std::min(wake, model->retry_at);
    changed_.wait_until(lock, wake);
  }
}

void ModelLifecycle::LookForWanted() {
  std::vector<std::pair<MonoTime, std::string>> wanted;
  {
    const std::lock_guard lock(mutex_);
    const MonoTime now = clock_.Now();
    for (const auto& [id, one] : wanted_) wanted.emplace_back(one.since, id);
    std::erase_if(wanted_, [now](const auto& entry) { return entry.second.until <= now; });
  }
  std::sort(wanted.begin(), wanted.end());
  short_of_room_ = false;
  for (const auto& [since, id] : wanted) {
    if (!LookFor(id, since)) short_of_room_ = true;
  }
}

bool ModelLifecycle::LookFor(const std::string& model_id, MonoTime since) {
  bool asleep = false;
  MonoTime retry_at = MonoTime::max();
  {
    const std::lock_guard lock(mutex_);
    const auto found = models_.find(model_id);
    asleep = found != models_.end() && found->second->asleep;
    if (found != models_.end()) retry_at = found->second->retry_at;
  }
  if (retry_at != MonoTime::max()) return true;  // It failed, and has its time.
  if (asleep && (short_of_room_ || !RoomFor(model_id, since))) return false;
  if (!asleep) {
    const auto spec = loader_.DefaultOf(model_id);
    if (!spec.ok() || !spec->has_value()) return true;
  }
  bool there = false;
  {
    const std::lock_guard lock(mutex_);
    if (models_.size() >= ModelTable::kMaxModels && !models_.contains(model_id)) return true;
    Model& model = ModelOf(model_id);
    there = model.stable != nullptr;
    model.awake = true;
  }
  if (!there) {
    const Status told = Reconcile(model_id);
    static_cast<void>(told);
  }
  const std::lock_guard lock(mutex_);
  if (ModelOf(model_id).stable != nullptr) wanted_.erase(model_id);
  return true;
}

// --- From what shall be to what is ---

Result<std::optional<VersionSpec>> ModelLifecycle::StableOf(const std::string& model_id,
                                                            const ModelTarget& target) {
  if (target.retired) return std::optional<VersionSpec>();
  if (target.stable.has_value()) return target.stable;
  Result<std::optional<VersionSpec>> chosen = loader_.DefaultOf(model_id);
  if (!chosen.ok() || !chosen->has_value()) return chosen;
  const std::vector<std::string>& retired = target.retired_versions;
  if (std::find(retired.begin(), retired.end(), (*chosen)->version) != retired.end()) {
    return std::optional<VersionSpec>();
  }
  return chosen;
}

Status ModelLifecycle::Reconcile(const std::string& model_id) {
  ModelTarget target;
  Model* found = nullptr;
  bool reload = false;
  bool has_events = false;
  {
    const std::lock_guard lock(mutex_);
    found = &ModelOf(model_id);
    target = found->target;
    has_events = found->has_events;
    reload = std::exchange(found->reload, false);
    if (!found->news.empty() && serving_ != nullptr) found->awake = true;
    for (const VersionSpec& spec : found->news) {
      std::erase_if(found->failed, [&spec](const auto& entry) { return entry.first == spec; });
    }
    found->news.clear();
    found->retry_at = MonoTime::max();
  }
  Model& model = *found;
  const Result<std::optional<VersionSpec>> stable = StableOf(model_id, target);
  if (!stable.ok()) return stable.status();
  Lane* now = nullptr;
  const bool sleeps = stable->has_value() && MaySleep(model_id, model, **stable);
  if (stable->has_value() && !sleeps) {
    now = Ensure(model_id, model, {**stable, reload});
    if (now == nullptr && serving_ == nullptr && !has_events) {
      const Failed* const failed = FailureOf(model, **stable);
      return failed != nullptr ? failed->status : Status(StatusCode::kCancelled, "stopped");
    }
    if (now == nullptr) now = model.stable;
    if (now == nullptr) now = FallBack(model_id, model, target);
  }
  Lane* canary = nullptr;
  if (target.canary.has_value() && !target.retired && !sleeps) {
    canary = Ensure(model_id, model, {*target.canary, false});
  }
  model.stable = now;
  model.canary = canary;
  EnsureShadow(model_id, model, target);
  {
    const std::lock_guard lock(mutex_);
    model.asleep = sleeps;
  }
  if (now != nullptr) model.footprint = now->footprint;
  if (serving_ != nullptr) Trim(model_id);
  if (serving_ != nullptr) Publish(model_id, model, target);
  RetireLanes(model_id, model);
  TellOutcome(model_id, model, target);
  const std::lock_guard lock(mutex_);
  for (const auto& [spec, failed] : model.failed) {
    const bool wanted =
        spec == target.canary || spec == target.shadow || (stable->has_value() && spec == **stable);
    if (wanted && failed.pause > Millis(0)) {
      model.retry_at = std::min(model.retry_at, failed.retry_at);
    }
  }
  return {};
}

void ModelLifecycle::EnsureShadow(const std::string& model_id, Model& model,
                                  const ModelTarget& target) {
  const std::optional<VersionSpec> wanted =
      target.retired ? std::optional<VersionSpec>() : target.shadow;
  if (model.shadow == wanted) return;
  if (!wanted.has_value()) {
    shadow_.Set(model_id, nullptr);
    model.shadow.reset();
    model.shadow_footprint = 0;
    return;
  }
  const Failed* const failed = FailureOf(model, *wanted);
  if (failed != nullptr && (failed->pause == Millis(0) || clock_.Now() < failed->retry_at)) return;
  Result<ModelToServe> loaded = loader_.Load(model_id, *wanted, [&](ModelState state) {
    TellState(model_id, model, *wanted, state, "shadow");
  });
  if (!loaded.ok()) {
    NoteFailure(model_id, model, *wanted, loaded.status());
    return;
  }
  std::erase_if(model.failed, [&](const auto& entry) { return entry.first == *wanted; });
  model.shadow_footprint = loaded->footprint;
  shadow_.Set(model_id, std::make_shared<const ModelToServe>(std::move(loaded).value()));
  model.shadow = wanted;
}

// As a worker would have it that was there when these served.
ModelLifecycle::Lane* ModelLifecycle::FallBack(const std::string& model_id, Model& model,
                                               const ModelTarget& target) {
  for (auto spec = target.earlier.rbegin(); spec != target.earlier.rend(); ++spec) {
    if (Lane* const lane = Ensure(model_id, model, {*spec, false}); lane != nullptr) return lane;
  }
  const auto chosen = loader_.DefaultOf(model_id);
  if (!chosen.ok() || !chosen->has_value()) return nullptr;
  return Ensure(model_id, model, {**chosen, false});
}

ModelLifecycle::Lane* ModelLifecycle::FindLane(Model& model, const VersionSpec& spec) {
  for (const std::unique_ptr<Lane>& lane : model.lanes) {
    if (spec == lane->spec) return lane.get();
    const bool same_bytes = !spec.sha256.empty() && spec.sha256 == lane->ref.sha256;
    if (same_bytes && spec.version == lane->ref.version) return lane.get();
  }
  return nullptr;
}

const ModelLifecycle::Failed* ModelLifecycle::FailureOf(const Model& model,
                                                        const VersionSpec& spec) {
  for (const auto& [failed_spec, failed] : model.failed) {
    if (failed_spec == spec) return &failed;
  }
  return nullptr;
}

ModelLifecycle::Lane* ModelLifecycle::Ensure(const std::string& model_id, Model& model,
                                             const Wish& wish) {
  if (!wish.reload) {
    if (Lane* const lane = FindLane(model, wish.spec); lane != nullptr) return lane;
  }
  const Failed* const failed = FailureOf(model, wish.spec);
  if (failed != nullptr && (failed->pause == Millis(0) || clock_.Now() < failed->retry_at)) {
    return nullptr;
  }
  Result<std::unique_ptr<Lane>> lane = LoadLane(model_id, model, wish);
  if (!lane.ok()) {
    NoteFailure(model_id, model, wish.spec, lane.status());
    return nullptr;
  }
  std::erase_if(model.failed, [&](const auto& entry) { return entry.first == wish.spec; });
  if (*lane == nullptr) return FindLane(model, wish.spec);  // It is there already.
  model.lanes.push_back(std::move(lane).value());
  return model.lanes.back().get();
}

// Null: what was loaded serves already.
Result<std::unique_ptr<ModelLifecycle::Lane>> ModelLifecycle::LoadLane(const std::string& model_id,
                                                                       Model& model,
                                                                       const Wish& wish) {
  Result<ModelToServe> loaded = loader_.Load(model_id, wish.spec, [&](ModelState state) {
    TellState(model_id, model, wish.spec, state, "");
  });
  if (!loaded.ok()) return loaded.status();
  if (wish.reload) {
    Lane* const lane = FindLane(model, wish.spec);
    if (lane != nullptr && lane->ref.sha256 == loaded->ref().sha256) {
      return std::unique_ptr<Lane>();
    }
    // The place names other bytes now: what it named before is no longer what it says.
    if (lane != nullptr) lane->spec.sha256 = lane->ref.sha256;
  }
  auto lane = std::make_unique<Lane>();
  lane->spec = wish.spec;
  lane->ref = loaded->ref();
  lane->footprint = loaded->footprint;
  lane->pinned = loaded->pinned;
  if (serving_ == nullptr) {
    lane->waiting = std::move(loaded).value();
    return lane;
  }
  Result<ServedModel*> served = serving_->Add(std::move(loaded).value());
  if (!served.ok()) return served.status();
  lane->served = *served;
  serving_->probe().OnModelLoad(model_id, true);
  return lane;
}

void ModelLifecycle::NoteFailure(const std::string& model_id, Model& model, const VersionSpec& spec,
                                 const Status& status) {
  if (status.code() == StatusCode::kCancelled) return;
  LogEvent(LogLevel::kError, "model_not_loaded",
           "a version cannot be loaded; what served before goes on",
           {{"model", model_id}, {"version", spec.version}, {"error", status}});
  if (serving_ != nullptr) serving_->probe().OnModelLoad(model_id, false);
  // What lies in the worker's own folder may be mended there.
  const bool mendable = spec.uri.empty() && spec.sha256.empty();
  Millis pause = mendable || MayPass(status.code()) ? kFirstRetry : Millis(0);
  auto found = std::find_if(model.failed.begin(), model.failed.end(),
                            [&](const auto& entry) { return entry.first == spec; });
  if (found == model.failed.end()) {
    model.failed.emplace_back(spec, Failed());
    found = std::prev(model.failed.end());
  } else if (pause > Millis(0)) {
    pause = std::min(kLongestRetry, found->second.pause * 2);
  }
  found->second = {status, pause, clock_.Now() + pause};
}

void ModelLifecycle::Publish(const std::string& model_id, Model& model, const ModelTarget& target) {
  ModelRoute route;
  if (model.stable != nullptr) route.stable = model.stable->served;
  if (model.canary != nullptr) {
    route.canary = model.canary->served;
    route.canary_keys =
        static_cast<std::uint32_t>(std::lround(target.canary_percent * ModelRoute::kWhole / 100.0));
  }
  route.shadowed = model.shadow.has_value();
  route.asleep = route.stable == nullptr && model.asleep;
  if (route.stable == nullptr) {
    route.retired = target.retired || !target.retired_versions.empty();
    if (route.retired) {
      route.absent = "an event has retired it";
    } else if (!model.failed.empty()) {
      route.absent = model.failed.back().second.status.message();
    }
  }
  const std::uint64_t number = serving_->SetRoute(model_id, std::move(route));
  for (Lane* const lane : {model.stable, model.canary}) {
    if (lane == nullptr || lane->route != 0) continue;
    lane->route = number;
    lane->since = clock_.Now();
  }
}

void ModelLifecycle::RetireLanes(const std::string& model_id, Model& model) {
  for (auto lane = model.lanes.begin(); lane != model.lanes.end();) {
    if (lane->get() == model.stable || lane->get() == model.canary) {
      ++lane;
      continue;
    }
    if ((*lane)->served != nullptr) leaving_.push_back({model_id, std::move(*lane)});
    lane = model.lanes.erase(lane);
  }
}

void ModelLifecycle::Sweep() {
  std::erase_if(leaving_, [this](const Leaving& leaving) {
    ServedModel* const served = leaving.lane->served;
    if (!serving_->Unused(*served)) return false;
    const ModelRef ref = served->ref();
    serving_->Remove(served);
    serving_->probe().OnModelState(ref.model_id, ref.version, ModelState::kRetired);
    LogEvent(LogLevel::kInfo, "model_unloaded", "a version that serves no more has left",
             {{"model", ref.model_id}, {"version", ref.version}});
    return true;
  });
}

}  // namespace millrace
