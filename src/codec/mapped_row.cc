#include "codec/mapped_row_internal.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>

#include "base/check.h"
#include "codec/output_text_internal.h"
#include "codec/text.h"
#include "types/element_type.h"

namespace millrace {
namespace {

using Kind = MappedField::Kind;

// `{"label":` `,"value":` `},` around what they hold.
constexpr std::size_t kTopItemBytes = 24;

// Whether elements of this type have an order.
template <class T>
inline constexpr bool kIsOrdered = !kIsText<T> && !std::is_same_v<T, bool>;

template <class T>
bool IsNan(T number) {
  if constexpr (std::is_same_v<T, Float16>) {
    return std::isnan(ToFloat(number));
  } else if constexpr (std::is_floating_point_v<T>) {
    return std::isnan(number);
  } else {
    return false;
  }
}

template <class T>
bool Less(T a, T b) {
  if constexpr (std::is_same_v<T, Float16>) {
    return ToFloat(a) < ToFloat(b);
  } else {
    return a < b;
  }
}

template <class T>
double AsDouble(T number) {
  if constexpr (std::is_same_v<T, Float16>) {
    return static_cast<double>(ToFloat(number));
  } else {
    return static_cast<double>(number);
  }
}

bool Holds(Comparison comparison, double number, double limit) {
  switch (comparison) {
    case Comparison::kGreater:
      return number > limit;
    case Comparison::kAtLeast:
      return number >= limit;
    case Comparison::kLess:
      return number < limit;
    case Comparison::kAtMost:
      return number <= limit;
    case Comparison::kNone:
      break;
  }
  return false;
}

char* WriteNull(char* out, bool* non_finite) {
  *non_finite = true;
  return Write("null", out);
}

// Place of the largest, the first of equals; `count` when one is NaN. REQUIRES: count >= 1.
template <class T>
std::size_t PlaceOfMax(const T* numbers, std::size_t count) {
  std::size_t best = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (IsNan(numbers[i])) return count;
    if (Less(numbers[best], numbers[i])) best = i;
  }
  return best;
}

template <class T>
char* WriteTop(const MappedField& field, const T* numbers, std::size_t count, char* out,
               bool* non_finite) {
  std::array<std::size_t, kMaxTop> best;
  const std::size_t wanted = std::min(field.count, count);
  MILLRACE_DCHECK(wanted <= best.size());
  std::size_t kept = 0;
  for (std::size_t i = 0; i < count; ++i) {
    if (IsNan(numbers[i])) return WriteNull(out, non_finite);
    if (kept == wanted && !Less(numbers[best[kept - 1]], numbers[i])) continue;
    std::size_t at = kept == wanted ? kept - 1 : kept++;
    for (; at > 0 && Less(numbers[best[at - 1]], numbers[i]); --at) best[at] = best[at - 1];
    best[at] = i;
  }
  *out++ = '[';
  for (std::size_t i = 0; i < kept; ++i) {
    if (i > 0) *out++ = ',';
    if (field.labels != nullptr) {
      out = Write((*field.labels)[best[i]], Write(R"({"label":)", out));
    } else {
      out =
          WriteElement(static_cast<std::uint64_t>(best[i]), Write(R"({"index":)", out), non_finite);
    }
    out = WriteElement(numbers[best[i]], Write(R"(,"value":)", out), non_finite);
    *out++ = '}';
  }
  *out++ = ']';
  return out;
}

// A number, or whether its comparison holds.
template <class T>
char* WriteValue(const MappedField& field, T value, char* out, bool* non_finite) {
  if constexpr (kIsOrdered<T>) {
    if (field.comparison != Comparison::kNone) {
      if (IsNan(value)) return WriteNull(out, non_finite);
      return WriteElement(Holds(field.comparison, AsDouble(value), field.limit), out, non_finite);
    }
  }
  return WriteElement(value, out, non_finite);
}

template <class T>
char* WriteField(const MappedField& field, const OutputView& view, const T* numbers, char* out,
                 bool* non_finite) {
  const std::size_t count = view.elements_per_row;
  if (field.kind == Kind::kOutput) {
    return WriteNested(numbers, view.row_shape, 0, out, non_finite);
  }
  if (field.kind == Kind::kElement) {
    return WriteValue(field, numbers[field.element], out, non_finite);
  }
  if constexpr (kIsOrdered<T>) {
    if (field.kind == Kind::kTop) return WriteTop(field, numbers, count, out, non_finite);
    std::size_t place = 0;
    switch (field.kind) {
      case Kind::kLabelFrom:
        if (IsNan(numbers[field.element])) return WriteNull(out, non_finite);
        place = AsDouble(numbers[field.element]) >= field.limit ? 1 : 0;
        return Write((*field.labels)[place], out);
      case Kind::kLabelAt:
        return Write((*field.labels)[static_cast<std::size_t>(AsDouble(numbers[0]))], out);
      default:
        break;
    }
    place = PlaceOfMax(numbers, count);
    if (place == count) return WriteNull(out, non_finite);
    if (field.kind == Kind::kMax) return WriteValue(field, numbers[place], out, non_finite);
    if (field.kind == Kind::kLabelOfMax) return Write((*field.labels)[place], out);
    return WriteElement(static_cast<std::uint64_t>(place), out, non_finite);
  }
  CheckFailed("a field that its output's type has", __FILE__, __LINE__);
}

}  // namespace

