// StrictJson: one pass over one JSON object with simdjson's on-demand parser, nothing left
// unchecked.
//
// On-demand validates only what is asked for; this walks everything: well-formedness of what is
// skipped, depth, duplicate keys at every level, nothing behind the object. Private to the codec,
// and the only headers that see simdjson are the codec's internal ones.
//
// Functions that answer bool say whether the text is well-formed so far; after false nothing more
// may be read. What is merely not acceptable goes to Reject and reading goes on. One per thread;
// strings that had escapes live in the parser until the next Open.
#pragma once

#include <simdjson.h>

#include <cmath>
#include <limits>
#include <optional>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "codec/number_text_internal.h"
#include "codec/options.h"
#include "types/failure.h"
#include "types/float16.h"

namespace millrace {

namespace ondemand = simdjson::ondemand;

class StrictJson {
 public:
  // Opens the object that is all of `text`. REQUIRES: kReadablePadding readable bytes behind it.
  bool Open(std::string_view text, ondemand::object* object);
  // After the object's fields were read: whether it was all.
  bool Close();

  // Calls on_field(ondemand::field&) -> bool for each field, which must consume the value.
  template <class OnField>
  bool ReadFields(ondemand::object& object, OnField on_field);
  // The same for a value that is an object. `depth`, here and below, is that of what contains the
  // value; the content of the top object has depth 1.
  template <class OnField>
  bool ReadObject(ondemand::value& value, int depth, OnField on_field);
  // The same for the elements of an array, on_element(ondemand::value&) -> bool.
  template <class OnElement>
  bool ReadArray(ondemand::value& value, int depth, OnElement on_element);

  // Where the text ends.
  const char* end() const { return text_.data() + text_.size(); }

  // Notes the field's key, so that the end of its object finds it when it comes twice.
  bool PushKey(ondemand::field& field);
  // The key that was noted last, without escapes.
  std::string_view last_key() const { return keys_.back(); }
  void PopKey() { keys_.pop_back(); }

  // Consumes and validates a value that nobody asked for.
  bool Skip(ondemand::value& value, int depth);
  // Text of a string: in `text` when it has no escapes, else in the parser. REQUIRES: a string.
  bool ReadString(ondemand::value& value, std::string_view* out);
  // Whether `part`, if there is anything of it, stays as long as the text does.
  bool IsInText(std::string_view part) const {
    return part.data() >= text_.data() && part.data() < end();
  }
  // From `begin` to the end of the value that was consumed last, as it stands in the text.
  // REQUIRES: that value is inside the top object.
  bool RawTextFrom(const char* begin, std::string_view* out);

  // Ends reading: the text is no JSON, or none that is accepted. Always false.
  bool Malformed(simdjson::error_code error);
  bool MalformedAt(std::string_view what);
  // Keeps the first of the reasons not to accept; being malformed beats them all.
  void Reject(FailureReason reason, std::string detail) {
    if (!failure_) failure_ = Failure{reason, std::move(detail)};
  }
  bool rejected() const { return failure_.has_value(); }
  std::optional<Failure> TakeFailure() { return std::exchange(failure_, std::nullopt); }

 private:
  bool CheckDuplicates(std::size_t first);
  std::size_t Position();
  bool TooDeep();

  ondemand::parser parser_;
  ondemand::document document_;
  bool opened_ = false;
  std::string_view text_;
  // Keys of the objects that are open; each object owns the tail that it pushed.
  std::vector<std::string_view> keys_;
  std::optional<Failure> failure_;
};

// `text` without the white space of JSON at its end.
std::string_view TrimRight(std::string_view text);
// The key as it stands in the text, with its escapes.
std::string_view RawKey(ondemand::field& field);
// "a number", "an array", ...; for failure details.
std::string_view TypeName(ondemand::value& value);

template <class OnField>
bool StrictJson::ReadFields(ondemand::object& object, OnField on_field) {
  const std::size_t first = keys_.size();
  for (auto result : object) {
    ondemand::field field;
    if (const auto error = std::move(result).get(field)) return Malformed(error);
    if (!on_field(field)) return false;
  }
  return CheckDuplicates(first);
}

template <class OnField>
bool StrictJson::ReadObject(ondemand::value& value, int depth, OnField on_field) {
  if (depth >= kMaxJsonDepth) return TooDeep();
  ondemand::object object;
  if (const auto error = value.get_object().get(object)) return Malformed(error);
  return ReadFields(object, on_field);
}

template <class OnElement>
bool StrictJson::ReadArray(ondemand::value& value, int depth, OnElement on_element) {
  if (depth >= kMaxJsonDepth) return TooDeep();
  ondemand::array array;
  if (const auto error = value.get_array().get(array)) return Malformed(error);
  for (auto result : array) {
    ondemand::value element;
    if (const auto error = std::move(result).get(element)) return Malformed(error);
    if (!on_element(element)) return false;
  }
  return true;
}

// A double to the integer it stands for, as in 3.0 or 1e3. Only where doubles are dense enough to
// hold every integer: beyond, the text may have meant another one.
template <class T>
bool IntegralFromDouble(double number, T* out) {
  constexpr double kDense = 9007199254740992.0;  // 2^53
  if (!(number > -kDense && number < kDense) || number != std::trunc(number)) return false;
  const auto integer = static_cast<std::int64_t>(number);
  if constexpr (std::is_same_v<T, bool>) {
    if (integer != 0 && integer != 1) return false;
  } else {
    if (!std::in_range<T>(integer)) return false;
  }
  *out = static_cast<T>(integer);
  return true;
}

// Whether the value is a number of type T (a bool also as 0 or 1); false also where it is no number
// at all. What is wrong with it, and whether it is JSON, is then for Skip to find out.
//
// Fractions are not read by simdjson: it goes by way of double, and its 3.0 gets some numbers of
// more than 19 digits wrong.
template <class T>
bool ReadNumber(ondemand::value& value, T* out) {
  if constexpr (std::is_same_v<T, Float16>) {
    // By way of a double, which is in the middle of two of these where the text is not in one case
    // of 2^40.
    double number = 0;
    if (!ReadExactNumber(TrimRight(value.raw_json_token()), &number)) return false;
    *out = NearestFloat16(number);
    return std::fabs(number) < Float16::kOverflow;
  } else if constexpr (std::is_floating_point_v<T>) {
    return ReadExactNumber(TrimRight(value.raw_json_token()), out);
  } else {
    if constexpr (std::is_same_v<T, bool>) {
      if (value.get_bool().get(*out) == simdjson::SUCCESS) return true;
    } else {
      using Wide = std::conditional_t<std::is_unsigned_v<T>, std::uint64_t, std::int64_t>;
      Wide integer = 0;
      if (value.get<Wide>().get(integer) == simdjson::SUCCESS) {
        *out = static_cast<T>(integer);
        return std::in_range<T>(integer);
      }
    }
    double number = 0;
    return ReadExactNumber(TrimRight(value.raw_json_token()), &number) &&
           IntegralFromDouble(number, out);
  }
}

}  // namespace millrace
