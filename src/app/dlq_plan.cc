#include "app/dlq_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "app/log_scan.h"
#include "codec/json_writer.h"
#include "codec/replayed_record.h"

namespace millrace {
namespace {

// "topic:3:17" with this topic.
std::optional<std::pair<std::int32_t, std::int64_t>> PlaceIn(std::string_view text,
                                                             std::string_view topic) {
  if (!text.starts_with(topic) || !text.substr(topic.size()).starts_with(":")) return std::nullopt;
  text.remove_prefix(topic.size() + 1);
  std::pair<std::int32_t, std::int64_t> place;
  const char* const end = text.data() + text.size();
  const auto partition = std::from_chars(text.data(), end, place.first);
  if (partition.ec != std::errc() || partition.ptr == end || *partition.ptr != ':') {
    return std::nullopt;
  }
  const auto offset = std::from_chars(partition.ptr + 1, end, place.second);
  if (offset.ec != std::errc() || offset.ptr != end) return std::nullopt;
  return place;
}

// Which round of the job `base` the groups of the log show last; 0: none.
int LastRound(const std::vector<std::string>& groups, const std::string& base) {
  int last = 0;
  for (auto it = std::lower_bound(groups.begin(), groups.end(), base);
       it != groups.end() && it->starts_with(base); ++it) {
    const std::string_view rest = std::string_view(*it).substr(base.size());
    int round = rest.empty() ? 1 : 0;
    if (rest.starts_with(".")) std::from_chars(rest.data() + 1, rest.data() + rest.size(), round);
    last = std::max(last, round);
  }
  return last;
}

}  // namespace

std::string StableHash(std::string_view text) {
  std::uint64_t hash = 0xCBF29CE484222325ULL;  // FNV-1a.
  for (const char c : text) {
    hash ^= static_cast<unsigned char>(c);
    hash *= 0x100000001B3ULL;
  }
  return fmt::format("{:016x}", hash);
}

Result<PlaceSet> PlaceSet::ReadParked(Log& log, const std::string& parking,
                                      const std::string& topic) {
  PlaceSet set;
  const auto topics = log.DescribeTopics({parking});
  if (!topics.ok()) return topics.status();
  if (topics->empty()) return set;
  auto scan = LogScan::Open(log, {{.topic = parking, .partitions = {}, .from = {}}}, false);
  if (!scan.ok()) return scan.status();
  RecordBatch batch;
  while (!scan->done()) {
    MILLRACE_RETURN_IF_ERROR(scan->Poll(&batch));
    for (const Record& record : batch.records) {
      const auto place = PlaceIn(record.headers.Find(kParkedFrom).value_or(""), topic);
      if (place) set.places_.push_back(*place);
    }
  }
  std::sort(set.places_.begin(), set.places_.end());
  return set;
}

bool PlaceSet::Holds(std::int32_t partition, Offset offset) const {
  return std::binary_search(places_.begin(), places_.end(), std::pair(partition, offset.value()));
}

Fate CopyRules::Judge(const DeadLetter& letter, const Record& record, std::int32_t partition,
                      RecordReader& reader) const {
  switch (selection.Answer(letter, record, partition, reader)) {
    case SelectionAnswer::kNo:
      return Fate::kNotMeant;
    case SelectionAnswer::kNotYet:
      return Fate::kNotYet;
    case SelectionAnswer::kYes:
      break;
  }
  if (parked.Holds(partition, record.offset)) return Fate::kParked;
  if (kind == CopyKind::kPark) return Fate::kCopied;
  switch (ObstacleOf(record)) {
    case ReplayObstacle::kCut:
      return Fate::kCut;
    case ReplayObstacle::kNoValue:
      return Fate::kNoValue;
    case ReplayObstacle::kNone:
      break;
  }
  if (EarlierAttempts(record.headers) >= max_attempts) return Fate::kLoop;
  return to.empty() && letter.original_topic.empty() ? Fate::kNoTarget : Fate::kCopied;
}

Result<DlqPlan> DlqPlan::Make(Log& log, const CopyRules& rules, Options options) {
  DlqPlan plan(rules, std::move(options));
  const std::string& topic = plan.options_.topic;
  const auto count = PartitionCount(log, topic);
  if (!count.ok()) return count.status();
  auto groups = log.Groups();
  if (!groups.ok()) return groups.status();
  plan.groups_ = std::move(groups).value();
  std::sort(plan.groups_.begin(), plan.groups_.end());
  auto scan = LogScan::Open(
      log, {{.topic = topic, .partitions = rules.selection.Partitions(*count), .from = {}}}, false);
  if (!scan.ok()) return scan.status();
  plan.ends_ = scan->Ends();
  RecordBatch batch;
  RecordReader reader;
  plan.reader_ = &reader;
  while (!scan->done()) {
    if (plan.options_.stopped()) {
      return Status(StatusCode::kCancelled, "stopped before anything was changed");
    }
    MILLRACE_RETURN_IF_ERROR(scan->Poll(&batch));
    for (const Record& record : batch.records) {
      Status status;
      plan.Visit(record, scan->partition(record), &status);
      if (!status.ok()) return status;
    }
  }
  plan.reader_ = nullptr;
  return plan;
}

void DlqPlan::Visit(const Record& record, std::int32_t partition, Status* status) {
  bool& stopped = stopped_[partition];
  if (stopped) return;
  const DeadLetter letter = ReadDeadLetter(record);
  const Fate fate = rules_->Judge(letter, record, partition, *reader_);
  ++fates_[static_cast<std::size_t>(fate)];
  if (fate == Fate::kNotMeant) return;
  if (fate == Fate::kNotYet) {
    stopped = true;
    return;
  }
  ++matching_;
  if (fate != Fate::kCopied) return;
  auto target = TargetOf(letter);
  if (!target.ok()) {
    *status = target.status();
    return;
  }
  CopyTarget& job = **target;
  const auto position = job.positions.find(partition);
  if (position != job.positions.end() && record.offset < position->second) {
    ++job.done_before;
    ++done_before_;
    return;
  }
  ++job.copies;
  copies_.Add(letter);
}

Result<CopyTarget*> DlqPlan::TargetOf(const DeadLetter& letter) {
  const bool replays = rules_->kind == CopyKind::kReplay;
  const std::string_view original = replays ? letter.original_topic : std::string_view();
  for (const auto& known : targets_) {
    if (known->original_topic == original) return known.get();
  }
  auto target = std::make_unique<CopyTarget>();
  target->original_topic = std::string(original);
  target->topic = rules_->to.empty() ? target->original_topic : rules_->to;
  std::string text;
  JsonWriter json(text);
  json.BeginObject().Member("from", options_.topic).Member("to", target->topic);
  json.Member("max_attempts", replays ? rules_->max_attempts : 0);
  json.Key("selection")
      .Raw(rules_->selection.Canonical(replays ? &target->original_topic : nullptr));
  json.EndObject();
  const std::string hash = StableHash(text);
  const char* const word = replays ? kReplayGroupWord : kParkGroupWord;
  const std::string base = fmt::format("{}{}{}", options_.group, word, hash);
  const int last = LastRound(groups_, base);
  const int round = std::max(1, options_.again ? last + 1 : last);
  const std::string suffix = round == 1 ? std::string() : fmt::format(".{}", round);
  target->replay_id = hash + suffix;
  target->group = base + suffix;
  if (round == last) {
    auto positions = options_.positions(target->group);
    if (!positions.ok()) return positions.status();
    target->positions = std::move(positions).value();
  }
  targets_.push_back(std::move(target));
  return targets_.back().get();
}

}  // namespace millrace
