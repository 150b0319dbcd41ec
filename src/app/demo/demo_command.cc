#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <thread>

#include "app/command.h"
#include "app/demo/demo_load.h"
#include "app/demo/demo_outcomes.h"
#include "app/demo/demo_report.h"
#include "app/log_scan.h"
#include "app/run_names.h"
#include "app/signals.h"
#include "app/topic_setup.h"
#include "app/worker_host.h"
#include "codec/json_writer.h"
#include "generated/demo_file.h"
#include "pipeline/verify/audit.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

struct DemoFlags {
  std::int64_t requests = 200'000;
  std::int64_t steady_rate = 10'000;
  std::uint64_t seed = 1;
  bool keep = false;
  bool kafka = false;
};

// Its presence says that the folder is the demo's own and may be emptied.
constexpr const char* kMarker = ".millrace-demo";
// Requests of the first phase, which go at the steady rate; the rest goes as fast as it can.
constexpr double kSteadyShare = 0.4;
constexpr std::size_t kPublishBatch = 500;
// Of the contract's partition counts.
constexpr double kLocalScale = 0.25;
constexpr double kClusterScale = 0.125;
constexpr Millis kJoinWait{20'000};

Status PrepareFolder(const fs::path& dir) {
  std::error_code error;
  if (fs::exists(dir, error)) {
    if (!fs::is_empty(dir, error) && !fs::exists(dir / kMarker, error)) {
      return Status(StatusCode::kInvalidArgument,
                    "'" + dir.string() +
                        "' is not empty and was not made by the demo; name "
                        "another folder with --data");
    }
    fs::remove_all(dir, error);
  }
  fs::create_directories(dir, error);
  std::ofstream(dir / kMarker) << "made by `millrace demo`; emptied by the next one\n";
  for (const std::string_view path : DemoFilePaths()) {
    if (!path.starts_with("models/")) continue;
    const fs::path file = dir / path;
    fs::create_directories(file.parent_path(), error);
    std::ofstream out(file, std::ios::binary);
    const std::string_view bytes = DemoFile(path);
    out.write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
    if (!out.flush()) {
      return Status(StatusCode::kResourceExhausted,
                    "cannot write '" + file.string() + "': is the disk full?");
    }
  }
  return Status::Ok();
}

// Publishes the load; the steady part first. Runs on its own thread, "demo-publisher".
class Publisher {
 public:
  Publisher(Producer& producer, const DemoLoad& load, const DemoFlags& flags, std::string topic)
      : producer_(producer), load_(load), flags_(flags), topic_(std::move(topic)) {}

  void Run() {
    const auto total = static_cast<std::uint64_t>(flags_.requests);
    const auto steady = static_cast<std::uint64_t>(static_cast<double>(total) * kSteadyShare);
    const MonoTime start = SystemClock().Now();
    while (published() < total && !stop_.load(std::memory_order_relaxed)) {
      const std::uint64_t at = published();
      std::uint64_t until = std::min(total, at + kPublishBatch);
      if (at < steady) {
        const Nanos elapsed = SystemClock().Now() - start;
        const auto due = static_cast<std::uint64_t>(std::chrono::duration<double>(elapsed).count() *
                                                    static_cast<double>(flags_.steady_rate));
        until = std::min({until, steady, due});
        if (until <= at) {
          std::this_thread::sleep_for(Millis(2));
          continue;
        }
      } else if (at == steady) {
        burst_started_.store(SystemClock().Now().time_since_epoch().count());
      }
      if (const Status status = Publish(at, until); !status.ok()) {
        status_ = status;
        return;
      }
    }
  }
  void Stop() { stop_.store(true, std::memory_order_relaxed); }
  std::uint64_t published() const { return published_.load(std::memory_order_relaxed); }
  // When the burst began; the epoch before it did.
  MonoTime burst_started() const { return MonoTime(Nanos(burst_started_.load())); }
  // After the thread has ended.
  const Status& status() const { return status_; }

 private:
  Status Publish(std::uint64_t from, std::uint64_t until) {
    bytes_.Clear();
    spans_.clear();
    records_.clear();
    const WallMillis now = SystemClock().WallNow();
    for (std::uint64_t i = from; i < until; ++i) spans_.push_back(load_.Append(i, now, bytes_));
    for (const DemoLoad::Spans& spans : spans_) {
      ProducerRecord record;
      record.key = bytes_.view(spans.key.at, spans.key.size);
      record.headers = HeadersView(bytes_.view(spans.headers.at, spans.headers.size));
      record.value = bytes_.view(spans.value.at, spans.value.size);
      records_.push_back(record);
    }
    MILLRACE_RETURN_IF_ERROR(producer_.Append(topic_, records_));
    published_.store(until, std::memory_order_relaxed);
    return Status::Ok();
  }

  Producer& producer_;
  const DemoLoad& load_;
  const DemoFlags flags_;
  const std::string topic_;
  std::atomic<std::uint64_t> published_{0};
  std::atomic<Nanos::rep> burst_started_{0};
  std::atomic<bool> stop_{false};
  Status status_;
  ByteBuffer bytes_;
  std::vector<DemoLoad::Spans> spans_;
  std::vector<ProducerRecord> records_;
};

// The settings of the demo over those of the context: a log, a group and topics of its own.
void UseDemoOptions(CommandContext& context, const DemoFlags& flags, const fs::path& dir) {
  TransportOptions& transport = context.options.transport;
  if (flags.kafka) {
    const std::string name = UniqueName("millrace-demo");
    const TopicOptions given = transport.topics;
    transport.kind = TransportKind::kKafka;
    if (!IsGiven(context, "kafka.group")) transport.group = name;
    transport.topics = TopicsNamed(name);
    if (IsGiven(context, "topics.requests")) transport.topics.requests = given.requests;
    if (IsGiven(context, "topics.results")) transport.topics.results = given.results;
    if (IsGiven(context, "topics.dlq")) transport.topics.dlq = given.dlq;
    if (IsGiven(context, "topics.events")) transport.topics.events = given.events;
    if (IsGiven(context, "topics.status")) transport.topics.status = given.status;
    if (IsGiven(context, "topics.shadow")) transport.topics.shadow = given.shadow;
  } else {
    transport.kind = TransportKind::kLocal;
    transport.local.dir = (dir / "log").string();
    transport.local.durability = LocalDurability::kNormal;
    transport.group = "demo";
  }
  context.options.repository.dir = (dir / "models").string();
  // That the topics have one copy is the demo's own doing, and no warning.
  context.options.telemetry.log_level = flags.kafka ? LogLevel::kError : LogLevel::kWarn;
  if (context.options.http.admin_listen == HttpOptions().admin_listen) {
    context.options.http.admin_listen = "127.0.0.1:0";  // Another worker may have the usual port.
  }
}

// Settings that name the demo's place on a cluster, so that the commands to type next are short.
Status WriteSettings(const TransportOptions& transport, const fs::path& file) {
  std::string out;
  const auto add = [&out](const char* name, const std::string& value) {
    out += fmt::format("  {}: ", name);
    JsonWriter(out).Value(value);
    out += '\n';
  };
  out += "transport: kafka\nkafka:\n";
  add("brokers", transport.kafka.brokers);
  add("group", transport.group);
  out += "topics:\n";
  add("requests", transport.topics.requests);
  add("results", transport.topics.results);
  add("dlq", transport.topics.dlq);
  add("events", transport.topics.events);
  add("status", transport.topics.status);
  add("shadow", transport.topics.shadow);
  std::ofstream stream(file);
  stream << out;
  if (stream.flush()) return Status::Ok();
  return {StatusCode::kResourceExhausted, "cannot write '" + file.string() + "'"};
}

Result<DemoPlace> PlaceOf(const TransportOptions& transport, const fs::path& dir) {
  DemoPlace place;
  place.models = (dir / "models").string();
  if (transport.kind == TransportKind::kLocal) {
    place.words = "embedded log in " + dir.string();
    place.flags = " --data " + transport.local.dir;
    place.group = " -g " + transport.group;
    return place;
  }
  const fs::path settings = dir / "demo.yaml";
  MILLRACE_RETURN_IF_ERROR(WriteSettings(transport, settings));
  const TopicOptions& topics = transport.topics;
  place.kafka = true;
  place.topics = fmt::format("{}, {}, {}, {}, {} and {}", topics.requests, topics.results,
                             topics.dlq, topics.events, topics.status, topics.shadow);
  place.words = fmt::format("Kafka at {}, group {}", transport.kafka.brokers, transport.group);
  place.flags = " -c " + settings.string();
  return place;
}

// A cluster hands out partitions a moment after the worker has joined: all of them, for there is no
// other member.
Status WaitForPartitions(Log& log, const TransportOptions& transport, const WorkerHost& host,
                         const StopSignals& signals) {
  const auto count = PartitionCount(log, transport.topics.requests);
  if (!count.ok()) return count.status();
  const MonoTime deadline = SystemClock().Now() + kJoinWait;
  while (host.worker()->assigned_partitions() < static_cast<std::size_t>(*count) &&
         !signals.stopped()) {
    if (SystemClock().Now() > deadline) {
      return {StatusCode::kDeadlineExceeded,
              fmt::format("the worker was not given the partitions of {} within {}",
                          transport.topics.requests, FormatDuration(kJoinWait))};
    }
    std::this_thread::sleep_for(Millis(5));
  }
  return Status::Ok();
}

int RunLoad(const CommandContext& context, const DemoFlags& flags, const DemoPlace& place, Log& log,
            StopSignals& signals) {
  const AllOptions& options = context.options;
  const std::vector<TopicSpec> topics =
      ContractTopics(options.transport.topics, place.kafka ? kClusterScale : kLocalScale);
  if (const Status made = MakeMissingTopics(log, topics); !made.ok()) return Fail("demo", made);
  Result<DemoLoad> load = DemoLoad::Make(flags.seed);
  if (!load.ok()) return Fail("demo", load.status());
  Result<std::unique_ptr<Producer>> producer = log.NewProducer();
  if (!producer.ok()) return Fail("demo", producer.status());

  DemoScreen screen(context.stderr_is_terminal, flags.requests);
  screen.Title(place.words);
  if (place.kafka) screen.Note("topics " + place.topics);
  WorkerHost host(options, log);
  if (const Status started = host.Start(); !started.ok()) return Fail("demo", started);
  if (const Status ours = WaitForPartitions(log, options.transport, host, signals); !ours.ok()) {
    return Fail("demo", ours);
  }
  screen.Started(host);

  Publisher publisher(**producer, *load, flags, options.transport.topics.requests);
  signals.OnStop([&] {
    publisher.Stop();
    host.RequestStop();
  });
  std::thread thread([&publisher] { publisher.Run(); });
  DemoMeter meter(host, options.transport.topics);
  const auto total = static_cast<std::uint64_t>(flags.requests);
  MonoTime next_line = SystemClock().Now() + Millis(1'000);
  while (!signals.stopped() && meter.Answered() < total &&
         host.worker()->state() == WorkerState::kReady) {
    std::this_thread::sleep_for(Millis(5));
    meter.Sample(publisher.published(), publisher.burst_started());
    if (SystemClock().Now() >= next_line) {
      screen.Line(meter.Tick(publisher.published()));
      next_line += Millis(1'000);
    }
  }
  const DemoFigures figures = meter.Finish(publisher.burst_started());
  publisher.Stop();
  thread.join();
  if (!publisher.status().ok()) return Fail("demo", publisher.status());
  if (signals.stopped()) {
    const Status ended = host.Wait();
    return ended.ok() ? kExitFailure : Fail("demo", ended);
  }

  screen.Note("reading back every outcome and auditing the log ...");
  Result<DemoOutcomes> outcomes = ReadOutcomes(log, options.transport.topics, *load);
  if (!outcomes.ok()) return Fail("demo", outcomes.status());
  AuditOptions audit_options;
  audit_options.group = options.transport.group;
  audit_options.checker.topics = options.transport.topics;
  Result<LogAudit> audit = AuditLog(log, audit_options);
  if (!audit.ok()) return Fail("demo", audit.status());
  std::cout << DemoReport(*load, figures, *outcomes, audit->report, place,
                          context.stdout_is_terminal, flags.keep ? host.admin_port() : 0)
            << std::flush;
  const bool right = audit->report.ok && figures.answered == total;
  if (flags.keep && right) {
    while (!signals.stopped()) std::this_thread::sleep_for(Millis(100));
  }
  host.RequestStop();
  if (const Status ended = host.Wait(); !ended.ok()) return Fail("demo", ended);
  return right ? kExitOk : kExitViolations;
}

int RunDemo(CommandContext& context, const DemoFlags& flags) {
  const std::string chosen = context.options.transport.local.dir;
  const fs::path dir = chosen == LocalLogOptions().dir ? fs::temp_directory_path() / "millrace-demo"
                                                       : fs::path(chosen);
  StopSignals signals;
  UseDemoOptions(context, flags, dir);
  InitLogging(context.options.telemetry);
  if (const Status prepared = PrepareFolder(dir); !prepared.ok()) return Fail("demo", prepared);
  const Result<DemoPlace> place = PlaceOf(context.options.transport, dir);
  if (!place.ok()) return Fail("demo", place.status());
  Result<std::unique_ptr<Log>> log = context.OpenLog();
  if (!log.ok()) return Fail("demo", log.status());
  const int code = RunLoad(context, flags, *place, **log, signals);
  signals.Close();
  return code;
}

}  // namespace

void RegisterDemo(CLI::App& root, CommandTable& table) {
  CLI::App* const command =
      root.add_subcommand("demo", "Everything on this machine, no broker needed");
  auto flags = std::make_shared<DemoFlags>();
  command->add_option("--requests", flags->requests, "How many requests to publish")
      ->check(CLI::Range(1'000, 100'000'000))
      ->capture_default_str();
  command->add_option("--steady-rate", flags->steady_rate, "Requests per second before the burst")
      ->check(CLI::Range(100, 10'000'000))
      ->capture_default_str();
  command->add_option("--seed", flags->seed, "Of the requests")->capture_default_str();
  command->add_flag("--keep", flags->keep, "Keep the worker and its status page running");
  command->add_flag("--kafka", flags->kafka,
                    "On the cluster of --brokers, with a group and topics made for this run");
  command->footer(
      "Publishes requests made from two real data sets by 20 tenants, one in a hundred of them\n"
      "malformed, runs the worker on them and audits what came out.\n"
      "\n"
      "Examples:\n"
      "  millrace demo\n"
      "  millrace demo --keep                     then open the page it names\n"
      "  millrace demo --requests 1000000 --data ./demo-data\n"
      "  millrace demo --kafka -b broker:9092");
  table.commands.emplace_back(
      command, [flags](CommandContext& context) { return RunDemo(context, *flags); });
}

}  // namespace millrace
