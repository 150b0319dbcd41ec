#include "models/onnx_scan.h"

#include <algorithm>
#include <array>
#include <map>
#include <set>
#include <tuple>
#include <utility>

#include "base/protobuf_wire.h"
#include "models/onnx_tensor.h"

namespace millrace {
namespace {

// Numbers of the fields of onnx.proto.
namespace field {
constexpr std::uint32_t kModelGraph = 7, kModelFunction = 25;
constexpr std::uint32_t kGraphNode = 1, kGraphInitializer = 5, kGraphSparse = 15;
constexpr std::uint32_t kNodeName = 3, kNodeOp = 4, kNodeAttribute = 5, kNodeDomain = 7,
                        kNodeOverload = 8;
constexpr std::uint32_t kAttributeName = 1, kAttributeTensor = 5, kAttributeGraph = 6,
                        kAttributeTensors = 10, kAttributeGraphs = 11, kAttributeSparse = 22,
                        kAttributeSparses = 23;
constexpr std::uint32_t kFunctionName = 1, kFunctionNode = 7, kFunctionDomain = 10,
                        kFunctionAttribute = 11, kFunctionOverload = 13;
}  // namespace field

constexpr std::array<std::string_view, 3> kKnownDomains = {"", "ai.onnx.ml", "com.microsoft"};
// More than any exporter writes.
constexpr std::size_t kMaxFunctions = 10'000;
constexpr std::size_t kMaxShownBytes = 64;

Status Refused(std::string why) { return {StatusCode::kInvalidArgument, std::move(why)}; }

Status Damaged(std::string_view where) {
  return Refused("is no ONNX model, or was cut short: " + std::string(where) + " cannot be read");
}

// Domain, name and overload: what a node calls, and what a function is called.
using Callee = std::tuple<std::string_view, std::string_view, std::string_view>;

Callee CalleeOf(std::string_view domain, std::string_view name, std::string_view overload) {
  return {domain == "ai.onnx" ? "" : domain, name, overload};
}

// The nodes of the main graph or of a function, those of its subgraphs included.
struct Body {
  std::string where;
  std::int64_t nodes = 0;
  std::map<Callee, std::int64_t> calls = {};
};

class Scan {
 public:
  Scan(const OnnxLimits& limits, OnnxFacts* facts) : limits_(limits), facts_(facts) {}

  Status Model(std::string_view model);

 private:
  Status Graph(std::string_view graph, int depth, Body* body);
  Status Node(std::string_view node, int depth, Body* body);
  Status Attribute(std::string_view attribute, int depth, Body* body);
  Status Function(std::string_view function);
  Status Tensor(std::string_view tensor, const char* what);
  Status Sparse(std::string_view sparse);
  // That every call is of a known operator or a function of the model's.
  Status CheckCalls(const Body& body) const;
  // Nodes of `body` once the functions are written out where they are called.
  Status Expand(const Body& body, int depth, std::int64_t* nodes);
  bool Allowed(std::string_view domain) const;

