// Writer: a connection that writes, in turn with every other writer of the log.
//
// Used by one thread at a time. Begin takes the write lock, Commit and Rollback give it back; a
// Writer that is destroyed inside a transaction rolls it back. Internal to transport/local.
#pragma once

#include "base/status.h"
#include "transport/local/connection.h"
#include "transport/local/locks.h"
#include "transport/local/log_context.h"

namespace millrace::local {

class Writer {
 public:
  // `context` must outlive the Writer.
  explicit Writer(const LogContext& context) : context_(context) {}
  ~Writer() { Rollback(); }
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Statements prepared on the connection must be gone before the second Open.
  Status Open(LocalDurability durability, int cache_kib);
  // Closes the connection; Open again before Begin.
  void Close();
  bool open() const { return connection_.open(); }
  Connection& connection() { return connection_; }

  // Waits for its turn.
  Status Begin();
  // On an error nothing of the transaction is there and the lock is given back. On success wakes
  // the readers of every process.
  Status Commit();
  void Rollback();

 private:
  static int OnWal(void* self, sqlite3*, const char*, int frames);
  void RestartHugeWal();

  const LogContext& context_;
  WriteLock lock_;
  Connection connection_;
  Statement begin_, commit_, rollback_;
  bool in_transaction_ = false;
  int wal_frames_ = 0;  // After the last commit of ours.
  int restart_at_frames_ = 0;
};

}  // namespace millrace::local
