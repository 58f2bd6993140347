// Which predictor each mixture layer gets: tables from the texts that were run, judged on those that were held out.
// No MLIR.
#ifndef EMOE_COMPILER_PREDICT_PREDICT_H_
#define EMOE_COMPILER_PREDICT_PREDICT_H_

#include <memory>
#include <string>
#include <vector>

#include "compiler/plan/trace.h"
#include "compiler/predict/fit.h"
#include "compiler/predict/judge.h"
#include "schema/bundle_generated.h"

namespace emoe {

struct PredictOptions {
  FitOptions fit;
  std::vector<bool> lookAhead; // by layer: whether a step looks ahead to it; empty: as the traces or defaults say
  // Reading one record ahead hides, if it is used, this share of the time that the read takes: 1 where the storage has
  // idle time for it, 0 where it is busy all the time (PERFORMANCE.md, 6.3).
  double hidden = 1;
  bool allTables = false; // keep the tables of predictors that were not chosen, too: for comparing them
};

// Reading ahead pays where the chance of use exceeds this. Of n reads ahead, a share p is used; each that is saves
// `hidden` of a read's time, each that is not delays what is demanded by up to a whole one: p * hidden > 1 - p.
double breakEven(double hidden);

// A layer's decision and what it rests on.
struct LayerChoice {
  rt::PredictorKind predictor = rt::PredictorKind::kNone;
  double breakEven = 0.5;
  std::vector<Quality> judged; // empty: a default, without measurements
  std::string reason;
};

struct Predictors {
  std::vector<LayerChoice> layers;
  std::vector<LayerTables> tables;

  // The bundle's part: FORMAT.md, "predictor tables".
  std::vector<std::unique_ptr<fb::LayerPredictorT>> index;
  std::vector<uint8_t> section; // empty: none
};

// By mixture layer: whether a step of the program looks ahead to it.
std::vector<bool> lookAheadLayers(const fb::BundleT &index);

// `fit` makes the tables, `heldOut` judges them; both of the same layers. Without tokens to fit: look-ahead where a step
// provides it, the previous token elsewhere. With too few to judge (fewer than 2 blocks): the same, with tables.
Predictors buildPredictors(const Trace &fit, const Trace &heldOut, const PredictOptions &options);

// In a line: "predictors: static in 1 layer, look-ahead in 7; mean recall 0.81".
std::string summary(const Predictors &predictors);

} // namespace emoe

#endif // EMOE_COMPILER_PREDICT_PREDICT_H_
