#include "pipeline/model_arrivals.h"

#include <algorithm>
#include <vector>

#include "base/thread_name.h"
#include "telemetry/log.h"

namespace millrace {

ModelArrivals::~ModelArrivals() { Stop(); }

void ModelArrivals::Start() {
  thread_ = std::thread([this] {
    SetThreadName("mr-models");
    Run();
  });
}

void ModelArrivals::Stop() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void ModelArrivals::Want(std::string_view model_id, MonoTime until) {
  const std::lock_guard lock(mutex_);
  const auto found = wanted_.find(model_id);
  if (found != wanted_.end()) {
    found->second = std::max(found->second, until);
  } else if (wanted_.size() < kMaxWanted) {
    wanted_.emplace(model_id, until);
    changed_.notify_one();
  }
}

void ModelArrivals::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    if (wanted_.empty()) {
      changed_.wait(lock, [this] { return stop_ || !wanted_.empty(); });
      continue;
    }
    std::vector<std::string> ids;
    for (const auto& [id, until] : wanted_) ids.push_back(id);
    for (const std::string& id : ids) {
      if (!stop_) LookFor(id, lock);
    }
    const MonoTime now = clock_.Now();
    std::erase_if(wanted_, [now](const auto& entry) { return entry.second <= now; });
    changed_.wait_for(lock, kLookEvery, [this] { return stop_; });
  }
}

void ModelArrivals::LookFor(const std::string& model_id, std::unique_lock<std::mutex>& lock) {
  lock.unlock();
  Result<std::optional<ModelToServe>> found = finder_(model_id);
  if (!found.ok()) {
    LogEvent(LogLevel::kWarn, "model_not_loaded",
             "requests wait for a model that is there and cannot be loaded",
             {{"model", model_id}, {"error", found.status()}});
  } else if (found->has_value()) {
    arrived_(std::move(**found));
  }
  lock.lock();
  if (found.ok() && found->has_value()) wanted_.erase(model_id);
}

}  // namespace millrace
