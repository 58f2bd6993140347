// Embed: out[t, c] = (W[ids[t], c]) * scale, read out of the panels of a weight that is also an output projection, or
// could be. A tile is a token.
#include "compiler/codegen/pack.h"
#include "compiler/codegen/tile.h"
#include "schema/kernel_abi.h"

namespace emoe {
namespace {

// Floats: a column is 16 values, of which one is the row's.
void copyFloats(KernelBuilder &k, Expr panel, Expr lane, Expr out) {
  const LayoutAttr layout = k.spec.layout;
  const int64_t width = layout.getBits() / 8;
  Expr first = k.at(panel, lane * static_cast<double>(width));
  k.loop(k.i64(0), k.i64(k.spec.k), 1, [&](Expr c) {
    Expr at = k.at(first, c * static_cast<double>(kLanes * width)), value;
    if (width == 4) {
      value = k.loadF32(at);
    } else {
      Expr half = k.load(at, k.b.getIntegerType(16));
      value = layout.getType() == FloatType::F16 ? f16ToF32(half) : bf16ToF32(half);
    }
    k.store(value * static_cast<double>(k.spec.scale), k.at(out, c * 4.0));
  });
}

// Integers: each dword of the row's lane has 4 columns of 8 bits, or twice 4 of 4 bits. Columns beyond the row are
// stored in its padding, which is written last.
void copyGroups(KernelBuilder &k, Expr panel, Expr lane, Expr out) {
  const unsigned bits = k.spec.layout.getBits();
  const int64_t scaleBytes = 4 * kLanes, groupBytes = EMOE_GROUP * kLanes * bits / 8;
  const int64_t perUnit = 32 / bits;
  const Expr shifts = k.constantI32s({0, 8, 16, 24});
  k.loop(k.i64(0), k.i64((k.spec.k + EMOE_GROUP - 1) / EMOE_GROUP), 1, [&](Expr group) {
    Expr block = k.at(panel, (group >> 1) * static_cast<double>(scaleBytes + 2 * groupBytes)), half = group & 1;
    Expr scale = f16ToF32(k.load(k.at(block, half * (2.0 * kLanes) + lane * 2), k.b.getIntegerType(16)));
    Expr words = k.at(block, half * static_cast<double>(groupBytes) + lane * 4 + static_cast<double>(scaleBytes));
    Expr to = k.at(out, group * (4.0 * EMOE_GROUP));
    for (int64_t i = 0; i < EMOE_GROUP; i += 4) {
      Expr word = k.load(k.at(words, i / perUnit * 4 * kLanes), k.b.getI32Type());
      Expr codes = splat(i % perUnit ? word >> 4 : word, 4) >> shifts;
      Expr q = bits == 8 ? (codes & 255) - 128 : (codes & 15) - 8;
      k.store(toF32(q) * scale * static_cast<double>(k.spec.scale), k.at(to, 4 * i));
    }
  });
}

} // namespace

mlir::LogicalResult emitEmbed(KernelBuilder &k) {
  if (mlir::failed(checkTileLayout(k))) {
    return mlir::failure();
  }
  const KernelSpec &spec = k.spec;
  const Expr ids = k.operand(0), weights = k.operand(1), rows = k.operand(2);
  k.forTiles([&](Expr token) {
    Expr id = signExtend(k.load(k.at(ids, token * 4), k.b.getI32Type()), 64);
    Expr panel = k.at(weights, (id >> 4) * static_cast<double>(panelBytes(spec.layout, spec.k))), lane = id & 15;
    Expr out = k.at(rows, token * static_cast<double>(f32RowBytes(spec.k)));
    if (spec.layout.getBits() >= 16) {
      copyFloats(k, panel, lane, out);
    } else {
      copyGroups(k, panel, lane, out);
    }
    k.zeroPadding(out, spec.k);
  });
  return mlir::success();
}

} // namespace emoe
