// Engine, Session, Runner: what runs a batch.
//
// An Engine loads model files; a Session is one loaded model version, shared by all threads; a
// Runner is one thread's way into it with preallocated, aligned input and output memory. Loading is
// slow and happens off the data plane; a Runner's Run allocates nothing of ours. Sessions outlive
// their Runners; the Engine outlives its Sessions.
#pragma once

#include <cstddef>
#include <memory>
#include <span>
#include <string>

#include "base/status.h"
#include "runtime/options.h"
#include "types/tensor.h"

namespace millrace {

// One thread's working memory for one session. Not thread-safe, except Terminate.
class Runner {
 public:
  virtual ~Runner() = default;
  // Where the rows of the input go, one after the other, 64-byte aligned.
  virtual std::byte* Input(std::size_t input) = 0;
  // For a dynamic input, before its rows are written: all rows of the next Run, `rows` or fewer,
  // have `shape`. Moves Input(input).
  virtual Status SetRowShape(std::size_t input, std::span<const std::int64_t> shape,
                             std::size_t rows);
  // Runs the first `rows` rows. REQUIRES: 1 <= rows <= SessionOptions::max_rows. On OK, Outputs()
  // has `rows` valid rows. May pad to a batch bucket by repeating the last row.
  virtual Status Run(std::size_t rows) = 0;
  // Of the last successful Run; valid until the next, or until Done.
  virtual std::span<const OutputView> Outputs() const = 0;
  // Rows and outputs of the last Run are not needed any more: memory that only a batch of their
  // size needs may be given back. What is not called costs memory only.
  virtual void Done() {}
  // Makes a Run in progress fail with kDeadlineExceeded as soon as the engine allows. Any thread.
  virtual void Terminate() = 0;
};

class Session {
 public:
  virtual ~Session() = default;
  virtual const ModelSignature& signature() const = 0;
  // What one request fills; RowLayoutOf the signature's inputs.
  virtual const RowLayout& row_layout() const = 0;
  virtual Result<std::unique_ptr<Runner>> NewRunner() = 0;
};

class Engine {
 public:
  virtual ~Engine() = default;
  // "onnxruntime 1.23.2" or "test".
  virtual std::string Version() const = 0;
  // Loads the model at `path`; `name` ("model:version") is for logs. kUnsupported with a message
  // that says what of the signature is not offered yet; kInvalidArgument for a broken file.
  virtual Result<std::unique_ptr<Session>> Load(const std::string& path, const std::string& name,
                                                const SessionOptions& options) = 0;
};

// ONNX Runtime through its C API, opened with dlopen. kNotFound (with every place that was tried
// and what to do) or kUnsupported (too old). At most one per process.
Result<std::unique_ptr<Engine>> OpenOnnxRuntime(const RuntimeOptions& options);

// An engine for tests: "loads" small YAML-free text files (see test_engine.cc) that describe a
// layout and a behaviour: echo, sleep, fail on a marked row, crash, never return.
std::unique_ptr<Engine> NewTestEngine();

}  // namespace millrace
