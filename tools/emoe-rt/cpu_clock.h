// A clock for measurements on a busy machine: it counts the processor time of the one thread that computes, and the
// time that a modelled device makes it wait, which passes at once. What the model's own reads cost is left out, as are
// the clock's own calls.
#ifndef EMOE_TOOLS_EMOE_RT_CPU_CLOCK_H_
#define EMOE_TOOLS_EMOE_RT_CPU_CLOCK_H_

#include "runtime/io/syscalls.h"

namespace emoe::rt {

// For the thread that makes it; lives as long as the clock is used.
class CpuClock {
 public:
  CpuClock();
  Clock clock() { return {Now, SleepUntil, Pause, this}; }

 private:
  static uint64_t Now(void *self);
  static void SleepUntil(void *self, uint64_t when);
  static void Pause(void *self, bool paused);

  uint64_t call_ns_ = 0;     // of one look at the thread's time
  uint64_t skipped_ = 0;     // time that was waited
  uint64_t left_out_ = 0;    // of the thread's time
  uint64_t paused_at_ = 0, last_ = 0;
};

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_CPU_CLOCK_H_
