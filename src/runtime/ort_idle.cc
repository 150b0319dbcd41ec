#include "runtime/ort_idle.h"

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <array>

#include "base/check.h"
#include "base/thread_name.h"
#include "runtime/ort_log.h"
#include "runtime/ort_session.h"

namespace millrace {
namespace {

// The arena shrinks at the end of a run that asks for it, and in no other way that every version of
// the library has: a model that copies one number, from x to y. Written by hand: a ModelProto with
// ir_version 8, opset 13 and a graph of one Identity.
constexpr std::array<unsigned char, 63> kIdentity = {
    0x08, 0x08, 0x42, 0x02, 0x10, 0x0D, 0x3A, 0x37,                   // Version, opset, graph.
    0x0A, 0x10, 0x0A, 0x01, 'x',  0x12, 0x01, 'y',  0x22, 0x08,       // Node: input, output.
    'I',  'd',  'e',  'n',  't',  'i',  't',  'y',  0x12, 0x01, 'g',  // Its type; the graph's name.
    0x5A, 0x0F, 0x0A, 0x01, 'x',  0x12, 0x0A, 0x0A, 0x08, 0x08, 0x01,  // Input: float
    0x12, 0x04, 0x0A, 0x02, 0x08, 0x01,                                // of shape [1].
    0x62, 0x0F, 0x0A, 0x01, 'y',  0x12, 0x0A, 0x0A, 0x08, 0x08, 0x01,  // Output: the same.
    0x12, 0x04, 0x0A, 0x02, 0x08, 0x01};

constexpr const char* kShrinkKey = "memory.enable_memory_arena_shrinkage";

Result<OrtPtr<OrtSession>> MakeOccasion(const OrtProcess& process) {
  const OrtApi& api = *process.api;
  OrtSessionOptions* options = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateSessionOptions(&options)));
  const OrtPtr<OrtSessionOptions> owned(options, {api.ReleaseSessionOptions});
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.SetIntraOpNumThreads(options, 1)));
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.SetInterOpNumThreads(options, 1)));
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.AddSessionConfigEntry(options, "session.use_env_allocators", "1")));
  OrtSession* session = nullptr;
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.CreateSessionFromArray(process.env, kIdentity.data(), kIdentity.size(),
                                                    options, &session)));
  return OrtPtr<OrtSession>(session, {api.ReleaseSession});
}

Result<OrtPtr<OrtRunOptions>> ShrinkOptions(const OrtApi& api) {
  OrtRunOptions* options = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateRunOptions(&options)));
  OrtPtr<OrtRunOptions> owned(options, {api.ReleaseRunOptions});
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.AddRunConfigEntry(options, kShrinkKey, "cpu:0")));
  return owned;
}

// A tensor of ours: one of the library's would itself lie in the arena that is to shrink.
Result<OrtPtr<OrtValue>> Wrap(const OrtProcess& process, float* number) {
  const OrtApi& api = *process.api;
  constexpr std::int64_t kShape = 1;
  OrtValue* value = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
      api, api.CreateTensorWithDataAsOrtValue(process.cpu, number, sizeof *number, &kShape, 1,
                                              ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, &value)));
  return OrtPtr<OrtValue>(value, {api.ReleaseValue});
}

}  // namespace

IdleWatch::~IdleWatch() {
  {
    const std::lock_guard lock(mutex_);
    MILLRACE_CHECK(sessions_.empty());
    stop_ = true;
  }
  ends_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void IdleWatch::Add(OrtModelSession& session) {
  if (after_ <= Millis(0)) return;
  const std::lock_guard lock(mutex_);
  sessions_.push_back({&session});
  if (!thread_.joinable()) thread_ = std::thread([this] { Watch(); });
}

void IdleWatch::Remove(OrtModelSession& session) {
  const std::lock_guard lock(mutex_);
  const auto is_it = [&session](const Watched& watched) { return watched.session == &session; };
  if (std::erase_if(sessions_, is_it) > 0) session_gone_ = true;
}

void IdleWatch::Watch() {
  SetThreadName("mr-idle");
  std::unique_lock lock(mutex_);
  while (!ends_.wait_for(lock, after_, [this] { return stop_; })) {
    if (!TrimLocked()) continue;
    lock.unlock();
    if (const Status status = ShrinkArena(); !status.ok()) {
      WriteOrtLog(OrtSeverity::kWarning,
                  "memory that no run uses was not given back: " + std::string(status.message()));
    }
    lock.lock();
  }
}

bool IdleWatch::TrimLocked() {
  bool any = std::exchange(session_gone_, false);
  for (Watched& watched : sessions_) {
    const std::uint64_t runs = watched.session->runs();
    const bool ran = runs != watched.runs;
    watched.runs = runs;
    if (ran) watched.trimmed = false;
    if (ran || watched.trimmed) continue;
    watched.session->Trim();
    watched.trimmed = true;
    any = true;
  }
  return any;
}

Status IdleWatch::ShrinkArena() {
  const OrtApi& api = *process_.api;
  if (occasion_ == nullptr) {
    Result<OrtPtr<OrtSession>> made = MakeOccasion(process_);
    if (!made.ok()) return made.status();
    Result<OrtPtr<OrtRunOptions>> options = ShrinkOptions(api);
    if (!options.ok()) return options.status();
    shrink_ = std::move(options).value();
    occasion_ = std::move(made).value();
  }
  float from = 0;
  float to = 0;
  const Result<OrtPtr<OrtValue>> x = Wrap(process_, &from);
  if (!x.ok()) return x.status();
  const Result<OrtPtr<OrtValue>> y = Wrap(process_, &to);
  if (!y.ok()) return y.status();
  const char* const input_name = "x";
  const char* const output_name = "y";
  const OrtValue* const input = x->get();
  OrtValue* output = y->get();
  return TakeOrtStatus(api, api.Run(occasion_.get(), shrink_.get(), &input_name, &input, 1,
                                    &output_name, 1, &output));
}

}  // namespace millrace
