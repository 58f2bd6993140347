// Group products of emoe.tile_product by the integer dot products of each instruction set. All sums are exact, so
// every target computes the same integers as the generic lowering.
#include "compiler/codegen/tile.h"

#include <array>
#include <numeric>

#include "compiler/codegen/pack.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

using Exprs = KernelBuilder::Exprs;

constexpr int64_t kUnitBytes = 4 * kLanes;     // a dword for each lane
constexpr int64_t kDwords = EMOE_GROUP / 4;    // of the columns that share a scale of the activations
constexpr int64_t kTernaryUnit = 5;            // dwords of a unit of ternary codes

bool isTernary(LayoutAttr layout) { return layout.getCodebook() == Codebook::Ternary; }

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

Expr shiftRightSigned(KernelBuilder &k, Expr x, int64_t bits) {
  return k.wrap(k.b.create<arith::ShRSIOp>(k.loc, x.value, k.constant(x.type(), static_cast<double>(bits)).value));
}

// Four activations in each of `lanes` lanes.
Expr broadcastDword(KernelBuilder &k, Expr activations, int64_t dword, int64_t lanes) {
  return splat(k.load(k.at(activations, 4 * dword), k.b.getI32Type()), lanes);
}

// Dots of weights in units of their scale, from dots of stored codes and the sum of the activations.
Expr finish(KernelBuilder &k, LayoutAttr layout, Expr dot, Expr activationSum) {
  const StoredCodes stored = storedCodes(layout);
  return (stored.doubled ? dot << 1 : dot) - splat(activationSum * static_cast<double>(stored.offset));
}

// The part of the codes that a register holds: `lanes` lanes from `lane` on, four bytes each, as dwords where the target
// shifts dwords, as bytes where it shifts bytes.
struct Part {
  KernelBuilder &k;
  const TileGroup &group;
  int64_t lane, lanes;
  bool asBytes;

  VectorType byteType() const { return k.vec(k.b.getIntegerType(8), 4 * lanes); }
  VectorType dwordType() const { return k.vec(k.b.getI32Type(), lanes); }
  VectorType type() const { return asBytes ? byteType() : dwordType(); }
  int64_t subgroup() const { return group.first / EMOE_GROUP * payloadBytes(group.layout, EMOE_GROUP); }

  Expr load(int64_t unitOffset) const {
    return k.load(k.at(group.payload, unitOffset + 4 * lane), type(), std::min<int64_t>(group.align, 4 * lanes));
  }

  // Bits `shift` and up of each byte, `mask` of them; a negative shift moves up.
  Expr field(Expr x, int64_t shift, int64_t mask) const {
    Expr moved = shift > 0 ? x >> static_cast<double>(shift) : shift < 0 ? x << static_cast<double>(-shift) : x;
    if (asBytes && shift > 0 && mask == 255 >> shift) {
      return moved;  // nothing else is left
    }
    return moved & static_cast<double>(asBytes ? mask : mask * 0x01010101);
  }

  // The stored codes of four columns, unsigned bytes. Not ternary.
  Expr codes(int64_t dword) const {
    const int64_t bits = group.layout.getBits();
    if (bits == 8) {
      return load(subgroup() + dword * kUnitBytes);
    }
    if (bits == 4) {
      return field(load(subgroup() + dword / 2 * kUnitBytes), dword % 2 * 4, 15);
    }
    Expr low = field(load(subgroup() + dword / 4 * kUnitBytes), dword % 4 * 2, 3);
    return bits == 2 ? low : low | field(load(subgroup() + 2 * kUnitBytes), dword - 2, 4);
  }

