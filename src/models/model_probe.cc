#include "models/model_probe.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <system_error>
#include <utility>

#include "models/digest.h"
#include "models/flat_json.h"
#include "models/probe_process.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

// What a verdict rests on besides the model and the settings: raised when a probe asks more.
constexpr std::string_view kProbeVersion = "1";
constexpr std::int64_t kMaxGoldenBytes = std::int64_t{16} << 20;
constexpr std::size_t kFingerprintDigits = 16;
// Of what a child printed before it crashed.
constexpr std::size_t kMaxLastWords = 200;

// A regular file, and what changes when it is written or replaced.
struct FileStamp {
  dev_t device{};
  ino_t inode{};
  std::int64_t bytes = 0;
  timespec modified{};

  bool SameAs(const FileStamp& other) const {
    return device == other.device && inode == other.inode && bytes == other.bytes &&
           modified.tv_sec == other.modified.tv_sec && modified.tv_nsec == other.modified.tv_nsec;
  }
};

// An error that says why it is none.
Result<FileStamp> StampOf(const std::string& path) {
  // Without O_NONBLOCK a FIFO that took a file's place would keep us waiting.
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) {
    return Status(StatusCode::kNotFound, std::string("cannot be opened: ") + std::strerror(errno));
  }
  struct stat info {};
  const bool regular = ::fstat(fd, &info) == 0 && S_ISREG(info.st_mode);
  ::close(fd);
  if (!regular) return Status(StatusCode::kInvalidArgument, "is not a regular file");
  return FileStamp{info.st_dev, info.st_ino, info.st_size, info.st_mtim};
}

// Path of the golden rows, empty when there are none. An error when they are not a file of the
// version's own folder.
Result<std::string> FindGolden(const ModelVersion& version) {
  const fs::path model = version.path;
  // Beside DIR/<id>.onnx lie the files of other models.
  if (model.filename() != "model.onnx" && model.filename() != "model.test") return std::string();
  const fs::path golden = model.parent_path() / kGoldenName;
  std::error_code error;
  if (!fs::exists(fs::symlink_status(golden, error))) return std::string();
  const fs::path real = fs::canonical(golden, error);
  const fs::path folder = error ? fs::path() : fs::canonical(model.parent_path(), error);
  if (error || real.parent_path() != folder) {
    return Status(StatusCode::kInvalidArgument,
                  std::string(kGoldenName) + " is a link that leads out of the version's folder");
  }
  const Result<FileStamp> file = StampOf(real.string());
  if (!file.ok()) return file.status().WithContext(kGoldenName);
  if (file->bytes > kMaxGoldenBytes) {
    return Status(StatusCode::kInvalidArgument, std::string(kGoldenName) + " is larger than " +
                                                    std::to_string(kMaxGoldenBytes) + " bytes");
  }
  return real.string();
}

Result<std::string> FingerprintOf(const ProbeOptions& options, const ModelVersion& version,
                                  const SessionOptions& session, const std::string& golden) {
  std::string golden_digest = "none";
  if (!golden.empty()) {
    Result<std::string> digest = Sha256OfFile(golden);
    if (!digest.ok()) return digest.status();
    golden_digest = *digest;
  }
  const ProbeLimits& limits = options.limits;
  FlatJson text;
  text.Set("probe", kProbeVersion).Set("engine", version.engine);
  text.Set("engine_version", options.engine_version).Set("golden", golden_digest);
  text.Set("max_rows", session.max_rows).Set("intra_op_threads", session.intra_op_threads);
  text.Set("memory", limits.memory_bytes).Set("max_bytes", limits.max_bytes);
  text.Set("time", static_cast<std::int64_t>(limits.time.count()));
  text.Set("max_nodes", limits.max_nodes).Set("domains", limits.allow_domains);
  return Sha256Hex(text.Write()).substr(0, kFingerprintDigits);
}

// "while it was loaded": what the child was at.
std::string During(std::string_view stage) {
  if (stage == "scan") return "while its file was looked through";
  if (stage == "load") return "while it was loaded";
  if (stage == "warm") return "while its first rows ran";
  if (stage == "golden") return "while its golden rows ran";
  return "while its rows ran again";
}

std::string SignalText(int signal) {
  const char* const name = ::sigabbrev_np(signal);
  return name == nullptr ? "signal " + std::to_string(signal) : std::string("SIG") + name;
}

