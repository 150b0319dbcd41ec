// LogContext: what every part of one opened local log shares. Internal to transport/local.
//
// Owned by the Log; immutable after opening except for what its parts synchronise themselves.
#pragma once

#include <memory>
#include <string>

#include "transport/local/notifier.h"
#include "transport/options.h"

namespace millrace::local {

class Maintenance;

struct LogContext {
  std::string dir;
  std::string path;  // Of the database file in `dir`.
  LocalDurability durability = LocalDurability::kFull;
  std::unique_ptr<Notifier> notifier;
  Maintenance* maintenance = nullptr;  // Told of every commit; outlives all writers.
};

}  // namespace millrace::local
