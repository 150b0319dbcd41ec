#include "transport/local/locks.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "base/check.h"
#include "transport/local/file_error.h"

namespace millrace::local {
namespace {

constexpr off_t kNextInLine = 0;
constexpr off_t kWriting = 1;

// A lock of the open file description, not of the process: threads of one process exclude each
// other too, and closing some other descriptor of the file drops nothing.
int LockByte(int fd, short type, off_t at) {
  struct flock lock = {};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = at;
  lock.l_len = 1;
  int result = 0;
  do {
    result = fcntl(fd, F_OFD_SETLKW, &lock);
  } while (result != 0 && errno == EINTR);
  return result;
}

// A group's name as part of a file name; two groups never share one.
std::string FileNamePart(const std::string& group) {
  std::string out;
  for (const char c : group) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                       c == '.' || c == '_' || c == '-';
    if (plain) {
      out += c;
    } else {
      out += fmt::format("%{:02X}", static_cast<unsigned char>(c));
    }
  }
  return out;
}

std::string ReadHolder(int fd) {
  std::array<char, 256> text{};
  const ssize_t got = pread(fd, text.data(), text.size(), 0);
  std::string holder(text.data(), got > 0 ? static_cast<std::size_t>(got) : 0);
  while (!holder.empty() && holder.back() == '\n') holder.pop_back();
  return holder.empty() ? "pid unknown" : holder;
}

}  // namespace

WriteLock::~WriteLock() {
  Release();
  if (fd_ >= 0) close(fd_);
}

Status WriteLock::Open(const std::string& dir) {
  MILLRACE_CHECK(!held_);
  if (fd_ >= 0) return {};
  const std::string path = dir + "/write.lock";
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  return fd_ >= 0 ? Status() : FileError(path, "open", errno);
}

Status WriteLock::Acquire() {
  MILLRACE_CHECK(fd_ >= 0 && !held_);
  if (LockByte(fd_, F_WRLCK, kNextInLine) != 0) return FileError("write.lock", "lock", errno);
  const int locked = LockByte(fd_, F_WRLCK, kWriting);
  const Status status = locked == 0 ? Status() : FileError("write.lock", "lock", errno);
  LockByte(fd_, F_UNLCK, kNextInLine);
  held_ = locked == 0;
  return status;
}

void WriteLock::Release() {
  if (!held_) return;
  LockByte(fd_, F_UNLCK, kWriting);
  held_ = false;
}

Status GroupLock::Acquire(const std::string& dir, const std::string& group) {
  MILLRACE_CHECK(fd_ < 0);
  const std::string path = fmt::format("{}/group-{}.lock", dir, FileNamePart(group));
  fd_ = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd_ < 0) return FileError(path, "open", errno);
  if (flock(fd_, LOCK_EX | LOCK_NB) != 0) {
    const int error = errno;
    Status status;
    if (error == EWOULDBLOCK) {
      status = {StatusCode::kAlreadyExists,
                fmt::format("group '{}' of this local log already has a worker ({}): the local log "
                            "serves one worker per group; use another -g, or Kafka for several "
                            "workers",
                            group, ReadHolder(fd_))};
    } else {
      status = FileError(path, "lock", error);
    }
    close(fd_);
    fd_ = -1;
    return status;
  }
  std::array<char, 65> host{};
  if (gethostname(host.data(), host.size() - 1) != 0) host[0] = '?';
  const std::string holder = fmt::format("pid {} on {}\n", getpid(), host.data());
  // Only for the message above: a full disk must not keep a worker from starting.
  if (ftruncate(fd_, 0) != 0 ||
      pwrite(fd_, holder.data(), holder.size(), 0) != static_cast<ssize_t>(holder.size())) {
    return {};
  }
  return {};
}

void GroupLock::Release() {
  if (fd_ < 0) return;
  close(fd_);
  fd_ = -1;
}

}  // namespace millrace::local
