#include "codec/json_writer.h"

#include <fmt/format.h>

#include <cmath>
#include <iterator>

#include "codec/text.h"

namespace millrace {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

void AppendEscaped(std::string_view text, std::string& out) {
  const std::size_t before = out.size();
  out.resize(before + EscapedBound(text.size()));
  const char* end = WriteEscaped(text, out.data() + before);
  out.resize(static_cast<std::size_t>(end - out.data()));
}

}  // namespace

JsonWriter& JsonWriter::Key(std::string_view name) {
  Separate();
  AppendQuoted(name);
  out_ += ':';
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Value(std::string_view text) {
  Separate();
  AppendQuoted(text);
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Value(double value) {
  if (!std::isfinite(value)) return Null();
  Separate();
  fmt::format_to(std::back_inserter(out_), "{}", value);
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Raw(std::string_view json) {
  Separate();
  out_ += json;
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Integer(std::int64_t value) {
  Separate();
  fmt::format_to(std::back_inserter(out_), "{}", value);
  needs_comma_ = true;
  return *this;
}

JsonWriter& JsonWriter::Open(char bracket) {
  Separate();
  out_ += bracket;
  needs_comma_ = false;
  return *this;
}

JsonWriter& JsonWriter::Close(char bracket) {
  out_ += bracket;
  needs_comma_ = true;
  return *this;
}

void JsonWriter::Separate() {
  if (needs_comma_) out_ += ',';
}

void JsonWriter::AppendQuoted(std::string_view text) {
  out_ += '"';
  while (true) {
    const std::size_t bad = FindInvalidUtf8(text);
    AppendEscaped(text.substr(0, bad), out_);
    if (bad == std::string_view::npos) break;
    out_ += kReplacement;
    text.remove_prefix(bad + 1);
  }
  out_ += '"';
}

}  // namespace millrace
