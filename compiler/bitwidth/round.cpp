#include "compiler/bitwidth/round.h"

#include <algorithm>
#include <cmath>

#include "compiler/codegen/half.h"

namespace emoe {
namespace {

constexpr int kRefinements = 4; // rounds of scales, then codes; later ones gain under a percent of the error
constexpr int kScaleTries = 24;

// To nearest, ties to even, for |x| < 2^22.
inline float roundEven(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

class RowRounder {
public:
  RowRounder(const Curvature &curvature, const RoundingGrid &grid, Rounding rounding)
      : curvature(curvature), grid(grid), compensate(rounding == Rounding::Compensated && !curvature.isIdentity()),
        columns(curvature.columns()), groups((columns + grid.group - 1) / grid.group), work(columns), error(columns),
        gradient(columns), product(columns), codes(columns), scales(groups) {}

  // Leaves the result in `codes` and `scales`.
  void round(const float *row) {
    weights = row;
    std::copy(row, row + columns, work.begin());
    for (int64_t group = 0; group < groups; ++group) {
      const int64_t first = group * grid.group, last = std::min(columns, first + grid.group);
      chooseScale(group, first, last);
      for (int64_t c = first; c < last; ++c) {
        codes[c] = nearest(work[c], scales[group]);
        error[c] = row[c] - value(codes[c], scales[group]);
        if (compensate) {
          addScaled(work.data() + c + 1, curvature.feedback(c) + c + 1, error[c], columns - c - 1);
        }
      }
    }
    if (compensate) {
      refine();
    }
  }

  double cost() const { return curvature.cost(error.data()); }
  const std::vector<float> &rowCodes() const { return codes; }
  const std::vector<float> &rowScales() const { return scales; }

private:
  float value(float code, float scale) const { return (grid.low + code) * scale; }
  float nearest(float x, float scale) const {
    float quotient = scale == 0 ? 0 : x / scale; // clamped first: it may be huge where the scale is subnormal
    return roundEven(std::clamp(quotient - grid.low, 0.0f, static_cast<float>(grid.levels - 1)));
  }
  static float toHalf(float scale) {
    float rounded = halfToFloat(floatToHalf(scale));
    return std::isfinite(rounded) ? rounded : std::copysign(65504.0f, scale);
  }

  // The cost of rounding work[first .. last) by `scale`, each column alone; `best` scale for the codes in `fitted`.
  double tryScale(float scale, int64_t first, int64_t last, float &fitted) const {
    double cost = 0, product = 0, square = 0;
    for (int64_t c = first; c < last; ++c) {
      const float level = grid.low + nearest(work[c], scale), weight = weightOf(c), off = work[c] - level * scale;
      cost += weight * off * off;
      product += weight * work[c] * level;
      square += weight * level * level;
    }
    fitted = square > 0 ? static_cast<float>(product / square) : scale;
    return cost;
  }
  float weightOf(int64_t c) const { return compensate ? curvature.pivot(c) : curvature.diagonal(c); }

  void chooseScale(int64_t group, int64_t first, int64_t last) {
    float extreme = 0;
    for (int64_t c = first; c < last; ++c) {
      extreme = std::fabs(work[c]) > std::fabs(extreme) ? work[c] : extreme;
    }
    scales[group] = 0;
    if (extreme == 0) {
      return;
    }
    // From the scale that reaches the largest value down to one at which most of a bell curve's values lie inside.
    const float top = grid.highest(), lowest = grid.levels <= 4 ? 0.3f : grid.levels <= 8 ? 0.45f : 0.75f;
    double best = INFINITY;
    for (int sign = 1; sign >= (grid.signedScale ? -1 : 1); sign -= 2) {
      const float reach = static_cast<float>(sign) * std::fabs(extreme) / (grid.levels <= 3 ? 1.0f : top);
      for (int i = 0; i < kScaleTries; ++i) {
        float scale = toHalf(reach * (lowest + (1.05f - lowest) * static_cast<float>(i) / (kScaleTries - 1))), fitted;
        for (int pass = 0; pass < 2; ++pass) { // then the scale that suits its codes best
          double cost = tryScale(scale, first, last, fitted);
          if (cost < best) {
            best = cost;
            scales[group] = scale;
          }
          scale = toHalf(fitted);
        }
      }
    }
  }

  // error += by, with gradient = error H.
  void moveError(int64_t c, float by) {
    error[c] += by;
    addScaled(gradient.data(), curvature.row(c), by, columns);
  }

  void refine() {
    std::fill(gradient.begin(), gradient.end(), 0.0f);
    for (int64_t c = 0; c < columns; ++c) {
      addScaled(gradient.data(), curvature.row(c), error[c], columns);
    }
    for (int i = 0; i < kRefinements; ++i) {
      bool changed = false;
      for (int64_t group = 0; group < groups; ++group) {
        changed |= refitScale(group);
      }
      for (int64_t c = 0; c < columns; ++c) {
        changed |= reconsiderCode(c);
      }
      if (!changed) {
        break;
      }
    }
  }

  // The scale of least cost for the group's codes, everything else as it is.
  bool refitScale(int64_t group) {
    const int64_t first = group * grid.group, last = std::min(columns, first + grid.group);
    std::fill(product.begin(), product.end(), 0.0f);
    for (int64_t c = first; c < last; ++c) {
      addScaled(product.data(), curvature.row(c), grid.low + codes[c], columns);
    }
    double square = 0, slope = 0;
    for (int64_t c = first; c < last; ++c) {
      const double level = grid.low + codes[c];
      square += level * product[c];
      slope += level * gradient[c];
    }
    if (!(square > 0)) {
      return false;
    }
    const float old = scales[group], scale = toHalf(static_cast<float>(old + slope / square)), step = scale - old;
    if (step == 0 || scale == 0 || 2 * slope * step <= square * step * step) {
      return false;
    }
    scales[group] = scale;
    for (int64_t c = first; c < last; ++c) {
      error[c] = weights[c] - value(codes[c], scale);
    }
    addScaled(gradient.data(), product.data(), -step, columns);
    return true;
  }

  bool reconsiderCode(int64_t c) {
    const float scale = scales[c / grid.group];
    const float code = nearest(value(codes[c], scale) + gradient[c] / curvature.diagonal(c), scale);
    if (code == codes[c]) {
      return false;
    }
    const float old = error[c];
    codes[c] = code;
    moveError(c, weights[c] - value(code, scale) - old);
    return true;
  }

  const Curvature &curvature;
  const RoundingGrid grid;
  const bool compensate;
  const int64_t columns, groups;
  const float *weights = nullptr;
  std::vector<float> work, error, gradient, product, codes, scales;
};

} // namespace

RoundedMatrix roundMatrix(const float *weights, int64_t rows, const Curvature &curvature, const RoundingGrid &grid,
                          Rounding rounding) {
  const int64_t columns = curvature.columns(), groups = (columns + grid.group - 1) / grid.group;
  RoundedMatrix result{std::vector<uint8_t>(rows * columns), std::vector<uint16_t>(rows * groups),
                       std::vector<float>(rows)};
  RowRounder rounder(curvature, grid, rounding);
  for (int64_t row = 0; row < rows; ++row) {
    rounder.round(weights + row * columns);
    std::transform(rounder.rowCodes().begin(), rounder.rowCodes().end(), &result.codes[row * columns],
                   [](float code) { return static_cast<uint8_t>(code); });
    std::transform(rounder.rowScales().begin(), rounder.rowScales().end(), &result.scales[row * groups], floatToHalf);
    result.rowCosts[row] = static_cast<float>(rounder.cost());
  }
  return result;
}

void expandRounded(const RoundedMatrix &matrix, int64_t rows, int64_t columns, const RoundingGrid &grid, float *out) {
  const int64_t groups = (columns + grid.group - 1) / grid.group;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t c = 0; c < columns; ++c) {
      out[row * columns + c] = (grid.low + static_cast<float>(matrix.codes[row * columns + c])) *
                               halfToFloat(matrix.scales[row * groups + c / grid.group]);
    }
  }
}

} // namespace emoe
