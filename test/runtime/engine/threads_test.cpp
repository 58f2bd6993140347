#include "runtime/engine/threads.h"

#include <gtest/gtest.h>

#include <atomic>
#include <vector>

namespace emoe::rt {
namespace {

TEST(ThreadPool, EveryItemOnceInEveryLoop) {
  for (uint32_t threads : {1, 2, 3, 7, 16}) {
    Arena arena;
    ASSERT_TRUE(arena.Map(kStackBytes * threads + 4096).ok());
    ThreadPool pool;
    ASSERT_TRUE(pool.Start(threads, &arena).ok());
    EXPECT_EQ(pool.threads(), threads);
    std::vector<int> counts(1000);
    int64_t expected = 0;
    for (int64_t items : {0, 1, 2, 5, 64, 999, 1000}) {
      for (int64_t grain : {1, 3, 100}) {
        for (int round = 0; round < 20; ++round) {
          pool.ParallelFor(items, grain, [](void *context, int64_t first, int64_t last) {
            for (int64_t i = first; i < last; ++i) ++static_cast<int *>(context)[i];
          }, counts.data());
          expected += items;
        }
      }
    }
    int64_t total = 0;
    for (int count : counts) total += count;
    EXPECT_EQ(total, expected);
    EXPECT_EQ(counts[0], 6 * 3 * 20);
    EXPECT_EQ(counts[999], 3 * 20);
    pool.Stop();
    arena.Unmap();
  }
}

// The first call keeps a worker busy inside the loop: its work must be waited for, and the next loop sees no trace of it.
TEST(ThreadPool, WaitsForThoseInside) {
  Arena arena;
  ASSERT_TRUE(arena.Map(kStackBytes * 2 + 4096).ok());
  ThreadPool pool;
  ASSERT_TRUE(pool.Start(2, &arena).ok());
  for (int round = 0; round < 200; ++round) {
    struct Sum {
      std::atomic<int64_t> value{0};
    } sum;
    pool.ParallelFor(2, 1, [](void *context, int64_t first, int64_t) {
      for (volatile int i = 0; i < (first == 0 ? 100 : 3000); i = i + 1) {
      }
      static_cast<Sum *>(context)->value += first + 1;
    }, &sum);
    ASSERT_EQ(sum.value, 3) << round;
  }
  pool.Stop();
  arena.Unmap();
}

}  // namespace
}  // namespace emoe::rt
