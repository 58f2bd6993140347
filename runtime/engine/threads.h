// A fixed set of threads that share one loop at a time. Nothing is allocated after Start.
#ifndef EMOE_RUNTIME_ENGINE_THREADS_H_
#define EMOE_RUNTIME_ENGINE_THREADS_H_

#include <pthread.h>
#include <stdint.h>

#include <atomic>

#include "runtime/memory/arena.h"
#include "runtime/memory/budget.h"

namespace emoe::rt {

class ThreadPool {
 public:
  // Computes items [first, last). Items are independent: any thread, any order.
  using Body = void (*)(void *context, int64_t first, int64_t last);

  // Starts threads - 1 threads with stacks from `arena`; the caller of ParallelFor is the last one.
  Status Start(uint32_t threads, Arena *arena);
  void Stop();

  // Runs `body` over all items and returns when all are done. Threads take runs of items as they get free, shorter ones
  // towards the end but of `grain` at least, so that unequal cores end together; one that the system has not let run yet
  // is not waited for. Only the thread that called Start may call.
  void ParallelFor(int64_t items, int64_t grain, Body body, void *context);

  uint32_t threads() const { return started_ + 1; }

 private:
  static void *Main(void *self);
  void Work();
  void RunItems();

  pthread_t ids_[kMostThreads];
  uint32_t started_ = 0;
  uint32_t spins_ = 0;  // turns of a waiting loop before the thread sleeps

  static constexpr uint32_t kOpen = 1u << 16;

  // The loop at hand; written while the gate is closed and nobody is inside, read inside.
  Body body_ = nullptr;
  void *context_ = nullptr;
  int64_t items_ = 0, grain_ = 1;
  std::atomic<int64_t> next_{0};
  std::atomic<uint32_t> generation_{0};  // futex: the workers wait on it
  std::atomic<uint32_t> gate_{0};        // kOpen while workers may enter, plus those inside; futex: the caller waits on it
  std::atomic<uint32_t> sleeping_{0};    // workers that sleep on generation_, or are about to
  std::atomic<bool> waiting_{false};     // the caller sleeps on gate_, or is about to
  std::atomic<bool> stop_{false};
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_THREADS_H_
