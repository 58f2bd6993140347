// How much each error in a row of a matrix matters: the second moments of what the matrix is multiplied with.
#ifndef EMOE_COMPILER_BITWIDTH_CURVATURE_H_
#define EMOE_COMPILER_BITWIDTH_CURVATURE_H_

#include <cstdint>
#include <vector>

namespace emoe {

// y[i] += a * x[i]. The same bits on every host: products are rounded before they are added.
void addScaled(float *y, const float *x, float a, int64_t count);
// The sum of x[i] * y[i], in 16 partial sums of fixed order.
float dotProduct(const float *x, const float *y, int64_t count);

// An error d in a row costs d H d^T, where H is the damped moment E[x^T x] of the inputs x.
class Curvature {
public:
  // Every column matters alike, and no column can make up for another: rounding is to nearest.
  static Curvature identity(int64_t columns);

  // `moment` is symmetric [columns, columns]; damping * mean(diagonal) is added to the diagonal, and more, tenfold each
  // time, until the matrix is positive definite in float32. A moment without a positive diagonal, or one that is not
  // finite, gives identity().
  static Curvature ofMoment(const float *moment, int64_t columns, float damping);

  int64_t columns() const { return size; }
  bool isIdentity() const { return hessian.empty(); }
  float damped() const { return added; }               // what was added to the diagonal
  const float *row(int64_t c) const { return &hessian[c * size]; }
  float diagonal(int64_t c) const { return hessian.empty() ? 1 : hessian[c * size + c]; }

  // H = V V^T with V upper triangular. pivot(c) = V[c][c]^2: what an error in column c costs once the columns after it
  // have made up for as much of it as they can. feedback(c)[k] = V[c][k] / V[k][k] for k > c: how much of column c's
  // error column k takes over.
  float pivot(int64_t c) const { return pivots.empty() ? 1 : pivots[c]; }
  const float *feedback(int64_t c) const { return &factor[c * size]; }

  // d H d^T without the damping.
  double cost(const float *d) const;

private:
  int64_t size = 0;
  float added = 0;
  std::vector<float> hessian, factor, pivots;
};

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_CURVATURE_H_
