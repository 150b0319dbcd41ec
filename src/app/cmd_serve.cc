#include <CLI/CLI.hpp>
#include <thread>

#include "app/command.h"
#include "app/local_topics.h"
#include "app/signals.h"
#include "app/worker_host.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

// Opens the log, waiting for a broker up to `timeout`: a worker may start before its broker does.
Result<std::unique_ptr<Log>> OpenLogPatiently(const CommandContext& context, Millis timeout) {
  constexpr Millis kPause{250};
  const MonoTime deadline = SystemClock().Now() + timeout;
  while (true) {
    Result<std::unique_ptr<Log>> log = context.OpenLog();
    if (log.ok() || log.status().code() != StatusCode::kUnavailable ||
        SystemClock().Now() + kPause > deadline) {
      return log;
    }
    std::this_thread::sleep_for(kPause);
  }
}

int Serve(CommandContext& context, Millis startup_timeout) {
  StopSignals signals;  // Before any thread, so that all inherit the mask.
  InitLogging(context.options.telemetry);
  Result<std::unique_ptr<Log>> log = OpenLogPatiently(context, startup_timeout);
  if (!log.ok()) return Fail("serve", log.status());
  if (context.options.transport.kind == TransportKind::kLocal) {
    if (const Status topics = EnsureLocalTopics(**log, context.options); !topics.ok()) {
      return Fail("serve", topics);
    }
  }
  WorkerHost host(context.options, **log);
  signals.OnStop([&host] {
    LogEvent(LogLevel::kInfo, "stopping",
             "stop requested: draining; a second signal leaves at once");
    host.RequestStop();
  });
  if (const Status started = host.Start(); !started.ok()) return Fail("serve", started);
  const Status ended = host.Wait();
  signals.Close();
  if (!ended.ok()) return Fail("serve", ended);
  LogEvent(LogLevel::kInfo, "stopped", "everything read was answered and committed");
  return kExitOk;
}

}  // namespace

void RegisterServe(CLI::App& root, CommandTable& table) {
  CLI::App* const command = root.add_subcommand("serve", "Run the worker");
  auto timeout = std::make_shared<std::string>("15s");
  command->add_option("--startup-timeout", *timeout, "How long to wait for the log at start")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  millrace serve --transport local --data ./data --models ./models\n"
      "  millrace serve -c millrace.yaml -s batch.max_rows=32\n"
      "  millrace serve --data ./data --models ./models -s http.admin_listen=0.0.0.0:9464\n"
      "\n"
      "SIGTERM or SIGINT drains and leaves the group; a second one leaves at once.");
  table.commands.emplace_back(command, [timeout](CommandContext& context) {
    const Result<Millis> startup = ParseDuration(*timeout);
    if (!startup.ok()) return Fail("serve", startup.status().WithContext("--startup-timeout"));
    return Serve(context, *startup);
  });
}

}  // namespace millrace
