#include "models/trial.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <type_traits>
#include <vector>

#include "runtime/batch_buckets.h"
#include "types/element_type.h"

namespace millrace {
namespace {

// Numbers that rows are made of; the same in every probe.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9E3779B97F4A7C15ULL;
  x = (x ^ (x >> 30U)) * 0xBF58476D1CE4E5B9ULL;
  x = (x ^ (x >> 27U)) * 0x94D049BB133111EBULL;
  return x ^ (x >> 31U);
}

// The value of element `element` of a row with the number `row`: a number in [0, 1), or 0 or 1
// where the type is a whole number, as every category and index there is knows. `plain`: what the
// warm-up found that the model takes, for a model that takes nothing else.
template <class T>
T ValueOf(std::size_t row, std::size_t element, const int* plain) {
  if (plain != nullptr) return ElementOf<T>(*plain);
  const std::uint64_t bits = Mix(row << 32U | element);
  if constexpr (std::is_floating_point_v<T>) {
    return static_cast<T>(static_cast<double>(bits >> 40U) * 0x1p-24);
  } else if constexpr (std::is_same_v<T, Float16>) {
    return NearestFloat16(static_cast<double>(bits >> 53U) * 0x1p-11);
  } else {
    return ElementOf<T>(static_cast<int>(bits >> 63U));
  }
}

// What the outputs of one row are.
struct RowOutput {
  std::vector<std::byte> bytes;
  std::vector<std::string> texts;
};

class Trial {
 public:
  Trial(const LoadedModel& model, Runner& runner) : model_(model), runner_(runner) {}

  // Runs `rows` rows; those at positions of which `is_probe` says so are the probed one.
  template <class IsProbe>
  Status Run(std::size_t rows, bool plain, IsProbe is_probe);
  std::vector<RowOutput> Row(std::size_t position) const;
  // How far apart two answers of the same row are.
  Determinism Compare(const std::vector<RowOutput>& a, const std::vector<RowOutput>& b) const;

 private:
  const LoadedModel& model_;
  Runner& runner_;
};

template <class IsProbe>
Status Trial::Run(std::size_t rows, bool plain, IsProbe is_probe) {
  const std::vector<InputLayout>& inputs = model_.session->row_layout().inputs;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    std::size_t elements = inputs[i].elements;
    if (inputs[i].dynamic) {
      std::vector<std::int64_t> shape = inputs[i].row_shape;
      std::replace(shape.begin(), shape.end(), kDynamicDim, model_.sound_dim);
      MILLRACE_RETURN_IF_ERROR(runner_.SetRowShape(i, shape, rows));
      elements = 1;
      for (const std::int64_t dim : shape) elements *= static_cast<std::size_t>(dim);
    }
    DispatchElement(inputs[i].type, [&]<class T>(std::type_identity<T>) {
      T* const to = reinterpret_cast<T*>(runner_.Input(i));
      for (std::size_t row = 0; row < rows; ++row) {
        const std::size_t number = is_probe(row) ? 0 : row + 1;
        for (std::size_t e = 0; e < elements; ++e) {
          to[row * elements + e] =
              ValueOf<T>(number, e + i * elements, plain ? &model_.sound_value : nullptr);
        }
      }
    });
  }
  return runner_.Run(rows);
}

std::vector<RowOutput> Trial::Row(std::size_t position) const {
  std::vector<RowOutput> row;
  for (const OutputView& view : runner_.Outputs()) {
    RowOutput& out = row.emplace_back();
    const std::size_t first = position * view.elements_per_row;
    if (view.spec->type == ElementType::kString) {
      const auto* const texts = static_cast<const std::string_view*>(view.data);
      for (std::size_t i = 0; i < view.elements_per_row; ++i)
        out.texts.emplace_back(texts[first + i]);
      continue;
    }
    const std::size_t size = ElementBytes(view.spec->type);
    out.bytes.resize(view.elements_per_row * size);
    if (!out.bytes.empty()) {
      std::memcpy(out.bytes.data(), static_cast<const std::byte*>(view.data) + first * size,
                  out.bytes.size());
    }
  }
  return row;
}

template <class T>
Determinism CompareElements(const std::vector<std::byte>& a, const std::vector<std::byte>& b) {
  if constexpr (std::is_floating_point_v<T> || std::is_same_v<T, Float16>) {
    for (std::size_t at = 0; at < a.size(); at += sizeof(T)) {
      T one, other;
      std::memcpy(&one, a.data() + at, sizeof one);
      std::memcpy(&other, b.data() + at, sizeof other);
      double x = 0;
      double y = 0;
      if constexpr (std::is_same_v<T, Float16>) {
        x = ToFloat(one);
        y = ToFloat(other);
      } else {
        x = one;
        y = other;
      }
      if (std::memcmp(&one, &other, sizeof one) == 0 || (std::isnan(x) && std::isnan(y))) continue;
      const double size = std::max(std::abs(x), std::abs(y));
      if (!(std::abs(x - y) <= kCloseTolerance * size)) return Determinism::kVaries;
    }
    return Determinism::kClose;
  } else {
    return Determinism::kVaries;
  }
}

Determinism Trial::Compare(const std::vector<RowOutput>& a, const std::vector<RowOutput>& b) const {
  const std::span<const OutputView> views = runner_.Outputs();
  Determinism worst = Determinism::kExact;
  for (std::size_t i = 0; i < views.size(); ++i) {
    if (a[i].bytes == b[i].bytes && a[i].texts == b[i].texts) continue;
    if (a[i].bytes.size() != b[i].bytes.size() || a[i].texts != b[i].texts) {
      return Determinism::kVaries;
    }
    worst =
        std::max(worst, DispatchElement(views[i].spec->type, [&]<class T>(std::type_identity<T>) {
                   return CompareElements<T>(a[i].bytes, b[i].bytes);
                 }));
  }
  return worst;
}

}  // namespace

Determinism FindDeterminism(const LoadedModel& model, std::size_t max_rows, MonoTime until) {
  if (!model.has_sound_row) return Determinism::kUnknown;
  const Result<std::unique_ptr<Runner>> runner = model.session->NewRunner();
  if (!runner.ok()) return Determinism::kUnknown;
  Trial trial(model, **runner);
  const auto all = [](std::size_t) { return true; };
  const auto even = [](std::size_t row) { return row % 2 == 0; };
  const auto odd = [](std::size_t row) { return row % 2 == 1; };
  // Rows of different values tell more; not every model takes them.
  const bool plain = !trial.Run(1, false, all).ok() || !trial.Run(max_rows, false, even).ok();
  if (!trial.Run(1, plain, all).ok()) return Determinism::kUnknown;
  const std::vector<RowOutput> alone = trial.Row(0);
  Determinism worst = Determinism::kExact;
  for (const std::size_t rows : BatchBuckets(max_rows)) {
    for (std::size_t first = 0; first < 2; ++first) {
      if (rows == 1 && first == 1) continue;  // There is no odd position.
      if (SystemClock().Now() > until) return Determinism::kUnknown;
      const Status ran = first == 0 ? trial.Run(rows, plain, even) : trial.Run(rows, plain, odd);
      if (!ran.ok()) return Determinism::kUnknown;
      for (std::size_t row = first; row < rows; row += 2) {
        worst = std::max(worst, trial.Compare(alone, trial.Row(row)));
      }
      if (worst == Determinism::kVaries) return worst;
    }
  }
  return worst;
}

}  // namespace millrace
