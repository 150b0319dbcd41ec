#include "transport/local/writer.h"

#include "base/check.h"
#include "transport/local/maintenance.h"

namespace millrace::local {

Status Writer::Open(LocalDurability durability, int cache_kib) {
  Close();
  MILLRACE_RETURN_IF_ERROR(lock_.Open(context_.dir));
  MILLRACE_RETURN_IF_ERROR(connection_.Open(context_.path, durability, cache_kib));
  sqlite3_wal_hook(connection_.handle(), &Writer::OnWal, this);
  Status status = connection_.Prepare("BEGIN IMMEDIATE", &begin_);
  if (status.ok()) status = connection_.Prepare("COMMIT", &commit_);
  if (status.ok()) status = connection_.Prepare("ROLLBACK", &rollback_);
  if (!status.ok()) Close();
  return status;
}

void Writer::Close() {
  Rollback();
  begin_ = Statement();
  commit_ = Statement();
  rollback_ = Statement();
  connection_.Close();
}

Status Writer::Begin() {
  MILLRACE_CHECK(!in_transaction_ && connection_.open());
  MILLRACE_RETURN_IF_ERROR(lock_.Acquire());
  Status status = connection_.Run(begin_);
  if (status.ok()) {
    in_transaction_ = true;
  } else {
    lock_.Release();
  }
  return status;
}

Status Writer::Commit() {
  MILLRACE_CHECK(in_transaction_);
  Status status = connection_.Run(commit_);
  if (!status.ok()) {
    Rollback();
    return status;
  }
  in_transaction_ = false;
  RestartHugeWal();
  lock_.Release();
  context_.notifier->Notify();
  if (context_.maintenance != nullptr) context_.maintenance->OnCommit(wal_frames_);
  return {};
}

void Writer::Rollback() {
  if (!in_transaction_) return;
  // SQLite has rolled back by itself after some errors; then there is nothing left to do.
  if (sqlite3_get_autocommit(connection_.handle()) == 0) {
    rollback_.Step();
    rollback_.Reset();
  }
  in_transaction_ = false;
  lock_.Release();
}

int Writer::OnWal(void* self, sqlite3*, const char*, int frames) {
  static_cast<Writer*>(self)->wal_frames_ = frames;
  return SQLITE_OK;
}

// The maintenance threads normally keep the WAL short. When writers outrun them the writer pays
// itself, with everybody else waiting: that is the bound on the WAL's size. A reader that sits on
// an old snapshot can prevent it; then it is tried again after as much growth.
void Writer::RestartHugeWal() {
  if (wal_frames_ < kHugeWalFrames) {
    restart_at_frames_ = kHugeWalFrames;
    return;
  }
  if (wal_frames_ < restart_at_frames_) return;
  restart_at_frames_ = wal_frames_ + kHugeWalFrames;
  Maintenance::RestartWal(connection_);
}

}  // namespace millrace::local
