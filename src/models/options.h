// Settings of the model repository, and what a model.yaml says.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/settings.h"
#include "base/status.h"
#include "runtime/options.h"

namespace millrace {

struct RepositoryOptions {
  std::string dir;  // repository.dir; --models DIR
  Millis allow_missing_for{0};
};

// Per model, under models.<id>.
struct ModelOptions {
  static constexpr std::int64_t kDefaultPriority = 100;

  std::int64_t max_rows = 0;  // 0: batch.max_rows.
  Millis max_wait{-1};        // Negative: batch.max_wait.
  std::int64_t intra_op_threads = 1;
  std::int64_t priority = kDefaultPriority;
  Millis timeout{30'000};  // 0: none.
  std::string version;     // Pins a version; empty: the newest.
  Provider provider = Provider::kCpu;
  std::int64_t device = 0;
  bool require_full_offload = false;
  Denormals denormals = Denormals::kKeep;
};

// How a model of these options is loaded, for batches of up to `max_rows`.
SessionOptions SessionOptionsOf(const ModelOptions& options, std::int64_t max_rows);

// A model.yaml: what the model file does not say about itself. Every key is optional.
struct ModelManifest {
  std::string description;
  std::vector<std::string> labels;  // Of the classes, in the order of the outputs.
  std::string provenance;           // Where data and model come from, for people.
  std::string engine;               // "onnxruntime" or "test"; empty: by the model file's name.
};

// Reads the model.yaml at the path; errors name file and line. Whoever knows YAML provides it.
using ManifestReader = std::function<Result<ModelManifest>(const std::string& path)>;

void DescribeSettings(SettingSet& set, RepositoryOptions& options);
void DescribeModelSettings(SettingSet& set, ModelOptions& options);

}  // namespace millrace
