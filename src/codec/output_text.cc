#include <fmt/format.h>

#include "codec/output_text_internal.h"

namespace millrace {

std::optional<Failure> CheckTexts(std::string_view name, std::span<const std::string_view> texts,
                                  std::size_t first, std::size_t max_bytes, std::size_t* bytes) {
  for (std::size_t i = 0; i < texts.size(); ++i) {
    *bytes += texts[i].size();
    if (*bytes > max_bytes) {
      return Failure{FailureReason::kOutputTooLarge,
                     fmt::format("the strings of output {} exceed {} bytes "
                                 "(limits.max_result_bytes)",
                                 Excerpt(name), max_bytes)};
    }
    if (FindInvalidUtf8(texts[i]) != std::string_view::npos) {
      return Failure{FailureReason::kInferenceError,
                     fmt::format("string {} of output {} is not UTF-8", first + i, Excerpt(name))};
    }
  }
  return std::nullopt;
}

}  // namespace millrace
