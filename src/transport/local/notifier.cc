#include "transport/local/notifier.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <ctime>

#include "transport/local/file_error.h"

namespace millrace::local {
namespace {

constexpr std::size_t kFileBytes = 4096;

static_assert(std::atomic<std::uint32_t>::is_always_lock_free &&
                  sizeof(std::atomic<std::uint32_t>) == sizeof(std::uint32_t),
              "the futex word is the atomic itself");

}  // namespace

Result<std::unique_ptr<Notifier>> Notifier::Open(const std::string& dir) {
  const std::string path = dir + "/notify";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return FileError(path, "open", errno);
  // Reserved, not only made long: a write to a hole of a mapped file on a full disk is a SIGBUS.
  if (const int error = posix_fallocate(fd, 0, kFileBytes); error != 0) {
    close(fd);
    return FileError(path, "reserve a page for", error);
  }
  void* page = mmap(nullptr, kFileBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  const int error = errno;
  close(fd);
  if (page == MAP_FAILED) return FileError(path, "map", error);
  return std::unique_ptr<Notifier>(new Notifier(static_cast<std::atomic<std::uint32_t>*>(page)));
}

Notifier::~Notifier() { munmap(sequence_, kFileBytes); }

void Notifier::Notify() {
  sequence_->fetch_add(1, std::memory_order_acq_rel);
  syscall(SYS_futex, sequence_, FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

void Notifier::Wait(std::uint32_t seen, Nanos timeout) const {
  const Nanos bounded = std::clamp(timeout, Nanos(0), Nanos(kLongestWait));
  timespec wait = {};
  wait.tv_sec = static_cast<time_t>(bounded.count() / 1'000'000'000);
  wait.tv_nsec = static_cast<long>(bounded.count() % 1'000'000'000);
  syscall(SYS_futex, sequence_, FUTEX_WAIT, seen, &wait, nullptr, 0);
}

}  // namespace millrace::local
