#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>
#include <exception>
#include <fstream>
#include <memory>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "runtime/denormals.h"
#include "runtime/engine.h"
#include "runtime/engine_thread.h"
#include "runtime/onnx_zipmap.h"
#include "runtime/ort_idle.h"
#include "runtime/ort_process.h"
#include "runtime/ort_provider.h"
#include "runtime/ort_session.h"
#include "runtime/ort_signature.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

class OrtEngine final : public Engine {
 public:
  OrtEngine(const OrtProcess& process, Millis idle_shrink)
      : process_(process), idle_(process, idle_shrink) {}

  std::string Version() const override { return "onnxruntime " + process_.version; }

  Result<std::unique_ptr<Session>> Load(const std::string& path, const std::string& name,
                                        const SessionOptions& options) override;

 private:
  const OrtProcess& process_;
  IdleWatch idle_;
};

// What every session is told. Versions of the library that do not know one of them pass it over.
constexpr std::array<std::pair<const char*, const char*>, 8> kSessionConfig = {{
    // A pool that spins burns a core for tens of milliseconds after each run.
    {"session.intra_op.allow_spinning", "0"},
    {"session.inter_op.allow_spinning", "0"},
    // One arena for all; weights, which stay, not in it, or no part of it could ever be given back.
    {"session.use_env_allocators", "1"},
    {"session.use_device_allocator_for_initializers", "1"},
    // Weights in the order that kernels want them: without it a row alone has other bits than in a
    // batch.
    {"session.disable_prepacking", "0"},
    // A constant that grows beyond this when it is folded is a bomb; the default is a gigabyte.
    {"optimization.constant_folding_max_output_size_in_bytes", "67108864"},
    // A model that is loaded from memory, as one whose ZipMap was taken out, would read the files
    // it
    // names from wherever the process happens to stand. Nothing can lie under this one.
    {"session.model_external_initializers_file_folder_path", "/dev/null"},
    // Half the precision on some processors.
    {"mlas.enable_gemm_fastmath_arm64_bfloat16", "0"},
}};

// The library asks for its threads while it makes the session, and for their end with the session.
OrtCustomThreadHandle StartOrtThread(void* model, OrtThreadWorkerFn work, void* argument) {
  try {
    auto* const thread = new std::thread(StartEngineThread(*static_cast<const std::string*>(model),
                                                           [work, argument] { work(argument); }));
    return reinterpret_cast<OrtCustomThreadHandle>(thread);
  } catch (const std::exception&) {
    return nullptr;  // No thread, no session: the library says so.
  }
}

void JoinOrtThread(OrtCustomThreadHandle handle) {
  const std::unique_ptr<std::thread> thread(
      reinterpret_cast<std::thread*>(const_cast<OrtCustomHandleType*>(handle)));
  thread->join();
}

// Every option that matters is set: the library's defaults change between versions.
Status SetOptions(const OrtApi& api, const std::string& name, const SessionOptions& options,
                  OrtSessionOptions* ort) {
  const int intra = static_cast<int>(options.intra_op_threads);
  const auto check = [&api](OrtStatus* status) { return TakeOrtStatus(api, status); };
  MILLRACE_RETURN_IF_ERROR(check(api.SetIntraOpNumThreads(ort, intra)));
  MILLRACE_RETURN_IF_ERROR(check(api.SessionOptionsSetCustomCreateThreadFn(ort, StartOrtThread)));
  MILLRACE_RETURN_IF_ERROR(check(
      api.SessionOptionsSetCustomThreadCreationOptions(ort, const_cast<std::string*>(&name))));
  MILLRACE_RETURN_IF_ERROR(check(api.SessionOptionsSetCustomJoinThreadFn(ort, JoinOrtThread)));
  MILLRACE_RETURN_IF_ERROR(check(api.SetInterOpNumThreads(ort, 1)));
  MILLRACE_RETURN_IF_ERROR(check(api.SetSessionExecutionMode(ort, ORT_SEQUENTIAL)));
  MILLRACE_RETURN_IF_ERROR(check(api.SetSessionGraphOptimizationLevel(ort, ORT_ENABLE_ALL)));
  MILLRACE_RETURN_IF_ERROR(check(api.SetDeterministicCompute(ort, true)));
  MILLRACE_RETURN_IF_ERROR(check(api.EnableMemPattern(ort)));
  MILLRACE_RETURN_IF_ERROR(check(api.EnableCpuMemArena(ort)));
  MILLRACE_RETURN_IF_ERROR(check(api.DisableProfiling(ort)));
  MILLRACE_RETURN_IF_ERROR(check(api.SetSessionLogId(ort, name.c_str())));
  MILLRACE_RETURN_IF_ERROR(check(api.SetSessionLogSeverityLevel(ort, ORT_LOGGING_LEVEL_WARNING)));
  for (const auto& [key, value] : kSessionConfig) {
    MILLRACE_RETURN_IF_ERROR(check(api.AddSessionConfigEntry(ort, key, value)));
  }
  // Holds for the threads that the session makes; the runner sets that of the caller.
  const char* const flush = options.denormals == Denormals::kFlush ? "1" : "0";
  return check(api.AddSessionConfigEntry(ort, "session.set_denormal_as_zero", flush));
}

