// MemoryReport: what the memory budget came to, said at start and shown ever after.
#pragma once

#include <cstdint>

#include "app/options.h"
#include "base/memory_limit.h"
#include "pipeline/memory_plan.h"
#include "pipeline/worker.h"
#include "telemetry/metrics.h"

namespace millrace {

Result<MemoryPlan> PlanMemory(const AllOptions& options);

// Memory of this process that is in RAM; 0 when it cannot be told.
std::int64_t ResidentMemory();

class MemoryReport {
 public:
  MemoryReport() = default;
  // Notes what is resident now: call it when the models are loaded and nothing is read yet.
  explicit MemoryReport(MemoryPlan plan)
      : plan_(std::move(plan)), at_start_(ResidentMemory()), limit_(MemoryLimit()) {}

  const MemoryPlan& plan() const { return plan_; }
  std::int64_t at_start() const { return at_start_; }
  std::int64_t limit() const { return limit_; }
  // What the worker may come to: what it held before it read anything, and the plan's total.
  std::int64_t expected() const { return at_start_ + plan_.total; }

  // The event memory_budget, and a warning for each thing that does not fit.
  void Log() const;
  void Collect(const Worker::Memory& now, SampleSink& sink) const;

 private:
  MemoryPlan plan_;
  std::int64_t at_start_ = 0;
  std::int64_t limit_ = 0;
};

}  // namespace millrace
