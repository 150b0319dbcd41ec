// `millrace dlq replay` and `millrace dlq park`: plan, print, and with --execute carry out.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "app/cmd_dlq.h"
#include "app/command.h"
#include "app/dlq_plan.h"
#include "app/local_topics.h"
#include "app/log_scan.h"
#include "app/progress_line.h"
#include "app/run_names.h"
#include "app/signals.h"
#include "app/text_table.h"
#include "app/topic_setup.h"
#include "codec/replayed_record.h"
#include "pipeline/replay/replay_job.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

// Copies a second, unless --rate says otherwise: dead letters come back beside the live requests.
constexpr const char* kDefaultRate = "1000/s";
constexpr std::int64_t kDefaultMaxAttempts = 3;
constexpr const char* kUnlimited = "unlimited";
constexpr const char* kParkedSuffix = ".parked";
// One name for all runs of a job: a run that is started again ends at once what its predecessor
// left open, and needs not wait for the group to miss it.
constexpr const char* kRunName = "dlq";
constexpr int kBarColumns = 24;
constexpr std::int32_t kRoomForHeaders = 1024;

struct CopyFlags {
  SelectionFlags selection;
  std::string to, parked;
  std::string rate = kDefaultRate;
  std::int64_t max_attempts = kDefaultMaxAttempts;
  bool execute = false;
  bool again = false;
  bool create = false;
};

// "500", "500/s", "30/m" or "unlimited", which is 0.
Result<double> ParseRate(std::string_view text) {
  if (text == kUnlimited) return 0.0;
  const std::size_t slash = text.find('/');
  const std::string_view number = text.substr(0, slash);
  const std::string_view per = slash == std::string_view::npos ? "s" : text.substr(slash + 1);
  double rate = 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), rate);
  const double seconds = per == "s" ? 1 : per == "m" ? 60 : per == "h" ? 3600 : 0;
  if (error != std::errc() || end != number.data() + number.size() || !std::isfinite(rate) ||
      rate <= 0 || seconds == 0) {
    return Status(
        StatusCode::kInvalidArgument,
        fmt::format("--rate: '{}' is no rate such as 500/s, 30/m or {}", text, kUnlimited));
  }
  return rate / seconds;
}

// One run of either command.
class DlqCopy {
 public:
  DlqCopy(CommandContext& context, CopyKind kind, const CopyFlags& flags,
          const StopSignals* signals)
      : context_(context),
        flags_(flags),
        signals_(signals),
        dlq_(context.options.transport.topics.dlq),
        verb_(kind == CopyKind::kReplay ? "replay" : "park"),
        verbed_(kind == CopyKind::kReplay ? "replayed" : "parked"),
        progress_(context.stderr_is_terminal) {
    rules_.kind = kind;
  }

  int Run() {
    if (const Status status = Prepare(); !status.ok()) return Fail(context_.command, status);
    auto plan =
        DlqPlan::Make(*log_, rules_,
                      {.topic = dlq_,
                       .group = context_.options.transport.group,
                       .again = flags_.again,
                       .stopped = [this] { return Stopped(); },
                       .positions = [this](const std::string& group) { return Positions(group); }});
    progress_.Clear();
    if (!plan.ok()) return Fail(context_.command, plan.status());
    plan_ = &*plan;
    if (const Status status = CheckTargets(); !status.ok()) return Fail(context_.command, status);
    if (!Json()) PrintPlan();
    Status status;
    if (flags_.execute) status = Execute();
    PrintEnd();
    if (!status.ok()) return Fail(context_.command, status);
    return stopped_early_ || too_large_ > 0 ? kExitFailure : kExitOk;
  }

 private:
  bool Json() const { return context_.output == OutputFormat::kJson; }
  bool Stopped() const { return signals_ != nullptr && signals_->stopped(); }
  bool Replays() const { return rules_.kind == CopyKind::kReplay; }

