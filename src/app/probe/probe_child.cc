#include "app/probe/probe_child.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>
#include <string>
#include <string_view>
#include <system_error>
#include <utility>

#include "app/probe/confinement.h"
#include "app/probe/golden_rows.h"
#include "base/thread_name.h"
#include "models/model_probe.h"
#include "models/onnx_scan.h"
#include "models/probe_process.h"
#include "models/trial.h"
#include "runtime/engine.h"

namespace millrace {
namespace {

constexpr int kNoOrder = 64;
// Of the time that is left, what finding the determinism class may take.
constexpr int kTrialShare = 3;
// A file becomes a message of the library's, its tensors, and copies of both while they are made.
constexpr std::int64_t kCopiesOfFile = 4;

void Say(std::string_view line) {
  while (!line.empty()) {
    const ssize_t size = ::write(kProbeAnswerFd, line.data(), line.size());
    if (size < 0 && errno != EINTR) return;
    if (size > 0) line.remove_prefix(static_cast<std::size_t>(size));
  }
}

std::string ReadOrder() {
  std::string text;
  std::array<char, 4096> piece;
  while (text.size() <= kMaxProbeOrderBytes) {
    const ssize_t size = ::read(STDIN_FILENO, piece.data(), piece.size());
    if (size < 0 && errno == EINTR) continue;
    if (size <= 0) break;
    text.append(piece.data(), static_cast<std::size_t>(size));
  }
  return text;
}

// The engine that the model is for, whose Load says when loading ends and running begins.
class NotingEngine final : public Engine {
 public:
  explicit NotingEngine(std::unique_ptr<Engine> engine) : engine_(std::move(engine)) {}
  std::string Version() const override { return engine_->Version(); }
  Result<std::unique_ptr<Session>> Load(const std::string& path, const std::string& name,
                                        const SessionOptions& options) override {
    Say(ProbeStageLine("load"));
    Result<std::unique_ptr<Session>> session = engine_->Load(path, name, options);
    Say(ProbeStageLine("warm"));
    return session;
  }

