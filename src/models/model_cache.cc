#include "models/model_cache.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <filesystem>
#include <system_error>
#include <thread>

#include "base/settings.h"
#include "models/digest.h"

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::chrono::milliseconds kLockPoll{20};
constexpr std::int64_t kBlockBytes = 512;  // Of st_blocks, whatever the file system's are.
constexpr const char* kLockName = "/lock";
constexpr const char* kPinName = "/pin";

enum class Locked { kYes, kBusy, kFailed };

Locked TryLock(int fd, int operation) {
  while (::flock(fd, operation | LOCK_NB) != 0) {
    if (errno == EINTR) continue;
    return errno == EWOULDBLOCK ? Locked::kBusy : Locked::kFailed;
  }
  return Locked::kYes;
}

// Whether the open file is still the one at `path`, which an eviction may have removed.
bool StillAt(int fd, const std::string& path) {
  struct stat open_one {};
  struct stat named {};
  return ::fstat(fd, &open_one) == 0 && ::lstat(path.c_str(), &named) == 0 &&
         open_one.st_dev == named.st_dev && open_one.st_ino == named.st_ino;
}

std::int64_t TakenBytes(const struct stat& info) {
  return std::max<std::int64_t>(info.st_size, info.st_blocks * kBlockBytes);
}

std::int64_t FolderBytes(const std::string& dir) {
  std::int64_t bytes = 0;
  std::error_code error;
  for (fs::recursive_directory_iterator it(dir, error), end; !error && it != end;
       it.increment(error)) {
    struct stat info {};
    if (::lstat(it->path().c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
      bytes += TakenBytes(info);
    }
  }
  return bytes;
}

std::vector<std::string> FoldersIn(const std::string& dir) {
  std::vector<std::string> folders;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::error_code ignored;
    if (it->is_directory(ignored) && !it->is_symlink(ignored)) {
      folders.push_back(it->path().string());
    }
  }
  return folders;
}

}  // namespace

Result<std::string> DefaultCacheDir() {
  const char* const xdg = ::getenv("XDG_CACHE_HOME");
  if (xdg != nullptr && xdg[0] == '/') return std::string(xdg) + "/millrace/models";
  const char* const home = ::getenv("HOME");
  if (home != nullptr && home[0] == '/') return std::string(home) + "/.cache/millrace/models";
  return Status(StatusCode::kConfiguration,
                "no place for fetched models: set repository.cache_dir (neither XDG_CACHE_HOME "
                "nor HOME is set)");
}

ModelCache::ModelCache(std::string dir, std::int64_t max_bytes)
    : dir_(std::move(dir)), max_bytes_(max_bytes) {}

Status ModelCache::Prepare() const {
  MILLRACE_RETURN_IF_ERROR(MakeFolders(dir_).WithContext("repository.cache_dir"));
  struct stat info {};
  if (::stat(dir_.c_str(), &info) != 0) return FileError(dir_, "cannot be read", errno);
  const bool ours = info.st_uid == ::geteuid() || info.st_uid == 0;
  if (!S_ISDIR(info.st_mode) || !ours || (info.st_mode & S_IWOTH) != 0) {
    return {StatusCode::kConfiguration,
            "repository.cache_dir: " + dir_ +
                " is not a folder that belongs to this user and only to this user to write to"};
  }
  return {};
}

Result<CacheEntry> ModelCache::LockDigest(const std::string& digest,
                                          const KeepWaiting& keep_waiting) const {
  return Lock(dir_ + "/sha256/" + digest.substr(0, 2) + "/" + digest, keep_waiting);
}

Result<CacheEntry> ModelCache::LockUri(const std::string& uri,
                                       const KeepWaiting& keep_waiting) const {
  const std::string hash = Sha256Hex(uri);
  return Lock(dir_ + "/uri/" + hash.substr(0, 2) + "/" + hash, keep_waiting);
}

Result<CacheEntry> ModelCache::Lock(const std::string& dir, const KeepWaiting& keep_waiting) const {
  const std::string path = dir + kLockName;
  while (true) {
    MILLRACE_RETURN_IF_ERROR(MakeFolders(dir).WithContext("repository.cache_dir"));
    Result<OpenFile> file = OpenFile::Open(path, O_RDWR | O_CREAT);
    if (!file.ok()) {
      // Removed between the two calls by an eviction.
      if (file.status().code() != StatusCode::kNotFound) return file.status();
      MILLRACE_RETURN_IF_ERROR(keep_waiting());
      continue;
    }
    Locked locked = TryLock(file->fd(), LOCK_EX);
    for (; locked == Locked::kBusy; locked = TryLock(file->fd(), LOCK_EX)) {
      MILLRACE_RETURN_IF_ERROR(keep_waiting());
      std::this_thread::sleep_for(kLockPoll);
    }
    if (locked == Locked::kFailed) return FileError(path, "cannot be locked", errno);
    if (StillAt(file->fd(), path)) return CacheEntry(dir, std::move(*file));
  }
}

