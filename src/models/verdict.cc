#include "models/verdict.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "models/flat_json.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 4> kDeterminismNames = {"unknown", "exact", "close",
                                                               "varies"};

std::optional<Determinism> ParseDeterminism(std::string_view name) {
  for (std::size_t i = 0; i < kDeterminismNames.size(); ++i) {
    if (kDeterminismNames[i] == name) return static_cast<Determinism>(i);
  }
  return std::nullopt;
}

// The digests and fingerprints that become names of files.
bool IsHex(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
  });
}

std::string DefaultCacheDir() {
  const char* const cache = std::getenv("XDG_CACHE_HOME");
  if (cache != nullptr && *cache == '/') return std::string(cache) + "/millrace/models";
  const char* const home = std::getenv("HOME");
  if (home != nullptr && *home == '/') return std::string(home) + "/.cache/millrace/models";
  return "";
}

// The file's text when it is a plain file and small, else nothing.
std::optional<std::string> ReadSmallFile(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (fd < 0) return std::nullopt;
  std::string text(FlatJson::kMaxBytes + 1, '\0');
  struct stat info {};
  ssize_t size = -1;
  if (::fstat(fd, &info) == 0 && S_ISREG(info.st_mode)) {
    size = ::read(fd, text.data(), text.size());
  }
  ::close(fd);
  if (size < 0 || static_cast<std::size_t>(size) > FlatJson::kMaxBytes) return std::nullopt;
  text.resize(static_cast<std::size_t>(size));
  return text;
}

bool WriteAll(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t size = ::write(fd, text.data(), text.size());
    if (size < 0 && errno != EINTR) return false;
    if (size > 0) text.remove_prefix(static_cast<std::size_t>(size));
  }
  return true;
}

}  // namespace

std::string_view DeterminismName(Determinism determinism) {
  return kDeterminismNames[static_cast<std::size_t>(determinism)];
}

std::string ReasonLine(std::string_view text) {
  std::string line(text.substr(0, kMaxReasonBytes));
  for (char& c : line) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) c = ' ';
  }
  // A cut may not leave half of a UTF-8 character behind.
  if (line.size() < text.size()) {
    while (!line.empty() && (static_cast<unsigned char>(line.back()) & 0xC0U) == 0x80U) {
      line.pop_back();
    }
    if (!line.empty() && static_cast<unsigned char>(line.back()) >= 0xC0U) line.pop_back();
  }
  while (!line.empty() && line.back() == ' ') line.pop_back();
  return line;
}

std::string ProbeVerdict::Write() const {
  return FlatJson()
      .Set("accepted", accepted)
      .Set("reason", ReasonLine(reason))
      .Set("may_pass", may_pass)
      .Set("sha256", sha256)
      .Set("fingerprint", fingerprint)
      .Set("determinism", DeterminismName(determinism))
      .Set("footprint_bytes", footprint_bytes)
      .Set("load_ms", static_cast<std::int64_t>(load_time.count()))
      .Set("golden_rows", golden_rows)
      .Set("confinement", ReasonLine(confinement))
      .Set("probed_at", probed_at)
      .Write();
}

std::optional<ProbeVerdict> ProbeVerdict::Parse(std::string_view text) {
  const std::optional<FlatJson> json = FlatJson::Parse(text);
  if (!json) return std::nullopt;
  const auto accepted = json->Bool("accepted");
  const auto may_pass = json->Bool("may_pass");
  const auto reason = json->Text("reason");
  const auto sha256 = json->Text("sha256");
  const auto fingerprint = json->Text("fingerprint");
  const auto determinism = json->Text("determinism");
  const auto footprint = json->Number("footprint_bytes");
  const auto load_ms = json->Number("load_ms");
  const auto golden = json->Number("golden_rows");
  const auto confinement = json->Text("confinement");
  const auto probed_at = json->Number("probed_at");
  if (!accepted || !may_pass || !reason || !sha256 || !fingerprint || !determinism || !footprint ||
      !load_ms || !golden || !confinement || !probed_at) {
    return std::nullopt;
  }
  const std::optional<Determinism> known = ParseDeterminism(*determinism);
  if (!known || *footprint < 0 || *load_ms < 0 || *golden < 0) return std::nullopt;
  ProbeVerdict verdict;
  verdict.accepted = *accepted;
  verdict.reason = ReasonLine(*reason);
  verdict.may_pass = *may_pass;
  verdict.sha256 = *sha256;
  verdict.fingerprint = *fingerprint;
  verdict.determinism = *known;
  verdict.footprint_bytes = *footprint;
  verdict.load_time = Millis(*load_ms);
  verdict.golden_rows = *golden;
  verdict.confinement = ReasonLine(*confinement);
  verdict.probed_at = *probed_at;
  return verdict;
}

