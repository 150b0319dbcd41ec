// DlqPlan: which dead letters a replay or a parking copies, where to, and what it leaves out.
//
// One look at the whole dead letter topic, as it is now; nothing is changed by it. The dead letters
// of each original topic are a job of their own, with a group of its own whose positions say what
// was done before (pipeline/replay/replay_job.h). The group's name comes from the selection and the
// target: the same command means the same job, however often it runs. `--again` opens the next
// round of it. Rules are shared with the job that carries the plan out. One thread.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/dead_letter.h"
#include "app/dlq_counts.h"
#include "app/dlq_selection.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

enum class CopyKind : std::uint8_t { kReplay, kPark };

// What becomes of a dead letter.
enum class Fate : std::uint8_t {
  kNotMeant,
  kNotYet,    // Too young for a relative --until.
  kCopied,    // Unless its group's position is past it.
  kLoop,      // It has failed too often already.
  kParked,    // It lies in the parking topic.
  kCut,       // Its value is not the whole original.
  kNoValue,   // The request had no value.
  kNoTarget,  // It does not say which topic it came from, and no target was given.
};
inline constexpr std::size_t kFates = 8;

// Places in the dead letter topic.
class PlaceSet {
 public:
  // Reads `parking`, when it exists, for what was put there from `topic`.
  static Result<PlaceSet> ReadParked(Log& log, const std::string& parking,
                                     const std::string& topic);
  bool Holds(std::int32_t partition, Offset offset) const;

 private:
  std::vector<std::pair<std::int32_t, std::int64_t>> places_;  // Sorted.
};

struct CopyRules {
  CopyKind kind = CopyKind::kReplay;
  DlqSelection selection;
  std::string to;  // Empty: where each comes from.
  std::int64_t max_attempts = 0;
  PlaceSet parked;

  Fate Judge(const DeadLetter& letter, const Record& record, std::int32_t partition,
             RecordReader& reader) const;
};

struct CopyTarget {
  std::string original_topic;  // Of a replay: the job's dead letters come from it.
  std::string topic;
  std::string replay_id;
  std::string group;
  std::map<std::int32_t, Offset> positions;  // Of the group; none when it never ran.
  std::int64_t copies = 0;                   // To be made.
  std::int64_t done_before = 0;
};

class DlqPlan {
 public:
  struct Options {
    std::string topic;  // Of dead letters.
    std::string group;  // In front of the jobs' groups.
    bool again = false;
    std::function<bool()> stopped;  // Whether to give up: kCancelled.
    // The group's committed positions; asks patiently.
    std::function<Result<std::map<std::int32_t, Offset>>(const std::string& group)> positions;
  };

  static Result<DlqPlan> Make(Log& log, const CopyRules& rules, Options options);

  const std::vector<std::unique_ptr<CopyTarget>>& targets() const { return targets_; }
  // Where each partition ended when the plan was made: a job reads no further.
  const std::map<std::int32_t, Offset>& ends() const { return ends_; }
  const DlqCounts& copies() const { return copies_; }
  std::int64_t matching() const { return matching_; }
  std::int64_t done_before() const { return done_before_; }
  std::int64_t held_back(Fate fate) const { return fates_[static_cast<std::size_t>(fate)]; }

 private:
  DlqPlan(const CopyRules& rules, Options options) : rules_(&rules), options_(std::move(options)) {}

  void Visit(const Record& record, std::int32_t partition, Status* status);
  Result<CopyTarget*> TargetOf(const DeadLetter& letter);

  const CopyRules* rules_;
  Options options_;
  std::vector<std::string> groups_;  // All of the log, sorted.
  std::vector<std::unique_ptr<CopyTarget>> targets_;
  std::map<std::int32_t, Offset> ends_;
  std::map<std::int32_t, bool> stopped_;  // Partitions of which the rest is too young.
  RecordReader* reader_ = nullptr;
  DlqCounts copies_;
  std::int64_t matching_ = 0;
  std::int64_t done_before_ = 0;
  std::array<std::int64_t, kFates> fates_{};
};

// 64 bits of a text as 16 hex digits; the same on every machine.
std::string StableHash(std::string_view text);

}  // namespace millrace
