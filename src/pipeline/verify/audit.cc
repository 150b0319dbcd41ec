#include "pipeline/verify/audit.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <thread>
#include <utility>

#include "base/check.h"
#include "base/settings.h"
#include "codec/record_reader.h"

namespace millrace {
namespace {

constexpr PollLimits kScanLimits = {
    .max_records = 4096, .max_bytes = 8 << 20, .max_wait = Millis(100)};

using Committed = std::map<std::int32_t, CommittedSet>;

template <class T>
bool ParseWhole(std::string_view text, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && !text.empty();
}

bool ParsePlace(std::string_view topic, std::string_view partition, std::string_view offset,
                AuditedOutcome* outcome) {
  std::int64_t at = 0;
  if (topic.empty() || !ParseWhole(partition, &outcome->source_partition) ||
      !ParseWhole(offset, &at)) {
    return false;
  }
  outcome->source_topic = topic;
  outcome->source_offset = Offset(at);
  return true;
}

// topic:partition:offset; the topic may hold colons.
bool ParseSource(std::string_view text, AuditedOutcome* outcome) {
  const std::size_t second = text.rfind(':');
  if (second == std::string_view::npos || second == 0) return false;
  const std::size_t first = text.rfind(':', second - 1);
  if (first == std::string_view::npos) return false;
  return ParsePlace(text.substr(0, first), text.substr(first + 1, second - first - 1),
                    text.substr(second + 1), outcome);
}

const TopicInfo* FindTopic(const std::vector<TopicInfo>& topics, const std::string& name) {
  const auto it = std::find_if(topics.begin(), topics.end(),
                               [&](const TopicInfo& t) { return t.spec.name == name; });
  return it == topics.end() ? nullptr : &*it;
}

Status MissingTopic(const std::string& name) {
  return {StatusCode::kNotFound,
          fmt::format("topic {} does not exist in this log: name the topics with topics.* or make "
                      "them with `millrace topics create`",
                      name)};
}

const OpenTransaction* FindPartition(const std::vector<OpenTransaction>& open,
                                     const TopicPartition& partition) {
  const auto it = std::find_if(open.begin(), open.end(), [&](const OpenTransaction& transaction) {
    return transaction.partition == partition;
  });
  return it == open.end() ? nullptr : &*it;
}

class Audit {
 public:
  Audit(Log& log, const AuditOptions& options)
      : log_(log),
        options_(options),
        clock_(options.clock != nullptr ? *options.clock : SystemClock()),
        topics_(options.checker.topics),
        checker_(options.checker) {}

  Result<LogAudit> Run() {
    MILLRACE_RETURN_IF_ERROR(Look());
    auto reader = log_.NewReader();
    if (!reader.ok()) return reader.status();
    reader_ = std::move(reader).value();
    MILLRACE_RETURN_IF_ERROR(ScanTopic(requests_, &Audit::VisitRequest));
    MILLRACE_RETURN_IF_ERROR(ScanTopic(results_, &Audit::VisitResult));
    MILLRACE_RETURN_IF_ERROR(ScanTopic(dead_letters_, &Audit::VisitDeadLetter));
    LogAudit audit{.report = checker_.Finish(), .notes = std::move(notes_)};
    if (audit.report.vacuous) audit.notes.push_back(WhyVacuous());
    return audit;
  }

 private:
  using Visit = void (Audit::*)(std::int32_t partition, const Record& record);

  // Steps 1 to 5 of the header.
  Status Look() {
    auto committed = ReadCommitted();
    if (!committed.ok()) return committed.status();
    const std::vector<std::string> names = {topics_.requests, topics_.results, topics_.dlq};
    MILLRACE_RETURN_IF_ERROR(WaitForTransactions(names));
    auto outcomes = log_.DescribeTopics(names);
    if (!outcomes.ok()) return outcomes.status();
    auto settled = ReadCommitted();
    if (!settled.ok()) return settled.status();
    auto requests = log_.DescribeTopics(names);
    if (!requests.ok()) return requests.status();
    const struct {
      const std::vector<TopicInfo>& from;
      const std::string& name;
      TopicInfo* to;
    } wanted[] = {{*requests, topics_.requests, &requests_},
                  {*outcomes, topics_.results, &results_},
                  {*outcomes, topics_.dlq, &dead_letters_}};
    for (const auto& topic : wanted) {
      const TopicInfo* found = FindTopic(topic.from, topic.name);
      if (found == nullptr) return MissingTopic(topic.name);
      *topic.to = *found;
      for (const PartitionInfo& p : found->partitions) total_ += p.end.value() - p.start.value();
    }
    committed_any_ = !settled->empty();
    SetPartitions(*committed, *settled);
    NoteRetention(*settled);
    return Status::Ok();
  }

