#include "models/file_io.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace millrace {

OpenFile& OpenFile::operator=(OpenFile&& other) noexcept {
  if (this != &other) {
    Close();
    fd_ = std::exchange(other.fd_, -1);
  }
  return *this;
}

void OpenFile::Close() {
  if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<OpenFile> OpenFile::Open(const std::string& path, int flags, mode_t mode) {
  const int fd = ::open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return FileError(path, "cannot be opened", errno);
  return OpenFile(fd);
}

Status FileError(const std::string& path, std::string_view what, int error) {
  StatusCode code = StatusCode::kInternal;
  if (error == ENOENT) code = StatusCode::kNotFound;
  if (error == ENOSPC || error == EDQUOT || error == EFBIG) code = StatusCode::kResourceExhausted;
  if (error == EACCES || error == EPERM || error == EROFS) code = StatusCode::kConfiguration;
  return {code,
          std::string(path).append(": ").append(what).append(": ").append(std::strerror(error))};
}

Status WriteAll(int fd, std::string_view bytes, const std::string& path) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::write(fd, bytes.data(), bytes.size());
    if (wrote < 0) {
      if (errno == EINTR) continue;
      return FileError(path, "cannot be written", errno);
    }
    bytes.remove_prefix(static_cast<std::size_t>(wrote));
  }
  return {};
}

Result<std::string> ReadSmallFile(const std::string& path, std::size_t max_bytes) {
  Result<OpenFile> file = OpenFile::Open(path, O_RDONLY);
  if (!file.ok()) return file.status();
  std::string text(max_bytes + 1, '\0');
  std::size_t size = 0;
  while (size < text.size()) {
    const ssize_t got = ::read(file->fd(), text.data() + size, text.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return FileError(path, "cannot be read", errno);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  if (size > max_bytes) {
    return Status(StatusCode::kResourceExhausted,
                  path + ": is larger than " + std::to_string(max_bytes) + " bytes");
  }
  text.resize(size);
  return text;
}

Status ReplaceFile(const std::string& path, std::string_view bytes) {
  const std::string fresh = path + ".new";
  {
    Result<OpenFile> file = OpenFile::Open(fresh, O_WRONLY | O_CREAT | O_TRUNC);
    if (!file.ok()) return file.status();
    Status status = WriteAll(file->fd(), bytes, fresh);
    if (status.ok() && ::fsync(file->fd()) != 0) {
      status = FileError(fresh, "cannot be written", errno);
    }
    if (!status.ok()) {
      ::unlink(fresh.c_str());
      return status;
    }
  }
  if (::rename(fresh.c_str(), path.c_str()) != 0) {
    return FileError(path, "cannot be put in its place", errno);
  }
  return {};
}

Status SyncFolder(const std::string& path) {
  Result<OpenFile> folder = OpenFile::Open(path, O_RDONLY | O_DIRECTORY);
  if (!folder.ok()) return folder.status();
  if (::fsync(folder->fd()) != 0) return FileError(path, "cannot be written", errno);
  return {};
}

Status MakeFolders(const std::string& path) {
  for (std::size_t slash = path.find('/', 1);; slash = path.find('/', slash + 1)) {
    const std::string part = path.substr(0, slash);
    if (::mkdir(part.c_str(), 0700) != 0 && errno != EEXIST) {
      // A folder above that is not ours to make is there already.
      struct stat info {};
      const int error = errno;
      if (::stat(part.c_str(), &info) != 0) return FileError(part, "cannot be made", error);
    }
    if (slash == std::string::npos) return {};
  }
}

}  // namespace millrace
