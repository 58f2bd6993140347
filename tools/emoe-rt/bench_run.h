// One measurement of bench: a session, and a prompt and generation a few times.
#ifndef EMOE_TOOLS_EMOE_RT_BENCH_RUN_H_
#define EMOE_TOOLS_EMOE_RT_BENCH_RUN_H_

#include "runtime/engine/session.h"
#include "tools/emoe-rt/flags.h"
#include "tools/emoe-rt/percentiles.h"

namespace emoe::rt {

constexpr uint32_t kMostRuns = 100, kMostKernels = 512;

// Tokens a second, or milliseconds, of each run.
struct Series {
  double values[kMostRuns] = {};
  uint32_t count = 0;
  void Add(double value) {
    if (count < kMostRuns) values[count++] = value;
  }
  double Mean() const;
  double Deviation() const;  // of single runs
  double Least() const;
  double Most() const;
};

// What generated tokens spent in one kernel of the bundle; experts' kernels together, at a layer's first variant.
struct KernelTime {
  uint64_t calls = 0, nanoseconds = 0, weight_bytes = 0;
};

// Plain data: it crosses a pipe. Where nothing else is said, of the generated tokens of all runs together.
struct BenchResult {
  uint32_t prompt_tokens = 0, generated_tokens = 0, threads = 0;
  Series start_ms, prompt, generation;  // until the first kernel could run; tokens a second
  Percentiles latency;
  uint64_t total_ns = 0, bytes = 0, predicted_bytes = 0, prefetch_hits = 0;
  uint64_t weight_bytes = 0;  // that kernels read
  uint64_t slots = 0, records = 0, peak = 0;
  uint64_t routed_tokens = 0;  // of the trace that stands in for the model's routing; 0: none does
  SessionStats stats;  // of prompts too; what it says of predictions, of the run before the first too
  // Where the time went, and what it would be by two formulas for the same misses on the stated storage: everything one
  // after the other, and, in each layer, reading beside the computing of what is in memory, where only the last record
  // that came is computed afterwards.
  uint64_t steps_ns = 0, experts_ns = 0, stall_ns = 0, hits = 0, misses = 0;
  double reading_ns = 0, overlapped_ns = 0;
  KernelTime kernels[kMostKernels];

  double tokens() const { return static_cast<double>(generated_tokens) * generation.count; }
  // Adds the runs of another result of the same options.
  void Merge(const BenchResult &other);
};

struct Work;
// Runs the bench's prompts and tokens, after a run that is not counted unless the start is cold; prints its errors and returns an exit code. The session stays in `work`.
int MeasureBench(Work *work, BenchResult *result);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_BENCH_RUN_H_
