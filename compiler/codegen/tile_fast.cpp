// Group products of emoe.tile_product by the integer dot products of each instruction set. All sums are exact, so
// every target computes the same integers as the generic lowering.
#include "compiler/codegen/tile.h"

#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

using Exprs = KernelBuilder::Exprs;

constexpr int64_t kUnitBytes = 4 * kLanes;  // a dword (4 columns, or 8 of 4 bits) for each lane

int64_t unitCount(unsigned bits) { return EMOE_GROUP * bits / 32; }

Expr intrinsic(KernelBuilder &k, StringRef name, VectorType type, ArrayRef<Expr> operands) {
  SmallVector<Value> values;
  for (Expr operand : operands) {
    values.push_back(operand.value);
  }
  return k.wrap(k.b.create<LLVM::CallIntrinsicOp>(k.loc, TypeRange(type), name, values).getResult(0));
}

Expr bitcast(KernelBuilder &k, Expr x, VectorType type) {
  return k.wrap(k.b.create<LLVM::BitcastOp>(k.loc, type, x.value));
}

// Four activations in each of `lanes` lanes.
Expr broadcastDword(KernelBuilder &k, Expr activations, int64_t dword, int64_t lanes) {
  return splat(k.load(k.at(activations, 4 * dword), k.b.getI32Type()), lanes);
}

// Stored codes are q + bias, so sum of q * x = sum of code * x - bias * (sum of x).
Expr correction(Expr activationSum, unsigned bits) { return splat(activationSum) << (bits == 8 ? 7.0 : 3.0); }

//===----------------------------------------------------------------------===//
// AVX-512 VNNI: unsigned codes times signed activations, four a lane.
//===----------------------------------------------------------------------===//

Exprs vnniDots(KernelBuilder &k, const TileGroup &group) {
  VectorType lanes = k.vec(k.b.getI32Type());
  Exprs dots;
  for (Expr sum : group.activationSums) {
    dots.push_back(k.constant(lanes, 0) - correction(sum, group.bits));
  }
  auto accumulate = [&](Expr codes, int64_t dword) {
    for (auto [activations, dot] : llvm::zip_equal(group.activations, dots)) {
      dot = intrinsic(k, "llvm.x86.avx512.vpdpbusd.512", lanes,
                      {dot, codes, broadcastDword(k, activations, dword, kLanes)});
    }
  };
  for (int64_t unit = 0; unit < unitCount(group.bits); ++unit) {
    Expr codes = k.load(k.at(group.payload, unit * kUnitBytes), lanes, 64);
    if (group.bits == 8) {
      accumulate(codes, unit);
    } else {
      accumulate(codes & 0x0f0f0f0f, 2 * unit);
      accumulate((codes >> 4) & 0x0f0f0f0f, 2 * unit + 1);
    }
  }
  return dots;
}

//===----------------------------------------------------------------------===//
// AVX2: a unit is two registers of 8 lanes.
//===----------------------------------------------------------------------===//

struct Avx2 {
  KernelBuilder &k;
  VectorType bytes = k.vec(k.b.getIntegerType(8), 32), words = k.vec(k.b.getIntegerType(16), 16),
             dwords = k.vec(k.b.getI32Type(), 8);

  // Sums of two products, saturated to i16: codes are unsigned, activations signed.
  Expr maddBytes(Expr codes, Expr activations) {
    return intrinsic(k, "llvm.x86.avx2.pmadd.ub.sw", words, {codes, activations});
  }
  // Sums of the two words of each lane.
  Expr addPairs(Expr pairs) {
    return intrinsic(k, "llvm.x86.avx2.pmadd.wd", dwords, {pairs, k.constant(words, 1)});
  }
  Expr load(Expr payload, int64_t unit, int64_t half) {
    return k.load(k.at(payload, unit * kUnitBytes + half * 32), dwords, 32);
  }
  Expr activations(Expr pointer, int64_t dword) { return bitcast(k, broadcastDword(k, pointer, dword, 8), bytes); }
};

// 4 bits: a word gathers 8 products pairs of the group, at most 8 * 2 * 15 * 127 = 30480 in magnitude, so nothing
// saturates and one widening serves the group.
Exprs avx2Half4(Avx2 &a, const TileGroup &group, int64_t half) {
  Exprs words;
  for (int64_t unit = 0; unit < unitCount(4); ++unit) {
    Expr packed = a.load(group.payload, unit, half);
    Expr nibbles[2] = {bitcast(a.k, packed & 0x0f0f0f0f, a.bytes), bitcast(a.k, (packed >> 4) & 0x0f0f0f0f, a.bytes)};
    for (int64_t high = 0; high < 2; ++high) {
      for (size_t m = 0; m < group.activations.size(); ++m) {
        Expr pairs = a.maddBytes(nibbles[high], a.activations(group.activations[m], 2 * unit + high));
        if (words.size() <= m) {
          words.push_back(pairs);
        } else {
          words[m] = words[m] + pairs;
        }
      }
    }
  }
  Exprs dots;
  for (Expr sum : words) {
    dots.push_back(a.addPairs(sum));
  }
  return dots;
}

