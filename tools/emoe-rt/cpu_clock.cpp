#include "tools/emoe-rt/cpu_clock.h"

#include <time.h>

namespace emoe::rt {
namespace {

uint64_t ThreadNanoseconds() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

}  // namespace

// The cheapest of several runs, so that the calls are rather left in than too much taken out.
CpuClock::CpuClock() {
  constexpr uint64_t kCalls = 200;
  call_ns_ = ~0ull;
  for (int run = 0; run < 20; ++run) {
    uint64_t start = ThreadNanoseconds();
    for (uint64_t i = 1; i < kCalls; ++i) ThreadNanoseconds();
    uint64_t mean = (ThreadNanoseconds() - start) / kCalls;
    if (mean < call_ns_) call_ns_ = mean;
  }
}

uint64_t CpuClock::Now(void *self) {
  auto *clock = static_cast<CpuClock *>(self);
  clock->left_out_ += clock->call_ns_;
  uint64_t now = ThreadNanoseconds() + clock->skipped_;
  now = now > clock->left_out_ ? now - clock->left_out_ : 0;
  if (now > clock->last_) clock->last_ = now;
  return clock->last_;
}

void CpuClock::SleepUntil(void *self, uint64_t when) {
  auto *clock = static_cast<CpuClock *>(self);
  uint64_t now = ThreadNanoseconds() + clock->skipped_;
  if (now < when + clock->left_out_) clock->skipped_ += when + clock->left_out_ - now;
}

void CpuClock::Pause(void *self, bool paused) {
  auto *clock = static_cast<CpuClock *>(self);
  if (paused) {
    clock->paused_at_ = ThreadNanoseconds();
  } else {
    clock->left_out_ += ThreadNanoseconds() - clock->paused_at_ + clock->call_ns_;
  }
}

}  // namespace emoe::rt
