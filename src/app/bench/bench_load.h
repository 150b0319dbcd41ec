// BenchLoad: requests of one model with random inputs, published as fast as possible or on time.
//
// The same for a seed. Values have at most six digits, as measurements do: 30 of them make a
// request of about 450 bytes.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "base/byte_buffer.h"
#include "base/status.h"
#include "transport/log.h"
#include "types/tensor.h"

namespace millrace {

class BenchLoad {
 public:
  BenchLoad(std::string model_id, const RowLayout& layout, int tenants, std::uint64_t seed);

  // Appends request `index` as one record; views are of `bytes` until it grows.
  void Append(std::uint64_t index, ByteBuffer& bytes);
  // Publishes requests [from, until) in batches.
  Status Publish(Producer& producer, const std::string& topic, std::uint64_t from,
                 std::uint64_t until);
  // The index in a request id of this load; -1 when it is none.
  static std::int64_t IndexOf(std::string_view request_id);

 private:
  struct Spans {
    std::size_t key = 0, key_size = 0, headers = 0, headers_size = 0, value = 0, value_size = 0;
  };
  void AppendNested(const InputLayout& input, std::size_t dim, ByteBuffer& bytes);
  void AppendNumber(ElementType type, ByteBuffer& bytes);
  void AppendInputs(ByteBuffer& bytes);

  const std::string model_id_;
  const RowLayout layout_;
  const int tenants_;
  std::mt19937_64 random_;
  ByteBuffer bytes_;
  std::vector<Spans> spans_;
  std::vector<ProducerRecord> records_;
};

}  // namespace millrace