  const OnnxLimits& limits_;
  OnnxFacts* const facts_;
  Body main_{.where = "the graph"};
  std::map<Callee, Body> functions_;
  std::map<const Body*, std::int64_t> expanded_;
  std::set<const Body*> open_;  // On the way from the main graph to where Expand is.
};

// Visits the fields of `message` until one is refused.
template <class F>
Status Visit(std::string_view message, std::string_view where, F visit) {
  WireReader reader(message);
  WireReader::Field part;
  while (reader.Next(&part)) MILLRACE_RETURN_IF_ERROR(visit(part));
  return reader.good() ? Status::Ok() : Damaged(where);
}

bool IsMessage(const WireReader::Field& part) { return part.wire == WireReader::kBytes; }

Status Scan::Model(std::string_view model) {
  int graphs = 0;
  MILLRACE_RETURN_IF_ERROR(Visit(model, "the file", [&](const WireReader::Field& part) -> Status {
    if (part.number == field::kModelFunction && IsMessage(part)) return Function(part.bytes);
    if (part.number != field::kModelGraph || !IsMessage(part)) return {};
    if (++graphs > 1) return Refused("has more than one graph");
    return Graph(part.bytes, 1, &main_);
  }));
  if (graphs == 0) return Refused("is no ONNX model: it has no graph");
  MILLRACE_RETURN_IF_ERROR(CheckCalls(main_));
  for (const auto& [name, body] : functions_) MILLRACE_RETURN_IF_ERROR(CheckCalls(body));
  MILLRACE_RETURN_IF_ERROR(Expand(main_, 0, &facts_->nodes));
  // Those that nothing calls are written out by nobody, but a library may look through them.
  std::int64_t unused = 0;
  for (const auto& [name, body] : functions_) {
    MILLRACE_RETURN_IF_ERROR(Expand(body, 0, &unused));
  }
  return {};
}

Status Scan::Graph(std::string_view graph, int depth, Body* body) {
  if (depth > limits_.max_depth) {
    return Refused("has subgraphs more than " + std::to_string(limits_.max_depth) + " deep");
  }
  facts_->depth = std::max(facts_->depth, depth);
  return Visit(graph, body->where, [&](const WireReader::Field& part) -> Status {
    if (!IsMessage(part)) return {};
    if (part.number == field::kGraphNode) return Node(part.bytes, depth, body);
    if (part.number == field::kGraphInitializer) return Tensor(part.bytes, "initializer");
    if (part.number == field::kGraphSparse) return Sparse(part.bytes);
    return {};
  });
}

Status Scan::Node(std::string_view node, int depth, Body* body) {
  std::string_view domain, op, overload;
  MILLRACE_RETURN_IF_ERROR(Visit(node, "a node", [&](const WireReader::Field& part) -> Status {
    if (!IsMessage(part)) return {};
    if (part.number == field::kNodeDomain) domain = part.bytes;
    if (part.number == field::kNodeOp) op = part.bytes;
    if (part.number == field::kNodeOverload) overload = part.bytes;
    if (part.number == field::kNodeAttribute) return Attribute(part.bytes, depth, body);
    return {};
  }));
  ++body->calls[CalleeOf(domain, op, overload)];
  if (++body->nodes <= limits_.max_nodes) return {};
  return Refused("has more than " + std::to_string(limits_.max_nodes) + " nodes");
}

Status Scan::Attribute(std::string_view attribute, int depth, Body* body) {
  return Visit(attribute, "an attribute", [&](const WireReader::Field& part) -> Status {
    if (!IsMessage(part)) return {};
    switch (part.number) {
      case field::kAttributeTensor:
      case field::kAttributeTensors:
        return Tensor(part.bytes, "constant");
      case field::kAttributeSparse:
      case field::kAttributeSparses:
        return Sparse(part.bytes);
      case field::kAttributeGraph:
      case field::kAttributeGraphs:
        return Graph(part.bytes, depth + 1, body);
      default:
        return {};
    }
  });
}

Status Scan::Function(std::string_view function) {
  std::string_view domain, name, overload;
  Body body;
  MILLRACE_RETURN_IF_ERROR(
      Visit(function, "a function", [&](const WireReader::Field& part) -> Status {
        if (!IsMessage(part)) return {};
        if (part.number == field::kFunctionDomain) domain = part.bytes;
        if (part.number == field::kFunctionName) name = part.bytes;
        if (part.number == field::kFunctionOverload) overload = part.bytes;
        if (part.number == field::kFunctionNode) return Node(part.bytes, 1, &body);
        if (part.number == field::kFunctionAttribute) return Attribute(part.bytes, 1, &body);
        return {};
      }));
  body.where = "function '" + ShownName(name) + "'";
  if (functions_.size() >= kMaxFunctions) {
    return Refused("has more than " + std::to_string(kMaxFunctions) + " functions");
  }
  const std::string where = body.where;
  if (!functions_.emplace(CalleeOf(domain, name, overload), std::move(body)).second) {
    return Refused("has two functions of one name: " + where);
  }
  return {};
}

Status Scan::Tensor(std::string_view tensor, const char* what) {
  OnnxTensor read;
  MILLRACE_RETURN_IF_ERROR(ReadOnnxTensor(tensor, &read).WithContext(what));
  const Status sound = CheckOnnxTensor(read);
  if (!sound.ok()) return sound.WithContext(what + (" '" + ShownName(read.name) + "'"));
  facts_->tensor_bytes += static_cast<std::int64_t>(tensor.size());
  return {};
}

Status Scan::Sparse(std::string_view sparse) {
  constexpr std::uint32_t kValues = 1, kIndices = 2, kDims = 3;
  OnnxTensor dense;  // What it is once it is written out.
  const auto read = [&](const WireReader::Field& part) -> Status {
    if (part.number == kDims) return AppendOnnxDims(part, &dense.dims);
    if (!IsMessage(part)) return {};
    if (part.number == kValues || part.number == kIndices) {
      MILLRACE_RETURN_IF_ERROR(Tensor(part.bytes, "sparse tensor"));
    }
    if (part.number != kValues) return {};
    OnnxTensor values;
    MILLRACE_RETURN_IF_ERROR(ReadOnnxTensor(part.bytes, &values));
    dense.type = values.type;
    dense.name = values.name;
    return {};
  };
  MILLRACE_RETURN_IF_ERROR(Visit(sparse, "a sparse tensor", read));
  std::int64_t bytes = 0;
  const Status sized = DeclaredBytes(dense, &bytes);
  const std::string name = "sparse tensor '" + ShownName(dense.name) + "'";
  if (!sized.ok()) return sized.WithContext(name);
  if (bytes <= kMaxSparseBytes) return {};
  return Refused(name + " is of " + std::to_string(bytes) + " bytes once it is written out; the " +
                 "limit is " + std::to_string(kMaxSparseBytes));
}

bool Scan::Allowed(std::string_view domain) const {
  const auto is = [domain](std::string_view known) { return known == domain; };
  return std::any_of(kKnownDomains.begin(), kKnownDomains.end(), is) ||
         std::any_of(limits_.domains.begin(), limits_.domains.end(), is);
}

Status Scan::CheckCalls(const Body& body) const {
  for (const auto& [callee, count] : body.calls) {
    const auto& [domain, op, overload] = callee;
    if (functions_.contains(callee) || Allowed(domain)) continue;
    return Refused("uses operator '" + ShownName(op) + "' of domain '" + ShownName(domain) +
                   "', which is none of ONNX Runtime's; repository.probe.allow_domains allows "
                   "further ones");
  }
  return {};
}

Status Scan::Expand(const Body& body, int depth, std::int64_t* nodes) {
  if (const auto known = expanded_.find(&body); known != expanded_.end()) {
    *nodes = known->second;
    return {};
  }
  if (!open_.insert(&body).second)
    return Refused("has a function that calls itself: " + body.where);
  if (depth > kMaxCallDepth) {
    return Refused("has functions that call each other more than " + std::to_string(kMaxCallDepth) +
                   " deep, at " + body.where);
  }
  std::int64_t sum = body.nodes;
  for (const auto& [callee, count] : body.calls) {
    const auto function = functions_.find(callee);
    if (function == functions_.end()) continue;
    std::int64_t inside = 0;
    MILLRACE_RETURN_IF_ERROR(Expand(function->second, depth + 1, &inside));
    // Both factors are at most max_nodes.
    std::int64_t added = 0;
    if (__builtin_mul_overflow(inside, count, &added) || __builtin_add_overflow(sum, added, &sum) ||
        sum > limits_.max_nodes) {
      return Refused("has more than " + std::to_string(limits_.max_nodes) +
                     " nodes once its functions are written out where they are called");
    }
  }
  open_.erase(&body);
  expanded_.emplace(&body, sum);
  *nodes = sum;
  return {};
}

struct Magic {
  std::size_t at;
  std::string_view bytes;
  const char* what;
};

constexpr std::array<Magic, 12> kMagics = {{
    {0, std::string_view("PK\x03\x04", 4), "a zip archive (a PyTorch .pt file is one, too)"},
    {0, "\x1F\x8B", "a gzip archive; unpack it"},
    {0, std::string_view("\x28\xB5\x2F\xFD", 4), "a zstd archive; unpack it"},
    {0, "BZh", "a bzip2 archive; unpack it"},
    {0, "\x89HDF", "an HDF5 file, as Keras writes them"},
    {0,
     "\x7F"
     "ELF",
     "a program or a library"},
    {0, "\x80\x02", "a Python pickle"},
    {0, "\x80\x03", "a Python pickle"},
    {0, "\x80\x04\x95", "a Python pickle"},
    {0, "\x80\x05\x95", "a Python pickle"},
    {4, "ORTM", "ONNX Runtime's own .ort format, which is refused: only .onnx is checked"},
    {4, "TFL3", "a TensorFlow Lite model"},
}};

bool IsText(std::string_view file) {
  constexpr std::size_t kLooked = 512;
  const std::string_view start = file.substr(0, kLooked);
  return std::all_of(start.begin(), start.end(), [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte >= 0x20 && byte != 0x7F) || c == '\n' || c == '\r' || c == '\t';
  });
}

// What the file is when it is plainly something else.
Status CheckKind(std::string_view file) {
  if (file.empty()) return Refused("is empty");
  for (const Magic& magic : kMagics) {
    if (file.size() >= magic.at && file.substr(magic.at).starts_with(magic.bytes)) {
      return Refused(std::string("is no ONNX model but ") + magic.what);
    }
  }
  if (file.starts_with("version https://git-lfs")) {
    return Refused(
        "is no ONNX model but a pointer of Git LFS to one; fetch it with `git lfs pull`");
  }
  if (IsText(file)) return Refused("is no ONNX model but a text file");
  return {};
}

}  // namespace

