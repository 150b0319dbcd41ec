#include "runtime/ort_session.h"

#include <onnxruntime_c_api.h>

#include <algorithm>
#include <cstring>

#include "base/check.h"
#include "runtime/batch_buckets.h"
#include "runtime/denormals.h"
#include "runtime/ort_signature.h"

namespace millrace {
namespace {

ONNXTensorElementDataType OnnxType(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
    case ElementType::kFloat64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE;
    case ElementType::kInt32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
    case ElementType::kInt64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64;
    case ElementType::kInt8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
    case ElementType::kUint8:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
    case ElementType::kInt16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16;
    case ElementType::kUint16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16;
    case ElementType::kUint32:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32;
    case ElementType::kUint64:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64;
    case ElementType::kBool:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL;
    case ElementType::kFloat16:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;
    case ElementType::kString:
      return ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING;
  }
  return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
}

// Memory in `buffer` for `rows` rows of the tensor `spec`. What is over the limit, which no other
// try is going to change, is `over`.
Status Reserve(AlignedBuffer& buffer, const TensorSpec& spec, std::size_t rows,
               std::size_t row_bytes, StatusCode over) {
  const bool fits = row_bytes <= kMaxTensorBytes / rows;
  if (fits && buffer.Grow(rows * row_bytes)) return {};
  return {fits ? StatusCode::kResourceExhausted : over,
          "no memory for " + std::to_string(rows) + " rows of " + std::to_string(row_bytes) +
              " bytes of tensor '" + spec.name + "' (limit 1 GiB); lower max_rows of this model"};
}

}  // namespace

OrtModelSession::OrtModelSession(const OrtProcess& process, IdleWatch& idle,
                                 OrtPtr<OrtSession> session, ModelSignature signature,
                                 RowLayout layout, const SessionOptions& options,
                                 std::string context)
    : process_(process),
      idle_(idle),
      session_(std::move(session)),
      signature_(std::move(signature)),
      layout_(std::move(layout)),
      options_(options),
      context_(std::move(context)) {
  idle_.Add(*this);
}

OrtModelSession::~OrtModelSession() {
  MILLRACE_CHECK(runners_.empty());
  session_.reset();  // First: what it held of the arena can be given back from now on.
  idle_.Remove(*this);
}

Result<std::unique_ptr<Runner>> OrtModelSession::NewRunner() {
  auto runner = std::make_unique<OrtRunner>(*this);
  MILLRACE_RETURN_IF_ERROR(runner->Prepare().WithContext(context_));
  return std::unique_ptr<Runner>(std::move(runner));
}

void OrtModelSession::Enter(OrtRunner& runner) {
  const std::lock_guard lock(mutex_);
  runners_.push_back(&runner);
}

void OrtModelSession::Leave(OrtRunner& runner) {
  const std::lock_guard lock(mutex_);
  std::erase(runners_, &runner);
  runs_of_gone_ += runner.runs();
}

std::uint64_t OrtModelSession::runs() {
  const std::lock_guard lock(mutex_);
  std::uint64_t runs = runs_of_gone_;
  for (const OrtRunner* runner : runners_) runs += runner->runs();
  return runs;
}

void OrtModelSession::Trim() {
  const std::lock_guard lock(mutex_);
  for (OrtRunner* runner : runners_) runner->Trim();
}

OrtRunner::OrtRunner(OrtModelSession& session)
    : session_(session),
      process_(session.process()),
      fixed_batch_(static_cast<std::size_t>(session.signature().fixed_batch)) {
  session_.Enter(*this);
}

OrtRunner::~OrtRunner() { session_.Leave(*this); }

