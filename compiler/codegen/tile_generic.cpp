// The lowering of emoe.tile_product in plain vector arithmetic: the loops of all lowerings, and the group products of
// the generic one, which every target can run and all others are compared with.
#include "compiler/codegen/tile.h"

#include <numeric>

#include "compiler/codegen/pack.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

using Exprs = KernelBuilder::Exprs;

constexpr int64_t kUnitBytes = 4 * kLanes;  // a dword for each lane
constexpr int64_t kSubgroup = EMOE_GROUP;   // columns that share a scale of the activations

bool isTernary(LayoutAttr layout) { return layout.getCodebook() == Codebook::Ternary; }

// Visits the group's 32 columns in ascending order: visit(column, w_q, sums) adds one; w_q is i32 in 16 lanes. Loops, since
// 32 columns without one are a thousand instructions on narrow targets.
class ColumnWalk {
public:
  using Visit = function_ref<void(Expr column, Expr weights, Exprs &sums)>;
  ColumnWalk(KernelBuilder &k, const TileGroup &group, Visit visit) : k(k), group(group), visit(visit) {}

  Exprs run(ArrayRef<Expr> initial) {
    if (isTernary(group.layout)) {
      return ternary(initial);
    }
    const int64_t bits = group.layout.getBits(), codeBits = bits == 3 ? 2 : bits, perUnit = 32 / codeBits;
    Expr payload = k.at(group.payload, group.first / kSubgroup * payloadBytes(group.layout, kSubgroup));
    Expr plane = bits == 3 ? load(k.at(payload, 2 * kUnitBytes)) : Expr();
    return k.loop(k.i64(0), k.i64(kSubgroup / perUnit), 1, initial, [&](Expr unit, ArrayRef<Expr> carried) {
      Expr dwords = load(k.at(payload, unit * static_cast<double>(kUnitBytes))), high;
      if (bits == 3) {
        high = plane >> splat(truncate(unit * 4.0, 32));  // the four dwords of this unit come first
      }
      Exprs sums(carried);
      for (int64_t i = 0; i < perUnit; ++i) {
        Expr code = field(dwords, i % 4 * 8 + i / 4 * codeBits, (1 << codeBits) - 1);
        if (bits == 3) {
          code = code | field(high, i % 4 * 8 + i / 4, 1) << 2;
        }
        add(unit * static_cast<double>(perUnit) + static_cast<double>(i), code, sums);
      }
      return sums;
    });
  }

private:
  Expr load(Expr pointer) { return k.load(pointer, k.vec(k.b.getI32Type()), group.align); }
  Expr field(Expr dwords, int64_t shift, int64_t mask) {
    return (shift ? dwords >> static_cast<double>(shift) : dwords) & static_cast<double>(mask);
  }
  void add(Expr column, Expr code, Exprs &sums) {
    const StoredCodes stored = storedCodes(group.layout);
    visit(column, (stored.doubled ? code << 1 : code) - static_cast<double>(stored.offset), sums);
  }

  // A dword of a unit is one of five digits, known at run time; the pieces follow.
  Exprs ternary(ArrayRef<Expr> initial) {
    const TernaryPayload parts = ternaryPayload(group.columns);
    const int64_t begin = group.first / 4, dwords = kSubgroup / 4;
    const int64_t inUnits = std::clamp<int64_t>(5 * parts.units - begin, 0, dwords);
    Exprs sums = k.loop(k.i64(0), k.i64(inUnits), 1, initial, [&](Expr j, ArrayRef<Expr> carried) {
      Expr dword = j + static_cast<double>(begin), digit = dword % 5.0;
      Expr fractions = load(k.at(group.payload, dword / 5.0 * static_cast<double>(kUnitBytes)));
      Expr power = k.i32(81);
      for (auto [at, value] : {std::pair(3.0, 27), {2.0, 9}, {1.0, 3}, {0.0, 1}}) {
        power = select(digit == at, k.i32(value), power);
      }
      Expr powers = splat(power);
      Exprs next(carried);
      for (int64_t i = 0; i < 4; ++i) {
        Expr fraction = (field(fractions, 8 * i, 255) * powers) & 255;
        add(j * 4.0 + static_cast<double>(i), (fraction * 3.0) >> 8, next);
      }
      return next;
    });
    for (int64_t dword = inUnits; dword < dwords; ++dword) {
      const int64_t piece = begin + dword - 5 * parts.units;
      Expr four = zeroExtend(k.load(k.at(group.payload, parts.units * kUnitBytes + piece * kLanes),
                                    k.vec(k.b.getIntegerType(8)), std::min<int64_t>(group.align, 16)),
                             32);
      for (int64_t i = 0; i < 4; ++i) {
        add(k.i64(4 * dword + i), field(four, 2 * i, 3), sums);
      }
    }
    return sums;
  }

  KernelBuilder &k;
  const TileGroup &group;
  Visit visit;
};

