#include "runtime/ort_provider.h"

#include <onnxruntime_c_api.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <tuple>
#include <utility>

namespace millrace {
namespace {

constexpr std::string_view kOnCpu = "placed on [CPUExecutionProvider]";
constexpr std::string_view kOnAny = "placed on [";
constexpr std::string_view kCount = "Number of nodes: ";

thread_local PlacementReader* t_reader = nullptr;

struct ProviderFacts {
  const char* name;     // Among the available ones.
  const char* library;  // Beside ONNX Runtime.
};

ProviderFacts FactsOf(Provider provider) {
  if (provider == Provider::kCuda) {
    return {"CUDAExecutionProvider", "libonnxruntime_providers_cuda.so"};
  }
  return {"TensorrtExecutionProvider", "libonnxruntime_providers_tensorrt.so"};
}

std::string Joined(std::span<const std::string> words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string Instead(Provider provider) {
  return std::string("; without a GPU set the model's provider to cpu instead of ") +
         ProviderName(provider);
}

Status AppendCuda(const OrtApi& api, const SessionOptions& options, OrtSessionOptions* session) {
  OrtCUDAProviderOptionsV2* cuda = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateCUDAProviderOptions(&cuda)));
  const OrtPtr<OrtCUDAProviderOptionsV2> owned(cuda, {api.ReleaseCUDAProviderOptions});
  const std::string device = std::to_string(options.device);
  // An exhaustive search for the best convolution takes most of a second for each new batch size.
  // TF32 has ten bits of a float's 23: results would not be those of the CPU.
  const std::array<std::pair<const char*, const char*>, 4> values = {{
      {"device_id", device.c_str()},
      {"arena_extend_strategy", "kNextPowerOfTwo"},
      {"cudnn_conv_algo_search", "HEURISTIC"},
      {"use_tf32", "0"},
  }};
  std::array<const char*, 4> keys{};
  std::array<const char*, 4> texts{};
  for (std::size_t i = 0; i < values.size(); ++i) std::tie(keys[i], texts[i]) = values[i];
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
      api, api.UpdateCUDAProviderOptions(cuda, keys.data(), texts.data(), keys.size())));
  return TakeOrtStatus(api, api.SessionOptionsAppendExecutionProvider_CUDA_V2(session, cuda));
}

// What TensorRT does not know goes to CUDA, which comes with it.
Status AppendTensorRt(const OrtApi& api, const SessionOptions& options,
                      OrtSessionOptions* session) {
  OrtTensorRTProviderOptionsV2* tensorrt = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateTensorRTProviderOptions(&tensorrt)));
  const OrtPtr<OrtTensorRTProviderOptionsV2> owned(tensorrt, {api.ReleaseTensorRTProviderOptions});
  const std::string device = std::to_string(options.device);
  const std::array<const char*, 2> keys = {"device_id", "trt_fp16_enable"};
  const std::array<const char*, 2> values = {device.c_str(), "0"};
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
      api, api.UpdateTensorRTProviderOptions(tensorrt, keys.data(), values.data(), keys.size())));
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.SessionOptionsAppendExecutionProvider_TensorRT_V2(session, tensorrt)));
  return AppendCuda(api, options, session);
}

}  // namespace

Result<std::vector<std::string>> AvailableProviders(const OrtProcess& process) {
  const OrtApi& api = *process.api;
  char** names = nullptr;
  int count = 0;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetAvailableProviders(&names, &count)));
  std::vector<std::string> providers(names, names + count);
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.ReleaseAvailableProviders(names, count)));
  return providers;
}

