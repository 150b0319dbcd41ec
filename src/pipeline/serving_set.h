// ServingSet: puts versions into a worker that runs, leads requests to them, and takes them out.
//
// A version comes in with Add, complete: its place in the queue, its metrics, a runner for every
// executor that has run once, so that its first batch pays for nothing. SetRoute leads requests to
// it from the intake's next poll on; requests decoded before stay with the version they were
// decoded for, so no batch mixes two and, of one key, no request is answered by an older version
// after one by a newer. Remove takes out a version that no route leads to once the last of its rows
// has been answered. One thread at a time, the one that owns the models' lifecycle.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>
#include <utility>

#include "base/status.h"

#include "pipeline/dispatch_queue.h"
#include "pipeline/model_table.h"
#include "pipeline/probe.h"

namespace millrace {

class ServingSet {
 public:
  struct Options {
    std::size_t executors = 1;
    bool journal = false;  // Runs are noted in a crash journal.
  };
  // `wake_intake`: has it take in changed routes soon; empty: it does when it does. Any thread.
  ServingSet(const Options& options, ModelTable& table, DispatchQueue& queue, Probe& probe,
             std::function<void()> wake_intake = {})
      : options_(options),
        table_(table),
        queue_(queue),
        probe_(probe),
        wake_intake_(std::move(wake_intake)) {}

  // kResourceExhausted when ModelTable::kMaxVersions are in. Slow.
  Result<ServedModel*> Add(ModelToServe model);
  // As ModelTable's.
  std::uint64_t SetRoute(const std::string& model_id, ModelRoute route);
  bool Taken(std::uint64_t number) const { return table_.Taken(number); }
  // When a request came for it last; the epoch: none did.
  MonoTime LastUsed(const ServedModel& model) const { return queue_.last_arrival(model.slot); }
  // None of its requests waits or runs at this moment.
  bool Idle(const ServedModel& model) const { return queue_.idle(model.slot); }
  // No request is on its way to it, and none will be. REQUIRES: no route leads to it.
  bool Unused(const ServedModel& model) const;
  // REQUIRES: Unused.
  void Remove(ServedModel* model);

  Probe& probe() { return probe_; }

 private:
  const Options options_;
  ModelTable& table_;
  DispatchQueue& queue_;
  Probe& probe_;
  const std::function<void()> wake_intake_;
  std::size_t count_ = 0;
};

}  // namespace millrace
