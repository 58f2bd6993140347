// Add, Mul, Activate, Scale, ScaleRows: out[t, i] = f(a[t, i], b[t, i]).
#include "compiler/codegen/math.h"
#include "llvm/Support/ErrorHandling.h"

namespace emoe {

mlir::LogicalResult emitElementwise(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  bool unary = spec.family == KernelFamily::Activate || spec.family == KernelFamily::Scale;
  bool byRow = spec.family == KernelFamily::ScaleRows;
  int64_t stride = static_cast<int64_t>(f32RowBytes(spec.k)), strideB = !byRow ? stride : spec.packedFactor ? 4 : f32RowBytes(1);
  Expr a = k.operand(0), b = k.operand(unary ? 0 : 1), out = k.operand(unary ? 1 : 2);
  k.forTiles([&](Expr t) {
    Expr row = t * double(stride);
    Expr factor = byRow ? splat(k.loadF32(k.at(b, t * double(strideB)))) : Expr();
    k.forVectors(spec.k, [&](Expr offset, int64_t valid) {
      Expr here = row + offset;
      Expr x = k.loadLanes(k.at(a, here), valid);
      auto other = [&] { return k.loadLanes(k.at(b, here), valid); };
      auto result = [&]() -> Expr {
        switch (spec.family) {
        case KernelFamily::Activate:
          return emitActivation(spec.activation, x);
        case KernelFamily::Scale:
          return x * double(spec.scale);
        case KernelFamily::ScaleRows:
          return x * factor;
        case KernelFamily::Add:
          return x + other();
        case KernelFamily::Mul:
          return x * other();
        default:
          llvm_unreachable("not an elementwise family");
        }
      };
      k.storeLanes(result(), k.at(out, here), valid);
    });
    k.zeroPadding(k.at(out, row), spec.k);
  });
  return mlir::success();
}

} // namespace emoe
