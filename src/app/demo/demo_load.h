// DemoLoad: the demo's requests, made from the held-out rows of two real data sets.
//
// Deterministic for a seed: request i always has the same model, tenant, row and, for about one in
// a hundred, the same way of being malformed. The truth about request i is therefore known without
// being stored. Thread-safe once made.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/byte_buffer.h"
#include "base/clock.h"
#include "base/status.h"
#include "types/record.h"

namespace millrace {

// Ways of the demo's malformed requests.
enum class Malformed : std::uint8_t {
  kNone,
  kTooFewNumbers,
  kText,
  kNotJson,
  kUnknownModel,
  kNotANumber,
};

struct DemoModel {
  std::string id;
  std::string data_set;
  std::string task;  // For the report.
};

struct DemoRequest {
  std::size_t model = 0;  // Index of DemoLoad::models().
  std::size_t row = 0;
  int tenant = 0;
  Malformed malformed = Malformed::kNone;
};

class DemoLoad {
 public:
  static constexpr int kTenants = 20;
  static constexpr std::string_view kIdPrefix = "demo-";

  // kInternal when the data inside the binary cannot be read.
  static Result<DemoLoad> Make(std::uint64_t seed);

  const std::vector<DemoModel>& models() const { return models_; }
  DemoRequest Describe(std::uint64_t index) const;
  // True class of the request's row.
  int Label(const DemoRequest& request) const;

  // Appends key, headers and value of request `index`; spans are of `out`.
  struct Spans {
    ByteSpan key;
    ByteSpan headers;
    ByteSpan value;
  };
  Spans Append(std::uint64_t index, WallMillis now, ByteBuffer& out) const;

  // The index in a request id of this load.
  static std::optional<std::uint64_t> IndexOf(std::string_view request_id);

 private:
  struct DataSet {
    std::string name;
    std::vector<int> labels;
    std::vector<std::string> rows;  // "1.5,2,3": the numbers as JSON wants them.
  };
  static Result<DataSet> Parse(const std::string& name, std::string_view csv);

  std::uint64_t seed_ = 0;
  std::vector<DemoModel> models_;
  std::vector<DataSet> sets_;
  std::vector<std::size_t> set_of_model_;
};

}  // namespace millrace