  // Ternary codes lie in units, or after the last unit, in pieces, which have the codes as they are.
  bool inUnit(int64_t dword) const {
    return group.first / 4 + dword < kTernaryUnit * ternaryPayload(group.columns).units;
  }
  Expr pieceCodes(int64_t dword) const {
    const int64_t units = ternaryPayload(group.columns).units, piece = group.first / 4 + dword - kTernaryUnit * units;
    Expr four = k.load(k.at(group.payload, units * kUnitBytes + piece * kLanes + lane),
                       k.vec(k.b.getIntegerType(8), lanes), std::min<int64_t>({group.align, 16, lanes}));
    four = zeroExtend(four, 32);
    four = (four | four << 6 | four << 12 | four << 18) & 0x03030303;
    return asBytes ? bitcast(k, four, byteType()) : four;
  }
  // Bytes of the fractions whose next digits are the codes. Units are visited again and again: what they share is the
  // same value. `flipped`: with the top bit flipped, which tripling keeps (3 * 128 = 128 modulo 256).
  Expr fractions(int64_t dword, bool flipped = false) const {
    const int64_t at = group.first / 4 + dword;
    Expr x = load(at / kTernaryUnit * kUnitBytes);
    if (!asBytes) {
      x = bitcast(k, x, byteType());
    }
    if (flipped) {
      x = x ^ k.constant(byteType(), -128);
    }
    for (int64_t digit = 0; digit < at % kTernaryUnit; ++digit) {
      x = thrice(x);
    }
    return x;
  }
  // Twice by way of dwords where there is no product of bytes: LLVM would gather plain sums into such products.
  Expr thrice(Expr bytes) const {
    if (asBytes) {
      return bytes + bytes + bytes;
    }
    return bitcast(k, (bitcast(k, bytes, dwordType()) << 1) & static_cast<double>(~0x01010101), byteType()) + bytes;
  }
  // The negated codes, -2 .. 0: comparisons with a third and two thirds of 256 give -1 where they hold. Instruction sets
  // compare signed bytes.
  Expr negatedCodes(int64_t dword) const {
    Expr x = fractions(dword, /*flipped=*/true);
    return signExtend(x > -43.0, 8) + signExtend(x > 42.0, 8);
  }
};

//===----------------------------------------------------------------------===//
// VNNI: unsigned codes times signed activations, four a lane; 16 lanes with AVX-512, 8 with AVX-VNNI.
//===----------------------------------------------------------------------===//

// 64 times the digits of fractions, in dwords: the top two bits of three quarters of x - 1, which instructions for
// averages (rounded up) and differences (not below zero) take.
Expr digitsTimes64(const Part &part, Expr x) {
  KernelBuilder &k = part.k;
  const bool wide = part.lanes == kLanes;
  VectorType bytes = part.byteType();
  auto average = [&](Expr a, Expr b) {
    return intrinsic(k, wide ? "llvm.x86.avx512.pavg.b.512" : "llvm.x86.avx2.pavg.b", bytes, {a, b});
  };
  Expr less = intrinsic(k, wide ? "llvm.usub.sat.v64i8" : "llvm.usub.sat.v32i8", bytes, {x, k.constant(bytes, 1)});
  Expr quarters = average(less, average(less, k.constant(bytes, 0)));
  return bitcast(k, quarters, part.dwordType()) & static_cast<double>(0xC0C0C0C0);
}

// Dots of stored codes for each part, which may be halves of a panel: they take turns, so that an activation is loaded
// once for both.
SmallVector<Exprs> vnniParts(ArrayRef<Part> parts) {
  KernelBuilder &k = parts[0].k;
  const TileGroup &group = parts[0].group;
  const int64_t width = parts[0].lanes;
  const char *name = width == kLanes ? "llvm.x86.avx512.vpdpbusd.512" : "llvm.x86.avx512.vpdpbusd.256";
  VectorType lanes = parts[0].dwordType();
  const size_t rows = group.activations.size();
  SmallVector<Exprs> dots(parts.size(), Exprs(rows, k.constant(lanes, 0))), high = dots, low = dots;
  auto accumulate = [&](Exprs &sums, Expr codes, int64_t dword) {
    for (auto [activations, sum] : llvm::zip_equal(group.activations, sums)) {
      sum = intrinsic(k, name, lanes, {sum, codes, broadcastDword(k, activations, dword, width)});
    }
  };
  // The digit of a fraction x is (3 x - x') / 256 with x' = 3 x mod 256. For few rows, two products are cheaper than
  // taking the digit out.
  const bool products = rows <= 2;
  bool fractions = false;
  for (int64_t dword = 0; dword < kDwords; ++dword) {
    for (auto [p, part] : llvm::enumerate(parts)) {
      if (!isTernary(group.layout)) {
        accumulate(dots[p], part.codes(dword), dword);
      } else if (!part.inUnit(dword)) {
        accumulate(dots[p], part.pieceCodes(dword), dword);
      } else if (products) {
        Expr x = part.fractions(dword);
        accumulate(high[p], bitcast(k, x, lanes), dword);
        accumulate(low[p], bitcast(k, part.thrice(x), lanes), dword);
        fractions = true;
      } else {
        accumulate(high[p], digitsTimes64(part, part.fractions(dword)), dword);
        fractions = true;
      }
    }
  }
  for (size_t p = 0; p < parts.size() && fractions; ++p) {
    for (size_t m = 0; m < rows; ++m) {
      Expr multiple = products ? high[p][m] + high[p][m] + high[p][m] - low[p][m] : high[p][m];
      dots[p][m] = dots[p][m] + shiftRightSigned(k, multiple, products ? 8 : 6);
    }
  }
  return dots;
}

