// What is committed beyond a committed position, as a text that the log keeps beside it.
//
// A slow request holds its partition's position back, not the outcomes behind it: those are
// committed all the same, and their offsets stand in the note, so that whoever reads the partition
// next skips exactly them. A log keeps the note with the position (Kafka: the metadata of a
// committed offset) and knows nothing of its meaning.
//
// Version 1: "mr1:" and, in base64url without padding (RFC 4648), LEB128 varints: the position, and
// for each range how many offsets lie between it and what is before it (the first: the position),
// and how many it has. Version 2: "mr2:" and the same behind one more number, how far the committer
// had come in the model events (pipeline/model_progress.h). Neither events nor anything done beyond
// the position: an empty text.
//
// Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "base/strong.h"

namespace millrace {

// Offsets [first, end).
struct OffsetRange {
  Offset first;
  Offset end;
  friend bool operator==(const OffsetRange&, const OffsetRange&) = default;
};

// Brokers refuse longer ones (offset.metadata.max.bytes, 4096 unless changed).
inline constexpr std::size_t kMaxNoteBytes = 4096;
// What fits of varints: three quarters of the rest behind "mr1:", besides position and events.
inline constexpr std::size_t kMaxNoteVarintBytes = (kMaxNoteBytes - 4) / 4 * 3 - 20;

// What of a partition is committed: everything below `position`, and `beyond` it the ranges of its
// note.
struct CommittedSet {
  Offset position;
  std::vector<OffsetRange> beyond;
  bool Has(Offset offset) const;
};

std::size_t VarintBytes(std::uint64_t number);

// `done`: ascending, apart from each other, none empty, none below `position`.
// `events`: not negative; 0 for a worker whose models no events lead.
std::string EncodeNote(Offset position, std::span<const OffsetRange> done, std::int64_t events = 0);

// The ranges of a note that was kept beside `position`. None for a text that is not ours, or that
// was written for another position: it says nothing about this one. kCorruption for one that is
// damaged, or of a later version. `events`, unless null, becomes that of the note, or 0.
Result<std::vector<OffsetRange>> DecodeNote(Offset position, std::string_view note,
                                            std::int64_t* events = nullptr);

}  // namespace millrace
