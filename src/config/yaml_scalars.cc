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
  Flattener(const std::string& name, YamlScalars& out) : name_(name), out_(out) {}

  void Visit(const YAML::Node& node, const std::string& path, int line, int depth) {
    if (!Admit(line, depth)) return;
    switch (node.Type()) {
      case YAML::NodeType::Map:
        VisitMap(node, path, depth);
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

  void VisitMap(const YAML::Node& node, const std::string& path, int depth) {
    std::map<std::string, int> lines;
    for (const auto& entry : node) {
      const int line = entry.first.Mark().line + 1;
      if (!entry.first.IsScalar()) {
        out_.errors.push_back(fmt::format("{}:{}: a key must be a name", name_, line));
        continue;
      }
      const std::string& key = entry.first.Scalar();
      const std::string below = path.empty() ? key : path + "." + key;
      const auto [first, added] = lines.emplace(key, line);
      if (!added) {
        out_.errors.push_back(fmt::format("{}:{}: {}: given twice, first on line {}", name_, line,
                                          below, first->second));
        continue;
      }
      Visit(entry.second, below, line, depth + 1);
    }
  }

  void Add(const std::string& path, YamlScalar::Kind kind, std::string text, int line) {
    if (!refused_) out_.scalars.push_back({path, kind, std::move(text), line});
  }

  const std::string& name_;
  YamlScalars& out_;
  std::size_t visited_ = 0;
  bool refused_ = false;
};

}  // namespace

YamlScalars ParseYamlScalars(const std::string& text, const std::string& name) {
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
    Flattener(name, out).Visit(documents[0], "", 1, 0);
  } catch (const YAML::Exception& e) {
    out.scalars.clear();
    out.errors.push_back(fmt::format("{}:{}: not YAML: {}", name, e.mark.line + 1, e.msg));
  }
  return out;
}

YamlScalars ReadYamlScalars(const std::string& file) {
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
  return ParseYamlScalars(text, file);
}

}  // namespace millrace
