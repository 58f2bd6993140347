// Norm: each of `heads` equal parts of a row is normalised alone, with the same weights.
//   rms:   y = x * (1 / sqrt(mean(x^2) + epsilon)) * (W + offset)
//   layer: y = (x - mean(x)) * (1 / sqrt(mean((x - mean(x))^2) + epsilon)) * W + B
// Sums: element i goes to lane i mod 64 of four vectors of 16, in ascending order; then the vectors pairwise, then the
// lanes by halves (reduceSum). The order depends on the part's width alone.
#include "compiler/codegen/math.h"

namespace emoe {

namespace {

constexpr int64_t kSums = 4;

// The sum of term(x, valid) over the part at `part`; lanes beyond the part are zeros in x.
Expr sumOver(KernelBuilder &k, Expr part, int64_t width, llvm::function_ref<Expr(Expr x, int64_t valid)> term) {
  Expr zero = k.constant(k.vec(k.b.getF32Type()), 0);
  KernelBuilder::Exprs sums(kSums, zero);
  int64_t block = kSums * kLanes, whole = width / block * block;
  if (whole) {
    sums = k.loop(k.i64(0), k.i64(4 * whole), 4 * block, sums, [&](Expr offset, llvm::ArrayRef<Expr> carried) {
      KernelBuilder::Exprs next;
      for (int64_t i = 0; i < kSums; ++i) {
        next.push_back(carried[i] + term(k.loadLanes(k.at(part, offset + double(4 * kLanes * i))), kLanes));
      }
      return next;
    });
  }
  for (int64_t i = whole, j = 0; i < width; i += kLanes, ++j) {
    int64_t valid = std::min(kLanes, width - i);
    sums[j] = sums[j] + term(k.loadLanes(k.at(part, 4 * i), valid), valid);
  }
  return reduceSum((sums[0] + sums[1]) + (sums[2] + sums[3]));
}

// x - mean in the first `valid` lanes, zero in the others.
Expr centred(KernelBuilder &k, Expr x, Expr mean, int64_t valid) {
  Expr difference = x - mean;
  if (valid == kLanes) {
    return difference;
  }
  llvm::SmallVector<int32_t> lanes;
  for (int32_t i = 0; i < kLanes; ++i) {
    lanes.push_back(i < valid ? i : kLanes);
  }
  return permute(difference, constantLike(difference, 0), lanes);
}

void normalise(KernelBuilder &k, Expr in, Expr out, int64_t width) {
  const KernelSpec &spec = k.spec;
  bool layer = spec.norm == NormKind::Layer;
  Expr mean = layer ? sumOver(k, in, width, [](Expr x, int64_t) { return x; }) / double(width) : Expr();
  Expr squares = sumOver(k, in, width, [&](Expr x, int64_t valid) {
    Expr c = layer ? centred(k, x, mean, valid) : x;
    return c * c;
  });
  Expr factor = splat(1.0 / sqrt(squares / double(width) + double(spec.epsilon)));
  k.forVectors(width, [&](Expr offset, int64_t valid) {
    Expr x = k.loadLanes(k.at(in, offset), valid);
    Expr weight = k.loadLanes(k.at(k.operand(1), offset), valid);
    if (spec.offset != 0) {
      weight = weight + double(spec.offset);
    }
    Expr y = (layer ? x - mean : x) * factor * weight;
    if (spec.hasBias) {
      y = y + k.loadLanes(k.at(k.operand(3), offset), valid);
    }
    k.storeLanes(y, k.at(out, offset), valid);
  });
}

} // namespace

mlir::LogicalResult emitNorm(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t heads = std::max<int64_t>(spec.heads, 1), width = spec.k / heads;
  int64_t stride = static_cast<int64_t>(f32RowBytes(spec.k));
  Expr x = k.operand(0), out = k.operand(2);
  k.operand(1);
  if (spec.hasBias) {
    k.operand(3);
  }
  k.forTiles([&](Expr t) {
    Expr row = t * double(stride);
    if (heads == 1) {
      normalise(k, k.at(x, row), k.at(out, row), width);
    } else {
      k.loop(row, row + double(4 * width * heads), 4 * width,
             [&](Expr offset) { normalise(k, k.at(x, offset), k.at(out, offset), width); });
    }
    k.zeroPadding(k.at(out, row), spec.k);
  });
  return mlir::success();
}

} // namespace emoe
