// ModelCache: models that were fetched, by their SHA-256, shared by all workers of a host.
//
//   DIR/sha256/<aa>/<digest>/model.onnx        whole and verified, or not there
//                            model.part[.of]   a download that is under way or was cut
//                            lock, pin         empty; held by flock, so that a kill -9 lets go
//                            from/<uri>/       the model.yaml[.sig] that lay beside it, per URI
//   DIR/uri/<aa>/<hash>/                       a download whose digest nobody knows yet
//
// `lock` is held by the one process that changes an entry; the others wait for it and find what it
// fetched. `pin` is held, shared, by whoever uses an entry; its time is that of the last use. Once
// the folder would outgrow its bound, entries that nobody holds are removed, the least recently
// used first. A file lies where it is looked for only after it was written, synced and renamed.
//
// DIR has to be on a local file system and ours: nobody else may write to it. Any thread, several
// at once; a CacheEntry belongs to one.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "base/status.h"
#include "models/file_io.h"

namespace millrace {

// $XDG_CACHE_HOME/millrace/models, else $HOME/.cache/millrace/models. kConfiguration without both.
Result<std::string> DefaultCacheDir();

// An entry that is ours to change, for as long as this lives.
class CacheEntry {
 public:
  CacheEntry(std::string dir, OpenFile lock) : dir_(std::move(dir)), lock_(std::move(lock)) {}

  const std::string& dir() const { return dir_; }
  // Lets others at it; what was pinned stays.
  void Unlock() { lock_.Close(); }

 private:
  std::string dir_;
  OpenFile lock_;
};

// Keeps an entry from being evicted, in any process, for as long as it lives.
using CachePin = std::shared_ptr<const void>;

class ModelCache {
 public:
  // Asked while another process holds an entry; an error ends the wait with it.
  using KeepWaiting = std::function<Status()>;

  ModelCache(std::string dir, std::int64_t max_bytes);

  // Makes the folder. kConfiguration when it cannot be, or when others may write to it.
  Status Prepare() const;

  Result<CacheEntry> LockDigest(const std::string& digest, const KeepWaiting& keep_waiting) const;
  // For a download whose digest is not known: `uri` in its full spelling.
  Result<CacheEntry> LockUri(const std::string& uri, const KeepWaiting& keep_waiting) const;
  // Marks the entry as used now. REQUIRES: it is locked.
  Result<CachePin> Pin(const CacheEntry& entry) const;

  // Removes an entry that holds nothing worth keeping.
  void Discard(CacheEntry entry) const;

  // Makes room for the first `bytes` of an entry's file that is open as `fd`, and takes it.
  // kResourceExhausted when what is in use leaves too little of the bound, or the disk is full.
  Status Reserve(int fd, std::int64_t bytes) const;
  // Of all entries, as the bound counts them.
  std::int64_t Bytes() const;

 private:
  struct Found {
    std::string dir;
    std::int64_t bytes = 0;
    std::int64_t used_ns = 0;  // Time of the last use.
  };

  Result<CacheEntry> Lock(const std::string& dir, const KeepWaiting& keep_waiting) const;
  std::vector<Found> Scan() const;
  static void RemoveFiles(const std::string& dir);
  // Whether the entry is gone: not when somebody holds it.
  bool Evict(const std::string& dir) const;

  const std::string dir_;
  const std::int64_t max_bytes_;
};

}  // namespace millrace
