// Providers: what besides the CPU runs nodes of a model's graph, and which nodes were left to it.
//
// Inside the runtime module only. A provider is a library of its own, which ONNX Runtime opens from
// its own folder. Everything here happens while a session is made, on the thread that makes it.
#pragma once

#include <signal.h>

#include <array>
#include <cstddef>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "runtime/options.h"
#include "runtime/ort_process.h"

struct OrtSessionOptions;

namespace millrace {

// What the library was built with, in its own words: "CUDAExecutionProvider".
Result<std::vector<std::string>> AvailableProviders(const OrtProcess& process);

// Whether a library that has `available` and lies in `folder` can be asked for `provider`;
// kConfiguration when not, with what there is and what to do. An empty folder is not looked into.
Status CheckProvider(Provider provider, std::span<const std::string> available,
                     const std::string& folder);

// Puts the provider before the CPU, which is always the last, and has the session tell where its
// nodes went. What it cannot be given is kConfiguration.
Status AppendProvider(const OrtProcess& process, const SessionOptions& options,
                      OrtSessionOptions* session);

// Where the nodes of a graph went.
struct NodePlacement {
  static constexpr std::size_t kMaxNames = 8;

  bool known = false;  // The library has told.
  std::size_t on_cpu = 0;
  std::vector<std::string> names;  // Of the first of these: "MatMul (dense_1)".

  // "3 nodes: MatMul (dense_1), Add (bias_1), Softmax (out)"
  std::string Text() const;
};

// Reads the placement from what the library logs on this thread while the object lives, and keeps
// these lines, which are of no interest otherwise, from the log. One at a time per thread.
class PlacementReader {
 public:
  PlacementReader();
  ~PlacementReader();
  PlacementReader(const PlacementReader&) = delete;
  PlacementReader& operator=(const PlacementReader&) = delete;

  const NodePlacement& placement() const { return placement_; }
  // A line below the severity of a warning, as it came.
  static void Hear(std::string_view line);

 private:
  void Read(std::string_view line);

  NodePlacement placement_;
  bool of_cpu_ = false;  // The lines that follow name nodes of the CPU.
};

// Whether making the session failed for a node that was left to the CPU.
bool RefusedForCpuNodes(const Status& status);

// Restores what the process does on signals: libraries of providers put handlers of their own there
// when they are opened, and whoever looks into a crash would not hear of it.
class SignalHandlers {
 public:
  SignalHandlers();
  ~SignalHandlers();
  SignalHandlers(const SignalHandlers&) = delete;
  SignalHandlers& operator=(const SignalHandlers&) = delete;

 private:
  static constexpr std::array<int, 7> kSignals = {SIGSEGV, SIGABRT, SIGBUS, SIGFPE,
                                                  SIGILL,  SIGTERM, SIGINT};
  std::array<struct sigaction, kSignals.size()> before_{};
};

}  // namespace millrace
