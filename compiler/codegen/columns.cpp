// Slice and Concat: columns of each head, copied.
#include "compiler/codegen/emit.h"

namespace emoe {

mlir::LogicalResult emitColumns(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  auto copy = [&](Expr from, Expr to, int64_t width) {
    k.forVectors(width, [&](Expr offset, int64_t valid) {
      k.storeLanes(k.loadLanes(k.at(from, offset), valid), k.at(to, offset), valid);
    });
  };
  if (spec.family == KernelFamily::Slice) {
    const int64_t width = spec.heads * spec.headDim, part = spec.k / spec.heads;
    const double inRow = f32RowBytes(spec.k), outRow = f32RowBytes(width);
    Expr x = k.operand(0), out = k.operand(1);
    const int64_t copied = std::min(spec.headDim, part - spec.start);
    k.forTiles([&](Expr t) {
      Expr from = k.at(x, t * inRow + double(4 * spec.start)), to = k.at(out, t * outRow);
      k.loop(k.i64(0), k.i64(spec.heads), 1, [&](Expr head) {
        Expr own = k.at(to, head * double(4 * spec.headDim));
        copy(k.at(from, head * double(4 * part)), own, copied);
        if (copied < spec.headDim) {
          k.forVectors(spec.headDim - copied, [&](Expr offset, int64_t valid) {
            k.storeLanes(k.constant(k.vec(k.b.getF32Type()), 0), k.at(k.at(own, 4 * copied), offset), valid);
          });
        }
      });
      k.zeroPadding(to, width);
    });
    return mlir::success();
  }
  const int64_t left = spec.k / spec.heads, right = spec.n / spec.kvHeads, width = spec.heads * (left + right);
  const double aRow = f32RowBytes(spec.k), bRow = f32RowBytes(spec.n), outRow = f32RowBytes(width);
  Expr a = k.operand(0), b = k.operand(1), out = k.operand(2);
  k.forTiles([&](Expr t) {
    Expr fromA = k.at(a, t * aRow), fromB = k.at(b, t * bRow), to = k.at(out, t * outRow);
    k.loop(k.i64(0), k.i64(spec.heads), 1, [&](Expr head) {
      Expr part = k.at(to, head * double(4 * (left + right)));
      copy(k.at(fromA, head * double(4 * left)), part, left);
      copy(spec.kvHeads == 1 ? fromB : k.at(fromB, head * double(4 * right)), k.at(part, 4 * left), right);
    });
    k.zeroPadding(to, width);
  });
  return mlir::success();
}

} // namespace emoe
