#include "models/repository.h"

#include <algorithm>
#include <filesystem>
#include <optional>
#include <system_error>
#include <utility>

namespace millrace {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxIdBytes = 128;
constexpr std::string_view kOnnxSuffix = ".onnx";
constexpr const char* kManifestName = "model.yaml";
constexpr const char* kManifestSignatureName = "model.yaml.sig";

bool IsDigit(char c) { return c >= '0' && c <= '9'; }
bool IsLetterOrDigit(char c) {
  return IsDigit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

bool IsNumber(std::string_view text) { return std::all_of(text.begin(), text.end(), IsDigit); }

std::string_view WithoutLeadingZeros(std::string_view digits) {
  while (digits.size() > 1 && digits[0] == '0') digits.remove_prefix(1);
  return digits;
}

// One scan: the listing that grows, and the root that nothing may leave.
class Scanner {
 public:
  Scanner(fs::path root, const ManifestReader& read_manifest, std::string only)
      : root_(std::move(root)), read_manifest_(read_manifest), only_(std::move(only)) {}

  Result<RepositoryListing> Scan();

 private:
  void ScanModel(const fs::path& dir, const std::string& id);
  void ScanVersion(const fs::path& dir, const std::string& id, const std::string& version,
                   const std::optional<fs::path>& model_manifest);
  void ScanPlainFile(const fs::path& path, const std::string& id);
  void Add(ModelVersion version);
  // The names in `dir`, sorted, hidden ones left out.
  std::vector<std::string> Names(const fs::path& dir);
  // Whether `path` leads, through whatever links, to a place inside the root. Warns if not.
  bool Inside(const fs::path& path);
  bool IsFile(const fs::path& path) const;
  void Warn(const fs::path& path, std::string_view why);

  const fs::path root_;
  const ManifestReader& read_manifest_;
  const std::string only_;  // Empty: every model.
  RepositoryListing listing_;
  std::size_t unlisted_warnings_ = 0;
};

void Scanner::Warn(const fs::path& path, std::string_view why) {
  if (listing_.warnings.size() >= kMaxScanWarnings) {
    ++unlisted_warnings_;
    return;
  }
  listing_.warnings.push_back(path.string().append(": ").append(why));
}

std::vector<std::string> Scanner::Names(const fs::path& dir) {
  std::vector<std::string> names;
  std::error_code error;
  for (fs::directory_iterator it(dir, error), end; !error && it != end; it.increment(error)) {
    std::string name = it->path().filename().string();
    if (name[0] != '.') names.push_back(std::move(name));
  }
  if (error) Warn(dir, "cannot be listed: " + error.message());
  std::sort(names.begin(), names.end());
  return names;
}

bool Scanner::Inside(const fs::path& path) {
  std::error_code error;
  const fs::path real = fs::canonical(path, error);
  if (error) {
    Warn(path, "cannot be followed: " + error.message());
    return false;
  }
  const auto [root_end, unused] =
      std::mismatch(root_.begin(), root_.end(), real.begin(), real.end());
  if (root_end == root_.end()) return true;
  Warn(path, "is a link that leads out of the repository, to " + real.string());
  return false;
}

bool Scanner::IsFile(const fs::path& path) const {
  std::error_code error;
  return fs::is_regular_file(path, error);
}

void Scanner::Add(ModelVersion version) {
  std::error_code error;
  const std::uintmax_t bytes = fs::file_size(version.path, error);
  if (error) {
    Warn(version.path, "cannot be read: " + error.message());
    return;
  }
  version.bytes = static_cast<std::int64_t>(bytes);
  std::vector<ModelVersion>& versions = listing_.models[version.model_id];
  const auto same = std::find_if(versions.begin(), versions.end(), [&](const ModelVersion& v) {
    return v.version == version.version;
  });
  if (same == versions.end()) {
    versions.push_back(std::move(version));
    return;
  }
  Warn(version.path,
       "is passed over: version " + version.version + " is " + same->path + " already");
}

void Scanner::ScanVersion(const fs::path& dir, const std::string& id, const std::string& version,
                          const std::optional<fs::path>& model_manifest) {
  const fs::path onnx = dir / "model.onnx";
  const fs::path test = dir / "model.test";
  std::error_code error;
  const bool has_onnx = fs::exists(fs::symlink_status(onnx, error));
  const bool has_test = fs::exists(fs::symlink_status(test, error));
  if (has_onnx == has_test) {
    Warn(dir,
         has_onnx ? "has both a model.onnx and a model.test; remove one" : "has no model.onnx");
    return;
  }
  const fs::path& model = has_onnx ? onnx : test;
  if (!Inside(model)) return;
  if (!IsFile(model)) {
    Warn(model, "is not a regular file");
    return;
  }
  ModelVersion found;
  found.model_id = id;
  found.version = version;
  found.path = model.string();
  found.engine = has_onnx ? kOnnxRuntimeEngine : kTestEngine;

  const fs::path own = dir / kManifestName;
  const bool has_own = fs::exists(fs::symlink_status(own, error));
  if (has_own || model_manifest) {
    const fs::path& manifest_path = has_own ? own : *model_manifest;
    if (!Inside(manifest_path)) return;
    Result<ModelManifest> manifest = read_manifest_(manifest_path.string());
    if (!manifest.ok()) {
      Warn(model, "is not served: " + std::string(manifest.status().message()));
      return;
    }
    if (!manifest->engine.empty() && manifest->engine != found.engine) {
      Warn(manifest_path, "names engine " + manifest->engine + ", but " +
                              model.filename().string() + " is for " + found.engine +
                              "; the version is not served");
      return;
    }
    found.description = std::move(manifest->description);
    found.labels = std::move(manifest->labels);
    found.provenance = std::move(manifest->provenance);
    found.sha256 = std::move(manifest->sha256);
    found.manifest_path = manifest_path.string();
    found.outputs = std::move(manifest->outputs);
    found.threshold = manifest->threshold;
    found.mask = std::move(manifest->mask);
  }
  Add(std::move(found));
}

void Scanner::ScanModel(const fs::path& dir, const std::string& id) {
  const std::vector<std::string> names = Names(dir);
  std::optional<fs::path> manifest;
  if (std::find(names.begin(), names.end(), kManifestName) != names.end()) {
    manifest = dir / kManifestName;
  }
  bool any = false;
  for (const std::string& name : names) {
    if (name == kManifestName || name == kManifestSignatureName) continue;
    const fs::path path = dir / name;
    if (!Inside(path)) continue;
    std::error_code error;
    if (!fs::is_directory(path, error)) {
      Warn(path, "is not a version folder; a model file belongs into <id>/<version>/");
    } else if (!IsValidModelId(name)) {
      Warn(path,
           "is no version: versions are of letters, digits and . _ - (at most 128), "
           "beginning with a letter or digit");
    } else {
      any = true;
      ScanVersion(path, id, name, manifest);
    }
  }
  if (!any) Warn(dir, "has no version folder");
}

void Scanner::ScanPlainFile(const fs::path& path, const std::string& id) {
  ModelVersion found;
  found.model_id = id;
  found.version = "1";
  found.path = path.string();
  Add(std::move(found));
}

Result<RepositoryListing> Scanner::Scan() {
  std::vector<std::pair<fs::path, std::string>> plain_files;
  for (const std::string& name : Names(root_)) {
    if (!only_.empty() && name != only_ && name != only_ + std::string(kOnnxSuffix)) continue;
    const fs::path path = root_ / name;
    if (!Inside(path)) continue;
    std::error_code error;
    const bool is_dir = fs::is_directory(path, error);
    const bool is_onnx = !is_dir && name.ends_with(kOnnxSuffix) && IsFile(path);
    if (!is_dir && !is_onnx) {
      Warn(path, "is neither a model folder nor an .onnx file");
      continue;
    }
    const std::string id = is_dir ? name : name.substr(0, name.size() - kOnnxSuffix.size());
    if (!IsValidModelId(id)) {
      Warn(path,
           "is no model id: ids are of letters, digits and . _ - (at most 128), "
           "beginning with a letter or digit");
    } else if (is_dir) {
      ScanModel(path, id);
    } else {
      plain_files.emplace_back(path, id);
    }
  }
  // After the folders, so that a folder's version 1 goes before the file.
  for (const auto& [path, id] : plain_files) ScanPlainFile(path, id);
  for (auto& [id, versions] : listing_.models) {
    std::sort(versions.begin(), versions.end(), [](const ModelVersion& a, const ModelVersion& b) {
      return OlderVersion(a.version, b.version);
    });
  }
  if (unlisted_warnings_ > 0) {
    listing_.warnings.push_back(root_.string() + ": and " + std::to_string(unlisted_warnings_) +
                                " more");
  }
  return std::move(listing_);
}

}  // namespace

bool IsValidModelId(std::string_view id) {
  if (id.empty() || id.size() > kMaxIdBytes || !IsLetterOrDigit(id[0])) return false;
  return std::all_of(id.begin(), id.end(),
                     [](char c) { return IsLetterOrDigit(c) || c == '.' || c == '_' || c == '-'; });
}

bool OlderVersion(std::string_view a, std::string_view b) {
  const bool a_number = IsNumber(a);
  const bool b_number = IsNumber(b);
  if (a_number != b_number) return b_number;
  if (!a_number) return a < b;
  const std::string_view a_digits = WithoutLeadingZeros(a);
  const std::string_view b_digits = WithoutLeadingZeros(b);
  if (a_digits.size() != b_digits.size()) return a_digits.size() < b_digits.size();
  if (a_digits != b_digits) return a_digits < b_digits;
  return a < b;  // "01" and "1" are two folders: any order, as long as it is one.
}

Result<RepositoryListing> ScanRepository(const std::string& dir,
                                         const ManifestReader& read_manifest,
                                         const std::string& only) {
  std::error_code error;
  const fs::path root = fs::canonical(dir, error);
  if (error) {
    return Status(StatusCode::kNotFound, "model repository '" + dir + "': " + error.message() +
                                             "; set repository.dir or --models to the folder");
  }
  if (!fs::is_directory(root, error)) {
    return Status(StatusCode::kNotFound,
                  "model repository '" + dir + "' is not a folder; set repository.dir or --models");
  }
  return Scanner(root, read_manifest, only).Scan();
}

}  // namespace millrace
