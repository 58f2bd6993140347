// GateUp: h[t, o] = act(gate[o] . x[t]) * (up[o] . x[t]), or act(up[o] . x[t]) without gates. Panels of gate and up
// alternate, so a pair is read in one stream. A tile is 32 outputs, a group of the hidden q8 row; the last tile also
// writes the row's padding.
#include "compiler/codegen/math.h"
#include "compiler/codegen/pack.h"
#include "compiler/codegen/tile.h"
#include "schema/kernel_abi.h"

namespace emoe {
namespace {

using Exprs = KernelBuilder::Exprs;

class GateUp {
public:
  explicit GateUp(KernelBuilder &k)
      : k(k), spec(k.spec), panels((spec.n + kLanes - 1) / kLanes), tiles((spec.n + EMOE_GROUP - 1) / EMOE_GROUP),
        width(f32RowBytes(spec.n) / 4), panelSize(panelBytes(spec.layout, spec.k)), x(k.operand(0)),
        weights(k.operand(1)), hidden(k.operand(2)) {}

  void emit() {
    k.forTiles([&](Expr tile) {
      forRowBlocks(k, [&](Expr row, int64_t count) { block(tile, row, count); });
    });
  }

private:
  double inRow() const { return spec.quantizedActivations ? q8RowBytes(spec.k) : f32RowBytes(spec.k); }
  double outRow() const { return hiddenRowBytes(spec); }

  void block(Expr tile, Expr row, int64_t count) {
    Exprs in;
    for (int64_t m = 0; m < count; ++m) {
      in.push_back(k.at(x, k.rowIn(row + static_cast<double>(m)) * inRow()));
    }
    Exprs low = half(tile * 2, in), high = half(tile * 2 + 1, in);
    const int64_t groups = width / EMOE_GROUP;
    for (int64_t m = 0; m < count; ++m) {
      Expr out = k.at(hidden, k.rowOut(row + static_cast<double>(m)) * outRow());
      if (spec.quantizedActivations) {
        storeQ8Group(k, out, width, tile, low[m], high[m]);
      } else {
        Expr at = k.at(out, tile * (4.0 * EMOE_GROUP));
        k.storeLanes(low[m], at);
        k.storeLanes(high[m], k.at(at, 4 * kLanes));
      }
      if (tiles < groups) {
        k.ifThen(tile == static_cast<double>(tiles - 1), [&] {
          Expr zero = k.constant(low[m].type(), 0);
          if (spec.quantizedActivations) {
            storeQ8Group(k, out, width, k.i64(groups - 1), zero, zero);
          } else {
            k.zeroPadding(out, tiles * EMOE_GROUP);
          }
        });
      }
    }
  }

  // The outputs of one panel, zero beyond the row's width. Where the last tile has one panel only, that is computed
  // twice and the second result is all padding.
  Exprs half(Expr panel, const Exprs &in) {
    Expr inside = insideLanes(k, panel, spec.n, /*always=*/panels % 2 != 0);
    Expr present = panels % 2 ? min(panel, k.i64(panels - 1)) : panel;
    Expr at = k.at(weights, present * static_cast<double>(panelSize * (spec.gated ? 2 : 1)));
    const int64_t tileBytes = panelSize * (spec.gated ? 4 : 2);
    Exprs gate = spec.gated ? tileProduct(k, at, in, tileBytes) : Exprs();
    Exprs up = tileProduct(k, spec.gated ? k.at(at, panelSize) : at, in, tileBytes);
    if (spec.hasBias) {
      // Behind all panels: the gates' biases, then the ups'.
      Expr biases = k.at(k.at(weights, static_cast<int64_t>(packedBytes(spec.layout, spec.n, spec.k)) * (spec.gated ? 2 : 1)),
                         present * (4.0 * kLanes));
      for (Exprs *sums : {&gate, &up}) {
        if (!sums->empty()) {
          Expr bias = k.loadLanes(biases);
          for (Expr &sum : *sums) {
            sum = sum + bias;
          }
          biases = k.at(biases, static_cast<int64_t>(biasBytes(spec.n)));
        }
      }
    }
    Exprs result;
    for (size_t m = 0; m < in.size(); ++m) {
      Expr h = spec.gated ? gated(gate[m], up[m]) : emitActivation(spec.activation, up[m]);
      result.push_back(inside.value ? select(inside, h, k.constant(h.type(), 0)) : h);
    }
    return result;
  }

  // act(min(g, limit)) * (clamp(u, -limit, limit) + offset)
  Expr gated(Expr g, Expr u) {
    if (spec.limit > 0) {
      Expr limit = constantLike(g, spec.limit);
      g = min(g, limit);
      u = max(min(u, limit), 0.0 - limit);
    }
    if (spec.offset != 0) {
      u = u + static_cast<double>(spec.offset);
    }
    if (spec.activation == Activation::Silu && spec.alpha != 1) {
      return g / (emitExp(g * static_cast<double>(-spec.alpha)) + 1.0) * u;
    }
    return emitActivation(spec.activation, g) * u;
  }

  KernelBuilder &k;
  const KernelSpec &spec;
  const int64_t panels, tiles, width, panelSize;
  const Expr x, weights, hidden;
};

} // namespace

mlir::LogicalResult emitGateUp(KernelBuilder &k) {
  if (mlir::failed(checkTileLayout(k))) {
    return mlir::failure();
  }
  GateUp(k).emit();
  return mlir::success();
}

} // namespace emoe
