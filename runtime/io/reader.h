// Asynchronous reads of whole expert records: submit many, wait for whichever comes first.
//
// A reader belongs to one thread. Reads land where the request says; nothing is allocated after MakeReader. The bytes
// are not checked here.
#ifndef EMOE_RUNTIME_IO_READER_H_
#define EMOE_RUNTIME_IO_READER_H_

#include "runtime/bundle/bundle.h"
#include "runtime/io/syscalls.h"
#include "runtime/memory/arena.h"

namespace emoe::rt {

// kAuto: io_uring where the kernel allows it, else threads.
enum class IoMode : uint8_t { kAuto, kUring, kPread };
enum class DirectMode : uint8_t { kAuto, kOn, kOff };

// For direct reads offset, out and bytes must be multiples of 4096.
struct ReadRequest {
  uint64_t offset = 0;
  void *out = nullptr;
  uint32_t bytes = 0;
  uint32_t tag = 0;  // comes back with the completion
};

struct ReadDone {
  uint32_t tag = 0;
  Status status;
};

constexpr uint32_t kReadDepth = 32;  // reads that may be in flight together

struct ReaderOptions {
  IoMode io = IoMode::kAuto;
  DirectMode direct = DirectMode::kAuto;
  uint64_t probe_offset = 0;  // 4096 bytes here are read both ways to learn whether direct reads work
  uint32_t timeout_ms = 30000;
  const Syscalls *calls = &kSyscalls;
};

class Reader {
 public:
  virtual ~Reader() = default;

  // At most kReadDepth requests may be in flight.
  virtual void Submit(const ReadRequest &request) = 0;

  // Blocks until at least one read in flight has ended; `count` of `done` (room for kReadDepth) are filled in.
  // kIo: nothing ended within the timeout; the reader is then of no more use, and its memory must stay mapped.
  virtual Status Wait(ReadDone *done, uint32_t *count) = 0;

  // Takes what has ended, without blocking: fills `done` (room for kReadDepth) and returns how many; 0 if none has.
  virtual uint32_t Poll(ReadDone *done) = 0;

  // Whether reads go on while the caller computes.
  virtual bool concurrent() const { return true; }

  // Reads again, blocking, past every cache that can be passed by.
  virtual Status ReadAgain(const ReadRequest &request) = 0;

  // Stops threads and closes descriptors; nothing may be in flight.
  virtual void Close() = 0;

  virtual const char *name() const = 0;  // "io_uring", "pread", "provider"
  virtual bool direct() const = 0;
  uint32_t in_flight() const { return in_flight_; }

 protected:
  uint32_t in_flight_ = 0;
};

// Chooses, probes and makes a reader inside `arena`. A provider without a descriptor is read by its Read. kUnsupported
// if an explicit choice (kUring, kOn) does not work here.
Status MakeReader(Provider &provider, const ReaderOptions &options, Arena *arena, Reader **out);

// Shared by the readers: both descriptors of one file.
struct ReadFiles {
  const Syscalls *calls = &kSyscalls;
  int buffered = -1;  // the provider's
  int direct = -1;    // ours, or -1

  // Blocking; falls back to buffered where a direct read is refused.
  Status Read(const ReadRequest &request) const;
  Status ReadAgain(const ReadRequest &request) const;
  int descriptor() const { return direct >= 0 ? direct : buffered; }
  void DropCache(const ReadRequest &request) const {
    if (direct < 0) calls->drop_cache(buffered, request.offset, request.bytes);
  }
};

// kUnsupported: the kernel does not allow io_uring, or lacks what we need of it.
Status MakeUringReader(const ReadFiles &files, uint32_t timeout_ms, Arena *arena, Reader **out);
Status MakePoolReader(const ReadFiles &files, uint32_t timeout_ms, Arena *arena, Reader **out);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_IO_READER_H_
