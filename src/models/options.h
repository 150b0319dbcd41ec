// Settings of the model repository, and what a model.yaml says.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/settings.h"
#include "base/status.h"

namespace millrace {

// What a model may take while it is probed, and what its file may hold (repository.probe.*).
struct ProbeLimits {
  bool enabled = true;
  // Of memory, besides four times the size of the file: what loading and running may add.
  std::int64_t memory_bytes = std::int64_t{2} << 30;
  Millis time{60'000};                                   // For all of it.
  std::int64_t max_bytes = (std::int64_t{1} << 31) - 1;  // Of the file.
  std::int64_t max_nodes = 1'000'000;
  std::string allow_domains;  // Of operators, separated by commas.
};

struct RepositoryOptions {
  std::string dir;        // repository.dir; --models DIR
  std::string cache_dir;  // Empty: $XDG_CACHE_HOME/millrace/models or ~/.cache/millrace/models.
  Millis allow_missing_for{0};
  ProbeLimits probe;
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
};

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
