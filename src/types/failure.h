// Failure: why a request got a dead letter instead of a result.
//
// The set of reasons is closed and is part of the public contract: users filter and alert on the
// names, so a name never changes its meaning.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace millrace {

enum class FailureReason : std::uint8_t {
  kDecode,
  kMissingModelId,
  kUnknownModel,
  kInvalidShape,
  kInvalidValue,
  kTooLarge,
  kExpired,
  kInferenceError,
  kInferenceTimeout,
  kModelCrash,
  kOutputTooLarge,
  kPolicy,
};
inline constexpr std::size_t kFailureReasons = 12;

inline constexpr std::array<std::string_view, kFailureReasons> kFailureReasonNames = {
    "decode",           "missing_model_id", "unknown_model",   "invalid_shape",     "invalid_value",
    "too_large",        "expired",          "inference_error", "inference_timeout", "model_crash",
    "output_too_large", "policy",
};

constexpr std::string_view FailureReasonName(FailureReason reason) {
  return kFailureReasonNames[static_cast<std::size_t>(reason)];
}

constexpr std::optional<FailureReason> ParseFailureReason(std::string_view name) {
  for (std::size_t i = 0; i < kFailureReasonNames.size(); ++i) {
    if (kFailureReasonNames[i] == name) return static_cast<FailureReason>(i);
  }
  return std::nullopt;
}

// The longest `detail` written to a dead letter, in bytes; longer ones are cut.
inline constexpr std::size_t kMaxFailureDetailBytes = 1024;

struct Failure {
  FailureReason reason = FailureReason::kDecode;
  std::string detail;  // One line: what was wrong, where, what was expected.
};

}  // namespace millrace
