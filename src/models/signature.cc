#include "models/signature.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>

#include "models/options.h"

namespace millrace {
namespace {

constexpr std::size_t kSignatureBytes = 64;

struct FreeKey {
  void operator()(EVP_PKEY* key) const { EVP_PKEY_free(key); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};
struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
using Key = std::unique_ptr<EVP_PKEY, FreeKey>;

Status WrongKey(const std::string& entry, const std::string& why) {
  return {StatusCode::kConfiguration,
          "repository.trusted_keys: " + entry + ": " + why +
              "; expected base64 of the 32 bytes of an Ed25519 public key, or a PEM file"};
}

Result<std::string> KeyOfPem(const std::string& path, std::size_t key_bytes) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr)
    return WrongKey(path, std::string("cannot be read: ") + std::strerror(errno));
  const Key key(PEM_read_PUBKEY(file.get(), nullptr, nullptr, nullptr));
  ERR_clear_error();
  if (key == nullptr) return WrongKey(path, "holds no public key");
  std::string raw(key_bytes, '\0');
  std::size_t size = raw.size();
  if (EVP_PKEY_get_base_id(key.get()) != EVP_PKEY_ED25519 ||
      EVP_PKEY_get_raw_public_key(key.get(), reinterpret_cast<unsigned char*>(raw.data()), &size) !=
          1 ||
      size != key_bytes) {
    return WrongKey(path, "is no Ed25519 key");
  }
  return raw;
}

bool SignedBy(const std::string& raw_key, std::string_view message, const std::string& signature) {
  const Key key(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr,
                                            reinterpret_cast<const unsigned char*>(raw_key.data()),
                                            raw_key.size()));
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  const bool good =
      key != nullptr && context != nullptr &&
      EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, key.get()) == 1 &&
      EVP_DigestVerify(context.get(), reinterpret_cast<const unsigned char*>(signature.data()),
                       signature.size(), reinterpret_cast<const unsigned char*>(message.data()),
                       message.size()) == 1;
  ERR_clear_error();
  return good;
}

}  // namespace

std::optional<std::string> Base64Decoded(std::string_view text) {
  constexpr std::string_view kSpace = " \t\r\n";
  const std::size_t first = text.find_first_not_of(kSpace);
  if (first == std::string_view::npos) return std::nullopt;
  text = text.substr(first, text.find_last_not_of(kSpace) - first + 1);
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '/' || c == '=';
  });
  if (!plain || text.size() % 4 != 0) return std::nullopt;
  const std::size_t end = text.find('=');
  const std::size_t padding = end == std::string_view::npos ? 0 : text.size() - end;
  if (padding > 2 ||
      text.substr(text.size() - padding).find_first_not_of('=') != std::string_view::npos) {
    return std::nullopt;
  }
  std::string out(text.size() / 4 * 3, '\0');
  const int size = EVP_DecodeBlock(reinterpret_cast<unsigned char*>(out.data()),
                                   reinterpret_cast<const unsigned char*>(text.data()),
                                   static_cast<int>(text.size()));
  if (size < 0) return std::nullopt;
  out.resize(static_cast<std::size_t>(size) - padding);
  return out;
}

Result<TrustedKeys> TrustedKeys::Read(const std::string& setting) {
  TrustedKeys trusted;
  for (const std::string& entry : SplitList(setting)) {
    if (trusted.keys_.size() >= kMaxTrustedKeys) return WrongKey(entry, "is one too many");
    std::optional<std::string> raw = Base64Decoded(entry);
    if (!raw || raw->size() != kKeyBytes) {
      Result<std::string> pem = KeyOfPem(entry, kKeyBytes);
      if (!pem.ok()) return pem.status();
      raw = std::move(*pem);
    }
    trusted.keys_.push_back(std::move(*raw));
  }
  return trusted;
}

Status TrustedKeys::Verify(std::string_view message, std::string_view signature) const {
  const std::optional<std::string> raw = Base64Decoded(signature);
  if (!raw || raw->size() != kSignatureBytes) {
    return {StatusCode::kCorruption, "is no base64 of the 64 bytes of an Ed25519 signature"};
  }
  for (const std::string& key : keys_) {
    if (SignedBy(key, message, *raw)) return {};
  }
  return {StatusCode::kCorruption, "is by none of repository.trusted_keys, or of another manifest"};
}

}  // namespace millrace
