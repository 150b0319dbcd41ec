#include "models/digest.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

#include "base/check.h"

namespace millrace {
namespace {

constexpr std::size_t kPieceBytes = 256 << 10;

struct CloseFile {
  void operator()(std::FILE* file) const { std::fclose(file); }
};
struct FreeContext {
  void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
};

Status Broken(const std::string& path, const char* what) {
  return {StatusCode::kInternal, path + ": " + what};
}

std::string_view Bytes(const std::array<unsigned char, EVP_MAX_MD_SIZE>& digest, unsigned size) {
  return {reinterpret_cast<const char*>(digest.data()), size};
}

}  // namespace

Result<std::string> Sha256OfFile(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) {
    return Status(StatusCode::kNotFound, path + ": cannot be opened: " + std::strerror(errno));
  }
  const std::unique_ptr<EVP_MD_CTX, FreeContext> context(EVP_MD_CTX_new());
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) {
    return Broken(path, "SHA-256 is not available in this OpenSSL");
  }
  std::vector<unsigned char> piece(kPieceBytes);
  while (true) {
    const std::size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    if (got > 0 && EVP_DigestUpdate(context.get(), piece.data(), got) != 1) {
      return Broken(path, "SHA-256 failed");
    }
    if (got < piece.size()) break;
  }
  if (std::ferror(file.get()) != 0) return Broken(path, "cannot be read to its end");
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context.get(), digest.data(), &size) != 1) {
    return Broken(path, "SHA-256 failed");
  }
  return HexText(Bytes(digest, size));
}

std::string Sha256Hex(std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  // Of bytes in memory it fails only where the library has no SHA-256 at all.
  MILLRACE_CHECK(
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1);
  return HexText(Bytes(digest, size));
}

std::string HmacSha256(std::string_view key, std::string_view bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  MILLRACE_CHECK(HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()),
                      reinterpret_cast<const unsigned char*>(bytes.data()), bytes.size(),
                      digest.data(), &size) != nullptr);
  return std::string(Bytes(digest, size));
}

std::string HexText(std::string_view bytes) {
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  text.reserve(bytes.size() * 2);
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kHex[byte >> 4U];
    text += kHex[byte & 0xFU];
  }
  return text;
}

bool IsSha256(std::string_view text) {
  return text.size() == kSha256Digits && std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace millrace
