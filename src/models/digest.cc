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

using Context = std::unique_ptr<EVP_MD_CTX, FreeContext>;

// Null when there is no SHA-256.
Context NewContext() {
  Context context(EVP_MD_CTX_new());
  if (context == nullptr || EVP_DigestInit_ex(context.get(), EVP_sha256(), nullptr) != 1) return {};
  return context;
}

Result<std::string> HexOf(EVP_MD_CTX* context, const std::string& path) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned size = 0;
  if (EVP_DigestFinal_ex(context, digest.data(), &size) != 1) return Broken(path, "SHA-256 failed");
  constexpr std::string_view kHex = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    text += kHex[digest[i] >> 4U];
    text += kHex[digest[i] & 0xFU];
  }
  return text;
}

}  // namespace

Result<std::string> Sha256OfFile(const std::string& path) {
  const std::unique_ptr<std::FILE, CloseFile> file(std::fopen(path.c_str(), "rbe"));
  if (file == nullptr) {
    return Status(StatusCode::kNotFound, path + ": cannot be opened: " + std::strerror(errno));
  }
  const Context context = NewContext();
  if (context == nullptr) return Broken(path, "SHA-256 is not available in this OpenSSL");
  std::vector<unsigned char> piece(kPieceBytes);
  while (true) {
    const std::size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    if (got > 0 && EVP_DigestUpdate(context.get(), piece.data(), got) != 1) {
      return Broken(path, "SHA-256 failed");
    }
    if (got < piece.size()) break;
  }
  if (std::ferror(file.get()) != 0) return Broken(path, "cannot be read to its end");
  return HexOf(context.get(), path);
}

Result<std::string> Sha256OfText(std::string_view text) {
  const Context context = NewContext();
  if (context == nullptr) return Broken("a text", "SHA-256 is not available in this OpenSSL");
  if (EVP_DigestUpdate(context.get(), text.data(), text.size()) != 1) {
    return Broken("a text", "SHA-256 failed");
  }
  return HexOf(context.get(), "a text");
}

}  // namespace millrace
