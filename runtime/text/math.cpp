#include "runtime/text/math.h"

#include <stdint.h>
#include <string.h>

namespace emoe::rt {
namespace {

constexpr double kLn2High = 0x1.62e42fefa38p-1, kLn2Low = 0x1.ef35793c7673p-45;  // ln 2; products of High are exact

// 1 / k!, from k = 13 down: sums of products are several times faster than the divisions of nested quotients.
constexpr double kInverseFactorials[] = {1 / 6227020800.0, 1 / 479001600.0, 1 / 39916800.0, 1 / 3628800.0, 1 / 362880.0,
                                         1 / 40320.0, 1 / 5040.0, 1 / 720.0, 1 / 120.0, 1 / 24.0, 1 / 6.0, 0.5, 1, 1};

double FromBits(uint64_t bits) {
  double value;
  memcpy(&value, &bits, sizeof(value));
  return value;
}

}  // namespace

// x = n ln 2 + r with |r| <= ln 2 / 2; exp r by its Taylor polynomial of degree 13 (the next term is below 2^-58).
double Exp(double x) {
  if (x != x) return x;
  if (x < -708) return 0;
  if (x > 709) return FromBits(0x7ff0000000000000u);
  double scaled = x * 1.4426950408889634;
  int64_t n = static_cast<int64_t>(scaled < 0 ? scaled - 0.5 : scaled + 0.5);
  double r = (x - static_cast<double>(n) * kLn2High) - static_cast<double>(n) * kLn2Low;
  double sum = 0;
  for (double coefficient : kInverseFactorials) sum = sum * r + coefficient;
  return sum * FromBits(static_cast<uint64_t>(n + 1023) << 52);
}

// x = 2^n m with m in [sqrt 1/2, sqrt 2); log m = 2 atanh s with s = (m - 1) / (m + 1), |s| < 0.172.
double Log(double x) {
  uint64_t bits;
  memcpy(&bits, &x, sizeof(bits));
  int64_t n = static_cast<int64_t>(bits >> 52) - 1023;
  double m = FromBits((bits & 0x000fffffffffffffu) | 0x3ff0000000000000u);
  if (m > 1.4142135623730951) {
    m *= 0.5;
    ++n;
  }
  double s = (m - 1) / (m + 1), square = s * s, sum = 0;
  for (int k = 23; k >= 1; k -= 2) sum = sum * square + 1.0 / k;
  return static_cast<double>(n) * kLn2High + (2 * s * sum + static_cast<double>(n) * kLn2Low);
}

}  // namespace emoe::rt
