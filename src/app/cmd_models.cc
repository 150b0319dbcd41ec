#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <memory>
#include <string>
#include <vector>

#include "app/cmd_models.h"
#include "app/cmd_models_fetch.h"
#include "app/command.h"
#include "app/model_admission.h"
#include "app/model_outputs.h"
#include "app/text_table.h"
#include "app/worker_host.h"
#include "codec/json_writer.h"
#include "config/manifest_reader.h"
#include "models/digest.h"
#include "models/repository.h"

namespace millrace {
namespace {

struct Listed {
  ModelVersion version;
  bool serves = false;
  std::string sha256;  // Empty when the file could not be read; `check` says why.
  std::string check;   // "ok", or why not; empty when it was not asked for.
  bool failed = false;
};

struct Loaded {
  std::shared_ptr<const LoadedModel> model;
  std::shared_ptr<const OutputMapping> outputs;  // Null: results hold the outputs as they are.
};

// Loads `version` as a worker would.
Result<Loaded> Load(EngineSet& engines, ModelAdmission& admission, const ModelVersion& version,
                    const AllOptions& options) {
  auto engine = engines.Get(version.engine);
  if (!engine.ok()) return engine.status();
  MILLRACE_RETURN_IF_ERROR(admission.Admit(version));
  Loaded loaded;
  auto found = LoadModel(**engine, version, SessionOptionsFor(options, version.model_id));
  if (!found.ok()) return found.status();
  loaded.model = std::move(found).value();
  const auto configured = options.models.find(version.model_id);
  auto outputs = BindModelOutputs(
      configured == options.models.end() ? ModelOptions() : configured->second, *loaded.model);
  if (!outputs.ok()) return outputs.status();
  loaded.outputs = std::move(outputs).value();
  return loaded;
}

std::vector<Listed> ListVersions(const RepositoryListing& listing, const AllOptions& options,
                                 bool check) {
  EngineSet engines(options.runtime);
  ModelAdmission admission(engines, options);
  if (check) admission.Prepare(AllVersions(listing));
  std::vector<Listed> listed;
  for (const auto& [id, versions] : listing.models) {
    const std::string serving = ServingVersion(versions, options);
    for (const ModelVersion& version : versions) {
      Listed entry;
      entry.version = version;
      entry.serves = version.version == serving;
      auto digest = Sha256OfFile(version.path);
      if (digest.ok()) entry.sha256 = std::move(digest).value();
      Status status = digest.status();
      if (check && status.ok()) status = Load(engines, admission, version, options).status();
      entry.failed = !status.ok();
      entry.check = entry.failed ? std::string(status.message()) : check ? "ok" : "";
      listed.push_back(std::move(entry));
    }
  }
  return listed;
}

void PrintJson(const std::vector<Listed>& listed, const RepositoryListing& listing) {
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Key("models").BeginArray();
  for (const Listed& entry : listed) {
    const ModelVersion& version = entry.version;
    json.BeginObject().Member("model_id", version.model_id).Member("version", version.version);
    json.Member("serving", entry.serves).Member("path", version.path);
    json.Member("bytes", version.bytes).Member("sha256", entry.sha256);
    json.Member("engine", version.engine).Member("description", version.description);
    json.Key("labels").BeginArray();
    for (const std::string& label : version.labels) json.Value(label);
    json.EndArray();
    if (!entry.check.empty()) json.Member("check", entry.check);
    json.EndObject();
  }
  json.EndArray().Key("warnings").BeginArray();
  for (const std::string& warning : listing.warnings) json.Value(warning);
  json.EndArray().EndObject();
  fmt::print("{}\n", out);
}

void PrintTable(const std::vector<Listed>& listed, bool check) {
  std::vector<TextTable::Column> columns = {
      {.name = "MODEL"},   {.name = "VERSION"},
      {.name = "SERVING"}, {.name = "SIZE", .right = true},
      {.name = "SHA256"},  {.name = "DESCRIPTION", .max_width = 60}};
  if (check) columns.push_back({.name = "CHECK"});
  TextTable table(std::move(columns));
  for (const Listed& entry : listed) {
    const ModelVersion& version = entry.version;
    std::vector<std::string> cells = {version.model_id,           version.version,
                                      entry.serves ? "yes" : "",  Grouped(version.bytes),
                                      entry.sha256.substr(0, 12), version.description};
    if (check) cells.push_back(entry.check);
    table.Add(std::move(cells));
  }
  fmt::print("{}", table.Take());
}

void PrintTensors(JsonWriter& json, const char* name, const std::vector<TensorSpec>& tensors) {
  json.Key(name).BeginArray();
  for (const TensorSpec& tensor : tensors) {
    json.BeginObject().Member("name", tensor.name);
    json.Member("type", ElementTypeName(tensor.type)).Key("shape").BeginArray();
    for (const std::int64_t dim : tensor.shape) json.Value(dim);
    json.EndArray();
    if (!tensor.labels.empty()) {
      json.Key("labels").BeginArray();
      for (const std::string& label : tensor.labels) json.Value(label);
      json.EndArray();
    }
    json.EndObject();
  }
  json.EndArray();
}

void PrintModelJson(const LoadedModel& model, const OutputMapping* mapping, bool serves) {
  const ModelSignature& signature = model.session->signature();
  std::string out;
  JsonWriter json(out);
  json.BeginObject().Member("model_id", model.ref.model_id).Member("version", model.ref.version);
  json.Member("serving", serves).Member("path", model.source.path);
  json.Member("bytes", model.source.bytes).Member("sha256", model.ref.sha256);
  json.Member("engine", model.source.engine).Member("description", model.source.description);
  json.Member("load_ms", model.load_time.count()).Member("fixed_batch", signature.fixed_batch);
  PrintTensors(json, "inputs", signature.inputs);
  PrintTensors(json, "outputs", signature.outputs);
  json.Key("fields").BeginArray();
  if (mapping != nullptr) {
    for (const MappedField& field : mapping->fields) {
      json.BeginObject().Member("name", field.name).Member("type", field.type);
      json.Member("from", field.text).EndObject();
    }
  }
  json.EndArray();
  if (mapping != nullptr) json.Member("threshold", mapping->threshold);
  json.EndObject();
  fmt::print("{}\n", out);
}

void PrintFields(const OutputMapping& mapping) {
  TextTable table({{.name = ""}, {.name = "NAME"}, {.name = "TYPE"}, {.name = "FROM"}});
  for (const MappedField& field : mapping.fields) {
    table.Add({"field", field.name, field.type, field.text});
  }
  fmt::print("\nIts results hold (threshold {}):\n{}", mapping.threshold, table.Take());
}

void PrintModelTable(const LoadedModel& model, const OutputMapping* mapping, bool serves) {
  const ModelSignature& signature = model.session->signature();
  const ModelVersion& source = model.source;
  fmt::print("{}:{}{}\n", source.model_id, source.version, serves ? ", serving" : "");
  if (!source.description.empty()) fmt::print("{}\n", Printable(source.description));
  fmt::print("{}, {} bytes, sha256 {}\nloaded by {} in {} ms; {}\n\n", source.path,
             Grouped(source.bytes), model.ref.sha256, source.engine, model.load_time.count(),
             signature.fixed_batch == 0 ? std::string("batches of any size")
                                        : fmt::format("batches of {}", signature.fixed_batch));
  TextTable table({{.name = ""},
                   {.name = "NAME"},
                   {.name = "TYPE"},
                   {.name = "SHAPE"},
                   {.name = "LABELS", .max_width = 60}});
  const auto add = [&table](const char* what, const TensorSpec& tensor) {
    std::string labels;
    for (const std::string& label : tensor.labels) labels += (labels.empty() ? "" : ", ") + label;
    table.Add({what, tensor.name, std::string(ElementTypeName(tensor.type)),
               ShapeText(tensor.shape), labels});
  };
  for (const TensorSpec& input : signature.inputs) add("input", input);
  for (const TensorSpec& output : signature.outputs) add("output", output);
  fmt::print("{}", table.Take());
  if (mapping != nullptr) PrintFields(*mapping);
}

int ShowModel(CommandContext& context, const std::string& name) {
  const auto listing = ScanModels(context);
  if (!listing.ok()) return Fail(context.command, listing.status());
  const auto version = NamedVersion(*listing, context.options, name);
  if (!version.ok()) return Fail(context.command, version.status());
  EngineSet engines(context.options.runtime);
  ModelAdmission admission(engines, context.options);
  const auto loaded = Load(engines, admission, *version, context.options);
  if (!loaded.ok()) return Fail(context.command, loaded.status());
  const bool serves =
      version->version == ServingVersion(listing->models.at(version->model_id), context.options);
  if (context.output == OutputFormat::kJson) {
    PrintModelJson(*loaded->model, loaded->outputs.get(), serves);
  } else {
    PrintModelTable(*loaded->model, loaded->outputs.get(), serves);
  }
  return kExitOk;
}

int ListModels(CommandContext& context, bool check) {
  const std::string& dir = context.options.repository.dir;
  const auto listing = ScanModels(context);
  if (!listing.ok()) return Fail(context.command, listing.status());
  const std::vector<Listed> listed = ListVersions(*listing, context.options, check);
  if (context.output == OutputFormat::kJson) {
    PrintJson(listed, *listing);
  } else {
    PrintTable(listed, check);
  }
  for (const std::string& warning : listing->warnings) {
    fmt::print(stderr, "warning: {}\n", Printable(warning));
  }
  int code = kExitOk;
  for (const Listed& entry : listed) {
    if (!entry.failed) continue;
    code = kExitFailure;
    if (!check) fmt::print(stderr, "warning: {}\n", Printable(entry.check));
  }
  if (listed.empty()) {
    fmt::print(stderr, "{} holds no model; expected {}/<model_id>/<version>/model.onnx\n", dir,
               dir);
  }
  return code;
}

}  // namespace

Result<RepositoryListing> ScanModels(const CommandContext& context) {
  const std::string& dir = context.options.repository.dir;
  if (!dir.empty()) return ScanRepository(dir, ReadModelManifest);
  return Status(StatusCode::kConfiguration,
                "no model repository: set repository.dir, or pass --models DIR");
}

std::vector<ModelVersion> AllVersions(const RepositoryListing& listing) {
  std::vector<ModelVersion> all;
  for (const auto& [id, versions] : listing.models) {
    all.insert(all.end(), versions.begin(), versions.end());
  }
  return all;
}

std::string ServingVersion(const std::vector<ModelVersion>& versions, const AllOptions& options) {
  const auto it = options.models.find(versions.back().model_id);
  if (it != options.models.end() && !it->second.version.empty()) return it->second.version;
  return versions.back().version;
}

Result<ModelVersion> NamedVersion(const RepositoryListing& listing, const AllOptions& options,
                                  const std::string& name) {
  const std::size_t colon = name.find(':');
  const std::string id = name.substr(0, colon);
  const auto found = listing.models.find(id);
  if (found == listing.models.end()) {
    return Status(StatusCode::kNotFound, "there is no model '" + Printable(id) +
                                             "' in the repository; see `millrace models list`");
  }
  const std::string wanted =
      colon == std::string::npos ? ServingVersion(found->second, options) : name.substr(colon + 1);
  std::string versions;
  for (const ModelVersion& version : found->second) {
    if (version.version == wanted) return version;
    versions += (versions.empty() ? "" : ", ") + version.version;
  }
  return Status(StatusCode::kNotFound, "model '" + id + "' has no version '" + Printable(wanted) +
                                           "'; it has " + versions);
}

void RegisterModels(CLI::App& root, CommandTable& table) {
  CLI::App* const models =
      root.add_subcommand("models", "Look at the model repository, and say which versions serve");
  models->require_subcommand(1);
  RegisterModelEvents(*models, table);
  CLI::App* const list =
      models->add_subcommand("list",
                             "List models and versions. The newest version serves unless "
                             "models.<id>.version pins another");
  auto check = std::make_shared<bool>(false);
  list->add_flag("--check", *check, "Load each one and say whether it can serve; exit 1 if not");
  list->footer(
      "Examples:\n"
      "  millrace models list --models ./models\n"
      "  millrace models list --models ./models --check\n"
      "  millrace models list --models ./models -o json");
  CLI::App* const show = models->add_subcommand(
      "show", "Load one model and show what it takes and gives: inputs, outputs, shapes, labels");
  auto name = std::make_shared<std::string>();
  show->add_option("MODEL", *name, "model_id, or model_id:version; without one, that which serves")
      ->required();
  show->footer(
      "Examples:\n"
      "  millrace models show fraud --models ./models\n"
      "  millrace models show fraud:3 --models ./models -o json");
  RegisterModelsFetch(*models, table);
  table.commands.emplace_back(
      show, [name](CommandContext& context) { return ShowModel(context, *name); });
  RegisterModelsProbe(*models, table);
  RegisterModelsVerify(*models, table);
  table.commands.emplace_back(
      list, [check](CommandContext& context) { return ListModels(context, *check); });
}

}  // namespace millrace
