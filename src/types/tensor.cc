#include "types/tensor.h"

namespace millrace {

std::size_t ElementBytes(ElementType type) {
  switch (type) {
    case ElementType::kBool:
    case ElementType::kInt8:
    case ElementType::kUint8:
      return 1;
    case ElementType::kInt16:
    case ElementType::kUint16:
      return 2;
    case ElementType::kFloat32:
    case ElementType::kInt32:
    case ElementType::kUint32:
      return 4;
    case ElementType::kFloat64:
    case ElementType::kInt64:
    case ElementType::kUint64:
      return 8;
  }
  return 0;
}

std::string_view ElementTypeName(ElementType type) {
  switch (type) {
    case ElementType::kFloat32:
      return "FP32";
    case ElementType::kFloat64:
      return "FP64";
    case ElementType::kInt32:
      return "INT32";
    case ElementType::kInt64:
      return "INT64";
    case ElementType::kInt8:
      return "INT8";
    case ElementType::kUint8:
      return "UINT8";
    case ElementType::kInt16:
      return "INT16";
    case ElementType::kUint16:
      return "UINT16";
    case ElementType::kUint32:
      return "UINT32";
    case ElementType::kUint64:
      return "UINT64";
    case ElementType::kBool:
      return "BOOL";
  }
  return "?";
}

std::string ShapeText(const std::vector<std::int64_t>& shape) {
  std::string text = "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    if (i > 0) text += ',';
    text += shape[i] == kDynamicDim ? std::string("N") : std::to_string(shape[i]);
  }
  return text + "]";
}

}  // namespace millrace
