// DlqSelection: which dead letters a command means, from flags that all `dlq` commands share.
//
// A selection says itself in one canonical text: two command lines that mean the same dead letters
// give the same one, and a replay of them is then the same replay. A relative time stays relative
// in it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "app/dead_letter.h"
#include "base/clock.h"
#include "base/status.h"
#include "codec/record_reader.h"
#include "types/record.h"

namespace CLI {
class App;
}

namespace millrace {

// As they were typed.
struct SelectionFlags {
  std::vector<std::string> reasons, models, tenants, request_ids, original_topics;
  std::string since, until;
  std::string original_partition, original_offset, partition, offset;
  std::int64_t min_attempts = 0;
};

// Declares the flags on `command`; `flags` must outlive it.
void AddSelectionFlags(CLI::App& command, SelectionFlags& flags);

// first..last, both meant.
struct NumberRange {
  std::int64_t first = 0;
  std::int64_t last = 0;
  bool Holds(std::int64_t number) const { return number >= first && number <= last; }
};

// "17", "17-20" or "17-".
std::optional<NumberRange> ParseRange(std::string_view text);

// A time: RFC 3339, a day such as 2026-11-21 (UTC), or how long before `now`: 90s, 2h, 7d.
Result<WallMillis> ParseTime(std::string_view text, WallMillis now, bool* relative);

enum class SelectionAnswer : std::uint8_t {
  kNo,
  kYes,
  kNotYet,  // Younger than a relative --until: a later run may mean it.
};

class DlqSelection {
 public:
  // Errors: kInvalidArgument, naming the flag.
  static Result<DlqSelection> Parse(const SelectionFlags& flags, WallMillis now);

  // `fields` of the value are read only when they are asked for.
  SelectionAnswer Answer(const DeadLetter& letter, const Record& record, std::int32_t partition,
                         RecordReader& reader) const;

  // The partitions of the dead letter topic that it can mean; empty: all of `count`.
  std::vector<std::int32_t> Partitions(std::int32_t count) const;
  // The first offset that it can mean, when it starts at one.
  std::optional<Offset> FirstOffset() const;
  // The same text for the same selection, with `original_topic` instead of --original-topic when
  // it is given.
  std::string Canonical(const std::string* original_topic) const;

 private:
  bool InTime(WallMillis failed_at) const { return failed_at >= since_; }

  SelectionFlags flags_;  // Lists sorted, each word once.
  std::optional<NumberRange> original_partition_, original_offset_, partition_, offset_;
  WallMillis since_ = 0;
  std::optional<WallMillis> until_;
  bool until_is_relative_ = false;
};

}  // namespace millrace
