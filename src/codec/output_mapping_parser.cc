#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <utility>

#include "codec/output_mapping.h"
#include "codec/text.h"

namespace millrace {
namespace {

using Form = OutputExpression::Form;

constexpr std::array<std::pair<std::string_view, Form>, 4> kFunctions = {{
    {"argmax", Form::kArgmax},
    {"label", Form::kLabel},
    {"max", Form::kMax},
    {"top", Form::kTop},
}};
constexpr std::string_view kThresholdWord = "threshold";

bool IsWordByte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
         c == '.' || c == '-' || c == '/' || static_cast<unsigned char>(c) >= 0x80;
}

bool IsSpace(char c) { return c == ' ' || c == '\t' || c == '\r'; }
bool IsSeparator(char c) { return c == ',' || c == '\n'; }

std::optional<std::size_t> WholeNumber(std::string_view text) {
  std::size_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return number;
}

// A word, or what stood in quotes.
struct Name {
  std::string text;
  bool quoted = false;
};

class Parser {
 public:
  explicit Parser(std::string_view text) : text_(text) {}

  Result<std::vector<OutputExpression>> Mapping();

 private:
  Status Field(OutputExpression* field);
  Status Expression(OutputExpression* field);
  Status Function(Form form, OutputExpression* field);
  Status Element(OutputExpression* field);
  Status Limit(OutputExpression* field);
  Result<Name> ReadName(std::string_view what);
  Comparison TakeComparison();

  void SkipSpace() {
    while (at_ < text_.size() && IsSpace(text_[at_])) ++at_;
  }
  // Whether `c` is next, behind spaces; then it is passed.
  bool Take(char c) {
    SkipSpace();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  Status Expected(std::string_view what) const;

  const std::string_view text_;
  std::size_t at_ = 0;
};

Status Wrong(std::string what) { return {StatusCode::kConfiguration, std::move(what)}; }

Status Parser::Expected(std::string_view what) const {
  const bool ends = at_ >= text_.size() || text_[at_] == '\n';
  return Wrong(fmt::format("expected {}, got {}", what,
                           ends ? std::string("its end") : Excerpt(text_.substr(at_))));
}

Result<Name> Parser::ReadName(std::string_view what) {
  SkipSpace();
  Name name;
  const std::size_t start = at_;
  if (at_ < text_.size() && (text_[at_] == '"' || text_[at_] == '\'')) {
    const char quote = text_[at_++];
    name.quoted = true;
    for (; at_ < text_.size() && text_[at_] != quote; ++at_) {
      if (text_[at_] == '\\' && at_ + 1 < text_.size()) ++at_;
      name.text += text_[at_];
    }
    if (at_ >= text_.size()) {
      at_ = start;
      return Wrong(fmt::format("the quote before {} is not closed",
                               Excerpt(text_.substr(std::min(start + 1, text_.size())))));
    }
    ++at_;
  } else {
    while (at_ < text_.size() && IsWordByte(text_[at_])) name.text += text_[at_++];
  }
  if (name.text.empty()) {
    at_ = start;
    return Expected(what);
  }
  if (name.text.size() > kMaxMappingNameBytes) {
    return Wrong(
        fmt::format("the name {} has over {} bytes", Excerpt(name.text), kMaxMappingNameBytes));
  }
  if (FindInvalidUtf8(name.text) != std::string_view::npos) {
    return Wrong(fmt::format("the name {} is not UTF-8", Excerpt(name.text)));
  }
  return name;
}

Comparison Parser::TakeComparison() {
  if (Take('>')) {
    const bool equal = at_ < text_.size() && text_[at_] == '=';
    if (equal) ++at_;
    return equal ? Comparison::kAtLeast : Comparison::kGreater;
  }
  if (Take('<')) {
    const bool equal = at_ < text_.size() && text_[at_] == '=';
    if (equal) ++at_;
    return equal ? Comparison::kAtMost : Comparison::kLess;
  }
  return Comparison::kNone;
}

Status Parser::Limit(OutputExpression* field) {
  SkipSpace();
  const std::size_t start = at_;
  while (at_ < text_.size() && (IsWordByte(text_[at_]) || text_[at_] == '+')) ++at_;
  const std::string_view word = text_.substr(start, at_ - start);
  if (word == kThresholdWord) return {};
  double number = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), number);
  if (error != std::errc() || end != word.data() + word.size() || !std::isfinite(number)) {
    at_ = start;
    return Expected("a number or the word threshold behind the comparison");
  }
  field->limit = number;
  return {};
}

