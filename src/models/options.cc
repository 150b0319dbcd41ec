#include "models/options.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxBatchRows = 4096;
constexpr std::int64_t kMaxIntraOpThreads = 256;
constexpr std::int64_t kMaxPriority = 10'000;

void DescribeMemorySettings(SettingSet& set, RepositoryOptions& options) {
  set.Bool("repository.lazy", &options.lazy,
           "Load a model when its first request comes, not at start; its requests wait meanwhile. "
           "Pinned models are loaded at start.");
  set.Bytes("repository.memory", &options.memory, 0, std::int64_t{1} << 50,
            "Memory for loaded models, by what each is expected to take. Beyond it those that were "
            "used longest ago are unloaded, and loaded again when requests come. 0: no limit.");
}

}  // namespace

void DescribeSettings(SettingSet& set, RepositoryOptions& options) {
  set.String("repository.dir", &options.dir,
             "Folder of the models: <id>/<version>/model.onnx, or <id>.onnx for one version.");
  set.Duration("repository.allow_missing_for", &options.allow_missing_for, Millis(0),
               Millis(86'400'000),
               "How long a request of a model that is not in the repository waits for it before it "
               "becomes a dead letter `unknown_model`; the model is loaded as soon as it is there. "
               "0: not at all.");
  set.String("repository.model_path_for", &options.model_path_for,
             "Model that messages of the form {\"model_path\": ...} on topics.events are for; they "
             "name none. Empty: the only model of the repository.");
  DescribeMemorySettings(set, options);
}

void DescribeModelSettings(SettingSet& set, ModelOptions& options) {
  set.Integer("max_rows", &options.max_rows, 0, kMaxBatchRows,
              "Largest batch of this model, in rows; 0 takes batch.max_rows.");
  set.Duration("max_wait", &options.max_wait, Millis{-1}, Millis{60'000},
               "How long the first row of a batch may wait for more; -1ms takes batch.max_wait.");
  set.Integer("intra_op_threads", &options.intra_op_threads, 1, kMaxIntraOpThreads,
              "Threads inside one run of this model; 1 is the executor itself and right for all "
              "but large models.");
  set.Integer(
      "priority", &options.priority, 1, kMaxPriority,
      "Share of the executors' CPU time that this model gets while others want it, too: 200 "
      "gets twice what the default 100 gets. None is starved.");
  set.Duration(
      "timeout", &options.timeout, Millis(0), Millis(3'600'000),
      "How long one run of this model may take before it is stopped; a request whose run is "
      "stopped alone becomes a dead letter `inference_timeout`. 0 waits for ever.");
  set.String("version", &options.version,
             "Version that serves, whatever else is in the folder, until an event promotes another; "
             "empty serves the newest.");
  set.Bool("pinned", &options.pinned,
           "Load this model at start and keep it loaded, whatever repository.lazy and "
           "repository.memory say.");
}

}  // namespace millrace
