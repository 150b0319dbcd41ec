#include "config/manifest_reader.h"

#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <array>
#include <fstream>
#include <numeric>
#include <string_view>
#include <vector>

namespace millrace {
namespace {

constexpr std::array<std::string_view, 4> kKeys = {"description", "labels", "provenance", "engine"};
constexpr std::array<std::string_view, 2> kEngines = {"onnxruntime", "test"};

Status Wrong(const std::string& path, const YAML::Mark& mark, const std::string& what) {
  return {StatusCode::kConfiguration, path + ":" + std::to_string(mark.line + 1) + ": " + what};
}

// Edit distance, to suggest the key that was meant.
std::size_t Distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i + 1;
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t replace = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = row[j + 1];
      row[j + 1] = std::min({replace, row[j] + 1, diagonal + 1});
    }
  }
  return row.back();
}

std::string_view Nearest(std::string_view key) {
  return *std::min_element(kKeys.begin(), kKeys.end(), [key](auto a, auto b) {
    return Distance(key, a) < Distance(key, b);
  });
}

Status ReadLabels(const std::string& path, const YAML::Node& node,
                  std::vector<std::string>& labels) {
  if (!node.IsSequence()) {
    return Wrong(path, node.Mark(), "labels is a list, such as [\"no\", \"yes\"]");
  }
  if (node.size() > kMaxManifestLabels) {
    return Wrong(path, node.Mark(),
                 "more than " + std::to_string(kMaxManifestLabels) + " labels");
  }
  for (const YAML::Node& label : node) {
    if (!label.IsScalar()) return Wrong(path, label.Mark(), "a label is a word or a number");
    labels.push_back(label.Scalar());
  }
  return {};
}

Status ReadKey(const std::string& path, const YAML::Node& key, const YAML::Node& value,
               ModelManifest& manifest) {
  const std::string name = key.IsScalar() ? key.Scalar() : "";
  if (std::find(kKeys.begin(), kKeys.end(), name) == kKeys.end()) {
    return Wrong(path, key.Mark(),
                 "unknown key '" + name + "'; did you mean '" + std::string(Nearest(name)) + "'?");
  }
  if (name == "labels") return ReadLabels(path, value, manifest.labels);
  if (!value.IsScalar()) return Wrong(path, value.Mark(), name + " is one line of text");
  if (name == "description") manifest.description = value.Scalar();
  if (name == "provenance") manifest.provenance = value.Scalar();
  if (name == "engine") {
    if (std::find(kEngines.begin(), kEngines.end(), value.Scalar()) == kEngines.end()) {
      return Wrong(path, value.Mark(),
                   "unknown engine '" + value.Scalar() + "'; it is onnxruntime or test");
    }
    manifest.engine = value.Scalar();
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
    return Status(StatusCode::kConfiguration,
                  path + ": cannot be read, or is larger than " +
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
