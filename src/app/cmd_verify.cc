#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>

#include "app/command.h"
#include "app/local_topics.h"
#include "app/progress_line.h"
#include "app/text_table.h"
#include "codec/json_writer.h"
#include "pipeline/verify/audit.h"

namespace millrace {
namespace {

struct VerifyFlags {
  bool allow_empty = false;
  std::size_t examples = 10;
  std::string open_wait = "15s";
};

struct Line {
  Violation violation;
  const char* meaning;
};

constexpr Line kLines[] = {
    {Violation::kMissing, "a committed request without an outcome"},
    {Violation::kDuplicated, "an outcome beyond the first of its request"},
    {Violation::kOrphaned, "an outcome of no committed request"},
    {Violation::kMismatched, "an outcome of another key, id, tenant or model than its request's"},
    {Violation::kAltered, "a dead letter that does not hold its request's bytes"},
    {Violation::kOrder, "an outcome behind one of a later request of its key"},
    {Violation::kCommittedBeyondEnd, "a committed position past the end of its partition"},
    {Violation::kCommittedWentBack, "a committed position that went back"},
};
static_assert(std::size(kLines) == kViolations);

double Seconds(Nanos duration) { return std::chrono::duration<double>(duration).count(); }

void WriteExamples(std::string_view name, const std::vector<ViolationExample>& examples,
                   JsonWriter& json) {
  if (examples.empty()) return;
  json.Key(name).BeginArray();
  for (const ViolationExample& example : examples) {
    json.BeginObject().Member("where", example.where).Member("detail", example.detail);
    json.EndObject();
  }
  json.EndArray();
}

void PrintJson(const std::string& group, const LogAudit& audit, double seconds) {
  const AuditReport& report = audit.report;
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("group", group).Member("requests", report.requests);
  json.Member("results", report.results).Member("dead_letters", report.dead_letters);
  for (const Line& line : kLines) {
    json.Member(ViolationName(line.violation), report.count(line.violation));
  }
  json.Member("open_transactions", report.open_transactions);
  json.Member("pending", report.pending).Member("in_progress", report.in_progress);
  json.Member("expired", report.expired).Member("examined", report.examined);
  json.Member("vacuous", report.vacuous).Member("ok", report.ok).Member("seconds", seconds);
  json.Key("notes").BeginArray();
  for (const std::string& note : audit.notes) json.Value(note);
  json.EndArray().Key("examples").BeginObject();
  for (const Line& line : kLines) {
    WriteExamples(ViolationName(line.violation),
                  report.examples[static_cast<std::size_t>(line.violation)], json);
  }
  WriteExamples("open_transactions", report.open_examples, json);
  json.EndObject().EndObject();
  fmt::print("{}\n", out);
}

void PrintExamples(const std::vector<ViolationExample>& examples, std::int64_t count) {
  for (const ViolationExample& example : examples) {
    fmt::print("      {}  {}\n", Printable(example.where), Printable(example.detail));
  }
  const auto shown = static_cast<std::int64_t>(examples.size());
  if (shown > 0 && shown < count) fmt::print("      … and {} more\n", Grouped(count - shown));
}

void PrintViolations(const AuditReport& report, bool colour) {
  const char* const red = colour ? "\x1B[31m" : "";
  const char* const green = colour ? "\x1B[32m" : "";
  const char* const plain = colour ? "\x1B[0m" : "";
  for (const Line& line : kLines) {
    const std::int64_t count = report.count(line.violation);
    // Where nothing was examined there is nothing to approve of.
    const char* const mark = count > 0 ? "✗" : report.vacuous ? "·" : "✓";
    const char* const tint = count > 0 ? red : report.vacuous ? "" : green;
    fmt::print("  {}{}{} {:<21}{:>10}", tint, mark, plain, ViolationName(line.violation),
               Grouped(count));
    fmt::print("{}{}\n", count == 0 ? "" : "   ", count == 0 ? "" : line.meaning);
    PrintExamples(report.examples[static_cast<std::size_t>(line.violation)], count);
  }
}

void PrintTable(const CommandContext& context, const LogAudit& audit, double seconds) {
  const AuditReport& report = audit.report;
  const TransportOptions& transport = context.options.transport;
  fmt::print("group {} on {}\n", transport.group, transport.topics.requests);
  fmt::print("  requests {}   results {}   dead letters {}   pending {}\n",
             Grouped(report.requests), Grouped(report.results), Grouped(report.dead_letters),
             Grouped(report.pending));
  if (report.in_progress > 0 || report.expired > 0) {
    fmt::print("  committed meanwhile {}   outcomes of deleted requests {}\n",
               Grouped(report.in_progress), Grouped(report.expired));
  }
  const bool colour = context.stdout_is_terminal && std::getenv("NO_COLOR") == nullptr;
  PrintViolations(report, colour);
  PrintExamples(report.open_examples, report.open_transactions);
  fmt::print("  open transactions {}   examined {} records in {:.1f} s\n",
             Grouped(report.open_transactions), Grouped(report.examined), seconds);
  for (const std::string& note : audit.notes) fmt::print("  note: {}\n", note);
  if (report.ok) {
    fmt::print("verify: ok\n");
  } else if (report.vacuous) {
    fmt::print("verify: nothing was proven, no committed request was examined\n");
  } else {
    fmt::print("verify: violations found\n");
  }
}

int Verify(CommandContext& context, const VerifyFlags& flags) {
  const Result<Millis> open_wait = ParseDuration(flags.open_wait);
  if (!open_wait.ok()) {
    return Fail(context.command, open_wait.status().WithContext("--open-wait"));
  }
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  const TransportOptions& transport = context.options.transport;
  ProgressLine progress(context.stderr_is_terminal);
  AuditOptions options;
  options.group = transport.group;
  options.checker = {
      .topics = transport.topics, .allow_empty = flags.allow_empty, .max_examples = flags.examples};
  options.open_wait = *open_wait;
  options.progress = [&](std::string_view topic, std::int64_t done, std::int64_t total) {
    if (!progress.Due()) return;
    progress.Show(fmt::format("{} of {} records, {}", Grouped(done), Grouped(total), topic));
  };
  const MonoTime started = SystemClock().Now();
  const auto audit = AuditLog(**log, options);
  progress.Clear();
  if (!audit.ok()) return Fail(context.command, audit.status());
  const double seconds = Seconds(SystemClock().Now() - started);
  if (context.output == OutputFormat::kJson) {
    PrintJson(transport.group, *audit, seconds);
  } else {
    PrintTable(context, *audit, seconds);
  }
  return audit->report.ok ? kExitOk : kExitViolations;
}

}  // namespace

void RegisterVerify(CLI::App& root, CommandTable& table) {
  CLI::App* const command = root.add_subcommand(
      "verify",
      "Audit a log: exactly one outcome for each request. Reads every request and every outcome "
      "and "
      "compares them with what the group has committed; changes nothing, and may run beside a "
      "worker");
  auto flags = std::make_shared<VerifyFlags>();
  command->add_flag("--allow-empty", flags->allow_empty,
                    "Be content when no request was committed, instead of exit 5");
  command->add_option("--examples", flags->examples, "How many of each kind of violation to show")
      ->type_name("N")
      ->capture_default_str();
  command
      ->add_option("--open-wait", flags->open_wait,
                   "How long a transaction of a cluster may stand still before it counts as open")
      ->type_name("TIME")
      ->capture_default_str();
  command->footer(
      "Examples:\n"
      "  millrace verify --data ./log\n"
      "  millrace verify -b broker:9092 --open-wait 30s\n"
      "  millrace verify --data ./log -g scoring --examples 3\n"
      "  millrace verify --data ./log -o json | jq .ok\n"
      "\n"
      "A unit of work that became visible in part shows as missing (offsets without outputs) or\n"
      "as orphaned (outputs without offsets). With delivery.mode=at-least-once a crash shows as\n"
      "duplicated; with at-most-once as missing, and so does what is being run at this moment.\n"
      "Memory: 21 bytes a request.\n"
      "Exit codes: 0 ok, 5 violations, or nothing to examine.");
  table.commands.emplace_back(command,
                              [flags](CommandContext& context) { return Verify(context, *flags); });
}

}  // namespace millrace
