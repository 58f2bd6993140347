// Sums of products of rows, for second moments.
#ifndef EMOE_COMPILER_CALIBRATE_MOMENTS_H_
#define EMOE_COMPILER_CALIBRATE_MOMENTS_H_

#include <cstdint>
#include <vector>

#include "compiler/calibrate/calibration.h"

namespace emoe {

// A row x and its factor a: it adds a * x^T x.
struct WeightedRow {
  const float *values = nullptr;
  float factor = 0; // not negative
};

// Adds rows to a moment of the given kind. Each call sums its rows in order before it adds the sum to the moment: the
// same bits on every host. Full: only entries [i, j] with j >= i are kept up to date, until mirror().
void addRows(Moment &moment, const std::vector<WeightedRow> &rows);

// Fills in the other half of a full moment.
void mirror(Moment &moment);

// How much the moments of a model are allowed to say.
struct MomentKinds {
  Moment::Kind expert = Moment::Kind::Full; // Full or Diagonal
  Moment::Kind layer = Moment::Kind::None;  // Full only if `expert` is Diagonal
};

// An expert's rows: [input columns] and [hidden columns]; and how many experts the layer has.
struct MomentShape {
  int64_t input = 0, hidden = 0;
  size_t experts = 0;
};

// The most that fits `bytes`: full moments for each expert; else diagonals for each expert and full ones for each layer;
// else diagonals.
MomentKinds chooseMoments(const std::vector<MomentShape> &layers, uint64_t bytes);
uint64_t momentBytes(const std::vector<MomentShape> &layers, const MomentKinds &kinds);

// Zeros.
std::vector<LayerMoments> makeMoments(const std::vector<MomentShape> &layers, const MomentKinds &kinds);

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_MOMENTS_H_
