#include "app/model_loader.h"

#include <algorithm>
#include <filesystem>
#include <utility>

#include "app/model_admission.h"
#include "app/model_outputs.h"
#include "config/manifest_reader.h"
#include "models/digest.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

BatchPolicy PolicyOf(const AllOptions& options, const ModelOptions& model) {
  BatchPolicy policy;
  policy.max_rows =
      static_cast<std::size_t>(model.max_rows > 0 ? model.max_rows : options.batch.max_rows);
  policy.max_wait = model.max_wait >= Millis(0) ? model.max_wait : options.batch.max_wait;
  policy.adaptive = options.batch.adaptive;
  policy.weight = static_cast<double>(model.priority) / ModelOptions::kDefaultPriority;
  policy.threads = static_cast<std::size_t>(model.intra_op_threads);
  return policy;
}

// A session holds the weights, packed for the processor beside the graph.
std::size_t ExpectedFootprint(const ModelVersion& version) {
  constexpr std::size_t kAnySession = 1 << 20;
  constexpr std::size_t kOfFile = 2;
  return kAnySession + kOfFile * static_cast<std::size_t>(version.bytes);
}

Status NoRepository() {
  return {StatusCode::kConfiguration,
          "no model repository: set repository.dir, or pass --models DIR"};
}

// What serves by itself: the pinned version, or the newest.
const ModelVersion* ChooseVersion(const std::vector<ModelVersion>& versions,
                                  const std::string& pinned) {
  if (pinned.empty()) return &versions.back();
  const auto found =
      std::find_if(versions.begin(), versions.end(),
                   [&pinned](const ModelVersion& version) { return version.version == pinned; });
  return found == versions.end() ? nullptr : &*found;
}

Status PinnedIsMissing(const std::vector<ModelVersion>& versions, const std::string& pinned) {
  return {StatusCode::kConfiguration,
          "models." + versions.back().model_id + ".version pins '" + pinned +
              "', which the repository does not have; the newest there is '" +
              versions.back().version + "'"};
}

// What has no name of its own is called after its folder, or after its file and its bytes.
std::string VersionNameOf(const std::string& uri, const std::string& sha256) {
  constexpr std::size_t kDigestPart = 8;
  fs::path path(uri);
  if (!path.has_filename()) path = path.parent_path() / "model.onnx";
  if (path.stem() == "model") return path.parent_path().filename().string();
  return path.stem().string() + "-" + sha256.substr(0, kDigestPart);
}

std::string VersionNames(const std::vector<ModelVersion>& versions) {
  std::string names;
  for (const ModelVersion& version : versions) {
    names += (names.empty() ? "" : ", ") + version.version;
  }
  return names;
}

}  // namespace

Result<Engine*> EngineSet::Get(const std::string& name) {
  if (name == kTestEngine) {
    if (test_ == nullptr) test_ = NewTestEngine();
    return test_.get();
  }
  if (onnx_ == nullptr) {
    Result<std::unique_ptr<Engine>> opened = OpenOnnxRuntime(options_);
    if (!opened.ok()) return opened.status();
    onnx_ = std::move(opened).value();
  }
  return onnx_.get();
}

std::string EngineSet::OnnxRuntimeVersion() const {
  return onnx_ == nullptr ? "none" : onnx_->Version();
}

Result<std::vector<ModelToServe>> LoadModels(EngineSet& engines, const AllOptions& options) {
  ModelLoader loader(engines, options);
  loader.Prepare();
  const auto defaults = loader.Defaults();
  if (!defaults.ok()) return defaults.status();
  if (defaults->empty()) {
    return Status(StatusCode::kConfiguration, "the repository '" + options.repository.dir +
                                                  "' holds no model; expected DIR/<model_id>/"
                                                  "<version>/model.onnx");
  }
  std::vector<ModelToServe> models;
  for (const auto& [id, spec] : *defaults) {
    Result<ModelToServe> model = loader.Load(id, spec, [](ModelState) {});
    if (!model.ok()) return model.status();
    models.push_back(std::move(model).value());
  }
  return models;
}

