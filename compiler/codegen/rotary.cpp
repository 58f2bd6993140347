// Rotary: the pair (x, y) of index i of every head becomes scale * (x cos a - y sin a, y cos a + x sin a), where a is
// float(position) * inv_freq[i] rounded to f32. Pairs are (i, i + rotated/2) or (2i, 2i + 1); the rest of a head is
// copied. Scaled cosines and sines are rounded to spec.digits binary digits first (T. J. Dekker, A floating-point
// technique for extending the available precision, 1971): with t = x * (2^(24 - digits) + 1), that is t - (t - x).
#include "compiler/codegen/math.h"

namespace emoe {

mlir::LogicalResult emitRotary(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t pairs = spec.rotated / 2, width = spec.heads * spec.headDim;
  int64_t stride = static_cast<int64_t>(f32RowBytes(width)), headBytes = 4 * spec.headDim;
  bool half = spec.rotary == RotaryStyle::Half;
  Expr x = k.operand(0), frequencies = k.operand(1), out = k.operand(2), start = k.position();
  auto deinterleave = [](int32_t odd) {
    llvm::SmallVector<int32_t> lanes;
    for (int32_t i = 0; i < kLanes; ++i) {
      lanes.push_back(2 * i + odd);
    }
    return lanes;
  };
  auto interleave = [](int32_t from) {
    llvm::SmallVector<int32_t> lanes;
    for (int32_t i = 0; i < kLanes; ++i) {
      lanes.push_back((from + i) / 2 + (i % 2) * kLanes);
    }
    return lanes;
  };
  k.forTiles([&](Expr t) {
    Expr row = t * double(stride);
    Expr position = splat(toF32(start + t));
    k.forVectors(pairs, [&](Expr offset, int64_t valid) {
      SinCos turn = emitSinCos(position * k.loadLanes(k.at(frequencies, offset), valid));
      auto rounded = [&](Expr x) {
        Expr t = x * double((int64_t(1) << (24 - spec.digits)) + 1);
        return spec.digits == 24 ? x : t - (t - x);
      };
      Expr s = rounded(turn.sin * double(spec.scale)), c = rounded(turn.cos * double(spec.scale));
      k.loop(row, row + double(4 * width), headBytes, [&](Expr head) {
        // A vector of pairs: two vectors of the head, half a rotation apart or adjacent.
        int64_t apart = half ? 4 * pairs : 4 * kLanes;
        int64_t validLow = half ? valid : std::min(2 * valid, kLanes);
        int64_t validHigh = half ? valid : 2 * valid - validLow;
        Expr here = head + (half ? offset : offset * 2.0);
        Expr in = k.at(x, here), to = k.at(out, here);
        Expr low = k.loadLanes(in, validLow);
        Expr high = validHigh ? k.loadLanes(k.at(in, apart), validHigh) : constantLike(low, 0);
        Expr u = half ? low : permute(low, high, deinterleave(0));
        Expr v = half ? high : permute(low, high, deinterleave(1));
        Expr a = u * c - v * s, b = v * c + u * s;
        k.storeLanes(half ? a : permute(a, b, interleave(0)), to, validLow);
        if (validHigh) {
          k.storeLanes(half ? b : permute(a, b, interleave(kLanes)), k.at(to, apart), validHigh);
        }
      });
    });
    if (spec.rotated < spec.headDim) {
      k.loop(row, row + double(4 * width), headBytes, [&](Expr head) {
        Expr rest = head + double(4 * spec.rotated);
        k.forVectors(spec.headDim - spec.rotated, [&](Expr offset, int64_t valid) {
          k.storeLanes(k.loadLanes(k.at(x, rest + offset), valid), k.at(out, rest + offset), valid);
        });
      });
    }
    k.zeroPadding(k.at(out, row), width);
  });
  return mlir::success();
}

} // namespace emoe