Status OrtRunner::Prepare() {
  const OrtApi& api = *process_.api;
  const ModelSignature& signature = session_.signature();
  const RowLayout& layout = session_.row_layout();
  std::size_t rows = session_.max_rows();
  if (fixed_batch_ == 0) {
    buckets_ = BatchBuckets(rows);
    slots_.resize(buckets_.size());
    for (std::size_t i = 0; i < slots_.size(); ++i) slots_[i].rows = buckets_[i];
  } else {
    slots_.resize((rows + fixed_batch_ - 1) / fixed_batch_);
    rows = slots_.size() * fixed_batch_;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
      slots_[i].first = i * fixed_batch_;
      slots_[i].rows = fixed_batch_;
    }
  }
  inputs_.resize(signature.inputs.size());
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const TensorSpec& spec = signature.inputs[i];
    input_names_.push_back(spec.name.c_str());
    has_text_ = has_text_ || spec.type == ElementType::kString;
    exact_ = has_text_ || layout.dynamic;
    inputs_[i].shape = spec.shape;
    if (layout.inputs[i].dynamic) continue;
    inputs_[i].row_elements = layout.inputs[i].elements;
    inputs_[i].row_bytes = layout.inputs[i].bytes;
    MILLRACE_RETURN_IF_ERROR(
        Reserve(inputs_[i].buffer, spec, rows, inputs_[i].row_bytes, StatusCode::kConfiguration));
  }

  outputs_.resize(signature.outputs.size());
  views_.resize(outputs_.size());
  raw_outputs_.resize(outputs_.size());
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    Output& output = outputs_[i];
    OutputView& view = views_[i];
    output.spec = view.spec = &signature.outputs[i];
    output_names_.push_back(output.spec->name.c_str());
    const std::optional<std::size_t> elements = StaticRowElements(*output.spec);
    if (!elements) continue;
    output.preallocated = true;
    output.row_bytes = *elements * ElementBytes(output.spec->type);
    MILLRACE_RETURN_IF_ERROR(
        Reserve(output.buffer, *output.spec, rows, output.row_bytes, StatusCode::kConfiguration));
    view.data = output.buffer.data();
    view.elements_per_row = *elements;
    view.row_shape.assign(output.spec->shape.begin() + 1, output.spec->shape.end());
  }

  OrtRunOptions* options = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CreateRunOptions(&options)));
  run_options_ = OrtPtr<OrtRunOptions>(options, {api.ReleaseRunOptions});
  // A failed run is reported by its Status; a log line per poisoned batch would only repeat it.
  return TakeOrtStatus(api, api.RunOptionsSetRunLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL));
}

Status OrtRunner::Run(std::size_t rows) {
  MILLRACE_CHECK(rows >= 1 && rows <= session_.max_rows());
  {
    const std::lock_guard lock(mutex_);
    if (terminated_) {
      MILLRACE_RETURN_IF_ERROR(
          TakeOrtStatus(*process_.api, process_.api->RunOptionsUnsetTerminate(run_options_.get())));
    }
    terminated_ = false;
    running_ = true;
    in_use_ = true;
  }
  Status status;
  if (session_.denormals() == Denormals::kFlush) {
    const ArithmeticMode flushing(Denormals::kFlush);
    status = RunSlots(rows);
  } else {
    status = RunSlots(rows);
  }
  const std::lock_guard lock(mutex_);
  running_ = false;
  runs_.store(runs() + 1, std::memory_order_relaxed);
  return Judge(std::move(status), rows).WithContext(session_.context());
}

Status OrtRunner::Judge(Status status, std::size_t rows) const {
  if (status.ok()) return status;
  if (terminated_) {
    return {StatusCode::kDeadlineExceeded,
            "the run of " + std::to_string(rows) + " rows was stopped"};
  }
  // Else the model would be paused, and the run tried again, for what can never be.
  const std::optional<std::int64_t> wanted = WantedBytes(status);
  if (wanted.has_value() && *wanted > process_.memory) {
    return {StatusCode::kInvalidArgument,
            "the run of " + std::to_string(rows) + (rows == 1 ? " row" : " rows") + " asked for " +
                std::to_string(*wanted) + " bytes at once; this process may have " +
                std::to_string(process_.memory)};
  }
  return status;
}

