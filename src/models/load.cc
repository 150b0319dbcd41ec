#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "models/digest.h"
#include "models/repository.h"
#include "runtime/batch_buckets.h"
#include "telemetry/log.h"
#include "types/element_type.h"

namespace millrace {
namespace {

// What changes when a file is written or replaced.
struct FileStamp {
  dev_t device{};
  ino_t inode{};
  off_t bytes{};
  timespec modified{};

  bool SameAs(const FileStamp& other) const {
    return device == other.device && inode == other.inode && bytes == other.bytes &&
           modified.tv_sec == other.modified.tv_sec && modified.tv_nsec == other.modified.tv_nsec;
  }
};

Result<FileStamp> StampOf(const std::string& path) {
  struct stat info {};
  if (::stat(path.c_str(), &info) != 0) {
    return Status(StatusCode::kNotFound, std::string("cannot be read: ") + std::strerror(errno));
  }
  return FileStamp{info.st_dev, info.st_ino, info.st_size, info.st_mtim};
}

// What warm-up gives a model. `value` is 0 or 1, which every type has, strings as words that hardly
// are categories; `dim`: of dimensions that are open.
struct Filling {
  int value = 0;
  std::int64_t dim = 1;
};

Status FillRows(const Session& session, Filling filling, std::size_t rows, Runner& runner) {
  const std::vector<InputLayout>& inputs = session.row_layout().inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::size_t elements = inputs[i].elements;
    if (inputs[i].dynamic) {
      const std::vector<std::int64_t> shape = ClosedShape(inputs[i].row_shape, filling.dim);
      MILLRACE_RETURN_IF_ERROR(runner.SetRowShape(i, shape, rows));
      elements = ElementCount(shape).value();  // The runner has room for them.
    }
    DispatchElement(inputs[i].type, [&]<class T>(std::type_identity<T>) {
      std::fill_n(reinterpret_cast<T*>(runner.Input(i)), rows * elements,
                  ElementOf<T>(filling.value));
    });
  }
  return {};
}

// Runs every shape that serving will use, so that no request pays for its first time.
Status RunBuckets(const Session& session, Runner& runner, std::size_t max_rows, Filling filling) {
  std::vector<std::size_t> buckets = BatchBuckets(max_rows);
  // A fixed batch has one shape only.
  if (session.signature().fixed_batch > 0) buckets = {1};
  MILLRACE_RETURN_IF_ERROR(FillRows(session, filling, buckets.back(), runner));
  for (const std::size_t rows : buckets) MILLRACE_RETURN_IF_ERROR(runner.Run(rows));
  return {};
}

// Numbers in JSON, the shortest text of a float and a comma; ids, times, headers.
std::size_t OutcomeBytes(const Runner& runner) {
  constexpr std::size_t kFloatText = 12;
  constexpr std::size_t kDoubleText = 20;
  constexpr std::size_t kAround = 512;
  std::size_t bytes = kAround;
  for (const OutputView& output : runner.Outputs()) {
    const bool wide = ElementBytes(output.spec->type) > 4;
    bytes += output.elements_per_row * (wide ? kDoubleText : kFloatText);
  }
  return bytes;
}

// Whether a sound model may fail with all that warm-up can make up: one that knows a few words
// only, as scikit-learn's OneHotEncoder does by default, or one with a window that what is open
// must fit.
bool MayRefuseAnyFilling(const Session& session) {
  const RowLayout& layout = session.row_layout();
  return layout.dynamic ||
         std::any_of(layout.inputs.begin(), layout.inputs.end(),
                     [](const InputLayout& input) { return input.type == ElementType::kString; });
}

// Notes in `loaded`, which has its ref, what it learns of the model.
Status WarmUp(Session& session, std::size_t max_rows, LoadedModel* loaded) {
  // Some models want more than one of what is open, a few words or a window of a picture.
  static constexpr std::int64_t kOpenDims[] = {1, 8, 64};
  Result<std::unique_ptr<Runner>> runner = session.NewRunner();
  if (!runner.ok()) return runner.status();
  Status first;
  for (const std::int64_t dim : kOpenDims) {
    for (const int value : {0, 1}) {
      const Status status = RunBuckets(session, **runner, max_rows, {value, dim});
      if (status.ok()) {
        loaded->sound_value = value;
        loaded->sound_dim = dim;
        loaded->outcome_bytes = OutcomeBytes(**runner);
        return {};
      }
      if (first.ok()) first = status;
    }
    if (!session.row_layout().dynamic) break;
  }
  const bool is_failure =
      first.code() == StatusCode::kInvalidArgument || first.code() == StatusCode::kInternal;
  if (is_failure && MayRefuseAnyFilling(session)) {
    loaded->has_sound_row = false;
    loaded->outcome_bytes = OutcomeBytes(**runner);
    LogEvent(LogLevel::kWarn, "model_not_warmed",
             "the model fails with every row that could be made up for it: its first requests "
             "are its warm-up",
             {{"model", loaded->ref.model_id},
              {"version", loaded->ref.version},
              {"reason", std::string(first.message())}});
    return {};
  }
  return Status(first.code(), std::string(first.message()) +
                                  " (warm-up: rows of zeros and rows of ones both fail)");
}

// The numbers of all outputs of a row of `length` places that count, and as many more that pad it
// as make it `padded` long.
Result<std::vector<double>> OutputsPadded(Session& session, Runner& runner, int value,
                                          std::int64_t length, std::int64_t padded) {
  const RowLayout& layout = session.row_layout();
  for (std::size_t i = 0; i < layout.inputs.size(); ++i) {
    const InputLayout& input = layout.inputs[i];
    std::size_t used = input.elements;
    std::size_t elements = input.elements;
    if (input.dynamic) {
      const std::vector<std::int64_t> shape = ClosedShape(input.row_shape, padded);
      MILLRACE_RETURN_IF_ERROR(runner.SetRowShape(i, shape, 1));
      elements = ElementCount(shape).value();
      used = ElementCount(ClosedShape(input.row_shape, length)).value();
    }
    DispatchElement(input.type, [&]<class T>(std::type_identity<T>) {
      T* const to = reinterpret_cast<T*>(runner.Input(i));
      std::fill_n(to, used, ElementOf<T>(i == layout.mask ? 1 : value));
      std::memset(static_cast<void*>(to + used), 0, (elements - used) * sizeof(T));
    });
  }
  MILLRACE_RETURN_IF_ERROR(runner.Run(1));
  std::vector<double> numbers;
  for (const OutputView& output : runner.Outputs()) {
    DispatchElement(output.spec->type, [&]<class T>(std::type_identity<T>) {
      if constexpr (!kIsText<T>) {
        const T* const from = static_cast<const T*>(output.data);
        for (std::size_t i = 0; i < output.elements_per_row; ++i) {
          if constexpr (std::is_same_v<T, Float16>) {
            numbers.push_back(ToFloat(from[i]));
          } else {
            numbers.push_back(static_cast<double>(from[i]));
          }
        }
      }
    });
  }
  return numbers;
}

// A model that does not heed its mask would answer a row by what it happens to run with.
Status CheckMask(Session& session, int value) {
  constexpr std::int64_t kLength = 8;
  constexpr std::int64_t kPadded = 13;
  constexpr double kTolerance = 1e-3;
  const std::string& name = session.row_layout().inputs[*session.row_layout().mask].name;
  Result<std::unique_ptr<Runner>> runner = session.NewRunner();
  if (!runner.ok()) return runner.status();
  // Ones, if it takes them: zeros are what padding looks like.
  Result<std::vector<double>> plain = OutputsPadded(session, **runner, 1, kLength, kLength);
  if (plain.ok()) {
    value = 1;
  } else {
    plain = OutputsPadded(session, **runner, value, kLength, kLength);
  }
  if (!plain.ok()) return plain.status();
  const auto padded = OutputsPadded(session, **runner, value, kLength, kPadded);
  if (!padded.ok()) return padded.status();
  for (std::size_t i = 0; i < plain->size(); ++i) {
    const double a = (*plain)[i];
    const double b = i < padded->size() ? (*padded)[i] : NAN;
    if (std::abs(a - b) <= kTolerance * std::max(1.0, std::abs(a))) continue;
    if (std::isnan(a) && std::isnan(b)) continue;
    return {StatusCode::kInvalidArgument,
            fmt::format("the model does not heed its mask '{}': a row answers {} alone and {} with "
                        "padding behind it; take mask out of the model.yaml or the settings",
                        name, a, b)};
  }
  return {};
}

}  // namespace