// The bytes of the file; nothing when it cannot be read, which the library is then to explain.
std::optional<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) return std::nullopt;
  const std::streamoff size = file.tellg();
  constexpr std::streamoff kMaxProtobuf = std::streamoff{1} << 31;
  if (size <= 0 || size >= kMaxProtobuf) return std::nullopt;
  std::string bytes(static_cast<std::size_t>(size), '\0');
  file.seekg(0);
  if (!file.read(bytes.data(), static_cast<std::streamsize>(bytes.size()))) return std::nullopt;
  return bytes;
}

// What the library makes of the file, without ZipMap; `outputs`: what ZipMap gave before.
Result<OrtPtr<OrtSession>> CreateSession(const OrtProcess& process, const std::string& path,
                                         const OrtSessionOptions& options,
                                         std::vector<PlainModel::Output>* outputs) {
  const OrtApi& api = *process.api;
  std::optional<PlainModel> plain;
  if (const std::optional<std::string> bytes = ReadFile(path)) plain = WithoutZipMap(*bytes);
  OrtSession* session = nullptr;
  Status created;
  if (plain) {
    created =
        TakeOrtStatus(api, api.CreateSessionFromArray(process.env, plain->bytes.data(),
                                                      plain->bytes.size(), &options, &session));
    // What is wrong is said of the file as it is.
    if (!created.ok()) plain.reset();
  }
  if (!plain) {
    created = TakeOrtStatus(api, api.CreateSession(process.env, path.c_str(), &options, &session));
  }
  // What the library calls a plain failure while it loads is a fault of the file.
  if (created.code() == StatusCode::kInternal) {
    created = Status(StatusCode::kInvalidArgument, std::string(created.message()));
  }
  if (!created.ok()) return created;
  if (plain) *outputs = std::move(plain->outputs);
  return OrtPtr<OrtSession>(session, {api.ReleaseSession});
}

// What the library says of a provider that it has and that does not work here.
bool IsOfProvider(const Status& status) {
  std::string text(status.message());
  std::transform(text.begin(), text.end(), text.begin(), [](char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  });
  const std::array<const char*, 5> words = {"cuda", "cudnn", "cublas", "tensorrt", "nvinfer"};
  return std::any_of(words.begin(), words.end(),
                     [&text](const char* word) { return text.find(word) != std::string::npos; });
}

// Why a session that has to run on its provider whole was refused. The library gives a number and
// names only for one that it makes.
Status CpuNodesRefused(const OrtProcess& process, const std::string& path,
                       OrtSessionOptions* options) {
  const OrtApi& api = *process.api;
  const PlacementReader reader;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
      api, api.AddSessionConfigEntry(options, "session.disable_cpu_ep_fallback", "0")));
  std::vector<PlainModel::Output> ignored;
  MILLRACE_RETURN_IF_ERROR(CreateSession(process, path, *options, &ignored).status());
  return {StatusCode::kConfiguration,
          "the provider cannot run all of the model, and require_full_offload is set; left to the "
          "CPU are " +
              reader.placement().Text() +
              ". Set require_full_offload to false, or change the model"};
}

