#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/dead_letter.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/signals.h"
#include "app/text_table.h"
#include "codec/record_reader.h"
#include "transport/partitioner.h"

namespace millrace {
namespace {

struct ResultsFlags {
  std::vector<std::string> request_ids;
  std::string model, tenant;
  std::string from;  // Empty: see FromEnd.
  std::int64_t limit = 0;
  bool follow = false;
  bool dead_letters = false;
};

class ResultsPrinter {
 public:
  ResultsPrinter(const CommandContext& context, const ResultsFlags& flags)
      : flags_(flags),
        topics_(context.options.transport.topics),
        json_(context.output == OutputFormat::kJson),
        missing_(flags.request_ids.begin(), flags.request_ids.end()),
        wanted_(missing_),
        table_({{.name = "REQUEST", .max_width = 40},
                {.name = "TENANT", .max_width = 20},
                {.name = "MODEL", .max_width = 24},
                {.name = "VERSION", .max_width = 10},
                {.name = "STATUS", .max_width = 16},
                {.name = "OUTPUT", .max_width = 40},
                {.name = "LATENCY", .right = true},
                {.name = "BATCH", .right = true},
                {.name = "TIME"}}) {}

  void Take(const LogScan& scan, const Record& record) {
    ++looked_at_;
    if (scan.topic(record) == topics_.dlq) {
      TakeDeadLetter(scan, record);
    } else {
      TakeResult(record);
    }
  }

  // Whether there is nothing further to look for.
  bool Done() const {
    if (flags_.limit > 0 && printed_ >= flags_.limit) return true;
    return flags_.follow && !wanted_.empty() && missing_.empty();
  }

  // Prints what was taken. False when stdout does not take it.
  bool Flush() {
    if (!json_ && !table_.empty()) out_ += table_.Take();
    const std::size_t written = std::fwrite(out_.data(), 1, out_.size(), stdout);
    const bool all = written == out_.size() && std::fflush(stdout) == 0;
    out_.clear();
    return all;
  }

  const std::set<std::string, std::less<>>& missing() const { return missing_; }
  std::int64_t printed() const { return printed_; }
  std::int64_t looked_at() const { return looked_at_; }

 private:
  bool Wants(std::string_view request_id, std::string_view model, std::string_view tenant) {
    if (Done()) return false;
    if (!flags_.model.empty() && model != flags_.model) return false;
    if (!flags_.tenant.empty() && tenant != flags_.tenant) return false;
    if (wanted_.empty()) return true;
    const auto found = wanted_.find(request_id);
    if (found == wanted_.end()) return false;
    missing_.erase(*found);
    return true;
  }

  void TakeResult(const Record& record) {
    const std::string_view model = record.headers.Find("model_id").value_or("");
    const std::string_view tenant = record.headers.Find("tenant_id").value_or("");
    if (!Wants(record.key, model, tenant)) return;
    ++printed_;
    if (json_) {
      out_ += record.value;
      out_ += '\n';
      return;
    }
    ResultFields fields;
    reader_.ReadResult(record.value, &fields);
    table_.Add({std::string(record.key), std::string(tenant), std::string(model),
                std::string(fields.model_version), std::string(fields.status),
                std::string(fields.output),
                fields.latency_ms < 0 ? "" : fmt::format("{:.1f} ms", fields.latency_ms),
                std::to_string(fields.batch_size), std::string(fields.inferred_at)});
  }

  void TakeDeadLetter(const LogScan& scan, const Record& record) {
    DeadLetter letter = ReadDeadLetter(record);
    RequestFields fields;
    reader_.ReadRequest(record.value, &fields);
    if (letter.request_id.empty()) letter.request_id = fields.request_id;
    if (!Wants(letter.request_id, letter.model_id, letter.tenant_id)) return;
    ++printed_;
    if (json_) {
      JsonWriter json(out_);
      WriteDeadLetter(letter, record, scan.topic(record), scan.partition(record), json);
      out_ += '\n';
      return;
    }
    table_.Add({std::string(letter.request_id), std::string(letter.tenant_id),
                std::string(letter.model_id), std::string(letter.model_version),
                std::string(letter.reason), std::string(letter.detail), "", "",
                std::string(letter.failed_at)});
  }

