#include "codec/request_headers.h"

#include <fmt/format.h>

#include <charconv>
#include <string>

#include "codec/text.h"

namespace millrace {
namespace {

// A deadline beyond year 9999 is a mistake in units (microseconds for milliseconds).
constexpr WallMillis kMaxDeadline = 253'402'300'799'999;

std::optional<Failure> CheckUtf8(std::string_view what, std::string_view text) {
  if (FindInvalidUtf8(text) == std::string_view::npos) return std::nullopt;
  return Failure{FailureReason::kInvalidValue,
                 fmt::format("{} is not UTF-8: {}", what, Excerpt(text))};
}

std::optional<Failure> TakeId(std::string_view what, std::string_view id, std::int64_t max_bytes,
                              std::string_view* out) {
  auto failure = CheckId(what, id, max_bytes);
  if (!failure) failure = CheckUtf8(what, id);
  if (!failure) *out = id;
  return failure;
}

std::optional<Failure> TakeDeadline(std::string_view text, WallMillis* out) {
  WallMillis deadline = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), deadline);
  if (error != std::errc() || end != text.data() + text.size() || deadline < 1 ||
      deadline > kMaxDeadline) {
    return Failure{FailureReason::kInvalidValue,
                   fmt::format("header deadline_ms is {}, expected Unix milliseconds from 1 to {}",
                               Excerpt(text), kMaxDeadline)};
  }
  *out = deadline;
  return std::nullopt;
}

void TakeKeyTenant(const Record& record, std::int64_t max_bytes, std::string_view* out) {
  const std::size_t bar = record.key.rfind('|');
  if (bar == std::string_view::npos || bar == 0) return;
  const std::string_view tenant = record.key.substr(0, bar);
  if (tenant.size() > static_cast<std::size_t>(max_bytes) || HasControlCharacter(tenant) ||
      FindInvalidUtf8(tenant) != std::string_view::npos) {
    return;
  }
  *out = tenant;
}

}  // namespace

std::optional<Failure> ReadRequestHeaders(const Record& record, const CodecLimits& limits,
                                          RequestHeaders* out) {
  *out = {};
  std::string_view model_id, tenant_id, request_id, deadline;
  for (const Header& header : record.headers) {
    switch (header.name.size()) {
      case 8:
        if (header.name == "model_id") model_id = header.value;
        break;
      case 9:
        if (header.name == "tenant_id") tenant_id = header.value;
        break;
      case 10:
        if (header.name == "request_id") request_id = header.value;
        break;
      case 11:
        if (header.name == "deadline_ms") deadline = header.value;
        break;
      default:
        break;
    }
  }
  std::optional<Failure> first;
  const auto keep_first = [&first](std::optional<Failure> failure) {
    if (failure && !first) first = std::move(failure);
  };
  const std::int64_t max = limits.max_id_bytes;
  TakeKeyTenant(record, max, &out->key_tenant);
  if (!tenant_id.empty()) keep_first(TakeId("header tenant_id", tenant_id, max, &out->tenant_id));
  if (!request_id.empty()) {
    keep_first(TakeId("header request_id", request_id, max, &out->request_id));
  }
  if (!deadline.empty()) keep_first(TakeDeadline(deadline, &out->deadline));
  if (!model_id.empty()) {
    auto failure = CheckModelName("header model_id", model_id, max);
    if (!failure) out->model_id = model_id;
    keep_first(std::move(failure));
  }
  return first;
}

}  // namespace millrace
