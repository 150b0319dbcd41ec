#include "app/demo/demo_report.h"

#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>

#include "app/text_table.h"
#include "base/thread_name.h"

namespace millrace {
namespace {

constexpr const char* kEndToEnd = "millrace_end_to_end_duration_seconds";
constexpr const char* kBatchRows = "millrace_batch_rows";

struct Style {
  std::string_view bold, dim, green, red, off;
};

Style StyleFor(bool terminal) {
  if (!terminal || std::getenv("NO_COLOR") != nullptr) return {};
  return {"\033[1m", "\033[2m", "\033[32m", "\033[31m", "\033[0m"};
}

// "##########----------" of `width` characters.
std::string Bar(double share, int width) {
  const int filled = static_cast<int>(share * width + 0.5);
  std::string bar;
  for (int i = 0; i < width; ++i) bar += i < filled ? "█" : "░";
  return bar;
}

double WorkerCpuMicros() {
  double micros = 0;
  for (const ThreadCpu& thread : ReadThreadCpu()) {
    const bool counts = thread.name.starts_with("mr-") || thread.name.starts_with("rdk:");
    if (counts) micros += static_cast<double>(thread.cpu.count());
  }
  return micros;
}

}  // namespace

DemoMeter::DemoMeter(WorkerHost& host, const TopicOptions& topics)
    : host_(host), topics_(topics), last_at_(SystemClock().Now()) {}

std::uint64_t DemoMeter::Answered() const {
  return host_.registry().SumCounters("millrace_records_produced_total");
}

void DemoMeter::Sample(std::uint64_t /*published*/, MonoTime burst_started) {
  if (burst_seen_ || burst_started == MonoTime{}) return;
  burst_seen_ = true;
  at_burst_ = host_.registry().MergeHistograms(kEndToEnd);
  answered_at_burst_ = Answered();
}

DemoTick DemoMeter::Tick(std::uint64_t published) {
  const MonoTime now = SystemClock().Now();
  const double seconds = std::chrono::duration<double>(now - last_at_).count();
  const HistogramSnapshot total = host_.registry().MergeHistograms(kEndToEnd);
  const HistogramSnapshot rows = host_.registry().MergeHistograms(kBatchRows);
  DemoTick tick;
  tick.published = published;
  tick.answered = Answered();
  tick.in_per_second = static_cast<double>(published - last_published_) / seconds;
  tick.out_per_second = static_cast<double>(tick.answered - last_answered_) / seconds;
  HistogramSnapshot recent = total;
  recent.Subtract(last_total_);
  HistogramSnapshot recent_rows = rows;
  recent_rows.Subtract(last_rows_);
  tick.p50_ms = recent.Quantile(0.5) / 1e6;
  tick.p99_ms = recent.Quantile(0.99) / 1e6;
  tick.rows_per_batch = recent_rows.Mean();
  last_at_ = now;
  last_published_ = published;
  last_answered_ = tick.answered;
  last_total_ = total;
  last_rows_ = rows;
  return tick;
}

DemoFigures DemoMeter::Finish(MonoTime burst_started) {
  const MonoTime now = SystemClock().Now();
  DemoFigures figures;
  figures.answered = Answered();
  if (!burst_seen_) at_burst_ = host_.registry().MergeHistograms(kEndToEnd);
  figures.steady_p50_ms = at_burst_.Quantile(0.5) / 1e6;
  figures.steady_p99_ms = at_burst_.Quantile(0.99) / 1e6;
  if (burst_seen_) {
    figures.burst_per_second = static_cast<double>(figures.answered - answered_at_burst_) /
                               std::chrono::duration<double>(now - burst_started).count();
  }
  figures.rows_per_batch = host_.registry().MergeHistograms(kBatchRows).Mean();
  figures.commits =
      host_.registry().SumCounters("millrace_transactions_total", {{"result", "committed"}});
  figures.worker_cpu_us =
      figures.answered == 0 ? 0 : WorkerCpuMicros() / static_cast<double>(figures.answered);
  return figures;
}

void DemoScreen::Title(const std::string& where) {
  const Style style = StyleFor(terminal_);
  std::fprintf(stderr, "%s",
               fmt::format("{}Millrace demo{}: {} requests, 20 tenants, 3 models, {}\n", style.bold,
                           style.off, Grouped(requests_), where)
                   .c_str());
}

void DemoScreen::Started(const WorkerHost& host) {
  std::string port;
  if (host.admin_port() != 0) {
    port = fmt::format(" · status page http://127.0.0.1:{}/", host.admin_port());
  }
  std::fprintf(stderr, "worker ready: %zu partitions%s\n\n", host.worker()->assigned_partitions(),
               port.c_str());
}

void DemoScreen::Line(const DemoTick& tick) {
  const Style style = StyleFor(terminal_);
  if (lines_++ % 20 == 0) {
    std::fprintf(stderr, "%s",
                 fmt::format("{}{:>10} {:>9} {:>10} {:>9} {:>9} {:>11} {:>9} {:>9}{}\n", style.dim,
                             "published", "in/s", "answered", "out/s", "lag", "rows/batch",
                             "p50 ms", "p99 ms", style.off)
                     .c_str());
  }
  std::fprintf(stderr, "%s",
               fmt::format("{:>10} {:>9} {:>10} {:>9} {:>9} {:>11.1f} {:>9.1f} {:>9.1f}\n",
                           Grouped(static_cast<std::int64_t>(tick.published)),
                           Grouped(static_cast<std::int64_t>(tick.in_per_second)),
                           Grouped(static_cast<std::int64_t>(tick.answered)),
                           Grouped(static_cast<std::int64_t>(tick.out_per_second)),
                           Grouped(static_cast<std::int64_t>(tick.published - tick.answered)),
                           tick.rows_per_batch, tick.p50_ms, tick.p99_ms)
                   .c_str());
}

void DemoScreen::Note(const std::string& text) { std::fprintf(stderr, "\n%s\n", text.c_str()); }

std::string DemoReport(const DemoLoad& load, const DemoFigures& figures,
                       const DemoOutcomes& outcomes, const AuditReport& audit,
                       const DemoPlace& place, bool terminal, std::uint16_t admin_port) {
  const Style style = StyleFor(terminal);
  std::string out;
  const auto line = [&out](const std::string& text) { out += text + "\n"; };
  const auto heading = [&](std::string_view text) {
    line(fmt::format("\n{}{}{}", style.bold, text, style.off));
  };
  heading("What happened");
  line(fmt::format("  throughput    {} requests/s in the burst, {:.2f} µs of {} CPU each",
                   Grouped(static_cast<std::int64_t>(figures.burst_per_second)),
                   figures.worker_cpu_us, place.kafka ? "worker and Kafka client" : "worker"));
  line(
      fmt::format("  latency       p50 {:.1f} ms, p99 {:.1f} ms from published to visible, before "
                  "the burst",
                  figures.steady_p50_ms, figures.steady_p99_ms));
  line(fmt::format("  batches       {:.1f} rows on average; {} units of work committed",
                   figures.rows_per_batch, Grouped(static_cast<std::int64_t>(figures.commits))));

  heading("Was the model right? (held-out rows, true labels)");
  for (std::size_t i = 0; i < load.models().size(); ++i) {
    const DemoModel& model = load.models()[i];
    const ModelScore& score = outcomes.models[i];
    line(fmt::format("  {:<11} {} {:>6.2f} %   {:>8} results   {}: {}", model.id,
                     Bar(score.accuracy(), 20), score.accuracy() * 100, Grouped(score.answered),
                     model.data_set, model.task));
  }

  heading("What could not be answered (dead letters, with the original bytes)");
  for (const auto& [reason, group] : outcomes.dead_letters) {
    line(fmt::format("  {:<14} {:>6}   {}{}{}", reason, Grouped(group.count), style.dim,
                     Shortened(Printable(group.example), 84), style.off));
  }

  heading("Exactly one outcome for each request?");
  const std::string_view colour = audit.ok ? style.green : style.red;
  line(
      fmt::format("  {}verify: {}{}   {} requests = {} results + {} dead letters; missing {}, "
                  "duplicated {}, orphaned {}, out of order {}",
                  colour, audit.ok ? "ok" : "VIOLATIONS", style.off, Grouped(audit.requests),
                  Grouped(audit.results), Grouped(audit.dead_letters),
                  audit.count(Violation::kMissing), audit.count(Violation::kDuplicated),
                  audit.count(Violation::kOrphaned), audit.count(Violation::kOrder)));

  heading("What to type next");
  line("  millrace results" + place.flags + " --request-id demo-42");
  line("  millrace dlq list" + place.flags + " --limit 5");
  line("  millrace topics describe" + place.flags + place.group);
  line("  millrace verify" + place.flags + place.group);
  line("  millrace models list --models " + place.models);
  if (!place.topics.empty()) {
    line(fmt::format("\nThe topics {} stay in the cluster until you delete them.", place.topics));
  }
  if (admin_port != 0) {
    line(
        fmt::format("\nThe worker stays: status page http://127.0.0.1:{}/ , metrics /metrics. "
                    "Ctrl-C ends it.",
                    admin_port));
  }
  return out;
}

}  // namespace millrace
