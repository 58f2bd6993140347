#include "runtime/io/file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace emoe::rt {

Status ReadFully(const Syscalls &calls, int fd, void *out, size_t bytes, uint64_t offset) {
  constexpr uint32_t kBackoffMs[] = {10, 50, 250};
  uint32_t failures = 0;
  size_t done = 0;
  while (done < bytes) {
    ssize_t got = calls.pread(fd, static_cast<char *>(out) + done, bytes - done, offset + done);
    if (got > 0) {
      done += static_cast<size_t>(got);
    } else if (got == 0) {
      return Error(StatusCode::kIo, "the file ended early: it was truncated while in use; at", offset + done);
    } else if (errno == EIO && failures < sizeof(kBackoffMs) / sizeof(kBackoffMs[0])) {
      calls.sleep_ms(kBackoffMs[failures++]);
    } else if (errno != EINTR) {
      return Error(StatusCode::kIo, "reading the bundle failed at", offset + done, static_cast<uint64_t>(errno));
    }
  }
  return OkStatus();
}

Status FileProvider::Open(const char *path) {
  Close();
  int fd = calls_->open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Error(StatusCode::kIo, "cannot open the file", 0, static_cast<uint64_t>(errno));
  struct stat info;
  if (fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
    close(fd);
    return Error(StatusCode::kIo, "this is not a file", 0, EINVAL);
  }
  fd_ = fd;
  size_ = static_cast<uint64_t>(info.st_size);
  return OkStatus();
}

void FileProvider::Close() {
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

}  // namespace emoe::rt
