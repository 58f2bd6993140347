#include "compiler/calibrate/compare.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "runtime/text/math.h"

namespace emoe {
namespace {

constexpr uint32_t kLanes = 16;

// e^x for x <= 0, relative error below 2e-7; 0 is at least 1e-38 here. Cephes' polynomial.
inline float expOf(float x) {
  x = x < -87.0f ? -87.0f : x;
  float n = x * 1.44269504088896341f + 12582912.0f;  // to the nearest integer
  n -= 12582912.0f;
  float r = x - n * 0.693359375f;
  r = r - n * -2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  float y = p * (r * r) + r + 1.0f;
  int32_t scale = (static_cast<int32_t>(n) + 127) << 23;
  float power;
  std::memcpy(&power, &scale, sizeof(power));
  return y * power;
}

// Sums over all columns: of the exponentials of both rows, and of those of the first times the difference.
struct Sums {
  double reference = 0, candidate = 0, difference = 0;
};

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
__attribute__((target_clones("default", "avx2", "avx512f")))
#endif
void sumRows(const float *a, const float *b, float maxA, float maxB, uint32_t columns, Sums *sums) {
  double sumA[kLanes] = {}, sumB[kLanes] = {}, sumD[kLanes] = {};
  uint32_t at = 0;
  for (; at + kLanes <= columns; at += kLanes) {
    for (uint32_t i = 0; i < kLanes; ++i) {
      float x = expOf(a[at + i] - maxA), y = expOf(b[at + i] - maxB);
      sumA[i] += x;
      sumB[i] += y;
      sumD[i] += static_cast<double>(x) * (static_cast<double>(a[at + i]) - b[at + i]);
    }
  }
  for (; at < columns; ++at) {
    float x = expOf(a[at] - maxA), y = expOf(b[at] - maxB);
    sumA[0] += x;
    sumB[0] += y;
    sumD[0] += static_cast<double>(x) * (static_cast<double>(a[at]) - b[at]);
  }
  for (uint32_t i = 0; i < kLanes; ++i) {
    sums->reference += sumA[i];
    sums->candidate += sumB[i];
    sums->difference += sumD[i];
  }
}

} // namespace

RowComparison compareRows(const float *reference, const float *candidate, uint32_t vocab, uint32_t target) {
  float maxR = *std::max_element(reference, reference + vocab), maxC = *std::max_element(candidate, candidate + vocab);
  Sums sums;
  sumRows(reference, candidate, maxR, maxC, vocab, &sums);
  double logR = maxR + rt::Log(sums.reference), logC = maxC + rt::Log(sums.candidate);
  RowComparison row;
  row.reference = logR - reference[target];
  row.candidate = logC - candidate[target];
  row.divergence = std::max(0.0, sums.difference / sums.reference - (logR - logC));
  return row;
}

Comparison summarise(const std::vector<RowComparison> &rows) {
  Comparison result;
  result.tokens = rows.size();
  if (rows.empty()) {
    return result;
  }
  const double count = static_cast<double>(rows.size());
  double difference = 0;
  for (const RowComparison &row : rows) {
    result.reference += row.reference;
    result.candidate += row.candidate;
    result.divergence += row.divergence;
    difference += row.candidate - row.reference;
  }
  result.reference /= count;
  result.candidate /= count;
  result.divergence /= count;
  difference /= count;
  double squares = 0, divergenceSquares = 0;
  for (const RowComparison &row : rows) {
    double d = row.candidate - row.reference - difference, k = row.divergence - result.divergence;
    squares += d * d;
    divergenceSquares += k * k;
  }
  const double freedom = std::max(1.0, count - 1);
  double ratio = rt::Exp(difference);
  result.rise = 100 * (ratio - 1);
  result.riseError = 100 * ratio * std::sqrt(squares / freedom / count);
  result.divergenceError = std::sqrt(divergenceSquares / freedom / count);
  return result;
}

} // namespace emoe
