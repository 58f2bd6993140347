// Reads by io_uring: no threads, the kernel works while experts at hand are computed.
#include <errno.h>
#include <linux/io_uring.h>
#include <linux/time_types.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <new>

#include "runtime/io/reader.h"

namespace emoe::rt {
namespace {

// The kernel is at the other end of these words.
uint32_t LoadAcquire(const uint32_t *word) { return __atomic_load_n(word, __ATOMIC_ACQUIRE); }
void StoreRelease(uint32_t *word, uint32_t value) { __atomic_store_n(word, value, __ATOMIC_RELEASE); }

class UringReader final : public Reader {
 public:
  UringReader(const ReadFiles &files, uint32_t timeout_ms) : files_(files), timeout_ms_(timeout_ms) {
    for (uint32_t i = 0; i < kReadDepth; ++i) free_[i] = i;
  }

  Status Start() {
    io_uring_params params;
    memset(&params, 0, sizeof(params));
    ring_ = files_.calls->uring_setup(kReadDepth, &params);
    if (ring_ < 0) {
      return Error(StatusCode::kUnsupported, "io_uring is not allowed here: use --io pread", 0,
                   static_cast<uint64_t>(errno));
    }
    // EXT_ARG (Linux 5.11) is waiting with a timeout; such kernels know IORING_OP_READ.
    constexpr uint32_t kNeeded = IORING_FEAT_EXT_ARG | IORING_FEAT_SINGLE_MMAP | IORING_FEAT_NODROP;
    if ((params.features & kNeeded) != kNeeded) {
      Unmap();
      return Error(StatusCode::kUnsupported, "this kernel's io_uring is too old: use --io pread", params.features);
    }
    size_t submit_bytes = params.sq_off.array + params.sq_entries * sizeof(uint32_t);
    size_t complete_bytes = params.cq_off.cqes + params.cq_entries * sizeof(io_uring_cqe);
    rings_bytes_ = submit_bytes > complete_bytes ? submit_bytes : complete_bytes;
    entries_bytes_ = params.sq_entries * sizeof(io_uring_sqe);
    rings_ = static_cast<char *>(Map(rings_bytes_, IORING_OFF_SQ_RING));
    entries_ = static_cast<io_uring_sqe *>(Map(entries_bytes_, IORING_OFF_SQES));
    if (rings_ == nullptr || entries_ == nullptr) {
      Unmap();
      return Error(StatusCode::kUnsupported, "io_uring's rings cannot be mapped: use --io pread");
    }
    auto word = [this](uint32_t offset) { return reinterpret_cast<uint32_t *>(rings_ + offset); };
    submit_tail_ = word(params.sq_off.tail);
    submit_mask_ = *word(params.sq_off.ring_mask);
    submit_array_ = word(params.sq_off.array);
    complete_head_ = word(params.cq_off.head);
    complete_tail_ = word(params.cq_off.tail);
    complete_mask_ = *word(params.cq_off.ring_mask);
    completions_ = reinterpret_cast<io_uring_cqe *>(rings_ + params.cq_off.cqes);
    return OkStatus();
  }

  void Submit(const ReadRequest &request) override {
    uint32_t place = free_[in_flight_++];
    requests_[place] = request;
    uint32_t tail = *submit_tail_;
    uint32_t index = tail & submit_mask_;
    io_uring_sqe &entry = entries_[index];
    memset(&entry, 0, sizeof(entry));
    entry.opcode = IORING_OP_READ;
    entry.fd = files_.descriptor();
    entry.off = request.offset;
    entry.addr = reinterpret_cast<uintptr_t>(request.out);
    entry.len = request.bytes;
    entry.user_data = place;
    submit_array_[index] = index;
    StoreRelease(submit_tail_, tail + 1);
    ++unsubmitted_;
    Enter(0, nullptr);  // what the kernel does not take now, Wait hands over
  }