  const ResultsFlags& flags_;
  const TopicOptions& topics_;
  const bool json_;
  std::set<std::string, std::less<>> missing_;  // Of the wanted ids.
  const std::set<std::string, std::less<>> wanted_;
  RecordReader reader_;
  TextTable table_;
  std::string out_;
  std::int64_t printed_ = 0;
  std::int64_t looked_at_ = 0;
};

// A follower wants what is new, unless it waits for an id, whose result may be there already.
bool FromEnd(const ResultsFlags& flags) {
  if (!flags.from.empty()) return flags.from == "end";
  return flags.follow && flags.request_ids.empty();
}

Result<LogScan> OpenScan(const CommandContext& context, Log& log, const ResultsFlags& flags) {
  const TopicOptions& topics = context.options.transport.topics;
  std::set<std::int32_t> partitions;
  if (!flags.request_ids.empty()) {
    const auto count = PartitionCount(log, topics.results);
    if (!count.ok()) return count.status();
    for (const std::string& id : flags.request_ids) {
      partitions.insert(PartitionForKey(id, *count));
    }
  }
  const bool from_end = FromEnd(flags);
  std::vector<LogScan::Wanted> wanted = {{.topic = topics.results,
                                          .partitions = {partitions.begin(), partitions.end()},
                                          .from = {},
                                          .from_end = from_end}};
  if (flags.dead_letters) {
    wanted.push_back({.topic = topics.dlq, .partitions = {}, .from = {}, .from_end = from_end});
  }
  return LogScan::Open(log, wanted, flags.follow);
}

int Results(CommandContext& context, const ResultsFlags& flags) {
  StopSignals signals;  // Before the log starts threads, so that all inherit the mask.
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  auto scan = OpenScan(context, **log, flags);
  if (!scan.ok()) return Fail(context.command, scan.status());
  ResultsPrinter printer(context, flags);
  RecordBatch batch;
  while (!signals.stopped() && !printer.Done() && !scan->done()) {
    if (const Status status = scan->Poll(&batch); !status.ok()) {
      return Fail(context.command, status);
    }
    for (const Record& record : batch.records) printer.Take(*scan, record);
    if (!printer.Flush()) return kExitFailure;
  }
  if (flags.request_ids.empty() && printer.printed() == 0 && !flags.follow) {
    fmt::print(stderr, "no result matches; {} were looked at\n", Grouped(printer.looked_at()));
  }
  for (const std::string& id : printer.missing()) {
    fmt::print(stderr, "millrace results: no result for request {}{}\n", Printable(id),
               flags.dead_letters ? "" : "; --include-dead-letters looks there, too");
  }
  return printer.missing().empty() ? kExitOk : kExitFailure;
}

}  // namespace

void RegisterResults(CLI::App& root, CommandTable& table) {
  CLI::App* const command =
      root.add_subcommand("results", "Print results, as a table or as JSON lines");
  auto flags = std::make_shared<ResultsFlags>();
  command->add_flag("-f,--follow", flags->follow,
                    "Go on with what comes. With --request-id: until each has its outcome");
  command
      ->add_option("--request-id", flags->request_ids,
                   "Only this request; repeatable. Exit 1 when there is no result")
      ->type_name("ID")
      ->allow_extra_args(false);
  command->add_option("--model", flags->model, "Only this model")->type_name("ID");
  command->add_option("--tenant", flags->tenant, "Only this tenant")->type_name("ID");
  command
      ->add_option("--from", flags->from,
                   "Where to start; from the end when following, else from the beginning")
      ->check(CLI::IsMember({"beginning", "end"}));
  command->add_option("--limit", flags->limit, "Stop after so many")
      ->type_name("N")
      ->check(CLI::PositiveNumber);
  command->add_flag("--include-dead-letters", flags->dead_letters,
                    "Dead letters as well, for they are outcomes, too");
  command->footer(
      "Examples:\n"
      "  millrace results --data ./log --limit 10\n"
      "  millrace results -b broker:9092 --follow --tenant acme -o json\n"
      "  millrace results --data ./log --request-id r-17 --include-dead-letters\n"
      "\n"
      "JSON lines are the results as they stand in the log, one on each line. Results of one\n"
      "partition come in order, those of several as they are read.");
  table.commands.emplace_back(
      command, [flags](CommandContext& context) { return Results(context, *flags); });
}

}  // namespace millrace
