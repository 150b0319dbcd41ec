// RecordReader: the few fields of a request or a result that commands show, match and count.
//
// Lenient and quick: it looks for the names it knows among the top-level members, takes what has
// the right type and leaves the rest. It does not validate; RequestDecoder does. Values must be
// followed by kReadablePadding readable bytes, as those of a RecordBatch are. Views live until the
// next call or as long as the value, whichever ends first. One reader per thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string_view>

namespace millrace {

struct RequestFields {
  std::string_view request_id;  // Empty when absent or not a string; likewise below.
  std::string_view tenant_id;
  std::string_view model_id;
};

struct ResultFields {
  std::string_view request_id;
  std::string_view tenant_id;
  std::string_view model_id;
  std::string_view model_version;
  std::string_view status;
  std::string_view inferred_at;
  std::string_view output;  // JSON text of `output`, else of `outputs`.
  double latency_ms = -1;   // Negative when absent.
  std::int64_t batch_size = 0;
};

class RecordReader {
 public:
  RecordReader();
  ~RecordReader();
  RecordReader(const RecordReader&) = delete;
  RecordReader& operator=(const RecordReader&) = delete;

  // False when `value` is no JSON object or breaks off; the fields found so far stay.
  bool ReadRequest(std::string_view value, RequestFields* fields);
  bool ReadResult(std::string_view value, ResultFields* fields);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace millrace
