// ModelArrivals: looks for models that requests ask for and the worker does not have yet.
//
// For repository.allow_missing_for a request of an unknown model waits rather than fail: often the
// model is on its way. The intake says which models it waits for; a thread of its own looks into
// the repository for them, loads what it finds, and hands it on. A model that is there but cannot
// be loaded is looked at again, with an event that says why. Thread-safe.
#pragma once

#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <string_view>
#include <thread>

#include "base/clock.h"
#include "base/status.h"
#include "pipeline/model_table.h"

namespace millrace {

// Looks for the model: loads it, or nothing when the repository does not have it. Slow.
using ModelFinder = std::function<Result<std::optional<ModelToServe>>(const std::string& model_id)>;

class ModelArrivals {
 public:
  // Between two looks.
  static constexpr Millis kLookEvery{250};
  // Models looked for at a time; requests of others wait without that anyone looks.
  static constexpr std::size_t kMaxWanted = 64;

  // `arrived` is called on the thread that looks.
  ModelArrivals(const Clock& clock, ModelFinder finder, std::function<void(ModelToServe)> arrived)
      : clock_(clock), finder_(std::move(finder)), arrived_(std::move(arrived)) {}
  ~ModelArrivals();

  void Start();
  void Stop();
  // Looks for this model until `until`.
  void Want(std::string_view model_id, MonoTime until);

 private:
  void Run();
  // REQUIRES: the lock is held; lets go of it meanwhile.
  void LookFor(const std::string& model_id, std::unique_lock<std::mutex>& lock);

  const Clock& clock_;
  const ModelFinder finder_;
  const std::function<void(ModelToServe)> arrived_;

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::map<std::string, MonoTime, std::less<>> wanted_;  // By id: until when.
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace millrace