void MappedRow::Begin(const OutputMapping& mapping, std::span<const OutputView> outputs) {
  mapping_ = &mapping;
  outputs_ = outputs;
  values_ = 0;
  bound_ = 0;
  must_check_ = false;
  misfit_.reset();
  for (const MappedField& field : mapping.fields) {
    MILLRACE_CHECK(field.output < outputs.size());
    BeginField(field, outputs[field.output]);
  }
  must_check_ = must_check_ || misfit_.has_value();
}

void MappedRow::BeginField(const MappedField& field, const OutputView& view) {
  const std::size_t count = view.elements_per_row;
  if (!misfit_ && (count < field.least || count > field.most)) {
    misfit_ = Failure{
        FailureReason::kInferenceError,
        fmt::format("field {} ({}) needs {} {} elements of output {}, which has {} for this "
                    "request",
                    Excerpt(field.name), OneLine(field.text),
                    field.least == field.most ? "exactly" : "at least", field.least,
                    Excerpt(view.spec->name), count)};
  }
  std::size_t values = 1;
  std::size_t bytes = std::max(kMaxNumberBytes, field.label_bytes);
  if (field.kind == Kind::kOutput) {
    values = count;
    bytes = count * kMaxNumberBytes + BracketBytes(view.row_shape);
  } else if (field.kind == Kind::kTop) {
    values = 2 * std::min(field.count, count);
    bytes = 2 + std::min(field.count, count) * (bytes + kMaxNumberBytes + kTopItemBytes);
  }
  const bool is_text = view.spec->type == ElementType::kString;
  must_check_ = must_check_ || is_text || field.kind == Kind::kLabelAt;
  values_ += values;
  bound_ += field.key.size() + bytes;
}

std::optional<Failure> MappedRow::Check(std::size_t row, std::size_t max_bytes,
                                        std::size_t* bytes) const {
  if (misfit_) return misfit_;
  for (const MappedField& field : mapping_->fields) {
    if (auto failure = CheckField(field, row, max_bytes, bytes)) return failure;
  }
  return std::nullopt;
}

std::optional<Failure> MappedRow::CheckField(const MappedField& field, std::size_t row,
                                             std::size_t max_bytes, std::size_t* bytes) const {
  const OutputView& view = outputs_[field.output];
  if (view.spec->type == ElementType::kString) {
    const auto* const texts =
        static_cast<const std::string_view*>(view.data) + row * view.elements_per_row;
    const bool all = field.kind == Kind::kOutput;
    return CheckTexts(view.spec->name,
                      {texts + field.element, all ? view.elements_per_row : std::size_t{1}},
                      field.element, max_bytes, bytes);
  }
  if (field.kind != Kind::kLabelAt) return std::nullopt;
  return DispatchElement(view.spec->type, [&]<class T>(std::type_identity<T>) {
    std::optional<Failure> failure;
    if constexpr (std::is_integral_v<T> && !std::is_same_v<T, bool>) {
      const T place = static_cast<const T*>(view.data)[row];
      if (std::cmp_less(place, 0) || std::cmp_greater_equal(place, field.labels->size())) {
        failure =
            Failure{FailureReason::kInferenceError,
                    fmt::format("field {} ({}): output {} is {}, the places of the {} labels "
                                "are 0 to {}",
                                Excerpt(field.name), OneLine(field.text), Excerpt(view.spec->name),
                                place, field.labels->size(), field.labels->size() - 1)};
      }
    }
    return failure;
  });
}

char* MappedRow::Write(std::size_t row, char* out, bool* non_finite) const {
  for (const MappedField& field : mapping_->fields) {
    const OutputView& view = outputs_[field.output];
    out = millrace::Write(std::string_view(field.key), out);
    out = DispatchElement(view.spec->type, [&]<class T>(std::type_identity<T>) {
      const T* const numbers = static_cast<const T*>(view.data) + row * view.elements_per_row;
      return WriteField(field, view, numbers, out, non_finite);
    });
  }
  return out;
}

}  // namespace millrace
