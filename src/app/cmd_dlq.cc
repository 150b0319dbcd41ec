#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/command.h"
#include "app/dead_letter.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/text_table.h"
#include "codec/text.h"
#include "types/failure.h"

namespace millrace {
namespace {

// Rows of a table, unless --limit says otherwise; JSON lines have no limit of their own.
constexpr std::int64_t kDefaultRows = 100;
constexpr std::size_t kTextColumns = 24;

struct ListFlags {
  std::string reason, model, tenant;
  std::optional<std::int64_t> limit;
};

bool Wants(const ListFlags& flags, const DeadLetter& letter) {
  return (flags.reason.empty() || letter.reason == flags.reason) &&
         (flags.model.empty() || letter.model_id == flags.model) &&
         (flags.tenant.empty() || letter.tenant_id == flags.tenant);
}

TextTable ListTable() {
  return TextTable({{.name = "PLACE"},
                    {.name = "FAILED AT"},
                    {.name = "REASON"},
                    {.name = "MODEL", .max_width = kTextColumns},
                    {.name = "TENANT", .max_width = kTextColumns},
                    {.name = "REQUEST"},
                    {.name = "DETAIL", .max_width = 72}});
}

std::vector<std::string> ListRow(const LogScan& scan, const Record& record,
                                 const DeadLetter& letter) {
  return {fmt::format("{}:{}", scan.partition(record), record.offset.value()),
          letter.failed_at.empty() ? TimeText(record.timestamp) : std::string(letter.failed_at),
          std::string(letter.reason),
          std::string(letter.model_id),
          std::string(letter.tenant_id),
          letter.Original(),
          std::string(letter.detail)};
}

void PrintSummary(const std::map<std::string, std::int64_t>& by_reason, std::int64_t matching,
                  std::int64_t shown) {
  if (matching == 0) {
    fmt::print("no dead letter matches\n");
    return;
  }
  if (shown < matching) {
    fmt::print("… and {} more: --limit 0 shows all, --reason, --model and --tenant choose\n",
               Grouped(matching - shown));
  }
  TextTable table({{.name = "REASON"}, {.name = "COUNT", .right = true}});
  for (const auto& [reason, count] : by_reason) table.Add({reason, Grouped(count)});
  fmt::print("\n{}", table.Take());
}

int ListDeadLetters(CommandContext& context, const ListFlags& flags) {
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  auto scan = LogScan::Open(
      **log, {{.topic = context.options.transport.topics.dlq, .partitions = {}, .from = {}}},
      false);
  if (!scan.ok()) return Fail(context.command, scan.status());
  const bool is_json = context.output == OutputFormat::kJson;
  const std::int64_t limit = flags.limit.value_or(is_json ? 0 : kDefaultRows);
  TextTable table = ListTable();
  std::map<std::string, std::int64_t> by_reason;
  std::int64_t matching = 0;
  std::int64_t shown = 0;
  RecordBatch batch;
  std::string out;
  while (!scan->done()) {
    if (const Status status = scan->Poll(&batch); !status.ok()) {
      return Fail(context.command, status);
    }
    for (const Record& record : batch.records) {
      const DeadLetter letter = ReadDeadLetter(record);
      if (!Wants(flags, letter)) continue;
      ++matching;
      ++by_reason[letter.reason.empty() ? "(none)" : Printable(letter.reason)];
      if (limit > 0 && shown >= limit) continue;
      ++shown;
      if (is_json) {
        JsonWriter json(out);
        WriteDeadLetter(letter, record, scan->topic(record), scan->partition(record), json);
        out += '\n';
      } else {
        table.Add(ListRow(*scan, record, letter));
      }
    }
    if (!is_json && !table.empty()) out += table.Take();
    if (std::fwrite(out.data(), 1, out.size(), stdout) != out.size()) return kExitFailure;
    out.clear();
  }
  if (!is_json) PrintSummary(by_reason, matching, shown);
  return kExitOk;
}

struct Place {
  std::int32_t partition = 0;
  std::int64_t offset = 0;
};

template <class T>
bool ParseWhole(std::string_view text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0;
}

// "3:17", or "inference.dlq:3:17" as other commands print it.
std::optional<Place> ParsePlace(std::string_view text, std::string_view topic) {
  if (text.starts_with(topic) && text.substr(topic.size()).starts_with(":")) {
    text.remove_prefix(topic.size() + 1);
  }
  const std::size_t colon = text.find(':');
  Place place;
  if (colon == std::string_view::npos || !ParseWhole(text.substr(0, colon), &place.partition) ||
      !ParseWhole(text.substr(colon + 1), &place.offset)) {
    return std::nullopt;
  }
  return place;
}

bool IsPlainText(std::string_view bytes) {
  return FindInvalidUtf8(bytes) == std::string_view::npos &&
         std::none_of(bytes.begin(), bytes.end(), [](char c) {
           return (static_cast<unsigned char>(c) < 0x20 && c != '\n' && c != '\t') || c == 0x7F;
         });
}

void PrintDeadLetter(const Record& record, std::string_view place, bool hex) {
  fmt::print("dead letter {}, appended {}\n", place, TimeText(record.timestamp));
  if (record.has_key) fmt::print("key: {}\n", Printable(record.key));
  fmt::print("\n");
  TextTable table({{.name = "HEADER"}, {.name = "VALUE"}});
  for (const Header& header : record.headers) {
    table.Add({std::string(header.name), header.is_null ? "(null)" : std::string(header.value)});
  }
  fmt::print("{}\n", table.Take());
  if (!record.has_value) {
    fmt::print("no value\n");
    return;
  }
  const bool as_hex = hex || !IsPlainText(record.value);
  fmt::print("value, {} bytes{}:\n", Grouped(static_cast<std::int64_t>(record.value.size())),
             as_hex && !hex ? ", not plain text" : "");
  fmt::print("{}{}", as_hex ? HexDump(record.value) : std::string(record.value),
             as_hex || record.value.ends_with('\n') ? "" : "\n");
}

int ShowDeadLetter(CommandContext& context, const std::string& where, bool hex) {
  const std::string& topic = context.options.transport.topics.dlq;
  const std::optional<Place> place = ParsePlace(where, topic);
  if (!place) {
    return Fail(context.command,
                {StatusCode::kInvalidArgument,
                 fmt::format("'{}' is not a place such as 3:17 (partition:offset)", where)});
  }
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  auto scan = LogScan::Open(
      **log, {{.topic = topic, .partitions = {place->partition}, .from = Offset(place->offset)}},
      false);
  if (!scan.ok()) return Fail(context.command, scan.status());
  RecordBatch batch;
  while (!scan->done() && batch.records.empty()) {
    if (const Status status = scan->Poll(&batch); !status.ok()) {
      return Fail(context.command, status);
    }
  }
  if (batch.records.empty() || batch.records.front().offset != Offset(place->offset)) {
    return Fail(context.command,
                {StatusCode::kNotFound, fmt::format("there is no dead letter at {}:{}:{}", topic,
                                                    place->partition, place->offset)});
  }
  const Record& record = batch.records.front();
  if (context.output == OutputFormat::kJson) {
    std::string out;
    JsonWriter json(out);
    WriteDeadLetter(ReadDeadLetter(record), record, topic, place->partition, json);
    fmt::print("{}\n", out);
  } else {
    PrintDeadLetter(record, fmt::format("{}:{}:{}", topic, place->partition, place->offset), hex);
  }
  return kExitOk;
}

void RegisterList(CLI::App& dlq, CommandTable& table) {
  CLI::App* const list = dlq.add_subcommand("list", "List dead letters and count their reasons");
  auto flags = std::make_shared<ListFlags>();
  list->add_option("--reason", flags->reason, "Only this reason")
      ->check(CLI::IsMember(
          std::vector<std::string>(kFailureReasonNames.begin(), kFailureReasonNames.end())));
  list->add_option("--model", flags->model, "Only this model")->type_name("ID");
  list->add_option("--tenant", flags->tenant, "Only this tenant")->type_name("ID");
  list->add_option("--limit", flags->limit,
                   "Show so many; 0: all. 100 in a table, all as JSON lines. The counts are of all")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  list->footer(
      "Examples:\n"
      "  millrace dlq list --data ./log\n"
      "  millrace dlq list -b broker:9092 --reason invalid_shape --tenant acme --limit 0\n"
      "  millrace dlq list --data ./log -o json | jq -r .detail | sort | uniq -c");
  table.commands.emplace_back(
      list, [flags](CommandContext& context) { return ListDeadLetters(context, *flags); });
}

void RegisterShow(CLI::App& dlq, CommandTable& table) {
  CLI::App* const show =
      dlq.add_subcommand("show", "Show one dead letter. Its headers and the original bytes");
  auto where = std::make_shared<std::string>();
  auto hex = std::make_shared<bool>(false);
  show->add_option("place", *where, "partition:offset, as `dlq list` prints it")->required();
  show->add_flag("--hex", *hex, "The value as a hex dump, even when it is text");
  show->footer(
      "Examples:\n"
      "  millrace dlq show --data ./log 3:17\n"
      "  millrace dlq show --data ./log 3:17 --hex\n"
      "  millrace dlq show --data ./log 3:17 -o json | jq -r .value");
  table.commands.emplace_back(show, [where, hex](CommandContext& context) {
    return ShowDeadLetter(context, *where, *hex);
  });
}

}  // namespace

void RegisterDlq(CLI::App& root, CommandTable& table) {
  CLI::App* const dlq =
      root.add_subcommand("dlq", "Look at dead letters: requests that got no result, and why");
  dlq->require_subcommand(1);
  RegisterList(*dlq, table);
  RegisterShow(*dlq, table);
}

}  // namespace millrace
