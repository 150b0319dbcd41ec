#include "models/model_store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "models/digest.h"
#include "models/file_io.h"
#include "telemetry/log.h"

namespace millrace {
namespace {

constexpr std::string_view kManifestName = "model.yaml";
constexpr std::string_view kSignatureSuffix = ".sig";
constexpr const char* kPartName = "/model.part";
constexpr const char* kNoneName = "/none";  // There is no model.yaml at the URI.
constexpr std::size_t kFolderDigits = 16;
constexpr long kForbidden = 403;

bool Exists(const std::string& path) {
  std::error_code error;
  return std::filesystem::exists(std::filesystem::symlink_status(path, error));
}

Result<std::int64_t> RegularFileBytes(const std::string& path) {
  struct stat info {};
  if (::lstat(path.c_str(), &info) != 0) return FileError(path, "cannot be read", errno);
  if (!S_ISREG(info.st_mode)) {
    return Status(StatusCode::kCorruption, path + ": is not a regular file");
  }
  return static_cast<std::int64_t>(info.st_size);
}

Status WrongDigest(const std::string& what, const std::string& want, const std::string& got) {
  return {StatusCode::kCorruption,
          fmt::format("{}: its SHA-256 is {}, expected was {}", what, got, want)};
}

// A small file, kept in memory.
class SidecarSink final : public FileSink {
 public:
  Headers Wanted(const std::string&) const override { return {}; }
  bool StartAgain() override { return false; }
  std::int64_t received() const override { return 0; }
  Status Begin(const HttpHead&) override {
    text_.clear();
    return {};
  }
  Status Write(std::string_view bytes) override {
    if (text_.size() + bytes.size() > kMaxSidecarBytes) {
      return {StatusCode::kResourceExhausted,
              fmt::format("has more than {} bytes", kMaxSidecarBytes)};
    }
    text_.append(bytes);
    return {};
  }
  std::string Take() { return std::move(text_); }

