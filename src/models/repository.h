// Repository: the models in a folder, by id and version, and what is loaded of them.
//
//   DIR/<model_id>/<version>/model.onnx   with model.yaml beside it or beside the version folders
//   DIR/<model_id>.onnx                   version "1"
//
// Scan only looks; Load opens. A LoadedModel is immutable and shared: whoever runs a batch holds it
// by shared_ptr, so that a newer version can take its place at a batch boundary. Ids match
// [A-Za-z0-9][A-Za-z0-9._-]{0,127}; anything else in the folder is reported, never followed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "models/options.h"
#include "runtime/engine.h"
#include "types/tensor.h"

namespace millrace {

bool IsValidModelId(std::string_view id);

struct ModelVersion {
  std::string model_id;
  std::string version;
  std::string path;         // Of the model file.
  std::int64_t bytes = 0;
  std::string description;  // From model.yaml.
  std::vector<std::string> labels;
  std::string engine = "onnxruntime";  // model.yaml `engine: test` names the test engine.
};

struct RepositoryListing {
  // By model id; versions oldest first (numeric order, else lexicographic), so back() serves.
  std::map<std::string, std::vector<ModelVersion>> models;
  std::vector<std::string> warnings;  // What was found and not understood: path and why.
};

// kNotFound when the folder does not exist.
Result<RepositoryListing> ScanRepository(const std::string& dir);

struct LoadedModel {
  ModelRef ref;
  ModelVersion source;
  std::unique_ptr<Session> session;
  Millis load_time{0};
};

// Digest, load and a warm-up run of `version`. Errors carry id, version and path.
Result<std::shared_ptr<const LoadedModel>> LoadModel(Engine& engine, const ModelVersion& version,
                                                     const SessionOptions& options);

}  // namespace millrace
