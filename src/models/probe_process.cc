#include "models/probe_process.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <optional>
#include <thread>
#include <utility>
#include <vector>

namespace millrace {
namespace {

// Between two looks at the child and at whether to give up.
constexpr Millis kLookEvery{50};
// Between two looks at a child that has closed its pipes and is about to end.
constexpr Millis kReapEvery{1};
// Descriptors of ours lie above those that the child is to have.
constexpr int kFirstFd = 16;

// Variables that a library is found by, and those that steer sanitizers; no other one.
constexpr std::array<std::string_view, 7> kVariables = {
    "MILLRACE_ORT_LIBRARY=", "LD_LIBRARY_PATH=", "PATH=",        "ASAN_OPTIONS=",
    "UBSAN_OPTIONS=",        "TSAN_OPTIONS=",    "LSAN_OPTIONS="};

class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  ~Fd() { Close(); }
  Fd(Fd&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Fd& operator=(Fd&& other) noexcept {
    Close();
    fd_ = std::exchange(other.fd_, -1);
    return *this;
  }
  int get() const { return fd_; }
  bool open() const { return fd_ >= 0; }
  void Close() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
  }

 private:
  int fd_;
};

struct Pipe {
  Fd read;
  Fd write;
};

std::optional<Pipe> NewPipe() {
  std::array<int, 2> ends{};
  if (::pipe2(ends.data(), O_CLOEXEC) != 0) return std::nullopt;
  const Fd low_read(ends[0]), low_write(ends[1]);
  Pipe pipe{Fd(::fcntl(ends[0], F_DUPFD_CLOEXEC, kFirstFd)),
            Fd(::fcntl(ends[1], F_DUPFD_CLOEXEC, kFirstFd))};
  if (!pipe.read.open() || !pipe.write.open()) return std::nullopt;
  return pipe;
}

Status NotStarted(const char* what, int error) {
  return {StatusCode::kUnavailable,
          std::string("a model cannot be probed: ") + what + ": " + std::strerror(error)};
}

class Child {
 public:
  ~Child();
  Status Start(const std::string& program, std::string_view order);
  ProbeEnd Watch(Millis limit, const std::atomic<bool>* cancel);

 private:
  Status Spawn(const std::string& program, int order, int words, int answer);
  // Takes what has come; closes a pipe at its end.
  void Read(Fd& fd, std::string& out, std::size_t most, bool keep_end);
  void Kill();
  // True when it has ended; `wait`: does not return before.
  bool Reap(bool wait);

