#include "models/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <utility>

#include "models/digest.h"

namespace millrace {
namespace {

constexpr std::size_t kMaxNoteBytes = 4096;
constexpr std::size_t kMaxEtagBytes = 1024;

// The ETag, when it stands for exactly these bytes.
std::string StrongEtag(const HttpHead& head) {
  const std::string etag = head.Header("etag");
  const bool strong =
      etag.size() >= 2 && etag.size() <= kMaxEtagBytes && etag.front() == '"' && etag.back() == '"';
  return strong ? etag : "";
}

bool ReadNumber(std::string_view text, std::int64_t& number) {
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc() && stop == text.data() + text.size();
}

// "bytes 100-199/200": the first and the size. False when it is anything else.
bool ReadRange(std::string_view text, std::int64_t& first, std::int64_t& total) {
  constexpr std::string_view kUnit = "bytes ";
  if (!text.starts_with(kUnit)) return false;
  text.remove_prefix(kUnit.size());
  const std::size_t dash = text.find('-');
  const std::size_t slash = text.find('/');
  std::int64_t last = 0;
  return dash != std::string_view::npos && slash != std::string_view::npos && dash < slash &&
         ReadNumber(text.substr(0, dash), first) &&
         ReadNumber(text.substr(dash + 1, slash - dash - 1), last) &&
         ReadNumber(text.substr(slash + 1), total) && first <= last && last == total - 1;
}

}  // namespace

PartialFile::PartialFile(std::string path, std::string uri_key, std::int64_t max_bytes,
                         Reserve reserve, FetchProgress progress)
    : path_(std::move(path)),
      uri_key_(std::move(uri_key)),
      max_bytes_(max_bytes),
      reserve_(std::move(reserve)),
      progress_(std::move(progress)) {}

Result<PartialFile> PartialFile::Open(std::string path, const std::string& uri,
                                      std::int64_t max_bytes, Reserve reserve,
                                      FetchProgress progress) {
  // The hash, for the URI itself may hold a signature.
  PartialFile partial(std::move(path), Sha256Hex(uri), max_bytes, std::move(reserve),
                      std::move(progress));
  Result<OpenFile> file = OpenFile::Open(partial.path_, O_RDWR | O_CREAT);
  if (!file.ok()) return file.status();
  partial.file_ = std::move(*file);
  struct stat info {};
  if (::fstat(partial.file_.fd(), &info) != 0) {
    return FileError(partial.path_, "cannot be read", errno);
  }
  partial.size_ = info.st_size;
  partial.ReadNote();
  if (partial.etag_.empty() || partial.size_ > partial.total_) {
    MILLRACE_RETURN_IF_ERROR(partial.Clear());
  }
  partial.resumed_ = partial.size_ > 0;
  return partial;
}

void PartialFile::ReadNote() {
  const Result<std::string> note = ReadSmallFile(NotePath(), kMaxNoteBytes);
  if (!note.ok()) return;
  const std::size_t first = note->find('\n');
  const std::size_t second = first == std::string::npos ? first : note->find('\n', first + 1);
  if (second == std::string::npos || note->back() != '\n') return;
  std::int64_t total = 0;
  if (note->substr(0, first) != uri_key_ ||
      !ReadNumber(std::string_view(*note).substr(first + 1, second - first - 1), total)) {
    return;
  }
  total_ = total;
  etag_ = note->substr(second + 1, note->size() - second - 2);
}

Status PartialFile::WriteNote() const {
  if (!etag_.empty() && total_ >= 0) {
    return ReplaceFile(NotePath(), fmt::format("{}\n{}\n{}\n", uri_key_, total_, etag_));
  }
  ::unlink(NotePath().c_str());
  return {};
}

FileSink::Headers PartialFile::Wanted(const std::string& conditional) const {
  if (size_ == 0 || etag_.empty()) return {};
  return {{conditional, etag_}, {"range", fmt::format("bytes={}-", size_)}};
}

Status PartialFile::Clear() {
  ::unlink(NotePath().c_str());
  if (::ftruncate(file_.fd(), 0) != 0 || ::lseek(file_.fd(), 0, SEEK_SET) != 0) {
    return FileError(path_, "cannot be emptied", errno);
  }
  etag_.clear();
  size_ = 0;
  total_ = -1;
  reserved_ = 0;
  resumed_ = false;
  return {};
}

bool PartialFile::StartAgain() { return size_ > 0 && Clear().ok(); }

Status PartialFile::BeginWhole(const HttpHead& head) {
  MILLRACE_RETURN_IF_ERROR(Clear());
  etag_ = StrongEtag(head);
  total_ = head.content_length;
  return {};
}

Status PartialFile::BeginRange(const HttpHead& head) {
  std::int64_t first = 0;
  std::int64_t total = 0;
  const std::string etag = head.Header("etag");
  const bool same = !etag_.empty() && (etag.empty() || etag == etag_) &&
                    ReadRange(head.Header("content-range"), first, total) && first == size_ &&
                    total == total_;
  if (!same) {
    MILLRACE_RETURN_IF_ERROR(Clear());
    return {StatusCode::kUnavailable,
            "the store answered with another range or file than the one asked for"};
  }
  if (::lseek(file_.fd(), size_, SEEK_SET) != size_) {
    return FileError(path_, "cannot be continued", errno);
  }
  resumed_ = true;
  return {};
}

Status PartialFile::Begin(const HttpHead& head) {
  const std::string encoding = head.Header("content-encoding");
  if (!encoding.empty() && encoding != "identity" && encoding != "aws-chunked") {
    return {StatusCode::kUnsupported,
            "the store sends the model compressed (content-encoding), which was not asked for"};
  }
  MILLRACE_RETURN_IF_ERROR(head.status == 206 ? BeginRange(head) : BeginWhole(head));
  if (total_ > max_bytes_) {
    return {StatusCode::kResourceExhausted,
            fmt::format("the model has {} bytes, more than repository.max_model_bytes, {}", total_,
                        FormatBytes(max_bytes_))};
  }
  reserved_ = total_ >= 0 ? total_ : kReserveStep;
  MILLRACE_RETURN_IF_ERROR(reserve_(file_.fd(), reserved_));
  return WriteNote();
}

Status PartialFile::Write(std::string_view bytes) {
  const std::int64_t size = size_ + static_cast<std::int64_t>(bytes.size());
  if (total_ >= 0 && size > total_) {
    return {StatusCode::kCorruption, "the store sends more than the file it began with has"};
  }
  if (size > max_bytes_) {
    return {StatusCode::kResourceExhausted,
            "the model has more than repository.max_model_bytes, " + FormatBytes(max_bytes_)};
  }
  if (size > reserved_) {
    reserved_ = std::max(size, reserved_ + kReserveStep);
    MILLRACE_RETURN_IF_ERROR(reserve_(file_.fd(), reserved_));
  }
  MILLRACE_RETURN_IF_ERROR(WriteAll(file_.fd(), bytes, path_));
  size_ = size;
  received_ += static_cast<std::int64_t>(bytes.size());
  if (progress_) progress_(size_, total_);
  return {};
}

void PartialFile::Remove() {
  ::unlink(NotePath().c_str());
  ::unlink(path_.c_str());
}

Status PartialFile::MoveTo(const std::string& path) {
  // What was reserved and not written goes back.
  if (::ftruncate(file_.fd(), size_) != 0 || ::fsync(file_.fd()) != 0) {
    return FileError(path_, "cannot be written", errno);
  }
  if (::rename(path_.c_str(), path.c_str()) != 0) {
    return FileError(path, "cannot be put in its place", errno);
  }
  ::unlink(NotePath().c_str());
  return SyncFolder(path.substr(0, path.rfind('/')));
}

}  // namespace millrace
