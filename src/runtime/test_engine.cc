// The test engine: a model is a text file of `key=value` lines; `#` starts a comment.
//
//   elements=4        numbers in a row of the input                                  (1)
//   outputs=2         numbers in a row of the output, at most `elements`             (1)
//   type=FP32         FP32, FP64, INT32 or INT64, of input and output              (FP32)
//   behaviour=echo    echo: the first numbers of the row; nan: FP32 or FP64 NaN     (echo)
//   fixed_batch=0     a batch dimension that the model insists on; 0 for any           (0)
//   run_us=0          microseconds that a run takes, and those that each row adds      (0)
//   row_us=0
//   slow_value=12     a run with a row that begins with this number takes          (unset)
//   slow_us=0         so many microseconds more                                      (0)
//   wait=sleep        sleep, or spin: burn the CPU for that time                   (sleep)
//   fail_value=13     a run with a row that begins with this number fails         (unset)
//   crash_value=14    such a run aborts the process                               (unset)
//   crash_on=caller   caller, or thread: it is a thread of the engine's own that aborts
//   scarce_value=16   such a run fails for want of memory                         (unset)
//   fail_file=PATH    while this file is there every run fails                    (unset)
//   hang_file=PATH    while it is there every run waits until it is terminated    (unset)
//   hang_value=15     such a run waits until it is terminated                     (unset)
#include <unistd.h>

#include <charconv>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <limits>
#include <mutex>
#include <optional>
#include <thread>

#include "base/check.h"
#include "base/clock.h"
#include "runtime/aligned_buffer.h"
#include "runtime/engine.h"
#include "runtime/engine_thread.h"

namespace millrace {
namespace {

constexpr std::int64_t kMaxElements = 1 << 20;
constexpr std::int64_t kMaxMicros = 600'000'000;

struct TestModel {
  std::int64_t elements = 1;
  std::int64_t outputs = 1;
  std::int64_t fixed_batch = 0;
  std::int64_t run_us = 0;
  std::int64_t row_us = 0;
  std::int64_t slow_us = 0;
  ElementType type = ElementType::kFloat32;
  bool nan = false;
  bool spin = false;
  bool crash_on_thread = false;
  std::string fail_file;
  std::string hang_file;
  std::optional<double> slow_value, fail_value, crash_value, hang_value, scarce_value;
};

template <class T>
bool ParseNumber(std::string_view text, T min, T max, T* out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *out);
  return error == std::errc() && end == text.data() + text.size() && *out >= min && *out <= max;
}

bool ParseMark(std::string_view text, std::optional<double>* out) {
  out->emplace();
  constexpr double kMax = std::numeric_limits<double>::max();
  return ParseNumber(text, -kMax, kMax, &out->value());
}

bool ParseType(std::string_view text, ElementType* out) {
  for (const ElementType type :
       {ElementType::kFloat32, ElementType::kFloat64, ElementType::kInt32, ElementType::kInt64}) {
    if (ElementTypeName(type) != text) continue;
    *out = type;
    return true;
  }
  return false;
}

bool ParseWord(std::string_view text, std::string_view no, std::string_view yes, bool* out) {
  *out = text == yes;
  return text == yes || text == no;
}

// Whether key and value were understood.
bool SetKey(std::string_view key, std::string_view value, TestModel& model) {
  if (key == "elements") return ParseNumber(value, std::int64_t{1}, kMaxElements, &model.elements);
  if (key == "outputs") return ParseNumber(value, std::int64_t{1}, kMaxElements, &model.outputs);
  if (key == "fixed_batch") {
    return ParseNumber(value, std::int64_t{0}, std::int64_t{4096}, &model.fixed_batch);
  }
  if (key == "run_us") return ParseNumber(value, std::int64_t{0}, kMaxMicros, &model.run_us);
  if (key == "row_us") return ParseNumber(value, std::int64_t{0}, kMaxMicros, &model.row_us);
  if (key == "slow_us") return ParseNumber(value, std::int64_t{0}, kMaxMicros, &model.slow_us);
  if (key == "slow_value") return ParseMark(value, &model.slow_value);
  if (key == "fail_file" || key == "hang_file") {
    (key == "fail_file" ? model.fail_file : model.hang_file) = value;
    return !value.empty();
  }
  if (key == "type") return ParseType(value, &model.type);
  if (key == "behaviour") return ParseWord(value, "echo", "nan", &model.nan);
  if (key == "wait") return ParseWord(value, "sleep", "spin", &model.spin);
  if (key == "fail_value") return ParseMark(value, &model.fail_value);
  if (key == "crash_value") return ParseMark(value, &model.crash_value);
  if (key == "crash_on") return ParseWord(value, "caller", "thread", &model.crash_on_thread);
  if (key == "scarce_value") return ParseMark(value, &model.scarce_value);
  if (key == "hang_value") return ParseMark(value, &model.hang_value);
  return false;
}

Result<TestModel> ReadTestModel(const std::string& path) {
  std::ifstream file(path);
  if (!file) return Status(StatusCode::kNotFound, "cannot be read");
  TestModel model;
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.empty() || line[0] == '#') continue;
    const std::size_t equals = line.find('=');
    const std::string_view text = line;
    if (equals == std::string::npos ||
        !SetKey(text.substr(0, equals), text.substr(equals + 1), model)) {
      return Status(StatusCode::kInvalidArgument,
                    "line " + std::to_string(number) + ": '" + line + "' is not understood");
    }
  }
  if (model.outputs > model.elements) {
    return Status(StatusCode::kInvalidArgument, "outputs is larger than elements");
  }
  const bool whole = model.type == ElementType::kInt32 || model.type == ElementType::kInt64;
  if (model.nan && whole) {
    return Status(StatusCode::kInvalidArgument, "behaviour=nan needs type FP32 or FP64");
  }
  return model;
}

