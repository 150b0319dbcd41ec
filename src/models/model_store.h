// ModelStore: brings the model file of a version to this host, verified.
//
// A file: URI or path is used where it lies, inside repository.dir and repository.allow_dirs. What
// is fetched by http:, https: or s3: lies in a cache by its digest, which the workers of a host
// share: one of them downloads and the others wait, a download that was cut (kill -9, a broken
// connection) goes on where it stopped, and an entry stays for as long as somebody holds its pin.
// Where a model may come from is SourcePolicy's to say.
//
// A version never changes: its URI and digest stand for the same bytes for ever, so that what is in
// the cache needs no network. The model.yaml beside the model is fetched with it and kept with it.
//
// The digest of a version has to be known beforehand, from the location or from the `sha256` of the
// model.yaml beside the file, unless repository.verify_digest is off, the location allows it or the
// file is local. With repository.trusted_keys only versions load whose model.yaml is signed by one
// of them and names the digest.
//
// Any thread, several at once. Cancel ends every Fetch, present and future. Owns no thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/status.h"
#include "models/aws_credentials.h"
#include "models/model_cache.h"
#include "models/options.h"
#include "models/partial_file.h"
#include "models/remote_store.h"
#include "models/signature.h"
#include "models/source_policy.h"

namespace millrace {

// Of a model.yaml and of a model.yaml.sig.
inline constexpr std::size_t kMaxSidecarBytes = std::size_t{1} << 20;

struct ModelLocation {
  std::string model_id;
  std::string version;
  std::string uri;
  std::string sha256;  // 64 hexadecimal digits; empty: not known beforehand.
  // The caller only wants to know what is there: a remote file may come without a digest.
  bool digest_optional = false;
};

struct StoredModel {
  std::string path;
  std::string manifest_path;  // The model.yaml that lies beside it at its URI; empty: none does.
  std::string sha256;
  std::int64_t bytes = 0;
  bool was_cached = false;
  // Keeps the files where they are; let go once they are no longer read. Null for local files.
  CachePin pin;
};

class ModelStore {
 public:
  // `options` and `clock` must outlive the store. Wrong settings (a key, an allow-list, a cache
  // folder) are reported by every Fetch and VerifySigned, kConfiguration.
  ModelStore(const RepositoryOptions& options, const Clock& clock, ManifestReader read_manifest,
             EnvironmentReader variable = ProcessVariable);

  // Slow, blocks. kConfiguration for what settings forbid; kNotFound; kUnavailable when the store
  // does not answer, which may pass; kCorruption for a digest or a signature that is wrong;
  // kResourceExhausted for a bound or a full disk; kDeadlineExceeded; kCancelled.
  Result<StoredModel> Fetch(const ModelLocation& location, const FetchProgress& progress = nullptr);
  void Cancel() { cancelled_.store(true, std::memory_order_relaxed); }

  // Whether trusted keys, if there are any, vouch for a model file with this digest: the manifest
  // is signed in manifest_path + ".sig" and names the digest. For models of the local repository
  // too. Blocks for the two small files. kCorruption when not.
  Status VerifySigned(const std::string& model_path, const std::string& manifest_path,
                      const std::string& sha256) const;

 private:
  struct Sidecars;

  Result<ModelUri> Locate(const ModelLocation& location) const;
  Result<StoredModel> FetchLocal(const ModelUri& uri, const std::string& want) const;
  Result<StoredModel> FetchRemote(const ModelUri& uri, const ModelLocation& location,
                                  const FetchProgress& progress);
  // Of a digest that is known.
  Result<StoredModel> FetchDigest(const ModelUri& uri, const std::string& want, MonoTime deadline,
                                  const FetchProgress& progress);
  // Of one that is not: into an entry of the URI first.
  Result<StoredModel> FetchUnknown(const ModelUri& uri, MonoTime deadline,
                                   const FetchProgress& progress);
  // What the model.yaml beside the file says of it; empty when it says nothing.
  Result<std::string> DigestBeside(const ModelUri& uri, MonoTime deadline);
  // Whether the model at stored->path is still what it was; notes its size.
  bool SoundInCache(StoredModel* stored) const;

  Result<PartialFile> OpenPartial(const ModelUri& uri, const CacheEntry& entry,
                                  const FetchProgress& progress) const;
  // Fetches the model of stored->sha256 to stored->path, in the locked `entry`.
  Status Download(const ModelUri& uri, const CacheEntry& entry, MonoTime deadline,
                  const FetchProgress& progress, StoredModel* stored);
  // Completes `partial`; its digest, which is `want` unless that is empty.
  Result<std::string> Receive(const ModelUri& uri, const std::string& want, MonoTime deadline,
                              PartialFile& partial);

  // Whether there is such a file, and what it holds.
  Result<bool> FetchSidecar(const ModelUri& uri, MonoTime deadline, std::string& text);
  // The model.yaml beside the URI's file, and its signature where keys are set.
  Result<Sidecars> FetchSidecars(const ModelUri& uri, MonoTime deadline);
  // Puts them into the entry; the path of the manifest, empty without one.
  Result<std::string> KeepSidecars(const ModelUri& uri, const CacheEntry& entry,
                                   const Sidecars& sidecars) const;
  // Those of the entry, fetched unless they are there, and checked against the model's digest.
  Status EnsureSidecars(const ModelUri& uri, const CacheEntry& entry, const std::string& sha256,
                        MonoTime deadline, std::string& manifest_path);
  // What the manifest says the digest is; empty when it says nothing.
  Result<std::string> ManifestDigest(const std::string& manifest_path) const;
  Status CheckManifest(const ModelUri& uri, const std::string& manifest_path,
                       const std::string& sha256) const;
  ModelCache::KeepWaiting WaitsUntil(MonoTime deadline) const;

  const RepositoryOptions& options_;
  const Clock& clock_;
  const ManifestReader read_manifest_;
  const EnvironmentReader variable_;
  std::atomic<bool> cancelled_{false};
  Status setup_;  // What is wrong with the settings.
  SourcePolicy policy_;
  TrustedKeys keys_;
  AwsCredentialChain credentials_;
  std::unique_ptr<RemoteStore> remote_;
  std::unique_ptr<ModelCache> cache_;
};

}  // namespace millrace
