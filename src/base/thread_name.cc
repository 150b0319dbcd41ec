#include "base/thread_name.h"

#include <pthread.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace millrace {

void SetThreadName(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
}

// On Linux niceness is a thread's, whatever POSIX says.
void SetThreadNice(int nice) {
  if (nice <= 0) return;
  const auto thread = static_cast<id_t>(::gettid());
  const int own = ::getpriority(PRIO_PROCESS, thread);
  ::setpriority(PRIO_PROCESS, thread, std::min(19, own + nice));
}

std::vector<ThreadCpu> ReadThreadCpu() {
  std::vector<ThreadCpu> threads;
  std::error_code error;
  for (std::filesystem::directory_iterator it("/proc/self/task", error), end; !error && it != end;
       it.increment(error)) {
    // schedstat's first number is time on a CPU in nanoseconds; stat's ticks are too coarse.
    std::ifstream schedstat(it->path() / "schedstat");
    std::ifstream comm(it->path() / "comm");
    long long nanos = 0;
    ThreadCpu thread;
    if (schedstat >> nanos && std::getline(comm, thread.name)) {
      thread.cpu = std::chrono::duration_cast<Micros>(Nanos(nanos));
      threads.push_back(std::move(thread));
    }
  }
  return threads;
}

}  // namespace millrace