bool Exists(const std::string& path) { return !path.empty() && ::access(path.c_str(), F_OK) == 0; }

class TestRunner final : public Runner {
 public:
  TestRunner(const TestModel& model, const ModelSignature& signature, const RowLayout& layout,
             std::size_t max_rows, const std::string& name, const std::string& context)
      : model_(model),
        layout_(layout),
        max_rows_(max_rows),
        name_(name),
        context_(context),
        output_row_bytes_(static_cast<std::size_t>(model.outputs) * ElementBytes(model.type)) {
    MILLRACE_CHECK(input_.Grow(max_rows * layout.bytes));
    MILLRACE_CHECK(output_.Grow(max_rows * output_row_bytes_));
    view_.spec = &signature.outputs[0];
    view_.data = output_.data();
    view_.elements_per_row = static_cast<std::size_t>(model.outputs);
    view_.row_shape = {model.outputs};
  }

  std::byte* Input(std::size_t) override { return input_.data(); }
  Status Run(std::size_t rows) override;
  std::span<const OutputView> Outputs() const override { return {&view_, 1}; }
  void Terminate() override;

 private:
  double FirstOfRow(std::size_t row) const;
  Micros RunTime(std::size_t rows) const;
  bool AnyRowIs(const std::optional<double>& value, std::size_t rows) const;
  // False when it was terminated. Without a duration only Terminate ends it.
  bool Wait(std::optional<Micros> duration);
  void WriteOutput(std::size_t rows);
  [[noreturn]] void Crash() const;
  Status Stopped() const {
    return {StatusCode::kDeadlineExceeded, context_ + ": the run was stopped"};
  }

  const TestModel& model_;
  const RowLayout& layout_;
  const std::size_t max_rows_;
  const std::string& name_;
  const std::string& context_;
  const std::size_t output_row_bytes_;
  AlignedBuffer input_;
  AlignedBuffer output_;
  OutputView view_;

  std::mutex mutex_;
  std::condition_variable changed_;
  bool running_ = false;
  bool terminated_ = false;
};

template <class T>
double ReadAs(const std::byte* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}

double TestRunner::FirstOfRow(std::size_t row) const {
  const std::byte* from = input_.data() + row * layout_.bytes;
  switch (model_.type) {
    case ElementType::kFloat64:
      return ReadAs<double>(from);
    case ElementType::kInt32:
      return ReadAs<std::int32_t>(from);
    case ElementType::kInt64:
      return ReadAs<std::int64_t>(from);
    default:
      return ReadAs<float>(from);
  }
}

bool TestRunner::AnyRowIs(const std::optional<double>& value, std::size_t rows) const {
  if (!value) return false;
  for (std::size_t row = 0; row < rows; ++row) {
    const double first = FirstOfRow(row);
    if (first >= *value && first <= *value) return true;
  }
  return false;
}

Micros TestRunner::RunTime(std::size_t rows) const {
  const std::int64_t slow = AnyRowIs(model_.slow_value, rows) ? model_.slow_us : 0;
  return Micros(model_.run_us + model_.row_us * static_cast<std::int64_t>(rows) + slow);
}

bool TestRunner::Wait(std::optional<Micros> duration) {
  std::unique_lock lock(mutex_);
  if (!duration) {
    changed_.wait(lock, [this] { return terminated_; });
    return false;
  }
  if (!model_.spin) return !changed_.wait_for(lock, *duration, [this] { return terminated_; });
  const MonoTime end = SystemClock().Now() + *duration;
  while (!terminated_ && SystemClock().Now() < end) {
    lock.unlock();
    lock.lock();
  }
  return !terminated_;
}

