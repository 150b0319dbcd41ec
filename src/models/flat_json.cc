#include "models/flat_json.h"

#include <charconv>
#include <utility>

namespace millrace {
namespace {

constexpr std::string_view kHex = "0123456789abcdef";

void AppendQuoted(std::string_view text, std::string* out) {
  *out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      *out += '\\';
      *out += c;
    } else if (byte < 0x20 || byte == 0x7F) {
      *out += "\\u00";
      *out += kHex[byte >> 4U];
      *out += kHex[byte & 0xFU];
    } else {
      *out += c;
    }
  }
  *out += '"';
}

class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}

  bool Take(char c) {
    Blanks();
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool TakeWord(std::string_view word) {
    Blanks();
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool AtEnd() {
    Blanks();
    return rest_.empty();
  }

  bool Text(std::string* out) {
    if (!Take('"')) return false;
    while (!rest_.empty()) {
      const char c = rest_.front();
      rest_.remove_prefix(1);
      if (c == '"') return true;
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c != '\\') {
        *out += c;
      } else if (!Escape(out)) {
        return false;
      }
    }
    return false;
  }

  bool Number(std::int64_t* out) {
    Blanks();
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + rest_.size(), *out);
    if (error != std::errc()) return false;
    rest_.remove_prefix(static_cast<std::size_t>(end - rest_.data()));
    return true;
  }

 private:
  void Blanks() {
    while (!rest_.empty() && (rest_.front() == ' ' || rest_.front() == '\n')) {
      rest_.remove_prefix(1);
    }
  }
  // Those that Write uses.
  bool Escape(std::string* out) {
    if (rest_.empty()) return false;
    const char c = rest_.front();
    rest_.remove_prefix(1);
    if (c == '"' || c == '\\') {
      *out += c;
      return true;
    }
    constexpr std::size_t kDigits = 4;
    unsigned code = 0;
    if (c != 'u' || rest_.size() < kDigits) return false;
    const auto [end, error] = std::from_chars(rest_.data(), rest_.data() + kDigits, code, 16);
    if (error != std::errc() || end != rest_.data() + kDigits || code > 0x7F) return false;
    rest_.remove_prefix(kDigits);
    *out += static_cast<char>(code);
    return true;
  }

  std::string_view rest_;
};

}  // namespace

FlatJson& FlatJson::Set(const std::string& name, std::string_view text) {
  members_[name] = std::string(text);
  return *this;
}

FlatJson& FlatJson::Set(const std::string& name, std::int64_t number) {
  members_[name] = number;
  return *this;
}

FlatJson& FlatJson::Set(const std::string& name, bool value) {
  members_[name] = value;
  return *this;
}

template <class T>
std::optional<T> FlatJson::Get(const std::string& name) const {
  const auto found = members_.find(name);
  if (found == members_.end() || !std::holds_alternative<T>(found->second)) return std::nullopt;
  return std::get<T>(found->second);
}

std::optional<std::string> FlatJson::Text(const std::string& name) const {
  return Get<std::string>(name);
}
std::optional<std::int64_t> FlatJson::Number(const std::string& name) const {
  return Get<std::int64_t>(name);
}
std::optional<bool> FlatJson::Bool(const std::string& name) const { return Get<bool>(name); }

std::string FlatJson::Write() const {
  std::string out = "{";
  for (const auto& [name, value] : members_) {
    if (out.size() > 1) out += ',';
    AppendQuoted(name, &out);
    out += ':';
    if (const auto* text = std::get_if<std::string>(&value)) {
      AppendQuoted(*text, &out);
    } else if (const auto* number = std::get_if<std::int64_t>(&value)) {
      out += std::to_string(*number);
    } else {
      out += std::get<bool>(value) ? "true" : "false";
    }
  }
  return out + "}";
}

std::optional<FlatJson> FlatJson::Parse(std::string_view text) {
  if (text.size() > kMaxBytes) return std::nullopt;
  Reader reader(text);
  FlatJson json;
  if (!reader.Take('{')) return std::nullopt;
  if (reader.Take('}')) return reader.AtEnd() ? std::optional(std::move(json)) : std::nullopt;
  do {
    std::string name, string;
    std::int64_t number = 0;
    if (!reader.Text(&name) || !reader.Take(':')) return std::nullopt;
    Value value;
    if (reader.TakeWord("true")) {
      value = true;
    } else if (reader.TakeWord("false")) {
      value = false;
    } else if (reader.Number(&number)) {
      value = number;
    } else if (reader.Text(&string)) {
      value = std::move(string);
    } else {
      return std::nullopt;
    }
    if (!json.members_.emplace(std::move(name), std::move(value)).second) return std::nullopt;
  } while (reader.Take(','));
  if (!reader.Take('}') || !reader.AtEnd()) return std::nullopt;
  return json;
}

}  // namespace millrace
