// OutputMapping: named fields of a result, made of a model's raw outputs.
//
// A mapping is written once, in a model.yaml or a setting, as fields separated by commas or line
// ends:
//
//   mapping    = field { ( "," | line end ) field }
//   field      = name "=" expression
//   expression = output                        all of it, nested as its shape says
//              | value [ comparison limit ]    a number or a word; with a comparison true or false
//              | "argmax" "(" output ")"       the place of the largest element, from 0
//              | "label" "(" output ")"        the label of the largest element; of one integer
//              that
//                                              is a place, its label; of one word, the word
//              | "top" "(" output "," count ")"  the largest elements, largest first, each an
//              object
//                                              of label (or index, without labels) and value
//   value      = output | output "[" element "]" | "max" "(" output ")"
//   element    = a whole number: a place, from 0, row-major | a label, quoted unless it is a word
//   comparison = ">" | ">=" | "<" | "<="
//   limit      = number | "threshold"
//
// Names are words of letters, digits and _ . - / or of any characters in double or single quotes,
// where a backslash takes the next character as it is. An output that is compared has one element
// in a row. Labels are the model.yaml's where their number is that of the output's elements, else
// those that the model names itself (ZipMap).
//
// A limit is compared as the nearest value of the output's type, so that what is written 0.7 is not
// below 0.7. Where two classes are labelled, label() gives the second one from the threshold on and
// the first one below, if there is a threshold to speak of: one was given, or some field compares
// with it; so label and flag never disagree. Without, and with more classes, the largest wins, the
// first of equals. A field that would have to order NaN is null.
//
// Parsing and binding are pure and happen once for each load; the encoder evaluates. An
// OutputMapping is immutable and shared by all threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "types/tensor.h"

namespace millrace {

// Bounds of a mapping; past one of them it is refused.
inline constexpr std::size_t kMaxMappingBytes = 64 << 10;
inline constexpr std::size_t kMaxMappedFields = 256;
inline constexpr std::size_t kMaxMappingNameBytes = 256;
// Of the elements that one `top` names.
inline constexpr std::size_t kMaxTop = 100;

enum class Comparison : std::uint8_t { kNone, kGreater, kAtLeast, kLess, kAtMost };

// One field as it was written.
struct OutputExpression {
  enum class Form : std::uint8_t { kOutput, kElement, kMax, kArgmax, kLabel, kTop };

  std::string field;
  std::string text;  // What stood behind the "=".
  Form form = Form::kOutput;
  std::string output;
  std::string label;                 // kElement: empty when it is named by its place.
  std::optional<std::size_t> place;  // kElement.
  std::size_t count = 0;             // kTop.
  Comparison comparison = Comparison::kNone;
  std::optional<double> limit;  // Of a comparison; empty: the threshold.
};

// Errors: kConfiguration; they name the field and say what was expected where.
Result<std::vector<OutputExpression>> ParseOutputMapping(std::string_view text);

// One field, bound to a model's signature.
struct MappedField {
  enum class Kind : std::uint8_t {
    kOutput,      // As it is.
    kElement,     // `element`.
    kMax,         // The largest.
    kArgmax,      // Its place.
    kLabelOfMax,  // Its label.
    kLabelAt,     // The label whose place the one element is.
    kLabelFrom,   // The second label if `element` is at least `limit`, else the first.
    kTop          // The `count` largest.
  };

  std::string name;
  std::string text;  // The expression.
  std::string type;  // "FP32", "BOOL", "FP32 [2]", for a person.
  std::string key;   // `"name":`, with a comma before it except in the first field.
  Kind kind = Kind::kOutput;
  std::size_t output = 0;  // Of the signature.
  std::size_t element = 0;
  std::size_t count = 0;
  Comparison comparison = Comparison::kNone;  // kElement, kMax.
  double limit = 0;                           // A value of the output's type.
  // JSON strings, quotes included; null when there are none.
  std::shared_ptr<const std::vector<std::string>> labels;
  std::size_t label_bytes = 0;  // Of the longest.
  // How many elements a row of the output must have, where the signature does not tell.
  std::size_t least = 0;
  std::size_t most = SIZE_MAX;
};

struct OutputMapping {
  std::vector<MappedField> fields;  // At least one.
  double threshold = 0;             // That the fields were bound with.
};

inline constexpr double kDefaultThreshold = 0.5;

// `labels`: of the model.yaml. Errors: kConfiguration; they name the field, what is wrong with it
// and what the model has. REQUIRES: `fields` is not empty.
Result<OutputMapping> BindOutputMapping(std::span<const OutputExpression> fields,
                                        const ModelSignature& signature,
                                        const std::vector<std::string>& labels,
                                        std::optional<double> threshold);

}  // namespace millrace
