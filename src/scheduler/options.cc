#include "scheduler/options.h"

#include "scheduler/scheduler.h"

namespace millrace {
namespace {

constexpr double kMinWeight = Scheduler::kMinWeight;
constexpr double kMaxWeight = Scheduler::kMaxWeight;

}  // namespace

void DescribeSettings(SettingSet& set, BatchOptions& options) {
  set.Integer("batch.max_rows", &options.max_rows, 1, 4096,
              "Rows that close a batch. More rows cost less per request, until the model stops "
              "gaining from them.");
  set.Duration("batch.max_wait", &options.max_wait, Millis(0), Millis(60'000),
               "Longest time that the first row of a batch waits for company; 0 runs each row as "
               "soon as an executor is free.");
  set.Bool("batch.adaptive", &options.adaptive,
           "Send a batch to an idle executor without waiting for more rows, unless they come so "
           "fast, and a run of the model costs so much whatever its size, that waiting pays; false "
           "waits for a full batch, max_wait or a deadline.");
}

void DescribeSettings(SettingSet& set, FairnessOptions& options) {
  set.Integer(
      "fairness.max_queue_rows", &options.max_queue_rows, 64, 1 << 20,
      "Rows that may wait for all executors together; at the limit the worker stops reading "
      "until some have run. Tenants are kept apart among these. More than 16384 wait only while "
      "they are worth 100 ms of CPU time and more.");
  set.Number("fairness.default_weight", &options.default_weight, kMinWeight, kMaxWeight,
             "Weight of the tenants that `tenants` does not name.");
}

void DescribeTenantSettings(SettingSet& set, TenantOptions& options) {
  set.Number(
      "weight", &options.weight, kMinWeight, kMaxWeight,
      "Share of a model's CPU time that this tenant gets while others want it, too: twice the "
      "weight, twice the time.");
}

}  // namespace millrace
