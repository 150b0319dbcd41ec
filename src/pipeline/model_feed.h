// ModelFeed: reads the model event topic, and writes what the worker made of it to the model status
// topic.
//
// CatchUp reads what there is, on the caller's thread, before the worker serves; then a thread of
// its own, mr-events, follows. Statuses are kept until they are written, the last one of each
// model; they are not part of any unit of work and may be written again. A log without the event
// topic is looked at again from time to time. Tell is thread-safe; the rest belongs to the owner.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "pipeline/model_progress.h"
#include "telemetry/log.h"
#include "transport/log.h"
#include "types/model_event.h"

namespace millrace {

class ModelFeed {
 public:
  using OnEvent = std::function<void(const ModelEvent& event)>;
  // All events that were read so far were told.
  using OnTold = std::function<void()>;

  // `log` and `progress`, of which the feed sets `seen`, must outlive the feed. The functions are
  // called on the thread that reads.
  ModelFeed(Log& log, const TopicOptions& topics, std::string worker, ModelProgress& progress,
            OnEvent on_event, OnTold on_told);
  ~ModelFeed() { Stop(); }

  // Reads the events that are there at this moment. kUnavailable when the log does not answer by
  // `deadline`, kCancelled once `cancelled`.
  Status CatchUp(MonoTime deadline, const std::atomic<bool>& cancelled);
  void Start();
  // Writes the worker's tombstones if the log answers, and ends.
  void Stop();
  // Fills in worker and time.
  void Tell(ModelStatus status);

 private:
  Status Open();
  Status ReadSome(Millis max_wait);
  std::int64_t Position() const;
  bool AtEnd() const;
  void Run();
  Status OpenStatus();
  Status WriteStatuses();
  void Leave();

  Log& log_;
  const TopicOptions topics_;
  const std::string worker_;
  ModelProgress& progress_;
  const OnEvent on_event_;
  const OnTold on_told_;
  LogLimiter away_{Millis(30'000)};
  LogLimiter unwritten_{Millis(30'000)};

  // Of whoever reads.
  std::unique_ptr<Reader> reader_;  // Null: not open yet. Set under mutex_.
  std::vector<Offset> ends_;        // When it was opened, by partition slot.
  RecordBatch batch_;
  std::unique_ptr<Producer> producer_;
  MonoTime look_for_status_{};  // While there is no topic for them.

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_.
  std::map<std::string, ModelStatus> unsent_;  // By model.
  std::set<std::string> told_;                 // Models with a status in the topic.
  bool stop_ = false;

  std::thread thread_;
};

}  // namespace millrace
