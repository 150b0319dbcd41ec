// The test engine: a model is a text file of `key=value` lines; `#` starts a comment.
//
//   elements=4        numbers in a row of the input                                  (1)
//   outputs=2         numbers in a row of the output, at most `elements`             (1)
//   open=0            1: each row has a length of its own and is echoed whole          (0)
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
//   load=fine         fine, or what loading it does to the process: fault, hang, exit,
//                     or escape: it fails with what it can reach that no model needs  (fine)
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
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
  std::int64_t open = 0;
  std::int64_t fixed_batch = 0;
  std::int64_t run_us = 0;
  std::int64_t row_us = 0;
  std::int64_t slow_us = 0;
  ElementType type = ElementType::kFloat32;
  bool nan = false;
  bool spin = false;
  bool crash_on_thread = false;
  std::string load = "fine";
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
  if (key == "open") return ParseNumber(value, std::int64_t{0}, std::int64_t{1}, &model.open);
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
  if (key == "load") {
    model.load = value;
    return value == "fine" || value == "fault" || value == "hang" || value == "exit" ||
           value == "escape";
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
  TestRunner(const TestModel& model, const ModelSignature& signature, std::size_t max_rows,
             const std::string& name, const std::string& context)
      : model_(model), max_rows_(max_rows), name_(name), context_(context) {
    view_.spec = &signature.outputs[0];
    const std::int64_t elements = model.open == 1 ? 1 : model.elements;
    MILLRACE_CHECK(SetLengths(elements, model.open == 1 ? 1 : model.outputs, max_rows));
  }

  Status SetRowShape(std::size_t, std::span<const std::int64_t> shape, std::size_t rows) override {
    MILLRACE_CHECK(model_.open == 1 && shape.size() == 1 && rows <= max_rows_);
    if (shape[0] <= kMaxElements && SetLengths(shape[0], shape[0], rows)) return {};
    return {StatusCode::kResourceExhausted, context_ + ": no memory for rows of this length"};
  }

  std::byte* Input(std::size_t) override { return input_.data(); }
  Status Run(std::size_t rows) override;
  std::span<const OutputView> Outputs() const override { return {&view_, 1}; }
  void Terminate() override;

 private:
  // Of a row of the input and of the output. False when there is no memory for so many rows.
  bool SetLengths(std::int64_t elements, std::int64_t outputs, std::size_t rows);
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
  const std::size_t max_rows_;
  const std::string& name_;
  const std::string& context_;
  std::size_t row_bytes_ = 0;
  std::size_t output_row_bytes_ = 0;
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

bool TestRunner::SetLengths(std::int64_t elements, std::int64_t outputs, std::size_t rows) {
  const std::size_t size = ElementBytes(model_.type);
  const std::size_t row_bytes = static_cast<std::size_t>(elements) * size;
  const std::size_t output_row_bytes = static_cast<std::size_t>(outputs) * size;
  if (!input_.Grow(rows * row_bytes) || !output_.Grow(rows * output_row_bytes)) return false;
  row_bytes_ = row_bytes;
  output_row_bytes_ = output_row_bytes;
  view_.data = output_.data();
  view_.elements_per_row = static_cast<std::size_t>(outputs);
  view_.row_shape = {outputs};
  return true;
}

double TestRunner::FirstOfRow(std::size_t row) const {
  const std::byte* from = input_.data() + row * row_bytes_;
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
    std::memcpy(to, input_.data() + row * row_bytes_, output_row_bytes_);
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
    const bool open = model.open == 1;
    signature_.inputs.push_back({"x", model.type, {batch, open ? kDynamicDim : model.elements}});
    signature_.outputs.push_back({"y", model.type, {batch, open ? kDynamicDim : model.outputs}});
    signature_.fixed_batch = model.fixed_batch;
    layout_ = RowLayoutOf(signature_.inputs);
  }

  const ModelSignature& signature() const override { return signature_; }
  const RowLayout& row_layout() const override { return layout_; }
  Result<std::unique_ptr<Runner>> NewRunner() override {
    return std::unique_ptr<Runner>(
        std::make_unique<TestRunner>(model_, signature_, max_rows_, name_, context_));
  }

 private:
  const TestModel model_;
  const std::size_t max_rows_;
  const std::string name_;
  const std::string context_;
  ModelSignature signature_;
  RowLayout layout_;
};

// Names of what a model that has taken the process over could do with it; empty: nothing.
std::string WaysOut() {
  std::string ways;
  const auto note = [&ways](bool open, const char* what) {
    if (open) ways += (ways.empty() ? "" : ", ") + std::string(what);
  };
  const auto descriptor = [&note](int fd, const char* what) {
    note(fd >= 0, what);
    if (fd >= 0) ::close(fd);
  };
  descriptor(::socket(AF_INET, SOCK_STREAM, 0), "the network");
  descriptor(::socket(AF_UNIX, SOCK_STREAM, 0), "sockets of this machine");
  descriptor(::open("/etc/passwd", O_RDONLY), "files");
  descriptor(::memfd_create("escape", 0), "new files in memory");
  const std::string parent = "/proc/" + std::to_string(::getppid());
  descriptor(::open((parent + "/environ").c_str(), O_RDONLY), "the parent's environment");
  descriptor(::open((parent + "/mem").c_str(), O_RDWR), "the parent's memory");
  // What would harm whoever is not confined and only wants to know that.
  if (!ways.empty()) return ways;
  note(::kill(::getppid(), 0) == 0, "signals to the parent");
  note(::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr) == 0, "tracing the parent");
  const pid_t child = ::fork();
  if (child == 0) ::_exit(0);
  note(child > 0, "processes");
  ::execl("/proc/self/exe", "escaped", "--version", nullptr);
  // Far more than any limit, never touched.
  constexpr std::size_t kBlock = std::size_t{1} << 40;
  void* const block = ::mmap(nullptr, kBlock, PROT_READ | PROT_WRITE,
                             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  note(block != MAP_FAILED, "a terabyte of memory");
  if (block != MAP_FAILED) ::munmap(block, kBlock);
  return ways;
}

// What a model that is loaded does besides.
Status ActOnLoad(const std::string& load) {
  if (load == "fault") ::raise(SIGSEGV);
  if (load == "exit") ::_exit(0);
  while (load == "hang") std::this_thread::sleep_for(Millis(1'000));
  if (load != "escape") return {};
  const std::string ways = WaysOut();
  if (ways.empty()) return {};
  return {StatusCode::kInvalidArgument, "the process can still reach " + ways};
}

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
    if (!options.mask.empty()) {
      return Status(StatusCode::kUnsupported, context + ": models of the test engine take no mask");
    }
    Result<TestModel> model = ReadTestModel(path);
    if (!model.ok()) return model.status().WithContext(context);
    MILLRACE_RETURN_IF_ERROR(ActOnLoad(model->load).WithContext(context));
    return std::unique_ptr<Session>(std::make_unique<TestSession>(
        *model, static_cast<std::size_t>(options.max_rows), name, std::move(context)));
  }
};

}  // namespace

std::unique_ptr<Engine> NewTestEngine() { return std::make_unique<TestEngine>(); }

}  // namespace millrace
