// Combine: out[t] = residual[t] + sum_j weights[t, j] * pairs[t * topK + j], j ascending.
#include "compiler/codegen/math.h"

namespace emoe {

mlir::LogicalResult emitCombine(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t stride = static_cast<int64_t>(f32RowBytes(spec.k));
  Expr pairs = k.operand(0), weights = k.operand(1), out = k.operand(2);
  k.forTiles([&](Expr t) {
    Expr row = t * double(stride);
    Expr firstPair = k.at(pairs, row * double(spec.topK));
    KernelBuilder::Exprs w;
    for (int64_t j = 0; j < spec.topK; ++j) {
      w.push_back(splat(k.loadF32(k.at(k.at(weights, t * double(4 * spec.topK)), 4 * j))));
    }
    k.forVectors(spec.k, [&](Expr offset, int64_t valid) {
      Expr sum = spec.hasResidual ? k.loadLanes(k.at(k.operand(3), row + offset), valid)
                                  : k.constant(k.vec(k.b.getF32Type()), 0);
      for (int64_t j = 0; j < spec.topK; ++j) {
        sum = fma(w[j], k.loadLanes(k.at(firstPair, offset + double(j * stride)), valid), sum);
      }
      k.storeLanes(sum, k.at(out, row + offset), valid);
    });
    k.zeroPadding(k.at(out, row), spec.k);
  });
  return mlir::success();
}

} // namespace emoe
