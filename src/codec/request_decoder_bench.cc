// What decoding one request costs, by how many numbers it has and how they are written; and
// encoding its result.
//
// Not part of the normal build.
#include <benchmark/benchmark.h>

#include <charconv>
#include <cstdio>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "codec/outcome_encoder.h"
#include "codec/output_mapping.h"
#include "codec/test_request_internal.h"

namespace millrace {
namespace {

// Different texts in turn, so that no branch predictor learns one by heart.
constexpr std::size_t kTexts = 64;

enum Style : std::int64_t { kSixDecimals, kEightDecimals, kFloat, kDouble, kInteger, kExponent };

std::string NumberText(Style style, std::mt19937_64& random) {
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform(0, 1);
  char text[64];
  const auto printed = [&text](const char* format, auto number) {
    return std::string(text,
                       static_cast<std::size_t>(std::snprintf(text, sizeof text, format, number)));
  };
  const auto shortest = [&text](auto number) {
    return std::string(text, std::to_chars(text, text + sizeof text, number).ptr);
  };
  switch (style) {
    case kSixDecimals:  // As bench/make_requests.py writes them.
      return shortest(std::round(normal(random) * 1e6) / 1e6);
    case kEightDecimals:
      return printed("%.8f", uniform(random));
    case kFloat:
      return shortest(static_cast<float>(normal(random)));
    case kDouble:
      return shortest(normal(random));
    case kInteger:
      return std::to_string(random() % 1000);
    case kExponent:
      return printed("%.7e", normal(random));
  }
  return "0";
}

std::vector<TestRequest> Requests(std::size_t numbers, Style style) {
  std::mt19937_64 random(1);
  std::vector<TestRequest> requests;
  for (std::size_t i = 0; i < kTexts; ++i) {
    std::string value = R"({"request_id":"mlp-1-000000)" + std::to_string(10 + i) +
                        R"(","tenant_id":"tenant-07","model_id":"mlp",)" +
                        R"("enqueued_at":"2026-11-21T07:15:27.123Z","input":[)";
    for (std::size_t n = 0; n < numbers; ++n) {
      if (n > 0) value += ',';
      value += NumberText(style, random);
    }
    requests.emplace_back(value + "]}", TestRequest::HeaderList{{"model_id", "mlp"}});
    requests.back().Key("tenant-07|mlp");
  }
  return requests;
}

void BM_Decode(benchmark::State& state) {
  const auto numbers = static_cast<std::size_t>(state.range(0));
  std::vector<TestRequest> requests = Requests(numbers, static_cast<Style>(state.range(1)));
  const RowLayout layout = MakeLayout(ElementType::kFloat32, {state.range(0)});
  std::vector<float> row(numbers);
  RequestDecoder decoder(CodecLimits{});
  StringScratch scratch;
  InferenceRequest decoded;
  std::size_t i = 0;
  std::size_t bytes = 0;
  for (auto _ : state) {
    const Record& record = requests[i++ % kTexts].record();
    auto failure = decoder.Begin(record, scratch, &decoded);
    if (!failure) {
      failure = decoder.Finish(record, layout, scratch, &decoded,
                               reinterpret_cast<std::byte*>(row.data()));
    }
    if (failure) {
      state.SkipWithError(failure->detail.c_str());
      break;
    }
    bytes += record.value.size();
    benchmark::DoNotOptimize(row.data());
    benchmark::ClobberMemory();
  }
  state.SetBytesProcessed(static_cast<std::int64_t>(bytes));
}
BENCHMARK(BM_Decode)
    ->ArgNames({"numbers", "style"})
    ->ArgsProduct({{30, 784},
                   {kSixDecimals, kEightDecimals, kFloat, kDouble, kInteger, kExponent}});

// `mapping`: as a model.yaml has it; empty for none.
void Encode(benchmark::State& state, const char* mapping) {
  const auto numbers = static_cast<std::size_t>(state.range(0));
  std::vector<TestRequest> requests = Requests(4, kSixDecimals);
  const RowLayout layout = MakeLayout(ElementType::kFloat32, {4});
  for (TestRequest& request : requests) {
    if (request.Decode(layout)) std::abort();
  }
  std::mt19937_64 random(1);
  std::uniform_real_distribution<float> uniform(0, 1);
  std::vector<float> outputs(kTexts * numbers);
  for (float& number : outputs) number = uniform(random);
  ModelSignature signature;
  signature.outputs = {{"y", ElementType::kFloat32, {kDynamicDim, state.range(0)}}};
  const OutputView view{&signature.outputs[0], outputs.data(), numbers, {state.range(0)}};
  OutputMapping bound;
  if (*mapping != '\0') {
    auto fields = ParseOutputMapping(mapping);
    if (!fields.ok()) std::abort();
    auto result = BindOutputMapping(*fields, signature, {"legit", "fraud"}, {});
    if (!result.ok()) std::abort();
    bound = std::move(result).value();
  }
  const ModelRef model{"mlp", "1", ""};
  ResultEncoder encoder(CodecLimits{});
  OutputChunk chunk;
  OutputRecord out;
  std::size_t i = kTexts;
  for (auto _ : state) {
    if (i == kTexts) {
      i = 0;
      chunk.bytes.Clear();
      encoder.BeginBatch(model, {&view, 1}, kTexts, 1'795'245'327'123,
                         bound.fields.empty() ? nullptr : &bound);
    }
    TestRequest& request = requests[i];
    benchmark::DoNotOptimize(encoder.EncodeRow(request.request(),
                                               {"millrace.requests", 3, &request.record()}, i,
                                               Micros(12'345), chunk, &out));
    ++i;
  }
}

void BM_Encode(benchmark::State& state) { Encode(state, ""); }
BENCHMARK(BM_Encode)->ArgName("numbers")->Arg(2)->Arg(10);

void BM_EncodeMapped(benchmark::State& state) {
  Encode(state, "fraud_probability = y[1], is_fraud = y[1] >= threshold, label = label(y)");
}
BENCHMARK(BM_EncodeMapped)->ArgName("numbers")->Arg(2);

}  // namespace
}  // namespace millrace
