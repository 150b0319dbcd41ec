#include "base/thread_name.h"

#include <pthread.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

namespace millrace {

void SetThreadName(const std::string& name) {
  pthread_setname_np(pthread_self(), name.substr(0, 15).c_str());
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