  pid_t pid_ = -1;
  Fd words_;
  Fd answer_;
  ProbeEnd end_;
};

Child::~Child() {
  if (pid_ < 0) return;
  Kill();
  Reap(true);
}

Status Child::Start(const std::string& program, std::string_view order) {
  if (order.size() > kMaxProbeOrderBytes) {
    return {StatusCode::kInvalidArgument, "a model cannot be probed: its path is too long"};
  }
  std::optional<Pipe> order_pipe = NewPipe();
  std::optional<Pipe> words_pipe = NewPipe();
  std::optional<Pipe> answer_pipe = NewPipe();
  if (!order_pipe || !words_pipe || !answer_pipe) return NotStarted("no pipe", errno);
  if (::write(order_pipe->write.get(), order.data(), order.size()) !=
      static_cast<ssize_t>(order.size())) {
    return NotStarted("its order cannot be written", errno);
  }
  order_pipe->write.Close();
  MILLRACE_RETURN_IF_ERROR(
      Spawn(program, order_pipe->read.get(), words_pipe->write.get(), answer_pipe->write.get()));
  words_ = std::move(words_pipe->read);
  answer_ = std::move(answer_pipe->read);
  for (const int fd : {words_.get(), answer_.get()}) ::fcntl(fd, F_SETFL, O_NONBLOCK);
  return {};
}

Status Child::Spawn(const std::string& program, int order, int words, int answer) {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  if (::posix_spawn_file_actions_init(&files) != 0) return NotStarted("no memory", ENOMEM);
  if (::posix_spawnattr_init(&attributes) != 0) {
    ::posix_spawn_file_actions_destroy(&files);
    return NotStarted("no memory", ENOMEM);
  }
  ::posix_spawn_file_actions_adddup2(&files, order, STDIN_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, words, STDOUT_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, words, STDERR_FILENO);
  ::posix_spawn_file_actions_adddup2(&files, answer, kProbeAnswerFd);
  ::posix_spawn_file_actions_addclosefrom_np(&files, kProbeAnswerFd + 1);
  // Signals as a fresh process has them, and a group of its own: what ends us leaves it to us.
  sigset_t all, none;
  ::sigfillset(&all);
  ::sigemptyset(&none);
  ::posix_spawnattr_setsigdefault(&attributes, &all);
  ::posix_spawnattr_setsigmask(&attributes, &none);
  ::posix_spawnattr_setpgroup(&attributes, 0);
  ::posix_spawnattr_setflags(
      &attributes, POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETPGROUP);
  std::string name = "millrace", argument = kProbeArgument;
  std::array<char*, 3> arguments = {name.data(), argument.data(), nullptr};
  std::vector<char*> environment;
  for (char** word = environ; word != nullptr && *word != nullptr; ++word) {
    const auto is = [word](std::string_view name_of) {
      return std::string_view(*word).starts_with(name_of);
    };
    if (std::any_of(kVariables.begin(), kVariables.end(), is)) environment.push_back(*word);
  }
  environment.push_back(nullptr);
  pid_t pid = -1;
  const int error = ::posix_spawn(&pid, program.c_str(), &files, &attributes, arguments.data(),
                                  environment.data());
  ::posix_spawnattr_destroy(&attributes);
  ::posix_spawn_file_actions_destroy(&files);
  if (error != 0) return NotStarted("no process", error);
  pid_ = pid;
  return {};
}

void Child::Read(Fd& fd, std::string& out, std::size_t most, bool keep_end) {
  std::array<char, 4096> piece;
  while (fd.open()) {
    const ssize_t size = ::read(fd.get(), piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size < 0 && errno == EAGAIN) return;
    if (size <= 0) {
      fd.Close();
      return;
    }
    out.append(piece.data(), static_cast<std::size_t>(size));
    if (out.size() <= most) continue;
    if (keep_end) {
      out.erase(0, out.size() - most);
      return;  // One piece a look: who prints without end may not keep us from looking.
    }
    end_.babbled = true;
    return;
  }
}

void Child::Kill() {
  ::kill(-pid_, SIGKILL);
  ::kill(pid_, SIGKILL);
}

bool Child::Reap(bool wait) {
  while (true) {
    const pid_t ended = ::waitpid(pid_, &end_.status, wait ? 0 : WNOHANG);
    if (ended == 0) return false;
    if (ended < 0 && errno == EINTR) continue;
    pid_ = -1;
    return true;
  }
}

ProbeEnd Child::Watch(Millis limit, const std::atomic<bool>* cancel) {
  const MonoTime deadline = SystemClock().Now() + limit;
  while (true) {
    const bool reading = words_.open() || answer_.open();
    if (reading) {
      std::array<pollfd, 2> ready = {
          {{words_.get(), POLLIN, 0}, {answer_.get(), POLLIN, 0}}};  // poll skips negative ones.
      ::poll(ready.data(), ready.size(), static_cast<int>(kLookEvery.count()));
      Read(words_, end_.words, kMaxProbeWordsBytes, true);
      Read(answer_, end_.answer, kMaxProbeAnswerBytes, false);
    } else {
      if (Reap(false)) return std::move(end_);
      std::this_thread::sleep_for(kReapEvery);
    }
    end_.cancelled = cancel != nullptr && cancel->load(std::memory_order_relaxed);
    end_.timed_out = SystemClock().Now() > deadline;
    if (!end_.cancelled && !end_.timed_out && !end_.babbled) continue;
    Kill();
    Reap(true);
    return std::move(end_);
  }
}

}  // namespace

Result<ProbeEnd> RunProbeProcess(const std::string& program, std::string_view order, Millis limit,
                                 const std::atomic<bool>* cancel) {
  Child child;
  MILLRACE_RETURN_IF_ERROR(child.Start(program, order));
  return child.Watch(limit, cancel);
}

}  // namespace millrace