  Status Prepare() {
    auto selection = DlqSelection::Parse(flags_.selection, SystemClock().WallNow());
    if (!selection.ok()) return selection.status();
    const auto rate = ParseRate(flags_.rate);
    if (!rate.ok()) return rate.status();
    rate_ = *rate;
    rules_.selection = std::move(*selection);
    rules_.max_attempts = flags_.max_attempts;
    rules_.to = flags_.to;
    const std::string parking = flags_.parked.empty() ? dlq_ + kParkedSuffix : flags_.parked;
    if (!Replays() && rules_.to.empty()) rules_.to = dlq_ + kParkedSuffix;
    MILLRACE_RETURN_IF_ERROR(CheckTo());
    // What passes while a job joins and leaves its group is no news for whoever runs it.
    if (!IsGiven(context_, "telemetry.log_level")) {
      context_.options.telemetry.log_level = LogLevel::kError;
      InitLogging(context_.options.telemetry);
    }
    KafkaOptions& kafka = context_.options.transport.kafka;
    kafka.slot = kRunName;
    // The broker's own protocol refuses a name until its last holder is missed; the classic one
    // gives it to whoever comes last.
    const auto protocol = kafka.properties.find("group.protocol");
    const bool classic = protocol == kafka.properties.end() || protocol->second == "classic";
    kafka.instance_id = classic ? kRunName : "";
    // Where a new group starts is not for the worker's settings to say: at the beginning.
    kafka.properties.erase("auto.offset.reset");
    auto log = OpenExistingLog(context_);
    if (!log.ok()) return log.status();
    log_ = std::move(*log);
    auto parked = PlaceSet::ReadParked(*log_, Replays() ? parking : rules_.to, dlq_);
    if (!parked.ok()) return parked.status();
    rules_.parked = std::move(*parked);
    return Status::Ok();
  }

  // Topics into which dead letters can only have been meant by mistake.
  Status CheckTo() const {
    const TopicOptions& topics = context_.options.transport.topics;
    const auto wrong = [&](const std::string& topic) {
      return topic == topics.dlq || topic == topics.results || topic == topics.events ||
             topic == topics.status || topic == topics.shadow ||
             (!Replays() && topic == topics.requests);
    };
    if (!wrong(rules_.to)) return Status::Ok();
    return {StatusCode::kInvalidArgument,
            fmt::format("--to {}: dead letters of {} are not to be {} there", rules_.to, dlq_,
                        verbed_)};
  }

  Result<std::map<std::int32_t, Offset>> Positions(const std::string& group) {
    if (flags_.execute && context_.options.transport.kind == TransportKind::kKafka) {
      // A run that was killed left a unit under way. A worker in its place ends it at once, where
      // its positions would be held back until it times out.
      const auto worker = log_->OpenWorker(WorkerOptions(group, dlq_));
      if (!worker.ok()) return worker.status();
    }
    return CommittedPositions(*log_, group, dlq_);
  }

  WorkerLogOptions WorkerOptions(const std::string& group, const std::string& to) const {
    WorkerLogOptions options;
    options.group = group;
    options.topics = context_.options.transport.topics;
    options.topics.requests = dlq_;
    options.topics.results = to;
    options.transaction_timeout = context_.options.delivery.transaction_timeout;
    return options;
  }

  Status CheckTargets() {
    std::vector<std::string> names = {dlq_};
    for (const auto& target : plan_->targets()) names.push_back(target->topic);
    const auto topics = log_->DescribeTopics(names);
    if (!topics.ok()) return topics.status();
    const auto find = [&](const std::string& name) {
      return std::find_if(topics->begin(), topics->end(),
                          [&](const TopicInfo& topic) { return topic.spec.name == name; });
    };
    for (const auto& target : plan_->targets()) {
      if (target->copies == 0 || find(target->topic) != topics->end()) continue;
      if (!Replays()) return MakeParking(find(dlq_)->spec);
      return {
          StatusCode::kNotFound,
          fmt::format("topic {}, where {} dead letters belong, does not exist: --to TOPIC sends "
                      "them elsewhere, --original-topic chooses others",
                      target->topic, Grouped(target->copies))};
    }
    return Status::Ok();
  }

