// JsonWriter: writes JSON text for reports and listings, member by member, without a DOM.
//
// Appends to a string that the caller owns. Commas are its concern, balance is the caller's.
// Strings that are not UTF-8 are written with the bad bytes replaced, so that what comes out is
// always JSON. Not for the data plane: outcomes have encoders of their own.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace millrace {

class JsonWriter {
 public:
  explicit JsonWriter(std::string& out) : out_(out) {}
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  JsonWriter& BeginObject() { return Open('{'); }
  JsonWriter& EndObject() { return Close('}'); }
  JsonWriter& BeginArray() { return Open('['); }
  JsonWriter& EndArray() { return Close(']'); }
  // The next value is the member called `name`.
  JsonWriter& Key(std::string_view name);

  JsonWriter& Value(std::string_view text);
  JsonWriter& Value(const char* text) { return Value(std::string_view(text)); }
  JsonWriter& Value(bool value) { return Raw(value ? "true" : "false"); }
  // Shortest text; null when not finite.
  JsonWriter& Value(double value);
  template <std::integral T>
  requires(!std::same_as<T, bool>) JsonWriter& Value(T value) {
    return Integer(static_cast<std::int64_t>(value));
  }
  JsonWriter& Null() { return Raw("null"); }
  // `json` as it is. REQUIRES: it is one JSON value.
  JsonWriter& Raw(std::string_view json);

  template <class T>
  JsonWriter& Member(std::string_view name, const T& value) {
    return Key(name).Value(value);
  }

 private:
  JsonWriter& Open(char bracket);
  JsonWriter& Close(char bracket);
  JsonWriter& Integer(std::int64_t value);
  void Separate();
  void AppendQuoted(std::string_view text);

  std::string& out_;
  bool needs_comma_ = false;
};

}  // namespace millrace
