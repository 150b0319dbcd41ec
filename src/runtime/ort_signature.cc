#include "runtime/ort_signature.h"

#include <onnxruntime_c_api.h>

#include <array>

#include "runtime/aligned_buffer.h"

namespace millrace {
namespace {

struct ElementTypeRow {
  ONNXTensorElementDataType onnx;
  const char* name;
  std::optional<ElementType> element;
};

const std::array<ElementTypeRow, 16> kElementTypes = {{
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, "float", ElementType::kFloat32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, "double", ElementType::kFloat64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, "int8", ElementType::kInt8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, "int16", ElementType::kInt16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, "int32", ElementType::kInt32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, "int64", ElementType::kInt64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, "uint8", ElementType::kUint8},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, "uint16", ElementType::kUint16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, "uint32", ElementType::kUint32},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, "uint64", ElementType::kUint64},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, "bool", ElementType::kBool},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_STRING, "string", ElementType::kString},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, "float16", ElementType::kFloat16},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_BFLOAT16, "bfloat16", std::nullopt},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX64, "complex64", std::nullopt},
    {ONNX_TENSOR_ELEMENT_DATA_TYPE_COMPLEX128, "complex128", std::nullopt},
}};

const ElementTypeRow* FindElementType(ONNXTensorElementDataType type) {
  for (const ElementTypeRow& row : kElementTypes) {
    if (row.onnx == type) return &row;
  }
  return nullptr;
}

std::string ElementName(ONNXTensorElementDataType type) {
  const ElementTypeRow* row = FindElementType(type);
  return row == nullptr ? "type " + std::to_string(static_cast<int>(type)) : row->name;
}

Status ReadTensor(const OrtApi& api, const OrtTensorTypeAndShapeInfo& tensor, OrtValueInfo& value) {
  ONNXTensorElementDataType type = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetTensorElementType(&tensor, &type)));
  const ElementTypeRow* row = FindElementType(type);
  if (row != nullptr) value.element = row->element;
  value.type_text = "tensor(" + ElementName(type) + ")";
  std::size_t rank = 0;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetDimensionsCount(&tensor, &rank)));
  value.shape.resize(rank);
  std::vector<const char*> symbols(rank);
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.GetDimensions(&tensor, value.shape.data(), rank)));
  MILLRACE_RETURN_IF_ERROR(
      TakeOrtStatus(api, api.GetSymbolicDimensions(&tensor, symbols.data(), rank)));
  value.dim_names.resize(rank);
  value.shape_text = "[";
  for (std::size_t i = 0; i < rank; ++i) {
    if (i > 0) value.shape_text += ',';
    if (value.shape[i] >= 0) {
      value.shape_text += std::to_string(value.shape[i]);
    } else {
      value.shape[i] = kDynamicDim;
      if (symbols[i] != nullptr) value.dim_names[i] = symbols[i];
      value.shape_text += symbols[i] == nullptr || *symbols[i] == '\0' ? "?" : symbols[i];
    }
  }
  value.shape_text += ']';
  return {};
}

Result<std::string> TypeText(const OrtApi& api, const OrtTypeInfo& info);

Result<std::string> TypeTextOf(const OrtApi& api, OrtStatus* status, OrtTypeInfo* element) {
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, status));
  const OrtPtr<OrtTypeInfo> owned(element, {api.ReleaseTypeInfo});
  return TypeText(api, *element);
}

Result<std::string> TypeText(const OrtApi& api, const OrtTypeInfo& info) {
  ONNXType type = ONNX_TYPE_UNKNOWN;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetOnnxTypeFromTypeInfo(&info, &type)));
  OrtTypeInfo* element = nullptr;
  if (type == ONNX_TYPE_TENSOR) {
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CastTypeInfoToTensorInfo(&info, &tensor)));
    OrtValueInfo value;
    MILLRACE_RETURN_IF_ERROR(ReadTensor(api, *tensor, value));
    return value.type_text;
  }
  if (type == ONNX_TYPE_SEQUENCE) {
    const OrtSequenceTypeInfo* sequence = nullptr;
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, api.CastTypeInfoToSequenceTypeInfo(&info, &sequence)));
    OrtStatus* status = api.GetSequenceElementType(sequence, &element);
    Result<std::string> inner = TypeTextOf(api, status, element);
    if (!inner.ok()) return inner;
    return "seq(" + *inner + ")";
  }
  if (type == ONNX_TYPE_MAP) {
    const OrtMapTypeInfo* map = nullptr;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CastTypeInfoToMapTypeInfo(&info, &map)));
    ONNXTensorElementDataType key = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetMapKeyType(map, &key)));
    OrtStatus* status = api.GetMapValueType(map, &element);
    Result<std::string> inner = TypeTextOf(api, status, element);
    if (!inner.ok()) return inner;
    return "map(" + ElementName(key) + "," + *inner + ")";
  }
  if (type == ONNX_TYPE_OPTIONAL) return std::string("optional");
  return std::string(type == ONNX_TYPE_SPARSETENSOR ? "sparse tensor" : "opaque");
}

