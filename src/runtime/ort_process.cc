#include "runtime/ort_process.h"

#include <dlfcn.h>
#include <onnxruntime_c_api.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <climits>
#include <cstdlib>
#include <mutex>

#include "base/memory_limit.h"
#include "runtime/ort_log.h"
#include "runtime/ort_provider.h"

namespace millrace {
namespace {

// The shared arena grows by doubling up to this step: a larger one would pin memory for one batch.
constexpr std::size_t kMaxArenaStepBytes = std::size_t{64} << 20;

// What begins one of the library's texts about memory; the number of bytes follows.
constexpr std::array<std::string_view, 2> kWants = {"requested buffer of size ",
                                                    "smaller than requested bytes of "};

void LogFromOrt(void*, OrtLoggingLevel level, const char*, const char* log_id, const char*,
                const char* message) {
  if (level < ORT_LOGGING_LEVEL_WARNING) {
    PlacementReader::Hear(message == nullptr ? "" : message);
    return;
  }
  std::string line = log_id == nullptr || *log_id == '\0' ? "" : FirstLine(log_id) + ": ";
  line += FirstLine(message == nullptr ? "" : message);
  WriteOrtLog(level >= ORT_LOGGING_LEVEL_ERROR ? OrtSeverity::kError : OrtSeverity::kWarning, line);
}

std::string BinaryFolder() {
  std::array<char, PATH_MAX> path{};
  const ssize_t size = ::readlink("/proc/self/exe", path.data(), path.size());
  if (size <= 0) return "";
  const std::string text(path.data(), static_cast<std::size_t>(size));
  return text.substr(0, text.rfind('/'));
}

struct Opened {
  const OrtApiBase* base = nullptr;
  std::string path;
};

Result<Opened> OpenFirst(const std::vector<OrtCandidate>& candidates) {
  std::string tried;
  for (const OrtCandidate& candidate : candidates) {
    // RTLD_LOCAL: nothing else in the process may bind to the library's own copies of protobuf etc.
    void* handle = ::dlopen(candidate.path.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
      const char* why = ::dlerror();
      tried += (tried.empty() ? "" : "; ") + candidate.path + " (" + candidate.origin +
               "): " + FirstLine(why == nullptr ? "cannot be opened" : why);
      continue;
    }
    using GetBase = const OrtApiBase* (*)();
    const auto get_base = reinterpret_cast<GetBase>(::dlsym(handle, "OrtGetApiBase"));
    const OrtApiBase* base = get_base == nullptr ? nullptr : get_base();
    if (base == nullptr) {
      return Status(StatusCode::kUnsupported,
                    candidate.path + " (" + candidate.origin +
                        ") is not ONNX Runtime: it has no OrtGetApiBase; name another library");
    }
    return Opened{base, candidate.path};
  }
  return Status(StatusCode::kNotFound,
                "ONNX Runtime was not found; tried " + tried +
                    ". Set runtime.ort_library or MILLRACE_ORT_LIBRARY to the path of a "
                    "libonnxruntime.so, " +
                    std::string(kOrtOldest) + " or newer (`make setup` fetches one)");
}

// The folder that the library itself takes for its own.
std::string FolderOf(const OrtApiBase& base) {
  Dl_info info{};
  if (::dladdr(reinterpret_cast<const void*>(base.GetApi), &info) == 0) return "";
  const std::string path = info.dli_fname == nullptr ? "" : info.dli_fname;
  const std::size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash);
}

// One arena for all sessions, so that memory freed by one model serves the next. It doubles
// (strategy 0): one that grows by what is asked for is never rid of what no later batch fits. The
// limit turns what would end the process into the failure of a run.
Status RegisterArena(const OrtProcess& process) {
  const OrtApi& api = *process.api;
  const std::array<const char*, 3> keys = {"arena_extend_strategy", "max_power_of_two_extend_bytes",
                                           "max_mem"};
  const std::array<std::size_t, 3> values = {0, kMaxArenaStepBytes,
                                             static_cast<std::size_t>(process.memory)};
  OrtArenaCfg* config = nullptr;
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.CreateArenaCfgV2(keys.data(), values.data(), keys.size(), &config)));
  const OrtPtr<OrtArenaCfg> owned(config, {api.ReleaseArenaCfg});
  return TakeOrtStatus(api, api.CreateAndRegisterAllocator(process.env, process.cpu, config));
}

