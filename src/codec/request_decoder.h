// RequestDecoder: the bytes of one record to an InferenceRequest and one row of its model's input.
//
// Decoding is in two steps because the row's type and length are the model's: Begin reads the
// headers, finds which model is asked for and remembers the record; the caller looks the model up;
// Finish parses the value once, in whatever order its keys come, and writes the input numbers
// straight into `row`. Nothing is allocated per record once the scratch has grown.
//
// Validation is exact: the whole value is well-formed JSON (RFC 8259) in UTF-8, no duplicate keys,
// nesting at most kMaxJsonDepth, nothing behind it. On failure the row's content is undefined and
// the failure's detail says what was wrong and where.
// One decoder per thread. Views in the request borrow from the record and from `scratch`.
#pragma once

#include <memory>
#include <optional>

#include "codec/options.h"
#include "types/failure.h"
#include "types/record.h"
#include "types/request.h"
#include "types/tensor.h"

namespace millrace {

// Strings that had to be unescaped; stable addresses, cleared together with the RecordBatch.
class StringScratch;

class RequestDecoder {
 public:
  explicit RequestDecoder(const CodecLimits& limits);
  ~RequestDecoder();
  RequestDecoder(const RequestDecoder&) = delete;
  RequestDecoder& operator=(const RequestDecoder&) = delete;

  // Fills the routing fields: model_id (header, else value), model_version (value), tenant_id and
  // request_id where headers or the key have them, deadline. The rest comes with Finish.
  // On failure the fields found so far stay (a dead letter carries them).
  std::optional<Failure> Begin(const Record& record, StringScratch& scratch,
                               InferenceRequest* request);

  // REQUIRES: Begin succeeded for the same record just before; `row` has layout.bytes writable
  // bytes, aligned for layout.type.
  std::optional<Failure> Finish(const Record& record, const RowLayout& layout,
                                StringScratch& scratch, InferenceRequest* request, std::byte* row);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
