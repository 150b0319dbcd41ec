// FlatJson: one JSON object of names with texts, whole numbers and truth values, on one line.
//
// What a probe and whoever started it tell each other, and how a verdict is kept. It does not nest,
// so reading it needs no more than a loop; what it reads may come from a process that a hostile
// model has taken over. A value type.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <variant>

namespace millrace {

class FlatJson {
 public:
  static constexpr std::size_t kMaxBytes = 64 << 10;

  // Nothing when it is not such an object, names a member twice, or is longer than kMaxBytes.
  static std::optional<FlatJson> Parse(std::string_view text);
  // Members in the order of their names; ends without a line break.
  std::string Write() const;

  FlatJson& Set(const std::string& name, std::string_view text);
  FlatJson& Set(const std::string& name, const char* text) {
    return Set(name, std::string_view(text));
  }
  FlatJson& Set(const std::string& name, std::int64_t number);
  FlatJson& Set(const std::string& name, bool value);

  // Nothing when there is no such member, or it is of another type.
  std::optional<std::string> Text(const std::string& name) const;
  std::optional<std::int64_t> Number(const std::string& name) const;
  std::optional<bool> Bool(const std::string& name) const;

 private:
  using Value = std::variant<std::string, std::int64_t, bool>;
  template <class T>
  std::optional<T> Get(const std::string& name) const;

  std::map<std::string, Value> members_;
};

}  // namespace millrace
