#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <iostream>
#include <nlohmann/json.hpp>

#include "app/bench/bench_ground.h"
#include "app/bench/bench_run.h"
#include "app/command.h"
#include "app/text_table.h"
#include "generated/build_info.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

struct BenchFlags {
  BenchPlan plan;
  int runs = 1;
};

nlohmann::json ToJson(const BenchFigures& f) {
  return {{"requests", f.requests},
          {"seconds", f.seconds},
          {"requests_per_second", f.requests_per_second},
          {"cpu_seconds", f.cpu_seconds},
          {"cpu_us_per_request", f.cpu_us_per_request},
          {"p50_ms", f.p50_ms},
          {"p95_ms", f.p95_ms},
          {"p99_ms", f.p99_ms},
          {"max_rss_mib", f.max_rss_mib},
          {"rows_per_batch", f.rows_per_batch},
          {"records_per_commit", f.records_per_commit},
          {"commits", f.transactions.contains("committed") ? f.transactions.at("committed") : 0},
          {"transactions", f.transactions},
          {"engine_rows_per_second", f.engine_rows_per_second},
          {"engine_cpu_us_per_row", f.engine_cpu_us_per_row},
          {"executor_share_in_engine", f.executor_share_in_engine},
          {"stage_us_per_request", f.stage_us},
          {"thread_cpu_us_per_request", f.thread_us}};
}

void PrintTable(const std::string& where, const std::vector<BenchFigures>& runs) {
  TextTable table({{"run", true, 0},
                   {"requests/s", true, 0},
                   {"CPU µs/request", true, 0},
                   {"rows/batch", true, 0},
                   {"records/commit", true, 0},
                   {"p50 ms", true, 0},
                   {"p99 ms", true, 0},
                   {"RSS MiB", true, 0},
                   {"engine rows/s", true, 0},
                   {"in engine", true, 0}});
  for (std::size_t i = 0; i < runs.size(); ++i) {
    const BenchFigures& f = runs[i];
    table.Add({std::to_string(i + 1), Grouped(static_cast<std::int64_t>(f.requests_per_second)),
               fmt::format("{:.2f}", f.cpu_us_per_request), fmt::format("{:.1f}", f.rows_per_batch),
               fmt::format("{:.0f}", f.records_per_commit), fmt::format("{:.1f}", f.p50_ms),
               fmt::format("{:.1f}", f.p99_ms), fmt::format("{:.0f}", f.max_rss_mib),
               Grouped(static_cast<std::int64_t>(f.engine_rows_per_second)),
               fmt::format("{:.0f} %", f.executor_share_in_engine * 100)});
  }
  std::cout << where << "\n" << table.Take();
  const BenchFigures& last = runs.back();
  std::cout << "\nwhere a request's time goes, last run (µs)\n  CPU by thread:  ";
  for (const auto& [name, us] : last.thread_us) std::cout << fmt::format("  {} {:.2f}", name, us);
  std::cout << "\n  wall by stage:  ";
  for (const auto& [name, us] : last.stage_us) std::cout << fmt::format("  {} {:.2f}", name, us);
  std::cout << "\n";
}

// What was measured: the same for every run.
struct Subject {
  std::string transport, mode, requests_topic;
};

const char* ModeName(DeliveryMode mode) {
  switch (mode) {
    case DeliveryMode::kExactlyOnce:
      return "exactly-once";
    case DeliveryMode::kAtLeastOnce:
      return "at-least-once";
    case DeliveryMode::kAtMostOnce:
      return "at-most-once";
  }
  return "unknown";
}

Subject SubjectOf(const AllOptions& options) {
  const bool local = options.transport.kind == TransportKind::kLocal;
  return {local ? "local" : "kafka", ModeName(options.delivery.mode),
          options.transport.topics.requests};
}

