// How well predictors do on a trace: the runtime's own predictor, run over it token by token as decoding would. Pure.
#ifndef EMOE_COMPILER_PREDICT_JUDGE_H_
#define EMOE_COMPILER_PREDICT_JUDGE_H_

#include <cstdint>
#include <vector>

#include "compiler/plan/trace.h"
#include "compiler/predict/fit.h"
#include "runtime/experts/predict.h"

namespace emoe {

// Of a layer's used experts, how many were among the top_k (recall) and twice as many (recall2k) first of the ranking;
// precision2k: how many of these were used. At top_k precision is recall. Shares from 0 to 1.
struct Quality {
  rt::PredictorKind predictor = rt::PredictorKind::kNone;
  uint64_t tokens = 0;
  double recall = 0, recallLow = 0, recallHigh = 0; // with the 95 % interval
  double recall2k = 0, precision2k = 0;
};

// Each layer's quality, and, as the last entry, that of all layers together. Intervals are the bootstrap's percentiles
// over runs of kBlock consecutive tokens, which hang together; seeded, so that equal traces give equal numbers.
// Where a predictor has nothing to go by (no look-ahead in the trace, or of the first layer) it is the fallback that the
// runtime would take that is judged.
constexpr uint64_t kBlock = 32;
std::vector<Quality> judge(const Trace &trace, const std::vector<LayerTables> &tables, rt::PredictorKind predictor);

} // namespace emoe

#endif // EMOE_COMPILER_PREDICT_JUDGE_H_