Status CheckProvider(Provider provider, std::span<const std::string> available,
                     const std::string& folder) {
  if (provider == Provider::kCpu) return {};
  const ProviderFacts facts = FactsOf(provider);
  if (std::find(available.begin(), available.end(), facts.name) == available.end()) {
    return {StatusCode::kConfiguration,
            "this ONNX Runtime was built without " + std::string(facts.name) + ", it has " +
                Joined(available) +
                ": name a build for GPUs in runtime.ort_library or MILLRACE_ORT_LIBRARY" +
                Instead(provider)};
  }
  for (const char* library : {"libonnxruntime_providers_shared.so", facts.library}) {
    const std::string path = folder + "/" + library;
    if (folder.empty() || ::access(path.c_str(), R_OK) == 0) continue;
    return {StatusCode::kConfiguration,
            "there is no " + path + ": ONNX Runtime opens its providers from its own folder; put " +
                "the file there, which comes with the same build" + Instead(provider)};
  }
  return {};
}

Status AppendProvider(const OrtProcess& process, const SessionOptions& options,
                      OrtSessionOptions* session) {
  if (options.provider == Provider::kCpu) {
    if (!options.require_full_offload) return {};
    return {StatusCode::kConfiguration,
            "require_full_offload wants every node on a GPU, but the model's provider is cpu: set "
            "provider to cuda or tensorrt, or require_full_offload to false"};
  }
  const OrtApi& api = *process.api;
  const Result<std::vector<std::string>> available = AvailableProviders(process);
  if (!available.ok()) return available.status();
  MILLRACE_RETURN_IF_ERROR(CheckProvider(options.provider, *available, process.folder));
  const Status appended = options.provider == Provider::kCuda
                              ? AppendCuda(api, options, session)
                              : AppendTensorRt(api, options, session);
  if (!appended.ok()) return {StatusCode::kConfiguration, std::string(appended.message())};
  // Where nodes went is told at this level only.
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.SetSessionLogSeverityLevel(session, ORT_LOGGING_LEVEL_VERBOSE)));
  if (!options.require_full_offload) return {};
  return TakeOrtStatus(api,
                       api.AddSessionConfigEntry(session, "session.disable_cpu_ep_fallback", "1"));
}

std::string NodePlacement::Text() const {
  std::string text = std::to_string(on_cpu) + (on_cpu == 1 ? " node" : " nodes");
  if (!names.empty()) text += ": " + Joined(names);
  if (names.size() < on_cpu && !names.empty()) text += ", ...";
  return text;
}

PlacementReader::PlacementReader() { t_reader = this; }
PlacementReader::~PlacementReader() { t_reader = nullptr; }

void PlacementReader::Hear(std::string_view line) {
  if (t_reader != nullptr) t_reader->Read(line);
}

// " Node(s) placed on [CPUExecutionProvider]. Number of nodes: 2", then "  MatMul (dense_1)" for
// each; " All nodes placed on [...]. Number of nodes: 5", and none of them, where all are on one.
void PlacementReader::Read(std::string_view line) {
  if (line.find(kOnAny) != std::string_view::npos) {
    placement_.known = true;
    of_cpu_ = line.find(kOnCpu) != std::string_view::npos;
    const std::size_t count = line.find(kCount);
    if (!of_cpu_ || count == std::string_view::npos) return;
    line.remove_prefix(count + kCount.size());
    std::size_t nodes = 0;
    std::from_chars(line.data(), line.data() + line.size(), nodes);
    placement_.on_cpu += nodes;
    return;
  }
  of_cpu_ = of_cpu_ && line.starts_with("  ");
  if (!of_cpu_ || placement_.names.size() == NodePlacement::kMaxNames) return;
  placement_.names.push_back(FirstLine(line.substr(2)));
}

bool RefusedForCpuNodes(const Status& status) {
  return status.message().find("fallback to CPU EP has been explicitly disabled") !=
         std::string_view::npos;
}

SignalHandlers::SignalHandlers() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], nullptr, &before_[i]);
  }
}

SignalHandlers::~SignalHandlers() {
  for (std::size_t i = 0; i < kSignals.size(); ++i) {
    ::sigaction(kSignals[i], &before_[i], nullptr);
  }
}

}  // namespace millrace
