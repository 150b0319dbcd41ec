#include "models/options.h"

#include <algorithm>

namespace millrace {
namespace {

constexpr std::int64_t kMaxBatchRows = 4096;
constexpr std::int64_t kMaxIntraOpThreads = 256;
constexpr std::int64_t kMaxPriority = 10'000;
constexpr std::int64_t kMinCacheBytes = std::int64_t{1} << 10;
constexpr std::int64_t kMaxStoreBytes = std::int64_t{64} << 40;
constexpr std::int64_t kMaxLowSpeedBytes = std::int64_t{1} << 30;
constexpr std::int64_t kMaxFetchAttempts = 100;

void DescribeCacheSettings(SettingSet& set, RepositoryOptions& options) {
  set.String("repository.cache_dir", &options.cache_dir,
             "Folder for the models that were fetched and the verdicts of probes, shared by the "
             "workers of a host; empty takes $XDG_CACHE_HOME/millrace/models, else "
             "~/.cache/millrace/models.");
  set.Bytes("repository.cache_bytes", &options.cache_bytes, kMinCacheBytes, kMaxStoreBytes,
            "Size of that folder; the models that were not used for longest go first, those in use "
            "stay.");
  set.Bytes("repository.max_model_bytes", &options.max_model_bytes, 1, kMaxStoreBytes,
            "Largest model file that is fetched or loaded by its URI.");
  set.Bool("repository.verify_digest", &options.verify_digest,
           "Compute the SHA-256 of what is in the cache each time it is used, and fetch nothing "
           "whose digest is not known beforehand.");
  set.String(
      "repository.trusted_keys", &options.trusted_keys,
      "Ed25519 public keys, base64 of their 32 bytes or PEM files, comma-separated. With any, "
      "a version needs a model.yaml with the model's sha256, and a model.yaml.sig by one of "
      "the keys.");
}

void DescribeFetchSettings(SettingSet& set, RepositoryOptions& options) {
  set.String("repository.ca_file", &options.ca_file,
             "PEM file of the authorities that a model store's certificate is checked against; "
             "empty takes the system's.");
  set.Duration("repository.connect_timeout", &options.connect_timeout, Millis(1), Millis(300'000),
               "How long a connection to a model store may take.");
  set.Bytes("repository.low_speed_bytes", &options.low_speed_bytes, 0, kMaxLowSpeedBytes,
            "A download slower than this many bytes a second, for low_speed_time, is cut and "
            "resumed. 0: none is.");
  set.Duration("repository.low_speed_time", &options.low_speed_time, Millis(1'000),
               Millis(3'600'000), "How long a download may be slower than low_speed_bytes.");
  set.Duration("repository.fetch_timeout", &options.fetch_timeout, Millis(1'000),
               Millis(86'400'000), "How long fetching one model may take, retries included.");
  set.Integer("repository.fetch_attempts", &options.fetch_attempts, 1, kMaxFetchAttempts,
              "How often a request to a model store is tried that brings nothing new, when the "
              "failure may pass.");
}

void DescribeS3Settings(SettingSet& set, S3Options& options) {
  set.String("repository.s3.endpoint", &options.endpoint,
             "URL of an S3-compatible store, http: or https:; empty takes $AWS_ENDPOINT_URL_S3, "
             "$AWS_ENDPOINT_URL, else AWS in the region.");
  set.String("repository.s3.region", &options.region,
             "Region that requests are signed for; empty takes $AWS_REGION, $AWS_DEFAULT_REGION, "
             "else us-east-1.");
  set.String("repository.s3.access_key", &options.access_key,
             "Access key; empty takes $AWS_ACCESS_KEY_ID, then web identity, container and "
             "instance credentials.");
  set.String("repository.s3.secret_key", &options.secret_key, "Secret of the access key.",
             {.secret = true});
  set.String("repository.s3.session_token", &options.session_token,
             "Session token of a temporary access key.", {.secret = true});
  set.Bool("repository.s3.anonymous", &options.anonymous,
           "Sign nothing, for buckets that anyone may read.");
}

void DescribeMemorySettings(SettingSet& set, RepositoryOptions& options) {
  set.Bool("repository.lazy", &options.lazy,
           "Load a model when its first request comes, not at start; its requests wait meanwhile. "
           "Pinned models are loaded at start.");
  set.Bytes("repository.memory", &options.memory, 0, std::int64_t{1} << 50,
            "Memory for loaded models, by what each is expected to take. Beyond it those that were "
            "used longest ago are unloaded, and loaded again when requests come. 0: no limit.");
}

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
constexpr std::int64_t kMaxDevice = 255;

}  // namespace

SessionOptions SessionOptionsOf(const ModelOptions& options, std::int64_t max_rows) {
  return {.intra_op_threads = options.intra_op_threads,
          .max_rows = max_rows,
          .provider = options.provider,
          .device = options.device,
          .require_full_offload = options.require_full_offload,
          .denormals = options.denormals,
          .mask = options.mask};
}

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
  set.String("repository.store", &options.store,
             "Where models are fetched from whose URI is relative: file:, http:, https: or "
             "s3://bucket/prefix; empty takes repository.dir.");
  set.String("repository.allow_dirs", &options.allow_dirs,
             "Folders, besides repository.dir, that a model may be loaded from; comma-separated.");
  set.String("repository.allow_hosts", &options.allow_hosts,
             "Hosts, besides those of repository.store and the S3 endpoint, that a model may be "
             "fetched from: names, *.suffix, host:port, addresses, CIDR; comma-separated. Private, "
             "loopback and link-local addresses are refused unless an address or CIDR lists them.");
  DescribeCacheSettings(set, options);
  DescribeFetchSettings(set, options);
  DescribeS3Settings(set, options.s3);
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
  set.String(
      "version", &options.version,
      "Version that serves, whatever else is in the folder, until an event promotes another; "
      "empty serves the newest.");
  set.Bool("pinned", &options.pinned,
           "Load this model at start and keep it loaded, whatever repository.lazy and "
           "repository.memory say.");
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
  set.String("mask", &options.mask,
             "Input of this model that says which places of a row count, and which only pad it "
             "(0): rows of different lengths run together then. Empty takes the model.yaml's, if "
             "it names one.");
}

std::vector<std::string> SplitList(const std::string& text) {
  constexpr const char* kSpace = " \t\r\n";
  std::vector<std::string> parts;
  for (std::size_t at = 0; at <= text.size();) {
    const std::size_t comma = std::min(text.find(',', at), text.size());
    const std::string part = text.substr(at, comma - at);
    const std::size_t first = part.find_first_not_of(kSpace);
    if (first != std::string::npos) {
      parts.push_back(part.substr(first, part.find_last_not_of(kSpace) - first + 1));
    }
    at = comma + 1;
  }
  return parts;
}

}  // namespace millrace
