// GatherRows: decoded rows into a runner's inputs. The one place that knows how a row lies in
// memory (types/tensor.h, RowLayout) and how a tensor wants it.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "base/status.h"
#include "runtime/engine.h"
#include "types/tensor.h"

namespace millrace {

// Of a dynamic input. All rows have the shape of the first, unless the layout has a mask: then the
// first dimension of all is that of the longest, and shorter rows have zeros behind them.
template <class RowAt>
Status GatherDynamic(const RowLayout& layout, std::size_t n, std::size_t count, const RowAt& row_at,
                     Runner& runner) {
  const InputLayout& input = layout.inputs[n];
  const RowTensor first = TensorAt(row_at(0), input);
  std::array<std::int64_t, RowLayout::kMaxRank> shape;
  std::copy_n(first.shape, input.row_shape.size(), shape.begin());
  const std::size_t unit = first.elements / static_cast<std::size_t>(shape[0]);
  if (layout.mask.has_value()) {
    for (std::size_t i = 1; i < count; ++i) {
      shape[0] = std::max(shape[0], TensorAt(row_at(i), input).shape[0]);
    }
  }
  const std::size_t bytes = static_cast<std::size_t>(shape[0]) * unit * ElementBytes(input.type);
  MILLRACE_RETURN_IF_ERROR(
      runner.SetRowShape(n, std::span(shape.data(), input.row_shape.size()), count));
  std::byte* to = runner.Input(n);
  for (std::size_t i = 0; i < count; ++i, to += bytes) {
    const RowTensor tensor = TensorAt(row_at(i), input);
    const std::size_t used = tensor.elements * ElementBytes(input.type);
    std::memcpy(to, tensor.data, used);
    std::memset(to + used, 0, bytes - used);
  }
  return {};
}

// Copies `count` rows, `row_at(i)` being the i-th as a RequestDecoder with `layout` left it, to the
// inputs of `runner`, which then can Run(count). All rows have the shape of the first in every
// dynamic input, or the layout a mask. Fails only as Runner::SetRowShape does.
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
    if (input.dynamic) {
      MILLRACE_RETURN_IF_ERROR(GatherDynamic(layout, n, count, row_at, runner));
      continue;
    }
    std::byte* to = runner.Input(n);
    for (std::size_t i = 0; i < count; ++i, to += input.bytes) {
      std::memcpy(to, row_at(i) + input.offset, input.bytes);
    }
  }
  return {};
}

}  // namespace millrace
