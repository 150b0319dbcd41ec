// MappedRow: the fields of an OutputMapping as JSON, from the outputs of a finished run.
//
// One per encoder. Begin looks at what all rows of a batch share; after it nothing allocates but
// the text of a failure. Private to the codec.
#pragma once

#include <cstddef>
#include <optional>
#include <span>

#include "codec/output_mapping.h"
#include "types/failure.h"
#include "types/tensor.h"

namespace millrace {

class MappedRow {
 public:
  // Both must stay until the batch's last row. REQUIRES: `outputs` are those of the signature that
  // the mapping was bound to.
  void Begin(const OutputMapping& mapping, std::span<const OutputView> outputs);

  // Values in a row, at most.
  std::size_t values() const { return values_; }
  // Bytes that Write writes, at most, but for what is in strings.
  std::size_t bound() const { return bound_; }
  // Whether a row can be one that Check refuses.
  bool must_check() const { return must_check_; }
  // Whether the fields of a row can be made, and in how many bytes of strings at most, not escaped.
  std::optional<Failure> Check(std::size_t row, std::size_t max_bytes, std::size_t* bytes) const;
  // `"name":value` of each field, commas between. REQUIRES: Check, where must_check, found nothing.
  char* Write(std::size_t row, char* out, bool* non_finite) const;

 private:
  void BeginField(const MappedField& field, const OutputView& view);
  std::optional<Failure> CheckField(const MappedField& field, std::size_t row,
                                    std::size_t max_bytes, std::size_t* bytes) const;

  const OutputMapping* mapping_ = nullptr;
  std::span<const OutputView> outputs_;
  std::size_t values_ = 0;
  std::size_t bound_ = 0;
  bool must_check_ = false;
  std::optional<Failure> misfit_;  // Of every row: an output is not of the size a field needs.
};

}  // namespace millrace
