// Outcomes to bytes: results and dead letters, without a DOM and without a second copy.
//
// A ResultEncoder is set up once for a finished batch (BeginBatch: the time text and whatever the
// rows share is made once), then called per row. It appends key, headers and value to the chunk and
// returns the OutputRecord naming the three spans. One encoder per thread. Numbers are the shortest
// text that reads back to the same value.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/clock.h"
#include "codec/options.h"
#include "types/failure.h"
#include "types/record.h"
#include "types/request.h"
#include "types/tensor.h"

namespace millrace {

struct OutputMapping;

// Where a record came from; part of every outcome.
struct RecordOrigin {
  std::string_view topic;
  std::int32_t partition = 0;
  const Record* record = nullptr;
};

class ResultEncoder {
 public:
  explicit ResultEncoder(const CodecLimits& limits);
  ~ResultEncoder();
  ResultEncoder(const ResultEncoder&) = delete;
  ResultEncoder& operator=(const ResultEncoder&) = delete;

  // `batch_rows`: rows that ran together. `now`: when the run ended; it becomes inferred_at and the
  // record timestamp. `mapping`: what is made of the outputs; null: they are written as they are.
  // `outputs`, `mapping` and `model` must stay until the last EncodeRow of the batch.
  void BeginBatch(const ModelRef& model, std::span<const OutputView> outputs,
                  std::int32_t batch_rows, WallMillis now, const OutputMapping* mapping = nullptr);

  // The same for rows that were not run because their time had passed: results with status
  // "expired", without output and the model's digest, and with `now` as expired_at.
  void BeginExpired(const ModelRef& model, WallMillis now);

  // Result of row `row` of the outputs, or a failure with nothing appended: output_too_large, or
  // inference_error for outputs that cannot be written as they are or as the mapping has it.
  // `latency`: from poll to now. On success fills `out`; `chunk` must be the same for `out`'s life.
  std::optional<Failure> EncodeRow(const InferenceRequest& request, const RecordOrigin& origin,
                                   std::size_t row, Micros latency, OutputChunk& chunk,
                                   OutputRecord* out);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

struct DeadLetterContext {
  std::string_view consumer_group;
  std::string_view model_id;       // What is known; may be empty.
  std::string_view model_version;  // The version that ran, if any.
  std::string_view tenant_id;      // Empty when unknown: the original key is the key then.
  std::int32_t attempts = 1;       // Of this run; those of earlier ones are the record's to tell.
  WallMillis now = 0;
};

// Dead letter of `origin`'s record: original value bytes and headers, plus the contract's headers
// (replacing those of an earlier failure, and counting `attempts` on from it) and their
// __connect.errors.* twins. The request's own model_id and tenant_id headers stay, before all of
// ours, when they say what `context` does or it knows nothing better. Headers of a record are
// kept whole, whatever their size: ours add at most about 6 KiB, mostly the detail and the key. A
// record without value gets an empty one and the header original_value_null; one without key has a
// null original_key.
void EncodeDeadLetter(const RecordOrigin& origin, const Failure& failure,
                      const DeadLetterContext& context, OutputChunk& chunk, OutputRecord* out);

// "2026-11-21T07:15:27.123Z". Writes exactly kRfc3339MillisBytes bytes.
inline constexpr std::size_t kRfc3339MillisBytes = 24;
void FormatRfc3339Millis(WallMillis time, char* out);
// Any RFC 3339 date-time (offset, fraction); nothing when it is none.
std::optional<WallMillis> ParseRfc3339(std::string_view text);

}  // namespace millrace
