// GatherRows: decoded rows into a runner's inputs. The one place that knows how a row lies in
// memory (types/tensor.h, RowLayout) and how a tensor wants it.
#pragma once

#include <cstddef>
#include <cstring>
#include <span>

#include "base/status.h"
#include "runtime/engine.h"
#include "types/tensor.h"

namespace millrace {

// What `row` holds of an input whose shape is its own.
inline RowTensor TensorAt(const std::byte* row, const InputLayout& input) {
  RowTensor tensor;
  std::memcpy(&tensor, row + input.offset, sizeof tensor);
  return tensor;
}

// Copies `count` rows, `row_at(i)` being the i-th as a RequestDecoder with `layout` left it, to the
// inputs of `runner`, which then can Run(count). All rows have the shape of the first in every
// dynamic input. Fails only as Runner::SetRowShape does.
template <class RowAt>
Status GatherRows(const RowLayout& layout, std::size_t count, const RowAt& row_at, Runner& runner) {
  if (layout.inputs.size() == 1 && !layout.dynamic) {
    // Rows decoded one after another lie one after another when their size is a multiple of the
    // slab's alignment: copy such runs at once.
    std::byte* to = runner.Input(0);
    for (std::size_t i = 0; i < count;) {
      const std::byte* const from = row_at(i);
      std::size_t run = 1;
      while (i + run < count && row_at(i + run) == from + run * layout.bytes) ++run;
      std::memcpy(to, from, run * layout.bytes);
      to += run * layout.bytes;
      i += run;
    }
    return {};
  }
  for (std::size_t n = 0; n < layout.inputs.size(); ++n) {
    const InputLayout& input = layout.inputs[n];
    if (!input.dynamic) {
      std::byte* to = runner.Input(n);
      for (std::size_t i = 0; i < count; ++i, to += input.bytes) {
        std::memcpy(to, row_at(i) + input.offset, input.bytes);
      }
      continue;
    }
    const RowTensor first = TensorAt(row_at(0), input);
    const std::size_t bytes = first.elements * ElementBytes(input.type);
    MILLRACE_RETURN_IF_ERROR(
        runner.SetRowShape(n, std::span(first.shape, input.row_shape.size()), count));
    std::byte* to = runner.Input(n);
    for (std::size_t i = 0; i < count; ++i, to += bytes) {
      std::memcpy(to, TensorAt(row_at(i), input).data, bytes);
    }
  }
  return {};
}

}  // namespace millrace
