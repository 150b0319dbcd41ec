#include "base/memory_limit.h"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <string>

namespace millrace {
namespace {

// A number of bytes in a file of the kernel's; no limit when there is none, or "max".
std::int64_t BytesIn(const std::string& path) {
  std::ifstream file(path);
  std::int64_t bytes = 0;
  return file >> bytes && bytes > 0 ? bytes : INT64_MAX;
}

// Of the cgroup of this process and of those above it, as far as this process sees them.
std::int64_t CgroupLimit() {
  std::int64_t limit = std::min(BytesIn("/sys/fs/cgroup/memory.max"),
                                BytesIn("/sys/fs/cgroup/memory/memory.limit_in_bytes"));
  std::ifstream file("/proc/self/cgroup");
  for (std::string line; std::getline(file, line);) {
    const std::size_t colon = line.find("::");
    if (colon == std::string::npos) continue;  // Version 1: the root above is the container's.
    for (std::string path = line.substr(colon + 2); path.size() > 1;
         path.resize(path.find_last_of('/'))) {
      limit = std::min(limit, BytesIn("/sys/fs/cgroup" + path + "/memory.max"));
    }
  }
  return limit;
}

}  // namespace

std::int64_t MemoryLimit() {
  const std::int64_t machine =
      std::int64_t{sysconf(_SC_PHYS_PAGES)} * std::int64_t{sysconf(_SC_PAGESIZE)};
  return std::min(machine, CgroupLimit());
}

}  // namespace millrace
