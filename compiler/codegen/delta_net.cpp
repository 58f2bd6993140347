// DeltaNet: emoe.delta_net. Columns of a head's state are independent: a tile is 16 of them, a lane each, for all tokens in
// order. A token reads them twice: for what the state says of the key, then to correct it and to ask for the query. Sums
// over the head's rows run in kSums interleaved chains and over the key's elements in lanes, both in an order that
// the sizes alone give, so results are the same for any chunking and threads.
#include "compiler/codegen/math.h"

namespace emoe {

namespace {

// The sum of squares of `width` floats.
Expr sumOfSquares(KernelBuilder &k, Expr row, int64_t width) {
  Expr sum = k.constant(k.vec(k.b.getF32Type()), 0);
  const int64_t whole = width / kLanes * kLanes;
  if (whole) {
    sum = k.loop(k.i64(0), k.i64(4 * whole), 4 * kLanes, {sum}, [&](Expr offset, llvm::ArrayRef<Expr> carried) {
      Expr x = k.loadLanes(k.at(row, offset));
      return KernelBuilder::Exprs{fma(x, x, carried[0])};
    })[0];
  }
  if (whole < width) {
    Expr x = k.loadLanes(k.at(row, 4 * whole), width - whole);
    sum = fma(x, x, sum);
  }
  return reduceSum(sum);
}

} // namespace

mlir::LogicalResult emitDeltaNet(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  const int64_t rows = spec.headDim, sums = rows % 4 == 0 ? 4 : 1, blocks = (spec.n + kLanes - 1) / kLanes;
  const int64_t rest = spec.n % kLanes, outWidth = spec.heads * spec.n, stateRow = 4 * kLanes * blocks;
  const double keyStride = f32RowBytes(spec.kvHeads * rows), outStride = f32RowBytes(outWidth);
  const double gateStride = f32RowBytes(spec.heads);
  Expr queries = k.operand(0), keys = k.operand(1), values = k.operand(2), decays = k.operand(3), rates = k.operand(4);
  Expr factors = k.operand(5), state = k.operand(6), out = k.operand(7), tokens = k.tokens();
  Expr biases = spec.hasBias ? k.operand(8) : Expr();
  Expr zero = k.constant(k.vec(k.b.getF32Type()), 0);

  auto columns = [&](Expr head, Expr block, int64_t valid) {
    Expr ofHead = head * 4.0, ofKey = head / double(spec.heads / spec.kvHeads) * double(4 * rows);
    Expr ofValue = head * double(4 * spec.n) + block * double(4 * kLanes);
    Expr own = k.at(state, head * double(stateRow * rows) + block * double(4 * kLanes));
    Expr factor = k.loadF32(k.at(factors, ofHead));
    if (spec.logDecay) {
      factor = 0.0 - emitExp(factor);
    }
    Expr bias = spec.hasBias ? k.loadF32(k.at(biases, ofHead)) : Expr();
    k.loop(k.i64(0), tokens, 1, [&](Expr t) {
      Expr q = k.at(queries, t * keyStride + ofKey), key = k.at(keys, t * keyStride + ofKey);
      Expr gate = t * gateStride + ofHead;
      Expr a = k.loadF32(k.at(decays, gate)), rate = emitSigmoid(k.loadF32(k.at(rates, gate)));
      Expr decay = splat(emitExp(factor * emitSoftplus(spec.hasBias ? a + bias : a)));
      Expr keyScale = k.f32(1), queryScale = k.f32(spec.scale);
      if (spec.renormalise) {
        auto inverse = [&](Expr row) {
          Expr sum = sumOfSquares(k, row, rows) + double(spec.epsilon);
          return select(sum == 0.0, k.f32(0), 1.0 / sqrt(sum));
        };
        keyScale = inverse(key);
        queryScale = inverse(q) * double(spec.scale);
      }
      Expr at = t * outStride + ofValue;
      // What the decayed state says of the key.
      KernelBuilder::Exprs said = k.loop(
          k.i64(0), k.i64(rows), sums, KernelBuilder::Exprs(sums, zero), [&](Expr i, llvm::ArrayRef<Expr> carried) {
            KernelBuilder::Exprs next;
            for (int64_t j = 0; j < sums; ++j) {
              Expr row = i + double(j);
              next.push_back(fma(splat(k.loadF32(k.at(key, row * 4.0))), k.loadLanes(k.at(own, row * double(stateRow))),
                                 carried[j]));
            }
            return next;
          });
      auto total = [&](llvm::ArrayRef<Expr> parts) {
        return parts.size() == 4 ? (parts[0] + parts[1]) + (parts[2] + parts[3]) : parts[0];
      };
      Expr missing = k.loadLanes(k.at(values, at), valid) - decay * splat(keyScale) * total(said);
      Expr correction = splat(rate * keyScale) * missing;
      KernelBuilder::Exprs asked = k.loop(
          k.i64(0), k.i64(rows), sums, KernelBuilder::Exprs(sums, zero), [&](Expr i, llvm::ArrayRef<Expr> carried) {
            KernelBuilder::Exprs next;
            for (int64_t j = 0; j < sums; ++j) {
              Expr row = i + double(j), here = k.at(own, row * double(stateRow));
              Expr now = fma(splat(k.loadF32(k.at(key, row * 4.0))), correction, decay * k.loadLanes(here));
              k.storeLanes(now, here);
              next.push_back(fma(splat(k.loadF32(k.at(q, row * 4.0))), now, carried[j]));
            }
            return next;
          });
      k.storeLanes(total(asked) * splat(queryScale), k.at(out, at), valid);
    });
  };
  k.forTiles([&](Expr tile) {
    Expr head = tile / double(blocks), block = tile % double(blocks);
    if (rest == 0) {
      columns(head, block, kLanes);
    } else {
      if (blocks > 1) {
        k.ifThen(block < double(blocks - 1), [&] { columns(head, block, kLanes); });
      }
      k.ifThen(block == double(blocks - 1), [&] { columns(head, block, rest); });
    }
    if (outStride != 4 * outWidth) {
      k.ifThen(tile == double(spec.heads * blocks - 1), [&] {
        k.loop(k.i64(0), tokens, 1, [&](Expr t) { k.zeroPadding(k.at(out, t * outStride), outWidth); });
      });
    }
  });
  return mlir::success();
}

} // namespace emoe