  // A cluster that is busy with a commit of the group has no answer for a moment.
  Result<Committed> ReadCommitted() {
    constexpr Millis kPause{50};
    constexpr Millis kPatience{5'000};
    const MonoTime deadline = clock_.Now() + kPatience;
    while (true) {
      const auto committed = log_.CommittedOffsets(options_.group, topics_.requests);
      if (committed.ok()) return WithNotes(*committed);
      if (committed.status().code() != StatusCode::kUnavailable || clock_.Now() >= deadline) {
        return committed.status();
      }
      Wait(kPause);
    }
  }

  Result<Committed> WithNotes(const std::map<std::int32_t, CommittedPosition>& positions) const {
    Committed committed;
    for (const auto& [partition, at] : positions) {
      auto beyond = DecodeNote(at.position, at.note);
      if (!beyond.ok()) {
        return beyond.status().WithContext(
            fmt::format("group {}, {} partition {}", options_.group, topics_.requests, partition));
      }
      committed[partition] = {at.position, std::move(*beyond)};
    }
    return committed;
  }

  Status WaitForTransactions(const std::vector<std::string>& names) {
    constexpr Millis kFirstPause{10};
    constexpr Millis kLongestPause{500};
    const MonoTime deadline = clock_.Now() + options_.open_wait;
    auto open = log_.OpenTransactions(names);
    if (!open.ok()) return open.status();
    std::vector<OpenTransaction> waiting = *open;
    Millis pause = kFirstPause;
    while (!waiting.empty() && clock_.Now() < deadline) {
      Wait(std::min(pause, std::chrono::ceil<Millis>(deadline - clock_.Now())));
      pause = std::min(pause * 2, kLongestPause);
      open = log_.OpenTransactions(names);
      if (!open.ok()) return open.status();
      std::erase_if(waiting, [&](const OpenTransaction& was) {
        const OpenTransaction* const is = FindPartition(*open, was.partition);
        return is == nullptr || is->stable >= was.end;
      });
    }
    for (const OpenTransaction& was : waiting) {
      const OpenTransaction& is = *FindPartition(*open, was.partition);
      if (is.stable == was.stable) {
        checker_.AddOpenTransaction(is.partition, is.stable, is.end);
      } else {
        notes_.push_back(fmt::format(
            "transactions of {}:{} ended one after the other for {}: what "
            "was there at first could not all be read yet",
            is.partition.topic, is.partition.partition, FormatDuration(options_.open_wait)));
      }
    }
    return Status::Ok();
  }

  void Wait(Millis pause) const {
    if (options_.wait) {
      options_.wait(pause);
    } else {
      std::this_thread::sleep_for(pause);
    }
  }

  void SetPartitions(const Committed& committed, const Committed& settled) {
    std::vector<AuditedPartition> partitions;
    const auto set = [](const Committed& of, std::int32_t partition) {
      const auto it = of.find(partition);
      return it == of.end() ? CommittedSet{Offset(0), {}} : it->second;
    };
    for (const PartitionInfo& p : requests_.partitions) {
      const auto slot = static_cast<std::size_t>(p.partition);
      if (partitions.size() <= slot) partitions.resize(slot + 1);
      CommittedSet first = set(committed, p.partition);
      CommittedSet second = set(settled, p.partition);
      partitions[slot] = {.start = p.start,
                          .end = p.end,
                          .committed = first.position,
                          .settled = second.position,
                          .committed_beyond = std::move(first.beyond),
                          .settled_beyond = std::move(second.beyond)};
    }
    checker_.SetPartitions(partitions);
  }

  void NoteRetention(const Committed& settled) {
    std::int64_t unread = 0;
    for (const PartitionInfo& p : requests_.partitions) {
      const auto it = settled.find(p.partition);
      if (it != settled.end() && it->second.position < p.start) {
        unread += p.start.value() - it->second.position.value();
      }
    }
    if (unread > 0) {
      notes_.push_back(
          fmt::format("retention deleted up to {} requests of {} that group {} had not read: they "
                      "have no outcome",
                      unread, topics_.requests, options_.group));
    }
    for (const TopicInfo* topic : {&results_, &dead_letters_}) {
      std::int64_t gone = 0;
      for (const PartitionInfo& p : topic->partitions) gone += p.start.value();
      if (gone == 0) continue;
      notes_.push_back(
          fmt::format("retention deleted {} outcomes of {}: a request that outlived its outcome "
                      "counts as missing",
                      gone, topic->spec.name));
    }
  }

  Status ScanTopic(const TopicInfo& topic, Visit visit) {
    topic_ = topic.spec.name;
    for (const PartitionInfo& partition : topic.partitions) {
      MILLRACE_RETURN_IF_ERROR(
          ScanPartition(partition, visit)
              .WithContext(fmt::format("reading {} partition {}", topic_, partition.partition)));
    }
    return Status::Ok();
  }

  Status ScanPartition(const PartitionInfo& partition, Visit visit) {
    if (partition.start >= partition.end) return Status::Ok();
    const Reader::Start starts[] = {{{topic_, partition.partition}, partition.start}};
    MILLRACE_RETURN_IF_ERROR(reader_->Assign(starts));
    Offset next = partition.start;
    while (reader_->Position(PartitionSlot(0)) < partition.end) {
      MILLRACE_RETURN_IF_ERROR(reader_->Poll(kScanLimits, &batch_));
      for (const Record& record : batch_.records) {
        if (record.offset < next) {
          return {StatusCode::kInternal, fmt::format("the reader gave offset {} after {}",
                                                     record.offset.value(), next.value() - 1)};
        }
        next = Next(record.offset);
        if (record.offset >= partition.end) break;
        (this->*visit)(partition.partition, record);
        Advance();
      }
    }
    return Status::Ok();
  }

  void Advance() {
    if (++done_ % kAuditProgressRecords == 0 && options_.progress) {
      options_.progress(topic_, done_, total_);
    }
  }

  void VisitRequest(std::int32_t partition, const Record& record) {
    RequestFields fields;
    fields_.ReadRequest(record.value, &fields);
    const auto header_or = [&](std::string_view name, std::string_view value) {
      const auto header = record.headers.Find(name);
      return header && !header->empty() ? *header : value;
    };
    std::string_view tenant = header_or("tenant_id", fields.tenant_id);
    if (tenant.empty()) {
      const std::size_t bar = record.key.rfind('|');
      if (bar != std::string_view::npos) tenant = record.key.substr(0, bar);
    }
    checker_.AddRequest({.partition = partition,
                         .offset = record.offset,
                         .key = record.key,
                         .value = record.value,
                         .request_id = header_or("request_id", fields.request_id),
                         .tenant_id = tenant,
                         .model_id = header_or("model_id", fields.model_id)});
  }

  void VisitResult(std::int32_t partition, const Record& record) {
    ResultFields fields;
    fields_.ReadResult(record.value, &fields);
    AuditedOutcome outcome = OutcomeOf(OutputTopic::kResults, partition, record);
    outcome.request_id = fields.request_id;
    outcome.status = fields.status;
    outcome.source = record.headers.Find("source").value_or(std::string_view());
    outcome.has_source = ParseSource(outcome.source, &outcome);
    checker_.AddOutcome(outcome);
  }

  void VisitDeadLetter(std::int32_t partition, const Record& record) {
    AuditedOutcome outcome = OutcomeOf(OutputTopic::kDeadLetters, partition, record);
    const auto header = [&](std::string_view name) {
      return record.headers.Find(name).value_or(std::string_view());
    };
    outcome.original_key = header("original_key");
    const std::string_view topic = header("original_topic");
    const std::string_view of = header("original_partition");
    const std::string_view offset = header("original_offset");
    outcome.has_source = ParsePlace(topic, of, offset, &outcome);
    if (!outcome.has_source && !(topic.empty() && of.empty() && offset.empty())) {
      source_text_ = fmt::format("{}:{}:{}", topic, of, offset);
      outcome.source = source_text_;
    }
    checker_.AddOutcome(outcome);
  }

  static AuditedOutcome OutcomeOf(OutputTopic topic, std::int32_t partition, const Record& record) {
    AuditedOutcome outcome;
    outcome.topic = topic;
    outcome.partition = partition;
    outcome.offset = record.offset;
    outcome.key = record.key;
    outcome.value = record.value;
    outcome.tenant_id = record.headers.Find("tenant_id").value_or(std::string_view());
    outcome.model_id = record.headers.Find("model_id").value_or(std::string_view());
    return outcome;
  }

  std::string WhyVacuous() {
    if (committed_any_) {
      return fmt::format("no request that is still held is below group {}'s committed positions",
                         options_.group);
    }
    auto groups = log_.Groups();
    return fmt::format("group {} has committed nothing of {}{}", options_.group, topics_.requests,
                       groups.ok() && !groups->empty()
                           ? fmt::format("; groups of this log: {}", fmt::join(*groups, ", "))
                           : std::string("; no group has"));
  }

  Log& log_;
  const AuditOptions& options_;
  const Clock& clock_;
  const TopicOptions& topics_;
  OutcomeChecker checker_;
  RecordReader fields_;
  std::unique_ptr<Reader> reader_;
  RecordBatch batch_;
  TopicInfo requests_, results_, dead_letters_;
  std::vector<std::string> notes_;
  std::string topic_;        // Being scanned.
  std::string source_text_;  // Backs AuditedOutcome::source of one call.
  std::int64_t done_ = 0;
  std::int64_t total_ = 0;
  bool committed_any_ = false;
};

}  // namespace

Result<LogAudit> AuditLog(Log& log, const AuditOptions& options) {
  return Audit(log, options).Run();
}

}  // namespace millrace