void TestRunner::WriteOutput(std::size_t rows) {
  for (std::size_t row = 0; row < rows; ++row) {
    std::byte* to = output_.data() + row * output_row_bytes_;
    std::memcpy(to, input_.data() + row * layout_.bytes, output_row_bytes_);
    for (std::size_t i = 0; model_.nan && i < view_.elements_per_row; ++i) {
      if (model_.type == ElementType::kFloat32) {
        constexpr float kNan = std::numeric_limits<float>::quiet_NaN();
        std::memcpy(to + i * sizeof kNan, &kNan, sizeof kNan);
      } else {
        constexpr double kNan = std::numeric_limits<double>::quiet_NaN();
        std::memcpy(to + i * sizeof kNan, &kNan, sizeof kNan);
      }
    }
  }
}

void TestRunner::Crash() const {
  if (model_.crash_on_thread) StartEngineThread(name_, [] { std::abort(); }).join();
  std::abort();
}

Status TestRunner::Run(std::size_t rows) {
  MILLRACE_CHECK(rows >= 1 && rows <= max_rows_);
  {
    const std::lock_guard lock(mutex_);
    terminated_ = false;
    running_ = true;
  }
  if (AnyRowIs(model_.crash_value, rows)) Crash();
  bool in_time = true;
  if (AnyRowIs(model_.hang_value, rows) || Exists(model_.hang_file)) {
    in_time = Wait(std::nullopt);
  } else if (const Micros duration = RunTime(rows); duration > Micros(0)) {
    in_time = Wait(duration);
  }
  {
    const std::lock_guard lock(mutex_);
    running_ = false;
  }
  if (!in_time) return Stopped();
  if (AnyRowIs(model_.scarce_value, rows)) {
    return {StatusCode::kResourceExhausted, context_ + ": no memory for a row"};
  }
  if (Exists(model_.fail_file)) {
    return {StatusCode::kInternal, context_ + ": out of order"};
  }
  if (AnyRowIs(model_.fail_value, rows)) {
    return {StatusCode::kInvalidArgument, context_ + ": a row has the value that fails"};
  }
  WriteOutput(rows);
  return {};
}

void TestRunner::Terminate() {
  {
    const std::lock_guard lock(mutex_);
    if (!running_) return;
    terminated_ = true;
  }
  changed_.notify_all();
}

class TestSession final : public Session {
 public:
  TestSession(const TestModel& model, std::size_t max_rows, std::string name, std::string context)
      : model_(model), max_rows_(max_rows), name_(std::move(name)), context_(std::move(context)) {
    const std::int64_t batch = model.fixed_batch == 0 ? kDynamicDim : model.fixed_batch;
    signature_.inputs.push_back({"x", model.type, {batch, model.elements}});
    signature_.outputs.push_back({"y", model.type, {batch, model.outputs}});
    signature_.fixed_batch = model.fixed_batch;
    layout_ = RowLayoutOf(signature_.inputs);
  }

  const ModelSignature& signature() const override { return signature_; }
  const RowLayout& row_layout() const override { return layout_; }
  Result<std::unique_ptr<Runner>> NewRunner() override {
    return std::unique_ptr<Runner>(
        std::make_unique<TestRunner>(model_, signature_, layout_, max_rows_, name_, context_));
  }

 private:
  const TestModel model_;
  const std::size_t max_rows_;
  const std::string name_;
  const std::string context_;
  ModelSignature signature_;
  RowLayout layout_;
};

class TestEngine final : public Engine {
 public:
  std::string Version() const override { return "test"; }
  Result<std::unique_ptr<Session>> Load(const std::string& path, const std::string& name,
                                        const SessionOptions& options) override {
    MILLRACE_CHECK(options.max_rows >= 1);
    std::string context = "model " + name + " (" + path + ")";
    if (options.provider != Provider::kCpu) {
      return Status(StatusCode::kConfiguration,
                    context + ": the test engine runs on the CPU only, not with provider " +
                        ProviderName(options.provider));
    }
    Result<TestModel> model = ReadTestModel(path);
    if (!model.ok()) return model.status().WithContext(context);
    return std::unique_ptr<Session>(std::make_unique<TestSession>(
        *model, static_cast<std::size_t>(options.max_rows), name, std::move(context)));
  }
};

}  // namespace

std::unique_ptr<Engine> NewTestEngine() { return std::make_unique<TestEngine>(); }

}  // namespace millrace
