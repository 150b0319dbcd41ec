// Settings of the model repository and of the store that fills it, and what a model.yaml says.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/settings.h"
#include "base/status.h"
#include "runtime/options.h"

namespace millrace {

// How an S3-compatible store is reached, under repository.s3. What is empty comes from the
// environment, as AWS's own tools have it.
struct S3Options {
  std::string endpoint;
  std::string region;
  std::string access_key;
  std::string secret_key;
  std::string session_token;
  bool anonymous = false;
};

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
  std::string dir;         // repository.dir; --models DIR
  std::string store;       // Base of model URIs that are relative.
  std::string allow_dirs;  // Comma-separated, as the lists below.
  std::string allow_hosts;
  std::string cache_dir;  // Empty: DefaultCacheDir().
  std::int64_t cache_bytes = std::int64_t{10} << 30;
  std::int64_t max_model_bytes = std::int64_t{2} << 30;
  bool verify_digest = true;
  std::string trusted_keys;
  std::string ca_file;
  Millis connect_timeout{5'000};
  std::int64_t low_speed_bytes = 1 << 10;  // A second.
  Millis low_speed_time{30'000};
  Millis fetch_timeout{3'600'000};
  std::int64_t fetch_attempts = 5;
  S3Options s3;
  Millis allow_missing_for{0};
  std::string model_path_for;
  bool lazy = false;
  std::int64_t memory = 0;  // 0: no limit.
  ProbeLimits probe;
};

// Per model, under models.<id>.
struct ModelOptions {
  static constexpr double kMaxThreshold = 1e12;
  static constexpr std::int64_t kDefaultPriority = 100;

  std::int64_t max_rows = 0;  // 0: batch.max_rows.
  Millis max_wait{-1};        // Negative: batch.max_wait.
  std::int64_t intra_op_threads = 1;
  std::int64_t priority = kDefaultPriority;
  Millis timeout{30'000};           // 0: none.
  std::string version;              // Pins a version; empty: the newest.
  bool pinned = false;              // Loaded at start, and never unloaded to make room.
  std::string outputs;              // As codec/output_mapping.h has it; empty: the model.yaml's.
  std::optional<double> threshold;  // Empty: the model.yaml's.
  std::string mask;                 // As types/tensor.h has it; empty: the model.yaml's.
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
  std::string sha256;               // Of the model file, 64 lower-case hexadecimal digits.
  std::string outputs;              // Named fields of the results, as ModelOptions has them.
  std::optional<double> threshold;  // What `threshold` means in them.
  std::string mask;                 // Input that says which places of a row only pad it.
};

// Reads the model.yaml at the path; errors name file and line. Whoever knows YAML provides it.
using ManifestReader = std::function<Result<ModelManifest>(const std::string& path)>;

void DescribeSettings(SettingSet& set, RepositoryOptions& options);
void DescribeModelSettings(SettingSet& set, ModelOptions& options);

// The parts between commas, without the spaces around them; empty ones are left out.
std::vector<std::string> SplitList(const std::string& text);

}  // namespace millrace
