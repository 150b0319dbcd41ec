// PartialFile: a download on disk, which outlives the process that began it.
//
// Two files: PATH, the bytes so far, and PATH.of, which says of what they are: the URI, the ETag
// that the server gave it, and its size. The note is written before the first byte, so that bytes
// without a note, of another URI or without a strong ETag are never continued. What is on disk may
// still be anything after a power cut: whoever uses it checks the digest of the whole.
//
// REQUIRES: one owner in all processes (the lock of its cache entry). One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "base/status.h"
#include "models/file_io.h"
#include "models/remote_store.h"

namespace millrace {

using FetchProgress = std::function<void(std::int64_t done, std::int64_t total)>;

class PartialFile final : public FileSink {
 public:
  // Room is asked for in these steps where a server does not say how long its file is.
  static constexpr std::int64_t kReserveStep = 16 << 20;

  // Makes room for the first `bytes` of the file, or says why there is none.
  using Reserve = std::function<Status(int fd, std::int64_t bytes)>;

  // `uri`: in the spelling that is compared. `progress` may be null.
  static Result<PartialFile> Open(std::string path, const std::string& uri, std::int64_t max_bytes,
                                  Reserve reserve, FetchProgress progress);

  Headers Wanted(const std::string& conditional) const override;
  bool StartAgain() override;
  std::int64_t received() const override { return received_; }
  Status Begin(const HttpHead& head) override;
  Status Write(std::string_view bytes) override;

  // Whether all of it is there, going by the size that the server named.
  bool complete() const { return total_ >= 0 && size_ == total_; }
  // Whether bytes of an earlier process or connection are in it.
  bool resumed() const { return resumed_; }
  std::int64_t size() const { return size_; }
  const std::string& path() const { return path_; }
  // Empties it, so that the next attempt starts from the beginning.
  Status Clear();
  // Removes both files.
  void Remove();
  // Puts the bytes on disk and the file to `path`; REQUIRES: the same file system.
  Status MoveTo(const std::string& path);

 private:
  PartialFile(std::string path, std::string uri_key, std::int64_t max_bytes, Reserve reserve,
              FetchProgress progress);

  void ReadNote();
  Status WriteNote() const;
  Status BeginWhole(const HttpHead& head);
  Status BeginRange(const HttpHead& head);
  std::string NotePath() const { return path_ + ".of"; }

  std::string path_;
  std::string uri_key_;
  std::int64_t max_bytes_;
  Reserve reserve_;
  FetchProgress progress_;
  OpenFile file_;
  std::string etag_;
  std::int64_t size_ = 0;
  std::int64_t total_ = -1;  // -1: not known.
  std::int64_t reserved_ = 0;
  std::int64_t received_ = 0;
  bool resumed_ = false;
};

}  // namespace millrace
