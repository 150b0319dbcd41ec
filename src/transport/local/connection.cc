#include "transport/local/connection.h"

#include <fmt/format.h>

#include <cerrno>
#include <cstring>

namespace millrace::local {
namespace {

// Only strangers to our lock file (a shell, a backup) and the first opener after a crash ever make
// us wait for SQLite's own locks.
constexpr int kBusyTimeoutMs = 3000;

bool NoSpace(int system_error) { return system_error == ENOSPC || system_error == EDQUOT; }

}  // namespace

Status Connection::Open(const std::string& path, LocalDurability durability, int cache_kib) {
  Close();
  path_ = path;
  const int code =
      sqlite3_open_v2(path.c_str(), &handle_,
                      SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  if (code != SQLITE_OK) {
    const Status status = Error(code);
    Close();
    return status;
  }
  sqlite3_extended_result_codes(handle_, 1);
  sqlite3_busy_timeout(handle_, kBusyTimeoutMs);
  // No mmap: mapped pages count as resident, and a worker's memory is promised. Deleted records
  // need not be overwritten with zeros. Checkpoints are the maintenance thread's (maintenance.h).
  const std::string pragmas = fmt::format(
      "PRAGMA synchronous={}; PRAGMA cache_size=-{}; PRAGMA mmap_size=0; PRAGMA temp_store=MEMORY; "
      "PRAGMA secure_delete=OFF; PRAGMA wal_autocheckpoint=0;",
      durability == LocalDurability::kFull ? "FULL" : "NORMAL", cache_kib);
  Status status = Exec(pragmas.c_str());
  if (!status.ok()) Close();
  return status;
}

void Connection::Close() {
  if (handle_ == nullptr) return;
  sqlite3_close_v2(handle_);
  handle_ = nullptr;
}

Status Connection::Exec(const char* sql) {
  const int code = sqlite3_exec(handle_, sql, nullptr, nullptr, nullptr);
  return code == SQLITE_OK ? Status() : Error(code);
}

Status Connection::Prepare(std::string_view sql, Statement* statement) {
  sqlite3_stmt* handle = nullptr;
  const int code = sqlite3_prepare_v3(handle_, sql.data(), static_cast<int>(sql.size()),
                                      SQLITE_PREPARE_PERSISTENT, &handle, nullptr);
  if (code != SQLITE_OK) return Error(code);
  *statement = Statement(handle);
  return {};
}

Status Connection::Run(Statement& statement) {
  const int code = statement.Step();
  Status status;
  if (code != SQLITE_DONE && code != SQLITE_ROW) status = Error(code);
  statement.Reset();
  return status;
}

Status Connection::Error(int code) const {
  const int system_error = handle_ == nullptr ? 0 : sqlite3_system_errno(handle_);
  const char* said = handle_ == nullptr ? sqlite3_errstr(code) : sqlite3_errmsg(handle_);
  const std::string what = fmt::format("local log {}: {} (SQLite {})", path_, said, code);
  const std::string cause =
      system_error == 0 ? std::string() : fmt::format(": {}", std::strerror(system_error));
  switch (code & 0xFF) {
    case SQLITE_FULL:
      return {StatusCode::kResourceExhausted,
              what + "; the disk is full: free space there, the work goes on by itself"};
    case SQLITE_NOMEM:
      return {StatusCode::kResourceExhausted, what + "; the machine is out of memory"};
    case SQLITE_IOERR:
      if (NoSpace(system_error)) {
        return {StatusCode::kResourceExhausted,
                what + cause + "; free space there, the work goes on by itself"};
      }
      return {StatusCode::kUnavailable, what + cause + "; check the disk that holds it"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return {StatusCode::kUnavailable,
              what + "; another program holds it open for writing: close it, or wait"};
    case SQLITE_CANTOPEN:
    case SQLITE_READONLY:
    case SQLITE_PERM:
    case SQLITE_AUTH:
      return {StatusCode::kUnavailable,
              what + cause + "; make the folder and its files writable for this user"};
    case SQLITE_CONSTRAINT:  // An offset that is taken already.
    case SQLITE_CORRUPT:
    case SQLITE_NOTADB:
    case SQLITE_FORMAT:
      return {StatusCode::kCorruption,
              what + "; the file is damaged: restore it from a backup, or start a new folder"};
    default:
      return {StatusCode::kInternal, what + cause};
  }
}

}  // namespace millrace::local
