// AdminServer: the operator's HTTP listener: metrics, health and the status page.
//
// One thread of its own ("mr-admin") serves all connections without blocking on any of them. What
// it shows comes through an AdminView, which the application implements and keeps alive; it is
// asked on that thread and must be thread-safe. Start, Stop and the destructor are for the owner's
// thread. It only ever reads: no request changes anything. It has no authentication, and therefore
// listens on the loopback address unless told otherwise.
//
//   GET /metrics                    Prometheus text, version 0.0.4
//   GET /livez /readyz /startupz    200 or 503, text; ?verbose lists every check
//   GET /                           the status page, with /admin_page.{css,js,svg}
//   GET /api/v1/status              what the page shows, as JSON; see AdminView::StatusJson
//
// HEAD works wherever GET does. Errors are {"error","reason"} with reason not_found,
// method_not_allowed, bad_request, header_too_large, too_large, too_many_connections or internal.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/status.h"

namespace millrace {

struct HealthCheck {
  std::string name;  // snake_case.
  bool ok = false;
  std::string detail;  // Why not, or what else is worth knowing; one line, may be empty.
};

// Healthy when every check is; an empty report is healthy.
struct HealthReport {
  std::vector<HealthCheck> checks;
  bool ok() const;
};

// Every method must be thread-safe and answer within milliseconds.
class AdminView {
 public:
  virtual ~AdminView() = default;
  // Should this process be left alone (true), or restarted? Never depends on a broker.
  virtual HealthReport Live() = 0;
  // Does it take and answer requests now?
  virtual HealthReport Ready() = 0;
  // Has it been ready once? Models loaded, partitions assigned.
  virtual HealthReport Startup() = 0;
  // One JSON object. The page computes rates from successive totals; it shows a dash for a field
  // that is missing or null, and ignores fields it does not know. Counts are since process start.
  //   {"state": "starting"|"ready"|"draining"|"not_ready", "version": "0.1.0", "uptime_s": 12.3,
  //    "group": "millrace", "transport": "local"|"kafka",
  //    "totals": {"consumed": n, "results": n, "dead_letters": n, "commits": n, "batches": n},
  //    "memory": {"budget", "parts": {"<part>": n}, "in_flight": of that part in use, "at_start":
  //               resident before anything was read, "resident", "limit"}, all in bytes,
  //    "in_flight": rows, "lag": records over all partitions,
  //    "latency_ms": {"p50": x, "p99": x},       poll to encode, over the last seconds
  //    "batch_fill": 0..1,                       rows per batch over max_rows, last seconds
  //    "models": [{"id", "version", "requests": n, "rows_per_batch": x, "p99_ms": x}],
  //    "dead_letters": {"<reason>": n},
  //    "partitions": [{"partition": 3 or "topic:3", "lag": n, "committed": offset}],
  //    "threads": [{"name", "cpu_s": x}]}
  virtual std::string StatusJson() = 0;
  // PrometheusText of everything.
  virtual std::string MetricsText() = 0;
};

struct AdminLimits {
  std::size_t max_connections = 64;
  // Connections beyond max_connections that are answered with 503; more are closed at once.
  std::size_t max_refusals = 16;
  std::size_t max_header_bytes = 8 * 1024;
  // For a whole request to arrive, counted from the answer before it, and for an answer to be
  // taken.
  Millis timeout{10'000};
};

class AdminServer {
 public:
  explicit AdminServer(AdminView& view, AdminLimits limits = {});
  ~AdminServer();  // Stops.
  AdminServer(const AdminServer&) = delete;
  AdminServer& operator=(const AdminServer&) = delete;

  // Listens on "host:port" ("[::1]:9464" for IPv6; port 0 takes a free one) and returns the port.
  // Fails with kConfiguration for an address that cannot be, kUnavailable for one in use; the
  // message names http.admin_listen. REQUIRES: not running.
  Result<std::uint16_t> Start(const std::string& listen);

  // Closes the listener and every connection, and joins the thread. Does nothing when not running.
  void Stop();

 private:
  class Impl;
  AdminView& view_;
  const AdminLimits limits_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
