#include "runtime/engine/threads.h"

#include <unistd.h>

#include "runtime/io/syscalls.h"

namespace emoe::rt {

Status ThreadPool::Start(uint32_t threads, Arena *arena) {
  // More threads than cores: the one that is waited for may need this core, so nobody spins.
  long cores = sysconf(_SC_NPROCESSORS_ONLN);
  spins_ = static_cast<long>(threads) <= cores ? 4000 : 0;
  while (started_ + 1 < threads) {
    void *stack = arena->Take(kStackBytes, kPageBytes);
    pthread_attr_t attributes;
    pthread_attr_init(&attributes);
    int failed = stack == nullptr ? 1 : pthread_attr_setstack(&attributes, stack, kStackBytes);
    if (failed == 0) failed = pthread_create(&ids_[started_], &attributes, Main, this);
    pthread_attr_destroy(&attributes);
    if (failed != 0) {
      Stop();
      return Error(StatusCode::kUsage, "the system does not start so many threads: use fewer than", threads);
    }
    ++started_;
  }
  return OkStatus();
}

void ThreadPool::Stop() {
  stop_.store(true, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_release);
  FutexWakeAll(&generation_);
  for (uint32_t i = 0; i < started_; ++i) pthread_join(ids_[i], nullptr);
  started_ = 0;
}

void *ThreadPool::Main(void *self) {
  static_cast<ThreadPool *>(self)->Work();
  return nullptr;
}

void ThreadPool::RunItems() {
  int64_t items = items_, grain = grain_;
  for (;;) {
    int64_t first = next_.fetch_add(grain, std::memory_order_relaxed);
    if (first >= items) return;
    body_(context_, first, first + grain < items ? first + grain : items);
  }
}

void ThreadPool::Work() {
  uint32_t seen = 0;
  for (;;) {
    for (uint32_t spin = 0; generation_.load(std::memory_order_acquire) == seen; ++spin) {
      if (spin < spins_) {
        CpuPause();
      } else {
        // Either this thread sees the new loop before it sleeps, or the caller sees that somebody sleeps.
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        FutexWait(&generation_, seen, 0);
        sleeping_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    ++seen;  // a thread takes part in every loop, so it never falls behind by more than one
    if (stop_.load(std::memory_order_relaxed)) return;
    RunItems();
    if (busy_.fetch_sub(1, std::memory_order_seq_cst) == 1 && waiting_.load(std::memory_order_seq_cst)) {
      FutexWakeAll(&busy_);
    }
  }
}

void ThreadPool::ParallelFor(int64_t items, int64_t grain, Body body, void *context) {
  if (items <= 0) return;
  if (started_ == 0 || items <= grain) {
    body(context, 0, items);
    return;
  }
  body_ = body;
  context_ = context;
  items_ = items;
  grain_ = grain;
  next_.store(0, std::memory_order_relaxed);
  busy_.store(started_, std::memory_order_relaxed);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) != 0) FutexWakeAll(&generation_);
  RunItems();
  uint32_t left;
  for (uint32_t spin = 0; (left = busy_.load(std::memory_order_acquire)) != 0; ++spin) {
    if (spin < spins_) {
      CpuPause();
    } else {
      waiting_.store(true, std::memory_order_seq_cst);
      FutexWait(&busy_, left, 0);
      waiting_.store(false, std::memory_order_relaxed);
    }
  }
}

}  // namespace emoe::rt
