// Codes and scales by rounding to nearest.
#include "compiler/codegen/round.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/pack.h"

namespace emoe {
namespace {

constexpr int64_t kMostColumns = 256;  // of a group

// A group's values and the weights of their errors, both padded to a multiple of 8 with zeros.
struct GroupValues {
  int64_t count, padded;
  float x[kMostColumns], importance[kMostColumns];
  float extreme;  // the value of largest magnitude
};

// Codes as values in units of the scale.
struct GroupScale {
  float scale = 0;
  float q[kMostColumns];  // as many as the group has
};

// To nearest, ties to even, for |x| < 2^22. Compilers vectorise it on every target.
inline float roundEven(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

struct Range {
  float low, high;
};

// Vectors twice as long where the processor has them; without fused products, so that results are the same.
#if defined(__x86_64__) && defined(__gnu_linux__)
#define EMOE_VECTOR_CLONES __attribute__((target_clones("avx2", "default")))
#else
#define EMOE_VECTOR_CLONES
#endif

// q[i] = x[i] / scale, rounded and clamped to the range; returns the weighted sum of squared errors. Eight partial sums
// let the compiler vectorise it in a fixed order.
EMOE_VECTOR_CLONES float quantiseGroup(const GroupValues &group, const float *x, float scale, Range range, float *q) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  float sums[8] = {};
  for (int64_t i = 0; i < group.padded; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      // Clamped first: the quotient may be huge where the scale is subnormal.
      float value = roundEven(std::min(std::max(x[i + j] * inverse, range.low), range.high));
      float error = x[i + j] - value * scale;
      q[i + j] = value;
      sums[j] += error * error * group.importance[i + j];
    }
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// Four bits: the value of largest magnitude goes to about -8, by a scale of its opposite sign, so that all 16 codes
// are of use; divisors around 8 and 7 trade its error against the others'. The best of them is refined once by the
// least-squares scale of its codes. Errors are compared in units of the largest magnitude, so that neither large nor tiny
// weights leave float's range.
void chooseInteger4(const GroupValues &group, GroupScale &best) {
  constexpr Range kRange{-8, 7};
  constexpr float kDivisors[] = {-8, -8.5f, -8.25f, -7.75f, -7.5f, -7.25f, -7, -6.75f, -6.5f};
  // A power of two near 1 / |extreme|: products with it are exact.
  const float unit = std::ldexp(1.0f, std::clamp(-std::ilogb(group.extreme), -100, 100));
  float scaled[kMostColumns];
  for (int64_t i = 0; i < group.padded; ++i) {
    scaled[i] = group.x[i] * unit;
  }
  GroupScale tried;
  float bestError = INFINITY;
  std::fill(best.q, best.q + group.padded, 0.0f);
  auto consider = [&](float scale) {
    tried.scale = storedScale(scale);
    if (std::isinf(tried.scale)) {
      return;
    }
    float error = quantiseGroup(group, scaled, tried.scale * unit, kRange, tried.q);
    if (error < bestError) {
      bestError = error;
      best.scale = tried.scale;
      std::copy(tried.q, tried.q + group.padded, best.q);
    }
  };
  for (float divisor : kDivisors) {
    consider(group.extreme / divisor);
  }
  float product = 0, square = 0;
  for (int64_t i = 0; i < group.padded; ++i) {
    product += scaled[i] * best.q[i] * group.importance[i];
    square += best.q[i] * best.q[i] * group.importance[i];
  }
  if (square > 0) {
    consider(product / square / unit);
  }
}

// Eight bits: the largest magnitude goes to 127.
void chooseInteger8(const GroupValues &group, GroupScale &chosen) {
  chosen.scale = storedScale(std::fabs(group.extreme) / 127);
  quantiseGroup(group, group.x, chosen.scale, {-127, 127}, chosen.q);
}

// Grids that are symmetrical around zero, of magnitudes first, first + 1 ... first + steps. As the scale falls from
// infinity, |x| moves up from magnitude l to l + 1 when the scale passes |x| / (l + 1/2). Between two such moves the codes
// stay, the best scale for them is A / B with A = sum of w |x| l and B = sum of w l^2, and the error is that of all zeros
// less A^2 / B: the largest one is the least error of all scales.
void chooseSymmetric(const GroupValues &group, double first, int steps, GroupScale &chosen) {
  int64_t order[kMostColumns];
  for (int64_t i = 0; i < group.count; ++i) {
    order[i] = i;
  }
  std::sort(order, order + group.count, [&](int64_t a, int64_t b) {
    float x = std::fabs(group.x[a]), y = std::fabs(group.x[b]);
    return x > y || (x == y && a < b);
  });
  double a = 0, b = 0;
  for (int64_t i = 0; i < group.count; ++i) {
    a += group.importance[i] * std::fabs(group.x[i]) * first;
    b += group.importance[i] * first * first;
  }
  double bestGain = b > 0 ? a * a / b : -1, best = b > 0 ? a / b : 0;
  int64_t moved[3] = {};  // of each step: how many values, the largest first, are above it
  for (;;) {
    int next = -1;
    double at = 0;
    for (int step = 0; step < steps; ++step) {
      if (moved[step] < group.count) {
        double passes = std::fabs(group.x[order[moved[step]]]) / (first + step + 0.5);
        if (passes > at) {
          at = passes;
          next = step;
        }
      }
    }
    if (next < 0) {
      break;
    }
    int64_t i = order[moved[next]++];
    double level = first + next;
    a += group.importance[i] * std::fabs(group.x[i]);
    b += group.importance[i] * (2 * level + 1);
    if (b > 0 && a * a / b > bestGain) {
      bestGain = a * a / b;
      best = a / b;
    }
  }
  chosen.scale = storedScale(static_cast<float>(best));
  const double inverse = chosen.scale == 0 ? 0 : 1 / static_cast<double>(chosen.scale);
  for (int64_t i = 0; i < group.count; ++i) {
    double x = std::fabs(group.x[i]) * inverse;
    double level = first + std::clamp(std::ceil(x - first - 0.5), 0.0, static_cast<double>(steps));
    chosen.q[i] = static_cast<float>(group.x[i] < 0 ? -level : level);
  }
}

absl::Status unfit(const char *what, float value, int64_t row, int64_t column) {
  return absl::OutOfRangeError(absl::StrCat("weight value ", value, " at row ", row, ", column ", column, " ", what));
}

} // namespace

absl::Status roundToNearest(LayoutAttr layout, const float *values, int64_t rows, int64_t columns,
                            const float *importance, uint8_t *codes, float *scales) {
  const Grid grid = gridOf(layout);
  const int64_t groups = scalesPerRow(layout, columns), width = layout.getGroup();
  const bool integer = layout.getCodebook() == Codebook::Integer;
  const unsigned bits = layout.getBits();
  // The smallest scale that may be chosen for a group must be finite as f16.
  const float least = integer ? (bits == 8 ? 127 : 8) : static_cast<float>(grid.levels - 1) / 2;
  GroupValues group;
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * width;
      group.count = std::min(width, columns - first);
      group.padded = (group.count + 7) / 8 * 8;
      group.extreme = 0;
      std::fill(group.x + group.count, group.x + group.padded, 0.0f);
      std::fill(group.importance + group.count, group.importance + group.padded, 0.0f);
      float heaviest = 0;
      for (int64_t i = 0; i < group.count; ++i) {
        float x = group.x[i] = values[row * columns + first + i];
        if (!std::isfinite(x)) {
          return unfit("is not finite", x, row, first + i);
        }
        group.extreme = std::fabs(x) > std::fabs(group.extreme) ? x : group.extreme;
        group.importance[i] = importance ? importance[first + i] : 1;
        heaviest = std::max(heaviest, group.importance[i]);
      }
      if (heaviest == 0) {
        std::fill(group.importance, group.importance + group.count, 1.0f);
      }
      GroupScale chosen;
      if (group.extreme != 0) {
        if (std::isinf(storedScale(std::fabs(group.extreme) / least))) {
          return unfit("needs a scale that is too large for f16; choose 16 or 32 bits", group.extreme, row, first);
        }
        if (!integer) {
          chooseSymmetric(group, std::fmod(-grid.first, 1.0f), (grid.levels - 1) / 2, chosen);
        } else if (bits == 8) {
          chooseInteger8(group, chosen);
        } else {
          chooseInteger4(group, chosen);
        }
        if (std::isinf(chosen.scale)) {
          return unfit("needs a scale that is too large for f16; choose 16 or 32 bits", group.extreme, row, first);
        }
      } else {
        std::fill(chosen.q, chosen.q + group.count, layout.getCodebook() == Codebook::Centred ? 0.5f : 0.0f);
      }
      scales[row * groups + g] = chosen.scale;
      for (int64_t i = 0; i < group.count; ++i) {
        codes[row * columns + first + i] = static_cast<uint8_t>(static_cast<int>(chosen.q[i] - grid.first));
      }
    }
  }
  return absl::OkStatus();
}

} // namespace emoe
