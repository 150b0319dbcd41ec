#include "models/options.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxBatchRows = 4096;
constexpr std::int64_t kMaxIntraOpThreads = 256;
constexpr std::int64_t kMaxPriority = 10'000;
constexpr std::int64_t kMiB = std::int64_t{1} << 20;

void DescribeProbe(SettingSet& set, ProbeLimits& probe) {
  set.Bool("repository.probe.enabled", &probe.enabled,
           "Whether a model version is tried in a process of its own, with limits, before it is "
           "loaded; one that fails there is refused. The verdict is kept under its digest.");
  set.Bytes("repository.probe.memory", &probe.memory_bytes, 64 * kMiB, (1024 * 1024) * kMiB,
            "Memory that loading and running a model may take in its probe, besides four times the "
            "size of its file.");
  set.Duration("repository.probe.timeout", &probe.time, Millis(1'000), Millis(3'600'000),
               "How long the probe of one model may take.");
  set.Bytes("repository.probe.max_bytes", &probe.max_bytes, 1, (2048 * kMiB) - 1,
            "Largest model file.");
  set.Integer("repository.probe.max_nodes", &probe.max_nodes, 1, 100'000'000,
              "Most nodes in a model's graph, its subgraphs and functions included.");
  set.String("repository.probe.allow_domains", &probe.allow_domains,
             "Domains of operators that a model may use besides ai.onnx, ai.onnx.ml and "
             "com.microsoft, separated by commas.");
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
  set.String("repository.cache_dir", &options.cache_dir,
             "Folder for what is kept of models, such as the verdicts of their probes; workers may "
             "share it. Empty takes $XDG_CACHE_HOME/millrace/models, or ~/.cache/millrace/models.");
  DescribeProbe(set, options.probe);
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
}

}  // namespace millrace
