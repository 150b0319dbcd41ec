// AllOptions: every module's options in one place, for the composition root only.
#pragma once

#include <map>
#include <string>

#include "codec/options.h"
#include "gateway/options.h"
#include "models/options.h"
#include "pipeline/options.h"
#include "runtime/options.h"
#include "scheduler/options.h"
#include "telemetry/options.h"
#include "transport/options.h"

namespace millrace {

struct AllOptions {
  TransportOptions transport;
  MemoryOptions memory;
  DeliveryOptions delivery;
  RetryOptions retry;
  ExecutorOptions executor;
  BatchOptions batch;
  FairnessOptions fairness;
  std::map<std::string, TenantOptions> tenants;
  RepositoryOptions repository;
  std::map<std::string, ModelOptions> models;
  RuntimeOptions runtime;
  CodecLimits limits;
  HttpOptions http;
  TelemetryOptions telemetry;
};

// Declares every setting of `options` on `set`; both must outlive each other's use.
void DescribeAllSettings(SettingSet& set, AllOptions& options);

}  // namespace millrace