 private:
  std::string text_;
};

// Where the files that lay beside the model at `uri` are kept in an entry.
std::string SidecarFolder(const CacheEntry& entry, const ModelUri& uri) {
  return entry.dir() + "/from/" + Sha256Hex(uri.Spelled()).substr(0, kFolderDigits);
}

// Whether an entry may go once a fetch has failed.
bool HoldsNothing(const std::string& dir) {
  struct stat info {};
  const bool has_part = ::lstat((dir + kPartName).c_str(), &info) == 0 && info.st_size > 0;
  return !has_part && !Exists(dir + "/model.onnx") && !Exists(dir + "/model.test");
}

}  // namespace

struct ModelStore::Sidecars {
  bool has_manifest = false;
  bool has_signature = false;
  std::string manifest;
  std::string signature;
};

ModelStore::ModelStore(const RepositoryOptions& options, const Clock& clock,
                       ManifestReader read_manifest, EnvironmentReader variable)
    : options_(options),
      clock_(clock),
      read_manifest_(std::move(read_manifest)),
      variable_(std::move(variable)),
      credentials_(options, clock, cancelled_, variable_) {
  MILLRACE_CHECK(read_manifest_ != nullptr);
  Result<SourcePolicy> policy = SourcePolicy::Make(options, S3Endpoint(options.s3, variable_));
  Result<TrustedKeys> keys = TrustedKeys::Read(options.trusted_keys);
  Result<std::string> dir =
      options.cache_dir.empty() ? DefaultCacheDir() : Result<std::string>(options.cache_dir);
  if (dir.ok() && (*dir)[0] != '/') {
    std::error_code error;
    *dir = std::filesystem::absolute(*dir, error).string();
  }
  for (const Status& status : {policy.status(), keys.status()}) {
    if (setup_.ok()) setup_ = status;
  }
  if (policy.ok()) policy_ = std::move(*policy);
  if (keys.ok()) keys_ = std::move(*keys);
  // Without one, local files can be used all the same.
  if (dir.ok()) cache_ = std::make_unique<ModelCache>(*dir, options.cache_bytes);
  remote_ =
      std::make_unique<RemoteStore>(options_, policy_, credentials_, variable_, clock_, cancelled_);
}

Result<ModelUri> ModelStore::Locate(const ModelLocation& location) const {
  const std::string& base = options_.store.empty() ? options_.dir : options_.store;
  std::error_code error;
  const std::string absolute =
      base.empty() || base.find("://") != std::string::npos || base[0] == '/'
          ? base
          : std::filesystem::absolute(base, error).string();
  return ParseModelUri(location.uri, absolute);
}

Result<StoredModel> ModelStore::Fetch(const ModelLocation& location,
                                      const FetchProgress& progress) {
  const auto run = [&]() -> Result<StoredModel> {
    MILLRACE_RETURN_IF_ERROR(setup_);
    std::string want = location.sha256;
    std::transform(want.begin(), want.end(), want.begin(),
                   [](char c) { return c >= 'A' && c <= 'F' ? static_cast<char>(c + 32) : c; });
    if (!want.empty() && !IsSha256(want)) {
      return Status(StatusCode::kInvalidArgument,
                    "sha256 is not 64 hexadecimal digits: '" + location.sha256 + "'");
    }
    const Result<ModelUri> uri = Locate(location);
    if (!uri.ok()) return uri.status();
    if (uri->kind == ModelUri::Kind::kFile) return FetchLocal(*uri, want);
    ModelLocation known = location;
    known.sha256 = want;
    return FetchRemote(*uri, known, progress);
  };
  Result<StoredModel> stored = run();
  if (stored.ok() || location.model_id.empty()) return stored;
  return stored.status().WithContext("model " + location.model_id + ":" + location.version);
}

Result<StoredModel> ModelStore::FetchLocal(const ModelUri& uri, const std::string& want) const {
  Result<std::string> path = policy_.ResolveFile(uri.path);
  if (!path.ok()) return path.status();
  const Result<std::int64_t> bytes = RegularFileBytes(*path);
  if (!bytes.ok()) return bytes.status();
  if (*bytes > options_.max_model_bytes) {
    return Status(StatusCode::kResourceExhausted,
                  fmt::format("{} has {} bytes, more than repository.max_model_bytes, {}", *path,
                              *bytes, FormatBytes(options_.max_model_bytes)));
  }
  StoredModel stored;
  stored.path = *path;
  stored.bytes = *bytes;
  if (const std::string beside = uri.Beside(kManifestName).path; Exists(beside)) {
    Result<std::string> manifest = policy_.ResolveFile(beside);
    if (!manifest.ok()) return manifest.status();
    stored.manifest_path = std::move(*manifest);
  }
  Result<std::string> digest = Sha256OfFile(*path);
  if (!digest.ok()) return digest.status();
  if (!want.empty() && *digest != want) return WrongDigest(*path, want, *digest);
  stored.sha256 = std::move(*digest);
  MILLRACE_RETURN_IF_ERROR(CheckManifest(uri, stored.manifest_path, stored.sha256));
  return stored;
}

Result<StoredModel> ModelStore::FetchRemote(const ModelUri& uri, const ModelLocation& location,
                                            const FetchProgress& progress) {
  if (cache_ == nullptr) return DefaultCacheDir().status();
  MILLRACE_RETURN_IF_ERROR(remote_->CheckAllowed(uri));
  MILLRACE_RETURN_IF_ERROR(cache_->Prepare());
  const MonoTime deadline = clock_.Now() + options_.fetch_timeout;
  if (!location.sha256.empty()) return FetchDigest(uri, location.sha256, deadline, progress);
  const Result<std::string> named = DigestBeside(uri, deadline);
  if (!named.ok()) return named.status();
  if (!named->empty()) return FetchDigest(uri, *named, deadline, progress);
  if (keys_.empty() && (location.digest_optional || !options_.verify_digest)) {
    return FetchUnknown(uri, deadline, progress);
  }
  return Status(
      StatusCode::kConfiguration,
      fmt::format("{}: its digest is not known; give its sha256, or put `sha256:` into "
                  "the model.yaml beside it ({} asks for it)",
                  uri.Printed(),
                  keys_.empty() ? "repository.verify_digest" : "repository.trusted_keys"));
}

Result<std::string> ModelStore::DigestBeside(const ModelUri& uri, MonoTime deadline) {
  Result<CacheEntry> entry = cache_->LockUri(uri.Spelled(), WaitsUntil(deadline));
  if (!entry.ok()) return entry.status();
  const Result<Sidecars> sidecars = FetchSidecars(uri, deadline);
  const Result<std::string> manifest =
      sidecars.ok() ? KeepSidecars(uri, *entry, *sidecars) : Result<std::string>(sidecars.status());
  Result<std::string> named = manifest.ok() ? ManifestDigest(*manifest) : manifest;
  // What stays is a download that began while nobody knew its digest.
  const bool known = named.ok() && !named->empty();
  if (known || HoldsNothing(entry->dir())) cache_->Discard(std::move(*entry));
  return named;
}

Result<StoredModel> ModelStore::FetchDigest(const ModelUri& uri, const std::string& want,
                                            MonoTime deadline, const FetchProgress& progress) {
  // A second time when what was in the cache is damaged.
  for (int round = 0; round < 2; ++round) {
    Result<CacheEntry> entry = cache_->LockDigest(want, WaitsUntil(deadline));
    if (!entry.ok()) return entry.status();
    Result<CachePin> pin = cache_->Pin(*entry);
    if (!pin.ok()) return pin.status();
    StoredModel stored;
    stored.sha256 = want;
    stored.pin = std::move(*pin);
    stored.path = entry->dir() + "/" + std::string(uri.ModelFileName());
    Status status = EnsureSidecars(uri, *entry, want, deadline, stored.manifest_path);
    if (status.ok() && Exists(stored.path)) {
      entry->Unlock();
      if (SoundInCache(&stored)) return stored;
      entry = cache_->LockDigest(want, WaitsUntil(deadline));
      if (!entry.ok()) return entry.status();
      ::unlink(stored.path.c_str());
      continue;
    }
    if (status.ok()) status = Download(uri, *entry, deadline, progress, &stored);
    if (status.ok()) return stored;
    if (HoldsNothing(entry->dir())) cache_->Discard(std::move(*entry));
    return status;
  }
  return Status(StatusCode::kCorruption,
                uri.Printed() + ": its entry in the cache was damaged, twice in a row");
}

bool ModelStore::SoundInCache(StoredModel* stored) const {
  const Result<std::int64_t> bytes = RegularFileBytes(stored->path);
  const Result<std::string> digest = !bytes.ok()              ? Result<std::string>(bytes.status())
                                     : options_.verify_digest ? Sha256OfFile(stored->path)
                                                              : Result<std::string>(stored->sha256);
  if (digest.ok() && *digest == stored->sha256) {
    stored->bytes = *bytes;
    stored->was_cached = true;
    return true;
  }
  const std::string reason =
      digest.ok() ? "its SHA-256 is " + *digest : std::string(digest.status().message());
  LogEvent(LogLevel::kWarn, "model_cache_damaged",
           "a model in the cache is not what it was: it is fetched again",
           {{"path", stored->path}, {"reason", reason}});
  return false;
}

Result<StoredModel> ModelStore::FetchUnknown(const ModelUri& uri, MonoTime deadline,
                                             const FetchProgress& progress) {
  Result<CacheEntry> waiting = cache_->LockUri(uri.Spelled(), WaitsUntil(deadline));
  if (!waiting.ok()) return waiting.status();
  Result<PartialFile> partial = OpenPartial(uri, *waiting, progress);
  if (!partial.ok()) return partial.status();
  Result<std::string> digest = Receive(uri, "", deadline, *partial);
  if (!digest.ok()) {
    if (HoldsNothing(waiting->dir())) cache_->Discard(std::move(*waiting));
    return digest.status();
  }
  const Result<CacheEntry> entry = cache_->LockDigest(*digest, WaitsUntil(deadline));
  if (!entry.ok()) return entry.status();
  Result<CachePin> pin = cache_->Pin(*entry);
  if (!pin.ok()) return pin.status();
  StoredModel stored;
  stored.sha256 = std::move(*digest);
  stored.bytes = partial->size();
  stored.pin = std::move(*pin);
  stored.path = entry->dir() + "/" + std::string(uri.ModelFileName());
  MILLRACE_RETURN_IF_ERROR(partial->MoveTo(stored.path));
  MILLRACE_RETURN_IF_ERROR(
      EnsureSidecars(uri, *entry, stored.sha256, deadline, stored.manifest_path));
  cache_->Discard(std::move(*waiting));
  return stored;
}

Result<PartialFile> ModelStore::OpenPartial(const ModelUri& uri, const CacheEntry& entry,
                                            const FetchProgress& progress) const {
  return PartialFile::Open(
      entry.dir() + kPartName, uri.Spelled(), options_.max_model_bytes,
      [this](int fd, std::int64_t bytes) { return cache_->Reserve(fd, bytes); }, progress);
}

Status ModelStore::Download(const ModelUri& uri, const CacheEntry& entry, MonoTime deadline,
                            const FetchProgress& progress, StoredModel* stored) {
  Result<PartialFile> partial = OpenPartial(uri, entry, progress);
  if (!partial.ok()) return partial.status();
  const Result<std::string> digest = Receive(uri, stored->sha256, deadline, *partial);
  if (!digest.ok()) return digest.status();
  stored->bytes = partial->size();
  return partial->MoveTo(stored->path);
}

Result<std::string> ModelStore::Receive(const ModelUri& uri, const std::string& want,
                                        MonoTime deadline, PartialFile& partial) {
  for (bool again = false;; again = true) {
    if (!partial.complete()) {
      long answered = 0;
      const Status status = remote_->Get(uri, partial, deadline, &answered);
      // What it takes of a full disk is of more use to others.
      if (status.code() == StatusCode::kResourceExhausted) partial.Remove();
      if (!status.ok()) return status;
    }
    Result<std::string> digest = Sha256OfFile(partial.path());
    if (!digest.ok() || want.empty() || *digest == want) return digest;
    const bool resumed = partial.resumed();
    MILLRACE_RETURN_IF_ERROR(partial.Clear());
    if (!resumed || again) {
      partial.Remove();
      return WrongDigest(uri.Printed(), want, *digest);
    }
    LogEvent(LogLevel::kWarn, "model_download_damaged",
             "a download that was continued is not what was wanted: it starts again",
             {{"uri", uri.Printed()}, {"sha256", *digest}});
  }
}

Result<bool> ModelStore::FetchSidecar(const ModelUri& uri, MonoTime deadline, std::string& text) {
  SidecarSink sink;
  long answered = 0;
  const Status status = remote_->Get(uri, sink, deadline, &answered);
  // S3 says "forbidden" of what is not there to whoever may not list the bucket.
  if (status.code() == StatusCode::kNotFound || answered == kForbidden) return false;
  if (!status.ok()) return status;
  text = sink.Take();
  return true;
}

Result<ModelStore::Sidecars> ModelStore::FetchSidecars(const ModelUri& uri, MonoTime deadline) {
  Sidecars sidecars;
  const ModelUri manifest = uri.Beside(kManifestName);
  Result<bool> found = FetchSidecar(manifest, deadline, sidecars.manifest);
  if (!found.ok()) return found.status();
  sidecars.has_manifest = *found;
  if (!sidecars.has_manifest || keys_.empty()) return sidecars;
  ModelUri signature = manifest;
  signature.path += kSignatureSuffix;
  found = FetchSidecar(signature, deadline, sidecars.signature);
  if (!found.ok()) return found.status();
  sidecars.has_signature = *found;
  return sidecars;
}

Result<std::string> ModelStore::KeepSidecars(const ModelUri& uri, const CacheEntry& entry,
                                             const Sidecars& sidecars) const {
  const std::string folder = SidecarFolder(entry, uri);
  const std::string manifest = folder + "/" + std::string(kManifestName);
  const std::string signature = manifest + std::string(kSignatureSuffix);
  MILLRACE_RETURN_IF_ERROR(MakeFolders(folder));
  if (!sidecars.has_manifest) {
    ::unlink(manifest.c_str());
    ::unlink(signature.c_str());
    MILLRACE_RETURN_IF_ERROR(ReplaceFile(folder + kNoneName, ""));
    return std::string();
  }
  // The manifest last: with it, all is there.
  if (sidecars.has_signature) {
    MILLRACE_RETURN_IF_ERROR(ReplaceFile(signature, sidecars.signature));
  } else {
    ::unlink(signature.c_str());
  }
  MILLRACE_RETURN_IF_ERROR(ReplaceFile(manifest, sidecars.manifest));
  ::unlink((folder + kNoneName).c_str());
  return manifest;
}

Status ModelStore::EnsureSidecars(const ModelUri& uri, const CacheEntry& entry,
                                  const std::string& sha256, MonoTime deadline,
                                  std::string& manifest_path) {
  const std::string folder = SidecarFolder(entry, uri);
  const std::string manifest = folder + "/" + std::string(kManifestName);
  const bool has_all = keys_.empty()
                           ? Exists(manifest) || Exists(folder + kNoneName)
                           : Exists(manifest) && Exists(manifest + std::string(kSignatureSuffix));
  if (has_all) {
    manifest_path = Exists(manifest) ? manifest : "";
  } else {
    const Result<Sidecars> sidecars = FetchSidecars(uri, deadline);
    if (!sidecars.ok()) return sidecars.status();
    Result<std::string> kept = KeepSidecars(uri, entry, *sidecars);
    if (!kept.ok()) return kept.status();
    manifest_path = std::move(*kept);
  }
  Status status = CheckManifest(uri, manifest_path, sha256);
  // So that one that was put right is seen.
  std::error_code error;
  if (!status.ok()) std::filesystem::remove_all(folder, error);
  return status;
}

Result<std::string> ModelStore::ManifestDigest(const std::string& manifest_path) const {
  if (manifest_path.empty()) return std::string();
  Result<ModelManifest> manifest = read_manifest_(manifest_path);
  if (!manifest.ok()) return manifest.status();
  return std::move(manifest->sha256);
}

Status ModelStore::CheckManifest(const ModelUri& uri, const std::string& manifest_path,
                                 const std::string& sha256) const {
  const Result<std::string> named = ManifestDigest(manifest_path);
  if (!named.ok()) return named.status().WithContext(uri.Printed());
  if (!named->empty() && *named != sha256) {
    return WrongDigest(uri.Printed() + " (by the model.yaml beside it)", *named, sha256);
  }
  return VerifySigned(uri.Printed(), manifest_path, sha256);
}

Status ModelStore::VerifySigned(const std::string& model_path, const std::string& manifest_path,
                                const std::string& sha256) const {
  MILLRACE_RETURN_IF_ERROR(setup_);
  if (keys_.empty()) return {};
  const auto refused = [&](std::string_view why) {
    return Status(
        StatusCode::kCorruption,
        fmt::format("{}: is not signed as repository.trusted_keys asks for: {}", model_path, why));
  };
  if (manifest_path.empty()) return refused("there is no model.yaml beside it");
  const std::string signature_path = manifest_path + std::string(kSignatureSuffix);
  const Result<std::string> manifest = ReadSmallFile(manifest_path, kMaxSidecarBytes);
  if (!manifest.ok()) return refused(manifest.status().message());
  const Result<std::string> signature = ReadSmallFile(signature_path, kMaxSidecarBytes);
  if (!signature.ok()) {
    return refused(signature.status().code() == StatusCode::kNotFound
                       ? "there is no model.yaml.sig beside its model.yaml"
                       : signature.status().message());
  }
  if (const Status status = keys_.Verify(*manifest, *signature); !status.ok()) {
    return refused("its model.yaml.sig " + std::string(status.message()));
  }
  const Result<std::string> named = ManifestDigest(manifest_path);
  if (!named.ok()) return refused(named.status().message());
  if (named->empty()) return refused("its model.yaml does not name the model's sha256");
  if (*named != sha256) {
    return refused(
        fmt::format("its model.yaml names sha256 {}, the model's is {}", *named, sha256));
  }
  return {};
}

ModelCache::KeepWaiting ModelStore::WaitsUntil(MonoTime deadline) const {
  return [this, deadline]() -> Status {
    if (cancelled_.load(std::memory_order_relaxed)) {
      return {StatusCode::kCancelled, "stopped on request"};
    }
    if (clock_.Now() < deadline) return {};
    return {StatusCode::kDeadlineExceeded,
            "another worker has been fetching the model for longer than repository.fetch_timeout"};
  };
}

}  // namespace millrace
