// DynamicTensorReader: an input whose shape is the request's own, in some dimensions or in all.
//
// The shape is that of the nested arrays, which must agree; where only one dimension is open, a
// flat array will do. Elements are gathered first and then copied to the request's scratch, for
// their number is not known before the end. An open dimension has at least one entry. Private to
// the codec.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

#include "codec/tensor_element_internal.h"

namespace millrace {

class DynamicTensorReader {
 public:
  // REQUIRES: part.input.dynamic. All must outlive the reader.
  DynamicTensorReader(StrictJson& json, TensorPart part, TensorScratch scratch)
      : json_(json), part_(part), scratch_(scratch) {}

  // Fills `out` unless the value is rejected; false when the text is malformed.
  bool Read(ondemand::value& value, int depth, RowTensor* out);

 private:
  template <class T>
  bool ReadAs(ondemand::value& value, int depth, RowTensor* out);
  template <class T>
  bool ReadFlat(ondemand::value& value, int depth);
  template <class T>
  bool ReadNested(ondemand::value& value, int depth, std::size_t dim);
  template <class T>
  bool AppendElement(ondemand::value& value, int depth);
  // Notes that an array of dimension `dim` has `count` entries.
  void Close(std::size_t dim, std::size_t count);
  // The one open dimension of what was given flat.
  void Divide();
  void Reject(std::string detail);

  StrictJson& json_;
  const TensorPart part_;
  TensorScratch scratch_;
  std::size_t count_ = 0;  // Elements read.
  bool rejected_ = false;
  std::array<std::int64_t, RowLayout::kMaxRank> shape_{};
};

}  // namespace millrace
