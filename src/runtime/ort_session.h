// OrtModelSession and OrtRunner: a loaded ONNX model, and one thread's way into it.
//
// Inside the runtime module only. The session owns the library's session, which is safe to run from
// any number of threads; a runner belongs to one thread, except Terminate. A runner keeps one set
// of the library's tensor handles per bucket over its own memory, made when the bucket is first
// used, so that a Run is one call into the library. With strings or a dynamic input they are made
// for each Run, of as many rows as it has.
#pragma once

#include <cstddef>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "runtime/aligned_buffer.h"
#include "runtime/engine.h"
#include "runtime/ort_process.h"
#include "types/tensor.h"

struct OrtRunOptions;
struct OrtSession;
struct OrtValue;

namespace millrace {

class OrtModelSession final : public Session {
 public:
  OrtModelSession(const OrtProcess& process, OrtPtr<OrtSession> session, ModelSignature signature,
                  std::size_t max_rows, std::string context);
  ~OrtModelSession() override;

  const ModelSignature& signature() const override { return signature_; }
  const RowLayout& row_layout() const override { return layout_; }
  Result<std::unique_ptr<Runner>> NewRunner() override;

  const OrtProcess& process() const { return process_; }
  OrtSession* handle() const { return session_.get(); }
  std::size_t max_rows() const { return max_rows_; }
  // "model linear:1 (/path)", what every error begins with.
  const std::string& context() const { return context_; }

 private:
  const OrtProcess& process_;
  OrtPtr<OrtSession> session_;
  ModelSignature signature_;
  RowLayout layout_;
  std::size_t max_rows_;
  std::string context_;
};

class OrtRunner final : public Runner {
 public:
  explicit OrtRunner(const OrtModelSession& session);
  ~OrtRunner() override;

  // What can fail of making a runner. Called once, before anything else.
  Status Prepare();

  std::byte* Input(std::size_t input) override { return inputs_[input].buffer.data(); }
  Status SetRowShape(std::size_t input, std::span<const std::int64_t> shape,
                     std::size_t rows) override;
  Status Run(std::size_t rows) override;
  std::span<const OutputView> Outputs() const override { return views_; }
  void Terminate() override;

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

  const OrtModelSession& session_;
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

  // Orders Terminate against the start and the end of a Run.
  std::mutex mutex_;
  OrtPtr<OrtRunOptions> run_options_;
  bool running_ = false;
  bool terminated_ = false;
};

}  // namespace millrace
