// Membership: this process is the worker of a group. Internal to transport/local.
//
// Two guards: the group's lock file keeps a second worker of this machine out, and the generation,
// checked inside every commit, fences a worker that lost the first guard without noticing (someone
// deleted the lock file). Shared by the Source and the Committer of one worker; immutable.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "base/status.h"
#include "transport/local/catalog.h"
#include "transport/local/locks.h"
#include "transport/local/log_context.h"
#include "transport/options.h"

namespace millrace::local {

struct Membership {
  std::string group;
  std::int64_t group_id = 0;
  std::int64_t generation = 0;
  TopicRow requests, results, dead_letters;
  GroupLock lock;
};

// Joins `group`: takes its lock, opens a new generation, and gives the group a position in every
// partition of the requests topic where it has none (the first record held), so that retention
// keeps what the group has not seen. Errors: kAlreadyExists, kNotFound (a topic).
Result<std::shared_ptr<const Membership>> Join(const LogContext& context, const std::string& group,
                                               const TopicOptions& topics);

Status Fenced(const Membership& membership);

}  // namespace millrace::local