Result<OrtValueInfo> ReadValue(const OrtApi& api, std::string name, const OrtTypeInfo& info) {
  OrtValueInfo value;
  value.name = std::move(name);
  ONNXType type = ONNX_TYPE_UNKNOWN;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.GetOnnxTypeFromTypeInfo(&info, &type)));
  if (type == ONNX_TYPE_TENSOR) {
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.CastTypeInfoToTensorInfo(&info, &tensor)));
    MILLRACE_RETURN_IF_ERROR(ReadTensor(api, *tensor, value));
    return value;
  }
  value.kind = type == ONNX_TYPE_SEQUENCE || type == ONNX_TYPE_MAP ? OrtValueKind::kSequenceOrMap
                                                                   : OrtValueKind::kOther;
  Result<std::string> text = TypeText(api, info);
  if (!text.ok()) return text.status();
  value.type_text = *text;
  return value;
}

using CountOf = OrtStatus* (*)(const OrtSession*, std::size_t*);
using NameOf = OrtStatus* (*)(const OrtSession*, std::size_t, OrtAllocator*, char**);
using TypeOf = OrtStatus* (*)(const OrtSession*, std::size_t, OrtTypeInfo**);

Result<std::vector<OrtValueInfo>> ReadValues(const OrtProcess& process, const OrtSession& session,
                                             CountOf count_of, NameOf name_of, TypeOf type_of) {
  const OrtApi& api = *process.api;
  std::vector<OrtValueInfo> values;
  std::size_t count = 0;
  MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, count_of(&session, &count)));
  for (std::size_t i = 0; i < count; ++i) {
    char* raw_name = nullptr;
    MILLRACE_RETURN_IF_ERROR(
        TakeOrtStatus(api, name_of(&session, i, process.allocator, &raw_name)));
    std::string name = raw_name;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, api.AllocatorFree(process.allocator, raw_name)));
    OrtTypeInfo* raw_info = nullptr;
    MILLRACE_RETURN_IF_ERROR(TakeOrtStatus(api, type_of(&session, i, &raw_info)));
    const OrtPtr<OrtTypeInfo> info(raw_info, {api.ReleaseTypeInfo});
    Result<OrtValueInfo> value = ReadValue(api, std::move(name), *info);
    if (!value.ok()) return value.status();
    values.push_back(std::move(value).value());
  }
  return values;
}

std::string Described(const char* role, const OrtValueInfo& value) {
  return std::string(role) + " '" + FirstLine(value.name) + "' is " + value.type_text +
         (value.kind == OrtValueKind::kTensor ? " of shape " + value.shape_text : "");
}

Status Refused(const char* role, const OrtValueInfo& value, const std::string& why) {
  return {StatusCode::kUnsupported, Described(role, value) + ": " + why};
}

Status CheckInput(const OrtValueInfo& input) {
  if (input.kind != OrtValueKind::kTensor) {
    return Refused("input", input, "inputs other than tensors are not offered");
  }
  if (!input.element) {
    return Refused("input", input,
                   "inputs of this type come in a later version; this one takes "
                   "floating point numbers, integers, bool and string");
  }
  if (input.shape.empty()) {
    return Refused("input", input,
                   "it declares no batch dimension; export it with a first dimension for the rows");
  }
  if (input.shape[0] == 0) return Refused("input", input, "a batch dimension of 0 holds no row");
  if (input.shape.size() > 1 + RowLayout::kMaxRank) {
    return Refused("input", input,
                   "more than " + std::to_string(RowLayout::kMaxRank) +
                       " dimensions besides the batch are not offered");
  }
  std::size_t bytes = ElementBytes(*input.element);
  for (std::size_t i = 1; i < input.shape.size(); ++i) {
    if (input.shape[i] == kDynamicDim) continue;
    const auto dim = static_cast<std::size_t>(input.shape[i]);
    if (dim == 0 || dim > kMaxTensorBytes / bytes) {
      return Refused("input", input,
                     dim == 0 ? "a row has no elements" : "a row is larger than 1 GiB");
    }
    bytes *= dim;
  }
  return {};
}

