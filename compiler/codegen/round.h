// From float weights to codes and scales: rounding to nearest, and the interface by which another rounding takes its
// place.
#ifndef EMOE_COMPILER_CODEGEN_ROUND_H_
#define EMOE_COMPILER_CODEGEN_ROUND_H_

#include <cstdint>

#include "absl/status/status.h"
#include "dialects/emoe/emoe.h"

namespace emoe {

// Which matrix of which expert.
struct ExpertMatrix {
  int64_t layer, expert;
  ExpertPart part;
};

// Chooses codes and scales of expert weights in layouts with scales. Called for gate (if there is one), up and down of an
// expert in this order, from one thread at a time; experts come in any order and may come again, and must then get the
// same answer.
class Rounder {
public:
  virtual ~Rounder() = default;
  // `values` [rows, columns] row-major; fills `codes` [rows, columns] and `scales` [rows, scalesPerRow] as packCodes takes
  // them. OutOfRange if the values do not fit.
  virtual absl::Status round(const ExpertMatrix &matrix, LayoutAttr layout, const float *values, int64_t rows,
                             int64_t columns, uint8_t *codes, float *scales) = 0;
};

// Rounds each weight to the nearest value of its group's grid; all scales are f16 values.
//   8 bits: the largest magnitude goes to 127. 4 bits: the best of a few scales by squared error.
//   3, 2 bits, ternary: the scale and codes of least squared error that there are, before the scale is rounded to f16.
// `importance` [columns], not negative, weighs the squared error of each column; null: all alike. (8 bits: unused.)
// OutOfRange if a value is not finite or needs too large a scale, naming row and column.
absl::Status roundToNearest(LayoutAttr layout, const float *values, int64_t rows, int64_t columns,
                            const float *importance, uint8_t *codes, float *scales);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_ROUND_H_
