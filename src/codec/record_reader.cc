#include "codec/record_reader.h"

#include <simdjson.h>

#include "base/byte_buffer.h"

namespace millrace {
namespace {

using simdjson::ondemand::value;

// The string of `from`, or `out` unchanged when it is none.
simdjson::error_code TakeText(value from, std::string_view* out) {
  simdjson::ondemand::json_type type{};
  if (const auto error = from.type().get(type)) return error;
  if (type != simdjson::ondemand::json_type::string) return simdjson::SUCCESS;
  return from.get_string().get(*out);
}

simdjson::error_code TakeNumber(value from, double* out) {
  simdjson::ondemand::json_type type{};
  if (const auto error = from.type().get(type)) return error;
  if (type != simdjson::ondemand::json_type::number) return simdjson::SUCCESS;
  return from.get_double().get(*out);
}

simdjson::error_code TakeJson(value from, std::string_view* out) {
  simdjson::ondemand::json_type type{};
  if (const auto error = from.type().get(type)) return error;
  if (type == simdjson::ondemand::json_type::array) {
    simdjson::ondemand::array array;
    if (const auto error = from.get_array().get(array)) return error;
    return array.raw_json().get(*out);
  }
  if (type == simdjson::ondemand::json_type::object) {
    simdjson::ondemand::object object;
    if (const auto error = from.get_object().get(object)) return error;
    return object.raw_json().get(*out);
  }
  *out = from.raw_json_token();
  return simdjson::SUCCESS;
}

simdjson::error_code TakeRequestField(std::string_view name, value from, RequestFields* fields) {
  if (name == "request_id") return TakeText(from, &fields->request_id);
  if (name == "tenant_id") return TakeText(from, &fields->tenant_id);
  if (name == "model_id") return TakeText(from, &fields->model_id);
  return simdjson::SUCCESS;
}

simdjson::error_code TakeResultField(std::string_view name, value from, ResultFields* fields) {
  if (name == "request_id") return TakeText(from, &fields->request_id);
  if (name == "tenant_id") return TakeText(from, &fields->tenant_id);
  if (name == "model_id") return TakeText(from, &fields->model_id);
  if (name == "model_version") return TakeText(from, &fields->model_version);
  if (name == "status") return TakeText(from, &fields->status);
  if (name == "inferred_at") return TakeText(from, &fields->inferred_at);
  if (name == "output" || name == "outputs") return TakeJson(from, &fields->output);
  if (name == "latency_ms") return TakeNumber(from, &fields->latency_ms);
  if (name == "batch_size") {
    double rows = 0;
    if (const auto error = TakeNumber(from, &rows)) return error;
    fields->batch_size = static_cast<std::int64_t>(rows);
  }
  return simdjson::SUCCESS;
}

template <class Fields>
bool ReadFields(simdjson::ondemand::parser& parser, std::string_view text, Fields* fields,
                simdjson::error_code (*take)(std::string_view, value, Fields*)) {
  *fields = {};
  simdjson::ondemand::document document;
  const simdjson::padded_string_view padded(text.data(), text.size(),
                                            text.size() + kReadablePadding);
  if (text.empty() || parser.iterate(padded).get(document)) return false;
  simdjson::ondemand::object object;
  if (document.get_object().get(object)) return false;
  for (auto item : object) {
    simdjson::ondemand::field field;
    std::string_view name;
    if (std::move(item).get(field) || field.unescaped_key().get(name) ||
        take(name, field.value(), fields)) {
      return false;
    }
  }
  return true;
}

}  // namespace

struct RecordReader::Impl {
  simdjson::ondemand::parser parser;
};

RecordReader::RecordReader() : impl_(std::make_unique<Impl>()) {}
RecordReader::~RecordReader() = default;

bool RecordReader::ReadRequest(std::string_view value, RequestFields* fields) {
  return ReadFields(impl_->parser, value, fields, &TakeRequestField);
}

bool RecordReader::ReadResult(std::string_view value, ResultFields* fields) {
  return ReadFields(impl_->parser, value, fields, &TakeResultField);
}

}  // namespace millrace
