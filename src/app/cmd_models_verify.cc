// `models verify`: whether the files are what their digests, signatures and events say.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/cmd_models.h"
#include "app/command.h"
#include "app/local_topics.h"
#include "app/model_board.h"
#include "app/text_table.h"
#include "codec/json_writer.h"
#include "config/manifest_reader.h"
#include "models/digest.h"
#include "models/model_store.h"

namespace millrace {
namespace {

struct Verified {
  ModelVersion version;
  std::string sha256;   // Of the file; empty: it cannot be read.
  std::string against;  // What it was held against: "model.yaml", "signature", "event".
  std::string fault;    // Empty: none.
};

// Digests that events want, by "model:version".
using Wanted = std::map<std::string, std::string>;

Result<Wanted> ReadWanted(CommandContext& context) {
  auto log = OpenExistingLog(context);
  if (!log.ok()) return log.status();
  const auto board = ReadModelBoard(**log, context.options.transport.topics);
  if (!board.ok()) return board.status();
  Wanted wanted;
  for (const auto& [id, entry] : board->models) {
    for (const auto& spec : {entry.target.stable, entry.target.canary, entry.target.shadow}) {
      if (spec.has_value() && spec->uri.empty() && !spec->sha256.empty()) {
        wanted[id + ":" + spec->version] = spec->sha256;
      }
    }
  }
  return wanted;
}

Verified Verify(const ModelVersion& version, const ModelStore& store, bool keys,
                const Wanted& wanted) {
  Verified verified;
  verified.version = version;
  const Result<std::string> digest = Sha256OfFile(version.path);
  if (!digest.ok()) {
    verified.fault = digest.status().message();
    return verified;
  }
  verified.sha256 = *digest;
  const auto held = [&verified](const char* what) {
    verified.against += (verified.against.empty() ? "" : ", ") + std::string(what);
  };
  const auto fault = [&verified](std::string what) {
    if (verified.fault.empty()) verified.fault = std::move(what);
  };
  if (!version.sha256.empty()) {
    held("model.yaml");
    if (version.sha256 != *digest) fault(version.manifest_path + " says " + version.sha256);
  }
  if (keys) {
    held("signature");
    const Status is_signed = store.VerifySigned(version.path, version.manifest_path, *digest);
    if (!is_signed.ok()) fault(std::string(is_signed.message()));
  }
  const auto event = wanted.find(version.model_id + ":" + version.version);
  if (event != wanted.end()) {
    held("event");
    if (event->second != *digest) fault("the event wants " + event->second);
  }
  return verified;
}

void PrintJson(const std::vector<Verified>& all) {
  std::string out;
  JsonWriter json(out);
  bool ok = true;
  json.BeginObject().Key("models").BeginArray();
  for (const Verified& one : all) {
    ok = ok && one.fault.empty();
    json.BeginObject().Member("model_id", one.version.model_id);
    json.Member("version", one.version.version).Member("path", one.version.path);
    json.Member("sha256", one.sha256).Member("against", one.against);
    json.Member("ok", one.fault.empty()).Member("fault", one.fault).EndObject();
  }
  json.EndArray().Member("ok", ok).EndObject();
  fmt::print("{}\n", out);
}

void PrintTable(const std::vector<Verified>& all) {
  TextTable table({{.name = "MODEL"},
                   {.name = "VERSION"},
                   {.name = "SHA256"},
                   {.name = "HELD AGAINST"},
                   {.name = "RESULT", .max_width = 120}});
  for (const Verified& one : all) {
    table.Add({one.version.model_id, one.version.version, one.sha256.substr(0, 12),
               one.against.empty() ? "nothing" : one.against,
               one.fault.empty() ? "ok" : one.fault});
  }
  fmt::print("{}", table.Take());
}

int VerifyModels(CommandContext& context, const std::string& name, bool events) {
  const auto listing = ScanModels(context);
  if (!listing.ok()) return Fail(context.command, listing.status());
  std::vector<ModelVersion> versions = AllVersions(*listing);
  if (!name.empty()) {
    Result<ModelVersion> version = NamedVersion(*listing, context.options, name);
    if (!version.ok()) return Fail(context.command, version.status());
    versions = {std::move(version).value()};
  }
  Result<Wanted> wanted = events ? ReadWanted(context) : Result<Wanted>(Wanted());
  if (!wanted.ok()) return Fail(context.command, wanted.status());
  const ModelStore store(context.options.repository, SystemClock(), ReadModelManifest);
  const bool keys = !context.options.repository.trusted_keys.empty();
  std::vector<Verified> all;
  for (const ModelVersion& version : versions) {
    all.push_back(Verify(version, store, keys, *wanted));
  }
  if (context.output == OutputFormat::kJson) {
    PrintJson(all);
  } else {
    PrintTable(all);
  }
  for (const Verified& one : all) {
    if (!one.fault.empty()) return kExitViolations;
  }
  return kExitOk;
}

}  // namespace

void RegisterModelsVerify(CLI::App& models, CommandTable& table) {
  CLI::App* const verify = models.add_subcommand(
      "verify",
      "Hold each file against the digest in its model.yaml, its signature "
      "(repository.trusted_keys) and, with --events, the digest that its event wants; exit 5 when "
      "one is another");
  auto name = std::make_shared<std::string>();
  auto events = std::make_shared<bool>(false);
  verify->add_option("MODEL", *name, "model_id, or model_id:version; without it all versions");
  verify->add_flag("--events", *events, "Read the model events of the log, too");
  verify->footer(
      "Examples:\n"
      "  millrace models verify --models ./models\n"
      "  millrace models verify fraud --models ./models -s repository.trusted_keys=keys.pem\n"
      "  millrace models verify --models ./models --events -b broker:9092");
  table.commands.emplace_back(verify, [name, events](CommandContext& context) {
    return VerifyModels(context, *name, *events);
  });
}

}  // namespace millrace
