#include "pipeline/verify/checker.h"

#include <fmt/core.h>

#include <algorithm>
#include <utility>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/check.h"

namespace millrace {
namespace {

// Marks in RequestTable::Seen.
constexpr std::uint8_t kSeenResult = 1;
constexpr std::uint8_t kSeenDeadLetter = 2;

constexpr std::size_t kShownBytes = 64;  // Of a key or id that an example quotes.

std::uint64_t Hash64(std::string_view bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

// 0 stands for "no key".
std::uint64_t KeyHash(std::string_view key) {
  return key.empty() ? 0 : std::max<std::uint64_t>(Hash64(key), 1);
}

std::uint32_t Hash32(std::string_view bytes) {
  return static_cast<std::uint32_t>(Hash64(bytes) >> 32);
}

// 0 stands for "could not be read".
std::uint32_t KnownHash(std::string_view text) {
  return text.empty() ? 0 : std::max<std::uint32_t>(Hash32(text), 1);
}

std::uint32_t RouteHash(std::string_view tenant, std::string_view model) {
  if (tenant.empty() || model.empty()) return 0;
  const std::uint64_t both = Hash64(tenant) * 0x9E3779B97F4A7C15ULL + Hash64(model);
  return std::max<std::uint32_t>(static_cast<std::uint32_t>(both >> 32), 1);
}

std::string Quoted(std::string_view text) {
  std::string out = "'";
  for (const char c : text.substr(0, kShownBytes)) {
    out += static_cast<unsigned char>(c) < 0x20 || c == 0x7F ? '?' : c;
  }
  out += text.size() > kShownBytes ? "…'" : "'";
  return out;
}

std::string Where(std::string_view topic, std::int32_t partition, Offset offset) {
  return fmt::format("{}:{}:{}", topic, partition, offset.value());
}

std::string SourceOf(const AuditedOutcome& outcome) {
  return Where(outcome.source_topic, outcome.source_partition, outcome.source_offset);
}

}  // namespace

std::string_view ViolationName(Violation violation) {
  static constexpr std::array<std::string_view, kViolations> kNames = {
      "missing",          "duplicated",           "orphaned",           "mismatched", "altered",
      "order_violations", "committed_beyond_end", "committed_went_back"};
  return kNames[static_cast<std::size_t>(violation)];
}

OutcomeChecker::OutcomeChecker(CheckerOptions options) : options_(std::move(options)) {}

void OutcomeChecker::SetPartitions(std::span<const AuditedPartition> partitions) {
  MILLRACE_CHECK(partitions_.empty());
  tables_.resize(partitions.size());
  for (std::size_t i = 0; i < partitions.size(); ++i) {
    const AuditedPartition& from = partitions[i];
    const Partition& partition =
        partitions_.emplace_back(Partition{from.start,
                                           from.end,
                                           {from.committed, from.committed_beyond},
                                           {from.settled, from.settled_beyond}});
    const auto number = static_cast<std::int32_t>(i);
    CheckWentBack(number, partition);
    Offset furthest = std::max(from.committed, from.settled);
    if (!from.settled_beyond.empty()) furthest = std::max(furthest, from.settled_beyond.back().end);
    if (furthest > partition.end) {
      Count(Violation::kCommittedBeyondEnd, Where(options_.topics.requests, number, furthest),
            fmt::format("the committed position is {} but the partition ends at {}",
                        furthest.value(), partition.end.value()));
    }
  }
}

void OutcomeChecker::CheckWentBack(std::int32_t number, const Partition& partition) {
  const CommittedSet& was = partition.committed;
  const CommittedSet& is = partition.settled;
  if (is.position < was.position) {
    Count(Violation::kCommittedWentBack, Where(options_.topics.requests, number, is.position),
          fmt::format("the committed position was {} and is {} now", was.position.value(),
                      is.position.value()));
    return;
  }
  for (const OffsetRange& range : was.beyond) {
    // Ranges only grow, and grow together.
    const Offset last(range.end.value() - 1);
    if (is.Has(range.first) && is.Has(last)) continue;
    Count(Violation::kCommittedWentBack, Where(options_.topics.requests, number, range.first),
          fmt::format("offsets {} to {} were committed beyond the position {} and are not now",
                      range.first.value(), last.value(), was.position.value()));
  }
}

void OutcomeChecker::AddRequest(const AuditedRequest& request) {
  MILLRACE_CHECK(static_cast<std::size_t>(request.partition) < partitions_.size());
  const auto slot = static_cast<std::size_t>(request.partition);
  const Partition& partition = partitions_[slot];
  if (request.offset >= partition.end) return;
  ++report_.examined;
  if (!partition.Maybe(request.offset)) {
    ++report_.pending;
    return;
  }
  ++(partition.committed.Has(request.offset) ? report_.requests : report_.in_progress);
  tables_[slot].Add(request.offset, {.key = KeyHash(request.key),
                                     .id = KnownHash(request.request_id),
                                     .route = RouteHash(request.tenant_id, request.model_id),
                                     .body = Hash32(request.value)});
}

void OutcomeChecker::AddOutcome(const AuditedOutcome& outcome) {
  ++report_.examined;
  const bool is_result = outcome.topic == OutputTopic::kResults;
  ++(is_result ? report_.results : report_.dead_letters);
  const std::size_t index = Resolve(outcome);
  if (index == RequestTable::kNone) return;
  RequestTable& table = tables_[static_cast<std::size_t>(outcome.source_partition)];
  std::uint8_t& seen = table.Seen(index);
  const std::uint8_t before = std::exchange(
      seen, static_cast<std::uint8_t>(seen | (is_result ? kSeenResult : kSeenDeadLetter)));
  if (before != 0) {
    const char* other = before == (kSeenResult | kSeenDeadLetter) ? "a result and a dead letter"
                        : before == kSeenResult                   ? "a result"
                                                                  : "a dead letter";
    Count(Violation::kDuplicated, outcome,
          fmt::format("another {} of {}, which has {} already",
                      is_result ? "result" : "dead letter", SourceOf(outcome), other));
    // What a second outcome holds and where it stands says nothing further.
    return;
  }
  const RequestFacts facts = table.Facts(index);
  CheckContent(outcome, facts);
  CheckOrder(outcome, facts);
}

std::size_t OutcomeChecker::Resolve(const AuditedOutcome& outcome) {
  const auto orphan = [&](std::string detail) {
    Count(Violation::kOrphaned, outcome, std::move(detail));
    return RequestTable::kNone;
  };
  if (!outcome.has_source) {
    return orphan(
        outcome.source.empty()
            ? std::string("does not say which request it answers")
            : fmt::format("its source {} is not topic:partition:offset", Quoted(outcome.source)));
  }
  if (outcome.source_topic != options_.topics.requests) {
    return orphan(fmt::format("answers {}, which is not of {}", Quoted(SourceOf(outcome)),
                              options_.topics.requests));
  }
  if (outcome.source_partition < 0 ||
      static_cast<std::size_t>(outcome.source_partition) >= partitions_.size()) {
    return orphan(fmt::format("answers {}, but the topic has {} partitions", SourceOf(outcome),
                              partitions_.size()));
  }
  const auto slot = static_cast<std::size_t>(outcome.source_partition);
  const Partition& partition = partitions_[slot];
  if (!partition.Maybe(outcome.source_offset)) {
    return orphan(fmt::format("answers {}, but the group has committed only up to {}",
                              SourceOf(outcome), partition.settled.position.value()));
  }
  if (outcome.source_offset < partition.start) {
    ++report_.expired;
    return RequestTable::kNone;
  }
  const std::size_t index = tables_[slot].Find(outcome.source_offset);
  if (index == RequestTable::kNone) {
    return orphan(fmt::format("answers {}, where no record is", SourceOf(outcome)));
  }
  return index;
}

void OutcomeChecker::CheckContent(const AuditedOutcome& outcome, const RequestFacts& facts) {
  if (outcome.topic == OutputTopic::kResults) {
    CheckResult(outcome, facts);
  } else {
    CheckDeadLetter(outcome, facts);
  }
}

void OutcomeChecker::CheckResult(const AuditedOutcome& outcome, const RequestFacts& facts) {
  const auto mismatch = [&](std::string detail) {
    Count(Violation::kMismatched, outcome, std::move(detail));
  };
  if (facts.id != 0 && KnownHash(outcome.key) != facts.id) {
    return mismatch(fmt::format("its key {} is not the request_id of {}", Quoted(outcome.key),
                                SourceOf(outcome)));
  }
  if (outcome.request_id != outcome.key) {
    return mismatch(fmt::format("its key {} is not its own request_id {}", Quoted(outcome.key),
                                Quoted(outcome.request_id)));
  }
  const std::uint32_t route = RouteHash(outcome.tenant_id, outcome.model_id);
  if (facts.route != 0 && route != facts.route) {
    return mismatch(fmt::format("tenant {} and model {} are not those of {}",
                                Quoted(outcome.tenant_id), Quoted(outcome.model_id),
                                SourceOf(outcome)));
  }
  if (outcome.status != "ok") {
    return mismatch(fmt::format("its status is {}, not 'ok'", Quoted(outcome.status)));
  }
}

void OutcomeChecker::CheckDeadLetter(const AuditedOutcome& outcome, const RequestFacts& facts) {
  if (Hash32(outcome.value) != facts.body) {
    Count(Violation::kAltered, outcome,
          fmt::format("its value is not the bytes of {}", SourceOf(outcome)));
  }
  if (KeyHash(outcome.original_key) != facts.key) {
    Count(Violation::kMismatched, outcome,
          fmt::format("its original_key {} is not the key of {}", Quoted(outcome.original_key),
                      SourceOf(outcome)));
    return;
  }
  const std::string_view expected =
      outcome.tenant_id.empty() ? outcome.original_key : outcome.tenant_id;
  if (outcome.key != expected) {
    Count(Violation::kMismatched, outcome,
          fmt::format("its key {} should be {}", Quoted(outcome.key), Quoted(expected)));
  }
}

void OutcomeChecker::CheckOrder(const AuditedOutcome& outcome, const RequestFacts& facts) {
  if (outcome.topic != order_topic_ || outcome.partition != order_partition_) {
    order_topic_ = outcome.topic;
    order_partition_ = outcome.partition;
    last_of_key_.clear();
  }
  if (facts.key == 0) return;  // Without a key there is no order to keep.
  const auto [it, is_first] =
      last_of_key_.try_emplace({facts.key, outcome.source_partition}, outcome.source_offset);
  if (is_first) return;
  if (outcome.source_offset < it->second) {
    Count(Violation::kOrder, outcome,
          fmt::format("answers {} behind an outcome of offset {} of the same key",
                      SourceOf(outcome), it->second.value()));
    return;
  }
  it->second = outcome.source_offset;
}

void OutcomeChecker::AddOpenTransaction(const TopicPartition& partition, Offset stable,
                                        Offset end) {
  ++report_.open_transactions;
  if (report_.open_examples.size() >= options_.max_examples) return;
  report_.open_examples.push_back(
      {Where(partition.topic, partition.partition, stable),
       fmt::format("a transaction that begins here is neither committed nor aborted: {} records "
                   "are held back from readers",
                   end.value() - stable.value())});
}

AuditReport OutcomeChecker::Finish() {
  for (std::size_t slot = 0; slot < tables_.size(); ++slot) {
    const CommittedSet& committed = partitions_[slot].committed;
    tables_[slot].ForEach([&](Offset offset, std::uint8_t seen) {
      if (seen != 0 || !committed.Has(offset)) return;
      Count(Violation::kMissing,
            Where(options_.topics.requests, static_cast<std::int32_t>(slot), offset),
            fmt::format("has neither a result nor a dead letter, and {} is committed",
                        committed.position.value()));
    });
  }
  report_.vacuous = report_.requests == 0;
  report_.ok = std::all_of(report_.violations.begin(), report_.violations.end(),
                           [](std::int64_t count) { return count == 0; }) &&
               report_.open_transactions == 0 && (!report_.vacuous || options_.allow_empty);
  return std::move(report_);
}

void OutcomeChecker::Count(Violation violation, std::string where, std::string detail) {
  const auto kind = static_cast<std::size_t>(violation);
  ++report_.violations[kind];
  if (report_.examples[kind].size() >= options_.max_examples) return;
  report_.examples[kind].push_back({std::move(where), std::move(detail)});
}

void OutcomeChecker::Count(Violation violation, const AuditedOutcome& outcome, std::string detail) {
  Count(violation, Where(TopicName(outcome.topic), outcome.partition, outcome.offset),
        std::move(detail));
}

const std::string& OutcomeChecker::TopicName(OutputTopic topic) const {
  return topic == OutputTopic::kResults ? options_.topics.results : options_.topics.dlq;
}

}  // namespace millrace
