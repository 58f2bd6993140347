// Rounding a matrix to a grid so that its outputs change least.
#ifndef EMOE_COMPILER_BITWIDTH_ROUND_H_
#define EMOE_COMPILER_BITWIDTH_ROUND_H_

#include <cstdint>
#include <vector>

#include "compiler/bitwidth/curvature.h"
#include "compiler/bitwidth/grid.h"

namespace emoe {

enum class Rounding {
  Nearest,     // each value alone, scales of least squared error weighed by the inputs' second moments
  Compensated, // each column takes over the errors of those before it; then codes and scales are refined in turns
};

// Codes of a matrix [rows, columns], row-major, and its scales [rows, ceil(columns / group)] as float16 bits.
struct RoundedMatrix {
  std::vector<uint8_t> codes;
  std::vector<uint16_t> scales;
  std::vector<float> rowCosts; // Curvature::cost of each row's error
};

// `weights` is [rows, curvature.columns()], finite. Rows are rounded independently of each other; the result depends
// on nothing but the arguments.
RoundedMatrix roundMatrix(const float *weights, int64_t rows, const Curvature &curvature, const RoundingGrid &grid,
                          Rounding rounding);

// The values that kernels compute with.
void expandRounded(const RoundedMatrix &matrix, int64_t rows, int64_t columns, const RoundingGrid &grid, float *out);

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_ROUND_H_
