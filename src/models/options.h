// Settings of the model repository.
#pragma once

#include <cstdint>
#include <string>

#include "base/settings.h"

namespace millrace {

struct RepositoryOptions {
  std::string dir;  // repository.dir; --models DIR
};

// Per model, under models.<id>.
struct ModelOptions {
  std::int64_t max_rows = 0;          // 0: batch.max_rows.
  Millis max_wait{-1};                // Negative: batch.max_wait.
  std::int64_t intra_op_threads = 1;
  std::string version;                // Pins a version; empty: the newest.
};

void DescribeSettings(SettingSet& set, RepositoryOptions& options);
void DescribeModelSettings(SettingSet& set, ModelOptions& options);

}  // namespace millrace
