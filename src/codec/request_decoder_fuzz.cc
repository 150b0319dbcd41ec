// Fuzz target: any bytes as a request. The first byte picks layout and headers, the rest is the
// value. Whatever decodes must be JSON for simdjson's other parser too, and its result and its dead
// letter must read back.
#include <simdjson.h>

#include <cstdint>
#include <cstdlib>
#include <string>

#include "codec/outcome_encoder.h"
#include "codec/test_request_internal.h"

namespace millrace {
namespace {

void Require(bool condition) {
  if (!condition) std::abort();
}

const RowLayout kLayouts[] = {
    MakeLayout(ElementType::kFloat32, {2}),
    MakeLayout(ElementType::kFloat64, {2, 2}, "in"),
    MakeLayout(ElementType::kString, {1}),
    MakeLayout(ElementType::kUint64, {}),
    MakeLayout(ElementType::kInt8, {2, 1, 2}),
    MakeLayout(ElementType::kBool, {3}),
    RowLayoutOf({{"x", ElementType::kInt32, {1, 0}}, {"y", ElementType::kFloat32, {1, 2}}}),
    MakeLayout(ElementType::kUint16, {kDynamicDim, 2}, "in"),
};
constexpr std::uint8_t kLayoutMask = 7;
constexpr std::uint8_t kNoHeaderBit = 8;
constexpr std::uint8_t kIdHeadersBit = 16;

TestRequest MakeRequest(std::uint8_t choice, std::string_view value) {
  if ((choice & kNoHeaderBit) != 0) return TestRequest(value, {});
  if ((choice & kIdHeadersBit) == 0) return TestRequest(value);
  return TestRequest(value, {{"model_id", "m"},
                             {"tenant_id", "t"},
                             {"request_id", "r"},
                             {"deadline_ms", "1795245327123"},
                             {"traceparent", "00-ab"}});
}

void CheckJson(std::string_view text, std::string_view request_id) {
  simdjson::dom::parser parser;
  simdjson::dom::element result;
  Require(parser.parse(simdjson::padded_string(text)).get(result) == simdjson::SUCCESS);
  std::string_view id;
  Require(result["request_id"].get(id) == simdjson::SUCCESS && id == request_id);
}

void CheckResult(const TestRequest& source, const Record& record, const RowLayout& layout) {
  static const ModelRef model{"m", "1", ""};
  const InputLayout& input = layout.inputs.back();
  const TensorSpec spec{"y", input.type, {}};
  const std::vector<double> row = source.Row<double>((input.bytes + 7) / 8, input.offset);
  OutputView view{&spec, row.data(), input.elements, input.row_shape};
  if (input.dynamic) {
    const RowTensor tensor = source.Row<RowTensor>(1, input.offset)[0];
    view = {
        &spec, tensor.data, tensor.elements, {tensor.shape, tensor.shape + input.row_shape.size()}};
  }
  const OutputView views[2] = {view, view};
  ResultEncoder encoder(CodecLimits{});
  for (const std::size_t outputs : {std::size_t{1}, std::size_t{2}}) {
    OutputChunk chunk;
    OutputRecord out;
    encoder.BeginBatch(model, {views, outputs}, 1, 0);
    Require(
        !encoder.EncodeRow(source.request(), {"requests", 0, &record}, 0, Micros(1), chunk, &out));
    Require(out.Headers().Valid() && out.Key() == source.request().request_id);
    CheckJson(out.Value(), source.request().request_id);
  }
}

void CheckFailure(const Record& record, const InferenceRequest& request, const Failure& failure) {
  Require(!failure.detail.empty() && failure.detail.size() <= kMaxFailureDetailBytes);
  for (const char c : failure.detail) Require(static_cast<unsigned char>(c) >= 0x20);
  OutputChunk chunk;
  OutputRecord out;
  DeadLetterContext context;
  context.tenant_id = request.tenant_id;
  EncodeDeadLetter({"requests", 0, &record}, failure, context, chunk, &out);
  Require(out.Value() == record.value && out.Headers().Valid());
  Require(out.Headers().Find("detail") == failure.detail);
}

void CheckIsJson(std::string_view value) {
  simdjson::dom::parser parser;
  simdjson::dom::element element;
  const auto error = parser.parse(simdjson::padded_string(value)).get(element);
  // The other parser has no numbers beyond double and uint64, wherever they stand.
  Require(error == simdjson::SUCCESS || error == simdjson::NUMBER_ERROR);
}

}  // namespace
}  // namespace millrace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace millrace;
  if (size == 0) return 0;
  static RequestDecoder decoder{CodecLimits{}};
  const std::uint8_t choice = data[0];
  const RowLayout& layout = kLayouts[choice & kLayoutMask];
  TestRequest source = MakeRequest(choice, {reinterpret_cast<const char*>(data) + 1, size - 1});
  const auto failure = source.Decode(decoder, layout);
  if (failure) {
    CheckFailure(source.record(), source.request(), *failure);
  } else {
    CheckIsJson(source.record().value);
    CheckResult(source, source.record(), layout);
  }
  return 0;
}
