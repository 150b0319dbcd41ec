// ReplayedRecord: a dead letter made a request again, or put aside as it is.
//
// The request comes back with its original value, key and headers. What the dead letter added is
// left out; added are `replay_id`, which stays with whatever becomes of the request, and
// `attempts`, how often it has failed so far: a worker whose dead letter it becomes again counts on
// from there.
#pragma once

#include <cstdint>
#include <string_view>

#include "base/clock.h"
#include "codec/record_reader.h"
#include "types/record.h"

namespace millrace {

// More is not believed of a header.
inline constexpr std::int32_t kMaxAttempts = 1'000'000;

// How often the record has failed before: its `attempts` header. 0 when it has none, and when
// nothing says that it is or was a dead letter: a producer's own header of that name means nothing.
std::int32_t EarlierAttempts(const HeadersView& headers);

// What keeps a dead letter from being made its request again.
enum class ReplayObstacle : std::uint8_t {
  kNone,
  kCut,      // Its value did not fit the dead letter topic and was cut.
  kNoValue,  // The request had none, which no replay can mend.
};
ReplayObstacle ObstacleOf(const Record& letter);

// Appends the request to `chunk` and fills `out`. `fields`: what its value says by itself. A
// model_id or tenant_id that the dead letter found out is passed on only when neither the value nor
// the key says it. REQUIRES: ObstacleOf(letter) == kNone.
void EncodeReplayed(const Record& letter, const RequestFields& fields, std::string_view replay_id,
                    WallMillis now, OutputChunk& chunk, OutputRecord* out);

// Headers of a parked dead letter.
inline constexpr std::string_view kParkedFrom = "parked_from";  // topic:partition:offset
inline constexpr std::string_view kParkedAt = "parked_at";      // RFC 3339

// The same for a dead letter that is put aside: it stays as it is and gets the two headers above.
void EncodeParked(const Record& letter, std::string_view from, WallMillis now, OutputChunk& chunk,
                  OutputRecord* out);

}  // namespace millrace
