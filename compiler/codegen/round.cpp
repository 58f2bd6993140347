// Codes and scales by rounding to nearest.
#include "compiler/codegen/round.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <utility>

#include "absl/base/casts.h"
#include "absl/strings/str_cat.h"
#include "compiler/codegen/pack.h"
#include "llvm/ADT/bit.h"

namespace emoe {
namespace {

constexpr int64_t kMostColumns = 256;  // of a group

// A group's values, padded to a multiple of 8 with zeros, and the weights of their errors.
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

// Eight partial sums, which compilers vectorise, in a fixed order.
inline float sumOf(const float *sums) {
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// q(i, x[i] / scale rounded and clamped to the range) of all; returns the weighted sum of squared errors.
template <typename Visitor>
inline __attribute__((always_inline)) float visitCodes(const GroupValues &group, const float *x, float scale, Range range,
                                                       Visitor &&q) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  float sums[8] = {};
  for (int64_t i = 0; i < group.padded; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      // Clamped first: the quotient may be huge where the scale is subnormal.
      float value = roundEven(std::min(std::max(x[i + j] * inverse, range.low), range.high));
      float error = x[i + j] - value * scale;
      q(i + j, value);
      sums[j] += error * error * group.importance[i + j];
    }
  }
  return sumOf(sums);
}

// Codes as values in units of the scale; returns the weighted sum of squared errors.
EMOE_VECTOR_CLONES float quantiseGroup(const GroupValues &group, const float *x, float scale, Range range, float *q) {
  return visitCodes(group, x, scale, range, [q](int64_t i, float value) { q[i] = value; });
}

// The first scale with the least error.
EMOE_VECTOR_CLONES int bestScale(const GroupValues &group, const float *x, const float *scales, int count, Range range) {
  float least = INFINITY;
  int best = 0;
  for (int k = 0; k < count; ++k) {
    float error = visitCodes(group, x, scales[k], range, [](int64_t, float) {});
    best = error < least ? k : best;
    least = error < least ? error : least;
  }
  return best;
}

// The least-squares scale of codes, or 0 if all are 0.
EMOE_VECTOR_CLONES float fittedScale(const GroupValues &group, const float *x, const float *q) {
  float products[8] = {}, squares[8] = {};
  for (int64_t i = 0; i < group.padded; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      products[j] += x[i + j] * q[i + j] * group.importance[i + j];
      squares[j] += q[i + j] * q[i + j] * group.importance[i + j];
    }
  }
  const float square = sumOf(squares);
  return square > 0 ? sumOf(products) / square : 0;
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
  float x[kMostColumns], scales[std::size(kDivisors)];
  for (int64_t i = 0; i < group.padded; ++i) {
    x[i] = group.x[i] * unit;
  }
  int count = 0;
  for (float divisor : kDivisors) {
    const float scale = storedScale(group.extreme / divisor) * unit;
    if (std::isfinite(scale)) {
      scales[count++] = scale;
    }
  }
  float scale = scales[bestScale(group, x, scales, count, kRange)];
  const float error = quantiseGroup(group, x, scale, kRange, best.q);
  const float fitted = storedScale(fittedScale(group, x, best.q) / unit) * unit;
  GroupScale refined;
  if (fitted != 0 && std::isfinite(fitted) && quantiseGroup(group, x, fitted, kRange, refined.q) < error) {
    scale = fitted;
    std::copy(refined.q, refined.q + group.count, best.q);
  }
  best.scale = scale / unit;
}

// Eight bits: the largest magnitude goes to 127.
void chooseInteger8(const GroupValues &group, GroupScale &chosen) {
  chosen.scale = storedScale(std::fabs(group.extreme) / 127);
  quantiseGroup(group, group.x, chosen.scale, {-127, 127}, chosen.q);
}

// A group's magnitudes in falling order, and the weights of their errors; equal ones stay in order.
struct SortedGroup {
  float x[kMostColumns], importance[kMostColumns];
};

// Radix sort of the bits between the highest and the lowest in which magnitudes differ: of what was a float16, two digits.
void sortByMagnitude(const GroupValues &group, SortedGroup &sorted) {
  uint32_t keys[kMostColumns], orders[2][kMostColumns];
  uint32_t differ = 0;
  for (int64_t i = 0; i < group.count; ++i) {
    keys[i] = ~absl::bit_cast<uint32_t>(std::fabs(group.x[i]));
    differ |= keys[i] ^ keys[0];
    orders[0][i] = static_cast<uint32_t>(i);
  }
  uint32_t *from = orders[0], *to = orders[1];
  if (differ != 0) {
    const int low = llvm::countr_zero(differ), width = 32 - llvm::countl_zero(differ) - low;
    const int digits = (width + 7) / 8, bits = (width + digits - 1) / digits;
    for (int digit = 0; digit < digits; ++digit) {
      const int shift = low + bits * digit;
      const uint32_t mask = (1u << bits) - 1;
      uint16_t starts[256] = {};
      for (int64_t i = 0; i < group.count; ++i) {
        ++starts[keys[i] >> shift & mask];
      }
      uint16_t before = 0;
      for (uint32_t value = 0; value <= mask; ++value) {
        before += std::exchange(starts[value], before);
      }
      for (int64_t i = 0; i < group.count; ++i) {
        to[starts[keys[from[i]] >> shift & mask]++] = from[i];
      }
      std::swap(from, to);
    }
  }
  for (int64_t i = 0; i < group.count; ++i) {
    sorted.x[i] = std::fabs(group.x[from[i]]);
    sorted.importance[i] = group.importance[from[i]];
  }
}

constexpr int kMostSteps = 3;  // of a symmetrical grid: eight levels

