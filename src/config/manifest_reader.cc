#include "config/manifest_reader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <fstream>
#include <string>
#include <utility>
#include <vector>

#include "base/nearest.h"

namespace millrace {
namespace {

const std::array<std::string, 8> kKeys = {"description", "labels",  "provenance", "engine",
                                          "sha256",      "outputs", "threshold",  "mask"};
const std::array<std::string, 2> kEngines = {"onnxruntime", "test"};

Status Wrong(const std::string& path, const YAML::Mark& mark, const std::string& what) {
  return {StatusCode::kConfiguration, path + ":" + std::to_string(mark.line + 1) + ": " + what};
}

bool IsDigest(const std::string& text) {
  constexpr std::size_t kDigits = 64;
  return text.size() == kDigits && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

Status ReadLabels(const std::string& path, const YAML::Node& node,
                  std::vector<std::string>& labels) {
  if (!node.IsSequence()) {
    return Wrong(path, node.Mark(), "labels is a list, such as [\"no\", \"yes\"]");
  }
  if (node.size() > kMaxManifestLabels) {
    return Wrong(path, node.Mark(), "more than " + std::to_string(kMaxManifestLabels) + " labels");
  }
  for (const YAML::Node& label : node) {
    if (!label.IsScalar()) return Wrong(path, label.Mark(), "a label is a word or a number");
    labels.push_back(label.Scalar());
  }
  return {};
}

// A mapping from field to expression, or the same in one text; codec reads it.
Status ReadOutputs(const std::string& path, const YAML::Mark& key, const YAML::Node& node,
                   std::string& outputs) {
  if (node.IsScalar()) {
    outputs = node.Scalar();
    return {};
  }
  const char* const wanted = "outputs is a mapping, such as {is_fraud: \"score[1] >= threshold\"}";
  if (!node.IsMap()) return Wrong(path, key, wanted);
  std::vector<std::pair<std::string, std::string>> parts;
  for (const auto& entry : node) {
    if (!entry.first.IsScalar() || !entry.second.IsScalar()) {
      return Wrong(path, entry.first.Mark(), wanted);
    }
    const std::string& name = entry.first.Scalar();
    if (std::any_of(parts.begin(), parts.end(), [&](const auto& p) { return p.first == name; })) {
      return Wrong(path, entry.first.Mark(), "outputs has '" + name + "' twice");
    }
    parts.emplace_back(name, entry.second.Scalar());
  }
  outputs = MappingText(parts);
  return {};
}

Status ReadThreshold(const std::string& path, const YAML::Node& node,
                     std::optional<double>& threshold) {
  const std::string text = node.IsScalar() ? node.Scalar() : "";
  double value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || !std::isfinite(value) ||
      std::fabs(value) > ModelOptions::kMaxThreshold) {
    return Wrong(path, node.Mark(), "threshold is a number, such as 0.5");
  }
  threshold = value;
  return {};
}

Status ReadKey(const std::string& path, const YAML::Node& key, const YAML::Node& value,
               ModelManifest& manifest) {
  const std::string name = key.IsScalar() ? key.Scalar() : "";
  if (std::find(kKeys.begin(), kKeys.end(), name) == kKeys.end()) {
    return Wrong(path, key.Mark(),
                 "unknown key '" + name + "'" + DidYouMean(name, kKeys) +
                     "; known are description, labels, provenance, engine, sha256, outputs, "
                     "threshold and mask");
  }
  if (name == "labels") return ReadLabels(path, value, manifest.labels);
  if (name == "outputs") return ReadOutputs(path, key.Mark(), value, manifest.outputs);
  if (name == "threshold") return ReadThreshold(path, value, manifest.threshold);
  if (!value.IsScalar()) return Wrong(path, value.Mark(), name + " is one line of text");
  if (name == "description") manifest.description = value.Scalar();
  if (name == "provenance") manifest.provenance = value.Scalar();
  if (name == "mask") manifest.mask = value.Scalar();
  if (name == "engine") {
    if (std::find(kEngines.begin(), kEngines.end(), value.Scalar()) == kEngines.end()) {
      return Wrong(path, value.Mark(),
                   "unknown engine '" + value.Scalar() + "'" +
                       DidYouMean(value.Scalar(), kEngines) + "; known are onnxruntime and test");
    }
    manifest.engine = value.Scalar();
  }
  if (name == "sha256") {
    if (!IsDigest(value.Scalar())) {
      return Wrong(path, value.Mark(),
                   "sha256 is the model file's, 64 lower-case hexadecimal digits");
    }
    manifest.sha256 = value.Scalar();
  }
  return {};
}

Result<ModelManifest> Parse(const std::string& path, const std::string& text) {
  const YAML::Node root = YAML::Load(text);
  ModelManifest manifest;
  if (root.IsNull()) return manifest;
  if (!root.IsMap()) {
    return Wrong(path, root.Mark(), "expected keys with values: description, labels, engine");
  }
  std::vector<std::string> seen;
  for (const auto& entry : root) {
    MILLRACE_RETURN_IF_ERROR(ReadKey(path, entry.first, entry.second, manifest));
    const std::string& name = entry.first.Scalar();
    if (std::find(seen.begin(), seen.end(), name) != seen.end()) {
      return Wrong(path, entry.first.Mark(), "'" + name + "' is given twice");
    }
    seen.push_back(name);
  }
  return manifest;
}

}  // namespace

Result<ModelManifest> ReadModelManifest(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) return Status(StatusCode::kNotFound, path + ": cannot be opened");
  std::string text(kMaxManifestBytes + 1, '\0');
  file.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<std::size_t>(file.gcount()));
  if (file.bad() || text.size() > kMaxManifestBytes) {
    return Status(StatusCode::kConfiguration, path + ": cannot be read, or is larger than " +
                                                  std::to_string(kMaxManifestBytes) + " bytes");
  }
  // yaml-cpp reports by exception; none leaves this function.
  try {
    return Parse(path, text);
  } catch (const YAML::Exception& error) {
    return Wrong(path, error.mark, error.msg);
  }
}

}  // namespace millrace
