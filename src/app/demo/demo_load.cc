#include "app/demo/demo_load.h"

#include <charconv>

#include "codec/outcome_encoder.h"
#include "generated/demo_file.h"

namespace millrace {
namespace {

// SplitMix64 (Steele, Lea, Flood 2014): a good hash of a counter.
std::uint64_t Mix(std::uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

ByteSpan SpanFrom(std::size_t at, const ByteBuffer& out) {
  return ByteSpan{static_cast<std::uint32_t>(at), static_cast<std::uint32_t>(out.size() - at)};
}

std::string TenantName(int tenant) {
  return (tenant < 9 ? "tenant-0" : "tenant-") + std::to_string(tenant + 1);
}

}  // namespace

Result<DemoLoad> DemoLoad::Make(std::uint64_t seed) {
  DemoLoad load;
  load.seed_ = seed;
  load.models_ = {{"cancer-mlp", "breast cancer", "benign or malignant"},
                  {"cancer-gbt", "breast cancer", "benign or malignant"},
                  {"digits-mlp", "handwritten digits", "0 to 9"}};
  load.set_of_model_ = {0, 0, 1};
  for (const char* name : {"cancer", "digits"}) {
    Result<DataSet> set = Parse(name, DemoFile(std::string("data/") + name + ".csv"));
    if (!set.ok()) return set.status();
    load.sets_.push_back(std::move(set).value());
  }
  return load;
}

Result<DemoLoad::DataSet> DemoLoad::Parse(const std::string& name, std::string_view csv) {
  DataSet set;
  set.name = name;
  std::size_t at = csv.find('\n');  // Past the header row.
  while (at != std::string_view::npos && at + 1 < csv.size()) {
    const std::size_t first = at + 1;
    at = csv.find('\n', first);
    const std::string_view line = csv.substr(first, at - first);
    const std::size_t comma = line.find(',');
    int label = 0;
    if (comma == std::string_view::npos ||
        std::from_chars(line.data(), line.data() + comma, label).ec != std::errc()) {
      return Status(StatusCode::kInternal, "the demo's data set '" + name + "' is damaged");
    }
    set.labels.push_back(label);
    set.rows.emplace_back(line.substr(comma + 1));
  }
  if (set.rows.empty()) {
    return Status(StatusCode::kInternal, "the demo's data set '" + name + "' is empty");
  }
  return set;
}

DemoRequest DemoLoad::Describe(std::uint64_t index) const {
  const std::uint64_t hash = Mix(seed_ + index);
  DemoRequest request;
  request.model = hash % models_.size();
  request.row = (hash >> 8) % sets_[set_of_model_[request.model]].rows.size();
  // A few tenants send most: the smaller of two draws.
  request.tenant = static_cast<int>(std::min((hash >> 24) % kTenants, (hash >> 32) % kTenants));
  if ((hash >> 40) % 100 == 0) {
    request.malformed = static_cast<Malformed>(1 + (hash >> 48) % 5);
  }
  return request;
}

int DemoLoad::Label(const DemoRequest& request) const {
  return sets_[set_of_model_[request.model]].labels[request.row];
}

DemoLoad::Spans DemoLoad::Append(std::uint64_t index, WallMillis now, ByteBuffer& out) const {
  const DemoRequest request = Describe(index);
  const std::string tenant = TenantName(request.tenant);
  const std::string model = request.malformed == Malformed::kUnknownModel
                                ? std::string("cancer-mpl")
                                : models_[request.model].id;
  std::string_view numbers = sets_[set_of_model_[request.model]].rows[request.row];
  Spans spans;
  std::size_t at = out.size();
  out.Append(tenant);
  out.Append('|');
  out.Append(model);
  spans.key = SpanFrom(at, out);
  at = out.size();
  AppendHeader("model_id", model, out);
  spans.headers = SpanFrom(at, out);

  at = out.size();
  out.Append(R"({"request_id":")");
  out.Append(kIdPrefix);
  out.Append(std::to_string(index));
  out.Append(R"(","tenant_id":")");
  out.Append(tenant);
  out.Append(R"(","model_id":")");
  out.Append(model);
  out.Append(R"(","input":[)");
  if (request.malformed == Malformed::kTooFewNumbers)
    numbers = numbers.substr(numbers.find(',') + 1);
  if (request.malformed == Malformed::kText) {
    out.Append(R"("n/a",)");
    numbers = numbers.substr(numbers.find(',') + 1);
  }
  if (request.malformed == Malformed::kNotANumber) {
    out.Append("NaN,");
    numbers = numbers.substr(numbers.find(',') + 1);
  }
  out.Append(numbers);
  out.Append(R"(],"enqueued_at":")");
  char time[kRfc3339MillisBytes];
  FormatRfc3339Millis(now, time);
  out.Append(std::string_view(time, sizeof time));
  out.Append(request.malformed == Malformed::kNotJson ? R"("])" : R"("})");
  spans.value = SpanFrom(at, out);
  return spans;
}

std::optional<std::uint64_t> DemoLoad::IndexOf(std::string_view request_id) {
  if (!request_id.starts_with(kIdPrefix)) return std::nullopt;
  request_id.remove_prefix(kIdPrefix.size());
  std::uint64_t index = 0;
  const char* const end = request_id.data() + request_id.size();
  const auto parsed = std::from_chars(request_id.data(), end, index);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return index;
}

}  // namespace millrace