  // The parking topic is missing: it is to be like that of the dead letters, for as long as ever.
  Status MakeParking(TopicSpec spec) {
    const bool local = context_.options.transport.kind == TransportKind::kLocal;
    if (!local && !flags_.create) {
      return {StatusCode::kNotFound,
              fmt::format("topic {} does not exist: --create makes it, like {} and without "
                          "retention, or name another with --to",
                          rules_.to, dlq_)};
    }
    if (!flags_.execute) return Status::Ok();
    spec.name = rules_.to;
    spec.retention = Millis(0);
    // A dead letter that just fits its topic gets two headers more.
    if (spec.max_message_bytes > 0) spec.max_message_bytes += kRoomForHeaders;
    MILLRACE_RETURN_IF_ERROR(MakeMissingTopics(*log_, std::array<TopicSpec, 1>{spec}));
    fmt::print(stderr, "created topic {} with {} partitions\n", spec.name, spec.partitions);
    return Status::Ok();
  }

  Status Execute() {
    started_ = SystemClock().Now();
    for (const auto& target : plan_->targets()) {
      if (target->copies == 0) continue;
      MILLRACE_RETURN_IF_ERROR(Carry(*target));
      if (stopped_early_) break;
    }
    return Status::Ok();
  }

  Status Carry(const CopyTarget& target) {
    auto worker = log_->OpenWorker(WorkerOptions(target.group, target.topic));
    if (!worker.ok()) return worker.status();
    RecordReader reader;
    ReplayJob job(
        std::move(*worker),
        {.ends = plan_->ends(),
         .rate = rate_,
         .retry = context_.options.retry,
         .committed = [&] { return CommittedPositions(*log_, target.group, dlq_); }},
        [&](const Record& record, std::int32_t partition, OutputChunk& chunk, OutputRecord* out) {
          return Choose(target, record, partition, reader, chunk, out);
        });
    const std::int64_t before = copied_;
    Status status = job.Run([&](const ReplayTotals& totals) {
      copied_ = before + totals.copied;
      Show();
      return !Stopped();
    });
    copied_ = before + job.totals().copied;
    too_large_ += job.totals().too_large;
    stopped_early_ = !job.finished();
    progress_.Clear();
    if (status.code() == StatusCode::kFenced) {
      return {StatusCode::kFenced,
              fmt::format("another run of this {} has taken over and goes on ({})", verb_,
                          status.message())};
    }
    return status;
  }

  ReplayChoice Choose(const CopyTarget& target, const Record& record, std::int32_t partition,
                      RecordReader& reader, OutputChunk& chunk, OutputRecord* out) const {
    const DeadLetter letter = ReadDeadLetter(record);
    const Fate fate = rules_.Judge(letter, record, partition, reader);
    if (fate == Fate::kNotYet) return ReplayChoice::kStop;
    if (fate != Fate::kCopied) return ReplayChoice::kSkip;
    const WallMillis now = SystemClock().WallNow();
    if (!Replays()) {
      EncodeParked(record, fmt::format("{}:{}:{}", dlq_, partition, record.offset.value()), now,
                   chunk, out);
      return ReplayChoice::kCopy;
    }
    if (letter.original_topic != target.original_topic) return ReplayChoice::kSkip;
    RequestFields fields;
    reader.ReadRequest(record.value, &fields);
    EncodeReplayed(record, fields, target.replay_id, now, chunk, out);
    return ReplayChoice::kCopy;
  }

  // --- What is printed ---

  void Show() {
    if (!progress_.Due()) return;
    const std::int64_t all = plan_->copies().total();
    const double rate = Seconds() > 0 ? static_cast<double>(copied_) / Seconds() : 0;
    std::string bar = Bar(copied_, all, kBarColumns);
    const auto filled = std::count_if(bar.begin(), bar.end(), [](char c) {
      return (static_cast<unsigned char>(c) & 0xC0) != 0x80;  // Not inside of a character.
    });
    bar.append(static_cast<std::size_t>(kBarColumns - filled), ' ');
    progress_.Show(fmt::format(
        "[{}] {}%  {} of {}, {}/s{}", bar, copied_ * 100 / std::max<std::int64_t>(all, 1),
        Grouped(copied_), Grouped(all), Grouped(std::llround(rate)),
        rate > 0 ? fmt::format(", {:.0f} s left", static_cast<double>(all - copied_) / rate) : ""));
  }

  double Seconds() const {
    return std::chrono::duration<double>(SystemClock().Now() - started_).count();
  }