  Status Wait(ReadDone *done, uint32_t *count) override {
    if (in_flight_ == 0) return Error(StatusCode::kInternal, "waiting for a read, but none is in flight");
    uint64_t deadline = Nanoseconds() + timeout_ms_ * 1000000ull;
    while (LoadAcquire(complete_tail_) == *complete_head_) {
      uint64_t now = Nanoseconds();
      if (now >= deadline) {
        return Error(StatusCode::kIo, "the storage did not answer within (ms)", timeout_ms_);
      }
      __kernel_timespec left;
      left.tv_sec = static_cast<int64_t>((deadline - now) / 1000000000u);
      left.tv_nsec = static_cast<int64_t>((deadline - now) % 1000000000u);
      int error = Enter(1, &left);
      if (error != 0 && error != EINTR && error != ETIME && error != EAGAIN && error != EBUSY) {
        return Error(StatusCode::kIo, "io_uring failed", 0, static_cast<uint64_t>(error));
      }
    }
    *count = TakeDone(done);
    return OkStatus();
  }

  uint32_t Poll(ReadDone *done) override {
    if (in_flight_ == 0) return 0;
    if (unsubmitted_ != 0) Enter(0, nullptr);
    return TakeDone(done);
  }

  Status ReadAgain(const ReadRequest &request) override { return files_.ReadAgain(request); }

  void Close() override {
    Unmap();
    if (files_.direct >= 0) close(files_.direct);
    files_.direct = -1;
  }
  const char *name() const override { return "io_uring"; }
  bool direct() const override { return files_.direct >= 0; }

 private:
  void *Map(size_t bytes, uint64_t offset) {
    void *at = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, ring_,
                    static_cast<off_t>(offset));
    return at == MAP_FAILED ? nullptr : at;
  }

  void Unmap() {
    if (rings_ != nullptr) munmap(rings_, rings_bytes_);
    if (entries_ != nullptr) munmap(entries_, entries_bytes_);
    if (ring_ >= 0) close(ring_);
    rings_ = nullptr;
    entries_ = nullptr;
    ring_ = -1;
  }

  // Hands over what is prepared and waits for `wait_for` completions; an errno, or 0.
  int Enter(uint32_t wait_for, const __kernel_timespec *timeout) {
    io_uring_getevents_arg arg;
    memset(&arg, 0, sizeof(arg));
    arg.ts = reinterpret_cast<uintptr_t>(timeout);
    bool wait = wait_for != 0;
    int taken = files_.calls->uring_enter(ring_, unsubmitted_, wait_for,
                                          wait ? IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG : 0,
                                          wait ? &arg : nullptr, wait ? sizeof(arg) : 0);
    if (taken < 0) return errno;
    unsubmitted_ -= static_cast<uint32_t>(taken) < unsubmitted_ ? static_cast<uint32_t>(taken) : unsubmitted_;
    return 0;
  }

  uint32_t TakeDone(ReadDone *done) {
    uint32_t head = *complete_head_, tail = LoadAcquire(complete_tail_), ended = 0;
    for (; head != tail; ++head) {
      const io_uring_cqe &completion = completions_[head & complete_mask_];
      uint32_t place = static_cast<uint32_t>(completion.user_data);
      done[ended++] = {requests_[place].tag, Finish(requests_[place], completion.res)};
      free_[--in_flight_] = place;
    }
    StoreRelease(complete_head_, head);
    return ended;
  }

  // A read that failed or fell short is done again by the blocking loop, which knows when to retry.
  Status Finish(const ReadRequest &request, int32_t result) {
    if (result < 0 || static_cast<uint32_t>(result) != request.bytes) return files_.Read(request);
    files_.DropCache(request);
    return OkStatus();
  }

  ReadFiles files_;
  uint32_t timeout_ms_;
  int ring_ = -1;
  char *rings_ = nullptr;
  io_uring_sqe *entries_ = nullptr;
  size_t rings_bytes_ = 0, entries_bytes_ = 0;
  uint32_t *submit_tail_ = nullptr, *submit_array_ = nullptr, *complete_head_ = nullptr, *complete_tail_ = nullptr;
  uint32_t submit_mask_ = 0, complete_mask_ = 0, unsubmitted_ = 0;
  io_uring_cqe *completions_ = nullptr;
  ReadRequest requests_[kReadDepth];
  uint32_t free_[kReadDepth];  // places of requests_ that are not in flight, from [in_flight_] on
};

}  // namespace

Status MakeUringReader(const ReadFiles &files, uint32_t timeout_ms, Arena *arena, Reader **out) {
  void *place = arena->Take(sizeof(UringReader), alignof(UringReader));
  if (place == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the reader");
  auto *reader = new (place) UringReader(files, timeout_ms);
  RT_RETURN_IF_ERROR(reader->Start());
  *out = reader;
  return OkStatus();
}

}  // namespace emoe::rt
