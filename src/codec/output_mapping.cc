#include "codec/output_mapping.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/check.h"
#include "base/nearest.h"
#include "codec/json_writer.h"
#include "codec/text.h"
#include "types/float16.h"

namespace millrace {
namespace {

using Form = OutputExpression::Form;
using Kind = MappedField::Kind;
using Labels = std::vector<std::string>;

// An error does not list more than so many outputs and labels.
constexpr std::size_t kMaxListed = 12;

Status Wrong(std::string what) { return {StatusCode::kConfiguration, std::move(what)}; }

bool IsInteger(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
    case ElementType::kFloat64:
    case ElementType::kFloat16:
    case ElementType::kBool:
    case ElementType::kString:
      return false;
    default:
      return true;
  }
}

bool IsNumber(ElementType type) {
  return type != ElementType::kBool && type != ElementType::kString;
}

// The value of `type` that a limit of `number` stands for. Integers are compared as they are.
double LimitOf(ElementType type, double number) {
  if (type == ElementType::kFloat32) return static_cast<double>(static_cast<float>(number));
  if (type == ElementType::kFloat16) {
    return static_cast<double>(ToFloat(NearestFloat16(number)));
  }
  return number;
}

// Elements in a row, where the signature tells.
std::optional<std::size_t> RowElements(const TensorSpec& spec) {
  if (spec.shape.empty()) return std::nullopt;
  const std::optional<std::size_t> count = ElementCount(std::span(spec.shape).subspan(1));
  return count == std::size_t{0} ? std::nullopt : count;
}

std::string Listed(const Labels& names) {
  std::string text;
  for (std::size_t i = 0; i < std::min(names.size(), kMaxListed); ++i) {
    text += (i == 0 ? "" : ", ") + OneLine(names[i]);
  }
  return names.size() > kMaxListed ? fmt::format("{} and {} more", text, names.size() - kMaxListed)
                                   : text;
}

std::string DescribeOutputs(const ModelSignature& signature) {
  Labels outputs;
  for (const TensorSpec& spec : signature.outputs) {
    outputs.push_back(
        fmt::format("{} {} {}", spec.name, ElementTypeName(spec.type), ShapeText(spec.shape)));
  }
  return Listed(outputs);
}

// Binds one field; what it borrows stays.
class Binder {
 public:
  Binder(const OutputExpression& from, const ModelSignature& signature, const Labels& given,
         std::optional<double> threshold)
      : from_(from), signature_(signature), given_(given), threshold_(threshold) {}

  Status Bind(MappedField* field);

 private:
  Status FindOutput();
  Status FindElement();
  Status BindLabel();
  Status BindFunction();
  Status Compare();
  Status NeedNumbers(std::string_view what) const;
  void TakeLabels(const Labels& labels);
  // Those of the output's elements.
  const Labels& LabelsOfElements() const {
    const bool fits = !given_.empty() && elements_.value_or(given_.size()) == given_.size();
    return fits ? given_ : spec_->labels;
  }
  std::string Output() const {
    return fmt::format("output {} ({} {})", Excerpt(spec_->name), ElementTypeName(spec_->type),
                       ShapeText(spec_->shape));
  }

