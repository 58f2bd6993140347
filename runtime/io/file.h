// A bundle file as a provider, and the one loop that every blocking read goes through.
#ifndef EMOE_RUNTIME_IO_FILE_H_
#define EMOE_RUNTIME_IO_FILE_H_

#include "runtime/bundle/bundle.h"
#include "runtime/io/syscalls.h"

namespace emoe::rt {

// Reads `bytes` at `offset`. Goes on after short reads and EINTR; an EIO is tried again after 10, 50 and 250 ms;
// other errors fail at once. kIo: detail = offset, detail2 = errno, or 0 if the file ended.
Status ReadFully(const Syscalls &calls, int fd, void *out, size_t bytes, uint64_t offset);

class FileProvider : public Provider {
 public:
  explicit FileProvider(const Syscalls &calls = kSyscalls) : calls_(&calls) {}
  ~FileProvider() override { Close(); }
  FileProvider(const FileProvider &) = delete;
  FileProvider &operator=(const FileProvider &) = delete;

  // kIo: detail2 = errno. A folder or device is refused.
  Status Open(const char *path);
  void Close();

  uint64_t size() const override { return size_; }
  Status Read(uint64_t offset, void *out, size_t bytes) override {
    return ReadFully(*calls_, fd_, out, bytes, offset);
  }
  int descriptor() const override { return fd_; }

 private:
  const Syscalls *calls_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_IO_FILE_H_
