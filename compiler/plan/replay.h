// What a cache would have done: drives the runtime's own ExpertCache in the order of calls of its expert runner.
#ifndef EMOE_COMPILER_PLAN_REPLAY_H_
#define EMOE_COMPILER_PLAN_REPLAY_H_

#include <cstdint>
#include <functional>

#include "compiler/plan/trace.h"
#include "runtime/experts/cache.h"
#include "runtime/experts/predict.h"

namespace emoe {

struct ReplayCounts {
  uint64_t hits = 0, misses = 0;
  uint64_t prefetched = 0, prefetchHits = 0; // records read ahead; those of them that were used then (hits, too)
  double rate() const { return hits + misses == 0 ? 0 : static_cast<double>(hits) / static_cast<double>(hits + misses); }
};

struct ReplayOptions {
  uint32_t chunk = 1; // tokens of a document that are computed together; 1: decoding
  // Fills probability[experts] with how likely layer `layer` (not the first) of token `token` uses its experts, and
  // returns true; false: nothing is known. Asked before the layer before makes room for what it misses.
  std::function<bool(uint64_t token, size_t layer, float *probability)> ahead;
  // The same by the runtime's predictor, driven as a session does; look-ahead ids are the trace's. May be null; `ahead` is
  // not asked then. The caller's Init; its state is that of a running session afterwards.
  rt::Predictor *predictor = nullptr;
  // So many of a layer's likeliest experts (not below leastProbability) are read as soon as the layer before has run,
  // and are there in time. 0: predictions only tell which records to keep.
  uint32_t prefetch = 0;
  float leastProbability = 0.2f;
};

// A cold cache over the whole trace. `parameters` fit the trace's layers; slots >= 1.
ReplayCounts replay(const Trace &trace, uint32_t slots, const rt::CacheParameters &parameters,
                    const ReplayOptions &options = {});

// The most hits that any policy can have that reads an expert when it is used: Belady's optimum, where the experts of
// the layer at hand must be in and the record that goes is that whose next use is furthest.
ReplayCounts replayBelady(const Trace &trace, uint32_t slots);

// Records of all layers, and of those that one token uses.
uint32_t traceKeys(const Trace &trace);
inline uint32_t tokenCycle(const Trace &trace) { return static_cast<uint32_t>(trace.row()); }

} // namespace emoe

#endif // EMOE_COMPILER_PLAN_REPLAY_H_
