#include "gateway/admin_routes.h"

#include <algorithm>
#include <exception>

#include "generated/admin_page_file.h"
#include "telemetry/log.h"
#include "telemetry/prometheus_text.h"

namespace millrace {
namespace {

constexpr std::string_view kText = "text/plain; charset=utf-8";
constexpr std::string_view kJson = "application/json";

bool HasQueryFlag(std::string_view query, std::string_view flag) {
  while (!query.empty()) {
    const std::size_t end = std::min(query.find('&'), query.size());
    const std::string_view item = query.substr(0, end);
    if (item.substr(0, item.find('=')) == flag) return true;
    query.remove_prefix(std::min(end + 1, query.size()));
  }
  return false;
}

// Details may come from a library; a line break in one must not look like another check.
std::string OneLine(std::string text) {
  std::replace_if(
      text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20; }, ' ');
  return text;
}

// The layout that Kubernetes' own endpoints use, so that people and tools find what they expect.
AdminAnswer AnswerHealth(const HealthReport& report, std::string_view name, bool verbose) {
  AdminAnswer answer;
  answer.content_type = kText;
  const bool ok = report.ok();
  answer.status = ok ? 200 : 503;
  if (ok && !verbose) {
    answer.body = "ok\n";
    return answer;
  }
  for (const HealthCheck& check : report.checks) {
    answer.body.append(check.ok ? "[+]" : "[-]").append(OneLine(check.name));
    answer.body.append(check.ok ? " ok" : " failed");
    if (!check.detail.empty()) answer.body.append(": ").append(OneLine(check.detail));
    answer.body += '\n';
  }
  answer.body.append(name).append(ok ? " check passed\n" : " check failed\n");
  return answer;
}

AdminAnswer AnswerPath(AdminView& view, std::string_view path, std::string_view query) {
  if (path == "/metrics") return {200, kPrometheusContentType, view.MetricsText(), {}};
  const bool verbose = HasQueryFlag(query, "verbose");
  if (path == "/livez") return AnswerHealth(view.Live(), "livez", verbose);
  if (path == "/readyz") return AnswerHealth(view.Ready(), "readyz", verbose);
  if (path == "/startupz") return AnswerHealth(view.Startup(), "startupz", verbose);
  if (path == "/api/v1/status") return {200, kJson, view.StatusJson(), {}};

  struct Asset {
    std::string_view path, file, content_type;
  };
  static constexpr Asset kAssets[] = {
      {"/", "admin_page.html", "text/html; charset=utf-8"},
      {"/admin_page.css", "admin_page.css", "text/css; charset=utf-8"},
      {"/admin_page.js", "admin_page.js", "text/javascript; charset=utf-8"},
      {"/admin_page.svg", "admin_page.svg", "image/svg+xml"},
  };
  for (const Asset& asset : kAssets) {
    if (path == asset.path) {
      return {200, asset.content_type, std::string(AdminPageFile(asset.file)), {}};
    }
  }
  return AdminError(404, "not_found",
                    "Nothing is here. There are /, /metrics, /livez, /readyz, /startupz and "
                    "/api/v1/status.");
}

}  // namespace

bool HealthReport::ok() const {
  return std::all_of(checks.begin(), checks.end(), [](const HealthCheck& c) { return c.ok; });
}

AdminAnswer AdminError(unsigned status, std::string_view reason, std::string_view error) {
  AdminAnswer answer;
  answer.status = status;
  answer.content_type = kJson;
  answer.body.append("{\"error\":\"").append(error).append("\",\"reason\":\"").append(reason);
  answer.body.append("\"}\n");
  return answer;
}

AdminAnswer AnswerAdmin(AdminView& view, std::string_view method, std::string_view target) {
  if (method != "GET" && method != "HEAD") {
    AdminAnswer answer =
        AdminError(405, "method_not_allowed", "This listener only reads: use GET or HEAD.");
    answer.allow = "GET, HEAD";
    return answer;
  }
  const std::string_view path = target.substr(0, target.find('?'));
  const std::string_view query =
      path.size() < target.size() ? target.substr(path.size() + 1) : std::string_view();
  try {
    return AnswerPath(view, path, query);
  } catch (const std::exception& e) {
    LogEvent(LogLevel::kError, "admin_answer_failed", "An admin request could not be answered.",
             {{"path", path}, {"error", e.what()}});
    return AdminError(500, "internal", "The answer could not be made; the log says why.");
  }
}

}  // namespace millrace