Result<CachePin> ModelCache::Pin(const CacheEntry& entry) const {
  const std::string path = entry.dir() + kPinName;
  Result<OpenFile> file = OpenFile::Open(path, O_RDWR | O_CREAT);
  if (!file.ok()) return file.status();
  // An eviction takes it only with the entry's lock, which is ours.
  if (TryLock(file->fd(), LOCK_SH) != Locked::kYes) {
    return FileError(path, "cannot be locked", errno);
  }
  if (::futimens(file->fd(), nullptr) != 0) return FileError(path, "cannot be written", errno);
  return CachePin(std::make_shared<const OpenFile>(std::move(*file)));
}

std::vector<ModelCache::Found> ModelCache::Scan() const {
  std::vector<Found> entries;
  for (const char* kind : {"/sha256", "/uri"}) {
    for (const std::string& shard : FoldersIn(dir_ + kind)) {
      for (std::string& dir : FoldersIn(shard)) {
        struct stat info {};
        const bool used = ::lstat((dir + kPinName).c_str(), &info) == 0 ||
                          ::lstat((dir + kLockName).c_str(), &info) == 0;
        constexpr std::int64_t kNanos = 1'000'000'000;
        const std::int64_t time = used ? info.st_mtim.tv_sec * kNanos + info.st_mtim.tv_nsec : 0;
        const std::int64_t bytes = FolderBytes(dir);
        entries.push_back({std::move(dir), bytes, time});
      }
    }
  }
  std::sort(entries.begin(), entries.end(),
            [](const Found& a, const Found& b) { return a.used_ns < b.used_ns; });
  return entries;
}

std::int64_t ModelCache::Bytes() const {
  std::int64_t bytes = 0;
  for (const Found& entry : Scan()) bytes += entry.bytes;
  return bytes;
}

void ModelCache::RemoveFiles(const std::string& dir) {
  // The lock goes last: until then nobody else sees the entry, and whoever waits for it looks again
  // afterwards.
  std::error_code error;
  for (const char* name : {"/model.onnx", "/model.test", "/model.part", "/model.part.of"}) {
    ::unlink((dir + name).c_str());
  }
  fs::remove_all(dir + "/from", error);
  ::unlink((dir + kPinName).c_str());
  ::unlink((dir + kLockName).c_str());
  ::rmdir(dir.c_str());
}

void ModelCache::Discard(CacheEntry entry) const { RemoveFiles(entry.dir()); }

bool ModelCache::Evict(const std::string& dir) const {
  const std::string lock_path = dir + kLockName;
  const Result<OpenFile> lock = OpenFile::Open(lock_path, O_RDWR | O_CREAT);
  if (!lock.ok() || TryLock(lock->fd(), LOCK_EX) != Locked::kYes ||
      !StillAt(lock->fd(), lock_path)) {
    return false;
  }
  const std::string pin_path = dir + kPinName;
  const Result<OpenFile> pin = OpenFile::Open(pin_path, O_RDWR | O_CREAT);
  if (!pin.ok() || TryLock(pin->fd(), LOCK_EX) != Locked::kYes) return false;
  RemoveFiles(dir);
  return true;
}

Status ModelCache::Reserve(int fd, std::int64_t bytes) const {
  if (bytes > max_bytes_) {
    return {StatusCode::kResourceExhausted,
            fmt::format("the model has {} bytes, more than repository.cache_bytes, {}", bytes,
                        FormatBytes(max_bytes_))};
  }
  // One at a time counts and takes, in all processes.
  const std::string lock_path = dir_ + kLockName;
  const Result<OpenFile> lock = OpenFile::Open(lock_path, O_RDWR | O_CREAT);
  if (!lock.ok()) return lock.status();
  while (::flock(lock->fd(), LOCK_EX) != 0) {
    if (errno != EINTR) return FileError(lock_path, "cannot be locked", errno);
  }
  struct stat info {};
  if (::fstat(fd, &info) != 0) return FileError(dir_, "cannot be read", errno);
  const std::vector<Found> entries = Scan();
  std::int64_t taken = std::max<std::int64_t>(0, bytes - TakenBytes(info));
  for (const Found& entry : entries) taken += entry.bytes;
  std::size_t next = 0;
  const auto evict_one = [&] {
    while (next < entries.size()) {
      const Found& entry = entries[next++];
      if (!Evict(entry.dir)) continue;
      taken -= entry.bytes;
      return true;
    }
    return false;
  };
  while (taken > max_bytes_) {
    if (!evict_one()) {
      return {StatusCode::kResourceExhausted,
              fmt::format("{} has no room for {} bytes beside the models that are in use; raise "
                          "repository.cache_bytes, {}",
                          dir_, bytes, FormatBytes(max_bytes_))};
    }
  }
  // The size stays, so that it tells how far a download came.
  while (bytes > 0 && ::fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    if (errno == EOPNOTSUPP || errno == ENOSYS) return {};
    const int error = errno;
    const bool full = error == ENOSPC || error == EDQUOT;
    if (!full || !evict_one()) {
      return FileError(dir_, fmt::format("has no room for {} bytes", bytes), error);
    }
  }
  return {};
}

}  // namespace millrace
