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
  // Long runs first, since they read memory in order; short ones last, so that threads end together.
  const int64_t items = items_, grain = grain_, runs = 4 * int64_t{threads()};
  for (int64_t first = next_.load(std::memory_order_relaxed); first < items;) {
    const int64_t share = (items - first) / runs, count = share > grain ? share : grain;
    const int64_t end = count < items - first ? first + count : items;
    if (!next_.compare_exchange_weak(first, end, std::memory_order_relaxed)) continue;
    body_(context_, first, end);
    first = next_.load(std::memory_order_relaxed);
  }
}

void ThreadPool::Work() {
  uint32_t seen = 0, generation;
  for (;;) {
    for (uint32_t spin = 0; (generation = generation_.load(std::memory_order_acquire)) == seen; ++spin) {
      if (spin < spins_) {
        CpuPause();
      } else {
        // Either this thread sees the new loop before it sleeps, or the caller sees that somebody sleeps.
        sleeping_.fetch_add(1, std::memory_order_seq_cst);
        FutexWait(&generation_, seen, 0);
        sleeping_.fetch_sub(1, std::memory_order_relaxed);
      }
    }
    seen = generation;
    if (stop_.load(std::memory_order_relaxed)) return;
    uint32_t gate = gate_.load(std::memory_order_relaxed);
    while ((gate & kOpen) != 0 &&
           !gate_.compare_exchange_weak(gate, gate + 1, std::memory_order_acquire, std::memory_order_relaxed)) {
    }
    if ((gate & kOpen) == 0) continue;  // the others have done it all
    RunItems();
    if (gate_.fetch_sub(1, std::memory_order_seq_cst) == 1 && waiting_.load(std::memory_order_seq_cst)) {
      FutexWakeAll(&gate_);
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
  gate_.store(kOpen, std::memory_order_release);
  generation_.fetch_add(1, std::memory_order_seq_cst);
  if (sleeping_.load(std::memory_order_seq_cst) != 0) FutexWakeAll(&generation_);
  RunItems();
  uint32_t inside = gate_.fetch_and(~kOpen, std::memory_order_seq_cst) & ~kOpen;
  for (uint32_t spin = 0; inside != 0; ++spin) {
    if (spin < spins_) {
      CpuPause();
    } else {
      waiting_.store(true, std::memory_order_seq_cst);
      FutexWait(&gate_, inside, 0);
      waiting_.store(false, std::memory_order_relaxed);
    }
    inside = gate_.load(std::memory_order_acquire);
  }
}

}  // namespace emoe::rt