// The figures of the run with the median throughput, and all of them.
void PrintJson(const BenchPlan& plan, const Subject& subject,
               const std::vector<BenchFigures>& runs) {
  std::vector<const BenchFigures*> sorted;
  for (const BenchFigures& run : runs) sorted.push_back(&run);
  std::sort(sorted.begin(), sorted.end(), [](const BenchFigures* a, const BenchFigures* b) {
    return a->requests_per_second < b->requests_per_second;
  });
  nlohmann::json out = ToJson(*sorted[sorted.size() / 2]);
  out["model"] = plan.model_id;
  out["transport"] = subject.transport;
  out["delivery_mode"] = subject.mode;
  out["requests_topic"] = subject.requests_topic;
  out["revision"] = BuildRevision();
  out["runs"] = nlohmann::json::array();
  for (const BenchFigures& run : runs) out["runs"].push_back(ToJson(run));
  std::cout << out.dump(2) << "\n";
}

int Bench(CommandContext& context, const BenchFlags& flags) {
  context.options.telemetry.log_level = LogLevel::kWarn;
  InitLogging(context.options.telemetry);
  std::vector<BenchFigures> runs;
  Subject subject;
  for (int i = 0; i < flags.runs; ++i) {
    Result<std::unique_ptr<BenchGround>> ground = BenchGround::Make(context, flags.plan);
    if (!ground.ok()) return Fail("bench", ground.status());
    subject = SubjectOf((*ground)->options());
    Result<BenchFigures> figures = RunBench((*ground)->options(), flags.plan, (*ground)->log());
    if (!figures.ok()) return Fail("bench", figures.status());
    runs.push_back(std::move(figures).value());
  }
  if (context.output == OutputFormat::kJson) {
    PrintJson(flags.plan, subject, runs);
  } else {
    PrintTable(
        fmt::format("model {}, {} log, {}", flags.plan.model_id, subject.transport, subject.mode),
        runs);
  }
  return kExitOk;
}

}  // namespace

void RegisterBench(CLI::App& root, CommandTable& table) {
  CLI::App* const command = root.add_subcommand("bench", "Load, measure, compare");
  auto flags = std::make_shared<BenchFlags>();
  command->add_option("--model", flags->plan.model_id, "Model of the repository to measure")
      ->required();
  command->add_option("--requests", flags->plan.requests, "Requests to preload")
      ->check(CLI::Range(1'000, 100'000'000))
      ->capture_default_str();
  command->add_option("--tenants", flags->plan.tenants, "Tenants to spread them over")
      ->check(CLI::Range(1, 100'000))
      ->capture_default_str();
  command
      ->add_option("--partitions-scale", flags->plan.partitions_scale,
                   "Share of the contract's partition counts")
      ->check(CLI::Range(0.001, 1.0))
      ->capture_default_str();
  command
      ->add_option("--partitions", flags->plan.partitions,
                   "Partitions of requests and of results instead; 8 on a cluster")
      ->check(CLI::Range(1, 10'000));
  command
      ->add_option("--topics", flags->plan.topic_prefix,
                   "On a cluster: use topics PREFIX.requests, PREFIX.results and so on; what was "
                   "preloaded there is used again")
      ->type_name("PREFIX");
  command
      ->add_option("--latency-rate", flags->plan.latency_rate,
                   "Requests per second of the open-loop part; 0 leaves it out")
      ->capture_default_str();
  command->add_option("--latency-seconds", flags->plan.latency_seconds, "Its length")
      ->capture_default_str();
  command->add_option("--runs", flags->runs, "Repetitions")
      ->check(CLI::Range(1, 100))
      ->capture_default_str();
  command->add_option("--seed", flags->plan.seed, "Of the inputs")->capture_default_str();
  command->footer(
      "Preloads a log, runs a worker over it, then sends requests on a fixed schedule and watches\n"
      "them become visible. The log is a fresh local one, or with --transport kafka new topics of\n"
      "a cluster, which stay. CPU is that of the worker, its log client included, without what\n"
      "publishes and measures.\n"
      "\n"
      "Examples:\n"
      "  millrace bench --models ./models --model cancer-mlp\n"
      "  millrace bench --models ./models --model cancer-mlp --runs 5 -o json\n"
      "  millrace bench --models ./models --model cancer-mlp -s local.durability=normal\n"
      "  millrace bench --models ./models --model cancer-mlp --transport kafka -b broker:9092");
  table.commands.emplace_back(command,
                              [flags](CommandContext& context) { return Bench(context, *flags); });
}

}  // namespace millrace