  // What is left out, each with the reason for it. Not in it: what was done before.
  std::vector<std::pair<const char*, std::int64_t>> HeldBack() const {
    return {{"failed_too_often", plan_->held_back(Fate::kLoop)},
            {"parked", plan_->held_back(Fate::kParked)},
            {"cut", plan_->held_back(Fate::kCut)},
            {"without_value", plan_->held_back(Fate::kNoValue)},
            {"without_topic", plan_->held_back(Fate::kNoTarget)}};
  }

  std::string WhyHeldBack(std::string_view name) const {
    if (name == "failed_too_often") {
      return fmt::format("have failed {} times or more (--max-attempts)", rules_.max_attempts);
    }
    if (name == "parked") return Replays() ? "were parked" : "were parked before";
    if (name == "cut") return "are not whole: their values were cut to fit the topic";
    if (name == "without_value") return "had no value, which no replay can mend";
    return "do not say which topic they come from: name one with --to";
  }

  void PrintPlan() const {
    const std::int64_t all = plan_->copies().total();
    fmt::print("{} of {} dead letters of {} that match {} be {}\n", Grouped(all),
               Grouped(plan_->matching()), dlq_, flags_.execute ? "will" : "would", verbed_);
    if (all > 0) fmt::print("\n{}", plan_->copies().Tables(context_.stdout_is_terminal));
    if (!plan_->targets().empty()) {
      TextTable table({{.name = "TO"},
                       {.name = "RECORDS", .right = true},
                       {.name = "DONE BEFORE", .right = true},
                       {.name = "GROUP"}});
      for (const auto& target : plan_->targets()) {
        table.Add(
            {target->topic, Grouped(target->copies), Grouped(target->done_before), target->group});
      }
      fmt::print("\n{}", table.Take());
    }
    std::string notes;
    for (const auto& [name, count] : HeldBack()) {
      if (count > 0) notes += fmt::format("{} {}\n", Grouped(count), WhyHeldBack(name));
    }
    if (plan_->done_before() > 0) {
      notes += fmt::format("{} were {} before: --again does it once more\n",
                           Grouped(plan_->done_before()), verbed_);
    }
    if (!notes.empty()) fmt::print("\nleft out:\n{}", notes);
    fmt::print("\n");
    std::fflush(stdout);
  }

  void PrintEnd() {
    progress_.Clear();
    if (Json()) {
      PrintJson();
    } else if (plan_->copies().total() == 0) {
      fmt::print("nothing to {}\n", verb_);
    } else if (!flags_.execute) {
      const auto seconds = static_cast<double>(plan_->copies().total()) / std::max(rate_, 1e-9);
      fmt::print("a dry run, nothing was changed: --execute does it{}\n",
                 rate_ > 0
                     ? fmt::format(", at {}, in about {:.0f} s", flags_.rate, std::ceil(seconds))
                     : "");
    } else {
      fmt::print(
          "{} {} of {} dead letters in {:.2f} s ({}/s)\n", verbed_, Grouped(copied_),
          Grouped(plan_->copies().total()), Seconds(),
          Grouped(std::llround(Seconds() > 0 ? static_cast<double>(copied_) / Seconds() : 0)));
      if (too_large_ > 0) {
        fmt::print("{} were left out: the topic takes no records of their size\n",
                   Grouped(too_large_));
      }
      if (stopped_early_) fmt::print("stopped early: the same command goes on where it stopped\n");
    }
  }

  void PrintJson() {
    std::string out;
    JsonWriter json(out);
    const std::int64_t all = plan_->copies().total();
    json.BeginObject().Member("command", verb_).Member("topic", dlq_);
    json.Member("dry_run", !flags_.execute).Member("matching", plan_->matching());
    json.Member("selected", all).Member("done_before", plan_->done_before());
    json.Key("held_back").BeginObject();
    for (const auto& [name, count] : HeldBack()) json.Member(name, count);
    json.Member("too_large", too_large_).EndObject();
    plan_->copies().WriteMembers(json);
    json.Key("targets").BeginArray();
    for (const auto& target : plan_->targets()) {
      json.BeginObject().Member("to", target->topic).Member("records", target->copies);
      json.Member("done_before", target->done_before).Member("group", target->group);
      json.Member("replay_id", target->replay_id).EndObject();
    }
    json.EndArray();
    if (flags_.execute) {
      json.Member(verbed_, copied_).Member("seconds", Seconds());
      json.Member("interrupted", stopped_early_);
    }
    json.EndObject();
    fmt::print("{}\n", out);
  }

