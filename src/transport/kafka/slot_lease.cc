#include "transport/kafka/slot_lease.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>

#include "transport/partitioner.h"

namespace millrace::kafka {
namespace {

std::string HostName() {
  char name[256] = {};
  if (::gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "host";
  return name;
}

// A bound socket, or -1 with errno.
int Claim(const std::string& name) {
  const int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // A leading zero: a name of the kernel's, not a file.
  const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);
  const auto size = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + length);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&address), size) == 0) return fd;
  const int error = errno;
  ::close(fd);
  errno = error;
  return -1;
}

}  // namespace

Result<SlotLease> SlotLease::Take(const std::string& configured, const std::string& scope) {
  if (!configured.empty()) return SlotLease(configured, -1);
  const std::string host = HostName();
  for (int number = 0; number < kMaxAutomatic; ++number) {
    const std::string claim = fmt::format("millrace-slot-{:08x}-{}", Murmur2(scope), number);
    const int fd = Claim(claim);
    if (fd >= 0) return SlotLease(fmt::format("{}-{}", host, number), fd);
    if (errno != EADDRINUSE) {
      return Status(
          StatusCode::kInternal,
          fmt::format("no slot for this worker: {}; set kafka.slot", std::strerror(errno)));
    }
  }
  return Status(StatusCode::kResourceExhausted,
                fmt::format("{} workers of this group run on this host: set kafka.slot for more",
                            kMaxAutomatic));
}

SlotLease::SlotLease(SlotLease&& other) noexcept : name_(std::move(other.name_)), fd_(other.fd_) {
  other.fd_ = -1;
}

SlotLease::~SlotLease() {
  if (fd_ >= 0) ::close(fd_);
}

}  // namespace millrace::kafka
