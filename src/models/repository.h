// Repository: the models in a folder, by id and version, and what is loaded of them.
//
//   DIR/<model_id>/<version>/model.onnx   with model.yaml beside it or beside the version folders
//   DIR/<model_id>.onnx                   version "1"
//
// A model.yaml beside the model file replaces the one beside the version folders as a whole. In the
// place of model.onnx there may be a model.test, which the test engine runs. Names that begin with
// a dot are passed over; a symbolic link may lead elsewhere inside DIR, never out of it.
//
// Scan only looks; Load opens. A LoadedModel is immutable and shared: whoever runs a batch holds it
// by shared_ptr, so that a newer version can take its place at a batch boundary. Ids match
// [A-Za-z0-9][A-Za-z0-9._-]{0,127}; anything else in the folder is reported, never followed.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "models/options.h"
#include "runtime/engine.h"
#include "types/tensor.h"

namespace millrace {

bool IsValidModelId(std::string_view id);

// Names of engines.
inline constexpr std::string_view kOnnxRuntimeEngine = "onnxruntime";
inline constexpr std::string_view kTestEngine = "test";

struct ModelVersion {
  std::string model_id;
  std::string version;
  std::string path;  // Of the model file.
  std::int64_t bytes = 0;
  std::string description;  // From model.yaml.
  std::vector<std::string> labels;
  std::string provenance;
  std::string engine{kOnnxRuntimeEngine};
  std::string manifest_path;  // Of the model.yaml that holds for it; empty without one.
  std::string sha256;         // That its file has to have, from model.yaml; empty: any.
  std::string outputs;        // Named fields of the results, from model.yaml.
  std::optional<double> threshold;
  std::string mask;  // From model.yaml.
};

// Whether version `a` is older than `b`. Numbers in numeric order, other names in lexicographic
// order; every other name is older than every number, so that a folder like "backup" or "draft"
// beside numbered versions never starts to serve by itself.
bool OlderVersion(std::string_view a, std::string_view b);

// Beyond this many warnings a scan only counts.
inline constexpr std::size_t kMaxScanWarnings = 100;

struct RepositoryListing {
  // By model id; versions oldest first (OlderVersion), so back() serves.
  std::map<std::string, std::vector<ModelVersion>> models;
  std::vector<std::string> warnings;  // What was found and not understood: path and why.
};

// kNotFound when the folder does not exist; with `only`, looks at this model alone. A version whose
// model.yaml cannot be read is not listed but warned of: without it neither its engine nor its
// labels are known.
Result<RepositoryListing> ScanRepository(const std::string& dir,
                                         const ManifestReader& read_manifest,
                                         const std::string& only = "");

struct LoadedModel {
  ModelRef ref;
  ModelVersion source;
  std::unique_ptr<Session> session;
  Millis load_time{0};
  bool has_sound_row = true;   // False: no row is known that the model does not fail with.
  int sound_value = 0;         // Rows of this number have been run: 0 or 1.
  std::int64_t sound_dim = 1;  // With this many in each open dimension of their inputs.
  // About what one result takes once it is encoded, as the warm-up's outputs tell.
  std::size_t outcome_bytes = 0;
};

// Whether the model still runs what it ran when it was loaded: one row, in a runner of its session.
Status TrySoundRow(const LoadedModel& model, Runner& runner);

// Digest, load and a warm-up run of `version` in every batch bucket, with rows of zeros; with rows
// of ones if those fail, for not every model takes zeros. An error when both fail. `engine` is the
// one that version.engine names. Errors carry id, version and path. Slow; not for the data plane.
Result<std::shared_ptr<const LoadedModel>> LoadModel(Engine& engine, const ModelVersion& version,
                                                     const SessionOptions& options);

}  // namespace millrace