void OrtRunner::Done() {
  const std::lock_guard lock(mutex_);
  in_use_ = false;
  FreeLocked(kKeptBytes);
}

void OrtRunner::Trim() {
  const std::lock_guard lock(mutex_);
  if (!in_use_) FreeLocked(0);
}

void OrtRunner::FreeLocked(std::size_t kept) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (!session_.row_layout().inputs[i].dynamic || inputs_[i].buffer.size() <= kept) continue;
    inputs_[i].buffer.Free();
    for (Slot& slot : slots_) slot.inputs.clear();  // Made anew for each run; they point there.
  }
  for (Output& output : outputs_) {
    output.borrowed.reset();
    if (output.preallocated) continue;
    if (output.buffer.size() > kept) output.buffer.Free();
    if (kept == 0) {
      output.texts = {};
      output.strings = {};
      output.offsets = {};
    }
  }
}

void OrtRunner::Terminate() {
  const std::lock_guard lock(mutex_);
  if (!running_) return;
  terminated_ = true;
  // Fails for a null argument only.
  (void)TakeOrtStatus(*process_.api, process_.api->RunOptionsSetTerminate(run_options_.get()));
}

Status OrtRunner::SetRowShape(std::size_t input, std::span<const std::int64_t> shape,
                              std::size_t rows) {
  const TensorSpec& spec = session_.signature().inputs[input];
  MILLRACE_CHECK(session_.row_layout().inputs[input].dynamic && rows <= session_.max_rows());
  MILLRACE_CHECK(shape.size() + 1 == spec.shape.size());
  if (fixed_batch_ > 0) rows = (rows + fixed_batch_ - 1) / fixed_batch_ * fixed_batch_;
  std::size_t bytes = ElementBytes(spec.type);
  std::size_t elements = 1;
  for (const std::int64_t dim : shape) {
    MILLRACE_CHECK(dim > 0);
    const auto count = static_cast<std::size_t>(dim);
    if (count > kMaxTensorBytes / bytes) {
      return {StatusCode::kInvalidArgument,
              "input '" + spec.name + "': a row is larger than 1 GiB"};
    }
    bytes *= count;
    elements *= count;
  }
  {
    const std::lock_guard lock(mutex_);
    in_use_ = true;
  }
  MILLRACE_RETURN_IF_ERROR(
      Reserve(inputs_[input].buffer, spec, rows, bytes, StatusCode::kInvalidArgument));
  inputs_[input].row_bytes = bytes;
  inputs_[input].row_elements = elements;
  std::copy(shape.begin(), shape.end(), inputs_[input].shape.begin() + 1);
  return {};
}

Status OrtRunner::RunSlots(std::size_t rows) {
  if (fixed_batch_ == 0 && exact_) {
    slots_[0].rows = rows;
    return RunSlot(slots_[0]);
  }
  if (fixed_batch_ == 0) {
    Slot& slot = slots_[BucketIndex(buckets_, rows)];
    PadRows(rows, slot.rows);
    return RunSlot(slot);
  }
  chunks_ = (rows + fixed_batch_ - 1) / fixed_batch_;
  PadRows(rows, chunks_ * fixed_batch_);
  for (std::size_t i = 0; i < chunks_; ++i) MILLRACE_RETURN_IF_ERROR(RunSlot(slots_[i]));
  return {};
}

void OrtRunner::PadRows(std::size_t rows, std::size_t padded) {
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const std::size_t bytes = inputs_[i].row_bytes;
    std::byte* const data = inputs_[i].buffer.data();
    for (std::size_t row = rows; row < padded; ++row) {
      std::memcpy(data + row * bytes, data + (rows - 1) * bytes, bytes);
    }
  }
}