VerdictStore::VerdictStore(const std::string& cache_dir, const Clock& clock) : clock_(clock) {
  const std::string root = cache_dir.empty() ? DefaultCacheDir() : cache_dir;
  if (!root.empty()) dir_ = root + "/verdicts";
}

std::string VerdictStore::PathOf(const std::string& sha256, const std::string& fingerprint) const {
  return dir_ + "/" + sha256 + "-" + fingerprint + ".json";
}

std::optional<ProbeVerdict> VerdictStore::Find(const std::string& sha256,
                                               const std::string& fingerprint) const {
  if (dir_.empty() || !IsHex(sha256) || !IsHex(fingerprint)) return std::nullopt;
  const std::optional<std::string> text = ReadSmallFile(PathOf(sha256, fingerprint));
  if (!text) return std::nullopt;
  std::optional<ProbeVerdict> verdict = ProbeVerdict::Parse(*text);
  if (!verdict || verdict->sha256 != sha256 || verdict->fingerprint != fingerprint) {
    return std::nullopt;
  }
  const WallMillis age = clock_.WallNow() - verdict->probed_at;
  const bool passing = !verdict->accepted && verdict->may_pass;
  if (passing && (age < 0 || age > kKeepPassing.count())) return std::nullopt;
  verdict->from_store = true;
  return verdict;
}

Status VerdictStore::Put(const ProbeVerdict& verdict) const {
  if (dir_.empty()) {
    return {StatusCode::kUnavailable,
            "there is no folder for verdicts: neither repository.cache_dir nor XDG_CACHE_HOME nor "
            "HOME names one"};
  }
  if (!IsHex(verdict.sha256) || !IsHex(verdict.fingerprint)) {
    return {StatusCode::kInvalidArgument, "a verdict without a digest"};
  }
  std::error_code error;
  fs::create_directories(dir_, error);
  static std::atomic<unsigned> number{0};
  const std::string path = PathOf(verdict.sha256, verdict.fingerprint);
  const std::string draft =
      path + ".tmp-" + std::to_string(::getpid()) + "-" + std::to_string(number.fetch_add(1));
  const auto failed = [&](const char* what) {
    Status status(StatusCode::kUnavailable,
                  dir_ + ": " + what + ": " + std::strerror(errno) +
                      "; set repository.cache_dir to a folder that can be written");
    ::unlink(draft.c_str());
    return status;
  };
  constexpr mode_t kMode = 0644;
  const int fd = ::open(draft.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, kMode);
  if (fd < 0) return failed("a verdict cannot be written");
  const bool written = WriteAll(fd, verdict.Write() + "\n");
  if (::close(fd) != 0 || !written) return failed("a verdict cannot be written");
  // A verdict that a power cut takes is found out again: nothing waits for the disk.
  if (::rename(draft.c_str(), path.c_str()) != 0) return failed("a verdict cannot be named");
  Prune();
  return {};
}

void VerdictStore::Prune() const {
  // What a process that was killed has left of a draft is pruned with the rest.
  std::vector<std::pair<fs::file_time_type, fs::path>> kept;
  std::error_code error;
  for (fs::directory_iterator it(dir_, error), end; !error && it != end; it.increment(error)) {
    std::error_code gone;  // Another process prunes, too.
    const fs::file_time_type written = it->last_write_time(gone);
    if (!gone) kept.emplace_back(written, it->path());
  }
  if (kept.size() <= kMaxKept) return;
  // A tenth at once, so that not every verdict from here on costs this.
  const std::size_t surplus = kept.size() - kMaxKept + kMaxKept / 10;
  std::partial_sort(kept.begin(), kept.begin() + static_cast<std::ptrdiff_t>(surplus), kept.end());
  for (std::size_t i = 0; i < surplus; ++i) fs::remove(kept[i].second, error);
}

}  // namespace millrace
