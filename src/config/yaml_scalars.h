// A YAML settings file as a flat list of its scalars, each with its path and line.
//
// Hides the YAML library. Nothing is interpreted here: no variables, no names. Used at start only.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <utility>
#include <vector>

namespace millrace {

// Bounds of a settings file; past one of them it is refused.
inline constexpr std::size_t kMaxSettingsFileBytes = 4 << 20;
inline constexpr std::size_t kMaxSettingsFileScalars = 100'000;
inline constexpr int kMaxSettingsFileDepth = 16;

struct YamlScalar {
  enum class Kind { kScalar, kNull, kList, kMapping };
  std::string path;  // Keys joined by dots.
  Kind kind = Kind::kScalar;
  std::string text;                                             // kScalar.
  int line = 0;                                                 // From 1.
  std::vector<std::pair<std::string, std::string>> parts = {};  // kMapping: keys and scalars.
};

struct YamlScalars {
  std::vector<YamlScalar> scalars;  // In the file's order; an empty mapping has none.
  std::vector<std::string> errors;  // "file:line: what is wrong".
};

// Whether a mapping at the path is one value, kMapping, rather than a section.
using TakesMapping = std::function<bool(const std::string& path)>;

// Reads `file`; what cannot be read is in `errors`.
YamlScalars ReadYamlScalars(const std::string& file, const TakesMapping& takes_mapping);

// The same for text that is at hand; `name` stands for the file in errors.
YamlScalars ParseYamlScalars(const std::string& text, const std::string& name,
                             const TakesMapping& takes_mapping);

}  // namespace millrace