// 8 bits: unsigned codes would saturate (2 * 255 * 127), so the weight's magnitude is multiplied with the activation
// under the weight's sign: both are at most 127 in magnitude and a pair at most 2 * 127 * 127 = 32258.
Exprs avx2Half8(Avx2 &a, const TileGroup &group, int64_t half) {
  Exprs dots(group.activations.size(), a.k.constant(a.dwords, 0));
  Expr offset = a.k.constant(a.bytes, -128);
  for (int64_t unit = 0; unit < unitCount(8); ++unit) {
    Expr weights = bitcast(a.k, a.load(group.payload, unit, half), a.bytes) ^ offset;
    Expr magnitude = intrinsic(a.k, "llvm.x86.avx2.psign.b", a.bytes, {weights, weights});
    for (auto [activations, dot] : llvm::zip_equal(group.activations, dots)) {
      Expr x = intrinsic(a.k, "llvm.x86.avx2.psign.b", a.bytes, {a.activations(activations, unit), weights});
      dot = dot + a.addPairs(a.maddBytes(magnitude, x));
    }
  }
  return dots;
}

Exprs avx2Dots(KernelBuilder &k, const TileGroup &group) {
  Avx2 a{k};
  Exprs halves[2];
  for (int64_t half = 0; half < 2; ++half) {
    halves[half] = group.bits == 4 ? avx2Half4(a, group, half) : avx2Half8(a, group, half);
  }
  SmallVector<int32_t> all(kLanes);
  for (int32_t i = 0; i < kLanes; ++i) {
    all[i] = i;
  }
  Exprs dots;
  for (size_t m = 0; m < group.activations.size(); ++m) {
    Expr dot = permute(halves[0][m], halves[1][m], all);
    dots.push_back(group.bits == 4 ? dot - correction(group.activationSums[m], 4) : dot);
  }
  return dots;
}

//===----------------------------------------------------------------------===//
// 64-bit ARM with dot products: signed times signed, 4 lanes a register. Codes of 4 bits are signed bytes as they
// are; those of 8 bits lose their bias by flipping the top bit.
//===----------------------------------------------------------------------===//

Exprs sdotDots(KernelBuilder &k, const TileGroup &group) {
  VectorType bytes = k.vec(k.b.getIntegerType(8), 16), lanes = k.vec(k.b.getI32Type(), 4);
  constexpr int64_t kParts = kLanes / 4;
  SmallVector<Exprs> parts;  // of each row, 4 lanes each
  SmallVector<Exprs> activations;
  for (size_t m = 0; m < group.activations.size(); ++m) {
    Expr start = k.constant(lanes, 0);
    if (group.bits == 4) {
      start = start - (splat(group.activationSums[m], 4) << 3);
    }
    parts.push_back(Exprs(kParts, start));
    activations.push_back({k.load(group.activations[m], lanes, 1), k.load(k.at(group.activations[m], 16), lanes, 1)});
  }
  auto accumulate = [&](Expr weights, int64_t part, int64_t dword) {
    for (size_t m = 0; m < parts.size(); ++m) {
      Expr four = activations[m][dword / 4];
      Expr x = bitcast(k, permute(four, four, SmallVector<int32_t>(4, dword % 4)), bytes);
      parts[m][part] = intrinsic(k, "llvm.aarch64.neon.sdot.v4i32.v16i8", lanes, {parts[m][part], weights, x});
    }
  };
  for (int64_t unit = 0; unit < unitCount(group.bits); ++unit) {
    for (int64_t part = 0; part < kParts; ++part) {
      Expr codes = k.load(k.at(group.payload, unit * kUnitBytes + part * 16), bytes, 16);
      if (group.bits == 8) {
        accumulate(codes ^ k.constant(bytes, -128), part, unit);
      } else {
        accumulate(codes & 15, part, 2 * unit);
        accumulate(codes >> 4, part, 2 * unit + 1);
      }
    }
  }
  SmallVector<int32_t> eight{0, 1, 2, 3, 4, 5, 6, 7}, all{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Exprs dots;
  for (Exprs &part : parts) {
    dots.push_back(permute(permute(part[0], part[1], eight), permute(part[2], part[3], eight), all));
  }
  return dots;
}

} // namespace

GroupDots fastDots(const Target &target) {
  if (target.cpuFeatures & EMOE_CPU_AVX512_VNNI) {
    return vnniDots;
  }
  if (target.cpuFeatures & EMOE_CPU_AVX2) {
    return avx2Dots;
  }
  return target.cpuFeatures & EMOE_CPU_NEON_DOTPROD ? sdotDots : nullptr;
}

} // namespace emoe
