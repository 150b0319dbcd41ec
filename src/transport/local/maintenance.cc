#include "transport/local/maintenance.h"

#include <csignal>

#include "base/thread_name.h"
#include "transport/local/locks.h"
#include "transport/local/retention.h"

namespace millrace::local {
namespace {

constexpr int kCacheKib = 1024;
// A reader's poll takes a few milliseconds; one that takes longer must not hold up the writers.
constexpr int kReaderWaitMs = 50;
constexpr int kBusyTimeoutMs = 3000;

}  // namespace

Maintenance::Maintenance(const LogContext& context) : context_(context) {}

Maintenance::~Maintenance() { Stop(); }

void Maintenance::StartCheckpoints() {
  const std::lock_guard<std::mutex> lock(mutex_);
  StartThread();
}

void Maintenance::StartRetention() {
  const std::lock_guard<std::mutex> lock(mutex_);
  retention_wanted_ = true;
  StartThread();
  changed_.notify_one();
}

void Maintenance::StartThread() {
  if (thread_.joinable() || stopping_) return;
  // Signals are for the program's main thread.
  sigset_t all;
  sigset_t before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  thread_ = std::thread([this] { Loop(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
}

void Maintenance::Stop() {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    stopping_ = true;
    changed_.notify_one();
  }
  if (thread_.joinable()) thread_.join();
}

void Maintenance::RequestCheckpoint() {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (checkpoint_wanted_) return;
  checkpoint_wanted_ = true;
  changed_.notify_one();
}

void Maintenance::Loop() {
  SetThreadName("mr-log");
  MonoTime next_retention = SystemClock().Now();
  std::unique_lock<std::mutex> lock(mutex_);
  while (!stopping_) {
    if (checkpoint_wanted_) {
      lock.unlock();
      Checkpoint();
      lock.lock();
      checkpoint_wanted_ = false;
      continue;
    }
    if (retention_wanted_ && SystemClock().Now() >= next_retention) {
      lock.unlock();
      if (retention_ == nullptr) retention_ = std::make_unique<Retention>(context_);
      // An error (a full disk, say) passes or shows in the commits; the next round tries again.
      const auto removed = retention_->RunOnce(SystemClock().WallNow(), [this] {
        const std::lock_guard<std::mutex> stop_lock(mutex_);
        return stopping_ || checkpoint_wanted_;
      });
      (void)removed;
      next_retention = SystemClock().Now() + kRetentionInterval;
      lock.lock();
      continue;
    }
    const auto wanted = [this] { return stopping_ || checkpoint_wanted_; };
    if (retention_wanted_) {
      changed_.wait_until(lock, next_retention, wanted);
    } else {
      changed_.wait(lock, [&] { return wanted() || retention_wanted_; });
    }
  }
  lock.unlock();
  retention_.reset();
  connection_.Close();
}

void Maintenance::Checkpoint() {
  if (!connection_.open() &&
      !connection_.Open(context_.path, context_.durability, kCacheKib).ok()) {
    return;
  }
  // Whoever else checkpoints at this moment does the same work: BUSY is no error.
  sqlite3_wal_checkpoint_v2(connection_.handle(), nullptr, SQLITE_CHECKPOINT_PASSIVE, nullptr,
                            nullptr);
  WriteLock write_lock;
  if (!write_lock.Open(context_.dir).ok() || !write_lock.Acquire().ok()) return;
  RestartWal(connection_);
}

void Maintenance::RestartWal(Connection& connection) {
  sqlite3_busy_timeout(connection.handle(), kReaderWaitMs);
  sqlite3_wal_checkpoint_v2(connection.handle(), nullptr, SQLITE_CHECKPOINT_RESTART, nullptr,
                            nullptr);
  sqlite3_busy_timeout(connection.handle(), kBusyTimeoutMs);
}

}  // namespace millrace::local
