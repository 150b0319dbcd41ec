// TensorReader: the `input` or `inputs` of a request to one row of its model's input tensor.
//
// Writes the numbers straight into the row. What does not fit the layout is rejected with what was
// expected, and the rest of the value is still checked for being JSON. Private to the codec.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

#include "codec/plain_json_internal.h"
#include "codec/strict_json_internal.h"
#include "types/tensor.h"

namespace millrace {

class TensorReader {
 public:
  // `row` has layout.bytes writable bytes, aligned for layout.type. All must outlive the reader;
  // `model_id` is for failure details.
  TensorReader(StrictJson& json, const RowLayout& layout, std::string_view model_id, std::byte* row)
      : json_(json), layout_(layout), model_id_(model_id), row_(row) {}

  // `input`: a flat array.
  bool ReadInput(ondemand::value& value) { return ReadTensor(value, 1, false); }
  // The same, when it is plain and fits; false says nothing.
  bool ReadPlainInput(PlainJson& json);
  // `inputs`: an object that gives the one input by name, nested as its shape says, or flat.
  bool ReadNamedInputs(ondemand::value& value);
  // Neither was there.
  void RejectMissing();

 private:
  bool ReadTensor(ondemand::value& value, int depth, bool named);
  template <class T>
  bool ReadNumbers(ondemand::value& value, int depth, bool named, std::size_t first,
                   std::size_t wanted, std::size_t* count);
  template <class T>
  bool ReadNested(ondemand::value& value, int depth, std::size_t dim, std::size_t first);
  bool ExplainElement(ondemand::value& value, int depth, bool named, std::size_t index);
  std::string InputLabel(bool named) const {
    return named ? "inputs." + layout_.name : std::string("input");
  }

  StrictJson& json_;
  const RowLayout& layout_;
  std::string_view model_id_;
  std::byte* row_;
};

}  // namespace millrace