// The last line that the child printed.
std::string LastWords(std::string_view words) {
  while (!words.empty() && (words.back() == '\n' || words.back() == ' ')) words.remove_suffix(1);
  const std::size_t line = words.rfind('\n');
  if (line != std::string_view::npos) words.remove_prefix(line + 1);
  words = words.substr(0, kMaxLastWords);
  return words.empty() ? "" : "; it said: " + ReasonLine(words);
}

std::string Seconds(Millis time) {
  const std::int64_t ms = time.count();
  return ms % 1000 == 0 ? std::to_string(ms / 1000) + " s" : std::to_string(ms) + " ms";
}

struct Answer {
  std::string stage;  // The last one; empty: the child never came to look at the model.
  std::string error;
  std::optional<ProbeVerdict> verdict;
  bool garbled = false;
};

Answer ReadAnswer(std::string_view text) {
  Answer answer;
  while (!text.empty()) {
    const std::size_t end = text.find('\n');
    const std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    const std::optional<FlatJson> json = FlatJson::Parse(line);
    // Behind a verdict there is nothing, and half a line is what a crash leaves.
    if (!json || end == std::string_view::npos || answer.verdict) {
      answer.garbled = true;
    } else if (const auto stage = json->Text("stage")) {
      answer.stage = *stage;
    } else if (const auto error = json->Text("error")) {
      answer.error = ReasonLine(*error);
    } else {
      answer.verdict = ProbeVerdict::Parse(line);
      answer.garbled = answer.garbled || !answer.verdict;
    }
  }
  return answer;
}

ProbeVerdict Rejection(std::string reason, bool may_pass = false) {
  ProbeVerdict verdict;
  verdict.reason = ReasonLine(reason);
  verdict.may_pass = may_pass;
  return verdict;
}

// What a child's end says of the model. An error when it says nothing of it.
Result<ProbeVerdict> Judge(const ProbeEnd& end, const ProbeLimits& limits) {
  if (end.cancelled) return Status(StatusCode::kCancelled, "stopped while a model was probed");
  const Answer answer = ReadAnswer(end.answer);
  const int signal = WIFSIGNALED(end.status) ? WTERMSIG(end.status) : 0;
  if (!answer.error.empty() && !answer.verdict) {
    return Status(StatusCode::kUnavailable, "the probe failed: " + answer.error);
  }
  if (answer.stage.empty()) {
    const std::string how = end.timed_out ? "within " + Seconds(limits.time)
                            : signal != 0
                                ? "(" + SignalText(signal) + ")"
                                : "(exit " + std::to_string(WEXITSTATUS(end.status)) + ")";
    return Status(StatusCode::kUnavailable,
                  "the probe did not come to look at the model " + how + LastWords(end.words));
  }
  const std::string during = During(answer.stage);
  if (end.timed_out) {
    return Rejection("was not done within " + Seconds(limits.time) + ", " + during +
                         "; repository.probe.timeout gives it more",
                     true);
  }
  if (end.babbled) return Rejection("made its probe write without end, " + during);
  if (signal == SIGKILL) {
    return Rejection("was killed, " + during + ": the host had no memory left for it", true);
  }
  if (signal == SIGXCPU) return Rejection("took too much CPU time, " + during, true);
  if (signal != 0) {
    return Rejection("crashed its probe (" + SignalText(signal) + ") " + during +
                     LastWords(end.words));
  }
  if (answer.garbled) return Rejection("left its probe with an answer of no sense, " + during);
  if (WEXITSTATUS(end.status) != 0 || !answer.verdict) {
    return Rejection("ended its probe (exit " + std::to_string(WEXITSTATUS(end.status)) + ") " +
                     during + LastWords(end.words));
  }
  return *answer.verdict;
}

void Keep(const VerdictStore& store, const ModelVersion& version, const ProbeVerdict& verdict) {
  // What a model of the test engine does depends on files that its digest does not tell.
  if (version.engine == kTestEngine && !verdict.accepted) return;
  const Status kept = store.Put(verdict);
  static std::atomic<bool> warned{false};
  if (kept.ok() || warned.exchange(true)) return;
  LogEvent(LogLevel::kWarn, "verdicts_not_kept",
           "the verdicts of probes cannot be kept: every start probes every model again",
           {{"error", kept}});
}

}  // namespace

