// PlainJson: a cursor over one JSON object that is written as nearly all are, without an index.
//
// Plain are strings without escapes, numbers that ReadPlainNumber reads, and objects without a
// second key of the same name. Every function answers false for what it leaves to StrictJson, which
// then starts anew and decides; that says nothing about whether the text is legal. What is read to
// its end, AtEnd included, is legal: StrictJson would read the same from it. Private to the codec.
#pragma once

#include <cstdint>
#include <string_view>

#include "codec/number_text_internal.h"

namespace millrace {

class PlainJson {
 public:
  // REQUIRES: kReadablePadding readable bytes behind `text`.
  explicit PlainJson(std::string_view text) : at_(text.data()), end_(at_ + text.size()) {}

  // Takes `c` and the white space before it.
  bool Take(char c) {
    SkipSpace();
    if (at_ >= end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  // Whether nothing but white space is left.
  bool AtEnd() {
    SkipSpace();
    return at_ == end_;
  }

  bool ReadString(std::string_view* out);
  // A string and the colon behind it.
  bool ReadKey(std::string_view* out) { return ReadString(out) && Take(':'); }
  bool ReadInteger(std::int64_t* out) { return Advance(ReadPlainNumber(Start(), end_, out)); }
  // An array of exactly `count` numbers. After false `out` has lost its content.
  template <class T>
  bool ReadArray(std::size_t count, T* out) {
    SkipSpace();
    if (at_ >= end_ || *at_ != '[') return false;
    return Advance(ReadPlainArray(at_, end_, count, out));
  }
  // An object whose values are strings, as it stands in the text.
  bool ReadObjectOfStrings(std::string_view* out);

 private:
  void SkipSpace() {
    if (*at_ <= ' ') at_ = SkipJsonSpace(at_, end_);
  }
  const char* Start() {
    SkipSpace();
    return at_;
  }
  bool Advance(const char* at) {
    if (at == nullptr || at > end_) return false;
    at_ = at;
    return true;
  }

  const char* at_;
  const char* const end_;
};

}  // namespace millrace
