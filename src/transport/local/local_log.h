// The local log: topics, records and offsets in one SQLite file of one folder, no broker.
//
// Any number of processes of one machine may open the folder at once: they write in turns, read
// side by side, and wake each other. One worker per group is served. The returned Log owns its
// connections and its background thread (checkpoints, retention); what it hands out must be
// destroyed before it. Never use it on a network share: SQLite's shared memory does not cross
// machines.
#pragma once

#include <memory>

#include "base/status.h"
#include "transport/log.h"
#include "transport/options.h"

namespace millrace {

// Opens the log in `options.dir`, making it when missing. Errors: kUnavailable (folder not
// writable, or busy), kResourceExhausted (disk full), kUnsupported (written by a newer version),
// kCorruption.
Result<std::unique_ptr<Log>> OpenLocalLog(const LocalLogOptions& options);

}  // namespace millrace
