// The lowering of emoe.tile_product in plain vector arithmetic: the loops of all lowerings, and the group products of
// the generic one, which every target can run and all others are compared with.
#include "compiler/codegen/tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

using Exprs = KernelBuilder::Exprs;

constexpr int64_t kBlockColumns = 64;              // of integer weights: two groups and their scales
constexpr int64_t kScaleBytes = 2 * kLanes * 2;    // f16, both groups
constexpr int64_t kUnitBytes = 4 * kLanes;         // a dword for each lane

int64_t groupBytes(unsigned bits) { return EMOE_GROUP * kLanes * bits / 8; }
int64_t blockBytes(unsigned bits) { return kScaleBytes + 2 * groupBytes(bits); }

// Codes of a dword vector are stored with this added.
int32_t codeBias(unsigned bits) { return bits == 8 ? 128 : 8; }

// Sums over the group's 32 columns in ascending order: visit(column, codes, sums) adds one; codes are i32 in 16 lanes,
// with the bias. A loop over units, since a whole group without one is a thousand instructions on narrow targets.
Exprs sumColumns(KernelBuilder &k, Expr payload, unsigned bits, ArrayRef<Expr> initial,
                 function_ref<void(Expr column, Expr codes, Exprs &sums)> visit) {
  const int64_t perUnit = 32 / bits;
  return k.loop(k.i64(0), k.i64(EMOE_GROUP / perUnit), 1, initial, [&](Expr unit, ArrayRef<Expr> carried) {
    Expr dwords = k.load(k.at(payload, unit * static_cast<double>(kUnitBytes)), k.vec(k.b.getI32Type()), 64);
    Exprs sums(carried);
    for (int64_t i = 0; i < perUnit; ++i) {
      // Four bits: the low nibbles of the four bytes, then the high ones.
      int64_t shift = i % 4 * 8 + i / 4 * 4;
      Expr shifted = shift ? dwords >> static_cast<double>(shift) : dwords;
      visit(unit * static_cast<double>(perUnit) + static_cast<double>(i), shifted & (bits == 8 ? 255.0 : 15.0), sums);
    }
    return sums;
  });
}

// One level of prefetching into all caches, for each line of `bytes` at `address` + ahead. Never faults.
void prefetch(KernelBuilder &k, Expr address, int64_t bytes, int64_t ahead) {
  for (int64_t line = 0; ahead && line < bytes; line += 64) {
    k.b.create<LLVM::Prefetch>(k.loc, k.at(address, ahead + line).value, /*rw=*/0u, /*hint=*/3u, /*cache=*/1u);
  }
}

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
      prefetch(k, k.at(weights, c * static_cast<double>(kLanes * width)), kUnroll / lineColumns * 64, plan.prefetchBytes);
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

// Weights of 8 or 4 bits.
class GroupedProduct {
public:
  GroupedProduct(KernelBuilder &k, TileProductOp op, const TilePlan &plan)
      : k(k), plan(plan), bits(op.getLayout().getBits()), columns(op.getColumns()), q8(op.getQ8()),
        weights(k.wrap(op.getWeights())) {
    for (Value row : op.getRows()) {
      rows.push_back(k.wrap(row));
    }
  }

  Exprs emit() {
    const int64_t groups = (columns + EMOE_GROUP - 1) / EMOE_GROUP, whole = groups / 2;
    Exprs sums(rows.size(), k.constant(k.vec(k.b.getF32Type()), 0));
    if (whole) {
      sums = k.loop(k.i64(0), k.i64(whole), 1, sums, [&](Expr block, ArrayRef<Expr> carried) {
        Expr at = k.at(weights, block * static_cast<double>(blockBytes(bits)));
        prefetch(k, at, blockBytes(bits), plan.prefetchBytes);
        return group(block, at, 1, group(block, at, 0, Exprs(carried)));
      });
    }
    if (groups % 2) {
      sums = group(k.i64(whole), k.at(weights, whole * blockBytes(bits)), 0, sums);
    }
    return sums;
  }

private:
  // Adds group `half` of a block to the sums.
  Exprs group(Expr block, Expr at, int64_t half, Exprs sums) {
    Expr scales = f16ToF32(k.load(k.at(at, half * kLanes * 2), k.vec(k.b.getIntegerType(16)), 32));
    Expr payload = k.at(at, kScaleBytes + half * groupBytes(bits));
    return q8 ? quantized(block, half, payload, scales, sums) : exact(block, half, payload, scales, sums);
  }

  Exprs quantized(Expr block, int64_t half, Expr payload, Expr scales, Exprs sums) {
    const int64_t width = (columns + EMOE_ROW_ALIGN - 1) / EMOE_ROW_ALIGN * EMOE_ROW_ALIGN;
    Exprs codes, codeSums, codeScales;
    for (Expr row : rows) {
      codes.push_back(k.at(k.at(row, block * static_cast<double>(kBlockColumns)), half * EMOE_GROUP));
      Expr scale = k.at(k.at(row, block * 8.0), width + half * 4);
      codeScales.push_back(k.loadF32(scale));
      codeSums.push_back(k.load(k.at(scale, width / EMOE_GROUP * 4), k.b.getI32Type()));
    }
    Exprs dots = plan.dots(k, {payload, codes, codeSums, bits});
    for (size_t m = 0; m < rows.size(); ++m) {
      sums[m] = fma(toF32(dots[m]), scales * splat(codeScales[m]), sums[m]);
    }
    return sums;
  }

  Exprs exact(Expr block, int64_t half, Expr payload, Expr scales, Exprs sums) {
    Exprs activations;
    for (Expr row : rows) {
      activations.push_back(k.at(k.at(row, block * (4.0 * kBlockColumns)), half * 4 * EMOE_GROUP));
    }
    Exprs zero(rows.size(), k.constant(k.vec(k.b.getF32Type()), 0));
    Exprs dots = sumColumns(k, payload, bits, zero, [&](Expr column, Expr codes, Exprs &partial) {
      Expr w = toF32(codes - static_cast<double>(codeBias(bits)));
      for (size_t m = 0; m < rows.size(); ++m) {
        partial[m] = fma(w, splat(k.loadF32(k.at(activations[m], column * 4.0))), partial[m]);
      }
    });
    for (size_t m = 0; m < rows.size(); ++m) {
      sums[m] = fma(dots[m], scales, sums[m]);
    }
    return sums;
  }

  KernelBuilder &k;
  const TilePlan &plan;
  const unsigned bits;
  const int64_t columns;
  const bool q8;
  const Expr weights;
  Exprs rows;
};

} // namespace

Exprs genericDots(KernelBuilder &k, const TileGroup &group) {
  Exprs zero(group.activations.size(), k.constant(k.vec(k.b.getI32Type()), 0));
  return sumColumns(k, group.payload, group.bits, zero, [&](Expr column, Expr codes, Exprs &dots) {
    Expr w = codes - static_cast<double>(codeBias(group.bits));
    for (auto [activations, dot] : llvm::zip_equal(group.activations, dots)) {
      Expr x = signExtend(k.load(k.at(activations, column), k.b.getIntegerType(8)), 32);
      dot = dot + w * splat(x);
    }
  });
}

Exprs lowerTileProduct(KernelBuilder &k, TileProductOp op, const TilePlan &plan) {
  if (op.getLayout().getBits() < 16) {
    return GroupedProduct(k, op, plan).emit();
  }
  Exprs rows;
  for (Value row : op.getRows()) {
    rows.push_back(k.wrap(row));
  }
  return floatProduct(k, k.wrap(op.getWeights()), rows, op.getLayout(), op.getColumns(), plan);
}

} // namespace emoe
