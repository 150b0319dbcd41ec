// What the demo shows: a line per second while it runs, and the report at the end.
#pragma once

#include <cstdint>
#include <string>

#include "app/demo/demo_load.h"
#include "app/demo/demo_outcomes.h"
#include "app/worker_host.h"
#include "pipeline/verify/checker.h"
#include "telemetry/metrics.h"

namespace millrace {

// One second of the demo.
struct DemoTick {
  std::uint64_t published = 0;
  std::uint64_t answered = 0;
  double in_per_second = 0;
  double out_per_second = 0;
  double rows_per_batch = 0;
  double p50_ms = 0;  // Published to visible, over this second.
  double p99_ms = 0;
};

// The whole of it.
struct DemoFigures {
  std::uint64_t answered = 0;
  double steady_p50_ms = 0;
  double steady_p99_ms = 0;
  double burst_per_second = 0;
  double rows_per_batch = 0;
  std::uint64_t commits = 0;
  double worker_cpu_us = 0;  // Of the worker's threads and of Kafka clients, per request.
};

// Where the demo ran, in words and as flags for the commands that look at what it left.
struct DemoPlace {
  std::string words;   // "embedded log in DIR".
  std::string flags;   // What `results`, `dlq` and others need to find the log.
  std::string group;   // The flag of the group, where `flags` does not tell.
  std::string models;  // Folder of the models.
  bool kafka = false;
  std::string topics;  // On a cluster: what it left there.
};

// Reads the running worker's metrics. One thread.
class DemoMeter {
 public:
  DemoMeter(WorkerHost& host, const TopicOptions& topics);
  std::uint64_t Answered() const;
  // Often: notes the moment the burst begins, and when everything is answered.
  void Sample(std::uint64_t published, MonoTime burst_started);
  DemoTick Tick(std::uint64_t published);
  DemoFigures Finish(MonoTime burst_started);

 private:
  WorkerHost& host_;
  const TopicOptions topics_;
  MonoTime last_at_;
  std::uint64_t last_published_ = 0;
  std::uint64_t last_answered_ = 0;
  HistogramSnapshot last_total_;
  HistogramSnapshot last_rows_;
  HistogramSnapshot at_burst_;
  std::uint64_t answered_at_burst_ = 0;
  bool burst_seen_ = false;
};

// Progress on stderr.
class DemoScreen {
 public:
  DemoScreen(bool terminal, std::int64_t requests) : terminal_(terminal), requests_(requests) {}
  void Title(const std::string& where);
  void Started(const WorkerHost& host);
  void Line(const DemoTick& tick);
  void Note(const std::string& text);

 private:
  const bool terminal_;
  const std::int64_t requests_;
  int lines_ = 0;
};

// The report, ready to print. `admin_port` 0: the worker does not stay.
std::string DemoReport(const DemoLoad& load, const DemoFigures& figures,
                       const DemoOutcomes& outcomes, const AuditReport& audit,
                       const DemoPlace& place, bool terminal, std::uint16_t admin_port);

}  // namespace millrace