Status OrtRunner::RunSlot(Slot& slot) {
  if (slot.inputs.empty() || exact_) MILLRACE_RETURN_IF_ERROR(MakeSlot(slot));
  if (has_text_) MILLRACE_RETURN_IF_ERROR(FillStrings(slot));
  const OrtApi& api = *process_.api;
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    raw_outputs_[i] = slot.outputs[i].get();
    outputs_[i].borrowed.reset();
  }
  OrtStatus* failed = api.Run(session_.handle(), run_options_.get(), input_names_.data(),
                              slot.raw_inputs.data(), slot.raw_inputs.size(), output_names_.data(),
                              output_names_.size(), raw_outputs_.data());
  // The library's copies of strings, which it would keep room for.
  if (has_text_) slot.inputs.clear();
  // Owned before anything returns: also a failed run may have made some of its outputs.
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (!outputs_[i].preallocated && raw_outputs_[i] != nullptr) {
      outputs_[i].borrowed = OrtPtr<OrtValue>(raw_outputs_[i], {api.ReleaseValue});
    }
  }
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, failed));
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    if (!outputs_[i].preallocated) MILLRACE_RETURN_IF_ERROR(TakeRunTimeOutput(i, slot));
  }
  return {};
}

Status OrtRunner::ReadShape(const OrtValue& value, Output& output) const {
  const OrtApi& api = *process_.api;
  OrtTensorTypeAndShapeInfo* info = nullptr;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetTensorTypeAndShape(&value, &info)));
  const OrtPtr<OrtTensorTypeAndShapeInfo> owned(info, {api.ReleaseTensorTypeAndShapeInfo});
  std::size_t rank = 0;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetDimensionsCount(info, &rank)));
  output.shape.resize(rank);
  return TakeOrtStatus(api, api.GetDimensions(info, output.shape.data(), rank));
}

Status OrtRunner::TakeRunTimeOutput(std::size_t i, const Slot& slot) {
  const OrtApi& api = *process_.api;
  Output& output = outputs_[i];
  OutputView& view = views_[i];
  if (output.borrowed == nullptr) {
    return {StatusCode::kInternal, "the run gave no output '" + output.spec->name + "'"};
  }
  MILLRACE_RETURN_IF_ERROR(ReadShape(*output.borrowed, output));
  const std::vector<std::int64_t>& shape = output.shape;
  const bool rows_match = !shape.empty() && shape[0] == static_cast<std::int64_t>(slot.rows);
  if (!rows_match) {
    return {StatusCode::kUnsupported, "output '" + output.spec->name + "' came out as " +
                                          ShapeText(shape) + " for " + std::to_string(slot.rows) +
                                          " rows: its first dimension is not the batch"};
  }
  std::size_t elements = 1;
  for (std::size_t d = 1; d < shape.size(); ++d) elements *= static_cast<std::size_t>(shape[d]);
  const bool same_rows =
      std::equal(shape.begin() + 1, shape.end(), view.row_shape.begin(), view.row_shape.end());
  if (slot.first > 0 && !same_rows) {
    return {StatusCode::kUnsupported,
            "output '" + output.spec->name + "' has rows of different shapes in one batch"};
  }
  view.row_shape.assign(shape.begin() + 1, shape.end());
  view.elements_per_row = elements;
  output.row_bytes = elements * ElementBytes(output.spec->type);
  if (output.spec->type == ElementType::kString) {
    MILLRACE_RETURN_IF_ERROR(TakeStrings(output, slot, slot.rows * elements));
    view.data = output.strings.data();
    return {};
  }
  void* data = nullptr;
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.GetTensorMutableData(output.borrowed.get(), &data)));
  view.data = data;
  if (fixed_batch_ == 0) return {};
  // Chunks follow each other in memory of ours.
  if (slot.first == 0) {
    const std::size_t total = chunks_ * fixed_batch_;
    MILLRACE_RETURN_IF_ERROR(Reserve(output.buffer, *output.spec, total, output.row_bytes,
                                     StatusCode::kInvalidArgument));
  }
  if (output.row_bytes > 0) {
    std::memcpy(output.buffer.data() + slot.first * output.row_bytes, data,
                slot.rows * output.row_bytes);
  }
  output.borrowed.reset();
  view.data = output.buffer.data();
  return {};
}

