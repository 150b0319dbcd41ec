// Maintenance: the background thread of an opened local log, "mr-log".
//
// Checkpoints: whoever commits tells the thread how long the WAL is; from kCheckpointFrames on it
// copies the WAL into the database file beside readers and writers (PASSIVE), then, with the write
// lock held for the little that was appended meanwhile, makes the next writer start the WAL from
// its beginning (RESTART). Without the second step readers and writers that never rest would keep
// the WAL growing for ever. Several processes may do so at once; SQLite lets one and the others
// skip.
//
// Retention: in a process that runs a worker, every kRetentionInterval (retention.h).
//
// Methods may be called from any thread. Internal to transport/local.
#pragma once

#include <condition_variable>
#include <memory>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/status.h"
#include "transport/local/catalog.h"
#include "transport/local/connection.h"
#include "transport/local/log_context.h"

namespace millrace::local {

class Retention;

// WAL lengths in pages: 32 MiB, and 256 MiB at which a writer restarts the WAL itself. A shorter
// WAL would copy half-filled pages more often; a longer one only costs disk and recovery time.
inline constexpr int kCheckpointFrames = (32 << 20) / kPageBytes;
inline constexpr int kHugeWalFrames = (256 << 20) / kPageBytes;

class Maintenance {
 public:
  static constexpr Millis kRetentionInterval{30'000};

  // `context` must outlive the object.
  explicit Maintenance(const LogContext& context);
  ~Maintenance();
  Maintenance(const Maintenance&) = delete;
  Maintenance& operator=(const Maintenance&) = delete;

  // Starts the thread; once it runs, does nothing more.
  void StartCheckpoints();
  void StartRetention();
  // Joins the thread.
  void Stop();

  // The WAL has `frames` pages after a commit.
  void OnCommit(int frames) {
    if (frames >= kCheckpointFrames) RequestCheckpoint();
  }

  // Copies what is left of the WAL and makes the next writer start it afresh. Waits briefly for
  // readers; does nothing when they do not finish. REQUIRES: the write lock, no transaction.
  static void RestartWal(Connection& connection);

 private:
  void RequestCheckpoint();
  void StartThread();
  void Loop();
  void Checkpoint();

  const LogContext& context_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool checkpoint_wanted_ = false;
  bool retention_wanted_ = false;
  bool stopping_ = false;
  std::thread thread_;

  // The thread's own.
  Connection connection_;
  std::unique_ptr<Retention> retention_;
};

}  // namespace millrace::local
