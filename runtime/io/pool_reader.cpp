// Reads by a few threads that call pread: works everywhere.
#include <pthread.h>
#include <unistd.h>

#include <atomic>
#include <new>

#include "runtime/io/reader.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {
namespace {

class PoolReader final : public Reader {
 public:
  PoolReader(const ReadFiles &files, uint32_t timeout_ms) : files_(files), timeout_ms_(timeout_ms) {
    pthread_mutex_init(&mutex_, nullptr);
  }

  Status Start(Arena *arena) {
    for (; threads_ < kReaderThreads; ++threads_) {
      void *stack = arena->Take(kStackBytes, kPageBytes);
      pthread_attr_t attributes;
      pthread_attr_init(&attributes);
      int failed = stack == nullptr ? 1 : pthread_attr_setstack(&attributes, stack, kStackBytes);
      if (failed == 0) failed = pthread_create(&ids_[threads_], &attributes, Main, this);
      pthread_attr_destroy(&attributes);
      if (failed != 0) {
        StopThreads();
        return Error(StatusCode::kIo, "cannot start a thread that reads", 0, static_cast<uint64_t>(failed));
      }
    }
    return OkStatus();
  }

  void Submit(const ReadRequest &request) override {
    ++in_flight_;
    pthread_mutex_lock(&mutex_);
    waiting_[(waiting_head_ + waiting_count_++) % kReadDepth] = request;
    pthread_mutex_unlock(&mutex_);
    work_.fetch_add(1, std::memory_order_release);
    FutexWakeAll(&work_);
  }

  Status Wait(ReadDone *done, uint32_t *count) override {
    if (in_flight_ == 0) return Error(StatusCode::kInternal, "waiting for a read, but none is in flight");
    uint64_t deadline = Nanoseconds() + timeout_ms_ * 1000000ull;
    for (;;) {
      uint32_t seen = ended_.load(std::memory_order_acquire);
      *count = TakeDone(done);
      if (*count != 0) return OkStatus();
      uint64_t now = Nanoseconds();
      if (now >= deadline) {
        return Error(StatusCode::kIo, "the storage did not answer within (ms)", timeout_ms_);
      }
      FutexWait(&ended_, seen, deadline - now);
    }
  }

  uint32_t Poll(ReadDone *done) override {
    return in_flight_ == 0 || ended_.load(std::memory_order_acquire) == taken_ ? 0 : TakeDone(done);
  }

  Status ReadAgain(const ReadRequest &request) override { return files_.ReadAgain(request); }

  void Close() override {
    StopThreads();
    if (files_.direct >= 0) close(files_.direct);
    files_.direct = -1;
  }
  const char *name() const override { return "pread"; }
  bool direct() const override { return files_.direct >= 0; }

 private:
  static void *Main(void *self) {
    static_cast<PoolReader *>(self)->Work();
    return nullptr;
  }

  uint32_t TakeDone(ReadDone *done) {
    pthread_mutex_lock(&mutex_);
    uint32_t got = done_count_;
    for (uint32_t i = 0; i < got; ++i) done[i] = done_[i];
    done_count_ = 0;
    pthread_mutex_unlock(&mutex_);
    in_flight_ -= got;
    taken_ += got;
    return got;
  }

  void StopThreads() {
    stop_.store(true, std::memory_order_release);
    work_.fetch_add(1, std::memory_order_release);
    FutexWakeAll(&work_);
    for (uint32_t i = 0; i < threads_; ++i) pthread_join(ids_[i], nullptr);
    threads_ = 0;
  }

  void Work() {
    while (!stop_.load(std::memory_order_acquire)) {
      uint32_t seen = work_.load(std::memory_order_acquire);
      pthread_mutex_lock(&mutex_);
      bool some = waiting_count_ != 0;
      ReadRequest request;
      if (some) {
        request = waiting_[waiting_head_];
        waiting_head_ = (waiting_head_ + 1) % kReadDepth;
        --waiting_count_;
      }
      pthread_mutex_unlock(&mutex_);
      if (!some) {
        if (!stop_.load(std::memory_order_acquire)) FutexWait(&work_, seen, 0);
        continue;
      }
      Status status = files_.Read(request);
      pthread_mutex_lock(&mutex_);
      done_[done_count_++] = {request.tag, status};
      ended_.fetch_add(1, std::memory_order_release);
      pthread_mutex_unlock(&mutex_);
      FutexWakeAll(&ended_);
    }
  }

  ReadFiles files_;
  uint32_t timeout_ms_;
  uint32_t threads_ = 0;
  pthread_t ids_[kReaderThreads];
  pthread_mutex_t mutex_;
  ReadRequest waiting_[kReadDepth];  // guarded by mutex_, as are done_ and the counts
  ReadDone done_[kReadDepth];
  uint32_t waiting_head_ = 0, waiting_count_ = 0, done_count_ = 0;
  uint32_t taken_ = 0;  // ends that were handed to the caller
  std::atomic<uint32_t> work_{0}, ended_{0};  // futexes; they count submissions and ends
  std::atomic<bool> stop_{false};
};

}  // namespace

Status MakePoolReader(const ReadFiles &files, uint32_t timeout_ms, Arena *arena, Reader **out) {
  void *place = arena->Take(sizeof(PoolReader), alignof(PoolReader));
  if (place == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the reader");
  auto *reader = new (place) PoolReader(files, timeout_ms);
  RT_RETURN_IF_ERROR(reader->Start(arena));
  *out = reader;
  return OkStatus();
}

}  // namespace emoe::rt