Result<const OrtProcess*> MakeProcess(const RuntimeOptions& options) {
  // Before the library loads: newer ones start their telemetry when they are initialised.
  ::setenv("ORT_DISABLE_TELEMETRY", "1", 1);
  Result<Opened> opened =
      OpenFirst(OrtCandidates(options, std::getenv("MILLRACE_ORT_LIBRARY"), BinaryFolder()));
  if (!opened.ok()) return opened.status();
  Result<const OrtApi*> api = OrtApiOf(*opened->base, opened->path);
  if (!api.ok()) return api.status();

  auto process = std::make_unique<OrtProcess>();
  process->api = *api;
  process->path = opened->path;
  process->folder = FolderOf(*opened->base);
  process->memory = MemoryLimit();
  process->version = FirstLine(opened->base->GetVersionString());
  const OrtApi& ort = **api;
  const auto context = "ONNX Runtime " + process->version + " (" + process->path + ")";
  Status status =
      TakeOrtStatus(ort, ort.CreateEnvWithCustomLogger(
                             &LogFromOrt, nullptr, ORT_LOGGING_LEVEL_WARNING, "", &process->env));
  if (status.ok()) status = TakeOrtStatus(ort, ort.DisableTelemetryEvents(process->env));
  if (status.ok()) {
    status = TakeOrtStatus(
        ort, ort.CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &process->cpu));
  }
  if (status.ok()) {
    status = TakeOrtStatus(ort, ort.GetAllocatorWithDefaultOptions(&process->allocator));
  }
  if (status.ok()) status = RegisterArena(*process);
  if (!status.ok()) return status.WithContext(context);
  return process.release();
}

}  // namespace

std::vector<OrtCandidate> OrtCandidates(const RuntimeOptions& options, const char* environment,
                                        const std::string& binary_folder) {
  if (!options.ort_library.empty()) {
    return {{options.ort_library, "setting runtime.ort_library"}};
  }
  if (environment != nullptr && *environment != '\0') {
    return {{environment, "environment MILLRACE_ORT_LIBRARY"}};
  }
  std::vector<OrtCandidate> candidates;
  if (!binary_folder.empty()) {
    candidates.push_back({binary_folder + "/libonnxruntime.so", "beside the binary"});
  }
  candidates.push_back({"libonnxruntime.so.1", "the system's libraries"});
  candidates.push_back({"libonnxruntime.so", "the system's libraries"});
  return candidates;
}

Result<const OrtApi*> OrtApiOf(const OrtApiBase& base, const std::string& path) {
  const OrtApi* api = base.GetApi(kOrtApiLevel);
  if (api != nullptr) return api;
  const char* version = base.GetVersionString();
  return Status(StatusCode::kUnsupported,
                path + ": ONNX Runtime is too old: found " +
                    FirstLine(version == nullptr ? "an unknown version" : version) + ", need " +
                    std::string(kOrtOldest) + " or newer");
}

Result<const OrtProcess*> OpenOrtProcess(const RuntimeOptions& options) {
  static std::mutex mutex;
  static const OrtProcess* open = nullptr;
  const std::lock_guard lock(mutex);
  if (open != nullptr) {
    if (!options.ort_library.empty() && options.ort_library != open->path) {
      return Status(StatusCode::kAlreadyExists, "this process already uses the ONNX Runtime of " +
                                                    open->path + "; it cannot open " +
                                                    options.ort_library + " as well");
    }
    return open;
  }
  Result<const OrtProcess*> made = MakeProcess(options);
  if (made.ok()) open = *made;
  return made;
}

std::string FirstLine(std::string_view text) {
  std::string line(text.substr(0, std::min(text.find_first_of("\r\n"), kMaxOrtMessageBytes)));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  // A cut may not leave half of a UTF-8 character behind.
  if (line.size() == kMaxOrtMessageBytes) {
    while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0U) == 0x80U) {
      line.pop_back();
    }
    if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0xC0U) line.pop_back();
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

Status TakeOrtStatus(const OrtApi& api, OrtStatus* status) {
  if (status == nullptr) return {};
  const OrtPtr<OrtStatus> owned(status, {api.ReleaseStatus});
  StatusCode code = StatusCode::kInternal;
  switch (api.GetErrorCode(status)) {
    case ORT_INVALID_ARGUMENT:
    case ORT_NO_MODEL:
    case ORT_INVALID_PROTOBUF:
    case ORT_INVALID_GRAPH:
      code = StatusCode::kInvalidArgument;
      break;
    case ORT_NO_SUCHFILE:
      code = StatusCode::kNotFound;
      break;
    case ORT_NOT_IMPLEMENTED:
      code = StatusCode::kUnsupported;
      break;
    default:
      break;
  }
  std::string text = FirstLine(api.GetErrorMessage(status));
  // The library has no code for it, and it is the one failure that may pass by itself.
  for (const char* words : {"Failed to allocate memory", "bad_alloc", "out of memory",
                            "smaller than requested bytes"}) {
    if (text.find(words) != std::string::npos) code = StatusCode::kResourceExhausted;
  }
  return {code, std::move(text)};
}

std::optional<std::int64_t> WantedBytes(const Status& status) {
  if (status.code() != StatusCode::kResourceExhausted) return std::nullopt;
  const std::string_view text = status.message();
  for (const std::string_view words : kWants) {
    const std::size_t at = text.find(words);
    if (at == std::string_view::npos) continue;
    const char* const digits = text.data() + at + words.size();
    std::int64_t bytes = 0;
    if (std::from_chars(digits, text.data() + text.size(), bytes).ec == std::errc()) return bytes;
  }
  return std::nullopt;
}

}  // namespace millrace