std::string ProbeOrder::Write() const {
  return FlatJson()
      .Set("path", path)
      .Set("name", name)
      .Set("golden", golden)
      .Set("engine", engine)
      .Set("ort_library", ort_library)
      .Set("max_rows", session.max_rows)
      .Set("intra_op_threads", session.intra_op_threads)
      .Set("memory", limits.memory_bytes)
      .Set("time_ms", static_cast<std::int64_t>(limits.time.count()))
      .Set("max_bytes", limits.max_bytes)
      .Set("max_nodes", limits.max_nodes)
      .Set("domains", limits.allow_domains)
      .Set("file_bytes", file_bytes)
      .Set("parent", parent)
      .Write();
}

std::optional<ProbeOrder> ProbeOrder::Parse(std::string_view text) {
  const std::optional<FlatJson> json = FlatJson::Parse(text);
  if (!json) return std::nullopt;
  bool whole = true;
  const auto take_text = [&](const char* member, std::string* out) {
    const auto value = json->Text(member);
    whole = whole && value.has_value();
    if (value) *out = *value;
  };
  const auto take_number = [&](const char* member, std::int64_t* out) {
    const auto value = json->Number(member);
    whole = whole && value.has_value() && *value >= 0;
    if (value) *out = *value;
  };
  ProbeOrder order;
  take_text("path", &order.path);
  take_text("name", &order.name);
  take_text("golden", &order.golden);
  take_text("engine", &order.engine);
  take_text("ort_library", &order.ort_library);
  take_text("domains", &order.limits.allow_domains);
  take_number("max_rows", &order.session.max_rows);
  take_number("intra_op_threads", &order.session.intra_op_threads);
  take_number("memory", &order.limits.memory_bytes);
  take_number("max_bytes", &order.limits.max_bytes);
  take_number("max_nodes", &order.limits.max_nodes);
  take_number("file_bytes", &order.file_bytes);
  take_number("parent", &order.parent);
  std::int64_t time_ms = 0;
  take_number("time_ms", &time_ms);
  order.limits.time = Millis(time_ms);
  if (!whole || order.session.max_rows < 1 || order.session.intra_op_threads < 1) {
    return std::nullopt;
  }
  return order;
}

std::string ProbeStageLine(std::string_view stage) {
  return FlatJson().Set("stage", stage).Write() + "\n";
}

std::string ProbeErrorLine(std::string_view message) {
  return FlatJson().Set("error", ReasonLine(message)).Write() + "\n";
}

Result<ProbeVerdict> ProbeVersion(const ProbeOptions& options, const ModelVersion& version,
                                  const SessionOptions& session, const std::atomic<bool>* cancel) {
  const Result<FileStamp> file = StampOf(version.path);
  if (!file.ok()) return Rejection(std::string(file.status().message()), true);
  if (file->bytes > options.limits.max_bytes) {
    return Rejection("is of " + std::to_string(file->bytes) +
                     " bytes; repository.probe.max_bytes is " +
                     std::to_string(options.limits.max_bytes));
  }
  const Result<std::string> digest = Sha256OfFile(version.path);
  if (!digest.ok()) return Rejection(std::string(digest.status().message()), true);
  const Result<std::string> golden = FindGolden(version);
  if (!golden.ok()) return Rejection(std::string(golden.status().message()));
  const Result<std::string> fingerprint = FingerprintOf(options, version, session, *golden);
  if (!fingerprint.ok()) return fingerprint.status();

  const VerdictStore store(options.cache_dir);
  if (!options.again) {
    if (std::optional<ProbeVerdict> known = store.Find(*digest, *fingerprint)) return *known;
  }
  ProbeOrder order;
  order.path = version.path;
  order.name = version.model_id + ":" + version.version;
  order.golden = *golden;
  order.engine = version.engine;
  order.ort_library = options.ort_library;
  order.session = session;
  order.limits = options.limits;
  order.file_bytes = file->bytes;
  order.parent = ::getpid();
  const Result<ProbeEnd> end =
      RunProbeProcess(options.program, order.Write(), options.limits.time, cancel);
  if (!end.ok()) return end.status();
  // Else the verdict would be of other bytes than those of the digest.
  const Result<FileStamp> after = StampOf(version.path);
  if (!after.ok() || !after->SameAs(*file)) {
    return Status(StatusCode::kUnavailable,
                  "the file changed while it was probed; publish a version by renaming a finished "
                  "folder");
  }
  Result<ProbeVerdict> verdict = Judge(*end, options.limits);
  if (!verdict.ok()) return verdict;
  verdict->sha256 = *digest;
  verdict->fingerprint = *fingerprint;
  verdict->probed_at = SystemClock().WallNow();
  Keep(store, version, *verdict);
  return verdict;
}

}  // namespace millrace
