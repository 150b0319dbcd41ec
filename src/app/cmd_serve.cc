#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <optional>
#include <thread>

#include "app/command.h"
#include "app/local_topics.h"
#include "app/signals.h"
#include "app/supervisor.h"
#include "app/worker_host.h"
#include "base/thread_name.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

struct ServeFlags {
  std::string startup_timeout = "15s";
  bool unsafe = false;
  bool supervise = false;
};

// Opens the log, waiting for a broker up to `timeout`: a worker may start before its broker does.
Result<std::unique_ptr<Log>> OpenLogPatiently(const CommandContext& context, Millis timeout,
                                              const StopSignals& signals) {
  constexpr Millis kPause{250};
  const MonoTime deadline = SystemClock().Now() + timeout;
  while (true) {
    Result<std::unique_ptr<Log>> log = context.OpenLog();
    if (log.ok() || log.status().code() != StatusCode::kUnavailable) return log;
    if (signals.stopped()) {
      return Status(StatusCode::kCancelled, "stopped while waiting for the log");
    }
    if (SystemClock().Now() + kPause > deadline) return log;
    std::this_thread::sleep_for(kPause);
  }
}

void WarnOfWeakerDelivery(const AllOptions& options) {
  switch (options.delivery.mode) {
    case DeliveryMode::kExactlyOnce:
      return;
    case DeliveryMode::kAtLeastOnce:
      LogEvent(LogLevel::kWarn, "delivery_not_exactly_once",
               "delivery.mode is at-least-once: a crash may repeat outcomes, and `millrace verify` "
               "will call them duplicated");
      return;
    case DeliveryMode::kAtMostOnce:
      LogEvent(LogLevel::kWarn, "delivery_not_exactly_once",
               "delivery.mode is at-most-once: a crash may leave requests without an outcome, and "
               "`millrace verify` will call them missing");
      return;
  }
}

int ServeFailed(const Status& status) {
  if (status.code() != StatusCode::kCancelled) return Fail("serve", status);
  LogEvent(LogLevel::kInfo, "stopped", status.message());
  return kExitOk;
}

// The journal that the settings name, else the supervisor's, else none.
Result<std::unique_ptr<CrashJournal>> OpenCrashJournal(const AllOptions& options,
                                                       const std::optional<SupervisedLife>& life) {
  std::string path = options.executor.crash_journal;
  if (path.empty() && life.has_value()) path = fmt::format("/proc/self/fd/{}", life->journal_fd);
  if (path.empty()) return std::unique_ptr<CrashJournal>();
  const auto executors = static_cast<std::size_t>(ExecutorThreads(options.executor));
  auto journal = CrashJournal::Open(path, options.transport.topics.requests,
                                    std::min(executors, CrashJournal::kMaxPlaces));
  if (!journal.ok()) return journal;
  for (const CrashJournal::Crash& crash : (*journal)->crashes()) {
    LogEvent(LogLevel::kWarn, "crash_suspects",
             "a model crashed the last worker: the requests of that run are run one by one, and "
             "those that crash again become dead letters",
             {{"model", crash.model},
              {"signal", SignalName(crash.signal)},
              {"requests", crash.rows},
              {"dead", crash.dead}});
  }
  return journal;
}

int Serve(CommandContext& context, Millis startup_timeout) {
  const std::optional<SupervisedLife> life = TakeSupervisedLife();
  StopSignals signals;  // Before any thread, so that all inherit the mask.
  InitLogging(context.options.telemetry);
  WarnOfWeakerDelivery(context.options);
  if (life.has_value()) {
    SetThreadName("millrace");  // The kernel has called it after /proc/self/exe.
    context.options.transport.kafka.supervised_member = life->member;
  }
  const auto journal = OpenCrashJournal(context.options, life);
  if (!journal.ok()) return Fail("serve", journal.status());
  Result<std::unique_ptr<Log>> log = OpenLogPatiently(context, startup_timeout, signals);
  if (!log.ok()) return ServeFailed(log.status());
  if (const Status topics = EnsureLocalTopics(**log, context.options); !topics.ok()) {
    return Fail("serve", topics);
  }
  WorkerHost host(context.options, **log);
  host.UseCrashJournal(journal->get(), life.has_value() ? life->restarts : 0);
  signals.OnStop([&host] {
    LogEvent(LogLevel::kInfo, "stopping",
             "stop requested: draining; a second signal leaves at once");
    host.RequestStop();
  });
  if (const Status started = host.Start(startup_timeout); !started.ok()) {
    return ServeFailed(started);
  }
  const Status ended = host.Wait();
  signals.Close();
  if (!ended.ok()) return Fail("serve", ended);
  LogEvent(LogLevel::kInfo, "stopped", "everything read was answered and committed");
  return kExitOk;
}

}  // namespace

void RegisterServe(CLI::App& root, CommandTable& table) {
  CLI::App* const command = root.add_subcommand("serve", "Run the worker");
  auto flags = std::make_shared<ServeFlags>();
  command
      ->add_option("--startup-timeout", flags->startup_timeout,
                   "How long to wait for the log at start; exit 4 after that")
      ->capture_default_str();
  command->add_flag("--unsafe", flags->unsafe,
                    "Take properties of librdkafka that weaken the guarantees, with a warning");
  command->add_flag("--supervise", flags->supervise,
                    "Run the worker as a child, and start it again when a signal ended it: a model "
                    "that crashed, kill -9, no memory left");
  command->footer(
      "Examples:\n"
      "  millrace serve -b broker:9092 --models ./models\n"
      "  millrace serve --data ./data --models ./models\n"
      "  millrace serve -c millrace.yaml -s batch.max_rows=32\n"
      "  millrace serve --supervise -b broker:9092 --models ./models\n"
      "  millrace serve --data ./data --models ./models -s http.admin_listen=0.0.0.0:9464\n"
      "\n"
      "SIGTERM or SIGINT drains and leaves the group; a second one leaves at once.\n"
      "With --supervise, a request that crashes the worker twice becomes a dead letter\n"
      "(model_crash) and all others are answered; an exit with a code is passed on.");
  table.commands.emplace_back(command, [flags](CommandContext& context) {
    const Result<Millis> startup = ParseDuration(flags->startup_timeout);
    if (!startup.ok()) return Fail("serve", startup.status().WithContext("--startup-timeout"));
    if (flags->supervise) return Supervise(context);
    if (flags->unsafe) context.options.transport.kafka.allow_unsafe = true;
    return Serve(context, *startup);
  });
}

}  // namespace millrace
