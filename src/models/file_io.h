// File descriptors with an owner, and the few things that are done with them here.
//
// Errors carry the path and the system's reason; a full disk, a quota and a size limit are all
// kResourceExhausted. Any thread; an OpenFile belongs to one.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>
#include <utility>

#include "base/status.h"

namespace millrace {

class OpenFile {
 public:
  OpenFile() = default;
  explicit OpenFile(int fd) : fd_(fd) {}
  OpenFile(OpenFile&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  OpenFile& operator=(OpenFile&& other) noexcept;
  ~OpenFile() { Close(); }

  // Never follows a link in the last part of the path; closed on exec. `flags` and `mode` as of
  // open(2).
  static Result<OpenFile> Open(const std::string& path, int flags, mode_t mode = 0600);

  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  void Close();

 private:
  int fd_ = -1;
};

// `what` as in "cannot be written"; `error` an errno.
Status FileError(const std::string& path, std::string_view what, int error);

Status WriteAll(int fd, std::string_view bytes, const std::string& path);

// At most `max_bytes`; an error when there are more. kNotFound when there is no such file.
Result<std::string> ReadSmallFile(const std::string& path, std::size_t max_bytes);

// The whole file or nothing, whenever the process ends: written beside and renamed.
Status ReplaceFile(const std::string& path, std::string_view bytes);

// Makes what is in the folder outlast a power cut.
Status SyncFolder(const std::string& path);

// As mkdir -p, for the owner only.
Status MakeFolders(const std::string& path);

}  // namespace millrace
