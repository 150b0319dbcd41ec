#include "pipeline/verify/checker.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "transport/partitioner.h"

namespace millrace {
namespace {

// A log as a correct worker leaves it, which tests then damage in one place.
struct Request {
  std::string key, value, id, tenant, model;
  Offset offset;
};

struct Outcome {
  OutputTopic topic = OutputTopic::kResults;
  std::int32_t source_partition = 0;
  Offset source_offset;
  std::string key, value, tenant, model, id, status, original_key;
  std::string source_topic = "inference.requests";
  bool has_source = true;
};

using Place = std::pair<OutputTopic, std::int32_t>;

struct PlantedLog {
  std::vector<std::vector<Request>> requests;      // By input partition.
  std::vector<Offset> starts, committed, settled;  // Likewise.
  std::map<Place, std::vector<Outcome>> outcomes;  // In order of offset.
  bool allow_empty = false;
};

constexpr std::int32_t kResultPartitions = 3;
constexpr std::int32_t kDlqPartitions = 2;

Outcome ResultOf(std::int32_t partition, const Request& request) {
  return {.topic = OutputTopic::kResults,
          .source_partition = partition,
          .source_offset = request.offset,
          .key = request.id,
          .value = "{\"output\":[1]}",
          .tenant = request.tenant,
          .model = request.model,
          .id = request.id,
          .status = "ok",
          .original_key = {}};
}

Outcome DeadLetterOf(std::int32_t partition, const Request& request) {
  return {.topic = OutputTopic::kDeadLetters,
          .source_partition = partition,
          .source_offset = request.offset,
          .key = request.tenant,
          .value = request.value,
          .tenant = request.tenant,
          .model = request.model,
          .id = {},
          .status = {},
          .original_key = request.key};
}

Place PlaceOf(const Outcome& outcome) {
  const bool is_result = outcome.topic == OutputTopic::kResults;
  return {outcome.topic,
          PartitionForKey(outcome.key, is_result ? kResultPartitions : kDlqPartitions)};
}

void Append(PlantedLog& log, const Outcome& outcome) {
  log.outcomes[PlaceOf(outcome)].push_back(outcome);
}

struct LogShape {
  std::size_t partitions = 3;
  std::int64_t requests = 200;  // Per partition.
  std::int64_t pending = 5;     // Of those, at the end, not committed.
  std::int64_t start = 100;     // First offset held.
  int keys = 4;
  bool gaps = false;
};

PlantedLog MakeLog(const LogShape& shape, std::mt19937_64& random) {
  PlantedLog log;
  log.requests.resize(shape.partitions);
  for (std::size_t p = 0; p < shape.partitions; ++p) {
    const auto partition = static_cast<std::int32_t>(p);
    std::int64_t offset = shape.start;
    log.starts.push_back(Offset(offset));
    for (std::int64_t i = 0; i < shape.requests; ++i, ++offset) {
      if (shape.gaps && random() % 8 == 0) offset += static_cast<std::int64_t>(random() % 3);
      const std::string tenant = "t" +
                                 std::to_string(random() % static_cast<std::uint64_t>(shape.keys)) +
                                 "." + std::to_string(p);
      const std::string id = std::to_string(p) + "-" + std::to_string(offset);
      log.requests[p].push_back({.key = tenant + "|m",
                                 .value = "{\"id\":\"" + id + "\"}",
                                 .id = id,
                                 .tenant = tenant,
                                 .model = "m",
                                 .offset = Offset(offset)});
    }
    const auto& all = log.requests[p];
    const auto answered = static_cast<std::size_t>(shape.requests - shape.pending);
    log.committed.push_back(answered < all.size() ? all[answered].offset : Offset(offset));
    for (std::size_t i = 0; i < answered; ++i) {
      Append(log,
             random() % 10 == 0 ? DeadLetterOf(partition, all[i]) : ResultOf(partition, all[i]));
    }
  }
  log.settled = log.committed;
  return log;
}

PlantedLog MakeLog(const LogShape& shape = {}) {
  std::mt19937_64 random(7);
  return MakeLog(shape, random);
}

AuditReport Check(const PlantedLog& log) {
  OutcomeChecker checker({.topics = {}, .allow_empty = log.allow_empty});
  std::vector<AuditedPartition> partitions;
  for (std::size_t p = 0; p < log.requests.size(); ++p) {
    const auto& requests = log.requests[p];
    partitions.push_back({.start = log.starts[p],
                          .end = requests.empty() ? log.starts[p] : Next(requests.back().offset),
                          .committed = log.committed[p],
                          .settled = log.settled[p]});
  }
  checker.SetPartitions(partitions);
  for (std::size_t p = 0; p < log.requests.size(); ++p) {
    for (const Request& r : log.requests[p]) {
      checker.AddRequest({.partition = static_cast<std::int32_t>(p),
                          .offset = r.offset,
                          .key = r.key,
                          .value = r.value,
                          .request_id = r.id,
                          .tenant_id = r.tenant,
                          .model_id = r.model});
    }
  }
  for (const auto& [place, outcomes] : log.outcomes) {
    std::int64_t offset = 0;
    for (const Outcome& o : outcomes) {
      checker.AddOutcome({.topic = place.first,
                          .partition = place.second,
                          .offset = Offset(offset++),
                          .has_source = o.has_source,
                          .source = "",
                          .source_topic = o.source_topic,
                          .source_partition = o.source_partition,
                          .source_offset = o.source_offset,
                          .key = o.key,
                          .value = o.value,
                          .tenant_id = o.tenant,
                          .model_id = o.model,
                          .request_id = o.id,
                          .status = o.status,
                          .original_key = o.original_key});
    }
  }
  return checker.Finish();
}

std::string Describe(const AuditReport& report) {
  std::string text;
  for (std::size_t i = 0; i < kViolations; ++i) {
    text += std::string(ViolationName(static_cast<Violation>(i))) + "=" +
            std::to_string(report.violations[i]) + " ";
    for (const auto& example : report.examples[i]) {
      text += "\n  " + example.where + " " + example.detail;
    }
  }
  return text;
}

// `wanted` times `violation`, nothing else, and not ok.
void ExpectOnly(const AuditReport& report, Violation violation, std::int64_t wanted = 1) {
  EXPECT_FALSE(report.ok);
  for (std::size_t i = 0; i < kViolations; ++i) {
    const auto kind = static_cast<Violation>(i);
    EXPECT_EQ(report.count(kind), kind == violation ? wanted : 0) << Describe(report);
  }
  ASSERT_FALSE(report.examples[static_cast<std::size_t>(violation)].empty());
  EXPECT_FALSE(report.examples[static_cast<std::size_t>(violation)][0].where.empty());
}

std::vector<Outcome>& AnyResults(PlantedLog& log) {
  return log.outcomes[{OutputTopic::kResults, 1}];
}

// Index of an outcome with an earlier one of the same key and input partition, and that one's; the
// same index twice when there is no such pair.
std::pair<std::size_t, std::size_t> TwoOfAKey(const PlantedLog& log,
                                              const std::vector<Outcome>& outcomes) {
  const auto key_of = [&](const Outcome& o) {
    const auto& all = log.requests[static_cast<std::size_t>(o.source_partition)];
    const auto it = std::find_if(all.begin(), all.end(),
                                 [&](const Request& r) { return r.offset == o.source_offset; });
    return std::pair(o.source_partition, it->key);
  };
  for (std::size_t later = 1; later < outcomes.size(); ++later) {
    for (std::size_t earlier = later; earlier-- > 0;) {
      if (key_of(outcomes[earlier]) == key_of(outcomes[later])) return {earlier, later};
    }
  }
  return {0, 0};
}

TEST(OutcomeChecker, PassesACleanLogAndCountsIt) {
  const AuditReport report = Check(MakeLog());
  EXPECT_TRUE(report.ok) << Describe(report);
  EXPECT_EQ(report.requests, 3 * 195);
  EXPECT_EQ(report.pending, 3 * 5);
  EXPECT_EQ(report.results + report.dead_letters, 3 * 195);
  EXPECT_GT(report.dead_letters, 0);
  EXPECT_EQ(report.examined, 3 * 200 + 3 * 195);
  EXPECT_FALSE(report.vacuous);
}

TEST(OutcomeChecker, PassesALogWithGapsInItsOffsets) {
  const AuditReport report = Check(MakeLog({.gaps = true}));
  EXPECT_TRUE(report.ok) << Describe(report);
  EXPECT_EQ(report.requests, 3 * 195);
}

TEST(OutcomeChecker, CatchesADroppedOutcome) {
  PlantedLog log = MakeLog();
  AnyResults(log).erase(AnyResults(log).begin() + 10);
  ExpectOnly(Check(log), Violation::kMissing);
}

TEST(OutcomeChecker, CatchesTheLastOutcomeMissing) {
  PlantedLog log = MakeLog();
  AnyResults(log).pop_back();
  ExpectOnly(Check(log), Violation::kMissing);
}

TEST(OutcomeChecker, CatchesTheLastRequestMissing) {
  PlantedLog log = MakeLog({.pending = 0});
  log.requests[1].pop_back();
  const AuditReport report = Check(log);
  EXPECT_FALSE(report.ok);
  EXPECT_EQ(report.count(Violation::kCommittedBeyondEnd), 1);
  EXPECT_EQ(report.count(Violation::kOrphaned), 1) << "the outcome of the request that is gone";
}

TEST(OutcomeChecker, CatchesADuplicatedOutcome) {
  PlantedLog log = MakeLog();
  AnyResults(log).push_back(AnyResults(log)[10]);
  ExpectOnly(Check(log), Violation::kDuplicated);
}

TEST(OutcomeChecker, CatchesARowOfAnAbortedUnitThatBecameVisible) {
  PlantedLog log = MakeLog();
  const Outcome aborted = AnyResults(log)[20];
  AnyResults(log).insert(AnyResults(log).begin() + 19, aborted);
  ExpectOnly(Check(log), Violation::kDuplicated);
}

TEST(OutcomeChecker, CountsEveryOutcomeBeyondTheFirst) {
  PlantedLog log = MakeLog();
  const Outcome again = AnyResults(log)[10];
  for (int i = 0; i < 300; ++i) AnyResults(log).push_back(again);
  ExpectOnly(Check(log), Violation::kDuplicated, 300);
}

TEST(OutcomeChecker, CatchesAResultAndADeadLetterOfOneRequest) {
  PlantedLog log = MakeLog();
  const Outcome result = AnyResults(log)[5];
  const auto& requests = log.requests[static_cast<std::size_t>(result.source_partition)];
  const auto it = std::find_if(requests.begin(), requests.end(),
                               [&](const Request& r) { return r.offset == result.source_offset; });
  Append(log, DeadLetterOf(result.source_partition, *it));
  ExpectOnly(Check(log), Violation::kDuplicated);
}

TEST(OutcomeChecker, CatchesTwoOutcomesOfAKeySwapped) {
  PlantedLog log = MakeLog();
  auto& results = AnyResults(log);
  const auto [earlier, later] = TwoOfAKey(log, results);
  std::swap(results[earlier], results[later]);
  ExpectOnly(Check(log), Violation::kOrder);
}

TEST(OutcomeChecker, CatchesTwoDeadLettersOfAKeySwapped) {
  PlantedLog log = MakeLog();
  auto& letters = log.outcomes[{OutputTopic::kDeadLetters, 0}];
  const auto [earlier, later] = TwoOfAKey(log, letters);
  std::swap(letters[earlier], letters[later]);
  ExpectOnly(Check(log), Violation::kOrder);
}

TEST(OutcomeChecker, CatchesTheAnswerOfAnotherRequest) {
  PlantedLog log = MakeLog();
  auto& results = AnyResults(log);
  results[3].key = results[3].id = results[4].key;
  ExpectOnly(Check(log), Violation::kMismatched);
}

TEST(OutcomeChecker, CatchesAKeyThatIsNotTheResultsOwnId) {
  PlantedLog log = MakeLog();
  AnyResults(log)[3].id = "other";
  ExpectOnly(Check(log), Violation::kMismatched);
}

TEST(OutcomeChecker, CatchesAnotherTenantAndAnotherModel) {
  PlantedLog log = MakeLog();
  AnyResults(log)[3].tenant = "someone else";
  AnyResults(log)[4].model = "m2";
  ExpectOnly(Check(log), Violation::kMismatched, 2);
}

TEST(OutcomeChecker, CatchesADeadLetterWithAWrongKey) {
  PlantedLog log = MakeLog();
  auto& letters = log.outcomes[{OutputTopic::kDeadLetters, 0}];
  letters[0].key = "other";
  letters[1].original_key = "other";
  ExpectOnly(Check(log), Violation::kMismatched, 2);
}

TEST(OutcomeChecker, CatchesADeadLetterWhoseBytesWereChanged) {
  PlantedLog log = MakeLog();
  log.outcomes[{OutputTopic::kDeadLetters, 0}][0].value += " ";
  ExpectOnly(Check(log), Violation::kAltered);
}

TEST(OutcomeChecker, CatchesAnOutputWithoutItsOffset) {
  PlantedLog log = MakeLog();
  Append(log, ResultOf(2, log.requests[2][195]));  // The first that is not committed.
  ExpectOnly(Check(log), Violation::kOrphaned);
}

TEST(OutcomeChecker, CatchesAnOffsetWithoutItsOutput) {
  PlantedLog log = MakeLog();
  log.committed[2] = log.settled[2] = Next(log.committed[2]);
  ExpectOnly(Check(log), Violation::kMissing);
}

TEST(OutcomeChecker, CatchesACommittedOffsetBackByOne) {
  PlantedLog log = MakeLog();
  log.committed[0] = log.settled[0] = Offset(log.committed[0].value() - 1);
  ExpectOnly(Check(log), Violation::kOrphaned);
}

TEST(OutcomeChecker, CatchesACommittedOffsetThatGoesBackWhileItLooks) {
  PlantedLog log = MakeLog();
  log.settled[0] = Offset(log.committed[0].value() - 1);
  ExpectOnly(Check(log), Violation::kCommittedWentBack);
}

TEST(OutcomeChecker, CatchesACommittedOffsetBeyondTheEnd) {
  PlantedLog log = MakeLog({.pending = 0});
  log.committed[0] = log.settled[0] = Offset(log.committed[0].value() + 3);
  ExpectOnly(Check(log), Violation::kCommittedBeyondEnd);
}

TEST(OutcomeChecker, CatchesOutcomesOfWhatDoesNotExist) {
  PlantedLog log = MakeLog({.gaps = true});
  std::vector<Outcome>& results = AnyResults(log);
  const Outcome sound = results[0];
  Outcome no_source = sound, topic = sound, partition = sound, gap = sound;
  no_source.has_source = false;
  topic.source_topic = "other.requests";
  partition.source_partition = 3;
  const auto& requests = log.requests[0];
  for (std::size_t i = 1; i < requests.size(); ++i) {
    if (requests[i].offset == Next(requests[i - 1].offset)) continue;
    gap.source_partition = 0;
    gap.source_offset = Next(requests[i - 1].offset);
  }
  for (const Outcome& outcome : {no_source, topic, partition, gap}) results.push_back(outcome);
  ExpectOnly(Check(log), Violation::kOrphaned, 4);
}

TEST(OutcomeChecker, RefusesToApproveAnEmptyLog) {
  PlantedLog log = MakeLog({.requests = 0, .pending = 0});
  AuditReport report = Check(log);
  EXPECT_FALSE(report.ok);
  EXPECT_TRUE(report.vacuous);
  EXPECT_EQ(report.examined, 0);
  log.allow_empty = true;
  EXPECT_TRUE(Check(log).ok);
}

TEST(OutcomeChecker, RefusesToApproveALogOfWhichNothingIsCommitted) {
  const AuditReport report = Check(MakeLog({.requests = 50, .pending = 50}));
  EXPECT_FALSE(report.ok);
  EXPECT_TRUE(report.vacuous);
  EXPECT_EQ(report.pending, 150);
}

TEST(OutcomeChecker, StillFindsFaultsWhenEmptyIsAllowed) {
  PlantedLog log = MakeLog({.requests = 50, .pending = 50});
  log.allow_empty = true;
  Append(log, ResultOf(0, log.requests[0][0]));
  ExpectOnly(Check(log), Violation::kOrphaned);
}

TEST(OutcomeChecker, LetsAWorkerGoOnWhileItLooks) {
  PlantedLog log = MakeLog();
  // Ten more are committed after the first look; the outcomes of five of them were still seen.
  for (std::size_t p = 0; p < 3; ++p) {
    log.committed[p] = log.requests[p][180].offset;
    log.settled[p] = log.requests[p][190].offset;
    for (auto& [place, outcomes] : log.outcomes) {
      std::erase_if(outcomes, [&](const Outcome& o) {
        return o.source_partition == static_cast<std::int32_t>(p) &&
               o.source_offset >= log.requests[p][185].offset;
      });
    }
  }
  const AuditReport report = Check(log);
  EXPECT_TRUE(report.ok) << Describe(report);
  EXPECT_EQ(report.requests, 3 * 180);
  EXPECT_EQ(report.in_progress, 3 * 10);

  // Even there a second outcome is a fault.
  for (auto& [place, outcomes] : log.outcomes) {
    if (place.first == OutputTopic::kResults && outcomes.back().source_partition == 2 &&
        outcomes.back().source_offset >= log.committed[2]) {
      outcomes.push_back(outcomes.back());
      break;
    }
  }
  ExpectOnly(Check(log), Violation::kDuplicated);
}

TEST(OutcomeChecker, DoesNotJudgeOutcomesWhoseRequestRetentionDeleted) {
  PlantedLog log = MakeLog();
  auto& requests = log.requests[0];
  requests.erase(requests.begin(), requests.begin() + 50);
  log.starts[0] = requests.front().offset;
  const AuditReport report = Check(log);
  EXPECT_TRUE(report.ok) << Describe(report);
  EXPECT_EQ(report.expired, 50);
  EXPECT_EQ(report.requests, 3 * 195 - 50);
}

TEST(OutcomeChecker, DoesNotCompareWhatItCouldNotRead) {
  PlantedLog log = MakeLog();
  for (auto& requests : log.requests) {
    for (Request& r : requests) r.id = r.model = "";
  }
  EXPECT_TRUE(Check(log).ok);
}

TEST(OutcomeChecker, AsksNoOrderOfRequestsWithoutAKey) {
  PlantedLog log = MakeLog();
  for (auto& requests : log.requests) {
    for (Request& r : requests) r.key.clear();
  }
  for (auto& [place, outcomes] : log.outcomes) {
    for (Outcome& o : outcomes) o.original_key.clear();
    std::reverse(outcomes.begin(), outcomes.end());
  }
  const AuditReport report = Check(log);
  EXPECT_TRUE(report.ok) << Describe(report);
}

TEST(OutcomeChecker, KeepsNoMoreExamplesThanAsked) {
  PlantedLog log = MakeLog();
  AnyResults(log).clear();
  const AuditReport report = Check(log);
  EXPECT_GT(report.count(Violation::kMissing), 10);
  EXPECT_EQ(report.examples[static_cast<std::size_t>(Violation::kMissing)].size(), 10u);
}

// One fault at a random place of a random log; says which it planted.
std::string PlantOne(PlantedLog& log, std::mt19937_64& random) {
  const auto below = [&](std::size_t n) { return static_cast<std::size_t>(random() % n); };
  std::vector<Outcome>* outcomes = nullptr;
  do {
    outcomes =
        &std::next(log.outcomes.begin(), static_cast<std::ptrdiff_t>(below(log.outcomes.size())))
             ->second;
  } while (outcomes->empty());
  const std::size_t at = below(outcomes->size());
  Outcome& victim = (*outcomes)[at];
  const auto partition = static_cast<std::size_t>(victim.source_partition);
  const auto& requests = log.requests[partition];
  const auto request = std::find_if(requests.begin(), requests.end(), [&](const Request& r) {
    return r.offset == victim.source_offset;
  });
  const std::string place = " at source " + std::to_string(partition) + ":" +
                            std::to_string(victim.source_offset.value());
  switch (below(8)) {
    case 0:
      outcomes->erase(outcomes->begin() + static_cast<std::ptrdiff_t>(at));
      return "drop" + place;
    case 1: {
      const Outcome again = victim;
      outcomes->insert(outcomes->begin() + static_cast<std::ptrdiff_t>(below(outcomes->size() + 1)),
                       again);
      return "duplicate" + place;
    }
    case 2:
      Append(log, victim.topic == OutputTopic::kResults
                      ? DeadLetterOf(victim.source_partition, *request)
                      : ResultOf(victim.source_partition, *request));
      return "result and dead letter" + place;
    case 3:
      victim.key += "x";
      return "wrong key" + place;
    case 4:
      log.committed[partition] = log.settled[partition] = victim.source_offset;
      return "committed offset back" + place;
    case 5: {
      const auto first = std::find_if(requests.begin(), requests.end(), [&](const Request& r) {
        return r.offset >= log.committed[partition];
      });
      if (first == requests.end()) {
        log.committed[partition] = log.settled[partition] =
            Offset(requests.back().offset.value() + 2);
        return "committed beyond the end" + place;
      }
      log.committed[partition] = log.settled[partition] = Next(first->offset);
      return "offset without output" + place;
    }
    case 6:
      victim.source_offset = Offset(victim.source_offset.value() + 1);
      return "source off by one" + place;
    default: {
      const auto [earlier, later] = TwoOfAKey(log, *outcomes);
      if (earlier == later) {  // A small log may have no such pair.
        victim.key += "x";
        return "wrong key" + place;
      }
      std::swap((*outcomes)[earlier], (*outcomes)[later]);
      return "swap" + place;
    }
  }
}

TEST(OutcomeChecker, CatchesARandomFaultInARandomLog) {
  const std::uint64_t seed = std::random_device{}();
  SCOPED_TRACE("seed " + std::to_string(seed));
  RecordProperty("seed", std::to_string(seed));
  std::mt19937_64 random(seed);
  for (int round = 0; round < 300; ++round) {
    const LogShape shape = {.partitions = 1 + random() % 4,
                            .requests = 60 + static_cast<std::int64_t>(random() % 150),
                            .pending = static_cast<std::int64_t>(random() % 10),
                            .start = static_cast<std::int64_t>(random() % 3) * 5000,
                            .keys = 1 + static_cast<int>(random() % 2),
                            .gaps = random() % 2 == 0};
    PlantedLog log = MakeLog(shape, random);
    const AuditReport clean = Check(log);
    ASSERT_TRUE(clean.ok) << "round " << round << " " << Describe(clean);
    const std::string fault = PlantOne(log, random);
    ASSERT_FALSE(Check(log).ok) << "round " << round << ": not caught: " << fault;
  }
}

}  // namespace
}  // namespace millrace