  const OutputExpression& from_;
  const ModelSignature& signature_;
  const Labels& given_;
  const std::optional<double> threshold_;  // What decides between two classes.
  MappedField* field_ = nullptr;
  const TensorSpec* spec_ = nullptr;
  std::optional<std::size_t> elements_;
};

Status Binder::FindOutput() {
  Labels names;
  for (std::size_t i = 0; i < signature_.outputs.size(); ++i) {
    spec_ = &signature_.outputs[i];
    if (spec_->name == from_.output) {
      field_->output = i;
      elements_ = RowElements(*spec_);
      return {};
    }
    names.push_back(spec_->name);
  }
  return Wrong(fmt::format("the model has no output {}{}; it has {}", Excerpt(from_.output),
                           DidYouMean(from_.output, names), DescribeOutputs(signature_)));
}

Status Binder::NeedNumbers(std::string_view what) const {
  if (IsNumber(spec_->type)) return {};
  return Wrong(fmt::format("{} takes numbers, {} has none", what, Output()));
}

Status Binder::FindElement() {
  field_->kind = Kind::kElement;
  field_->type = ElementTypeName(spec_->type);
  if (from_.form == Form::kOutput) {
    field_->least = field_->most = 1;
    if (elements_.value_or(1) == 1) return {};
    return Wrong(fmt::format("{} has {} elements in a row: say which one is compared, as in {}[0]",
                             Output(), *elements_, from_.output));
  }
  if (from_.place) {
    field_->element = *from_.place;
    field_->least = field_->element + 1;
    if (elements_.value_or(field_->least) >= field_->least) return {};
    const bool is_label = std::find(LabelsOfElements().begin(), LabelsOfElements().end(),
                                    std::to_string(*from_.place)) != LabelsOfElements().end();
    return Wrong(fmt::format(
        "{} has {} elements in a row, the last one is {}[{}]{}", Output(), *elements_, from_.output,
        *elements_ - 1,
        is_label ? fmt::format("; for the label write {}[\"{}\"]", from_.output, *from_.place)
                 : ""));
  }
  const Labels& labels = LabelsOfElements();
  const auto found = std::find(labels.begin(), labels.end(), from_.label);
  if (found != labels.end()) {
    field_->element = static_cast<std::size_t>(found - labels.begin());
    field_->least = field_->most = labels.size();
    return {};
  }
  if (labels.empty()) {
    return Wrong(
        fmt::format("{} has no labels, so {} is none of them; name the element by its "
                    "place, or put labels into the model.yaml, one for each element",
                    Output(), Excerpt(from_.label)));
  }
  return Wrong(fmt::format("{} has no label {}{}; it has {}", Output(), Excerpt(from_.label),
                           DidYouMean(from_.label, labels), Listed(labels)));
}

Status Binder::Compare() {
  if (from_.comparison == Comparison::kNone) return {};
  MILLRACE_RETURN_IF_ERROR(NeedNumbers("a comparison"));
  field_->comparison = from_.comparison;
  field_->limit = LimitOf(spec_->type, from_.limit.value_or(threshold_.value_or(0)));
  field_->type = "BOOL";
  return {};
}

void Binder::TakeLabels(const Labels& labels) {
  auto texts = std::make_shared<Labels>();
  for (const std::string& label : labels) {
    JsonWriter(texts->emplace_back()).Value(label);
    field_->label_bytes = std::max(field_->label_bytes, texts->back().size());
  }
  field_->labels = std::move(texts);
}

Status Binder::BindLabel() {
  field_->type = ElementTypeName(ElementType::kString);
  field_->least = 1;
  if (spec_->type == ElementType::kString) {  // It is a label.
    field_->kind = Kind::kElement;
    field_->most = 1;
    if (elements_.value_or(1) == 1) return {};
    return Wrong(fmt::format("{} has {} words in a row: say which one, as in {}[0]", Output(),
                             *elements_, from_.output));
  }
  MILLRACE_RETURN_IF_ERROR(NeedNumbers("label()"));
  if (IsInteger(spec_->type) && elements_.value_or(1) == 1) {
    field_->kind = Kind::kLabelAt;
    field_->most = 1;
    TakeLabels(given_);
    if (!given_.empty()) return {};
    return Wrong(
        fmt::format("there are no labels for {}: put labels into the model.yaml, in the "
                    "order of the numbers that it gives, from 0",
                    Output()));
  }
  const bool one = elements_ == std::size_t{1};
  const Labels& labels = one ? given_ : LabelsOfElements();
  TakeLabels(labels);
  if (one && labels.size() != 2) {
    return Wrong(
        fmt::format("{} has one number in a row: for a label the model.yaml needs two "
                    "labels, that below the threshold and that from it on; it has {}",
                    Output(), labels.size()));
  }
  if (labels.empty()) {
    return Wrong(given_.empty()
                     ? fmt::format("there are no labels for {}: put labels into the model.yaml, "
                                   "one for each element",
                                   Output())
                     : fmt::format("{} has {} elements in a row, the model.yaml has {} labels: {}",
                                   Output(), elements_.value_or(0), given_.size(), Listed(given_)));
  }
  field_->kind = Kind::kLabelOfMax;
  field_->least = field_->most = labels.size();
  if (one || (labels.size() == 2 && threshold_)) {
    field_->kind = Kind::kLabelFrom;
    field_->element = one ? 0 : 1;
    field_->least = field_->most = one ? 1 : 2;
    field_->limit = LimitOf(spec_->type, threshold_.value_or(kDefaultThreshold));
  }
  return {};
}

Status Binder::BindFunction() {
  const bool is_max = from_.form == Form::kMax;
  const std::string_view name = is_max                        ? "max()"
                                : from_.form == Form::kArgmax ? "argmax()"
                                                              : "top()";
  MILLRACE_RETURN_IF_ERROR(NeedNumbers(name));
  field_->least = 1;
  if (is_max) {
    field_->kind = Kind::kMax;
    field_->type = ElementTypeName(spec_->type);
    return {};
  }
  if (from_.form == Form::kArgmax) {
    field_->kind = Kind::kArgmax;
    field_->type = ElementTypeName(ElementType::kInt64);
    return {};
  }
  field_->kind = Kind::kTop;
  field_->count = from_.count;
  if (elements_.value_or(from_.count) < from_.count) {
    return Wrong(
        fmt::format("{} has {} elements in a row, no {}", Output(), *elements_, from_.count));
  }
  const Labels& labels = LabelsOfElements();
  field_->type = fmt::format("{} and {}, {} times", labels.empty() ? "index" : "label",
                             ElementTypeName(spec_->type), from_.count);
  if (labels.empty()) return {};
  field_->least = field_->most = labels.size();
  TakeLabels(labels);
  return {};
}

Status Binder::Bind(MappedField* field) {
  field_ = field;
  field->name = from_.field;
  field->text = from_.text;
  MILLRACE_RETURN_IF_ERROR(FindOutput());
  switch (from_.form) {
    case Form::kOutput:
      if (from_.comparison == Comparison::kNone) {
        field->kind = Kind::kOutput;
        field->type = ElementTypeName(spec_->type);
        const std::vector<std::int64_t> row(spec_->shape.begin() + (spec_->shape.empty() ? 0 : 1),
                                            spec_->shape.end());
        if (spec_->shape.empty()) field->type += " of any shape";
        for (const std::int64_t dim : row) {
          field->type += dim == kDynamicDim ? "[?]" : fmt::format("[{}]", dim);
        }
        return {};
      }
      [[fallthrough]];
    case Form::kElement:
      MILLRACE_RETURN_IF_ERROR(FindElement());
      return Compare();
    case Form::kLabel:
      return BindLabel();
    case Form::kMax:
      MILLRACE_RETURN_IF_ERROR(BindFunction());
      return Compare();
    case Form::kArgmax:
    case Form::kTop:
      return BindFunction();
  }
  return {};
}

}  // namespace

Result<OutputMapping> BindOutputMapping(std::span<const OutputExpression> fields,
                                        const ModelSignature& signature, const Labels& labels,
                                        std::optional<double> threshold) {
  MILLRACE_CHECK(!fields.empty() && !signature.outputs.empty());
  OutputMapping mapping;
  mapping.threshold = threshold.value_or(kDefaultThreshold);
  const bool compared = std::any_of(fields.begin(), fields.end(), [](const auto& field) {
    return field.comparison != Comparison::kNone && !field.limit;
  });
  if (compared) threshold = mapping.threshold;
  for (const OutputExpression& field : fields) {
    MappedField& bound = mapping.fields.emplace_back();
    const Status status = Binder(field, signature, labels, threshold).Bind(&bound);
    if (!status.ok()) {
      return status.WithContext(
          fmt::format("field {} ({})", Excerpt(field.field), OneLine(field.text)));
    }
    if (mapping.fields.size() > 1) bound.key = ",";
    std::string name;
    JsonWriter(name).Value(field.field);
    bound.key += name + ":";
  }
  return mapping;
}

}  // namespace millrace
