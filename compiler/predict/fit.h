// Predictor tables from routing traces: what follows what, as log-odds in 8 bits. Pure.
#ifndef EMOE_COMPILER_PREDICT_FIT_H_
#define EMOE_COMPILER_PREDICT_FIT_H_

#include <cstdint>
#include <vector>

#include "compiler/plan/trace.h"
#include "runtime/experts/predict.h"

namespace emoe {

struct FitOptions {
  bool exact = true;                       // exact keys where the layers before allow them
  uint64_t mostPairBytes = 1 << 17;        // of near and far of a layer; larger ones are left out
  uint64_t mostExactBytes = 1 << 16;       // of a layer's keys and rows: the keys seen most often are kept
  uint64_t mostWork = uint64_t(4) << 30;   // multiplications for pairs of all layers: sets how many tokens are used
};

// One layer's tables, with the meaning and the sizes of rt::LayerPredictor; empty: not known.
struct LayerTables {
  uint32_t experts = 0, topK = 0;
  float scale = 0;
  std::vector<int8_t> prior, repeat, near, far, ranks;
  std::vector<uint16_t> keys;
  std::vector<int8_t> rows;

  // Points into this object.
  rt::LayerPredictor view(rt::PredictorKind kind) const;
};

// One entry a layer. Ranks need trace.ahead. A trace without tokens gives layers without tables.
//
// The prior is an expert's frequency. Pairs are the weights of a logistic regression of each expert on the experts of
// the two layers before (AdaGrad, some passes over the trace), which counts what two of them say in common only once,
// unlike the product of their frequencies. An exact key's row is its own frequency, drawn towards what the pairs say by
// kExactWeight imagined tokens.
std::vector<LayerTables> fitTables(const Trace &trace, const FitOptions &options = {});

} // namespace emoe

#endif // EMOE_COMPILER_PREDICT_FIT_H_