Exprs vnniDots(KernelBuilder &k, const TileGroup &group) {
  Exprs dots = vnniParts(Part{k, group, 0, kLanes, /*asBytes=*/false})[0];
  for (size_t m = 0; m < dots.size(); ++m) {
    dots[m] = finish(k, group.layout, dots[m], group.activationSums[m]);
  }
  return dots;
}

// Two registers of 8 lanes, of one row each, as one value of 16.
Exprs joinHalves(ArrayRef<Exprs> halves) {
  SmallVector<int32_t> all(kLanes);
  std::iota(all.begin(), all.end(), 0);
  Exprs whole;
  for (auto [a, b] : llvm::zip_equal(halves[0], halves[1])) {
    whole.push_back(permute(a, b, all));
  }
  return whole;
}

Exprs avxVnniDots(KernelBuilder &k, const TileGroup &group) {
  const Part halves[2] = {{k, group, 0, 8, /*asBytes=*/false}, {k, group, 8, 8, /*asBytes=*/false}};
  Exprs dots = joinHalves(vnniParts(halves));
  for (size_t m = 0; m < dots.size(); ++m) {
    dots[m] = finish(k, group.layout, dots[m], group.activationSums[m]);
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
  Expr activations(Expr pointer, int64_t dword) { return bitcast(k, broadcastDword(k, pointer, dword, 8), bytes); }
};

// Up to 4 bits: a word gathers 8 pairs of products, at most 8 * 2 * 15 * 127 = 30480 in magnitude, so nothing saturates
// and one widening serves 32 columns.
SmallVector<Exprs> avx2Few(Avx2 &a, ArrayRef<Part> parts) {
  const TileGroup &group = parts[0].group;
  SmallVector<Exprs> words(parts.size());
  for (int64_t dword = 0; dword < kDwords; ++dword) {
    SmallVector<Expr> codes;
    for (const Part &part : parts) {
      if (!isTernary(group.layout)) {
        codes.push_back(bitcast(a.k, part.codes(dword), a.bytes));
      } else if (!part.inUnit(dword)) {
        codes.push_back(bitcast(a.k, part.pieceCodes(dword), a.bytes));
      } else {
        codes.push_back(a.k.constant(a.bytes, 0) - part.negatedCodes(dword));
      }
    }
    for (size_t m = 0; m < group.activations.size(); ++m) {
      Expr x = a.activations(group.activations[m], dword);
      for (size_t p = 0; p < parts.size(); ++p) {
        Expr pairs = a.maddBytes(codes[p], x);
        if (words[p].size() <= m) {
          words[p].push_back(pairs);
        } else {
          words[p][m] = words[p][m] + pairs;
        }
      }
    }
  }
  for (Exprs &sums : words) {
    for (Expr &sum : sums) {
      sum = a.addPairs(sum);
    }
  }
  return words;
}

// 8 bits: unsigned codes would saturate (2 * 255 * 127), so the weight's magnitude is multiplied with the activation
// under the weight's sign: at most 128 and 127 in magnitude, and a pair at most 2 * 128 * 127 = 32512.
SmallVector<Exprs> avx2Eight(Avx2 &a, ArrayRef<Part> parts) {
  const TileGroup &group = parts[0].group;
  SmallVector<Exprs> dots(parts.size(), Exprs(group.activations.size(), a.k.constant(a.dwords, 0)));
  Expr offset = a.k.constant(a.bytes, -128);
  auto add = [&](size_t p, int64_t dword) {
    Expr weights = bitcast(a.k, parts[p].codes(dword), a.bytes) ^ offset;
    Expr magnitude = intrinsic(a.k, "llvm.x86.avx2.psign.b", a.bytes, {weights, weights});
    for (auto [activations, dot] : llvm::zip_equal(group.activations, dots[p])) {
      Expr x = intrinsic(a.k, "llvm.x86.avx2.psign.b", a.bytes, {a.activations(activations, dword), weights});
      dot = dot + a.addPairs(a.maddBytes(magnitude, x));
    }
  };
  // Halves take turns, unless the sums of both need more registers than there are.
  if (group.activations.size() <= 2) {
    for (int64_t dword = 0; dword < kDwords; ++dword) {
      for (size_t p = 0; p < parts.size(); ++p) {
        add(p, dword);
      }
    }
    return dots;
  }
  for (size_t p = 0; p < parts.size(); ++p) {
    for (int64_t dword = 0; dword < kDwords; ++dword) {
      add(p, dword);
    }
  }
  return dots;
}

Exprs avx2Dots(KernelBuilder &k, const TileGroup &group) {
  Avx2 a{k};
  const bool eight = group.layout.getBits() == 8;
  const Part halves[2] = {{k, group, 0, 8, /*asBytes=*/false}, {k, group, 8, 8, /*asBytes=*/false}};
  Exprs dots = joinHalves(eight ? avx2Eight(a, halves) : avx2Few(a, halves));
  for (size_t m = 0; m < dots.size() && !eight; ++m) {
    dots[m] = finish(k, group.layout, dots[m], group.activationSums[m]);
  }
  return dots;
}

//===----------------------------------------------------------------------===//
// 64-bit ARM: signed times signed, 4 lanes a register. Codes of few bits are signed bytes as they are; those of 8 bits
// lose their bias by flipping the top bit.
//===----------------------------------------------------------------------===//

// Four signed bytes for each lane of a register: weights up to what armFinish adds.
Expr armWeights(const Part &part, int64_t dword) {
  KernelBuilder &k = part.k;
  if (part.group.layout.getBits() == 8) {
    return part.codes(dword) ^ k.constant(part.byteType(), -128);
  }
  if (!isTernary(part.group.layout)) {
    return part.codes(dword);
  }
  return part.inUnit(dword) ? part.negatedCodes(dword) : k.constant(part.byteType(), 0) - part.pieceCodes(dword);
}

// The dots of a row from those of its four registers.
Expr armFinish(KernelBuilder &k, const TileGroup &group, ArrayRef<Expr> parts, Expr activationSum) {
  SmallVector<int32_t> half{0, 1, 2, 3, 4, 5, 6, 7}, all{0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  Expr dot = permute(permute(parts[0], parts[1], half), permute(parts[2], parts[3], half), all);
  if (isTernary(group.layout)) {
    dot = k.constant(dot.type(), 0) - dot;
  }
  return group.layout.getBits() == 8 ? dot : finish(k, group.layout, dot, activationSum);
}

constexpr int64_t kArmParts = kLanes / 4;

// The 32 activations of a row in two registers.
std::array<Expr, 2> armActivations(KernelBuilder &k, Expr row) {
  VectorType lanes = k.vec(k.b.getI32Type(), 4);
  return {k.load(row, lanes, 1), k.load(k.at(row, 16), lanes, 1)};
}

// Dot products of four bytes by a lane of the activations.
Exprs sdotDots(KernelBuilder &k, const TileGroup &group) {
  VectorType bytes = k.vec(k.b.getIntegerType(8), 16), lanes = k.vec(k.b.getI32Type(), 4);
  SmallVector<Exprs> parts;  // of each row, 4 lanes each
  SmallVector<std::array<Expr, 2>> activations;
  for (Expr row : group.activations) {
    parts.push_back(Exprs(kArmParts, k.constant(lanes, 0)));
    activations.push_back(armActivations(k, row));
  }
  for (int64_t dword = 0; dword < kDwords; ++dword) {
    for (int64_t p = 0; p < kArmParts; ++p) {
      Expr weights = armWeights({k, group, 4 * p, 4, /*asBytes=*/true}, dword);
      for (size_t m = 0; m < parts.size(); ++m) {
        Expr four = activations[m][dword / 4];
        Expr x = bitcast(k, permute(four, four, SmallVector<int32_t>(4, dword % 4)), bytes);
        parts[m][p] = intrinsic(k, "llvm.aarch64.neon.sdot.v4i32.v16i8", lanes, {parts[m][p], weights, x});
      }
    }
  }
  Exprs dots;
  for (auto [m, part] : llvm::enumerate(parts)) {
    dots.push_back(armFinish(k, group, part, group.activationSums[m]));
  }
  return dots;
}

// Matrix products: two lanes by two rows, eight columns each. A pair of dwords gives what four lanes have of eight
// columns; taken lane by lane, that is two operands. A last row alone has dot products.
Exprs smmlaDots(KernelBuilder &k, const TileGroup &group) {
  const size_t pairs = group.activations.size() / 2;
  VectorType bytes = k.vec(k.b.getIntegerType(8), 16), lanes = k.vec(k.b.getI32Type(), 4);
  SmallVector<Exprs> sums;  // of each pair of rows: two for each part, [lane][row]
  SmallVector<std::array<Expr, 2>> activations;
  for (size_t m = 0; m < 2 * pairs; ++m) {
    activations.push_back(armActivations(k, group.activations[m]));
  }
  for (size_t i = 0; i < pairs; ++i) {
    sums.push_back(Exprs(2 * kArmParts, k.constant(lanes, 0)));
  }
  for (int64_t dword = 0; dword < kDwords && pairs; dword += 2) {
    const int32_t first = dword % 4;
    Exprs columns;  // of each pair of rows
    for (size_t i = 0; i < pairs; ++i) {
      Expr eight = permute(activations[2 * i][dword / 4], activations[2 * i + 1][dword / 4],
                           {first, first + 1, first + 4, first + 5});
      columns.push_back(bitcast(k, eight, bytes));
    }
    for (int64_t p = 0; p < kArmParts; ++p) {
      const Part part{k, group, 4 * p, 4, /*asBytes=*/true};
      Expr even = bitcast(k, armWeights(part, dword), lanes), odd = bitcast(k, armWeights(part, dword + 1), lanes);
      const Expr weights[2] = {bitcast(k, permute(even, odd, {0, 4, 1, 5}), bytes),
                               bitcast(k, permute(even, odd, {2, 6, 3, 7}), bytes)};
      for (size_t i = 0; i < pairs; ++i) {
        for (int64_t j = 0; j < 2; ++j) {
          Expr &sum = sums[i][2 * p + j];
          sum = intrinsic(k, "llvm.aarch64.neon.smmla.v4i32.v16i8", lanes, {sum, weights[j], columns[i]});
        }
      }
    }
  }
  Exprs dots;
  for (size_t m = 0; m < 2 * pairs; ++m) {
    const int32_t row = m % 2;
    Exprs parts;
    for (int64_t p = 0; p < kArmParts; ++p) {
      parts.push_back(permute(sums[m / 2][2 * p], sums[m / 2][2 * p + 1], {row, row + 2, row + 4, row + 6}));
    }
    dots.push_back(armFinish(k, group, parts, group.activationSums[m]));
  }
  if (2 * pairs < group.activations.size()) {
    TileGroup last = group;
    last.activations = group.activations.take_back(), last.activationSums = group.activationSums.take_back();
    dots.push_back(sdotDots(k, last)[0]);
  }
  return dots;
}

} // namespace

GroupDots fastDots(const Target &target) {
  if (target.cpuFeatures & EMOE_CPU_AVX512_VNNI) {
    return vnniDots;
  }
  if (target.cpuFeatures & EMOE_CPU_AVX_VNNI) {
    return avxVnniDots;
  }
  if (target.cpuFeatures & EMOE_CPU_AVX2) {
    return avx2Dots;
  }
  if (target.cpuFeatures & EMOE_CPU_NEON_I8MM) {
    return smmlaDots;
  }
  return target.cpuFeatures & EMOE_CPU_NEON_DOTPROD ? sdotDots : nullptr;
}

} // namespace emoe
