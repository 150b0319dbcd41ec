#include "app/dlq_selection.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "base/settings.h"
#include "codec/json_writer.h"
#include "codec/outcome_encoder.h"
#include "codec/replayed_record.h"
#include "types/failure.h"

namespace millrace {
namespace {

constexpr std::size_t kDayBytes = 10;  // Of 2026-11-21.

bool ParseWhole(std::string_view text, std::int64_t* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= 0;
}

// Whether `list` is empty, which means all, or holds `word`.
bool Among(const std::vector<std::string>& list, std::string_view word) {
  return list.empty() || std::binary_search(list.begin(), list.end(), word, std::less<>());
}

bool InRange(const std::optional<NumberRange>& range, std::string_view number) {
  if (!range) return true;
  std::int64_t value = 0;
  return ParseWhole(number, &value) && range->Holds(value);
}

WallMillis FailedAt(const DeadLetter& letter, const Record& record) {
  return ParseRfc3339(letter.failed_at).value_or(record.timestamp);
}

Status ParseRangeFlag(const char* flag, const std::string& text,
                      std::optional<NumberRange>* range) {
  if (text.empty()) return Status::Ok();
  *range = ParseRange(text);
  if (*range) return Status::Ok();
  return {StatusCode::kInvalidArgument,
          fmt::format("{}: '{}' is neither a number nor a range such as 17-20 or 17-", flag, text)};
}

void SortUnique(std::vector<std::string>& list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
}

}  // namespace

std::optional<NumberRange> ParseRange(std::string_view text) {
  NumberRange range;
  const std::size_t dash = text.find('-');
  if (!ParseWhole(text.substr(0, dash), &range.first)) return std::nullopt;
  if (dash == std::string_view::npos) {
    range.last = range.first;
  } else if (dash + 1 == text.size()) {
    range.last = std::numeric_limits<std::int64_t>::max();
  } else if (!ParseWhole(text.substr(dash + 1), &range.last) || range.last < range.first) {
    return std::nullopt;
  }
  return range;
}

Result<WallMillis> ParseTime(std::string_view text, WallMillis now, bool* relative) {
  *relative = false;
  const std::string day = std::string(text) + "T00:00:00Z";
  if (const auto time = ParseRfc3339(text.size() == kDayBytes ? day : text)) return *time;
  const bool has_unit = !text.empty() && text.back() >= 'a' && text.back() <= 'z';
  const Result<Millis> ago = ParseDuration(text);
  if (has_unit && ago.ok() && *ago >= Millis(0)) {
    *relative = true;
    return now - ago->count();
  }
  return Status(StatusCode::kInvalidArgument,
                fmt::format("'{}' is no time: expected one such as 2026-11-21T07:15:00Z, or how "
                            "long ago: 90s, 2h, 7d",
                            text));
}

Result<DlqSelection> DlqSelection::Parse(const SelectionFlags& flags, WallMillis now) {
  DlqSelection selection;
  selection.flags_ = flags;
  for (auto* list : {&selection.flags_.reasons, &selection.flags_.models, &selection.flags_.tenants,
                     &selection.flags_.request_ids, &selection.flags_.original_topics}) {
    SortUnique(*list);
  }
  MILLRACE_RETURN_IF_ERROR(ParseRangeFlag("--original-partition", flags.original_partition,
                                          &selection.original_partition_));
  MILLRACE_RETURN_IF_ERROR(
      ParseRangeFlag("--original-offset", flags.original_offset, &selection.original_offset_));
  MILLRACE_RETURN_IF_ERROR(ParseRangeFlag("--partition", flags.partition, &selection.partition_));
  MILLRACE_RETURN_IF_ERROR(ParseRangeFlag("--offset", flags.offset, &selection.offset_));
  bool relative = false;
  if (!flags.since.empty()) {
    const auto since = ParseTime(flags.since, now, &relative);
    if (!since.ok()) return since.status().WithContext("--since");
    selection.since_ = *since;
  }
  if (!flags.until.empty()) {
    const auto until = ParseTime(flags.until, now, &selection.until_is_relative_);
    if (!until.ok()) return until.status().WithContext("--until");
    selection.until_ = *until;
    if (*until <= selection.since_) {
      return Status(StatusCode::kInvalidArgument,
                    fmt::format("--until {} is not after --since {}", flags.until, flags.since));
    }
  }
  return selection;
}

SelectionAnswer DlqSelection::Answer(const DeadLetter& letter, const Record& record,
                                     std::int32_t partition, RecordReader& reader) const {
  // First what ends a run: also a dead letter that is not meant may be the first that is too young.
  const WallMillis failed_at = since_ > 0 || until_ ? FailedAt(letter, record) : 0;
  if (until_ && failed_at >= *until_) {
    return until_is_relative_ ? SelectionAnswer::kNotYet : SelectionAnswer::kNo;
  }
  const bool meant =
      InTime(failed_at) && (!partition_ || partition_->Holds(partition)) &&
      (!offset_ || offset_->Holds(record.offset.value())) && Among(flags_.reasons, letter.reason) &&
      Among(flags_.models, letter.model_id) && Among(flags_.tenants, letter.tenant_id) &&
      Among(flags_.original_topics, letter.original_topic) &&
      InRange(original_partition_, letter.original_partition) &&
      InRange(original_offset_, letter.original_offset) &&
      (flags_.min_attempts <= 0 || EarlierAttempts(record.headers) >= flags_.min_attempts);
  if (!meant) return SelectionAnswer::kNo;
  if (flags_.request_ids.empty()) return SelectionAnswer::kYes;
  if (!letter.request_id.empty()) {
    return Among(flags_.request_ids, letter.request_id) ? SelectionAnswer::kYes
                                                        : SelectionAnswer::kNo;
  }
  RequestFields fields;
  reader.ReadRequest(record.value, &fields);
  const bool found = !fields.request_id.empty() && Among(flags_.request_ids, fields.request_id);
  return found ? SelectionAnswer::kYes : SelectionAnswer::kNo;
}

std::vector<std::int32_t> DlqSelection::Partitions(std::int32_t count) const {
  std::vector<std::int32_t> partitions;
  if (!partition_) return partitions;
  const std::int64_t last = std::min<std::int64_t>(partition_->last, count - 1);
  for (std::int64_t number = partition_->first; number <= last; ++number) {
    partitions.push_back(static_cast<std::int32_t>(number));
  }
  // None of them exists: name one, so that whoever reads says which do.
  if (partitions.empty())
    partitions.push_back(static_cast<std::int32_t>(
        std::min<std::int64_t>(partition_->first, std::numeric_limits<std::int32_t>::max())));
  return partitions;
}

std::optional<Offset> DlqSelection::FirstOffset() const {
  return offset_ ? std::optional(Offset(offset_->first)) : std::nullopt;
}

std::string DlqSelection::Canonical(const std::string* original_topic) const {
  std::string text;
  JsonWriter json(text);
  json.BeginObject();
  const auto list = [&](const char* name, const std::vector<std::string>& words) {
    json.Key(name).BeginArray();
    for (const std::string& word : words) json.Value(word);
    json.EndArray();
  };
  list("reasons", flags_.reasons);
  list("models", flags_.models);
  list("tenants", flags_.tenants);
  list("request_ids", flags_.request_ids);
  list("original_topics", original_topic == nullptr ? flags_.original_topics
                                                    : std::vector<std::string>{*original_topic});
  json.Member("since", flags_.since).Member("until", flags_.until);
  const auto range = [&](const char* name, const std::optional<NumberRange>& numbers) {
    json.Key(name).BeginArray();
    if (numbers) json.Value(numbers->first).Value(numbers->last);
    json.EndArray();
  };
  range("original_partition", original_partition_);
  range("original_offset", original_offset_);
  range("partition", partition_);
  range("offset", offset_);
  json.Member("min_attempts", std::max<std::int64_t>(flags_.min_attempts, 0));
  json.EndObject();
  return text;
}

void AddSelectionFlags(CLI::App& command, SelectionFlags& flags) {
  const std::string group = "Which dead letters";
  const auto words = [&](const char* name, std::vector<std::string>& list, const char* text) {
    return command.add_option(name, list, text)->allow_extra_args(false)->group(group);
  };
  words("--reason", flags.reasons, "Only this reason; repeatable, as the next four")
      ->check(CLI::IsMember(
          std::vector<std::string>(kFailureReasonNames.begin(), kFailureReasonNames.end())));
  words("--model", flags.models, "Only this model")->type_name("ID");
  words("--tenant", flags.tenants, "Only this tenant")->type_name("ID");
  words("--request-id", flags.request_ids, "Only this request, by its header or its value")
      ->type_name("ID");
  words("--original-topic", flags.original_topics, "Only requests of this topic")
      ->type_name("TOPIC");
  const auto text = [&](const char* name, std::string& value, const char* type, const char* what) {
    command.add_option(name, value, what)->type_name(type)->group(group);
  };
  text("--since", flags.since, "TIME",
       "Failed at this time or later. 2026-11-21T07:15:00Z, or how long ago: 90s, 2h, 7d");
  text("--until", flags.until, "TIME", "Failed before this time, written likewise");
  text("--original-partition", flags.original_partition, "N", "Partition of the request, or N-M");
  text("--original-offset", flags.original_offset, "N", "Offset of the request, or N-M, or N-");
  text("--partition", flags.partition, "N", "Partition of the dead letter, or N-M");
  text("--offset", flags.offset, "N", "Offset of the dead letter, or N-M, or N-");
  command
      .add_option("--min-attempts", flags.min_attempts,
                  "Only what has failed so many times or more")
      ->type_name("N")
      ->check(CLI::NonNegativeNumber)
      ->group(group);
}

}  // namespace millrace
