#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "app/cmd_models.h"
#include "app/command.h"
#include "app/model_admission.h"
#include "app/text_table.h"
#include "app/worker_host.h"
#include "codec/json_writer.h"

namespace millrace {
namespace {

struct ProbeFlags {
  std::string name;
  bool all = false;
  bool again = false;
};

struct Probed {
  ModelVersion version;
  Result<ProbeVerdict> verdict;

  bool accepted() const { return verdict.ok() && verdict->accepted; }
  std::string reason() const {
    return verdict.ok() ? verdict->reason : std::string(verdict.status().message());
  }
};

void PrintJson(const std::vector<Probed>& probed, const std::vector<std::string>& warnings) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Key("models").BeginArray();
  for (const Probed& one : probed) {
    json.BeginObject().Member("model_id", one.version.model_id);
    json.Member("version", one.version.version).Member("path", one.version.path);
    json.Member("verdict", one.accepted() ? "accepted" : one.verdict.ok() ? "rejected" : "none");
    json.Member("reason", one.reason());
    if (one.verdict.ok()) {
      const ProbeVerdict& verdict = *one.verdict;
      json.Member("may_pass", verdict.may_pass).Member("sha256", verdict.sha256);
      json.Member("fingerprint", verdict.fingerprint);
      json.Member("determinism", DeterminismName(verdict.determinism));
      json.Member("footprint_bytes", verdict.footprint_bytes);
      json.Member("load_ms", verdict.load_time.count());
      json.Member("golden_rows", verdict.golden_rows);
      json.Member("confinement", verdict.confinement);
      json.Member("probed_at", verdict.probed_at).Member("kept", verdict.from_store);
    }
    json.EndObject();
  }
  json.EndArray().Key("warnings").BeginArray();
  for (const std::string& warning : warnings) json.Value(warning);
  json.EndArray().EndObject();
  fmt::print("{}\n", out);
}

void PrintTable(const std::vector<Probed>& probed) {
  TextTable table({{.name = "MODEL"},
                   {.name = "VERSION"},
                   {.name = "VERDICT"},
                   {.name = "ANSWERS"},
                   {.name = "MEMORY", .right = true},
                   {.name = "LOAD MS", .right = true},
                   {.name = "GOLDEN", .right = true},
                   {.name = "REASON"}});
  for (const Probed& one : probed) {
    std::vector<std::string> cells = {one.version.model_id, one.version.version};
    if (one.accepted()) {
      const ProbeVerdict& verdict = *one.verdict;
      cells.insert(cells.end(),
                   {"accepted", std::string(DeterminismName(verdict.determinism)),
                    Grouped(verdict.footprint_bytes), Grouped(verdict.load_time.count()),
                    verdict.golden_rows > 0 ? Grouped(verdict.golden_rows) : ""});
    } else {
      cells.insert(cells.end(), {one.verdict.ok() ? "rejected" : "none", "", "", "", ""});
    }
    cells.push_back(one.reason());
    table.Add(std::move(cells));
  }
  fmt::print("{}", table.Take());
}

int ProbeModels(CommandContext& context, const ProbeFlags& flags) {
  if (flags.all != flags.name.empty()) {
    return Fail(context.command, {StatusCode::kInvalidArgument,
                                  "name a model, MODEL or MODEL:VERSION, or give --all"});
  }
  const auto listing = ScanModels(context);
  if (!listing.ok()) return Fail(context.command, listing.status());
  std::vector<ModelVersion> versions;
  if (flags.all) {
    versions = AllVersions(*listing);
  } else {
    const auto version = NamedVersion(*listing, context.options, flags.name);
    if (version.ok()) {
      versions.push_back(*version);
    } else {
      // What is in the folder and was passed over is not a model, and the warning says why.
      fmt::print(stderr, "millrace {}: {}\n", context.command, version.status().message());
    }
  }
  EngineSet engines(context.options.runtime);
  ModelAdmission admission(engines, context.options);
  if (flags.again) admission.AskAgain();
  admission.Prepare(versions);
  std::vector<Probed> probed;
  for (const ModelVersion& version : versions) {
    probed.push_back({version, admission.Verdict(version)});
  }
  if (context.output == OutputFormat::kJson) {
    PrintJson(probed, listing->warnings);
  } else if (!probed.empty()) {
    PrintTable(probed);
  }
  for (const std::string& warning : listing->warnings) {
    fmt::print(stderr, "warning: {}\n", Printable(warning));
  }
  const bool good =
      std::all_of(probed.begin(), probed.end(), [](const Probed& one) { return one.accepted(); });
  return good && (flags.all || !probed.empty()) ? kExitOk : kExitFailure;
}

}  // namespace

void RegisterModelsProbe(CLI::App& models, CommandTable& table) {
  CLI::App* const probe = models.add_subcommand("probe",
                                                "Try versions in a process of their own, with "
                                                "limits, and say whether a worker may serve them");
  auto flags = std::make_shared<ProbeFlags>();
  probe->add_option("MODEL", flags->name,
                    "model_id, or model_id:version; without one, that which serves");
  probe->add_flag("--all", flags->all, "Every version of every model");
  probe->add_flag("--again", flags->again, "Ask anew, also where a verdict was kept");
  probe->footer(
      "Examples:\n"
      "  millrace models probe fraud --models ./models\n"
      "  millrace models probe fraud:3 --models ./models --again -o json\n"
      "  millrace models probe --all --models ./models\n"
      "\n"
      "Exit code 1 when a version is rejected. ANSWERS says whether a row's answer depends on its\n"
      "batch: exact (never), close (in the last digits), varies.");
  table.commands.emplace_back(
      probe, [flags](CommandContext& context) { return ProbeModels(context, *flags); });
}

}  // namespace millrace
