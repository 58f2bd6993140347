// ShortConv: a causal convolution of each column with its own weights. A tile is 16 columns of all rows: it walks the rows
// in order with the last n - 1 of them in registers, starting from the state and leaving them there. Sums run by
// ascending tap, so results are the same for any chunking and threads.
#include "compiler/codegen/emit.h"

namespace emoe {

mlir::LogicalResult emitShortConv(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  constexpr int64_t kVectorBytes = 4 * kLanes;
  const int64_t stride = static_cast<int64_t>(f32RowBytes(spec.k));
  const int64_t whole = spec.k / kLanes, rest = spec.k % kLanes, padded = stride / kVectorBytes;
  Expr x = k.operand(0), weights = k.operand(1), state = k.operand(2), out = k.operand(3), tokens = k.tokens();
  if (spec.hasBias) {
    k.operand(4);
  }
  // Columns beyond `valid` have weights of zero, so what is written there are zeros.
  auto columns = [&](Expr offset, int64_t valid) {
    KernelBuilder::Exprs taps, past;
    for (int64_t j = 0; j < spec.n; ++j) {
      taps.push_back(k.loadLanes(k.at(weights, offset + double(4 * spec.k * j)), valid));
    }
    Expr here = k.at(state, offset);
    for (int64_t j = 0; j + 1 < spec.n; ++j) {
      past.push_back(k.loadLanes(k.at(here, stride * j)));
    }
    Expr bias = spec.hasBias ? k.loadLanes(k.at(k.operand(4), offset), valid) : Expr();
    past = k.loop(k.i64(0), tokens, 1, past, [&](Expr t, llvm::ArrayRef<Expr> carried) {
      KernelBuilder::Exprs rows(carried.begin(), carried.end());
      Expr row = t * double(stride) + offset;
      rows.push_back(k.loadLanes(k.at(x, row), valid));
      Expr sum = spec.hasBias ? fma(taps[0], rows[0], bias) : taps[0] * rows[0];
      for (int64_t j = 1; j < spec.n; ++j) {
        sum = fma(taps[j], rows[j], sum);
      }
      k.storeLanes(sum, k.at(out, row));
      return KernelBuilder::Exprs(rows.begin() + 1, rows.end());
    });
    for (auto [j, row] : llvm::enumerate(past)) {
      k.storeLanes(row, k.at(here, stride * static_cast<int64_t>(j)));
    }
  };
  k.forTiles([&](Expr tile) {
    Expr offset = tile * double(kVectorBytes);
    if (whole) {
      k.ifThen(tile < double(whole), [&] { columns(offset, kLanes); });
    }
    if (rest) {
      k.ifThen(tile == double(whole), [&] { columns(offset, rest); });
    }
    if (const int64_t used = whole + (rest ? 1 : 0); used < padded) {
      k.ifThen(tile >= double(used), [&] {
        Expr zero = k.constant(k.vec(k.b.getF32Type()), 0);
        k.loop(k.i64(0), tokens, 1, [&](Expr t) { k.storeLanes(zero, k.at(out, t * double(stride) + offset)); });
      });
    }
  });
  return mlir::success();
}

} // namespace emoe
