#include <sys/stat.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "base/check.h"
#include "base/clock.h"
#include "models/digest.h"
#include "models/repository.h"
#include "runtime/batch_buckets.h"

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

void FillRow(const RowLayout& layout, int value, std::byte* row) {
  const auto fill = [&](auto typed) {
    for (std::size_t i = 0; i < layout.elements; ++i) {
      std::memcpy(row + i * sizeof typed, &typed, sizeof typed);
    }
  };
  switch (layout.type) {
    case ElementType::kFloat32:
      fill(static_cast<float>(value));
      return;
    case ElementType::kFloat64:
      fill(static_cast<double>(value));
      return;
    case ElementType::kInt32:
      fill(static_cast<std::int32_t>(value));
      return;
    case ElementType::kInt64:
      fill(static_cast<std::int64_t>(value));
      return;
    default:
      std::memset(row, value, layout.bytes);
      return;
  }
}

// Runs every shape that serving will use, so that no request pays for its first time.
Status RunBuckets(const Session& session, Runner& runner, std::size_t max_rows, int value) {
  const RowLayout& layout = session.row_layout();
  std::vector<std::size_t> buckets = BatchBuckets(max_rows);
  // A fixed batch has one shape only.
  if (session.signature().fixed_batch > 0) buckets = {1};
  for (std::size_t row = 0; row < buckets.back(); ++row) {
    FillRow(layout, value, runner.Input() + row * layout.bytes);
  }
  for (const std::size_t rows : buckets) MILLRACE_RETURN_IF_ERROR(runner.Run(rows));
  return {};
}

// `sound_value`: of the rows that ran.
Status WarmUp(Session& session, std::size_t max_rows, int* sound_value) {
  Result<std::unique_ptr<Runner>> runner = session.NewRunner();
  if (!runner.ok()) return runner.status();
  *sound_value = 0;
  const Status zeros = RunBuckets(session, **runner, max_rows, 0);
  if (zeros.ok()) return {};
  *sound_value = 1;
  const Status ones = RunBuckets(session, **runner, max_rows, 1);
  if (ones.ok()) return {};
  return Status(zeros.code(), std::string(zeros.message()) +
                                  " (warm-up: rows of zeros and rows of ones both fail)");
}

}  // namespace

Status TrySoundRow(const LoadedModel& model, Runner& runner) {
  FillRow(model.session->row_layout(), model.sound_value, runner.Input());
  return runner.Run(1);
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
  Result<std::unique_ptr<Session>> session = engine.Load(version.path, name, options);
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
  MILLRACE_RETURN_IF_ERROR(
      WarmUp(**session, static_cast<std::size_t>(options.max_rows), &loaded->sound_value));
  loaded->ref = {version.model_id, version.version, *digest};
  loaded->source = version;
  loaded->session = std::move(session).value();
  loaded->load_time = std::chrono::duration_cast<Millis>(SystemClock().Now() - start);
  return std::shared_ptr<const LoadedModel>(std::move(loaded));
}

}  // namespace millrace
