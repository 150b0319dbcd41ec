// A tensor of an ONNX file: what it declares, and whether the file holds as much.
//
// Part of the scan (onnx_scan.h): works on protobuf's wire format, borrows the bytes, and is safe
// for any. Pure; any thread.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

#include "base/protobuf_wire.h"
#include "base/status.h"

namespace millrace {

struct OnnxTensor {
  std::string_view name;
  std::vector<std::int64_t> dims;
  std::uint64_t type = 0;  // TensorProto.DataType.
  bool has_raw = false;
  std::uint64_t raw_bytes = 0;
  std::uint64_t listed = 0;  // Elements of float_data and the like.
  bool is_external = false;
  std::string_view location;  // Of what is external.
};

// kInvalidArgument when the message is damaged.
Status ReadOnnxTensor(std::string_view message, OnnxTensor* tensor);

// Adds the dimensions of a field "dims", packed or not.
Status AppendOnnxDims(const WireReader::Field& part, std::vector<std::int64_t>* dims);

// What its dimensions and its type come to: an error for negative ones and for more than fit into
// 63 bits. A string counts as one byte.
Status DeclaredBytes(const OnnxTensor& tensor, std::int64_t* bytes);

// That its data is in the file, all of it.
Status CheckOnnxTensor(const OnnxTensor& tensor);

}  // namespace millrace
