#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <charconv>
#include <cstdio>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/cmd_dlq.h"
#include "app/command.h"
#include "app/dead_letter.h"
#include "app/dlq_counts.h"
#include "app/dlq_selection.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/text_table.h"
#include "codec/text.h"

namespace millrace {
namespace {

// Rows of a table, unless --limit says otherwise; JSON lines have no limit of their own.
constexpr std::int64_t kDefaultRows = 100;
// Dead letters that `show` prints when it is given filters and no place.
constexpr std::int64_t kDefaultShown = 10;
// Rows that are gathered before they are printed.
constexpr std::int64_t kFlushEvery = 4096;
constexpr std::size_t kTextColumns = 24;

struct ListFlags {
  SelectionFlags selection;
  std::optional<std::int64_t> limit;
};

struct ShowFlags {
  SelectionFlags selection;
  std::string place;
  std::string view = "auto";
  std::int64_t limit = kDefaultShown;
  bool hex = false;
};

// Every dead letter of the log that the selection means, as far as `visit` says true.
using Visit = std::function<bool(const Record&, const DeadLetter&, std::int32_t partition)>;

Status VisitDeadLetters(CommandContext& context, const SelectionFlags& flags, const Visit& visit) {
  const auto selection = DlqSelection::Parse(flags, SystemClock().WallNow());
  if (!selection.ok()) return selection.status();
  auto log = OpenExistingLog(context);
  if (!log.ok()) return log.status();
  const std::string& topic = context.options.transport.topics.dlq;
  const auto count = PartitionCount(**log, topic);
  if (!count.ok()) return count.status();
  auto scan = LogScan::Open(**log,
                            {{.topic = topic,
                              .partitions = selection->Partitions(*count),
                              .from = selection->FirstOffset()}},
                            false);
  if (!scan.ok()) return scan.status();
  RecordBatch batch;
  RecordReader reader;
  while (!scan->done()) {
    MILLRACE_RETURN_IF_ERROR(scan->Poll(&batch));
    for (const Record& record : batch.records) {
      DeadLetter letter = ReadDeadLetter(record);
      const std::int32_t partition = scan->partition(record);
      const bool meant =
          selection->Answer(letter, record, partition, reader) == SelectionAnswer::kYes;
      if (!meant) continue;
      if (letter.request_id.empty()) {  // Few producers repeat it in a header.
        RequestFields fields;
        reader.ReadRequest(record.value, &fields);
        letter.request_id = fields.request_id;
      }
      if (!visit(record, letter, partition)) return Status::Ok();
    }
  }
  return Status::Ok();
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

std::vector<std::string> ListRow(std::int32_t partition, const Record& record,
                                 const DeadLetter& letter) {
  return {fmt::format("{}:{}", partition, record.offset.value()),
          letter.failed_at.empty() ? TimeText(record.timestamp) : std::string(letter.failed_at),
          std::string(letter.reason),
          std::string(letter.model_id),
          std::string(letter.tenant_id),
          letter.Original(),
          std::string(letter.detail)};
}

void PrintSummary(const DlqCounts& counts, std::int64_t shown, bool bars) {
  if (counts.total() == 0) {
    fmt::print("no dead letter matches\n");
    return;
  }
  if (shown < counts.total()) {
    fmt::print("… and {} more: --limit 0 shows all, --reason, --model, --since and others choose\n",
               Grouped(counts.total() - shown));
  }
  fmt::print("\n{}", counts.Table("reason", bars));
}

int ListDeadLetters(CommandContext& context, const ListFlags& flags) {
  const bool is_json = context.output == OutputFormat::kJson;
  const std::int64_t limit = flags.limit.value_or(is_json ? 0 : kDefaultRows);
  TextTable table = ListTable();
  DlqCounts counts;
  std::int64_t shown = 0;
  std::string out;
  const auto flush = [&] {
    if (!is_json && !table.empty()) out += table.Take();
    const bool written = std::fwrite(out.data(), 1, out.size(), stdout) == out.size();
    out.clear();
    return written;
  };
  bool written = true;
  const std::string& topic = context.options.transport.topics.dlq;
  const Status status =
      VisitDeadLetters(context, flags.selection,
                       [&](const Record& record, const DeadLetter& letter, std::int32_t partition) {
                         counts.Add(letter);
                         if (limit > 0 && shown >= limit) return true;
                         ++shown;
                         if (is_json) {
                           JsonWriter json(out);
                           WriteDeadLetter(letter, record, topic, partition, json);
                           out += '\n';
                         } else {
                           table.Add(ListRow(partition, record, letter));
                         }
                         if (shown % kFlushEvery == 0) written = flush();
                         return written;
                       });
  if (!status.ok()) return Fail(context.command, status);
  if (!written || !flush()) return kExitFailure;
  if (!is_json) PrintSummary(counts, shown, context.stdout_is_terminal);
  return kExitOk;
}

int CountDeadLetters(CommandContext& context, const SelectionFlags& flags) {
  DlqCounts counts;
  const Status status =
      VisitDeadLetters(context, flags, [&](const Record&, const DeadLetter& letter, std::int32_t) {
        counts.Add(letter);
        return true;
      });
  if (!status.ok()) return Fail(context.command, status);
  if (context.output == OutputFormat::kJson) {
    std::string out;
    JsonWriter json(out);
    json.BeginObject().Member("topic", context.options.transport.topics.dlq);
    json.Member("count", counts.total());
    counts.WriteMembers(json);
    json.EndObject();
    fmt::print("{}\n", out);
  } else if (counts.total() == 0) {
    fmt::print("no dead letter matches\n");
  } else {
    fmt::print("{}", counts.Tables(context.stdout_is_terminal));
  }
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

void PrintHeaders(const Record& record) {
  TextTable table({{.name = "HEADER"}, {.name = "VALUE"}});
  for (const Header& header : record.headers) {
    table.Add({std::string(header.name), header.is_null ? "(null)" : std::string(header.value)});
  }
  fmt::print("{}\n", table.Take());
}

void PrintDecoded(const Record& record, RecordReader& reader) {
  RequestFields fields;
  const bool is_object = reader.ReadRequest(record.value, &fields);
  TextTable table({{.name = "FIELD"}, {.name = "VALUE"}});
  const auto add = [&](const char* name, std::string_view value) {
    table.Add({name, value.empty() ? "(none)" : std::string(value)});
  };
  add("request_id", fields.request_id);
  add("tenant_id", fields.tenant_id);
  add("model_id", fields.model_id);
  fmt::print("{}\n", table.Take());
  if (!is_object) {
    fmt::print("the value is no whole JSON object: --view raw or hex shows its bytes\n");
    return;
  }
  fmt::print("{}\n", Printable(IndentedJson(record.value), '\n'));
}

void PrintValue(const Record& record, const std::string& view, RecordReader& reader) {
  if (!record.has_value) {
    fmt::print("no value\n");
    return;
  }
  const bool plain = IsPlainText(record.value);
  const bool hex = view == "hex" || (view == "auto" && !plain);
  fmt::print("value, {} bytes{}:\n", Grouped(static_cast<std::int64_t>(record.value.size())),
             hex && view == "auto" ? ", not plain text" : "");
  if (view == "decoded") {
    PrintDecoded(record, reader);
    return;
  }
  const std::string text = hex     ? HexDump(record.value)
                           : plain ? std::string(record.value)
                                   : Printable(record.value, '\n');
  fmt::print("{}{}", text, text.ends_with('\n') ? "" : "\n");
}

int ShowDeadLetters(CommandContext& context, ShowFlags flags) {
  const std::string& topic = context.options.transport.topics.dlq;
  if (!flags.place.empty()) {
    const std::optional<Place> place = ParsePlace(flags.place, topic);
    if (!place) {
      return Fail(context.command,
                  {StatusCode::kInvalidArgument, fmt::format("'{}' is not a place such as 3:17 "
                                                             "(partition:offset)",
                                                             flags.place)});
    }
    flags.selection.partition = std::to_string(place->partition);
    flags.selection.offset = std::to_string(place->offset);
  }
  std::int64_t shown = 0;
  RecordReader reader;
  const Status status = VisitDeadLetters(
      context, flags.selection,
      [&](const Record& record, const DeadLetter& letter, std::int32_t partition) {
        if (context.output == OutputFormat::kJson) {
          std::string out;
          JsonWriter json(out);
          WriteDeadLetter(letter, record, topic, partition, json);
          fmt::print("{}\n", out);
        } else {
          fmt::print("{}dead letter {}:{}:{}, appended {}\n", shown > 0 ? "\n" : "", topic,
                     partition, record.offset.value(), TimeText(record.timestamp));
          if (record.has_key) fmt::print("key: {}\n", Printable(record.key));
          fmt::print("\n");
          PrintHeaders(record);
          PrintValue(record, flags.hex ? "hex" : flags.view, reader);
        }
        return ++shown < flags.limit || flags.limit == 0;
      });
  if (!status.ok()) return Fail(context.command, status);
  if (shown > 0) return kExitOk;
  return Fail(
      context.command,
      {StatusCode::kNotFound,
       flags.place.empty() ? "no dead letter matches"
                           : fmt::format("there is no dead letter at {}:{}:{}", topic,
                                         flags.selection.partition, flags.selection.offset)});
}

void RegisterList(CLI::App& dlq, CommandTable& table) {
  CLI::App* const list = dlq.add_subcommand("list", "List dead letters and count their reasons");
  auto flags = std::make_shared<ListFlags>();
  AddSelectionFlags(*list, flags->selection);
  list->add_option("--limit", flags->limit,
                   "Show so many; 0: all. 100 in a table, all as JSON lines. The counts are of all")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  list->footer(
      "Examples:\n"
      "  millrace dlq list --data ./log\n"
      "  millrace dlq list -b broker:9092 --reason invalid_shape --tenant acme --limit 0\n"
      "  millrace dlq list --data ./log --since 2h -o json | jq -r .detail | sort | uniq -c");
  table.commands.emplace_back(
      list, [flags](CommandContext& context) { return ListDeadLetters(context, *flags); });
}

void RegisterStats(CLI::App& dlq, CommandTable& table) {
  CLI::App* const stats =
      dlq.add_subcommand("stats", "Count dead letters by reason, by model and by tenant");
  auto flags = std::make_shared<SelectionFlags>();
  AddSelectionFlags(*stats, *flags);
  stats->footer(
      "Examples:\n"
      "  millrace dlq stats --data ./log\n"
      "  millrace dlq stats -b broker:9092 --since 1h --model cancer-mlp\n"
      "  millrace dlq stats --data ./log -o json | jq .by_tenant");
  table.commands.emplace_back(
      stats, [flags](CommandContext& context) { return CountDeadLetters(context, *flags); });
}

void RegisterShow(CLI::App& dlq, CommandTable& table) {
  CLI::App* const show = dlq.add_subcommand(
      "show", "Show dead letters whole. One by its place, or those that the flags choose");
  auto flags = std::make_shared<ShowFlags>();
  show->add_option("place", flags->place, "partition:offset, as `dlq list` prints it");
  AddSelectionFlags(*show, flags->selection);
  show->add_option("--view", flags->view,
                   "The value: as it is, as a hex dump, or its fields and indented JSON. auto: as "
                   "it is when it is plain text")
      ->check(CLI::IsMember({"auto", "raw", "hex", "decoded"}));
  show->add_flag("--hex", flags->hex, "The same as --view hex");
  show->add_option("--limit", flags->limit, "Show so many; 0: all. 10 by default")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber);
  show->footer(
      "Examples:\n"
      "  millrace dlq show --data ./log 3:17\n"
      "  millrace dlq show --data ./log 3:17 --view hex\n"
      "  millrace dlq show --data ./log --request-id r-17 --view decoded\n"
      "  millrace dlq show --data ./log 3:17 -o json | jq -r .value");
  table.commands.emplace_back(
      show, [flags](CommandContext& context) { return ShowDeadLetters(context, *flags); });
}

}  // namespace

void RegisterDlq(CLI::App& root, CommandTable& table) {
  CLI::App* const dlq = root.add_subcommand(
      "dlq", "Look at dead letters, requests that got no result, and send them again");
  dlq->require_subcommand(1);
  RegisterList(*dlq, table);
  RegisterShow(*dlq, table);
  RegisterStats(*dlq, table);
  RegisterDlqReplay(*dlq, table);
  RegisterDlqPark(*dlq, table);
}

}  // namespace millrace
