#include "runtime/io/reader.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <new>

#include "runtime/io/file.h"

namespace emoe::rt {
namespace {

constexpr size_t kProbeBytes = 4096;

// Reads through a provider that has no descriptor, one request at a time.
class ProviderReader final : public Reader {
 public:
  explicit ProviderReader(Provider &provider) : provider_(&provider) {}
  void Submit(const ReadRequest &request) override { waiting_[in_flight_++] = request; }
  Status Wait(ReadDone *done, uint32_t *count) override {
    if (in_flight_ == 0) return Error(StatusCode::kInternal, "waiting for a read, but none is in flight");
    ReadRequest request = waiting_[0];
    --in_flight_;
    for (uint32_t i = 0; i < in_flight_; ++i) waiting_[i] = waiting_[i + 1];
    done[0] = {request.tag, provider_->Read(request.offset, request.out, request.bytes)};
    *count = 1;
    return OkStatus();
  }
  uint32_t Poll(ReadDone *done) override {
    uint32_t count = 0;
    return in_flight_ != 0 && Wait(done, &count).ok() ? count : 0;
  }
  bool concurrent() const override { return false; }
  Status ReadAgain(const ReadRequest &request) override {
    return provider_->Read(request.offset, request.out, request.bytes);
  }
  void Close() override {}
  const char *name() const override { return "provider"; }
  bool direct() const override { return false; }

 private:
  Provider *provider_;
  ReadRequest waiting_[kReadDepth];
};

// A second descriptor of the same file that passes the page cache by, or -1. Some file systems refuse O_DIRECT, some
// take it and fail on reading, some take it and give other bytes: so read and compare.
int OpenDirect(const Syscalls &calls, int buffered, uint64_t offset, Arena *arena) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/self/fd/%d", buffered);
  int fd = calls.open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
  if (fd < 0) return -1;
  char *probe = static_cast<char *>(arena->Take(2 * kProbeBytes, kProbeBytes));
  if (probe != nullptr && ReadFully(calls, buffered, probe, kProbeBytes, offset).ok() &&
      ReadFully(calls, fd, probe + kProbeBytes, kProbeBytes, offset).ok() &&
      memcmp(probe, probe + kProbeBytes, kProbeBytes) == 0) {
    return fd;
  }
  close(fd);
  return -1;
}

}  // namespace

Status ReadFiles::Read(const ReadRequest &request) const {
  if (direct >= 0) {
    Status status = ReadFully(*calls, direct, request.out, request.bytes, request.offset);
    // After a short direct read the rest may start at an offset that direct reads refuse.
    if (status.ok() || status.detail2 != EINVAL) return status;
  }
  Status status = ReadFully(*calls, buffered, request.out, request.bytes, request.offset);
  if (status.ok()) calls->drop_cache(buffered, request.offset, request.bytes);
  return status;
}

Status ReadFiles::ReadAgain(const ReadRequest &request) const {
  calls->drop_cache(buffered, request.offset, request.bytes);
  return Read(request);
}

Status MakeReader(Provider &provider, const ReaderOptions &options, Arena *arena, Reader **out) {
  int fd = provider.descriptor();
  if (fd < 0) {
    if (options.io == IoMode::kUring || options.direct == DirectMode::kOn) {
      return Error(StatusCode::kUnsupported, "this source of bytes has no file: io_uring and direct reads need one");
    }
    void *place = arena->Take(sizeof(ProviderReader), alignof(ProviderReader));
    if (place == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the reader");
    *out = new (place) ProviderReader(provider);
    return OkStatus();
  }
  ReadFiles files{options.calls, fd, -1};
  if (options.direct != DirectMode::kOff) {
    files.direct = OpenDirect(*options.calls, fd, options.probe_offset, arena);
    if (files.direct < 0 && options.direct == DirectMode::kOn) {
      return Error(StatusCode::kUnsupported, "direct reads do not work on this file: use --direct auto or off");
    }
  }
  Status status = Error(StatusCode::kUnsupported, "");
  if (options.io != IoMode::kPread) {
    status = MakeUringReader(files, options.timeout_ms, arena, out);
  }
  if (!status.ok() && options.io != IoMode::kUring) {
    status = MakePoolReader(files, options.timeout_ms, arena, out);
  }
  if (!status.ok() && files.direct >= 0) close(files.direct);
  return status;
}

}  // namespace emoe::rt
