#include "compiler/bitwidth/curvature.h"

#include <algorithm>
#include <cmath>

// The inner loops are compiled for wider vectors too; the sums' order does not depend on the width, and
// -ffp-contract=off (CMakeLists.txt) keeps products apart from sums.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define EMOE_WIDE __attribute__((target_clones("default", "avx2", "avx512f"), optimize("O3")))
#else
#define EMOE_WIDE
#endif

namespace emoe {

EMOE_WIDE void addScaled(float *__restrict y, const float *__restrict x, float a, int64_t count) {
  for (int64_t i = 0; i < count; ++i) {
    y[i] += a * x[i];
  }
}

EMOE_WIDE float dotProduct(const float *__restrict x, const float *__restrict y, int64_t count) {
  constexpr int64_t kLanes = 16;
  float sums[kLanes] = {};
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) {
    for (int64_t j = 0; j < kLanes; ++j) {
      sums[j] += x[i + j] * y[i + j];
    }
  }
  for (int64_t j = 0; i < count; ++i, ++j) {
    sums[j] += x[i] * y[i];
  }
  for (int64_t width = kLanes / 2; width > 0; width /= 2) {
    for (int64_t j = 0; j < width; ++j) {
      sums[j] += sums[j + width];
    }
  }
  return sums[0];
}

namespace {

// Cholesky factor of `matrix` read from its last row and column backwards: lower triangular M with
// reversed(matrix) = M M^T, in place; false if it is not positive definite.
bool factorReversed(const std::vector<float> &matrix, int64_t n, std::vector<float> &m) {
  m.assign(n * n, 0);
  for (int64_t i = 0; i < n; ++i) {
    const float *source = &matrix[(n - 1 - i) * n];
    for (int64_t j = 0; j < i; ++j) {
      m[i * n + j] = (source[n - 1 - j] - dotProduct(&m[i * n], &m[j * n], j)) / m[j * n + j];
    }
    float rest = source[n - 1 - i] - dotProduct(&m[i * n], &m[i * n], i);
    if (!(rest > 0) || !std::isfinite(rest)) {
      return false;
    }
    m[i * n + i] = std::sqrt(rest);
  }
  return true;
}

} // namespace

Curvature Curvature::identity(int64_t columns) {
  Curvature curvature;
  curvature.size = columns;
  return curvature;
}

Curvature Curvature::ofMoment(const float *moment, int64_t columns, float damping) {
  double trace = 0;
  for (int64_t c = 0; c < columns; ++c) {
    trace += moment[c * columns + c];
  }
  if (!(trace > 0) || !std::all_of(moment, moment + columns * columns, [](float x) { return std::isfinite(x); })) {
    return identity(columns);
  }
  Curvature result;
  result.size = columns;
  const int64_t n = columns;
  std::vector<float> lower;
  for (double share = std::max(damping, 1e-6f); share < 1e3; share *= 10) {
    result.added = static_cast<float>(share * trace / static_cast<double>(n));
    result.hessian.assign(moment, moment + n * n);
    for (int64_t c = 0; c < n; ++c) {
      result.hessian[c * n + c] += result.added;
    }
    if (!factorReversed(result.hessian, n, lower)) {
      continue;
    }
    result.pivots.resize(n);
    result.factor.assign(n * n, 0);
    for (int64_t c = 0; c < n; ++c) {
      float own = lower[(n - 1 - c) * n + (n - 1 - c)];
      result.pivots[c] = own * own;
      for (int64_t k = c + 1; k < n; ++k) {
        // V[c][k] is M mirrored at both ends: V = J M J, with V[k][k] = M[n-1-k][n-1-k].
        result.factor[c * n + k] = lower[(n - 1 - c) * n + (n - 1 - k)] / lower[(n - 1 - k) * n + (n - 1 - k)];
      }
    }
    return result;
  }
  return identity(columns);
}

double Curvature::cost(const float *d) const {
  double sum = 0;
  for (int64_t c = 0; c < size; ++c) {
    if (hessian.empty()) {
      sum += static_cast<double>(d[c]) * d[c];
    } else if (d[c] != 0) {
      sum += static_cast<double>(d[c]) * (dotProduct(d, row(c), size) - static_cast<double>(added) * d[c]);
    }
  }
  return std::max(sum, 0.0);
}

} // namespace emoe
