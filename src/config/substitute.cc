#include "config/substitute.h"

#include <fmt/format.h>

#include <cstddef>

namespace millrace {
namespace {

constexpr int kMaxNesting = 8;

Status Invalid(std::string message) { return {StatusCode::kInvalidArgument, std::move(message)}; }

bool IsNameByte(char c, bool first) {
  const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
  return letter || (!first && c >= '0' && c <= '9');
}

// Position of the brace that closes the one before `from`; npos when there is none.
std::size_t ClosingBrace(std::string_view text, std::size_t from) {
  int open = 1;
  for (std::size_t i = from; i < text.size(); ++i) {
    if (text[i] == '$' && i + 1 < text.size() && (text[i + 1] == '{' || text[i + 1] == '$')) {
      open += text[i + 1] == '{' ? 1 : 0;
      ++i;
    } else if (text[i] == '}' && --open == 0) {
      return i;
    }
  }
  return std::string_view::npos;
}

Result<std::string> Substitute(std::string_view text, const VariableLookup& lookup, int depth);

// The value of what stands between the braces.
Result<std::string> Expand(std::string_view inside, const VariableLookup& lookup, int depth) {
  std::size_t end = 0;
  while (end < inside.size() && IsNameByte(inside[end], end == 0)) ++end;
  const std::string name(inside.substr(0, end));
  const std::string_view rest = inside.substr(end);
  const bool has_default = rest.starts_with(":-");
  const bool has_message = rest.starts_with(":?");
  if (name.empty() || (!rest.empty() && !has_default && !has_message)) {
    return Invalid(
        fmt::format("expected ${{NAME}}, ${{NAME:-default}} or ${{NAME:?message}}, got '${{{}}}' "
                    "(write $$ for a dollar sign)",
                    inside));
  }
  const std::optional<std::string> value = lookup(name);
  if (value && (rest.empty() || !value->empty())) return *value;
  if (has_default) return Substitute(rest.substr(2), lookup, depth + 1);
  if (has_message && rest.size() > 2) {
    return Invalid(fmt::format("variable {}: {}", name, rest.substr(2)));
  }
  return Invalid(
      fmt::format("variable {} is not set (${{{}:-default}} would give it a default)", name, name));
}

Result<std::string> Substitute(std::string_view text, const VariableLookup& lookup, int depth) {
  if (depth > kMaxNesting) {
    return Invalid(fmt::format("variables are nested over {} deep", kMaxNesting));
  }
  std::string out;
  std::size_t at = 0;
  while (at < text.size()) {
    const std::size_t dollar = text.find('$', at);
    if (dollar == std::string_view::npos || dollar + 1 == text.size()) break;
    out.append(text.substr(at, dollar - at));
    const char next = text[dollar + 1];
    at = dollar + 2;
    if (next == '{') {
      const std::size_t close = ClosingBrace(text, at);
      if (close == std::string_view::npos) {
        return Invalid(fmt::format("'{}' has no closing brace (write $$ for a dollar sign)",
                                   text.substr(dollar)));
      }
      Result<std::string> value = Expand(text.substr(at, close - at), lookup, depth);
      if (!value.ok()) return value.status();
      out.append(*value);
      at = close + 1;
    } else {
      out.push_back('$');
      if (next != '$') at = dollar + 1;
    }
  }
  out.append(text.substr(at));
  return out;
}

}  // namespace

Result<std::string> SubstituteVariables(std::string_view text, const VariableLookup& lookup) {
  return Substitute(text, lookup, 0);
}

}  // namespace millrace
