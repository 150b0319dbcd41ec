#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "codec/dynamic_tensor_reader_internal.h"

namespace millrace {

void DynamicTensorReader::Reject(std::string detail) {
  rejected_ = true;
  if (json_.rejected()) return;
  json_.Reject(FailureReason::kInvalidShape,
               fmt::format("{} {} (shape {})", LabelOf(part_), detail, ExpectedShape(part_.input)));
}

bool DynamicTensorReader::Read(ondemand::value& value, int depth, RowTensor* out) {
  if (value.raw_json_token().front() != '[') {
    Reject(fmt::format("is {}, expected an array of {}", TypeName(value), ThingsOf(part_.input)));
    return json_.Skip(value, depth);
  }
  const std::vector<std::int64_t>& expected = part_.input.row_shape;
  std::copy(expected.begin(), expected.end(), shape_.begin());
  scratch_.elements.clear();
  return DispatchElement(part_.input.type, [&]<class T>(std::type_identity<T>) {
    return ReadAs<T>(value, depth, out);
  });
}

template <class T>
bool DynamicTensorReader::ReadAs(ondemand::value& value, int depth, RowTensor* out) {
  const std::size_t rank = part_.input.row_shape.size();
  const std::string_view token = value.raw_json_token();
  // The opening bracket's token ends where the first element starts.
  const bool nested = part_.named && rank > 1 && *(token.data() + token.size()) == '[';
  if (!(nested || rank == 1 ? ReadNested<T>(value, depth, 0) : ReadFlat<T>(value, depth))) {
    return false;
  }
  if (rejected_) return true;
  out->elements = count_;
  out->data = scratch_.strings.CopyAligned(scratch_.elements.data(), count_ * sizeof(T));
  out->shape = reinterpret_cast<const std::int64_t*>(
      scratch_.strings.CopyAligned(shape_.data(), rank * sizeof(std::int64_t)));
  return true;
}

template <class T>
bool DynamicTensorReader::ReadFlat(ondemand::value& value, int depth) {
  const bool well_formed = json_.ReadArray(
      value, depth, [&](ondemand::value& element) { return AppendElement<T>(element, depth + 1); });
  if (well_formed) Divide();
  return well_formed;
}

void DynamicTensorReader::Divide() {
  const std::size_t rank = part_.input.row_shape.size();
  std::size_t open = rank;
  std::size_t known = 1;
  for (std::size_t dim = 0; dim < rank; ++dim) {
    if (shape_[dim] != kDynamicDim) {
      known *= static_cast<std::size_t>(shape_[dim]);
    } else if (open != rank) {
      return Reject("is flat, but more than one dimension is open: nest it in `inputs`");
    } else {
      open = dim;
    }
  }
  if (count_ == 0 || count_ % known != 0) {
    return Reject(
        fmt::format("has {} {}, expected a multiple of {}", count_, ThingsOf(part_.input), known));
  }
  shape_[open] = static_cast<std::int64_t>(count_ / known);
}

template <class T>
bool DynamicTensorReader::ReadNested(ondemand::value& value, int depth, std::size_t dim) {
  if (value.raw_json_token().front() != '[') {
    Reject(fmt::format("has {} in dimension {}, expected an array", TypeName(value), dim + 1));
    return json_.Skip(value, depth);
  }
  std::size_t entries = 0;
  const bool last = dim + 1 == part_.input.row_shape.size();
  const bool well_formed = json_.ReadArray(value, depth, [&](ondemand::value& entry) {
    ++entries;
    return last ? AppendElement<T>(entry, depth + 1) : ReadNested<T>(entry, depth + 1, dim + 1);
  });
  if (well_formed) Close(dim, entries);
  return well_formed;
}

void DynamicTensorReader::Close(std::size_t dim, std::size_t count) {
  if (count == 0) return Reject(fmt::format("has nothing in dimension {}", dim + 1));
  if (shape_[dim] == kDynamicDim) shape_[dim] = static_cast<std::int64_t>(count);
  if (shape_[dim] == static_cast<std::int64_t>(count)) return;
  Reject(fmt::format("has {} entries in dimension {} where {}", count, dim + 1,
                     part_.input.row_shape[dim] == kDynamicDim
                         ? fmt::format("it had {} before", shape_[dim])
                         : fmt::format("{} are expected", shape_[dim])));
}

template <class T>
bool DynamicTensorReader::AppendElement(ondemand::value& value, int depth) {
  T element{};
  const std::size_t index = count_++;
  if (!ReadElement(json_, value, depth, part_, index, scratch_.strings, &element)) return false;
  const std::size_t at = index * sizeof(T);
  scratch_.elements.resize(at + sizeof(T));
  std::memcpy(scratch_.elements.data() + at, &element, sizeof(T));
  return true;
}

}  // namespace millrace
