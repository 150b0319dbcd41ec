// ModelProgress: how far a worker has come in the model events, as a number that all workers of a
// log count alike: the offsets at which the reading of the event topic goes on, added up.
//
// `seen` stands beside every position that the worker commits (pipeline/position_note.h). Whoever
// takes a partition over waits until its own `applied` is as far: then no key is answered by a
// version older than the one that has answered it before. Any thread.
#pragma once

#include <atomic>
#include <cstdint>

namespace millrace {

struct ModelProgress {
  std::atomic<std::int64_t> seen{0};     // No version that serves comes from a later event.
  std::atomic<std::int64_t> applied{0};  // The earlier events are served, or cannot be.
};

}  // namespace millrace