// CreateSession where other providers than the CPU take part.
Result<OrtPtr<OrtSession>> CreateOnProvider(const OrtProcess& process, const std::string& path,
                                            const std::string& name, const SessionOptions& wanted,
                                            OrtSessionOptions* options,
                                            std::vector<PlainModel::Output>* outputs) {
  // The library may set the mode of the thread that makes its first session, for ever.
  const ArithmeticMode arithmetic(wanted.denormals);
  if (wanted.provider == Provider::kCpu) return CreateSession(process, path, *options, outputs);
  Result<OrtPtr<OrtSession>> session(Status(StatusCode::kInternal, "not made"));
  {
    const PlacementReader reader;
    session = CreateSession(process, path, *options, outputs);
    if (const NodePlacement& placement = reader.placement(); session.ok() && placement.on_cpu > 0) {
      LogEvent(LogLevel::kWarn, "model_partly_on_cpu",
               "the provider does not run all of the model: the rest is left to the CPU",
               {{"model", name},
                {"provider", ProviderName(wanted.provider)},
                {"on_cpu", placement.on_cpu},
                {"nodes", placement.Text()}});
    }
  }
  if (session.ok()) return session;
  Status failed = session.status();
  if (RefusedForCpuNodes(failed)) {
    failed = CpuNodesRefused(process, path, options);
  } else if (IsOfProvider(failed)) {
    failed = Status(StatusCode::kConfiguration,
                    std::string(failed.message()) +
                        " (see `nvidia-smi` for the devices there are; the model's provider can be "
                        "set to cpu)");
  }
  return failed.WithContext(std::string("provider ") + ProviderName(wanted.provider) + ", device " +
                            std::to_string(wanted.device));
}

Result<std::unique_ptr<Session>> OrtEngine::Load(const std::string& path, const std::string& name,
                                                 const SessionOptions& options) {
  MILLRACE_CHECK(options.max_rows >= 1 && options.intra_op_threads >= 1);
  const OrtApi& api = *process_.api;
  std::string context = "model " + name + " (" + path + ")";
  OrtSessionOptions* raw_options = nullptr;
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.CreateSessionOptions(&raw_options)).WithContext(context));
  const OrtPtr<OrtSessionOptions> session_options(raw_options, {api.ReleaseSessionOptions});
  MILLRACE_RETURN_IF_ERROR(SetOptions(api, name, options, raw_options).WithContext(context));
  std::optional<SignalHandlers> kept;
  if (options.provider != Provider::kCpu) kept.emplace();
  MILLRACE_RETURN_IF_ERROR(AppendProvider(process_, options, raw_options).WithContext(context));

  std::vector<PlainModel::Output> labelled;
  const auto create = [&] {
    return CreateOnProvider(process_, path, name, options, raw_options, &labelled);
  };
  Result<OrtPtr<OrtSession>> session = create();
  if (!session.ok()) return session.status().WithContext(context);
  Result<OrtSignatureInfo> info = ReadOrtValues(process_, **session);
  if (!info.ok()) return info.status().WithContext(context);
  Result<ModelSignature> signature = CheckSignature(*info);
  if (!signature.ok()) return signature.status().WithContext(context);
  RowLayout layout = RowLayoutOf(signature->inputs);
  if (!options.mask.empty()) {
    MILLRACE_RETURN_IF_ERROR(UseMask(*signature, options.mask, &layout).WithContext(context));
  }
  if (layout.dynamic) {
    // The library keeps a plan of its memory for every shape that it has seen, for ever. Whether
    // shapes are open is known only now: the session is made anew without such plans.
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.DisableMemPattern(raw_options)).WithContext(context));
    session->reset();  // Never both in memory.
    session = create();
    if (!session.ok()) return session.status().WithContext(context);
  }
  for (TensorSpec& output : signature->outputs) {
    for (PlainModel::Output& one : labelled) {
      if (one.name == output.name) output.labels = std::move(one.labels);
    }
  }
  return std::unique_ptr<Session>(std::make_unique<OrtModelSession>(
      process_, idle_, std::move(session).value(), std::move(signature).value(), std::move(layout),
      options, std::move(context)));
}

}  // namespace

Result<std::unique_ptr<Engine>> OpenOnnxRuntime(const RuntimeOptions& options) {
  Result<const OrtProcess*> process = OpenOrtProcess(options);
  if (!process.ok()) return process.status();
  return std::unique_ptr<Engine>(std::make_unique<OrtEngine>(**process, options.idle_shrink));
}

}  // namespace millrace
