#include "app/options.h"

#include "codec/output_mapping.h"

namespace millrace {
namespace {

void DescribeModel(SettingSet& set, ModelOptions& options) {
  DescribeModelSettings(set, options);
  set.AlsoCheck("outputs", [](std::string_view text) { return ParseOutputMapping(text).status(); });
}

}  // namespace

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
  set.Map("models", &options.models, DescribeModel);
  DescribeSettings(set, options.runtime);
  DescribeSettings(set, options.limits);
  DescribeSettings(set, options.http);
  DescribeSettings(set, options.telemetry);
}

}  // namespace millrace
