#include "config/yaml_scalars.h"

#include <fmt/format.h>
#include <yaml-cpp/yaml.h>

#include <cerrno>
#include <cstring>
#include <fstream>
#include <map>
#include <utility>

namespace millrace {
namespace {

class Flattener {
 public:
  Flattener(const std::string& name, const TakesMapping& takes_mapping, YamlScalars& out)
      : name_(name), takes_mapping_(takes_mapping), out_(out) {}

  void Visit(const YAML::Node& node, const std::string& path, int line, int depth) {
    if (!Admit(line, depth)) return;
    switch (node.Type()) {
      case YAML::NodeType::Map:
        if (takes_mapping_(path)) {
          AddMapping(node, path, line);
        } else {
          VisitMap(node, path, depth);
        }
        break;
      case YAML::NodeType::Sequence:
        Add(path, YamlScalar::Kind::kList, {}, line);
        break;
      case YAML::NodeType::Scalar:
        Add(path, YamlScalar::Kind::kScalar, node.Scalar(), line);
        break;
      case YAML::NodeType::Null:
      case YAML::NodeType::Undefined:
        Add(path, YamlScalar::Kind::kNull, {}, line);
        break;
    }
  }

 private:
  // False when the file breaks a bound; says so once.
  bool Admit(int line, int depth) {
    if (refused_) return false;
    if (depth > kMaxSettingsFileDepth) {
      out_.errors.push_back(
          fmt::format("{}:{}: nested over {} deep", name_, line, kMaxSettingsFileDepth));
      return false;
    }
    // Aliases may multiply a small file.
    if (++visited_ > kMaxSettingsFileScalars) {
      refused_ = true;
      out_.scalars.clear();
      out_.errors.push_back(
          fmt::format("{}:{}: over {} values", name_, line, kMaxSettingsFileScalars));
      return false;
    }
    return true;
  }

  // Calls `visit` with line, key and value of each entry that has a key of its own.
  template <class Visit>
  void ForEachEntry(const YAML::Node& node, const std::string& path, const Visit& visit) {
    std::map<std::string, int> lines;
    for (const auto& entry : node) {
      const int line = entry.first.Mark().line + 1;
      if (!entry.first.IsScalar()) {
        out_.errors.push_back(fmt::format("{}:{}: a key must be a name", name_, line));
        continue;
      }
      const std::string& key = entry.first.Scalar();
      const auto [first, added] = lines.emplace(key, line);
      if (!added) {
        out_.errors.push_back(fmt::format("{}:{}: {}: given twice, first on line {}", name_, line,
                                          Below(path, key), first->second));
        continue;
      }
      visit(line, key, entry.second);
    }
  }

  static std::string Below(const std::string& path, const std::string& key) {
    return path.empty() ? key : path + "." + key;
  }

  void VisitMap(const YAML::Node& node, const std::string& path, int depth) {
    ForEachEntry(node, path, [&](int line, const std::string& key, const YAML::Node& value) {
      Visit(value, Below(path, key), line, depth + 1);
    });
  }

  void AddMapping(const YAML::Node& node, const std::string& path, int line) {
    YamlScalar mapping{path, YamlScalar::Kind::kMapping, {}, line};
    ForEachEntry(node, path, [&](int at, const std::string& key, const YAML::Node& value) {
      if (!Admit(at, 0)) return;
      if (value.IsScalar()) {
        mapping.parts.emplace_back(key, value.Scalar());
      } else {
        out_.errors.push_back(
            fmt::format("{}:{}: {}: expected one value", name_, at, Below(path, key)));
      }
    });
    if (!refused_) out_.scalars.push_back(std::move(mapping));
  }

  void Add(const std::string& path, YamlScalar::Kind kind, std::string text, int line) {
    if (!refused_) out_.scalars.push_back({path, kind, std::move(text), line});
  }

  const std::string& name_;
  const TakesMapping& takes_mapping_;
  YamlScalars& out_;
  std::size_t visited_ = 0;
  bool refused_ = false;
};

}  // namespace

YamlScalars ParseYamlScalars(const std::string& text, const std::string& name,
                             const TakesMapping& takes_mapping) {
  YamlScalars out;
  if (text.size() > kMaxSettingsFileBytes) {
    out.errors.push_back(fmt::format("{}: over {} bytes", name, kMaxSettingsFileBytes));
    return out;
  }
  try {
    const std::vector<YAML::Node> documents = YAML::LoadAll(text);
    if (documents.size() > 1) {
      out.errors.push_back(
          fmt::format("{}:{}: expected one document; put the other one into a file of its own",
                      name, documents[1].Mark().line + 1));
      return out;
    }
    if (documents.empty() || documents[0].IsNull()) return out;
    if (!documents[0].IsMap()) {
      out.errors.push_back(
          fmt::format("{}:{}: expected a mapping such as 'batch: {{max_rows: 64}}'", name,
                      documents[0].Mark().line + 1));
      return out;
    }
    Flattener(name, takes_mapping, out).Visit(documents[0], "", 1, 0);
  } catch (const YAML::Exception& e) {
    out.scalars.clear();
    out.errors.push_back(fmt::format("{}:{}: not YAML: {}", name, e.mark.line + 1, e.msg));
  }
  return out;
}

YamlScalars ReadYamlScalars(const std::string& file, const TakesMapping& takes_mapping) {
  YamlScalars out;
  errno = 0;
  std::ifstream in(file, std::ios::binary);
  std::string text;
  if (in) {
    // One byte over the bound is enough to refuse the file.
    text.resize(kMaxSettingsFileBytes + 1);
    in.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<std::size_t>(in.gcount()));
  }
  if (!in.is_open() || in.bad()) {
    out.errors.push_back(fmt::format("{}: cannot be read: {}", file, std::strerror(errno)));
    return out;
  }
  return ParseYamlScalars(text, file, takes_mapping);
}

}  // namespace millrace