Status Parser::Element(OutputExpression* field) {
  Result<Name> element = ReadName("the place or the label of an element behind '['");
  if (!element.ok()) return element.status();
  if (!Take(']')) return Expected("']' behind the element");
  field->form = Form::kElement;
  if (!element->quoted) field->place = WholeNumber(element->text);
  if (!field->place) field->label = std::move(element->text);
  return {};
}

Status Parser::Function(Form form, OutputExpression* field) {
  field->form = form;
  Result<Name> output = ReadName("the name of an output behind '('");
  if (!output.ok()) return output.status();
  field->output = std::move(output->text);
  if (form == Form::kTop) {
    if (!Take(',')) return Expected("',' and how many, as in top(scores, 3)");
    Result<Name> count = ReadName("how many elements");
    if (!count.ok()) return count.status();
    field->count = WholeNumber(count->text).value_or(0);
    if (field->count < 1 || field->count > kMaxTop) {
      return Wrong(
          fmt::format("top gives 1 to {} elements, not {}", kMaxTop, Excerpt(count->text)));
    }
  }
  if (!Take(')')) return Expected("')'");
  return {};
}

Status Parser::Expression(OutputExpression* field) {
  Result<Name> name = ReadName("the name of an output, or argmax, label, max or top");
  if (!name.ok()) return name.status();
  if (!name->quoted && Take('(')) {
    const auto known = std::find_if(kFunctions.begin(), kFunctions.end(),
                                    [&](const auto& one) { return one.first == name->text; });
    if (known == kFunctions.end()) {
      return Wrong(fmt::format("there is no function {}; there are argmax, label, max and top",
                               Excerpt(name->text)));
    }
    MILLRACE_RETURN_IF_ERROR(Function(known->second, field));
  } else {
    field->output = std::move(name->text);
    if (Take('[')) MILLRACE_RETURN_IF_ERROR(Element(field));
  }
  field->comparison = TakeComparison();
  if (field->comparison == Comparison::kNone) return {};
  if (field->form == Form::kArgmax || field->form == Form::kLabel || field->form == Form::kTop) {
    return Wrong("only a number can be compared: an output, one of its elements or max()");
  }
  return Limit(field);
}

Status Parser::Field(OutputExpression* field) {
  Result<Name> name = ReadName("the name of a field");
  if (!name.ok()) return name.status();
  field->field = std::move(name->text);
  const std::string context = "field " + Excerpt(field->field);
  if (!Take('=')) return Expected("'=' behind its name").WithContext(context);
  SkipSpace();
  const std::size_t start = at_;
  MILLRACE_RETURN_IF_ERROR(Expression(field).WithContext(context));
  field->text = std::string(text_.substr(start, at_ - start));
  while (!field->text.empty() && IsSpace(field->text.back())) field->text.pop_back();
  SkipSpace();
  if (at_ < text_.size() && !IsSeparator(text_[at_])) {
    return Expected("a comma or the end behind the expression").WithContext(context);
  }
  return {};
}

Result<std::vector<OutputExpression>> Parser::Mapping() {
  if (text_.size() > kMaxMappingBytes) {
    return Wrong(fmt::format("the outputs have over {} bytes", kMaxMappingBytes));
  }
  std::vector<OutputExpression> fields;
  while (true) {
    while (at_ < text_.size() && (IsSpace(text_[at_]) || IsSeparator(text_[at_]))) ++at_;
    if (at_ >= text_.size()) break;
    OutputExpression field;
    MILLRACE_RETURN_IF_ERROR(Field(&field));
    for (const OutputExpression& other : fields) {
      if (other.field == field.field) {
        return Wrong(fmt::format("field {} is given twice", Excerpt(field.field)));
      }
    }
    if (fields.size() == kMaxMappedFields) {
      return Wrong(fmt::format("there are over {} fields", kMaxMappedFields));
    }
    fields.push_back(std::move(field));
  }
  if (fields.empty()) return Wrong("expected a field, such as score = probabilities[1]");
  return fields;
}

}  // namespace

Result<std::vector<OutputExpression>> ParseOutputMapping(std::string_view text) {
  return Parser(text).Mapping();
}

}  // namespace millrace
