// SlotLease: this worker's name among the workers of its group, kept while the process lives.
//
// kafka.slot when it is set. Else the host's name with the first number that no other process of
// this host holds, so that a worker that is started again after a crash finds its old name, and
// with it ends its predecessor's transaction at once instead of after its timeout. Held by the name
// of an abstract Unix socket, which the kernel frees with the process. Internal to transport/kafka.
#pragma once

#include <string>

#include "base/status.h"

namespace millrace::kafka {

class SlotLease {
 public:
  // `scope`: within which names must differ; the group and its cluster.
  static Result<SlotLease> Take(const std::string& configured, const std::string& scope);
  ~SlotLease();
  SlotLease(SlotLease&& other) noexcept;
  SlotLease& operator=(SlotLease&&) = delete;

  const std::string& name() const { return name_; }

  // More workers of one group than this on one host have to be named.
  static constexpr int kMaxAutomatic = 1024;

 private:
  SlotLease(std::string name, int fd) : name_(std::move(name)), fd_(fd) {}

  std::string name_;
  int fd_ = -1;
};

}  // namespace millrace::kafka
