// Connection and Statement: SQLite as the local log uses it.
//
// Both are owned and used by one thread at a time; the connection is opened without SQLite's own
// mutexes. A Statement must be destroyed before its Connection. Internal to transport/local.
#pragma once

#include <sqlite3.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"
#include "transport/options.h"

namespace millrace::local {

class Statement {
 public:
  Statement() = default;
  explicit Statement(sqlite3_stmt* handle) : handle_(handle) {}
  Statement(Statement&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Statement& operator=(Statement&& other) noexcept {
    std::swap(handle_, other.handle_);
    return *this;
  }
  ~Statement() { sqlite3_finalize(handle_); }

  bool prepared() const { return handle_ != nullptr; }
  sqlite3_stmt* handle() const { return handle_; }

  void Bind(int index, std::int64_t value) { sqlite3_bind_int64(handle_, index, value); }
  void BindNull(int index) { sqlite3_bind_null(handle_, index); }
  // Borrows until the next Bind of `index`. A null pointer would bind NULL, hence the "".
  void BindBytes(int index, std::string_view bytes) {
    sqlite3_bind_blob64(handle_, index, bytes.data() == nullptr ? "" : bytes.data(), bytes.size(),
                        SQLITE_STATIC);
  }
  void BindText(int index, std::string_view text) {
    sqlite3_bind_text(handle_, index, text.data(), static_cast<int>(text.size()), SQLITE_TRANSIENT);
  }

  // SQLITE_ROW, SQLITE_DONE or an error.
  int Step() { return sqlite3_step(handle_); }
  void Reset() { sqlite3_reset(handle_); }

  std::int64_t Int(int column) const { return sqlite3_column_int64(handle_, column); }
  bool IsNull(int column) const { return sqlite3_column_type(handle_, column) == SQLITE_NULL; }
  // Borrowed until the next Step or Reset. Empty for NULL.
  std::string_view Bytes(int column) const {
    const void* bytes = sqlite3_column_blob(handle_, column);
    if (bytes == nullptr) return {};
    return {static_cast<const char*>(bytes),
            static_cast<std::size_t>(sqlite3_column_bytes(handle_, column))};
  }

 private:
  sqlite3_stmt* handle_ = nullptr;
};

// Resets a statement at the end of a scope, so that no early return keeps a read open.
class ResetAtExit {
 public:
  explicit ResetAtExit(Statement& statement) : statement_(statement) {}
  ~ResetAtExit() { statement_.Reset(); }
  ResetAtExit(const ResetAtExit&) = delete;
  ResetAtExit& operator=(const ResetAtExit&) = delete;

 private:
  Statement& statement_;
};

class Connection {
 public:
  Connection() = default;
  Connection(const Connection&) = delete;
  Connection& operator=(const Connection&) = delete;
  ~Connection() { Close(); }

  // Opens (or creates) the database file. `cache_kib` bounds the page cache.
  Status Open(const std::string& path, LocalDurability durability, int cache_kib);
  void Close();
  bool open() const { return handle_ != nullptr; }
  sqlite3* handle() const { return handle_; }

  Status Exec(const char* sql);
  Status Prepare(std::string_view sql, Statement* statement);
  // Steps a statement that returns no rows, and resets it.
  Status Run(Statement& statement);
  // Turns the result code of a call on this connection into a Status that names the file and says
  // what to do. REQUIRES: an error code, right after the call.
  Status Error(int code) const;

 private:
  sqlite3* handle_ = nullptr;
  std::string path_;
};

// The snapshot that a series of SELECTs sees. Ends with the object.
class ReadTransaction {
 public:
  // `begin` and `end` are "BEGIN" and "COMMIT" prepared on the connection.
  ReadTransaction(Statement& begin, Statement& end) : end_(end) {
    code_ = begin.Step();
    begin.Reset();
  }
  ~ReadTransaction() {
    if (code_ != SQLITE_DONE) return;
    end_.Step();
    end_.Reset();
  }
  ReadTransaction(const ReadTransaction&) = delete;
  ReadTransaction& operator=(const ReadTransaction&) = delete;
  int code() const { return code_; }

 private:
  Statement& end_;
  int code_ = SQLITE_OK;
};

}  // namespace millrace::local
