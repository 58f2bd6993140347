// How much each expert's output suffers from each format: one pass over the weights, with the calibration's moments.
#ifndef EMOE_COMPILER_BITWIDTH_SENSITIVITY_H_
#define EMOE_COMPILER_BITWIDTH_SENSITIVITY_H_

#include <vector>

#include "compiler/bitwidth/round.h"
#include "compiler/calibrate/calibration.h"

namespace emoe {

// An expert's matrices as they are, row-major: gate (empty if the expert has none) and up are [hidden, input], down is
// [input, hidden].
struct ExpertValues {
  int64_t input = 0, hidden = 0;
  std::vector<float> gate, up, down;
};

struct RoundedExpert {
  RoundedMatrix gate, up, down;
};

// What is known of the inputs of an expert's matrices.
struct ExpertCurvature {
  Curvature input, hidden;
};

// Experts without full moments of their own lean on their layer's. Damping is Curvature::ofMoment's. What is not asked for
// is left empty.
constexpr float kDamping = 0.01f;
ExpertCurvature curvatureOf(const LayerMoments &layer, size_t expert, float damping = kDamping, bool input = true,
                            bool hidden = true);

RoundedExpert roundExpert(const ExpertValues &values, const ExpertCurvature &curvature, const RoundingGrid &grid,
                          Rounding rounding);

// What an expert's rounding costs.
class ExpertSensitivity {
public:
  // Keeps no reference to `values`.
  ExpertSensitivity(const ExpertValues &values, const LayerMoments &layer, size_t expert);

  const ExpertCurvature &curvature() const { return curvatures; }

  // The expected squared error of the expert's output, weighed by squared routing weight and summed over the tokens of the
  // calibration. Down's share is exact on those; gate's and up's relative errors are taken to be those of the hidden
  // values that they make. Zero for an expert that no token chose.
  double error(const RoundedExpert &rounded) const {
    return error(rounded.gate.rowCosts, rounded.up.rowCosts, rounded.down.rowCosts);
  }
  // The same from the costs of each matrix's rows; gate's are not looked at where the expert has none.
  double error(const std::vector<float> &gateCosts, const std::vector<float> &upCosts,
               const std::vector<float> &downCosts) const;

private:
  ExpertCurvature curvatures;
  double inputShare = 0, hiddenShare = 0; // of the moments' tokens that are this expert's
  std::vector<double> gateFactors, upFactors; // output error for an error of one in a row of gate and up
};

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_SENSITIVITY_H_
