// TensorReader: the `input` or `inputs` of a request to one row of its model's input tensors.
//
// Writes the numbers straight into the row; strings as views of the record, or of `scratch` where
// they had to be unescaped. An input whose shape is the request's own is read by
// DynamicTensorReader. What does not fit the layout is rejected with what was expected, and
// the rest of the value is still checked for being JSON. Private to the codec.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "codec/plain_json_internal.h"
#include "codec/strict_json_internal.h"
#include "codec/tensor_element_internal.h"
#include "types/tensor.h"

namespace millrace {

class TensorReader {
 public:
  // `row` has layout.bytes writable bytes, aligned to RowLayout::kAlignment. All must outlive the
  // reader; `model_id` is for failure details.
  TensorReader(StrictJson& json, const RowLayout& layout, std::string_view model_id,
               TensorScratch scratch, std::byte* row)
      : json_(json), layout_(layout), model_id_(model_id), scratch_(scratch), row_(row) {}

  // `input`: a flat array, for a model of one input.
  bool ReadInput(ondemand::value& value);
  // The same, when it is plain and fits; false says nothing.
  bool ReadPlainInput(PlainJson& json);
  // `inputs`: an object that gives every input by name, nested as its shape says, or flat.
  bool ReadNamedInputs(ondemand::value& value);
  // Neither was there.
  void RejectMissing();

 private:
  using Part = TensorPart;
  bool ReadTensor(ondemand::value& value, int depth, Part part);
  template <class T>
  bool ReadElements(ondemand::value& value, int depth, Part part, std::size_t first,
                    std::size_t wanted, std::size_t* count);
  template <class T>
  bool ReadNested(ondemand::value& value, int depth, Part part, std::size_t dim, std::size_t first);
  // Where the input's elements go.
  template <class T>
  T* Elements(const InputLayout& input) const {
    return reinterpret_cast<T*>(row_ + input.offset);
  }
  // "'a' (shape [N,3]), 'b' (shape [N])", those whose bit in `but` is not set.
  std::string InputList(std::uint64_t but = 0) const;

  StrictJson& json_;
  const RowLayout& layout_;
  std::string_view model_id_;
  TensorScratch scratch_;
  std::byte* row_;
};

}  // namespace millrace
