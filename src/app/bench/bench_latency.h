// The open-loop part of a bench: requests at fixed times, whatever the worker does.
#pragma once

#include "app/bench/bench_load.h"
#include "app/bench/bench_run.h"
#include "app/options.h"
#include "base/status.h"
#include "transport/log.h"

namespace millrace {

// Publishes plan.latency_rate requests a second and fills the figures' p50, p95 and p99: from when
// a request was due to when a reader of committed results, outside the worker, saw its result. A
// late answer counts in full. A worker must be running on `log`. Does nothing at a rate of 0.
Status MeasureLatency(Log& log, BenchLoad& load, const AllOptions& options, const BenchPlan& plan,
                      BenchFigures* figures);

}  // namespace millrace