Status ScanOnnx(std::string_view file, const OnnxLimits& limits, OnnxFacts* facts) {
  OnnxFacts unused;
  OnnxFacts* const found = facts == nullptr ? &unused : facts;
  *found = {};
  if (file.size() > static_cast<std::size_t>(limits.max_bytes)) {
    return Refused("is of " + std::to_string(file.size()) + " bytes; the limit is " +
                   std::to_string(limits.max_bytes) + " (repository.probe.max_bytes)");
  }
  MILLRACE_RETURN_IF_ERROR(CheckKind(file));
  return Scan(limits, found).Model(file);
}

std::string ShownName(std::string_view text) {
  std::string shown(text.substr(0, kMaxShownBytes));
  for (char& c : shown) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte >= 0x7F) c = '?';
  }
  return text.size() > kMaxShownBytes ? shown + "..." : shown;
}

std::vector<std::string> SplitDomains(std::string_view list) {
  std::vector<std::string> domains;
  while (!list.empty()) {
    std::string_view word = list.substr(0, list.find(','));
    list.remove_prefix(std::min(word.size() + 1, list.size()));
    while (!word.empty() && word.front() == ' ') word.remove_prefix(1);
    while (!word.empty() && word.back() == ' ') word.remove_suffix(1);
    if (!word.empty()) domains.emplace_back(word);
  }
  return domains;
}

}  // namespace millrace
