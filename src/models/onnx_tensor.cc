#include "models/onnx_tensor.h"

#include <algorithm>
#include <array>
#include <string>

#include "models/onnx_scan.h"

namespace millrace {
namespace {

namespace field {
constexpr std::uint32_t kDims = 1, kType = 2, kFloats = 4, kInt32s = 5, kStrings = 6, kInt64s = 7,
                        kName = 8, kRaw = 9, kDoubles = 10, kUint64s = 11, kExternal = 13,
                        kLocation = 14;
constexpr std::uint32_t kEntryKey = 1, kEntryValue = 2;
}  // namespace field

constexpr std::uint64_t kString = 8;
constexpr std::uint64_t kComplex64 = 14, kComplex128 = 15;
constexpr std::uint64_t kDataLocationExternal = 1;
// No operator takes more.
constexpr std::size_t kMaxDims = 64;

// Bits of an element, by TensorProto.DataType; 0 where there is no such type.
constexpr std::array<std::uint8_t, 27> kBits = {
    0, 32, 8, 8, 16, 16, 32, 64, 8, 8, 16, 64, 32, 64, 64, 128, 16, 8, 8, 8, 8, 4, 4, 4, 8, 2, 2};

// Numbers of a packed list of varints: each ends with a byte below 0x80.
std::uint64_t CountVarints(std::string_view packed) {
  return static_cast<std::uint64_t>(std::count_if(
      packed.begin(), packed.end(), [](char c) { return static_cast<std::uint8_t>(c) < 0x80; }));
}

std::uint64_t CountListed(const WireReader::Field& part, std::size_t element_bytes) {
  if (part.wire != WireReader::kBytes) return 1;
  return element_bytes == 0 ? CountVarints(part.bytes) : part.bytes.size() / element_bytes;
}

Status Refused(std::string why) { return {StatusCode::kInvalidArgument, std::move(why)}; }

void ReadExternal(std::string_view entry, OnnxTensor* tensor) {
  tensor->is_external = true;
  std::string_view key, value;
  ForEachField(entry, [&](const WireReader::Field& part) {
    if (part.number == field::kEntryKey) key = part.bytes;
    if (part.number == field::kEntryValue) value = part.bytes;
  });
  if (key == "location") tensor->location = value;
}

Status External(const OnnxTensor& tensor) {
  if (tensor.location.find("_ORT_MEM_ADDR_") != std::string_view::npos) {
    return Refused("takes its data from an address in memory, which only a loaded model may");
  }
  return Refused("keeps its data outside of the file, at '" + ShownName(tensor.location) +
                 "'; save the model as one file (onnx.save with save_as_external_data=False)");
}

Status ElementCount(const OnnxTensor& tensor, std::int64_t* count) {
  *count = 1;
  bool fits = true;
  for (const std::int64_t dim : tensor.dims) {
    if (dim < 0) return Refused("has a negative dimension, " + std::to_string(dim));
    fits = fits && !__builtin_mul_overflow(*count, dim, count);
  }
  if (std::find(tensor.dims.begin(), tensor.dims.end(), 0) != tensor.dims.end())
    *count = 0;
  else if (!fits)
    return Refused("has dimensions whose product is too large for 63 bits");
  return {};
}

}  // namespace

Status AppendOnnxDims(const WireReader::Field& part, std::vector<std::int64_t>* dims) {
  const Status many = Refused("has more than " + std::to_string(kMaxDims) + " dimensions");
  if (part.wire == WireReader::kVarint) {
    if (dims->size() >= kMaxDims) return many;
    dims->push_back(static_cast<std::int64_t>(part.value));
    return {};
  }
  WireReader packed(part.bytes);
  for (std::uint64_t value = 0; packed.Varint(&value);) {
    if (dims->size() >= kMaxDims) return many;
    dims->push_back(static_cast<std::int64_t>(value));
  }
  return {};
}

Status ReadOnnxTensor(std::string_view message, OnnxTensor* tensor) {
  WireReader reader(message);
  WireReader::Field part;
  while (reader.Next(&part)) {
    switch (part.number) {
      case field::kDims:
        MILLRACE_RETURN_IF_ERROR(AppendOnnxDims(part, &tensor->dims));
        break;
      case field::kType:
        tensor->type = part.value;
        break;
      case field::kFloats:
        tensor->listed += CountListed(part, sizeof(float));
        break;
      case field::kDoubles:
        tensor->listed += CountListed(part, sizeof(double));
        break;
      case field::kInt32s:
      case field::kInt64s:
      case field::kUint64s:
        tensor->listed += CountListed(part, 0);
        break;
      case field::kStrings:
        ++tensor->listed;
        break;
      case field::kName:
        tensor->name = part.bytes;
        break;
      case field::kRaw:
        tensor->has_raw = true;
        tensor->raw_bytes = part.bytes.size();
        break;
      case field::kExternal:
        ReadExternal(part.bytes, tensor);
        break;
      case field::kLocation:
        tensor->is_external = tensor->is_external || part.value == kDataLocationExternal;
        break;
      default:
        break;
    }
  }
  return reader.good() ? Status::Ok() : Refused("is damaged: a tensor cannot be read");
}

Status DeclaredBytes(const OnnxTensor& tensor, std::int64_t* bytes) {
  if (tensor.type >= kBits.size() || kBits[tensor.type] == 0) {
    return Refused("is of element type " + std::to_string(tensor.type) + ", which there is not");
  }
  std::int64_t count = 0;
  MILLRACE_RETURN_IF_ERROR(ElementCount(tensor, &count));
  std::int64_t bits = 0;
  if (__builtin_mul_overflow(count, std::int64_t{kBits[tensor.type]}, &bits)) {
    return Refused("declares " + std::to_string(count) + " elements, more than any memory holds");
  }
  *bytes = bits / 8 + (bits % 8 == 0 ? 0 : 1);
  return {};
}

Status CheckOnnxTensor(const OnnxTensor& tensor) {
  if (tensor.is_external) return External(tensor);
  std::int64_t bytes = 0;
  MILLRACE_RETURN_IF_ERROR(DeclaredBytes(tensor, &bytes));
  std::int64_t count = 0;
  MILLRACE_RETURN_IF_ERROR(ElementCount(tensor, &count));
  const unsigned bits = kBits[tensor.type];
  if (tensor.has_raw && tensor.type != kString) {
    if (tensor.raw_bytes >= static_cast<std::uint64_t>(bytes)) return {};
    return Refused("declares " + std::to_string(bytes) + " bytes and holds " +
                   std::to_string(tensor.raw_bytes));
  }
  std::uint64_t held = tensor.listed;
  if (tensor.type == kComplex64 || tensor.type == kComplex128) held /= 2;
  if (bits < 8) held *= 8 / bits;
  if (held >= static_cast<std::uint64_t>(count)) return {};
  return Refused("declares " + std::to_string(count) + " elements and holds " +
                 std::to_string(held));
}

}  // namespace millrace
