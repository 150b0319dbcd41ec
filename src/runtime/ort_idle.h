// IdleWatch: takes memory back from models that stand idle.
//
// Inside the runtime module only. It knows the sessions of one engine, owns none of them, and has
// one thread ("mr-idle") from the first of them on, which wakes once in `after`. A session none of
// whose runners has run since the last time gives back what its runners hold of large batches; then
// the library's arena, which all sessions share, gives the system what no run uses. The same when a
// session has gone. Safe from any thread; a run never waits for it longer than to free a buffer.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "runtime/ort_process.h"

struct OrtRunOptions;
struct OrtSession;

namespace millrace {

class OrtModelSession;

class IdleWatch {
 public:
  // With an `after` of 0 it does nothing.
  IdleWatch(const OrtProcess& process, Millis after) : process_(process), after_(after) {}
  // REQUIRES: all sessions were removed.
  ~IdleWatch();

  void Add(OrtModelSession& session);
  void Remove(OrtModelSession& session);

 private:
  struct Watched {
    OrtModelSession* session = nullptr;
    std::uint64_t runs = 0;  // At the last look.
    bool trimmed = false;    // Nothing has run since it gave back what it held.
  };

  void Watch();
  // REQUIRES: mutex_ is held. Whether the arena may hold what nobody needs.
  bool TrimLocked();
  Status ShrinkArena();

  const OrtProcess& process_;
  const Millis after_;

  // Of the thread alone: a model of one node, to have something to run.
  OrtPtr<OrtSession> occasion_;
  OrtPtr<OrtRunOptions> shrink_;

  std::mutex mutex_;
  std::condition_variable ends_;
  std::vector<Watched> sessions_;
  bool session_gone_ = false;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace millrace
