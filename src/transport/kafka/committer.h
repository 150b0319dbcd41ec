// The Committers of Kafka. Internal to transport/kafka.
//
// Exactly once: a unit of work is one transaction. What may go wrong with it and what follows:
//   aborted           nothing of it is visible; the same outcomes go into another one
//   broken, tainted   a new life of the producer fences the old one, then the group's committed
//                     offsets say whether the unit is in
//   fenced            another worker has this slot: this one stops; or the coordinator gave up on a
//                     transaction that took longer than its timeout: a new life, as above
// At least once: outcomes, then offsets, with nothing that ties them together.
// At most once: offsets, then the records run, then outcomes. What was written cannot be called
// back, so a unit whose first outcome was queued is seen through with the producer that has it.
#pragma once

#include <memory>
#include <string>

#include "base/status.h"
#include "transport/committer.h"
#include "transport/kafka/membership.h"
#include "transport/kafka/output_writer.h"
#include "transport/kafka/slot_lease.h"
#include "transport/log.h"

namespace millrace::kafka {

// `member`'s client must live; the group need not be joined yet. Opens the first life of the
// producer, which ends a transaction that an earlier worker of this slot left behind.
Result<std::unique_ptr<Committer>> NewTransactionalCommitter(const KafkaOptions& kafka,
                                                             const WorkerLogOptions& options,
                                                             const OutputLimits& limits,
                                                             std::shared_ptr<Membership> member,
                                                             SlotLease slot);

Result<std::unique_ptr<Committer>> NewAtLeastOnceCommitter(const KafkaOptions& kafka,
                                                           const WorkerLogOptions& options,
                                                           const OutputLimits& limits,
                                                           std::shared_ptr<Membership> member);

Result<std::unique_ptr<Committer>> NewAtMostOnceCommitter(const KafkaOptions& kafka,
                                                          const WorkerLogOptions& options,
                                                          const OutputLimits& limits,
                                                          std::shared_ptr<Membership> member);

}  // namespace millrace::kafka
