#include "runtime/onnx_zipmap.h"

#include <algorithm>
#include <cstdint>
#include <set>

#include "base/protobuf_wire.h"

namespace millrace {
namespace {

// Numbers of the fields of onnx.proto.
namespace field {
constexpr std::uint32_t kModelGraph = 7, kModelOpset = 8;
constexpr std::uint32_t kOpsetDomain = 1, kOpsetVersion = 2;
constexpr std::uint32_t kGraphNode = 1, kGraphOutput = 12;
constexpr std::uint32_t kNodeInput = 1, kNodeOutput = 2, kNodeName = 3, kNodeOp = 4,
                        kNodeAttribute = 5, kNodeDomain = 7;
constexpr std::uint32_t kAttributeName = 1, kAttributeInts = 8, kAttributeStrings = 9;
constexpr std::uint32_t kValueName = 1, kValueType = 2;
constexpr std::uint32_t kTypeTensor = 1;
constexpr std::uint32_t kTensorElement = 1, kTensorShape = 2;
constexpr std::uint32_t kShapeDim = 1;
constexpr std::uint32_t kDimValue = 1, kDimName = 2;
}  // namespace field

constexpr std::uint64_t kElementFloat = 1;
// An Identity of any opset will do; this one is for models that name none.
constexpr std::uint64_t kOpset = 13;

using Wire = WireReader::Wire;

struct Node {
  std::string_view op, domain, name, output;
  std::vector<std::string_view> inputs;
  std::vector<std::string> labels;
};

bool ReadLabels(std::string_view attribute, std::vector<std::string>* labels) {
  std::string_view name;
  std::vector<std::string> found;
  bool good = ForEachField(attribute, [&](const WireReader::Field& part) {
    if (part.number == field::kAttributeName) name = part.bytes;
    if (part.number == field::kAttributeStrings) found.emplace_back(part.bytes);
    if (part.number != field::kAttributeInts) return;
    if (part.wire == Wire::kVarint) {
      found.push_back(std::to_string(static_cast<std::int64_t>(part.value)));
      return;
    }
    WireReader packed(part.bytes);
    for (std::uint64_t value = 0; packed.Varint(&value);) {
      found.push_back(std::to_string(static_cast<std::int64_t>(value)));
    }
  });
  if (name == "classlabels_int64s" || name == "classlabels_strings") *labels = std::move(found);
  return good;
}

bool ReadNode(std::string_view message, Node* node) {
  bool good = true;
  return ForEachField(message,
                      [&](const WireReader::Field& part) {
                        if (part.number == field::kNodeOp) node->op = part.bytes;
                        if (part.number == field::kNodeDomain) node->domain = part.bytes;
                        if (part.number == field::kNodeName) node->name = part.bytes;
                        if (part.number == field::kNodeInput) node->inputs.push_back(part.bytes);
                        if (part.number == field::kNodeOutput) node->output = part.bytes;
                        if (part.number == field::kNodeAttribute) {
                          good = good && ReadLabels(part.bytes, &node->labels);
                        }
                      }) &&
         good;
}

bool IsZipMap(const Node& node) {
  return node.op == "ZipMap" && node.domain == "ai.onnx.ml" && node.inputs.size() == 1;
}

const PlainModel::Output* Find(const std::vector<PlainModel::Output>& outputs,
                               std::string_view name) {
  const auto found = std::find_if(outputs.begin(), outputs.end(),
                                  [name](const auto& output) { return output.name == name; });
  return found == outputs.end() ? nullptr : &*found;
}

std::string IdentityOf(const Node& zipmap) {
  std::string node;
  AppendWireBytes(field::kNodeInput, zipmap.inputs[0], &node);
  AppendWireBytes(field::kNodeOutput, zipmap.output, &node);
  AppendWireBytes(field::kNodeName, zipmap.name, &node);
  AppendWireBytes(field::kNodeOp, "Identity", &node);
  return node;
}

// float [N, as many as there are labels]
std::string TensorOutput(const PlainModel::Output& output) {
  std::string rows, columns, shape, tensor, type, value;
  AppendWireBytes(field::kDimName, "N", &rows);
  AppendWireNumber(field::kDimValue, output.labels.size(), &columns);
  AppendWireBytes(field::kShapeDim, rows, &shape);
  AppendWireBytes(field::kShapeDim, columns, &shape);
  AppendWireNumber(field::kTensorElement, kElementFloat, &tensor);
  AppendWireBytes(field::kTensorShape, shape, &tensor);
  AppendWireBytes(field::kTypeTensor, tensor, &type);
  AppendWireBytes(field::kValueName, output.name, &value);
  AppendWireBytes(field::kValueType, type, &value);
  return value;
}

std::string_view NameOfValue(std::string_view value) {
  std::string_view name;
  ForEachField(value, [&name](const WireReader::Field& part) {
    if (part.number == field::kValueName) name = part.bytes;
  });
  return name;
}

// Those that end the graph: what a map is needed for inside of it stays a map.
bool FindZipMaps(std::string_view graph, std::vector<PlainModel::Output>* outputs) {
  std::set<std::string_view> given;     // The graph's outputs.
  std::set<std::string_view> consumed;  // By its nodes.
  bool good_nodes = true;
  const bool good = ForEachField(graph, [&](const WireReader::Field& part) {
    if (part.number == field::kGraphOutput) given.insert(NameOfValue(part.bytes));
    if (part.number != field::kGraphNode) return;
    Node node;
    good_nodes = good_nodes && ReadNode(part.bytes, &node);
    consumed.insert(node.inputs.begin(), node.inputs.end());
    if (good_nodes && IsZipMap(node)) {
      outputs->push_back({std::string(node.output), std::move(node.labels)});
    }
  });
  // Without labels nobody knows how many columns there are; such a ZipMap is none of a classifier.
  std::erase_if(*outputs, [&](const PlainModel::Output& output) {
    return output.labels.empty() || !given.contains(output.name) || consumed.contains(output.name);
  });
  return good && good_nodes;
}

std::string PlainGraph(std::string_view graph, const std::vector<PlainModel::Output>& outputs) {
  std::string plain;
  plain.reserve(graph.size() + 256);
  ForEachField(graph, [&](const WireReader::Field& part) {
    if (part.number == field::kGraphNode) {
      Node node;
      if (ReadNode(part.bytes, &node) && IsZipMap(node) && Find(outputs, node.output) != nullptr) {
        AppendWireBytes(field::kGraphNode, IdentityOf(node), &plain);
        return;
      }
    }
    if (part.number == field::kGraphOutput) {
      if (const auto* output = Find(outputs, NameOfValue(part.bytes))) {
        AppendWireBytes(field::kGraphOutput, TensorOutput(*output), &plain);
        return;
      }
    }
    plain.append(part.whole);
  });
  return plain;
}

}  // namespace

std::optional<PlainModel> WithoutZipMap(std::string_view model) {
  std::string_view graph;
  int graphs = 0;
  bool default_opset = false;
  const bool good = ForEachField(model, [&](const WireReader::Field& part) {
    if (part.number == field::kModelGraph && part.wire == Wire::kBytes) {
      graph = part.bytes;
      ++graphs;
    }
    if (part.number != field::kModelOpset) return;
    std::string_view domain;
    ForEachField(part.bytes, [&domain](const WireReader::Field& opset) {
      if (opset.number == field::kOpsetDomain) domain = opset.bytes;
    });
    default_opset = default_opset || domain.empty() || domain == "ai.onnx";
  });
  PlainModel plain;
  if (!good || graphs != 1 || !FindZipMaps(graph, &plain.outputs)) return std::nullopt;
  if (plain.outputs.empty()) return std::nullopt;
  plain.bytes.reserve(model.size() + 256);
  ForEachField(model, [&](const WireReader::Field& part) {
    if (part.number == field::kModelGraph) {
      AppendWireBytes(field::kModelGraph, PlainGraph(part.bytes, plain.outputs), &plain.bytes);
    } else {
      plain.bytes.append(part.whole);
    }
  });
  if (!default_opset) {
    std::string opset;
    AppendWireNumber(field::kOpsetVersion, kOpset, &opset);
    AppendWireBytes(field::kModelOpset, opset, &plain.bytes);
  }
  return plain;
}

}  // namespace millrace