  CommandContext& context_;
  const CopyFlags& flags_;
  const StopSignals* const signals_;  // None: a signal ends the process.
  const std::string dlq_;
  const char* const verb_;
  const char* const verbed_;
  ProgressLine progress_;
  std::unique_ptr<Log> log_;
  CopyRules rules_;
  const DlqPlan* plan_ = nullptr;
  double rate_ = 0;
  MonoTime started_ = SystemClock().Now();
  std::int64_t copied_ = 0;
  std::int64_t too_large_ = 0;
  bool stopped_early_ = false;
};

CommandBody BodyOf(CopyKind kind, std::shared_ptr<CopyFlags> flags) {
  return [kind, flags = std::move(flags)](CommandContext& context) {
    // Before the log starts threads, so that all inherit the mask. A dry run has nothing to end.
    std::optional<StopSignals> signals;
    if (flags->execute) signals.emplace();
    return DlqCopy(context, kind, *flags, signals ? &*signals : nullptr).Run();
  };
}

void AddCommonFlags(CLI::App& command, CopyFlags& flags, const char* again) {
  AddSelectionFlags(command, flags.selection);
  command.add_flag("--execute", flags.execute, "Do it; without, it is only counted and shown");
  command
      .add_option("--rate", flags.rate,
                  fmt::format("At most so many: 500/s, 30/m, or {}", kUnlimited))
      ->type_name("N/s")
      ->capture_default_str();
  command.add_flag("--again", flags.again, again);
}

}  // namespace

void RegisterDlqReplay(CLI::App& dlq, CommandTable& table) {
  CLI::App* const replay = dlq.add_subcommand(
      "replay",
      "Send dead letters again as the requests they were. A dry run until --execute. Each is "
      "replayed once: the same command a second time, or after a crash, does only what is left");
  auto flags = std::make_shared<CopyFlags>();
  replay->add_option("--to", flags->to, "To this topic, instead of the one each comes from")
      ->type_name("TOPIC");
  AddCommonFlags(*replay, *flags, "Once more, also what this command has replayed before");
  replay
      ->add_option("--max-attempts", flags->max_attempts,
                   "Leave out what has failed so many times, or more")
      ->type_name("N")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  replay
      ->add_option("--parked", flags->parked,
                   "Leave out what lies in this topic; by default the dead letter topic's name "
                   "and .parked")
      ->type_name("TOPIC");
  replay->footer(
      "Examples:\n"
      "  millrace dlq replay --data ./log --reason unknown_model --model cancer-mlp\n"
      "  millrace dlq replay --data ./log --reason unknown_model --model cancer-mlp --execute\n"
      "  millrace dlq replay -b broker:9092 --tenant acme --since 2h --rate 200/s --execute\n"
      "  millrace dlq replay -b broker:9092 --request-id r-17 --execute -o json");
  table.commands.emplace_back(replay, BodyOf(CopyKind::kReplay, flags));
}

void RegisterDlqPark(CLI::App& dlq, CommandTable& table) {
  CLI::App* const park = dlq.add_subcommand(
      "park",
      "Put dead letters that must not be replayed into a topic of their own. A dry run until "
      "--execute. `dlq replay` leaves out what lies there");
  auto flags = std::make_shared<CopyFlags>();
  flags->rate = kUnlimited;
  park->add_option("--to", flags->to,
                   "The parking topic; by default the dead letter topic's name and .parked")
      ->type_name("TOPIC");
  AddCommonFlags(*park, *flags, "Once more, what is gone from the parking topic");
  park->add_flag("--create", flags->create,
                 "Make the parking topic on a cluster that lacks it. A local log makes it anyway");
  park->footer(
      "Examples:\n"
      "  millrace dlq park --data ./log --min-attempts 3\n"
      "  millrace dlq park --data ./log --min-attempts 3 --execute\n"
      "  millrace dlq park -b broker:9092 --reason decode --tenant acme --create --execute");
  table.commands.emplace_back(park, BodyOf(CopyKind::kPark, flags));
}

}  // namespace millrace