Status CheckOutput(const OrtValueInfo& output, std::int64_t fixed_batch) {
  if (output.kind == OrtValueKind::kSequenceOrMap) {
    return Refused("output", output,
                   "sequences and maps come in a later version; a classifier is exported without "
                   "them by zipmap=False (skl2onnx: options={'zipmap': False})");
  }
  if (output.kind != OrtValueKind::kTensor) {
    return Refused("output", output, "outputs other than tensors are not offered");
  }
  if (!output.element) {
    return Refused(
        "output", output,
        "outputs of this type come in a later version; this one gives numbers, bool and strings");
  }
  const std::int64_t batch = fixed_batch == 0 ? kDynamicDim : fixed_batch;
  if (!output.shape.empty() && output.shape[0] != batch && output.shape[0] != kDynamicDim) {
    return Refused("output", output,
                   "its first dimension is not the batch, so its rows cannot be told apart; "
                   "such outputs come in a later version");
  }
  return {};
}

}  // namespace

Result<OrtSignatureInfo> ReadOrtValues(const OrtProcess& process, const OrtSession& session) {
  const OrtApi& api = *process.api;
  OrtSignatureInfo info;
  auto inputs = ReadValues(process, session, api.SessionGetInputCount, api.SessionGetInputName,
                           api.SessionGetInputTypeInfo);
  if (!inputs.ok()) return inputs.status();
  auto outputs = ReadValues(process, session, api.SessionGetOutputCount, api.SessionGetOutputName,
                            api.SessionGetOutputTypeInfo);
  if (!outputs.ok()) return outputs.status();
  info.inputs = std::move(inputs).value();
  info.outputs = std::move(outputs).value();
  return info;
}

Result<ModelSignature> CheckSignature(const OrtSignatureInfo& info) {
  if (info.inputs.empty()) return Status(StatusCode::kUnsupported, "it has no inputs");
  if (info.inputs.size() > RowLayout::kMaxInputs) {
    return Status(StatusCode::kUnsupported,
                  "it has " + std::to_string(info.inputs.size()) + " inputs, at most " +
                      std::to_string(RowLayout::kMaxInputs) + " are offered");
  }
  ModelSignature signature;
  for (const OrtValueInfo& input : info.inputs) {
    MILLRACE_RETURN_IF_ERROR(CheckInput(input));
    const std::int64_t batch = input.shape[0] == kDynamicDim ? 0 : input.shape[0];
    if (signature.inputs.empty()) signature.fixed_batch = batch;
    if (batch != signature.fixed_batch) {
      return Refused("input", input,
                     "its first dimension is not the same as that of input '" +
                         FirstLine(signature.inputs[0].name) +
                         "': it has to be the batch in all of them");
    }
    signature.inputs.push_back({input.name, *input.element, input.shape, {}, input.dim_names});
  }
  if (info.outputs.empty()) return Status(StatusCode::kUnsupported, "it has no outputs");
  for (const OrtValueInfo& output : info.outputs) {
    MILLRACE_RETURN_IF_ERROR(CheckOutput(output, signature.fixed_batch));
    signature.outputs.push_back({output.name, *output.element, output.shape});
  }
  return signature;
}

std::optional<std::size_t> StaticRowElements(const TensorSpec& spec) {
  // Strings are the library's to allocate.
  if (spec.shape.empty() || spec.type == ElementType::kString) return std::nullopt;
  std::size_t elements = 1;
  for (std::size_t i = 1; i < spec.shape.size(); ++i) {
    if (spec.shape[i] <= 0) return std::nullopt;
    const auto dim = static_cast<std::size_t>(spec.shape[i]);
    if (dim > kMaxTensorBytes / elements) return std::nullopt;
    elements *= dim;
  }
  return elements;
}

}  // namespace millrace
