// emoe.tile_product: how kernels use it, and the driver of its lowerings.
#include "compiler/codegen/tile.h"

#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {

static constexpr llvm::StringLiteral kTileBytes = "emoe.tile_bytes";

KernelBuilder::Exprs tileProduct(KernelBuilder &k, Expr weights, ArrayRef<Expr> rows, int64_t tileBytes) {
  SmallVector<Value> pointers;
  for (Expr row : rows) {
    pointers.push_back(row.value);
  }
  SmallVector<Type> types(rows.size(), k.vec(k.b.getF32Type()));
  auto op = k.b.create<TileProductOp>(k.loc, types, weights.value, pointers, k.spec.layout, k.spec.k,
                                      k.spec.quantizedActivations);
  op->setDiscardableAttr(kTileBytes, k.b.getI64IntegerAttr(tileBytes));
  KernelBuilder::Exprs sums;
  for (Value sum : op.getSums()) {
    sums.push_back(k.wrap(sum));
  }
  return sums;
}

LogicalResult checkTileLayout(KernelBuilder &k) {
  LayoutAttr layout = k.spec.layout;
  if (!layout) {
    return emitError(k.loc, "the specification names no weight layout");
  }
  if (k.spec.n <= 0 || k.spec.k <= 0) {
    return emitError(k.loc, "the weight has no elements");
  }
  const bool floats = !layout.hasScales();
  if (layout.getPanel() != EMOE_PANEL_ROWS || (!floats && !layout.isPacked())) {
    return emitError(k.loc) << "no kernel reads weights in the layout " << layout
                            << "; it must have panels of 16 rows and, below 16 bits, symmetric codes in groups of 32, 64, "
                               "128 or 256 with f16 scales";
  }
  KernelSpec dense = k.spec;
  dense.rowStride = 0;
  if (k.spec.rowStride && (k.spec.rowStride % 64 || hiddenRowBytes(k.spec) < hiddenRowBytes(dense))) {
    return emitError(k.loc) << "a row stride of " << k.spec.rowStride << " bytes must be a multiple of 64 and at least "
                            << hiddenRowBytes(dense);
  }
  if (floats && k.spec.quantizedActivations) {
    return emitError(k.loc) << "weights of " << layout.getBits() << " bits are multiplied with f32 rows only";
  }
  return success();
}

// A block of M rows keeps 2 M accumulators of 16 lanes: with 32 registers of 16 lanes, 8 rows fit.
static int64_t largestBlock(const Target &target) { return target.cpuFeatures & EMOE_CPU_AVX512 ? 8 : 4; }

void forRowBlocks(KernelBuilder &k, function_ref<void(Expr row, int64_t count)> body) {
  Expr rows = k.tokens(), done = k.i64(0);
  for (int64_t count = largestBlock(k.target); count >= 1; count /= 2) {
    Expr end = count == 1 ? rows : rows & static_cast<double>(-count);
    k.loop(done, end, count, [&](Expr row) { body(row, count); });
    done = end;
  }
}

Expr insideLanes(KernelBuilder &k, Expr panel, int64_t outputs, bool always) {
  if (outputs % kLanes == 0 && !always) {
    return {};
  }
  SmallVector<int32_t> lanes(kLanes);
  for (int32_t i = 0; i < kLanes; ++i) {
    lanes[i] = i;
  }
  return k.constantI32s(lanes) < truncate(k.i64(outputs) - panel * static_cast<double>(kLanes), 32);
}

LogicalResult lowerTileProducts(ModuleOp module, const Target &target, TileLowering lowering) {
  // docs/kernels.md; one or two rows leave lines to hardware prefetchers, blocks of rows are too slow to keep them ahead.
  constexpr int64_t kPrefetchBytes = 8 * 1024, kFewLines = 256, kAllLines = 64;
  constexpr size_t kFewRows = 4;
  GroupDots fast = lowering == TileLowering::Fast ? fastDots(target) : nullptr;
  const TilePlan plan = {fast ? fast : genericDots, fast ? kPrefetchBytes : 0, kFewLines};
  SmallVector<TileProductOp> ops;
  module.walk([&](TileProductOp op) { ops.push_back(op); });
  const KernelSpec unused;
  for (TileProductOp op : ops) {
    KernelBuilder k(unused, target, OpBuilder(op), op.getLoc());
    TilePlan own = plan;
    // A tile's weights come from memory for its first rows only: all blocks of rows together fetch the next tile's.
    auto next = op->getAttrOfType<IntegerAttr>(kTileBytes);
    if (fast && next && op.getRows().size() >= kFewRows) {
      own.prefetchBytes = next.getInt();
      own.prefetchStep = kAllLines;
    }
    KernelBuilder::Exprs sums = lowerTileProduct(k, op, own);
    for (auto [old, sum] : llvm::zip_equal(op.getSums(), sums)) {
      old.replaceAllUsesWith(sum.value);
    }
    op.erase();
  }
  return success();
}

} // namespace emoe
