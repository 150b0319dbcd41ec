#include "models/options.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxBatchRows = 4096;
constexpr std::int64_t kMaxIntraOpThreads = 256;
constexpr std::int64_t kMaxPriority = 10'000;
constexpr std::int64_t kMaxDevice = 255;

}  // namespace

SessionOptions SessionOptionsOf(const ModelOptions& options, std::int64_t max_rows) {
  return {.intra_op_threads = options.intra_op_threads,
          .max_rows = max_rows,
          .provider = options.provider,
          .device = options.device,
          .require_full_offload = options.require_full_offload,
          .denormals = options.denormals};
}

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
  set.Enum(
      "provider", &options.provider, {"cpu", "cuda", "tensorrt"},
      "What runs this model; `cuda` and `tensorrt` need a build of ONNX Runtime that has them, "
      "and a GPU. Nodes that the provider does not know run on the CPU.");
  set.Integer("device", &options.device, 0, kMaxDevice,
              "Number of the GPU that runs this model, as `nvidia-smi` counts them.");
  set.Bool("require_full_offload", &options.require_full_offload,
           "Refuse the model when its provider leaves nodes of it to the CPU; otherwise the event "
           "`model_partly_on_cpu` says how many and which.");
  set.Enum("denormals", &options.denormals, {"keep", "flush"},
           "`flush` computes with 0 in the place of numbers below 1.2e-38 (denormal ones), with "
           "which some processors are ten to thirty times slower; results may differ in their last "
           "bits from those of `keep`.");
  set.String("version", &options.version,
             "Version that serves, whatever else is in the folder; empty serves the newest.");
}

}  // namespace millrace
