#include "app/bench/bench_load.h"

#include <charconv>
#include <utility>

#include "codec/json_writer.h"
#include "types/headers.h"

namespace millrace {
namespace {

constexpr std::string_view kIdPrefix = "bench-";
constexpr std::uint64_t kBatch = 1000;

bool IsFloating(ElementType type) {
  return type == ElementType::kFloat32 || type == ElementType::kFloat64 ||
         type == ElementType::kFloat16;
}

}  // namespace

BenchLoad::BenchLoad(std::string model_id, const RowLayout& layout, int tenants, std::uint64_t seed)
    : model_id_(std::move(model_id)), layout_(layout), tenants_(tenants), random_(seed) {}

// Nested as the shape says from `dim` on; one number when no dimension is left.
void BenchLoad::AppendNested(const InputLayout& input, std::size_t dim, ByteBuffer& bytes) {
  if (dim == input.row_shape.size()) return AppendNumber(input.type, bytes);
  const std::int64_t count =
      input.row_shape[dim] == kDynamicDim ? kMeasuredDim : input.row_shape[dim];
  bytes.Append('[');
  for (std::int64_t i = 0; i < count; ++i) {
    if (i > 0) bytes.Append(',');
    AppendNested(input, dim + 1, bytes);
  }
  bytes.Append(']');
}

void BenchLoad::AppendNumber(ElementType type, ByteBuffer& bytes) {
  constexpr std::size_t kMaxNumber = 16;
  std::uniform_int_distribution<int> millionth(0, 999'999);
  const bool is_text = type == ElementType::kString;
  const int whole = type == ElementType::kBool ? 2 : 10;
  const int number = millionth(random_);
  if (is_text) bytes.Append('"');
  char* const at = bytes.Claim(kMaxNumber);
  const auto end = IsFloating(type) ? std::to_chars(at, at + kMaxNumber, number / 1e6)
                                    : std::to_chars(at, at + kMaxNumber, number % whole);
  bytes.CommitTo(end.ptr);
  if (is_text) bytes.Append('"');
}

void BenchLoad::AppendInputs(ByteBuffer& bytes) {
  if (layout_.inputs.size() == 1 && layout_.inputs[0].row_shape.size() == 1) {
    bytes.Append(R"("input":)");
    AppendNested(layout_.inputs[0], 0, bytes);
    return;
  }
  std::string text;
  char separator = '{';
  bytes.Append(R"("inputs":)");
  for (const InputLayout& input : layout_.inputs) {
    bytes.Append(separator);
    separator = ',';
    text.clear();
    JsonWriter(text).Value(input.name);
    bytes.Append(text);
    bytes.Append(':');
    AppendNested(input, 0, bytes);
  }
  bytes.Append('}');
}

void BenchLoad::Append(std::uint64_t index, ByteBuffer& bytes) {
  const std::string tenant =
      "tenant-" + std::to_string(index % static_cast<std::uint64_t>(tenants_));
  Spans spans;
  spans.key = bytes.size();
  bytes.Append(tenant);
  bytes.Append('|');
  bytes.Append(model_id_);
  spans.key_size = bytes.size() - spans.key;
  spans.headers = bytes.size();
  AppendHeader("model_id", model_id_, bytes);
  spans.headers_size = bytes.size() - spans.headers;
  spans.value = bytes.size();
  bytes.Append(R"({"request_id":")");
  bytes.Append(kIdPrefix);
  bytes.Append(std::to_string(index));
  bytes.Append(R"(","tenant_id":")");
  bytes.Append(tenant);
  bytes.Append(R"(","model_id":")");
  bytes.Append(model_id_);
  bytes.Append(R"(",)");
  AppendInputs(bytes);
  bytes.Append(R"(,"enqueued_at":"2026-01-01T00:00:00.000Z"})");
  spans.value_size = bytes.size() - spans.value;
  spans_.push_back(spans);
}

Status BenchLoad::Publish(Producer& producer, const std::string& topic, std::uint64_t from,
                          std::uint64_t until) {
  while (from < until) {
    const std::uint64_t end = std::min(until, from + kBatch);
    bytes_.Clear();
    spans_.clear();
    records_.clear();
    for (; from < end; ++from) Append(from, bytes_);
    for (const Spans& spans : spans_) {
      ProducerRecord record;
      record.key = bytes_.view(spans.key, spans.key_size);
      record.headers = HeadersView(bytes_.view(spans.headers, spans.headers_size));
      record.value = bytes_.view(spans.value, spans.value_size);
      records_.push_back(record);
    }
    MILLRACE_RETURN_IF_ERROR(producer.Append(topic, records_));
  }
  return Status::Ok();
}

std::int64_t BenchLoad::IndexOf(std::string_view request_id) {
  if (!request_id.starts_with(kIdPrefix)) return -1;
  std::int64_t index = -1;
  request_id.remove_prefix(kIdPrefix.size());
  std::from_chars(request_id.data(), request_id.data() + request_id.size(), index);
  return index;
}

}  // namespace millrace
