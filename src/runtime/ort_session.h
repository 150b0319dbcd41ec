// OrtModelSession and OrtRunner: a loaded ONNX model, and one thread's way into it.
//
// Inside the runtime module only. The session owns the library's session, which is safe to run from
// any number of threads; a runner belongs to one thread, except Terminate. A runner keeps one set
// of the library's tensor handles per bucket over its own memory, made when the bucket is first
// used, so that a Run is one call into the library. With strings or a dynamic input they are made
// for each Run, of as many rows as it has.
//
// What a large batch of open shapes needed stays with a runner, up to kKeptBytes, until the session
// stands idle: IdleWatch then trims it, from a thread of its own.
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "runtime/aligned_buffer.h"
#include "runtime/engine.h"
#include "runtime/ort_idle.h"
#include "runtime/ort_process.h"
#include "types/tensor.h"

struct OrtRunOptions;
struct OrtSession;
struct OrtValue;

namespace millrace {

class OrtRunner;

class OrtModelSession final : public Session {
 public:
  // Is watched by `idle`, which outlives it.
  OrtModelSession(const OrtProcess& process, IdleWatch& idle, OrtPtr<OrtSession> session,
                  ModelSignature signature, RowLayout layout, const SessionOptions& options,
                  std::string context);
  ~OrtModelSession() override;

  const ModelSignature& signature() const override { return signature_; }
  const RowLayout& row_layout() const override { return layout_; }
  Result<std::unique_ptr<Runner>> NewRunner() override;

  const OrtProcess& process() const { return process_; }
  OrtSession* handle() const { return session_.get(); }
  std::size_t max_rows() const { return static_cast<std::size_t>(options_.max_rows); }
  Denormals denormals() const { return options_.denormals; }
  // "model linear:1 (/path)", what every error begins with.
  const std::string& context() const { return context_; }

  // --- Of its runners; any thread ---
  void Enter(OrtRunner& runner);
  void Leave(OrtRunner& runner);
  // How many runs there have been.
  std::uint64_t runs();
  void Trim();

 private:
  const OrtProcess& process_;
  IdleWatch& idle_;
  OrtPtr<OrtSession> session_;
  ModelSignature signature_;
  RowLayout layout_;
  const SessionOptions options_;
  std::string context_;

  std::mutex mutex_;
  std::vector<OrtRunner*> runners_;
  std::uint64_t runs_of_gone_ = 0;
};

class OrtRunner final : public Runner {
 public:
  // A larger buffer of a dynamic input is given back with the batch that needed it.
  static constexpr std::size_t kKeptBytes = std::size_t{16} << 20;

  explicit OrtRunner(OrtModelSession& session);
  ~OrtRunner() override;

  // What can fail of making a runner. Called once, before anything else.
  Status Prepare();

  std::byte* Input(std::size_t input) override { return inputs_[input].buffer.data(); }
  Status SetRowShape(std::size_t input, std::span<const std::int64_t> shape,
                     std::size_t rows) override;
  Status Run(std::size_t rows) override;
  std::span<const OutputView> Outputs() const override { return views_; }
  void Done() override;
  void Terminate() override;

  std::uint64_t runs() const { return runs_.load(std::memory_order_relaxed); }
  // Gives back what grew with a batch; nothing between SetRowShape or Run and Done. Any thread.
  void Trim();

 private:
  // A run of `rows` rows from row `first` on: all of a bucket, or one chunk of a fixed batch.
  struct Slot {
    std::size_t first = 0;
    std::size_t rows = 0;
    std::vector<OrtPtr<OrtValue>> inputs;     // Empty until the first run.
    std::vector<const OrtValue*> raw_inputs;  // The same, as the library wants them.
    std::vector<OrtPtr<OrtValue>> outputs;    // Null where only the run tells the shape.
  };
  struct InputRows {
    AlignedBuffer buffer;
    std::vector<std::int64_t> shape;  // Of a tensor; the batch is filled in.
    std::size_t row_elements = 0;
    std::size_t row_bytes = 0;
  };
  struct Output {
    const TensorSpec* spec = nullptr;
    bool preallocated = false;
    std::size_t row_bytes = 0;  // Known from the start when preallocated, else of the last run.
    AlignedBuffer buffer;       // Preallocated outputs, and gathered chunks of the others.
    OrtPtr<OrtValue> borrowed;  // The library's own tensor of the last run.
    // Of strings: their text, one piece for each chunk, and views of them all.
    std::vector<std::string> texts;
    std::vector<std::string_view> strings;
    std::vector<std::size_t> offsets;  // Scratch.
    std::vector<std::int64_t> shape;   // Scratch: of the last tensor that was looked at.
  };

  Status MakeSlot(Slot& slot);
  // A tensor of `rows` rows over `data`. `shape`: but for the batch.
  Result<OrtPtr<OrtValue>> WrapTensor(ElementType type, std::vector<std::int64_t> shape,
                                      std::byte* data, std::size_t row_bytes,
                                      std::size_t rows) const;
  // What came of a run of `rows` rows. REQUIRES: mutex_ is held.
  Status Judge(Status status, std::size_t rows) const;
  // REQUIRES: mutex_ is held, and nobody looks at the last run. Frees buffers of dynamic inputs
  // that are larger than `kept`.
  void FreeLocked(std::size_t kept);
  Status RunSlots(std::size_t rows);
  Status RunSlot(Slot& slot);
  // Reads shape and place of the tensor that the library made for output `i`.
  Status TakeRunTimeOutput(std::size_t i, const Slot& slot);
  Status ReadShape(const OrtValue& value, Output& output) const;
  // Keeps the `count` strings that the library made; those of a first chunk replace the last run's.
  Status TakeStrings(Output& output, const Slot& slot, std::size_t count);
  // Copies strings of the rows to the slot's tensors: they are the library's own.
  Status FillStrings(Slot& slot);
  // Repeats row `rows` - 1 up to row `padded`.
  void PadRows(std::size_t rows, std::size_t padded);

  OrtModelSession& session_;
  const OrtProcess& process_;
  const std::size_t fixed_batch_;     // 0: any number of rows.
  std::vector<std::size_t> buckets_;  // Without a fixed batch.
  std::vector<InputRows> inputs_;
  bool has_text_ = false;    // Some of the inputs are strings.
  bool exact_ = false;       // Runs as many rows as there are, over tensors made for that run.
  std::size_t chunks_ = 0;   // Of a fixed batch, in the run at hand.
  std::vector<Slot> slots_;  // One per bucket, or one per chunk of the fixed batch.
  std::vector<Output> outputs_;
  std::vector<OutputView> views_;
  std::vector<const char*> input_names_;
  std::vector<const char*> output_names_;
  std::vector<OrtValue*> raw_outputs_;  // Scratch of one run.

  std::atomic<std::uint64_t> runs_{0};  // Written by the runner's thread.

  // Orders Terminate against the start and the end of a Run, and Trim against the use of buffers.
  std::mutex mutex_;
  OrtPtr<OrtRunOptions> run_options_;
  bool running_ = false;
  bool in_use_ = true;  // Until Done.
  bool terminated_ = false;
};

}  // namespace millrace
