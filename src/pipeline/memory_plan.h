// MemoryPlan: how one budget becomes the limits of everything that grows with load.
//
//   part            share        holds                                        bounded by
//   in_flight       1/2          requests read, their rows, and outcomes      the ledger: the
//   intake
//                                that are not committed                       stops polling
//   kept_requests   1/16         free request blocks                          their pool
//   kept_outcomes   1/16         free outcome chunks                          their pool
//   prefetch        3/32         Kafka: read ahead, three queues' worth: in   the client
//                                the client's queue, taken from it, arriving
//   unit            1/32 and     Kafka: the unit that is being written, in    the ledger: a unit
//                   1 KiB for    requests to the cluster, with what the       that is full
//                   each record  client holds for each record
//   caches          3/128 and    local log: pages of its connections          SQLite
//                   4 MiB
//   headroom        the rest     one poll and a batch for each executor,      nobody
//                                freed memory on its way back to the system
//
// A limit that is set wins over its share, and its part grows with it: what the parts come to may
// then be more than the budget (`over`), which the worker says at its start. Sizes that contradict
// each other are errors that name the least budget. Pure.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "base/status.h"
#include "codec/options.h"
#include "pipeline/options.h"
#include "transport/options.h"

namespace millrace {

// The worker's limits; by default those of the default budget.
struct WorkerMemory {
  std::size_t in_flight_bytes = 256 << 20;  // Memory; delivery.max_in_flight_bytes is of payload.
  std::size_t kept_request_bytes = 32 << 20;
  std::size_t kept_outcome_bytes = 32 << 20;
  std::size_t poll_bytes = 4 << 20;  // Of the records of one poll.
};

struct MemoryPart {
  const char* name;
  std::int64_t bytes = 0;
};

struct MemoryPlan {
  std::int64_t budget = 0;
  std::vector<MemoryPart> parts;  // In the order of the table; those of the other log left out.
  std::int64_t total = 0;         // Of the parts: the budget, or more than it when it is over.
  bool over = false;

  // The limits that follow. `delivery` has none that is 0.
  DeliveryOptions delivery;
  WorkerMemory worker;
  LogMemory log;
};

// Errors: kConfiguration.
Result<MemoryPlan> PlanMemory(const MemoryOptions& memory, const DeliveryOptions& delivery,
                              const TransportOptions& transport, const CodecLimits& limits);

// `delivery` with its limits in bytes, from `budget` where they are 0.
DeliveryOptions WithByteLimits(DeliveryOptions delivery, std::int64_t budget);

}  // namespace millrace
