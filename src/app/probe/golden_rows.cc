#include "app/probe/golden_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <type_traits>
#include <utility>
#include <vector>

#include "codec/request_decoder.h"
#include "codec/string_scratch.h"
#include "models/onnx_scan.h"
#include "runtime/gather.h"
#include "types/element_type.h"

namespace millrace {
namespace {

using nlohmann::json;

Status Wrong(std::string why) { return {StatusCode::kInvalidArgument, std::move(why)}; }

void Flatten(const json& value, std::vector<const json*>* out) {
  if (!value.is_array()) {
    out->push_back(&value);
    return;
  }
  for (const json& part : value) Flatten(part, out);
}

std::string Shown(const json& value) {
  return ShownName(value.dump(-1, ' ', true, json::error_handler_t::replace));
}

// An element of an output as JSON has it.
json ElementAt(const OutputView& view, std::size_t index) {
  return DispatchElement(view.spec->type, [&]<class T>(std::type_identity<T>) -> json {
    T element;
    std::memcpy(&element, static_cast<const std::byte*>(view.data) + index * sizeof(T), sizeof(T));
    if constexpr (kIsText<T>) {
      return std::string(element);
    } else if constexpr (std::is_same_v<T, Float16>) {
      return ToFloat(element);
    } else {
      return element;
    }
  });
}

bool Same(const json& got, const json& want, double tolerance) {
  if (want.is_null()) return got.is_number_float() && !std::isfinite(got.get<double>());
  if (got.is_number() && want.is_boolean()) return got == json(want.get<bool>() ? 1 : 0);
  if (got.is_boolean() && want.is_number()) return (got.get<bool>() ? 1 : 0) == want;
  if (!got.is_number() || !want.is_number()) return got == want;
  if (got.is_number_integer() && want.is_number_integer()) return got == want;
  const double expected = want.get<double>();
  return std::abs(got.get<double>() - expected) <= tolerance * std::max(1.0, std::abs(expected));
}

class GoldenRun {
 public:
  GoldenRun(const LoadedModel& model, Runner& runner)
      : model_(model), runner_(runner), decoder_(CodecLimits{}) {}
  Status Row(const std::string& line);

 private:
  // Decodes the row and runs it.
  Status RunInputs(const json& golden);
  Status Compare(const OutputView& view, const json& want, double tolerance) const;

  const LoadedModel& model_;
  Runner& runner_;
  RequestDecoder decoder_;
};

Status GoldenRun::Row(const std::string& line) {
  const json golden = json::parse(line, nullptr, false);
  if (!golden.is_object()) return Wrong("is no JSON object");
  const bool one = golden.contains("output");
  if (one == golden.contains("outputs")) return Wrong("needs either 'output' or 'outputs'");
  double tolerance = kGoldenTolerance;
  if (const auto own = golden.find("tolerance"); own != golden.end()) {
    if (!own->is_number() || !(own->get<double>() >= 0)) return Wrong("'tolerance' is no number");
    tolerance = own->get<double>();
  }
  MILLRACE_RETURN_IF_ERROR(RunInputs(golden));
  const std::span<const OutputView> views = runner_.Outputs();
  if (one) return Compare(views[0], golden["output"], tolerance);
  if (!golden["outputs"].is_object()) return Wrong("'outputs' is no object");
  for (const auto& [name, want] : golden["outputs"].items()) {
    const auto view = std::find_if(views.begin(), views.end(), [&name = name](const OutputView& v) {
      return v.spec->name == name;
    });
    if (view == views.end()) return Wrong("the model has no output '" + ShownName(name) + "'");
    MILLRACE_RETURN_IF_ERROR(Compare(*view, want, tolerance));
  }
  return {};
}

Status GoldenRun::RunInputs(const json& golden) {
  json request = {{"request_id", "golden"}, {"tenant_id", "golden"}, {"model_id", "golden"}};
  for (const char* const key : {"input", "inputs"}) {
    if (golden.contains(key)) request[key] = golden[key];
  }
  std::string value = request.dump();
  const std::size_t size = value.size();
  value.append(kReadablePadding, '\0');
  Record record;
  record.value = std::string_view(value).substr(0, size);
  record.has_value = true;
  StringScratch scratch;
  InferenceRequest decoded;
  const RowLayout& layout = model_.session->row_layout();
  std::vector<std::uint64_t> row(layout.bytes / sizeof(std::uint64_t) + 1);
  auto* const bytes = reinterpret_cast<std::byte*>(row.data());
  std::optional<Failure> failure = decoder_.Begin(record, scratch, &decoded);
  if (!failure) failure = decoder_.Finish(record, layout, scratch, &decoded, bytes);
  if (failure) return Wrong(std::move(failure->detail));
  MILLRACE_RETURN_IF_ERROR(GatherRows(
      layout, 1, [bytes](std::size_t) { return bytes; }, runner_));
  // Here, for strings borrow from the record and the scratch.
  return runner_.Run(1);
}

Status GoldenRun::Compare(const OutputView& view, const json& want, double tolerance) const {
  std::vector<const json*> flat;
  Flatten(want, &flat);
  const std::string name = "output '" + ShownName(view.spec->name) + "'";
  if (flat.size() != view.elements_per_row) {
    return Wrong(fmt::format("{} has {} elements, expected are {}", name, view.elements_per_row,
                             flat.size()));
  }
  for (std::size_t i = 0; i < flat.size(); ++i) {
    const json got = ElementAt(view, i);
    if (Same(got, *flat[i], tolerance)) continue;
    return Wrong(fmt::format("{}[{}] is {}, expected is {} (tolerance {})", name, i, Shown(got),
                             Shown(*flat[i]), tolerance));
  }
  return {};
}

}  // namespace

Status RunGoldenRows(const LoadedModel& model, const std::string& path, std::int64_t* rows) {
  *rows = 0;
  std::ifstream file(path);
  if (!file) return Wrong("golden.ndjson cannot be read");
  const Result<std::unique_ptr<Runner>> runner = model.session->NewRunner();
  if (!runner.ok()) return runner.status();
  GoldenRun run(model, **runner);
  std::string line;
  for (int number = 1; std::getline(file, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    const std::string where = fmt::format("golden.ndjson, line {}", number);
    if (*rows >= kMaxGoldenRows) {
      return Wrong(fmt::format("golden.ndjson has more than {} rows", kMaxGoldenRows));
    }
    MILLRACE_RETURN_IF_ERROR(run.Row(line).WithContext(where));
    ++*rows;
  }
  return {};
}

}  // namespace millrace
