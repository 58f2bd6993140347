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

// Codes: 32 columns at a time, of which the row's lane has 4 bytes in each unit. Columns beyond the row are stored in its
// padding, which is written last.
void copyGroups(KernelBuilder &k, Expr panel, Expr lane, Expr out) {
  const LayoutAttr layout = k.spec.layout;
  const int64_t bits = layout.getBits(), used = (k.spec.k + EMOE_GROUP - 1) / EMOE_GROUP * EMOE_GROUP;
  const int64_t codeBits = bits == 3 ? 2 : bits, perUnit = 32 / codeBits, unitBytes = 4 * kLanes;
  const StoredCodes stored = storedCodes(layout);
  const Expr shifts = k.constantI32s({0, 8, 16, 24});
  // A group lies where `place` says behind `block`; its columns go to the row from `to` on.
  auto copyGroup = [&](Expr block, GroupPlace place, int64_t columns, Expr to) {
    Expr scale = f16ToF32(k.load(k.at(k.at(block, place.scales), lane * 2), k.b.getIntegerType(16)));
    k.loop(k.i64(0), k.i64(columns / EMOE_GROUP), 1, [&](Expr subgroup) {
      Expr words = k.at(k.at(block, place.payload),
                        subgroup * static_cast<double>(payloadBytes(layout, EMOE_GROUP)) + lane * 4);
      Expr first = k.at(to, subgroup * (4.0 * EMOE_GROUP));
      Expr plane = bits == 3 ? k.load(k.at(words, 2 * unitBytes), k.b.getI32Type()) : Expr();
      for (int64_t i = 0; i < EMOE_GROUP; i += 4) {
        Expr word = k.load(k.at(words, i / perUnit * unitBytes), k.b.getI32Type());
        auto field = [&](Expr bytes, int64_t shift, int64_t mask) {
          return (splat(shift ? bytes >> static_cast<double>(shift) : bytes, 4) >> shifts) & static_cast<double>(mask);
        };
        Expr code = field(word, i % perUnit / 4 * codeBits, (1 << codeBits) - 1);
        if (bits == 3) {
          code = code | field(plane, i / 4, 1) << 2;
        }
        Expr q = toF32((stored.doubled ? code << 1 : code) - static_cast<double>(stored.offset));
        k.store(q * (stored.doubled ? scale * 0.5 : scale) * static_cast<double>(k.spec.scale), k.at(first, 4 * i));
      }
    });
  };
  const int64_t group = layout.getGroup(), whole = used / (2 * group);
  k.loop(k.i64(0), k.i64(whole), 1, [&](Expr i) {
    Expr block = k.at(panel, i * static_cast<double>(blockBytes(layout))), to = k.at(out, i * static_cast<double>(8 * group));
    for (int64_t half = 0; half < 2; ++half) {
      copyGroup(block, groupPlace(layout, 2 * group, half), group, k.at(to, half * 4 * group));
    }
  });
  for (int64_t g = 2 * whole; g * group < used; ++g) {
    copyGroup(panel, groupPlace(layout, k.spec.k, g), std::min(group, used - g * group), k.at(out, g * 4 * group));
  }
}

} // namespace

mlir::LogicalResult emitEmbed(KernelBuilder &k) {
  if (mlir::failed(checkTileLayout(k))) {
    return mlir::failure();
  }
  const KernelSpec &spec = k.spec;
  if (spec.layout.getCodebook() == Codebook::Ternary) {
    return emitError(k.loc, "no kernel reads single rows of ternary weights; give the embedding 2 bits or more");
  }
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