bool ModelLoader::Pinned(const std::string& model_id) const {
  const auto configured = options_.models.find(model_id);
  return configured != options_.models.end() && configured->second.pinned;
}

std::string ModelLoader::PinOf(const std::string& model_id) const {
  const auto configured = options_.models.find(model_id);
  return configured == options_.models.end() ? "" : configured->second.version;
}

Result<std::vector<VersionLoader::Default>> ModelLoader::Defaults() {
  const std::string& dir = options_.repository.dir;
  if (dir.empty() && !options_.repository.store.empty()) return std::vector<Default>();
  if (dir.empty()) return NoRepository();
  const Result<RepositoryListing> listing = ScanRepository(dir, ReadModelManifest);
  if (!listing.ok()) return listing.status();
  for (const std::string& warning : listing->warnings) {
    LogEvent(LogLevel::kWarn, "repository_warning", warning);
  }
  std::vector<Default> defaults;
  for (const auto& [id, versions] : listing->models) {
    const ModelVersion* const version = ChooseVersion(versions, PinOf(id));
    if (version == nullptr) return PinnedIsMissing(versions, PinOf(id));
    defaults.push_back({id, {version->version, "", ""}});
  }
  return defaults;
}

Result<std::optional<VersionSpec>> ModelLoader::DefaultOf(const std::string& model_id) {
  if (options_.repository.dir.empty()) return std::optional<VersionSpec>();
  const Result<RepositoryListing> listing =
      ScanRepository(options_.repository.dir, ReadModelManifest, model_id);
  if (!listing.ok()) return listing.status();
  const auto found = listing->models.find(model_id);
  if (found == listing->models.end()) return std::optional<VersionSpec>();
  const ModelVersion* const version = ChooseVersion(found->second, PinOf(model_id));
  if (version == nullptr) return PinnedIsMissing(found->second, PinOf(model_id));
  return std::optional<VersionSpec>(VersionSpec{version->version, "", ""});
}

// A file that an event names, wherever it is: brought here, verified.
Result<ModelVersion> ModelLoader::FetchVersion(const std::string& model_id, const VersionSpec& spec,
                                               const Report& report, CachePin* pin) {
  report(ModelState::kDownloading);
  Result<StoredModel> stored = store_.Fetch({model_id, spec.version, spec.uri, spec.sha256});
  if (!stored.ok()) return stored.status();
  *pin = std::move(stored->pin);
  ModelVersion version;
  version.model_id = model_id;
  version.path = stored->path;
  version.bytes = stored->bytes;
  version.sha256 = stored->sha256;
  version.manifest_path = stored->manifest_path;
  if (fs::path(stored->path).extension() == ".test") version.engine = kTestEngine;
  version.version = spec.version.empty() ? VersionNameOf(spec.uri, stored->sha256) : spec.version;
  if (!IsValidModelId(version.version)) {
    return Status(StatusCode::kInvalidArgument,
                  "'" + spec.uri + "' does not make the name of a version; name one");
  }
  if (version.manifest_path.empty()) return version;
  Result<ModelManifest> manifest = ReadModelManifest(version.manifest_path);
  if (!manifest.ok()) return manifest.status();
  version.description = std::move(manifest->description);
  version.labels = std::move(manifest->labels);
  version.provenance = std::move(manifest->provenance);
  version.outputs = std::move(manifest->outputs);
  version.threshold = manifest->threshold;
  version.mask = std::move(manifest->mask);
  return version;
}

// With keys that are trusted, what lies in the folder has to be signed, too.
Status ModelLoader::VerifySignature(ModelVersion* version) {
  if (options_.repository.trusted_keys.empty()) return {};
  Result<std::string> digest = Sha256OfFile(version->path);
  if (!digest.ok()) return digest.status();
  version->sha256 = *digest;
  return store_.VerifySigned(version->path, version->manifest_path, *digest);
}

