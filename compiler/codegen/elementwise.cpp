// Add, Mul, Activate: out[t, i] = f(a[t, i], b[t, i]).
#include "compiler/codegen/math.h"

namespace emoe {

mlir::LogicalResult emitElementwise(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  bool unary = spec.family == KernelFamily::Activate;
  int64_t stride = static_cast<int64_t>(f32RowBytes(spec.k));
  Expr a = k.operand(0), b = k.operand(unary ? 0 : 1), out = k.operand(unary ? 1 : 2);
  k.forTiles([&](Expr t) {
    Expr row = t * double(stride);
    k.forVectors(spec.k, [&](Expr offset, int64_t valid) {
      Expr here = row + offset;
      Expr x = k.loadLanes(k.at(a, here), valid);
      Expr y = unary                              ? emitActivation(spec.activation, x)
               : spec.family == KernelFamily::Add ? x + k.loadLanes(k.at(b, here), valid)
                                                  : x * k.loadLanes(k.at(b, here), valid);
      k.storeLanes(y, k.at(out, here), valid);
    });
    k.zeroPadding(k.at(out, row), spec.k);
  });
  return mlir::success();
}

} // namespace emoe
