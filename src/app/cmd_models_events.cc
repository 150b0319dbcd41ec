// `models promote|rollback|retire|status`: what shall serve, and what does.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "app/cmd_models.h"
#include "app/command.h"
#include "app/local_topics.h"
#include "app/model_board.h"
#include "app/text_table.h"
#include "codec/json_writer.h"
#include "codec/model_event.h"
#include "codec/outcome_encoder.h"
#include "config/manifest_reader.h"
#include "models/digest.h"
#include "models/repository.h"

namespace millrace {
namespace {

struct EventFlags {
  std::string model;
  std::string version;
  std::string uri;
  std::string sha256;
  std::string issued_by;
  double canary = -1;
  bool shadow = false;
  std::string wait;
};

std::string Now() {
  char at[kRfc3339MillisBytes];
  FormatRfc3339Millis(SystemClock().WallNow(), at);
  return {at, sizeof at};
}

Status CheckName(const char* what, const std::string& name) {
  if (IsValidModelId(name)) return {};
  return {StatusCode::kInvalidArgument,
          fmt::format("{} '{}' does not match [A-Za-z0-9][A-Za-z0-9._-]{{0,127}}", what,
                      Printable(name))};
}

// Without a uri the version must be in the workers' repository: where this machine has it, too, its
// digest goes with the event, so that every worker serves the same bytes.
Status CompleteFromRepository(const CommandContext& context, const EventFlags& flags,
                              VersionSpec* spec) {
  const std::string& dir = context.options.repository.dir;
  if (!spec->uri.empty()) return {};
  if (dir.empty()) {
    if (spec->sha256.empty()) {
      fmt::print(stderr,
                 "note: neither --uri nor --models is given: each worker takes version {} of its "
                 "own repository, whatever its bytes are\n",
                 spec->version);
    }
    return {};
  }
  const auto listing = ScanRepository(dir, ReadModelManifest, flags.model);
  if (!listing.ok()) return listing.status();
  const auto found = listing->models.find(flags.model);
  std::string there;
  if (found != listing->models.end()) {
    for (const ModelVersion& version : found->second) {
      if (version.version != spec->version) {
        there += (there.empty() ? "" : ", ") + version.version;
        continue;
      }
      Result<std::string> digest = Sha256OfFile(version.path);
      if (!digest.ok()) return digest.status();
      if (!spec->sha256.empty() && spec->sha256 != *digest) {
        return {StatusCode::kInvalidArgument,
                fmt::format("the sha256 of {} is {}, not {}", version.path, *digest, spec->sha256)};
      }
      spec->sha256 = std::move(digest).value();
      return {};
    }
  }
  return {StatusCode::kNotFound,
          fmt::format("model '{}' has no version '{}' in {}{}", flags.model, spec->version, dir,
                      there.empty() ? "" : "; it has " + there)};
}

void PrintEvent(const CommandContext& context, const ModelEvent& event) {
  if (context.output == OutputFormat::kJson) {
    fmt::print("{}\n", EncodeModelEvent(event));
    return;
  }
  const std::string& before = event.stable.has_value() ? event.stable->version : "";
  std::string what = fmt::format("{} {}", ModelActionName(event.action), event.model_id);
  if (!event.version.version.empty()) what += " version " + event.version.version;
  if (event.action == ModelAction::kCanary) {
    what += fmt::format(" for {:g} % of the keys", event.canary_percent);
  }
  if (!before.empty()) what += fmt::format(" (served until now: version {})", before);
  fmt::print("{}\n", what);
}

// Has every worker that has a state of this model answered the event?
enum class Answer { kNone, kServing, kFailed };
Answer AnswerOf(const ModelBoard::Entry& entry, const ModelEvent& event) {
  Answer answer = Answer::kNone;
  for (const auto& [worker, status] : entry.workers) {
    if (status.at < event.issued_at) return Answer::kNone;
    if (status.state == ModelState::kFailed) return Answer::kFailed;
    if (status.state != ModelState::kServing && status.state != ModelState::kRetired) {
      return Answer::kNone;
    }
    answer = Answer::kServing;
  }
  return answer;
}

void PrintWorkers(const ModelBoard& board, const std::string& only) {
  TextTable table({{.name = "MODEL"},
                   {.name = "WORKER"},
                   {.name = "STATE"},
                   {.name = "VERSION"},
                   {.name = "SERVING"},
                   {.name = "AT"},
                   {.name = "DETAIL", .max_width = 100}});
  for (const auto& [id, entry] : board.models) {
    if (!only.empty() && id != only) continue;
    for (const auto& [worker, status] : entry.workers) {
      table.Add({id, worker, std::string(ModelStateName(status.state)), status.version,
                 status.serving, status.at, status.detail});
    }
  }
  if (!table.empty()) fmt::print("{}", table.Take());
}

int WaitForAnswer(const CommandContext& context, Log& log, const ModelEvent& event,
                  Millis patience) {
  constexpr Millis kLookEvery{200};
  const MonoTime deadline = SystemClock().Now() + patience;
  while (true) {
    const Result<ModelBoard> board = ReadModelBoard(log, context.options.transport.topics);
    if (!board.ok()) return Fail(context.command, board.status());
    const auto entry = board->models.find(event.model_id);
    const Answer answer =
        entry == board->models.end() ? Answer::kNone : AnswerOf(entry->second, event);
    const bool late = SystemClock().Now() > deadline;
    if (answer == Answer::kNone && !late) {
      std::this_thread::sleep_for(kLookEvery);
      continue;
    }
    if (context.output != OutputFormat::kJson) PrintWorkers(*board, event.model_id);
    if (answer == Answer::kServing) return kExitOk;
    return Fail(context.command,
                answer == Answer::kFailed
                    ? Status(StatusCode::kInternal,
                             "a worker could not load the version; what served before goes on")
                    : Status(StatusCode::kDeadlineExceeded,
                             "not every worker had answered by the end of --wait; see `millrace "
                             "models status`"));
  }
}

Result<VersionSpec> EarlierVersion(const ModelTarget& target, const EventFlags& flags) {
  const auto by_version = [&flags](const VersionSpec& spec) {
    return spec.version == flags.version;
  };
  const auto earlier = flags.version.empty() ? target.earlier.rbegin()
                                             : std::find_if(target.earlier.rbegin(),
                                                            target.earlier.rend(), by_version);
  if (earlier != target.earlier.rend()) return *earlier;
  if (!flags.version.empty()) return VersionSpec{flags.version, flags.uri, flags.sha256};
  return Status(StatusCode::kNotFound,
                fmt::format("the topic knows no earlier version of model '{}': name the one to go "
                            "back to",
                            flags.model));
}

int Publish(CommandContext& context, const EventFlags& flags, ModelAction action) {
  Status named = CheckName("model", flags.model);
  if (named.ok() && !flags.version.empty()) named = CheckName("version", flags.version);
  if (!named.ok()) return Fail(context.command, named);
  Result<Millis> patience = Millis(0);
  if (!flags.wait.empty()) patience = ParseDuration(flags.wait);
  if (!patience.ok()) return Fail(context.command, patience.status().WithContext("--wait"));
  auto log = context.OpenLog();
  if (!log.ok()) return Fail(context.command, log.status());
  const TopicOptions& topics = context.options.transport.topics;
  if (const Status made = EnsureLocalTopics(**log, context.options); !made.ok()) {
    return Fail(context.command, made);
  }
  Result<ModelBoard> board = ReadModelBoard(**log, topics);
  if (!board.ok()) return Fail(context.command, board.status());
  const ModelTarget& target = board->models[flags.model].target;

  ModelEvent event;
  event.model_id = flags.model;
  event.action = action;
  event.version = {flags.version, flags.uri, flags.sha256};
  if (action == ModelAction::kCanary) event.canary_percent = flags.canary;
  if (action == ModelAction::kRollback) {
    Result<VersionSpec> earlier = EarlierVersion(target, flags);
    if (!earlier.ok()) return Fail(context.command, earlier.status());
    event.version = std::move(earlier).value();
  }
  if (action != ModelAction::kRetire) {
    const Status complete = CompleteFromRepository(context, flags, &event.version);
    if (!complete.ok()) return Fail(context.command, complete);
  }
  event.stable = target.stable;
  event.issued_at = Now();
  event.issued_by = flags.issued_by;
  auto producer = (*log)->NewProducer();
  if (!producer.ok()) return Fail(context.command, producer.status());
  const std::string value = EncodeModelEvent(event);
  ProducerRecord record;
  record.key = event.model_id;
  record.value = value;
  const Status written = (*producer)->Append(topics.events, {&record, 1});
  if (!written.ok()) return Fail(context.command, written);
  PrintEvent(context, event);
  if (*patience == Millis(0)) return kExitOk;
  return WaitForAnswer(context, **log, event, *patience);
}

void PrintBoardJson(const ModelBoard& board, const std::string& only) {
  std::string out;
  JsonWriter json(out);
  const auto spec = [&json](const char* name, const std::optional<VersionSpec>& version) {
    json.Key(name);
    if (!version.has_value()) {
      json.Null();
      return;
    }
    json.BeginObject().Member("version", version->version).Member("uri", version->uri);
    json.Member("sha256", version->sha256).EndObject();
  };
  json.BeginObject().Key("models").BeginArray();
  for (const auto& [id, entry] : board.models) {
    if (!only.empty() && id != only) continue;
    json.BeginObject().Member("model_id", id).Key("wanted").BeginObject();
    spec("stable", entry.target.stable);
    spec("canary", entry.target.canary);
    json.Member("canary_percent", entry.target.canary_percent);
    spec("shadow", entry.target.shadow);
    json.Member("retired", entry.target.retired).EndObject().Key("workers").BeginArray();
    for (const auto& [worker, status] : entry.workers) json.Raw(EncodeModelStatus(status));
    json.EndArray().EndObject();
  }
  json.EndArray().EndObject();
  fmt::print("{}\n", out);
}

int ShowStatus(CommandContext& context, const std::string& model) {
  auto log = OpenExistingLog(context);
  if (!log.ok()) return Fail(context.command, log.status());
  const Result<ModelBoard> board = ReadModelBoard(**log, context.options.transport.topics);
  if (!board.ok()) return Fail(context.command, board.status());
  if (!model.empty() && !board->models.contains(model)) {
    return Fail(context.command, {StatusCode::kNotFound,
                                  fmt::format("neither an event nor a worker tells of model '{}'",
                                              Printable(model))});
  }
  if (context.output == OutputFormat::kJson) {
    PrintBoardJson(*board, model);
    return kExitOk;
  }
  PrintWorkers(*board, model);
  if (!board->has_status_topic) {
    fmt::print(stderr,
               "there is no topic {}: workers tell their models' states in the metrics only\n",
               context.options.transport.topics.status);
  }
  return kExitOk;
}

void AddCommonFlags(CLI::App& command, EventFlags& flags) {
  command.add_option("--by", flags.issued_by, "Who or what issues the event, for the record")
      ->type_name("NAME");
  command
      .add_option("--wait", flags.wait,
                  "Wait so long for the workers' answers; exit 1 when one cannot load the version")
      ->type_name("TIME");
}

void AddVersionFlags(CLI::App& command, EventFlags& flags) {
  command.add_option("--uri", flags.uri,
                     "Where the model file is; without it the workers' own repository has it");
  command.add_option("--sha256", flags.sha256,
                     "Its digest; with --models DIR that of the file there is taken");
}

void RegisterPromote(CLI::App& models, CommandTable& table) {
  CLI::App* const promote = models.add_subcommand(
      "promote", "Make a version serve in all workers, now and later, without a restart");
  auto flags = std::make_shared<EventFlags>();
  promote->add_option("MODEL", flags->model, "model_id")->required();
  promote->add_option("VERSION", flags->version, "The version")->required();
  AddVersionFlags(*promote, *flags);
  CLI::Option* const canary =
      promote
          ->add_option("--canary", flags->canary,
                       "For so many percent of the keys only, always the same; 0 ends it")
          ->type_name("PERCENT")
          ->check(CLI::Range(0.0, 100.0));
  promote
      ->add_flag("--shadow", flags->shadow,
                 "Run it beside the one that serves; nobody gets its results for an answer")
      ->excludes(canary);
  AddCommonFlags(*promote, *flags);
  promote->footer(
      "Examples:\n"
      "  millrace models promote fraud 7 -b broker:9092 --models ./models --wait 30s\n"
      "  millrace models promote fraud 7 --canary 10 --data ./log\n"
      "  millrace models promote fraud 7 -b broker:9092 --uri s3://models/fraud/7/model.onnx "
      "--sha256 HEX");
  table.commands.emplace_back(promote, [flags](CommandContext& context) {
    const ModelAction action = flags->canary >= 0 ? ModelAction::kCanary
                               : flags->shadow    ? ModelAction::kShadow
                                                  : ModelAction::kPromote;
    return Publish(context, *flags, action);
  });
}

}  // namespace

void RegisterModelEvents(CLI::App& models, CommandTable& table) {
  RegisterPromote(models, table);
  CLI::App* const rollback = models.add_subcommand(
      "rollback", "Make the version serve again that did before, or the one that is named");
  auto back = std::make_shared<EventFlags>();
  rollback->add_option("MODEL", back->model, "model_id")->required();
  rollback->add_option("VERSION", back->version, "The version; without one, that before the last");
  AddVersionFlags(*rollback, *back);
  AddCommonFlags(*rollback, *back);
  rollback->footer("Examples:\n  millrace models rollback fraud -b broker:9092 --wait 30s");
  table.commands.emplace_back(rollback, [back](CommandContext& context) {
    return Publish(context, *back, ModelAction::kRollback);
  });

  CLI::App* const retire = models.add_subcommand(
      "retire",
      "End a canary or a shadow; without VERSION, or with the one that serves, end the model: its "
      "requests become dead letters");
  auto end = std::make_shared<EventFlags>();
  retire->add_option("MODEL", end->model, "model_id")->required();
  retire->add_option("VERSION", end->version, "The version");
  AddCommonFlags(*retire, *end);
  retire->footer("Examples:\n  millrace models retire fraud 7 -b broker:9092");
  table.commands.emplace_back(retire, [end](CommandContext& context) {
    return Publish(context, *end, ModelAction::kRetire);
  });

  CLI::App* const status = models.add_subcommand(
      "status", "What shall serve by the events, and how each worker has got on with it");
  auto model = std::make_shared<std::string>();
  status->add_option("MODEL", *model, "Of this model only");
  status->footer(
      "Examples:\n"
      "  millrace models status -b broker:9092\n"
      "  millrace models status fraud --data ./log -o json");
  table.commands.emplace_back(
      status, [model](CommandContext& context) { return ShowStatus(context, *model); });
}

}  // namespace millrace