Result<ModelVersion> ModelLoader::Find(const std::string& model_id, const VersionSpec& spec) {
  if (options_.repository.dir.empty()) return NoRepository();
  const Result<RepositoryListing> listing =
      ScanRepository(options_.repository.dir, ReadModelManifest, model_id);
  if (!listing.ok()) return listing.status();
  const auto found = listing->models.find(model_id);
  if (found == listing->models.end()) {
    return Status(StatusCode::kNotFound, "model '" + model_id + "' is not in the repository '" +
                                             options_.repository.dir +
                                             "', and the event names no uri");
  }
  const ModelVersion* const version = ChooseVersion(found->second, spec.version);
  if (version != nullptr) return *version;
  return Status(StatusCode::kNotFound, "model '" + model_id + "' has no version '" + spec.version +
                                           "' in the repository; it has " +
                                           VersionNames(found->second));
}

Result<ModelToServe> ModelLoader::Load(const std::string& model_id, const VersionSpec& spec,
                                       const Report& report) {
  if (cancelled_.load()) return Status(StatusCode::kCancelled, "stopped");
  CachePin pin;  // Until it is loaded.
  Result<ModelVersion> version =
      spec.uri.empty() ? Find(model_id, spec) : FetchVersion(model_id, spec, report, &pin);
  if (!version.ok()) return version.status();
  if (spec.uri.empty()) MILLRACE_RETURN_IF_ERROR(VerifySignature(&*version));
  if (!spec.sha256.empty()) version->sha256 = spec.sha256;  // Loading refuses other bytes.
  return LoadVersion(*version, report);
}

// Of all that will be loaded at the start, as many at a time as there are processors.
void ModelLoader::Prepare() {
  const auto listing = ScanRepository(options_.repository.dir, ReadModelManifest);
  if (!listing.ok()) return;  // Whoever loads tells.
  ModelAdmission admission(engines_, options_, &cancelled_);
  admission.LogVerdicts();
  admission.Prepare(*listing);
}

Result<ModelToServe> ModelLoader::LoadVersion(const ModelVersion& version, const Report& report) {
  const auto configured = options_.models.find(version.model_id);
  const ModelOptions model =
      configured == options_.models.end() ? ModelOptions() : configured->second;
  ModelToServe serve;
  serve.policy = PolicyOf(options_, model);
  serve.run_limit = model.timeout;
  serve.footprint = ExpectedFootprint(version);
  serve.pinned = model.pinned;
  const Result<Engine*> engine = engines_.Get(version.engine);
  if (!engine.ok()) return engine.status();
  ModelAdmission admission(engines_, options_, &cancelled_);
  if (options_.repository.probe.enabled) {
    report(ModelState::kProbing);
    admission.LogVerdicts();
    MILLRACE_RETURN_IF_ERROR(admission.Admit(version));
    const Result<ProbeVerdict> verdict = admission.Verdict(version);
    if (verdict.ok() && verdict->footprint_bytes > 0) {
      serve.footprint = static_cast<std::size_t>(verdict->footprint_bytes);
    }
  }
  report(ModelState::kWarming);
  Result<std::shared_ptr<const LoadedModel>> loaded =
      LoadModel(**engine, version, SessionOptionsFor(options_, version.model_id));
  if (!loaded.ok()) return loaded.status();
  MILLRACE_RETURN_IF_ERROR(admission.Confirm(**loaded));
  serve.loaded = std::move(loaded).value();
  Result<std::shared_ptr<const OutputMapping>> outputs = BindModelOutputs(model, *serve.loaded);
  if (!outputs.ok()) return outputs.status();
  serve.outputs = std::move(outputs).value();
  LogEvent(LogLevel::kInfo, "model_loaded", "model loaded and warm",
           {{"model", version.model_id},
            {"version", version.version},
            {"sha256", serve.loaded->ref.sha256.substr(0, 12)},
            {"ms", serve.loaded->load_time.count()}});
  return serve;
}

}  // namespace millrace
