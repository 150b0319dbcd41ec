// TrustedKeys: the Ed25519 keys whose signature makes a manifest, and so a model, ours.
//
// What is signed is the bytes of a model.yaml; the model file is covered by the sha256 in it. The
// signature is the base64 of its 64 bytes, in model.yaml.sig:
//
//   openssl pkeyutl -sign -rawin -inkey key.pem -in model.yaml | base64 -w0 > model.yaml.sig
//
// Immutable after Read; any thread.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace millrace {

inline constexpr std::size_t kMaxTrustedKeys = 64;

class TrustedKeys {
 public:
  // Of repository.trusted_keys: base64 of 32 bytes each, or paths of PEM files. kConfiguration.
  static Result<TrustedKeys> Read(const std::string& setting);

  bool empty() const { return keys_.empty(); }
  // kCorruption when `signature`, in base64, is by none of the keys.
  Status Verify(std::string_view message, std::string_view signature) const;

 private:
  static constexpr std::size_t kKeyBytes = 32;
  std::vector<std::string> keys_;  // kKeyBytes each.
};

// Of base64 with its padding; white space around it is passed over. Nothing when it is not that.
std::optional<std::string> Base64Decoded(std::string_view text);

}  // namespace millrace
