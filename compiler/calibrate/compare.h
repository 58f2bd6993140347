// Two rows of logits against each other.
#ifndef EMOE_COMPILER_CALIBRATE_COMPARE_H_
#define EMOE_COMPILER_CALIBRATE_COMPARE_H_

#include <cstdint>
#include <vector>

#include "compiler/calibrate/calibration.h"

namespace emoe {

struct RowComparison {
  double reference = 0, candidate = 0; // -log softmax(row)[target]
  double divergence = 0;               // KL(softmax(reference) || softmax(candidate))
};

// Absolute errors below 1e-6 for logits below 100; the same bits on every host.
RowComparison compareRows(const float *reference, const float *candidate, uint32_t vocab, uint32_t target);

// Means and standard errors over tokens, which are taken as independent.
Comparison summarise(const std::vector<RowComparison> &rows);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_COMPARE_H_