Status TrySoundRow(const LoadedModel& model, Runner& runner) {
  if (!model.has_sound_row) return {};
  MILLRACE_RETURN_IF_ERROR(
      FillRows(*model.session, {model.sound_value, model.sound_dim}, 1, runner));
  Status status = runner.Run(1);
  runner.Done();
  return status;
}

Result<std::shared_ptr<const LoadedModel>> LoadModel(Engine& engine, const ModelVersion& version,
                                                     const SessionOptions& options) {
  MILLRACE_CHECK(options.max_rows >= 1);
  const MonoTime start = SystemClock().Now();
  const std::string name = version.model_id + ":" + version.version;
  const std::string context = "model " + name + " (" + version.path + ")";
  const Result<FileStamp> before = StampOf(version.path);
  if (!before.ok()) return before.status().WithContext(context);
  Result<std::string> digest = Sha256OfFile(version.path);
  if (!digest.ok()) return digest.status().WithContext(context);
  if (!version.sha256.empty() && version.sha256 != *digest) {
    return Status(StatusCode::kCorruption,
                  context + ": its sha256 is " + *digest + ", expected " + version.sha256 +
                      (version.manifest_path.empty() ? "" : "; see " + version.manifest_path));
  }
  SessionOptions own = options;
  if (own.mask.empty()) own.mask = version.mask;
  Result<std::unique_ptr<Session>> session = engine.Load(version.path, name, own);
  if (!session.ok()) return session.status();
  const Result<FileStamp> after = StampOf(version.path);
  if (!after.ok()) return after.status().WithContext(context);
  // Else the digest in every result would name other bytes than the ones that answered.
  if (!before->SameAs(*after)) {
    return Status(StatusCode::kUnavailable,
                  context +
                      ": the file changed while it was loaded; publish a version by renaming "
                      "a finished folder");
  }
  auto loaded = std::make_shared<LoadedModel>();
  loaded->ref = {version.model_id, version.version, *digest};
  MILLRACE_RETURN_IF_ERROR(
      WarmUp(**session, static_cast<std::size_t>(options.max_rows), loaded.get()));
  if ((*session)->row_layout().mask.has_value()) {
    MILLRACE_RETURN_IF_ERROR(CheckMask(**session, loaded->sound_value).WithContext(context));
  }
  loaded->source = version;
  loaded->session = std::move(session).value();
  loaded->load_time = std::chrono::duration_cast<Millis>(SystemClock().Now() - start);
  return std::shared_ptr<const LoadedModel>(std::move(loaded));
}

}  // namespace millrace
