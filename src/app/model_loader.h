// Loads model versions for a worker: from the folder of the settings, into an engine, ready to run.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "app/options.h"
#include "config/manifest_reader.h"
#include "models/model_store.h"
#include "models/repository.h"
#include "pipeline/model_table.h"
#include "pipeline/version_loader.h"
#include "runtime/engine.h"

namespace millrace {

// Engines by name, opened when first asked for; live for the whole process.
class EngineSet {
 public:
  explicit EngineSet(const RuntimeOptions& options) : options_(options) {}
  Result<Engine*> Get(const std::string& name);
  // Version of ONNX Runtime, or "none" while it is not loaded.
  std::string OnnxRuntimeVersion() const;

 private:
  const RuntimeOptions options_;
  std::unique_ptr<Engine> onnx_;
  std::unique_ptr<Engine> test_;
};

// Loads the serving version of every model of the repository that the settings do not forbid.
// A model that cannot be loaded is an error: a worker that starts without it would turn its
// requests into dead letters.
Result<std::vector<ModelToServe>> LoadModels(EngineSet& engines, const AllOptions& options);

// `engines` and `options` must outlive it.
class ModelLoader final : public VersionLoader {
 public:
  ModelLoader(EngineSet& engines, const AllOptions& options)
      : engines_(engines),
        options_(options),
        store_(options.repository, SystemClock(), ReadModelManifest) {}

  Result<ModelToServe> Load(const std::string& model_id, const VersionSpec& spec,
                            const Report& report) override;
  // kConfiguration without a folder; one that holds no model is fine here. Any thread.
  Result<std::vector<Default>> Defaults() override;
  Result<std::optional<VersionSpec>> DefaultOf(const std::string& model_id) override;
  void Prepare() override;
  bool Pinned(const std::string& model_id) const override;
  void Cancel() override {
    cancelled_.store(true);
    store_.Cancel();
  }

 private:
  // Where the version is on this machine.
  Result<ModelVersion> Find(const std::string& model_id, const VersionSpec& spec);
  Result<ModelVersion> FetchVersion(const std::string& model_id, const VersionSpec& spec,
                                    const Report& report, CachePin* pin);
  Status VerifySignature(ModelVersion* version);
  // Probes it, unless it has its verdict, and loads it.
  Result<ModelToServe> LoadVersion(const ModelVersion& version, const Report& report);
  std::string PinOf(const std::string& model_id) const;

  EngineSet& engines_;
  const AllOptions& options_;
  ModelStore store_;
  std::atomic<bool> cancelled_{false};
};

}  // namespace millrace
