// ProbeVerdict: what a probe found out about the bytes of one model; VerdictStore: where verdicts
// are kept, beside their digests.
//
// A verdict is of bytes, not of a name: a model that is copied, renamed or comes from elsewhere
// keeps it. It holds for one fingerprint, the text of everything else that it depends on: the
// engine's version, the session's options, the limits. A change of any of them asks again.
//
// The store is a folder with one small file for each verdict, written under another name and then
// renamed, so that a reader sees all of it or nothing and any number of processes may share it. A
// file that cannot be read is as good as none. Thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"

namespace millrace {

// Whether what one row gives depends on where in a batch it runs, on how large the batch is, and on
// the rows beside it.
enum class Determinism : std::uint8_t {
  kUnknown,  // It was not found out: no row is known that the model takes, or time ran out.
  kExact,    // Never: the same bits everywhere.
  kClose,    // In the last digits: within kCloseTolerance of each other.
  kVaries,   // By more: answers depend on who else asks.
};
inline constexpr double kCloseTolerance = 1e-6;  // Relative.

std::string_view DeterminismName(Determinism determinism);

struct ProbeVerdict {
  bool accepted = false;
  std::string reason;     // One line: why it was rejected and what to do; of what was accepted, a
                          // note or nothing.
  bool may_pass = false;  // A rejection for want of time or memory, which may go otherwise later.
  std::string sha256;
  std::string fingerprint;  // 16 hexadecimal digits.
  Determinism determinism = Determinism::kUnknown;
  std::int64_t footprint_bytes = 0;  // What loading it and running it added to the process.
  Millis load_time{0};               // Of loading and warming it up, in the probe.
  std::int64_t golden_rows = 0;      // That were run and gave what they should.
  std::string confinement;  // What the child had given up: "cpu files landlock seccomp memory".
  WallMillis probed_at = 0;
  bool from_store = false;  // Not kept.

  std::string Write() const;
  // Nothing when the text is no verdict.
  static std::optional<ProbeVerdict> Parse(std::string_view text);
};

// What is left of `text` in one line of printable characters and at most kMaxReasonBytes.
inline constexpr std::size_t kMaxReasonBytes = 1000;
std::string ReasonLine(std::string_view text);

class VerdictStore {
 public:
  // With more the oldest are forgotten.
  static constexpr std::size_t kMaxKept = 10'000;
  // How long a rejection is kept that may pass.
  static constexpr Millis kKeepPassing{600'000};

  // Verdicts in `<cache_dir>/verdicts`; an empty `cache_dir` is $XDG_CACHE_HOME/millrace/models, or
  // ~/.cache/millrace/models. Makes the folder when something is stored.
  explicit VerdictStore(const std::string& cache_dir, const Clock& clock = SystemClock());

  // Nothing when there is none, or one that is too old to believe.
  std::optional<ProbeVerdict> Find(const std::string& sha256, const std::string& fingerprint) const;
  // kUnavailable, with the folder and the reason, when nothing can be written.
  Status Put(const ProbeVerdict& verdict) const;

  const std::string& dir() const { return dir_; }

 private:
  std::string PathOf(const std::string& sha256, const std::string& fingerprint) const;
  void Prune() const;

  std::string dir_;  // Empty: there is nowhere to keep anything.
  const Clock& clock_;
};

}  // namespace millrace