// Weights of 32 or 16 bits: sum = fma(w[c], x[c], sum).
Exprs floatProduct(KernelBuilder &k, Expr weights, ArrayRef<Expr> rows, LayoutAttr layout, int64_t columns,
                   const TilePlan &plan) {
  const int64_t width = layout.getBits() / 8, lineColumns = std::max<int64_t>(1, 64 / (kLanes * width));
  auto column = [&](Expr c, Exprs sums) {
    Expr at = k.at(weights, c * static_cast<double>(kLanes * width)), w;
    if (width == 4) {
      w = k.load(at, k.vec(k.b.getF32Type()), 64);
    } else {
      Expr halves = k.load(at, k.vec(k.b.getIntegerType(16)), 32);
      w = layout.getType() == FloatType::F16 ? f16ToF32(halves) : bf16ToF32(halves);
    }
    for (auto [row, sum] : llvm::zip_equal(rows, sums)) {
      sum = fma(w, splat(k.loadF32(k.at(row, c * 4.0))), sum);
    }
    return sums;
  };
  Exprs sums(rows.size(), k.constant(k.vec(k.b.getF32Type()), 0));
  // A few columns a turn, so that the loop's own work and prefetches are shared.
  constexpr int64_t kUnroll = 8;
  const int64_t whole = columns / kUnroll * kUnroll;
  if (whole) {
    sums = k.loop(k.i64(0), k.i64(whole), kUnroll, sums, [&](Expr c, ArrayRef<Expr> carried) {
      Exprs next(carried);
      k.prefetch(k.at(weights, c * static_cast<double>(kLanes * width)), kUnroll / lineColumns * 64, plan.prefetchBytes,
                 plan.prefetchStep);
      for (int64_t i = 0; i < kUnroll; ++i) {
        next = column(c + static_cast<double>(i), next);
      }
      return next;
    });
  }
  for (int64_t c = whole; c < columns; ++c) {
    sums = column(k.i64(c), sums);
  }
  return sums;
}

// Weights with scales.
class GroupedProduct {
public:
  GroupedProduct(KernelBuilder &k, TileProductOp op, const TilePlan &plan)
      : k(k), plan(plan), layout(op.getLayout()), columns(op.getColumns()), q8(op.getQ8()),
        width((columns + EMOE_ROW_ALIGN - 1) / EMOE_ROW_ALIGN * EMOE_ROW_ALIGN), weights(k.wrap(op.getWeights())) {
    for (Value row : op.getRows()) {
      rows.push_back(k.wrap(row));
    }
  }

  Exprs emit() {
    const int64_t group = layout.getGroup(), used = (columns + kSubgroup - 1) / kSubgroup * kSubgroup;
    const int64_t whole = used / (2 * group), block = blockBytes(layout);
    Exprs sums(rows.size(), k.constant(k.vec(k.b.getF32Type()), 0));
    if (whole) {
      sums = k.loop(k.i64(0), k.i64(whole), 1, sums, [&](Expr i, ArrayRef<Expr> carried) {
        Expr at = k.at(weights, i * static_cast<double>(block));
        Position column{i * static_cast<double>(2 * group), i * static_cast<double>(2 * group / 8)};
        k.prefetch(at, block <= kPrefetchAtOnce ? block : groupPlace(layout, 2 * group, 0).payload, plan.prefetchBytes,
                   plan.prefetchStep);
        Exprs next(carried);
        for (int64_t half = 0; half < 2; ++half) {
          next = addGroup(at, groupPlace(layout, 2 * group, half), column.plus(half * group), group, next);
        }
        return next;
      });
    }
    for (int64_t g = 2 * whole; g * group < used; ++g) {
      Position column{k.i64(g * group), k.i64(g * group / 8)};
      sums = addGroup(weights, groupPlace(layout, columns, g), column, std::min(group, used - g * group), sums);
    }
    return sums;
  }

private:
  // Large blocks are prefetched piece by piece as they are computed.
  static constexpr int64_t kPrefetchAtOnce = 1088;

  // A column of the rows: its number, and the bytes that scales of columns before it take, both a constant away.
  struct Position {
    Expr column, scale;
    int64_t constant = 0;
    Position plus(int64_t columns) const { return {column, scale, constant + columns}; }
    Position plus(Expr columns, Expr scales) const { return {column + columns, scale + scales, constant}; }
  };

