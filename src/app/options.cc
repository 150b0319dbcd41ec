#include "app/options.h"

namespace millrace {

void DescribeAllSettings(SettingSet& set, AllOptions& options) {
  DescribeSettings(set, options.transport);
  DescribeSettings(set, options.memory);
  DescribeSettings(set, options.delivery);
  DescribeSettings(set, options.retry);
  DescribeSettings(set, options.executor);
  DescribeSettings(set, options.batch);
  DescribeSettings(set, options.fairness);
  set.Map("tenants", &options.tenants, DescribeTenantSettings);
  DescribeSettings(set, options.repository);
  set.Map("models", &options.models, DescribeModelSettings);
  DescribeSettings(set, options.runtime);
  DescribeSettings(set, options.limits);
  DescribeSettings(set, options.http);
  DescribeSettings(set, options.telemetry);
}

}  // namespace millrace
