// RequestDecoder: the bytes of one record to an InferenceRequest and one row of its model's input.
//
// Decoding is in two steps because the row's type and length are the model's. Begin reads headers
// and key and finds which model is asked for; where the header model_id is present, as the contract
// wants, it does not touch the value. The caller looks the model up. Finish parses the value once,
// in whatever order its keys come, and writes the input numbers straight into `row`. Nothing is
// allocated for a good record once decoder and scratch have grown.
//
// Validation is exact: the whole value is well-formed JSON (RFC 8259) in UTF-8, no duplicate keys
// at any level, nesting at most kMaxJsonDepth, nothing behind it. A value that is well-formed but
// not acceptable is still read to its end, so that the request carries all ids the dead letter
// wants. On failure the row's content is undefined and the detail says what was wrong and where.
//
// A field that is given both as header and in the value must be the same in both. An empty or null
// header counts as absent, and so does a null for an optional field of the value.
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

  // Fills what headers and key say: model_id, request_id, tenant_id, deadline. Without a header
  // model_id the value is read for its fields as well, model_version among them, all but the input.
  // On failure the fields found so far stay (a dead letter carries them).
  std::optional<Failure> Begin(const Record& record, StringScratch& scratch,
                               InferenceRequest* request);

  // Fills all of `request`, and `row` for the model of `layout`. Whether it succeeds or fails,
  // `request->model_version` may now name another version than the caller chose for `layout`: then
  // its answer does not count, and the caller calls Finish again with that version's layout.
  // REQUIRES: Begin succeeded for the same record and request just before; `row` has layout.bytes
  // writable bytes, aligned to RowLayout::kAlignment. Strings in it borrow as the request does.
  std::optional<Failure> Finish(const Record& record, const RowLayout& layout,
                                StringScratch& scratch, InferenceRequest* request, std::byte* row);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
