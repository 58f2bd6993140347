// Quantize: f32 rows -> q8 rows (schema/kernel_abi.h); storeQ8Group has the formula.
#include "compiler/codegen/math.h"
#include "schema/kernel_abi.h"

namespace emoe {

void storeQ8Group(KernelBuilder &k, Expr row, int64_t width, Expr group, Expr low, Expr high) {
  mlir::Type i32 = k.b.getI32Type(), f32 = k.b.getF32Type();
  // As integers, magnitudes of floats are in the same order, with infinity and then NaN last.
  Expr magnitude = max(bits(low, i32) & 0x7fffffff, bits(high, i32) & 0x7fffffff);
  Expr amax = bits(reduceMax(magnitude), f32);
  Expr tiny = amax < 0x1p-100;
  Expr scale = select(tiny, k.f32(0), amax / 127.0);
  Expr factor = select(tiny, k.f32(0), 127.0 / amax);
  Expr q0 = roundToI32(low * factor), q1 = roundToI32(high * factor);
  Expr sum = reduceSum(q0 + q1);
  Expr bytes = k.at(row, group * double(EMOE_GROUP));
  k.store(truncate(q0, 8), bytes);
  k.store(truncate(q1, 8), k.at(bytes, int64_t(kLanes)));
  Expr scales = k.at(k.at(row, width), group * 4.0);
  k.store(scale, scales);
  k.store(sum, k.at(scales, width / EMOE_GROUP * 4));
}

mlir::LogicalResult emitQuantize(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t width = static_cast<int64_t>(f32RowBytes(spec.k) / 4), stride = static_cast<int64_t>(q8RowBytes(spec.k));
  Expr x = k.operand(0), out = k.operand(1);
  int64_t whole = spec.k / EMOE_GROUP;
  k.forTiles([&](Expr t) {
    Expr from = k.at(x, t * double(4 * width)), to = k.at(out, t * double(stride));
    auto groupOf = [&](Expr group, int64_t valid) {
      Expr in = k.at(from, group * double(4 * EMOE_GROUP));
      Expr zero = k.constant(k.vec(k.b.getF32Type()), 0);
      Expr low = valid ? k.loadLanes(in, std::min(valid, kLanes)) : zero;
      Expr high = valid > kLanes ? k.loadLanes(k.at(in, 4 * kLanes), valid - kLanes) : zero;
      storeQ8Group(k, to, width, group, low, high);
    };
    if (whole) {
      k.loop(k.i64(0), k.i64(whole), 1, [&](Expr group) { groupOf(group, EMOE_GROUP); });
    }
    for (int64_t g = whole; g < width / EMOE_GROUP; ++g) {
      groupOf(k.i64(g), std::max<int64_t>(0, spec.k - g * EMOE_GROUP));
    }
  });
  return mlir::success();
}

} // namespace emoe
