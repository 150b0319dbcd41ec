// ModelProbe: tries a model version in a process of its own before anyone serves with it.
//
// A model file is a program for its library, and libraries of models are large: a file may crash
// one, hang it, or make it take all memory, while it is loaded or while it runs. So a version is
// loaded and run first in a child process (probe_process.h) with limits on memory and time and
// without a network; what comes of it is its verdict, and the worker loads only what has a good
// one. Crash, hang and memory bomb are the child's end and a rejection with a reason; the process
// that asked never notices. Verdicts are kept by digest (verdict.h) and asked for only once.
//
// The order goes to the child as one FlatJson; the child answers in lines: a note of each stage
// that it enters, then its verdict, or an error that says nothing of the model. Who is on the
// child's end of that is app/probe/probe_child.h. Any thread.
#pragma once

#include <atomic>
#include <optional>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "base/status.h"
#include "models/options.h"
#include "models/repository.h"
#include "models/verdict.h"
#include "runtime/options.h"

namespace millrace {

// Beside the model file: rows whose outputs are known. See docs/models.md.
inline constexpr const char* kGoldenName = "golden.ndjson";

struct ProbeOptions {
  ProbeLimits limits;
  std::string cache_dir;       // As VerdictStore takes it.
  std::string engine_version;  // Engine::Version of the one that will serve.
  std::string ort_library;     // RuntimeOptions::ort_library.
  // What is run with kProbeArgument.
  std::string program = "/proc/self/exe";
  bool again = false;  // Asks anew even when there is a verdict.
};

// What a child is told.
struct ProbeOrder {
  std::string path;
  std::string name;    // "model:version", for messages.
  std::string golden;  // Path of the golden rows; empty: none.
  std::string engine;
  std::string ort_library;
  SessionOptions session;
  ProbeLimits limits;
  std::int64_t file_bytes = 0;
  std::int64_t parent = 0;  // Process id of who asks.

  std::string Write() const;
  static std::optional<ProbeOrder> Parse(std::string_view text);
};

// The lines that a child answers with, each ended by a line break.
std::string ProbeStageLine(std::string_view stage);
std::string ProbeErrorLine(std::string_view message);

// The verdict of the version's bytes: the one that is kept, or a child's. A file that cannot even
// be given to a child (it is none, or too large) is rejected as well. An error only when no child
// could be started, it failed for a reason of its own, or `cancel` (may be null) became true. Slow.
Result<ProbeVerdict> ProbeVersion(const ProbeOptions& options, const ModelVersion& version,
                                  const SessionOptions& session, const std::atomic<bool>* cancel);

}  // namespace millrace
