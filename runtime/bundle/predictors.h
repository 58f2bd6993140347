// The bundle's predictor tables: FORMAT.md, "predictor tables".
#ifndef EMOE_RUNTIME_BUNDLE_PREDICTORS_H_
#define EMOE_RUNTIME_BUNDLE_PREDICTORS_H_

#include "runtime/bundle/bundle.h"
#include "runtime/experts/predict.h"

namespace emoe::rt {

// What the index says of predictors, against the section's length. The layers are checked already.
Status CheckPredictors(const Bundle &bundle);

// One LayerPredictor per mixture layer, into `out`; they point into `section`, the bytes of the tables section, which
// is 8-aligned and whose checksum was compared. kBadBundle if keys do not ascend (detail = the mixture layer).
// A bundle without predictors gets look-ahead where there is a step for it and the previous token elsewhere.
Status ReadPredictors(const Bundle &bundle, const void *section, LayerPredictor *out);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_PREDICTORS_H_
