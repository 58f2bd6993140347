#include "frontends/files.h"

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <utility>

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"

namespace emoe {
namespace {

struct Descriptor {
  int fd;
  ~Descriptor() {
    if (fd >= 0) {
      ::close(fd);
    }
  }
};

absl::Status systemError(const std::string &path, const char *what) {
  std::string message = absl::StrCat(path, ": cannot ", what, ": ", std::strerror(errno));
  return errno == ENOENT || errno == ENOTDIR ? absl::NotFoundError(message) : absl::InvalidArgumentError(message);
}

// Without blocking: a pipe or device in the place of a file must not hang the compiler.
int openForReading(const std::string &path) { return ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK); }

// The true path, all symbolic links resolved; empty if there is none.
std::string realPath(const std::string &path) {
  char *resolved = ::realpath(path.c_str(), nullptr);
  std::string result = resolved ? resolved : "";
  std::free(resolved);
  return result;
}

// The path of an open file as the kernel knows it: what was opened, not what the name means by now.
std::string pathOf(int fd) {
  char buffer[PATH_MAX];
  ssize_t length = ::readlink(absl::StrCat("/proc/self/fd/", fd).c_str(), buffer, sizeof(buffer));
  return length > 0 ? std::string(buffer, static_cast<size_t>(length)) : "";
}

bool isInside(const std::string &path, const std::string &folder) {
  return !folder.empty() && absl::StartsWith(path, folder == "/" ? folder : absl::StrCat(folder, "/"));
}

// `.../snapshots/REVISION[/...]` -> `.../blobs`; empty if `folder` is no snapshot of a Hugging Face cache.
std::string blobsOf(const std::string &folder) {
  const size_t at = folder.rfind("/snapshots/");
  return at == std::string::npos ? "" : folder.substr(0, at) + "/blobs";
}

} // namespace

absl::StatusOr<MappedFile> MappedFile::map(int fd, const std::string &path) {
  struct stat info;
  if (::fstat(fd, &info) != 0) {
    return systemError(path, "examine");
  }
  if (!S_ISREG(info.st_mode)) {
    return absl::InvalidArgumentError(absl::StrCat(path, ": is not a regular file"));
  }
  MappedFile file;
  if (info.st_size == 0) {
    return file;
  }
  void *data = ::mmap(nullptr, static_cast<size_t>(info.st_size), PROT_READ, MAP_PRIVATE, fd, 0);
  if (data == MAP_FAILED) {
    return systemError(path, "map");
  }
  file.data_ = static_cast<const uint8_t *>(data);
  file.size_ = static_cast<size_t>(info.st_size);
  return file;
}

absl::StatusOr<MappedFile> MappedFile::open(const std::string &path) {
  Descriptor file{openForReading(path)};
  if (file.fd < 0) {
    return systemError(path, "open");
  }
  return map(file.fd, path);
}

MappedFile &MappedFile::operator=(MappedFile &&other) noexcept {
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_) {
    ::munmap(const_cast<uint8_t *>(data_), size_);
  }
}

std::string directoryOf(const std::string &path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "." : slash == 0 ? "/" : path.substr(0, slash);
}

absl::StatusOr<MappedFile> openBeside(const std::string &directory, const std::string &location) {
  if (location.empty() || location.size() >= PATH_MAX || location.find('\0') != std::string::npos) {
    return absl::InvalidArgumentError("the location of external data is empty, too long or contains a zero byte");
  }
  if (location[0] == '/') {
    return absl::PermissionDeniedError(absl::StrCat("external data at \"", location, "\": absolute paths are refused; "
                                                    "store the data beside the model and refer to it by name"));
  }
  for (absl::string_view part : absl::StrSplit(location, '/')) {
    if (part == "..") {
      return absl::PermissionDeniedError(absl::StrCat("external data at \"", location,
                                                      "\": \"..\" in a path is refused; store the data beside the "
                                                      "model and refer to it by name"));
    }
  }
  const std::string path = absl::StrCat(directory, "/", location);
  Descriptor file{openForReading(path)};
  if (file.fd < 0) {
    return systemError(path, "open external data");
  }
  const std::string actual = pathOf(file.fd), folder = realPath(directory);
  if (!isInside(actual, folder) && !isInside(actual, blobsOf(folder))) {
    return absl::PermissionDeniedError(
        absl::StrCat("external data at \"", location, "\" leads to ", actual, ", outside the model's folder ", folder,
                     "; copy the file there (links are followed only inside it and into a Hugging Face cache's blobs)"));
  }
  return MappedFile::map(file.fd, path);
}

} // namespace emoe
