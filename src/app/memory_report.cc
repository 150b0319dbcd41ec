#include "app/memory_report.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <string>

#include "telemetry/log.h"

namespace millrace {
namespace {

constexpr const char* kBudget = "millrace_memory_budget_bytes";
constexpr const char* kUsed = "millrace_memory_used_bytes";

std::string Mebibytes(std::int64_t bytes) {
  return fmt::format("{:.0f}MiB", static_cast<double>(bytes) / (1 << 20));
}

}  // namespace

Result<MemoryPlan> PlanMemory(const AllOptions& options) {
  return PlanMemory(options.memory, options.delivery, options.transport, options.limits);
}

std::int64_t ResidentMemory() {
  std::ifstream file("/proc/self/statm");
  std::int64_t size = 0;
  std::int64_t resident = 0;
  return file >> size >> resident ? resident * sysconf(_SC_PAGESIZE) : 0;
}

void MemoryReport::Log() const {
  std::string parts;
  for (const MemoryPart& part : plan_.parts) {
    parts += fmt::format("{}{} {}", parts.empty() ? "" : ", ", part.name, Mebibytes(part.bytes));
  }
  LogEvent(LogLevel::kInfo, "memory_budget",
           "what grows with load stays within its budget; models come on top",
           {{"budget", Mebibytes(plan_.budget)},
            {"parts", parts},
            {"total", Mebibytes(plan_.total)},
            {"resident", Mebibytes(at_start_)},
            {"limit", Mebibytes(limit_)}});
  if (plan_.over) {
    LogEvent(
        LogLevel::kWarn, "memory_budget_exceeded",
        "limits that are set come to more than memory.budget; they are kept: raise the budget "
        "to the total, or leave them to it",
        {{"budget", Mebibytes(plan_.budget)}, {"total", Mebibytes(plan_.total)}, {"parts", parts}});
  }
  if (expected() > limit_) {
    LogEvent(LogLevel::kWarn, "memory_limit_too_low",
             "under load this worker may need more memory than it is allowed: lower memory.budget "
             "or raise the limit",
             {{"resident", Mebibytes(at_start_)},
              {"budget", Mebibytes(plan_.total)},
              {"needed", Mebibytes(expected())},
              {"limit", Mebibytes(limit_)}});
  }
}

void MemoryReport::Collect(const Worker::Memory& now, SampleSink& sink) const {
  for (const MemoryPart& part : plan_.parts) {
    sink.AddGauge(kBudget, "Parts of the memory budget; together what grows with load.",
                  {{"part", part.name}}, static_cast<double>(part.bytes));
  }
  const auto used = [&sink](const char* part, std::size_t bytes) {
    sink.AddGauge(kUsed, "What is used of parts of the memory budget, where the worker counts.",
                  {{"part", part}}, static_cast<double>(bytes));
  };
  used("in_flight", now.in_flight);
  used("kept_requests", now.kept_requests);
  used("kept_outcomes", now.kept_outcomes);
}

}  // namespace millrace