Status OrtRunner::FillStrings(Slot& slot) {
  const OrtApi& api = *process_.api;
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    if (session_.row_layout().inputs[i].type != ElementType::kString) continue;
    const InputRows& input = inputs_[i];
    const auto* const texts = reinterpret_cast<const std::string_view*>(input.buffer.data()) +
                              slot.first * input.row_elements;
    for (std::size_t n = 0; n < slot.rows * input.row_elements; ++n) {
      char* to = nullptr;
      MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
          api,
          api.GetResizedStringTensorElementBuffer(slot.inputs[i].get(), n, texts[n].size(), &to)));
      if (!texts[n].empty()) std::memcpy(to, texts[n].data(), texts[n].size());
    }
  }
  return {};
}

Status OrtRunner::TakeStrings(Output& output, const Slot& slot, std::size_t count) {
  const OrtApi& api = *process_.api;
  if (slot.first == 0) {
    output.texts.clear();
    output.strings.clear();
    // So that what follows leaves the pieces, and what the views see of them, where they are.
    output.texts.reserve(slots_.size());
  }
  std::size_t bytes = 0;
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.GetStringTensorDataLength(output.borrowed.get(), &bytes)));
  std::string& text = output.texts.emplace_back(bytes, '\0');
  output.offsets.resize(count);
  if (count > 0) {
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.GetStringTensorContent(output.borrowed.get(), text.data(), bytes,
                                                      output.offsets.data(), count)));
  }
  for (std::size_t i = 0; i < count; ++i) {
    const std::size_t end = i + 1 < count ? output.offsets[i + 1] : bytes;
    output.strings.push_back(
        std::string_view(text).substr(output.offsets[i], end - output.offsets[i]));
  }
  output.borrowed.reset();
  return {};
}

Status OrtRunner::MakeSlot(Slot& slot) {
  slot.outputs.clear();
  slot.outputs.resize(outputs_.size());
  for (std::size_t i = 0; i < outputs_.size(); ++i) {
    const Output& output = outputs_[i];
    if (!output.preallocated) continue;
    Result<OrtPtr<OrtValue>> value = WrapTensor(
        output.spec->type, output.spec->shape, output.buffer.data() + slot.first * output.row_bytes,
        output.row_bytes, slot.rows);
    if (!value.ok()) return value.status();
    slot.outputs[i] = std::move(value).value();
  }
  std::vector<OrtPtr<OrtValue>> inputs;
  slot.raw_inputs.clear();
  for (std::size_t i = 0; i < inputs_.size(); ++i) {
    const InputRows& input = inputs_[i];
    Result<OrtPtr<OrtValue>> value =
        WrapTensor(session_.signature().inputs[i].type, input.shape,
                   input.buffer.data() + slot.first * input.row_bytes, input.row_bytes, slot.rows);
    if (!value.ok()) return value.status();
    slot.raw_inputs.push_back(value->get());
    inputs.push_back(std::move(value).value());
  }
  slot.inputs = std::move(inputs);  // Only when there are all of them.
  return {};
}

Result<OrtPtr<OrtValue>> OrtRunner::WrapTensor(ElementType type, std::vector<std::int64_t> shape,
                                               std::byte* data, std::size_t row_bytes,
                                               std::size_t rows) const {
  const OrtApi& api = *process_.api;
  shape[0] = static_cast<std::int64_t>(rows);
  OrtValue* value = nullptr;
  if (type == ElementType::kString) {
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.CreateTensorAsOrtValue(process_.allocator, shape.data(),
                                                      shape.size(), OnnxType(type), &value)));
    return OrtPtr<OrtValue>(value, {api.ReleaseValue});
  }
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(
      api, api.CreateTensorWithDataAsOrtValue(process_.cpu, data, rows * row_bytes, shape.data(),
                                              shape.size(), OnnxType(type), &value)));
  return OrtPtr<OrtValue>(value, {api.ReleaseValue});
}

}  // namespace millrace
