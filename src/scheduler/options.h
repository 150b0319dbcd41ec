// Settings of batch forming and of sharing the executors.
#pragma once

#include <cstdint>

#include "base/settings.h"

namespace millrace {

struct BatchOptions {
  std::int64_t max_rows = 64;
  Millis max_wait{50};
  bool adaptive = true;
};

struct FairnessOptions {
  std::int64_t max_queue_rows = 65536;
  double default_weight = 1;
};

// Per tenant, under tenants.<id>.
struct TenantOptions {
  double weight = 1;
};

void DescribeSettings(SettingSet& set, BatchOptions& options);
void DescribeSettings(SettingSet& set, FairnessOptions& options);
void DescribeTenantSettings(SettingSet& set, TenantOptions& options);

}  // namespace millrace