 private:
  const std::unique_ptr<Engine> engine_;
};

Result<std::unique_ptr<Engine>> OpenEngine(const ProbeOrder& order) {
  if (order.engine == kTestEngine) return NewTestEngine();
  RuntimeOptions options;
  options.ort_library = order.ort_library;
  return OpenOnnxRuntime(options);
}

Status ScanFile(const ProbeOrder& order) {
  if (order.engine != kOnnxRuntimeEngine) return {};
  // Mapped, so that what it took of memory is gone before the model's own is measured. A file that
  // is cut short meanwhile ends this process, which is what it is for.
  const int fd = ::open(order.path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info {};
  const bool read = fd >= 0 && ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  const auto size = static_cast<std::size_t>(info.st_size);
  void* const bytes =
      read && size > 0 ? ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0) : MAP_FAILED;
  const int error = errno;
  ::close(fd);
  if (!read || (size > 0 && bytes == MAP_FAILED)) {
    return {StatusCode::kNotFound, std::string("cannot be read: ") + std::strerror(error)};
  }
  OnnxLimits limits;
  limits.max_bytes = order.limits.max_bytes;
  limits.max_nodes = order.limits.max_nodes;
  limits.domains = SplitDomains(order.limits.allow_domains);
  if (size == 0) return ScanOnnx({}, limits, nullptr);
  const Status scanned = ScanOnnx({static_cast<const char*>(bytes), size}, limits, nullptr);
  ::munmap(bytes, size);
  return scanned;
}

// `status` of the bytes, not of the name that they are probed under. What says nothing of them, for
// the file went away meanwhile, stays a status.
Result<ProbeVerdict> Rejection(const ProbeOrder& order, const Status& status) {
  if (status.code() == StatusCode::kNotFound || status.code() == StatusCode::kUnavailable) {
    return status;
  }
  std::string reason(status.message());
  const std::string context = "model " + order.name + " (" + order.path + "): ";
  for (std::size_t at; (at = reason.find(context)) != std::string::npos;) {
    reason.erase(at, context.size());
  }
  const std::string loading = "Load model from " + order.path + " failed:";
  if (reason.starts_with(loading)) reason.erase(0, loading.size());
  ProbeVerdict verdict;
  verdict.may_pass = status.code() == StatusCode::kResourceExhausted ||
                     status.code() == StatusCode::kDeadlineExceeded;
  if (status.code() == StatusCode::kResourceExhausted) {
    reason += "; repository.probe.memory allows it more";
  }
  verdict.reason = std::move(reason);
  return verdict;
}

Result<ProbeVerdict> Probe(const ProbeOrder& order, Engine& engine, MonoTime deadline) {
  Say(ProbeStageLine("scan"));
  if (const Status scanned = ScanFile(order); !scanned.ok()) return Rejection(order, scanned);
  ModelVersion version;
  const std::size_t colon = order.name.find(':');
  version.model_id = order.name.substr(0, colon);
  version.version = colon == std::string::npos ? "" : order.name.substr(colon + 1);
  version.path = order.path;
  version.engine = order.engine;
  const std::int64_t before = ReadProcessBytes().own;
  const auto model = LoadModel(engine, version, order.session);
  if (!model.ok()) return Rejection(order, model.status());
  const LoadedModel& loaded = **model;
  ProbeVerdict verdict;
  verdict.footprint_bytes = std::max<std::int64_t>(0, ReadProcessBytes().own - before);
  verdict.load_time = loaded.load_time;
  if (!order.golden.empty()) {
    Say(ProbeStageLine("golden"));
    const Status golden = RunGoldenRows(loaded, order.golden, &verdict.golden_rows);
    if (!golden.ok()) return Rejection(order, golden);
  }
  Say(ProbeStageLine("repeat"));
  const MonoTime now = SystemClock().Now();
  const MonoTime until = now + std::max(Nanos(0), Nanos(deadline - now)) / kTrialShare;
  verdict.determinism =
      FindDeterminism(loaded, static_cast<std::size_t>(order.session.max_rows), until);
  verdict.accepted = true;
  if (!loaded.has_sound_row) {
    verdict.reason = "fails with every row that could be made up for it: it was loaded, not run";
  }
  return verdict;
}

int Run() {
  const std::optional<ProbeOrder> order = ProbeOrder::Parse(ReadOrder());
  // Whoever asked may have died before the kernel was told to end this process with it.
  if (!order || ::getppid() != static_cast<pid_t>(order->parent)) return kNoOrder;
  const MonoTime deadline = SystemClock().Now() + order->limits.time;
  Result<std::unique_ptr<Engine>> opened = OpenEngine(*order);
  if (!opened.ok()) {
    Say(ProbeErrorLine(opened.status().message()));
    return kNoOrder;
  }
  NotingEngine engine(std::move(opened).value());
  ConfinementPlan plan;
  std::error_code error;
  plan.readable.push_back(std::filesystem::canonical(order->path, error).string());
  if (!order->golden.empty()) plan.readable.push_back(order->golden);
  plan.memory_bytes = order->limits.memory_bytes + kCopiesOfFile * order->file_bytes;
  plan.cpu = order->limits.time * order->session.intra_op_threads;
  const std::string confinement = Confine(plan);
  Result<ProbeVerdict> verdict = Probe(*order, engine, deadline);
  if (!verdict.ok()) {
    Say(ProbeErrorLine(verdict.status().message()));
    return kNoOrder;
  }
  verdict->confinement = confinement;
  Say(verdict->Write() + "\n");
  return 0;
}

}  // namespace

bool IsProbeChild(int argc, char** argv) {
  return argc == 2 && std::string_view(argv[1]) == kProbeArgument;
}

int RunProbeChild() {
  LowerOwnRights();
  SetThreadName("mr-probe");
  int code = 1;
  try {
    code = Run();
  } catch (const std::bad_alloc&) {
    ProbeVerdict verdict;
    verdict.reason = "took more memory than repository.probe.memory allows it";
    verdict.may_pass = true;
    Say(verdict.Write() + "\n");
    code = 0;
  }
  // Nothing of a hostile model's is taken apart: its memory may be in any state.
  ::_exit(code);
}

}  // namespace millrace
