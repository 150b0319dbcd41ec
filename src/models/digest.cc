#include "models/digest.h"

#include <openssl/evp.h>

#include <array>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <memory>
#include <vector>

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
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += kHex[digest[i] >> 4U];
    text += kHex[digest[i] & 0xFU];
  }
  return text;
}

}  // namespace millrace