  // Adds the first `used` columns of a group whose place is relative to `at`.
  Exprs addGroup(Expr at, GroupPlace place, Position column, int64_t used, Exprs sums) {
    Expr scales = f16ToF32(k.load(k.at(at, place.scales), k.vec(k.b.getIntegerType(16)), 32));
    if (storedCodes(layout).doubled) {
      scales = scales * 0.5;
    }
    Expr payload = k.at(at, place.payload);
    TileGroup group{layout, payload, place.columns, 0, alignment(place), {}, {}};
    // A loop where there is much to do, unless columns lie differently from turn to turn.
    constexpr int64_t kTurn = 128;
    const int64_t turns = isTernary(layout) || used <= kTurn ? 0 : used / kTurn, turnBytes = payloadBytes(layout, kTurn);
    if (turns) {
      sums = k.loop(k.i64(0), k.i64(turns), 1, sums, [&](Expr i, ArrayRef<Expr> carried) {
        TileGroup turn = group;
        turn.payload = k.at(payload, i * static_cast<double>(turnBytes));
        return addColumns(turn, scales, column.plus(i * static_cast<double>(kTurn), i * (kTurn / 8.0)), 0, kTurn,
                          Exprs(carried));
      });
    }
    return addColumns(group, scales, column, turns * kTurn, used, sums);
  }

  Exprs addColumns(TileGroup group, Expr scales, Position column, int64_t first, int64_t end, Exprs sums) {
    if (blockBytes(layout) > kPrefetchAtOnce) {
      k.prefetch(k.at(group.payload, payloadBytes(layout, first)), payloadBytes(layout, end - first), plan.prefetchBytes,
                 plan.prefetchStep);
    }
    for (group.first = first; group.first < end; group.first += kSubgroup) {
      sums = q8 ? quantized(group, scales, column.plus(group.first), sums)
                : exact(group, scales, column.plus(group.first), sums);
    }
    return sums;
  }

  Exprs quantized(TileGroup group, Expr scales, Position column, Exprs sums) {
    Exprs codes, codeSums, codeScales;
    for (Expr row : rows) {
      codes.push_back(k.at(k.at(row, column.column), column.constant));
      Expr scale = k.at(k.at(row, column.scale), width + column.constant / 8);
      codeScales.push_back(k.loadF32(scale));
      codeSums.push_back(k.load(k.at(scale, width / EMOE_GROUP * 4), k.b.getI32Type()));
    }
    group.activations = codes, group.activationSums = codeSums;
    Exprs dots = plan.dots(k, group);
    for (size_t m = 0; m < rows.size(); ++m) {
      sums[m] = fma(toF32(dots[m]), scales * splat(codeScales[m]), sums[m]);
    }
    return sums;
  }

  Exprs exact(const TileGroup &group, Expr scales, Position column, Exprs sums) {
    Exprs activations;
    for (Expr row : rows) {
      activations.push_back(k.at(k.at(row, column.column * 4.0), column.constant * 4));
    }
    Exprs zero(rows.size(), k.constant(k.vec(k.b.getF32Type()), 0));
    Exprs dots = ColumnWalk(k, group, [&](Expr c, Expr weights, Exprs &partial) {
                   Expr w = toF32(weights);
                   for (size_t m = 0; m < rows.size(); ++m) {
                     partial[m] = fma(w, splat(k.loadF32(k.at(activations[m], c * 4.0))), partial[m]);
                   }
                 }).run(zero);
    for (size_t m = 0; m < rows.size(); ++m) {
      sums[m] = fma(dots[m], scales, sums[m]);
    }
    return sums;
  }

  // Bytes that the group's payload is aligned to wherever the panel and the block are.
  int64_t alignment(GroupPlace place) const {
    const int64_t panel = static_cast<int64_t>(panelBytes(layout, columns));
    return std::gcd(std::gcd<int64_t>(64, place.payload), std::gcd(panel, blockBytes(layout)));
  }

  KernelBuilder &k;
  const TilePlan &plan;
  const LayoutAttr layout;
  const int64_t columns;
  const bool q8;
  const int64_t width;  // of a row with its padding
  const Expr weights;
  Exprs rows;
};

} // namespace

StoredCodes storedCodes(LayoutAttr layout) {
  const int64_t bits = layout.getBits();
  if (isTernary(layout)) {
    return {false, 1};
  }
  return layout.getCodebook() == Codebook::Centred ? StoredCodes{true, (1 << bits) - 1}
                                                   : StoredCodes{false, 1 << (bits - 1)};
}

Exprs genericDots(KernelBuilder &k, const TileGroup &group) {
  Exprs zero(group.activations.size(), k.constant(k.vec(k.b.getI32Type()), 0));
  return ColumnWalk(k, group, [&](Expr column, Expr weights, Exprs &dots) {
           for (auto [activations, dot] : llvm::zip_equal(group.activations, dots)) {
             Expr x = signExtend(k.load(k.at(activations, column), k.b.getIntegerType(8)), 32);
             dot = dot + weights * splat(x);
           }
         }).run(zero);
}

Exprs lowerTileProduct(KernelBuilder &k, TileProductOp op, const TilePlan &plan) {
  if (op.getLayout().hasScales()) {
    return GroupedProduct(k, op, plan).emit();
  }
  Exprs rows;
  for (Value row : op.getRows()) {
    rows.push_back(k.wrap(row));
  }
  return floatProduct(k, k.wrap(op.getWeights()), rows, op.getLayout(), op.getColumns(), plan);
}

} // namespace emoe
