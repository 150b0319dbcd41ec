#include "app/supervisor.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <string_view>
#include <vector>

#include "app/run_names.h"
#include "app/signals.h"
#include "pipeline/backoff.h"
#include "pipeline/crash_journal.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

constexpr int kCannotStart = 126;

// The arguments or the environment of a process that is to be started.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {
    for (std::string& word : words_) pointers_.push_back(word.data());
    pointers_.push_back(nullptr);
  }
  Words(const Words&) = delete;
  Words& operator=(const Words&) = delete;
  char** data() { return pointers_.data(); }

 private:
  std::vector<std::string> words_;
  std::vector<char*> pointers_;
};

std::vector<std::string> WorkerArguments(const std::vector<std::string>& own) {
  std::vector<std::string> words;
  for (const std::string& word : own) {
    if (word != "--supervise" && !word.starts_with("--supervise=")) words.push_back(word);
  }
  return words;
}

std::vector<std::string> WorkerEnvironment(const SupervisedLife& life) {
  std::vector<std::string> words;
  const std::string prefix = std::string(kSupervisedVariable) + "=";
  for (char** word = environ; *word != nullptr; ++word) {
    if (!std::string_view(*word).starts_with(prefix)) words.emplace_back(*word);
  }
  words.push_back(fmt::format("{}{}:{}:{}", prefix, life.restarts, life.journal_fd, life.member));
  return words;
}

class Supervisor {
 public:
  explicit Supervisor(const CommandContext& context)
      : context_(context), backoff_(context.options.retry) {
    sigemptyset(&watched_);
    for (const int signal : {SIGTERM, SIGINT, SIGCHLD}) sigaddset(&watched_, signal);
  }
  ~Supervisor() {
    if (life_.journal_fd >= 0) ::close(life_.journal_fd);
  }
  Supervisor(const Supervisor&) = delete;
  Supervisor& operator=(const Supervisor&) = delete;

  Status Prepare();
  int Run();

 private:
  Status Start();
  // What waitpid says of the worker's end.
  int WaitForEnd();
  // False when a stop was asked for meanwhile.
  bool Pause(Millis pause);
  void ForwardStop(int signal);

  const CommandContext& context_;
  Backoff backoff_;
  sigset_t watched_{};
  SupervisedLife life_;
  pid_t worker_ = -1;
  int stops_ = 0;
};

Status Supervisor::Prepare() {
  ::signal(SIGCHLD, SIG_DFL);  // Who ignores it is never told of an end.
  ::sigprocmask(SIG_BLOCK, &watched_, nullptr);
  life_.member = UniqueName("supervised");
  life_.journal_fd = ::memfd_create("millrace-crash-journal", 0);
  if (life_.journal_fd >= 0) return {};
  return {StatusCode::kInternal,
          fmt::format("no memory for the crash journal: {}", std::strerror(errno))};
}

Status Supervisor::Start() {
  Words arguments(WorkerArguments(context_.arguments));
  Words environment(WorkerEnvironment(life_));
  const pid_t supervisor = ::getpid();
  worker_ = ::fork();
  if (worker_ < 0) {
    return {StatusCode::kResourceExhausted,
            fmt::format("no process for the worker: {}", std::strerror(errno))};
  }
  if (worker_ > 0) return {};
  // The worker, with only what is safe between fork and exec. Stop signals stay blocked until it
  // waits for them: one that comes early is not lost.
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (::getppid() != supervisor) ::_exit(kCannotStart);  // It died before it could be watched.
  sigset_t own;
  sigemptyset(&own);
  sigaddset(&own, SIGCHLD);
  ::sigprocmask(SIG_UNBLOCK, &own, nullptr);
  ::execve("/proc/self/exe", arguments.data(), environment.data());
  ::_exit(kCannotStart);
}

int Supervisor::WaitForEnd() {
  while (true) {
    siginfo_t info{};
    const int signal = ::sigwaitinfo(&watched_, &info);
    if (signal == SIGTERM || signal == SIGINT) ForwardStop(signal);
    if (signal != SIGCHLD) continue;
    // Any child: as the first process of a container this one is given orphans, too.
    int status = 0;
    for (pid_t ended = 0; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;) {
      if (ended == worker_) return status;
    }
  }
}

void Supervisor::ForwardStop(int signal) {
  ++stops_;
  LogEvent(LogLevel::kInfo, "stop_forwarded", "stop requested: told the worker",
           {{"signal", SignalName(signal)}});
  // With the count, so that a worker that was sent the same signal by itself knows it is one stop.
  sigval value{};
  value.sival_int = stops_;
  ::sigqueue(worker_, signal, value);
}

bool Supervisor::Pause(Millis pause) {
  const MonoTime until = SystemClock().Now() + pause;
  while (true) {
    const auto left = std::max(Nanos(0), Nanos(until - SystemClock().Now()));
    const timespec wait{left.count() / 1'000'000'000, left.count() % 1'000'000'000};
    const int signal = ::sigtimedwait(&watched_, nullptr, &wait);
    if (signal == SIGTERM || signal == SIGINT) return false;
    if (signal < 0 && errno == EAGAIN) return true;
  }
}

int Supervisor::Run() {
  bool at_once = true;
  while (true) {
    const MonoTime started = SystemClock().Now();
    if (const Status status = Start(); !status.ok()) return Fail("serve", status);
    const int status = WaitForEnd();
    const Nanos lived = SystemClock().Now() - started;
    if (WIFEXITED(status)) return WEXITSTATUS(status);
    const int signal = WTERMSIG(status);
    if (lived >= kStableAfter) {
      backoff_.Reset();
      at_once = true;
    }
    const Millis pause = at_once ? Millis(0) : backoff_.Next();
    at_once = false;
    ++life_.restarts;
    LogEvent(LogLevel::kError, "worker_died",
             stops_ > 0 ? "the worker was ended by a signal while it stopped"
                        : "the worker was ended by a signal; starting it again",
             {{"pid", worker_},
              {"signal", SignalName(signal)},
              {"up_s", std::chrono::duration<double>(lived).count()},
              {"restarts", life_.restarts},
              {"pause_ms", pause.count()}});
    if (stops_ > 0) return 128 + signal;
    if (!Pause(pause)) return kExitOk;
  }
}

template <class T>
bool TakeNumber(std::string_view& text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  if (error != std::errc() || end == text.data() + text.size() || *end != ':') return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()) + 1);
  return true;
}

}  // namespace

std::optional<SupervisedLife> TakeSupervisedLife() {
  const char* const value = std::getenv(kSupervisedVariable);
  if (value == nullptr) return std::nullopt;
  const std::string copy = value;
  ::unsetenv(kSupervisedVariable);
  std::string_view text = copy;
  SupervisedLife life;
  if (!TakeNumber(text, &life.restarts) || !TakeNumber(text, &life.journal_fd)) return std::nullopt;
  life.member = text;
  return life;
}

int Supervise(const CommandContext& context) {
  Supervisor supervisor(context);
  if (const Status prepared = supervisor.Prepare(); !prepared.ok()) return Fail("serve", prepared);
  LogEvent(LogLevel::kInfo, "supervising", "the worker is started again when a signal ends it",
           {{"pid", ::getpid()}});
  return supervisor.Run();
}

}  // namespace millrace
