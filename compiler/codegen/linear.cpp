// Linear: y[t, o] = (sum over c of W[o, c] * x[t, c]) + bias[o] + residual[t, o], in this order. The residual lies at the
// output's row. A tile is a panel of 16 outputs, for all rows of the call; the last tile also writes the row's padding.
#include "compiler/codegen/pack.h"
#include "compiler/codegen/tile.h"
#include "schema/kernel_abi.h"

namespace emoe {

mlir::LogicalResult emitLinear(KernelBuilder &k) {
  if (mlir::failed(checkTileLayout(k))) {
    return mlir::failure();
  }
  const KernelSpec &spec = k.spec;
  const int64_t panels = (spec.n + kLanes - 1) / kLanes;
  const double inRow = hiddenRowBytes(spec);
  const double outRow = f32RowBytes(spec.n), panelSize = panelBytes(spec.layout, spec.k), vectorBytes = 4 * kLanes;
  const Expr x = k.operand(0), weights = k.operand(1), out = k.operand(2);
  const Expr residual = spec.hasResidual ? k.operand(3) : Expr();
  const Expr bias = spec.biasBehind ? k.at(weights, static_cast<int64_t>(packedBytes(spec.layout, spec.n, spec.k)))
                    : spec.hasBias  ? k.operand(spec.hasResidual ? 4 : 3)
                                    : Expr();
  k.forTiles([&](Expr tile) {
    const Expr panel = k.at(weights, tile * panelSize), column = tile * vectorBytes;
    const Expr inside = insideLanes(k, tile, spec.n);
    forRowBlocks(k, [&](Expr row, int64_t count) {
      KernelBuilder::Exprs in, to;
      for (int64_t m = 0; m < count; ++m) {
        in.push_back(k.at(x, k.rowIn(row + static_cast<double>(m)) * inRow));
      }
      KernelBuilder::Exprs sums = tileProduct(k, panel, in, panelBytes(spec.layout, spec.k));
      for (int64_t m = 0; m < count; ++m) {
        Expr offset = k.rowOut(row + static_cast<double>(m)) * outRow, y = sums[m];
        if (bias.value) {
          y = y + k.loadLanes(k.at(bias, column));
        }
        if (spec.hasResidual) {
          y = y + k.loadLanes(k.at(k.at(residual, offset), column));
        }
        to.push_back(k.at(out, offset));
        // Rows are padded to whole vectors: the last panel's missing outputs are the first zeros of the padding.
        k.storeLanes(inside.value ? select(inside, y, k.constant(y.type(), 0)) : y, k.at(to.back(), column));
      }
      if (panels * kLanes % EMOE_ROW_ALIGN != 0) {
        k.ifThen(tile == static_cast<double>(panels - 1), [&] {
          for (Expr destination : to) {
            k.zeroPadding(destination, panels * kLanes);
          }
        });
      }
    });
  });
  return mlir::success();
}

} // namespace emoe
