// Route: a token's experts and their weights from its router logits (dialects/emoe/ops.td, emoe.route).
//   scores  = softmax(logits), sigmoid(logits) or logits
//   choice  = scores + selection bias, as integers in the same order: NaN below -inf, and -0 as +0
//             groups: the filling instead, outside of the topGroups groups whose groupTop largest choices sum to most
//   chosen  = the topK largest choices, ties by the lowest index; listed by ascending index
//   weights = scores[chosen] (sparse mixer: a softmax of this round's logits, see ops.td), then softmax, division by (sum + epsilon), and scale, as the specification says
// Sums over experts: lane i mod 16 of one vector, then by halves; sums over the chosen: ascending.
#include <limits>

#include "compiler/codegen/math.h"

namespace emoe {

namespace {

constexpr int32_t kTaken = std::numeric_limits<int32_t>::min();  // below every choice
constexpr int32_t kNan = kTaken + 1;

// Softmax of the `n` floats at `scores`, in place. A loop over whole vectors; lanes beyond n are left alone.
void softmax(KernelBuilder &k, Expr scores, int64_t n) {
  auto masked = [&](Expr x, int64_t valid, double other) {
    if (valid == kLanes) {
      return x;
    }
    llvm::SmallVector<int32_t> lanes;
    for (int32_t i = 0; i < kLanes; ++i) {
      lanes.push_back(i < valid ? i : kLanes);
    }
    return permute(x, constantLike(x, other), lanes);
  };
  const double minusInfinity = -std::numeric_limits<double>::infinity();
  auto fold = [&](double initial, llvm::function_ref<Expr(Expr sum, Expr offset, int64_t valid)> step) {
    Expr sum = k.constant(k.vec(k.b.getF32Type()), initial);
    int64_t whole = n / kLanes * kLanes;
    if (whole) {
      sum = k.loop(k.i64(0), k.i64(4 * whole), 4 * kLanes, {sum}, [&](Expr offset, llvm::ArrayRef<Expr> carried) {
        return KernelBuilder::Exprs{step(carried[0], offset, kLanes)};
      })[0];
    }
    return n > whole ? step(sum, k.i64(4 * whole), n - whole) : sum;
  };
  Expr maximum = reduceMax(fold(minusInfinity, [&](Expr m, Expr offset, int64_t valid) {
    return max(masked(k.loadLanes(k.at(scores, offset), valid), valid, minusInfinity), m);
  }));
  Expr sum = reduceSum(fold(0, [&](Expr s, Expr offset, int64_t valid) {
    Expr e = emitExp(k.loadLanes(k.at(scores, offset), valid) - maximum);
    k.storeLanes(e, k.at(scores, offset), valid);
    return s + masked(e, valid, 0);
  }));
  k.forVectors(n, [&](Expr offset, int64_t valid) {
    k.storeLanes(k.loadLanes(k.at(scores, offset), valid) / sum, k.at(scores, offset), valid);
  });
}

// Integers in the order of the floats.
Expr ordered(Expr x) {
  KernelBuilder &k = *x.k;
  Expr b = bits(x + 0.0, k.b.getI32Type());  // -0 + 0 = +0
  Expr key = select(b < 0.0, b ^ 0x7fffffff, b);
  return select(x == x, key, constantLike(b, kNan));
}

// The larger two of (first, second) and x.
KernelBuilder::Exprs largestTwo(llvm::ArrayRef<Expr> two, Expr x) {
  Expr larger = x > two[0];
  return {select(larger, x, two[0]), select(larger, two[0], max(x, two[1]))};
}

// Only the best groups count: elsewhere the choice (`values`, floats) becomes the filling.
void limitGroups(KernelBuilder &k, Expr values, Expr groupScores) {
  const KernelSpec &spec = k.spec;
  const int64_t size = spec.n / spec.groups;
  const double minusInfinity = -std::numeric_limits<double>::infinity();
  k.loop(k.i64(0), k.i64(spec.groups), 1, [&](Expr group) {
    Expr first = k.at(values, group * double(4 * size));
    KernelBuilder::Exprs two = k.loop(k.i64(0), k.i64(size), 1, {k.f32(minusInfinity), k.f32(minusInfinity)},
                                      [&](Expr i, llvm::ArrayRef<Expr> carried) {
                                        return largestTwo(carried, k.loadF32(k.at(first, i * 4.0)));
                                      });
    k.store(spec.groupTop == 1 ? two[0] : two[0] + two[1], k.at(groupScores, group * 4.0));
  });
  // A group stays if fewer than topGroups are better: larger, or equal and before it.
  k.loop(k.i64(0), k.i64(spec.groups), 1, [&](Expr group) {
    Expr own = k.loadF32(k.at(groupScores, group * 4.0));
    Expr better = k.loop(k.i64(0), k.i64(spec.groups), 1, {k.i64(0)},
                         [&](Expr other, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
                           Expr score = k.loadF32(k.at(groupScores, other * 4.0));
                           Expr wins = (score > own) | ((score == own) & (other < group));
                           return {carried[0] + zeroExtend(wins, 64)};
                         })[0];
    k.ifThen(better >= double(spec.topGroups), [&] {
      k.loop(k.i64(0), k.i64(size), 1, [&](Expr i) {
        k.store(k.f32(spec.groupFill), k.at(values, group * double(4 * size) + i * 4.0));
      });
    });
  });
}

// The sparse mixer's weight of `chosen` in this round, instead of its logit: experts that are taken are out of it.
void mixSparsely(KernelBuilder &k, Expr logits, Expr choices, Expr chosen) {
  Expr place = k.at(logits, chosen * 4.0), m = k.loadF32(place);
  Expr sum = k.loop(k.i64(0), k.i64(k.spec.n), 1, {k.f32(0)},
                    [&](Expr e, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
                      Expr l = k.loadF32(k.at(logits, e * 4.0));
                      Expr taken = k.load(k.at(choices, e * 4.0), k.b.getI32Type()) == double(kTaken);
                      Expr far = (m - l) / max(abs(l), m) > double(k.spec.threshold);
                      return {carried[0] + select(taken | far, k.f32(0), emitExp(l - m))};
                    })[0];
  k.store(1.0 / sum, place);
}

} // namespace

mlir::LogicalResult emitRoute(KernelBuilder &k) {
  const KernelSpec &spec = k.spec;
  int64_t n = spec.n, padded = (n + kLanes - 1) / kLanes * kLanes;
  int64_t stride = static_cast<int64_t>(f32RowBytes(n));
  mlir::Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type();
  Expr logits = k.operand(0), ids = k.operand(1), weights = k.operand(2);
  if (spec.hasBias) {
    k.operand(3);
  }
  if (spec.hasScale) {
    k.operand(spec.hasBias ? 4 : 3);
  }
  Expr values = spec.groups > 1 ? k.scratch(4 * padded) : Expr();
  Expr groupScores = spec.groups > 1 ? k.scratch((4 * spec.groups + 63) / 64 * 64) : Expr();
  Expr scores = k.scratch(4 * padded), choices = k.scratch(4 * padded);
  llvm::SmallVector<int32_t> laneIndices;
  for (int32_t i = 0; i < kLanes; ++i) {
    laneIndices.push_back(i);
  }
  k.forTiles([&](Expr t) {
    Expr in = k.at(logits, t * double(stride));
    k.forVectors(n, [&](Expr offset, int64_t valid) {
      Expr x = k.loadLanes(k.at(in, offset), valid);
      k.storeLanes(spec.score == ScoreFunction::Sigmoid ? emitSigmoid(x) : x, k.at(scores, offset), valid);
    });
    if (spec.score == ScoreFunction::Softmax) {
      softmax(k, scores, n);
    }
    // Lanes beyond n are never chosen.
    k.store(k.constant(k.vec(i32), kTaken), k.at(choices, 4 * (padded - kLanes)));
    auto choiceAt = [&](Expr offset, int64_t valid) {
      Expr s = k.loadLanes(k.at(scores, offset), valid);
      return spec.hasBias ? s + k.loadLanes(k.at(k.operand(3), offset), valid) : s;
    };
    if (spec.groups > 1) {
      k.forVectors(n, [&](Expr offset, int64_t valid) {
        k.storeLanes(choiceAt(offset, valid), k.at(values, offset), valid);
      });
      limitGroups(k, values, groupScores);
    }
    k.forVectors(n, [&](Expr offset, int64_t valid) {
      Expr s = spec.groups > 1 ? k.loadLanes(k.at(values, offset), valid) : choiceAt(offset, valid);
      k.storeLanes(bits(ordered(s), f32), k.at(choices, offset), valid);
    });

    // topK times the largest choice: per lane the first largest, then the lowest index among the lanes' largest.
    k.loop(k.i64(0), k.i64(spec.topK), 1, [&](Expr) {
      Expr none = k.constant(k.vec(i32), kTaken), far = k.constant(k.vec(i32), 0);
      KernelBuilder::Exprs best = k.loop(
          k.i64(0), k.i64(padded), kLanes, {none, far},
          [&](Expr i, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
            Expr choice = k.load(k.at(choices, i * 4.0), k.vec(i32));
            Expr index = k.constantI32s(laneIndices) + truncate(i, 32);
            Expr larger = choice > carried[0];
            return {select(larger, choice, carried[0]), select(larger, index, carried[1])};
          });
      Expr largest = reduceMax(best[0]);
      Expr candidates = select(best[0] == largest, best[1], constantLike(best[1], 0x7fffffff));
      Expr chosen = 0.0 - reduceMax(0.0 - candidates);
      if (spec.score == ScoreFunction::SparseMixer) {
        mixSparsely(k, scores, choices, signExtend(chosen, 64));
      }
      k.store(constantLike(chosen, kTaken), k.at(choices, signExtend(chosen, 64) * 4.0));
    });

    // The taken ones in ascending order.
    Expr idsRow = k.at(ids, t * double(4 * spec.topK)), weightsRow = k.at(weights, t * double(4 * spec.topK));
    k.loop(k.i64(0), k.i64(n), 1, {k.i64(0)}, [&](Expr e, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
      Expr taken = k.load(k.at(choices, e * 4.0), i32) == double(kTaken);
      k.ifThen(taken, [&] {
        k.store(truncate(e, 32), k.at(idsRow, carried[0] * 4.0));
        k.store(k.loadF32(k.at(scores, e * 4.0)), k.at(weightsRow, carried[0] * 4.0));
      });
      return {carried[0] + zeroExtend(taken, 64)};
    });

    if (spec.softmaxAfter) {
      softmax(k, weightsRow, spec.topK);
    }
    if (spec.renormalise || spec.scale != 1) {
      Expr divisor = k.f32(1);
      if (spec.renormalise) {
        divisor = k.loop(k.i64(0), k.i64(4 * spec.topK), 4, {k.f32(0)},
                         [&](Expr offset, llvm::ArrayRef<Expr> carried) -> KernelBuilder::Exprs {
                           return {carried[0] + k.loadF32(k.at(weightsRow, offset))};
                         })[0] +
                  double(spec.epsilon);
      }
      k.forVectors(spec.topK, [&](Expr offset, int64_t valid) {
        Expr w = k.loadLanes(k.at(weightsRow, offset), valid);
        w = spec.renormalise ? w / divisor : w;
        k.storeLanes(spec.scale == 1 ? w : w * double(spec.scale), k.at(weightsRow, offset), valid);
      });
    }
    if (spec.hasScale) {
      k.loop(k.i64(0), k.i64(4 * spec.topK), 4, [&](Expr offset) {
        Expr id = signExtend(k.load(k.at(idsRow, offset), i32), 64), place = k.at(weightsRow, offset);
        k.store(k.loadF32(place) * k.loadF32(k.at(k.operand(spec.hasBias ? 4 : 3), id * 4.0)), place);
      });
    }
  });
  return mlir::success();
}

} // namespace emoe
