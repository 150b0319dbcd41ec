#include "models/options.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxBatchRows = 4096;
constexpr std::int64_t kMaxIntraOpThreads = 256;
constexpr std::int64_t kMaxPriority = 10'000;

}  // namespace

void DescribeSettings(SettingSet& set, RepositoryOptions& options) {
  set.String("repository.dir", &options.dir,
             "Folder of the models: <id>/<version>/model.onnx, or <id>.onnx for one version.");
  set.Duration("repository.allow_missing_for", &options.allow_missing_for, Millis(0),
               Millis(86'400'000),
               "How long a request of a model that is not in the repository waits for it before it "
               "becomes a dead letter `unknown_model`; the model is loaded as soon as it is there. "
               "0: not at all.");
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
             "Version that serves, whatever else is in the folder; empty serves the newest.");
  set.Mapping(
      "outputs", &options.outputs,
      "Named fields of this model's results, made of its outputs: `is_fraud = "
      "probabilities[1] >= threshold, label = label(probabilities)`; docs/models.md has the "
      "rules. Empty takes the model.yaml's; without any, results hold the outputs as they "
      "are.");
  set.OptionalNumber("threshold", &options.threshold, -ModelOptions::kMaxThreshold,
                     ModelOptions::kMaxThreshold,
                     "What `threshold` stands for in outputs, and what divides two classes in "
                     "label(); a number. Empty takes the model.yaml's, else 0.5.");
}

}  // namespace millrace