// Sums A and B of chooseSymmetric before the first move and after each.
struct Moves {
  static constexpr int64_t kMost = kMostSteps * kMostColumns + 8;  // and what pads them to a multiple of 8
  int64_t count;
  double a[kMost], b[kMost], gain[kMost];
};

// The first of those with the largest A^2 / B.
EMOE_VECTOR_CLONES int64_t bestMove(Moves &moves) {
  for (int64_t i = moves.count; i % 8 != 0; ++i) {
    moves.a[i] = moves.b[i] = 0;
  }
  double most[8] = {-1, -1, -1, -1, -1, -1, -1, -1};
  for (int64_t i = 0; i < moves.count; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      const double gain = moves.a[i + j] * moves.a[i + j] / moves.b[i + j];
      moves.gain[i + j] = moves.b[i + j] > 0 ? gain : -1;
      most[j] = moves.gain[i + j] > most[j] ? moves.gain[i + j] : most[j];
    }
  }
  const double largest = *std::max_element(most, most + 8);
  return std::find(moves.gain, moves.gain + moves.count, largest) - moves.gain;
}

// passes[i]: the scale at which x[i] reaches `level`, the middle between two magnitudes.
EMOE_VECTOR_CLONES void findPasses(const SortedGroup &sorted, int64_t count, double level, double *passes) {
  for (int64_t i = 0; i < count; ++i) {
    passes[i] = sorted.x[i] / level;
  }
}

// Codes of a symmetrical grid for a scale.
EMOE_VECTOR_CLONES void quantiseSymmetric(const GroupValues &group, double scale, double first, double steps, float *q) {
  const double inverse = scale == 0 ? 0 : 1 / scale;
  for (int64_t i = 0; i < group.padded; ++i) {
    double level = first + std::min(std::max(std::ceil(std::fabs(group.x[i]) * inverse - first - 0.5), 0.0), steps);
    q[i] = static_cast<float>(group.x[i] < 0 ? -level : level);
  }
}

// Grids that are symmetrical around zero, of magnitudes first, first + 1 ... first + steps. As the scale falls from
// infinity, |x| moves up from magnitude l to l + 1 when the scale passes |x| / (l + 1/2). Between two such moves the codes
// stay, the best scale for them is A / B with A = sum of w |x| l and B = sum of w l^2, and the error is that of all zeros
// less A^2 / B: the largest one is the least error of all scales. Zeros never move.
void chooseSymmetric(const GroupValues &group, double first, int steps, GroupScale &chosen) {
  SortedGroup sorted;
  sortByMagnitude(group, sorted);
  double a = 0, b = 0;
  for (int64_t i = 0; i < group.count; ++i) {
    a += group.importance[i] * std::fabs(group.x[i]) * first;
    b += group.importance[i] * first * first;
  }
  Moves moves;
  moves.a[0] = a, moves.b[0] = b;
  int64_t count = 1;
  auto move = [&](int64_t i, double level) {
    a += sorted.importance[i] * sorted.x[i];
    b += sorted.importance[i] * (2 * level + 1);
    moves.a[count] = a, moves.b[count] = b;
    ++count;
  };
  if (steps == 1) {
    for (int64_t i = 0; i < group.count && sorted.x[i] > 0; ++i) {
      move(i, first);
    }
  } else {
    double passes[kMostSteps][kMostColumns + 1];
    const double *next[kMostSteps];
    for (int step = 0; step < steps; ++step) {
      findPasses(sorted, group.count, first + step + 0.5, passes[step]);
      passes[step][group.count] = 0;
      next[step] = passes[step];
    }
    for (;;) {
      int step = 0;
      for (int other = 1; other < steps; ++other) {
        step = *next[other] > *next[step] ? other : step;
      }
      if (*next[step] == 0) {
        break;
      }
      move(next[step]++ - passes[step], first + step);
    }
  }
  moves.count = count;
  const int64_t best = bestMove(moves);
  chosen.scale = storedScale(moves.b[best] > 0 ? static_cast<float>(moves.a[best] / moves.b[best]) : 0.0f);
  quantiseSymmetric(group, chosen.scale, first, steps, chosen.q);
}

constexpr uint32_t kMagnitude = 0x7fffffff;  // all bits but the sign

// The largest |x| as bits, whose order is that of magnitudes: infinity and NaN come last.
EMOE_VECTOR_CLONES uint32_t largestMagnitude(const float *x, int64_t count) {
  uint32_t most = 0;
  for (int64_t i = 0; i < count; ++i) {
    uint32_t bits;
    std::memcpy(&bits, x + i, sizeof(bits));
    most = std::max(most, bits & kMagnitude);
  }
  return most;
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
  std::fill(std::begin(group.importance), std::end(group.importance), importance ? 0.0f : 1.0f);
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t g = 0; g < groups; ++g) {
      const int64_t first = g * width;
      group.count = std::min(width, columns - first);
      group.padded = (group.count + 7) / 8 * 8;
      std::copy_n(values + row * columns + first, group.count, group.x);
      std::fill(group.x + group.count, group.x + group.padded, 0.0f);
      const uint32_t most = largestMagnitude(group.x, group.padded);
      int64_t at = 0;
      while ((absl::bit_cast<uint32_t>(group.x[at]) & kMagnitude) != most) {
        ++at;
      }
      group.extreme = group.x[at];
      if (!std::isfinite(group.extreme)) {
        return unfit("is not finite", group.extreme, row, first + at);
      }
      if (importance) {
        std::copy_n(importance + first, group.count, group.importance);
        if (std::all_of(group.importance, group.importance + group.count, [](float x) { return !(x > 0); })) {
          std::fill_n(group.importance, group.count, 1.0f);
        }
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
