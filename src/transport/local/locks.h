// The two locks between processes: who writes now, and who is the worker of a group.
//
// Both are advisory locks on files of the log's folder that the kernel drops when their holder
// dies, however it dies. Internal to transport/local.
#pragma once

#include <string>

#include "base/status.h"

namespace millrace::local {

// Held around every write transaction, so that SQLite's writers never meet: a waiter sleeps in the
// kernel instead of polling SQLITE_BUSY. Each connection has its own; one thread at a time uses it.
//
// Two bytes of one file are locked in turn. Whoever waits to write holds the first ("next in
// line"), so a writer that comes straight back queues behind it: without that, a producer in a
// tight loop would starve the worker.
class WriteLock {
 public:
  WriteLock() = default;
  WriteLock(const WriteLock&) = delete;
  WriteLock& operator=(const WriteLock&) = delete;
  ~WriteLock();

  Status Open(const std::string& dir);
  // Waits for as long as another holds it.
  Status Acquire();
  void Release();

 private:
  int fd_ = -1;
  bool held_ = false;
};

// Membership of the one worker that a group may have here.
class GroupLock {
 public:
  GroupLock() = default;
  GroupLock(const GroupLock&) = delete;
  GroupLock& operator=(const GroupLock&) = delete;
  ~GroupLock() { Release(); }

  // Never waits. kAlreadyExists names the process that holds it.
  Status Acquire(const std::string& dir, const std::string& group);
  void Release();

 private:
  int fd_ = -1;
};

}  // namespace millrace::local
