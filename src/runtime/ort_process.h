// OrtProcess: the one ONNX Runtime of this process, opened with dlopen and never closed.
//
// Inside the runtime module only. It owns the library handle, the environment and what all sessions
// share: the CPU memory description and one memory arena. It is made once and lives until the
// process ends, because ONNX Runtime keeps state in statics that must not be torn down under a
// running thread. Reading it is safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "runtime/options.h"

struct OrtApi;
struct OrtApiBase;
struct OrtAllocator;
struct OrtEnv;
struct OrtMemoryInfo;
struct OrtStatus;

namespace millrace {

// The oldest library that has every entry used here: 1.21.
inline constexpr unsigned kOrtApiLevel = 21;
inline constexpr std::string_view kOrtOldest = "1.21";

struct OrtProcess {
  const OrtApi* api = nullptr;
  OrtEnv* env = nullptr;
  OrtMemoryInfo* cpu = nullptr;
  OrtAllocator* allocator = nullptr;  // For the strings that the library hands out.
  std::string version;                // "1.23.2"
  std::string path;                   // What was opened.
  std::string folder;                 // Where that is; empty when it cannot be told.
  std::int64_t memory = 0;            // Bytes that the arena may have: all that the process may.
};

// Opens the library on the first call; later calls give the same process. kNotFound, kUnsupported;
// kAlreadyExists when `options` names another library than the open one.
Result<const OrtProcess*> OpenOrtProcess(const RuntimeOptions& options);

struct OrtCandidate {
  std::string path;
  std::string origin;  // "setting runtime.ort_library"
};
// Where to look, in order. A library that was named, by setting or by `environment` (the value of
// $MILLRACE_ORT_LIBRARY, may be null), is the only candidate: to go on with another one than the
// user named would be a surprise.
std::vector<OrtCandidate> OrtCandidates(const RuntimeOptions& options, const char* environment,
                                        const std::string& binary_folder);

// The table of functions of `base`; kUnsupported when the library at `path` is too old.
Result<const OrtApi*> OrtApiOf(const OrtApiBase& base, const std::string& path);

// `text` up to its first line break, without control characters, at most kMaxOrtMessageBytes.
inline constexpr std::size_t kMaxOrtMessageBytes = 512;
std::string FirstLine(std::string_view text);

// Consumes `status`, which may be null (OK). Input and model faults are kInvalidArgument, what the
// library cannot do is kUnsupported, the rest kInternal; the message is the library's.
Status TakeOrtStatus(const OrtApi& api, OrtStatus* status);

// How many bytes a run asked for at once that failed for want of memory; nothing when it does not
// say so.
std::optional<std::int64_t> WantedBytes(const Status& status);

// For unique_ptr over the library's objects.
template <class T>
struct OrtRelease {
  void (*release)(T*) = nullptr;
  void operator()(T* object) const { release(object); }
};
template <class T>
using OrtPtr = std::unique_ptr<T, OrtRelease<T>>;

}  // namespace millrace
