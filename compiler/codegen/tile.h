// The product of a panel of packed weights and a few rows of activations: emoe.tile_product and its lowerings.
#ifndef EMOE_COMPILER_CODEGEN_TILE_H_
#define EMOE_COMPILER_CODEGEN_TILE_H_

#include "compiler/codegen/emit.h"

namespace emoe {

// Emits emoe.tile_product: weights of the kernel's layout and width spec.k, rows of the format that the kernel reads. The
// kernel's next tile reads weights that lie `tileBytes` behind these.
KernelBuilder::Exprs tileProduct(KernelBuilder &k, Expr weights, llvm::ArrayRef<Expr> rows, int64_t tileBytes);

// Checks that the kernel's layout is one that tile_product has; else a diagnostic.
mlir::LogicalResult checkTileLayout(KernelBuilder &k);

// Emits the body for blocks of the call's rows: as many as the target's registers hold while that many are left, then
// fewer, down to one. The body gets the index of the block's first row and how many rows it has.
void forRowBlocks(KernelBuilder &k, llvm::function_ref<void(Expr row, int64_t count)> body);

// True for the lanes of panel `panel` that are outputs, of `outputs` in all: none of a panel that does not exist.
// Without a value if every panel is full, unless `always`.
Expr insideLanes(KernelBuilder &k, Expr panel, int64_t outputs, bool always = false);

// Replaces every emoe.tile_product in the module by loops: the fast lowering where the target has one for it.
enum class TileLowering { Fast, Generic };
mlir::LogicalResult lowerTileProducts(mlir::ModuleOp module, const Target &target,
                                      TileLowering lowering = TileLowering::Fast);

// 32 columns of packed weights and as many activations of a few rows.
struct TileGroup {
  LayoutAttr layout;
  Expr payload;                         // of a group; of any 32 columns that the group begins with, but for ternary
  int64_t columns;                      // of that payload
  int64_t first;                        // of its columns, which are meant: a multiple of 32
  int64_t align;                        // of the payload, in bytes
  llvm::ArrayRef<Expr> activations;     // 32 int8 each
  llvm::ArrayRef<Expr> activationSums;  // i32, the sum of each
};
// Exact integer dot products: result m, lane l = sum of w_q[l][c] * x_q[m][c]. w_q is a weight in units of its scale; of
// centred layouts, in units of half its scale.
using GroupDots = KernelBuilder::Exprs (*)(KernelBuilder &k, const TileGroup &group);
KernelBuilder::Exprs genericDots(KernelBuilder &k, const TileGroup &group);  // tile_generic.cpp
GroupDots fastDots(const Target &target);                                   // tile_fast.cpp; null: there is none

// What stored codes stand for: w_q = code - offset, or 2 * code - offset.
struct StoredCodes {
  bool doubled;
  int64_t offset;
};
StoredCodes storedCodes(LayoutAttr layout);

// How tile products are lowered: by which group products, how far ahead weights are prefetched (0: not at all), and a
// line of how many bytes.
struct TilePlan {
  GroupDots dots;
  int64_t prefetchBytes, prefetchStep;
};
KernelBuilder::Exprs lowerTileProduct(KernelBuilder &k, TileProductOp op, const TilePlan &plan);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_TILE_H_
