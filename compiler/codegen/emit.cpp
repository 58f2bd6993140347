#include "compiler/codegen/emit.h"

#include <cstddef>

#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/ControlFlow/IR/ControlFlow.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/Dialect/Math/IR/Math.h"
#include "mlir/Dialect/SCF/IR/SCF.h"
#include "mlir/Dialect/Vector/IR/VectorOps.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {

void loadKernelDialects(MLIRContext &context) {
  context.loadDialect<EmoeDialect, func::FuncDialect, scf::SCFDialect, arith::ArithDialect, math::MathDialect,
                      vector::VectorDialect, LLVM::LLVMDialect, cf::ControlFlowDialect>();
}

constexpr int64_t kMostTaps = 16;  // their rows are held in registers

// What is wrong with the sizes of the specification; empty if nothing is. Layouts are the families' to check.
static StringRef wrongSizes(const KernelSpec &spec) {
  int64_t heads = std::max<int64_t>(spec.heads, 1);
  switch (spec.family) {
  case KernelFamily::Norm:
    return spec.k < 1 || spec.k % heads ? "k must be a positive multiple of heads" : "";
  case KernelFamily::Rotary:
    return spec.heads < 1 || spec.rotated < 2 || spec.rotated % 2 || spec.rotated > spec.headDim
               ? "heads must be positive and rotated even, from 2 to head_dim"
               : "";
  case KernelFamily::KvAppend:
    return spec.kvHeads < 1 || spec.headDim < 1 ? "kv_heads and head_dim must be positive"
           : spec.kvBits != 32 && spec.kvBits != 16 ? "kv_bits must be 32 or 16"
                                                    : "";
  case KernelFamily::Attention:
    return spec.kvHeads < 1 || spec.headDim < 1 || spec.heads < 1 || spec.heads % spec.kvHeads || spec.window < 0
               ? "heads must be a positive multiple of kv_heads, head_dim positive and window not negative"
           : spec.kvBits != 32 && spec.kvBits != 16 ? "kv_bits must be 32 or 16"
                                                    : "";
  case KernelFamily::Route:
    return spec.topK < 1 || spec.topK > spec.n ? "top_k must be from 1 to n"
           : spec.groups < 1 || spec.n % spec.groups || spec.topGroups < 1 || spec.topGroups > spec.groups ||
                   spec.groupTop < 1 || spec.groupTop > 2 || spec.groupTop > spec.n / spec.groups
               ? "groups must divide n, top_groups be at most groups, and group_top 1 or 2"
               : "";
  case KernelFamily::Combine:
    return spec.k < 1 || spec.topK < 1 ? "k and top_k must be positive" : "";
  case KernelFamily::Embed:
  case KernelFamily::Linear:
  case KernelFamily::GateUp:
    return spec.n < 1 || spec.k < 1 ? "n and k must be positive" : "";
  case KernelFamily::Quantize:
  case KernelFamily::Add:
  case KernelFamily::Mul:
  case KernelFamily::Activate:
  case KernelFamily::Scale:
  case KernelFamily::ScaleRows:
    return spec.k < 1 ? "k must be positive" : "";
  case KernelFamily::Slice:
    return spec.heads < 1 || spec.headDim < 1 || spec.k < 1 || spec.k % spec.heads ||
                   spec.start < 0 || spec.start >= spec.k / spec.heads
               ? "heads must divide k, and start be less than k / heads"
               : "";
  case KernelFamily::ShortConv:
    return spec.k < 1 || spec.n < 2 || spec.n > kMostTaps ? "k must be positive and n, the taps, from 2 to 16" : "";
  case KernelFamily::DeltaNet:
    return spec.heads < 1 || spec.kvHeads < 1 || spec.heads % spec.kvHeads || spec.headDim < 1 || spec.n < 1
               ? "heads must be a positive multiple of kv_heads, head_dim and n positive"
               : "";
  case KernelFamily::Number:
    return spec.start < 1 || spec.n <= spec.start ? "start must be positive and less than n" : "";
  case KernelFamily::Concat:
    return spec.heads < 1 || spec.k < 1 || spec.n < 1 || spec.k % spec.heads ||
                   (spec.kvHeads != 1 && spec.kvHeads != spec.heads) || spec.n % spec.kvHeads
               ? "heads must divide k, and kv_heads (1 or heads) n"
               : "";
  }
  llvm_unreachable("a family without sizes");
}

LogicalResult emitKernel(const KernelSpec &spec, const Target &target, ModuleOp module) {
  if (StringRef wrong = wrongSizes(spec); !wrong.empty()) {
    return module.emitError() << "kernel " << kernelName(spec) << ": " << wrong;
  }
  KernelBuilder k(spec, target, module);
  LogicalResult result = [&] {
    switch (spec.family) {
    case KernelFamily::Embed: return emitEmbed(k);
    case KernelFamily::Norm: return emitNorm(k);
    case KernelFamily::Quantize: return emitQuantize(k);
    case KernelFamily::Linear: return emitLinear(k);
    case KernelFamily::Rotary: return emitRotary(k);
    case KernelFamily::KvAppend: return emitKvAppend(k);
    case KernelFamily::Attention: return emitAttention(k);
    case KernelFamily::Route: return emitRoute(k);
    case KernelFamily::GateUp: return emitGateUp(k);
    case KernelFamily::Combine: return emitCombine(k);
    case KernelFamily::Add:
    case KernelFamily::Mul:
    case KernelFamily::Activate:
    case KernelFamily::Scale:
    case KernelFamily::ScaleRows: return emitElementwise(k);
    case KernelFamily::Slice:
    case KernelFamily::Concat: return emitColumns(k);
    case KernelFamily::ShortConv: return emitShortConv(k);
    case KernelFamily::DeltaNet: return emitDeltaNet(k);
    case KernelFamily::Number: return emitNumber(k);
    }
    llvm_unreachable("a family without an emitter");
  }();
  k.finish();
  return result;
}

//===----------------------------------------------------------------------===//
// Expr
//===----------------------------------------------------------------------===//

int64_t Expr::lanes() const {
  auto vector = dyn_cast<VectorType>(value.getType());
  return vector ? vector.getNumElements() : 0;
}

Expr constantLike(Expr like, double number) { return like.k->constant(like.type(), number); }

// Broadcasts the scalar of a scalar and a vector.
static void matchLanes(Expr &a, Expr &b) {
  if (a.lanes() && !b.lanes()) {
    b = splat(b, a.lanes());
  } else if (b.lanes() && !a.lanes()) {
    a = splat(a, b.lanes());
  }
}

template <typename FloatOp, typename IntOp> static Expr binary(Expr a, Expr b) {
  matchLanes(a, b);
  KernelBuilder &k = *a.k;
  return k.wrap(a.isFloat() ? k.b.create<FloatOp>(k.loc, a.value, b.value)->getResult(0)
                            : k.b.create<IntOp>(k.loc, a.value, b.value)->getResult(0));
}

template <typename IntOp> static Expr integer(Expr a, Expr b) {
  matchLanes(a, b);
  return a.k->wrap(a.k->b.create<IntOp>(a.k->loc, a.value, b.value));
}

static Expr compare(Expr a, Expr b, arith::CmpFPredicate floats, arith::CmpIPredicate integers) {
  matchLanes(a, b);
  KernelBuilder &k = *a.k;
  return k.wrap(a.isFloat() ? k.b.create<arith::CmpFOp>(k.loc, floats, a.value, b.value).getResult()
                            : k.b.create<arith::CmpIOp>(k.loc, integers, a.value, b.value).getResult());
}

Expr operator+(Expr a, Expr b) { return binary<arith::AddFOp, arith::AddIOp>(a, b); }
Expr operator-(Expr a, Expr b) { return binary<arith::SubFOp, arith::SubIOp>(a, b); }
Expr operator*(Expr a, Expr b) { return binary<arith::MulFOp, arith::MulIOp>(a, b); }
Expr operator/(Expr a, Expr b) { return binary<arith::DivFOp, arith::DivUIOp>(a, b); }
Expr operator%(Expr a, Expr b) { return integer<arith::RemUIOp>(a, b); }
Expr operator&(Expr a, Expr b) { return integer<arith::AndIOp>(a, b); }
Expr operator|(Expr a, Expr b) { return integer<arith::OrIOp>(a, b); }
Expr operator^(Expr a, Expr b) { return integer<arith::XOrIOp>(a, b); }
Expr operator<<(Expr a, Expr b) { return integer<arith::ShLIOp>(a, b); }
Expr operator>>(Expr a, Expr b) { return integer<arith::ShRUIOp>(a, b); }
Expr operator<(Expr a, Expr b) { return compare(a, b, arith::CmpFPredicate::OLT, arith::CmpIPredicate::slt); }
Expr operator<=(Expr a, Expr b) { return compare(a, b, arith::CmpFPredicate::OLE, arith::CmpIPredicate::sle); }
Expr operator>(Expr a, Expr b) { return compare(a, b, arith::CmpFPredicate::OGT, arith::CmpIPredicate::sgt); }
Expr operator>=(Expr a, Expr b) { return compare(a, b, arith::CmpFPredicate::OGE, arith::CmpIPredicate::sge); }
Expr operator==(Expr a, Expr b) { return compare(a, b, arith::CmpFPredicate::OEQ, arith::CmpIPredicate::eq); }

Expr fma(Expr a, Expr b, Expr c) {
  matchLanes(a, b);
  matchLanes(a, c);
  matchLanes(a, b);
  KernelBuilder &k = *a.k;
  if (!k.hasFma()) {
    return a * b + c;
  }
  return k.wrap(k.b.create<math::FmaOp>(k.loc, a.value, b.value, c.value));
}

Expr select(Expr condition, Expr yes, Expr no) {
  matchLanes(yes, no);
  if (condition.lanes()) {
    if (!yes.lanes()) {
      yes = splat(yes, condition.lanes());
      no = splat(no, condition.lanes());
    }
  }
  KernelBuilder &k = *yes.k;
  return k.wrap(k.b.create<arith::SelectOp>(k.loc, condition.value, yes.value, no.value));
}

Expr sqrt(Expr x) { return x.k->wrap(x.k->b.create<math::SqrtOp>(x.k->loc, x.value)); }
Expr abs(Expr x) { return x.k->wrap(x.k->b.create<math::AbsFOp>(x.k->loc, x.value)); }
Expr max(Expr a, Expr b) { return select(a > b, a, b); }
Expr min(Expr a, Expr b) { return select(a < b, a, b); }

Expr splat(Expr scalar, int64_t lanes) {
  KernelBuilder &k = *scalar.k;
  return k.wrap(k.b.create<vector::BroadcastOp>(k.loc, k.vec(scalar.type(), lanes), scalar.value));
}

Expr lane(Expr vector, int64_t i) {
  KernelBuilder &k = *vector.k;
  return k.wrap(k.b.create<vector::ExtractOp>(k.loc, vector.value, i));
}

Expr permute(Expr a, Expr b, ArrayRef<int32_t> lanes) {
  KernelBuilder &k = *a.k;
  return k.wrap(k.b.create<LLVM::ShuffleVectorOp>(k.loc, a.value, b.value, lanes));
}

// op(op(...)) over halves: 16 -> 8 -> 4 -> 2 -> 1.
static Expr fold(Expr vector, function_ref<Expr(Expr, Expr)> op) {
  for (int64_t n = vector.lanes() / 2; n >= 1; n /= 2) {
    SmallVector<int32_t> low, high;
    for (int64_t i = 0; i < n; ++i) {
      low.push_back(i);
      high.push_back(n + i);
    }
    vector = op(permute(vector, vector, low), permute(vector, vector, high));
  }
  return lane(vector, 0);
}

Expr reduceSum(Expr vector) {
  return fold(vector, [](Expr a, Expr b) { return a + b; });
}

Expr reduceMax(Expr vector) {
  return fold(vector, [](Expr a, Expr b) { return max(a, b); });
}

//===----------------------------------------------------------------------===//
// Conversions
//===----------------------------------------------------------------------===//

// The type of x with another element.
static Type with(Expr x, Type element) { return x.lanes() ? Type(x.k->vec(element, x.lanes())) : element; }

template <typename Op> static Expr convert(Expr x, Type element) {
  return x.k->wrap(x.k->b.create<Op>(x.k->loc, with(x, element), x.value));
}

Expr bits(Expr x, Type element) { return convert<arith::BitcastOp>(x, element); }
Expr toF32(Expr x) {
  Type f32 = x.k->b.getF32Type();
  return x.isFloat() ? convert<arith::TruncFOp>(x, f32) : convert<arith::SIToFPOp>(x, f32);
}
Expr toF64(Expr x) { return convert<arith::ExtFOp>(x, x.k->b.getF64Type()); }
Expr truncate(Expr x, unsigned width) { return convert<arith::TruncIOp>(x, x.k->b.getIntegerType(width)); }
Expr signExtend(Expr x, unsigned width) { return convert<arith::ExtSIOp>(x, x.k->b.getIntegerType(width)); }
Expr zeroExtend(Expr x, unsigned width) { return convert<arith::ExtUIOp>(x, x.k->b.getIntegerType(width)); }

Expr roundToI32(Expr x) {
  // Adding 1.5 * 2^23 leaves the rounded integer in the low bits of the sum. fptosi would be undefined for NaN.
  constexpr double kMagic = 12582912.0;
  Type i32 = x.k->b.getI32Type();
  return bits(x + kMagic, i32) - bits(constantLike(x, kMagic), i32);
}

Expr f16ToF32(Expr i16) {
  KernelBuilder &k = *i16.k;
  Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type();
  if (k.hasF16Conversion()) {
    return convert<arith::ExtFOp>(bits(i16, k.b.getF16Type()), f32);
  }
  // Exponent and mantissa shifted to f32's places, times 2^112: exact for subnormals too. Infinities and NaN keep
  // all ones in the exponent.
  Expr wide = zeroExtend(i16, 32);
  Expr magnitude = (wide & 0x7fff) << 13;
  Expr scaled = bits(magnitude, f32) * 0x1p112;
  Expr special = bits(magnitude | 0x7f800000, f32);
  Expr finite = magnitude < 0x7c00 * 8192.0;
  return bits(bits(select(finite, scaled, special), i32) | ((wide & 0x8000) << 16), f32);
}

Expr f32ToF16(Expr x) {
  KernelBuilder &k = *x.k;
  Type f32 = k.b.getF32Type(), i32 = k.b.getI32Type(), i16 = k.b.getIntegerType(16);
  Expr inRange = min(constantLike(x, 65504), max(constantLike(x, -65504), x));
  if (k.hasF16Conversion()) {
    return bits(convert<arith::TruncFOp>(inRange, k.b.getF16Type()), i16);
  }
  // As floatToHalf (half.h): below 2^-14, adding 0.5 aligns 2^-24 with the float's last bit.
  Expr all = bits(inRange, i32), magnitude = all & 0x7fffffff;
  Expr small = bits(bits(magnitude, f32) + 0.5, i32) - 0x3f000000;
  Expr normal = (magnitude - 0x38000000 + 0xfff + ((magnitude >> 13) & 1)) >> 13;
  Expr rounded = select(magnitude < 0x38800000, small, normal);
  Expr half = select(magnitude <= 0x7f800000, rounded, constantLike(magnitude, 0x7e00));
  return truncate(half | ((all >> 16) & 0x8000), 16);
}

Expr bf16ToF32(Expr i16) { return bits(zeroExtend(i16, 32) << 16, i16.k->b.getF32Type()); }

//===----------------------------------------------------------------------===//
// KernelBuilder
//===----------------------------------------------------------------------===//

KernelBuilder::KernelBuilder(const KernelSpec &spec, const Target &target, ModuleOp module)
    : spec(spec), target(target), b(module.getContext()),
      loc(NameLoc::get(b.getStringAttr(kernelName(spec)))) {
  Type pointer = LLVM::LLVMPointerType::get(b.getContext());
  b.setInsertionPointToEnd(module.getBody());
  auto function = b.create<func::FuncOp>(
      loc, kernelName(spec), b.getFunctionType({pointer, b.getI64Type(), b.getI64Type()}, {}));
  // Operands may be the same buffer, so no `noalias`; the arguments themselves are nobody's to write.
  function.setArgAttr(0, "llvm.readonly", b.getUnitAttr());
  entry = function.addEntryBlock();
  args = entry->getArgument(0);
  first = entry->getArgument(1);
  last = entry->getArgument(2);
  b.setInsertionPointToEnd(entry);
}

bool KernelBuilder::hasFma() const {
  return target.machine == EMOE_MACHINE_AARCH64 || (target.cpuFeatures & EMOE_CPU_AVX2);
}
bool KernelBuilder::hasF16Conversion() const { return hasFma(); }

void KernelBuilder::finish() {
  b.setInsertionPointToEnd(entry);
  b.create<func::ReturnOp>(loc);
}

// Arguments are loaded at the start of the entry block, which dominates every use: loops find them in registers.
Expr KernelBuilder::field(int64_t byteOffset, Type type) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(entry);
  return load(at(wrap(args), byteOffset), type);
}

Expr KernelBuilder::operand(unsigned i) {
  if (operands.size() <= i) {
    operands.resize(i + 1);
  }
  if (!operands[i]) {
    operands[i] = field(offsetof(emoe_kernel_args, operand) + i * sizeof(void *),
                        LLVM::LLVMPointerType::get(b.getContext())).value;
  }
  return wrap(operands[i]);
}

Expr KernelBuilder::tokens() {
  if (!tokensValue.value) {
    tokensValue = field(offsetof(emoe_kernel_args, tokens), b.getI64Type());
  }
  return tokensValue;
}

Expr KernelBuilder::position() {
  if (!positionValue.value) {
    positionValue = field(offsetof(emoe_kernel_args, position), b.getI64Type());
  }
  return positionValue;
}

Expr KernelBuilder::source() {
  if (!sourceValue.value) {
    sourceValue = field(offsetof(emoe_kernel_args, source), b.getI64Type());
  }
  return sourceValue;
}

Expr KernelBuilder::capacity() {
  if (!capacityValue.value) {
    capacityValue = field(offsetof(emoe_kernel_args, capacity), b.getI64Type());
  }
  return capacityValue;
}

Expr KernelBuilder::listed(Expr list, Expr row) {
  Value null = b.create<LLVM::ZeroOp>(loc, list.type());
  Value absent = b.create<LLVM::ICmpOp>(loc, LLVM::ICmpPredicate::eq, list.value, null);
  auto branch = b.create<scf::IfOp>(loc, TypeRange(b.getI64Type()), absent, /*withElseRegion=*/true);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(branch.thenBlock());
  b.create<scf::YieldOp>(loc, row.value);
  b.setInsertionPointToStart(branch.elseBlock());
  b.create<scf::YieldOp>(loc, signExtend(load(at(list, row * 4), b.getI32Type()), 64).value);
  return wrap(branch.getResult(0));
}

Expr KernelBuilder::rowIn(Expr row) {
  if (!rowsInValue.value) {
    rowsInValue = field(offsetof(emoe_kernel_args, rows_in), LLVM::LLVMPointerType::get(b.getContext()));
  }
  return listed(rowsInValue, row);
}

Expr KernelBuilder::rowOut(Expr row) {
  if (!rowsOutValue.value) {
    rowsOutValue = field(offsetof(emoe_kernel_args, rows_out), LLVM::LLVMPointerType::get(b.getContext()));
  }
  return listed(rowsOutValue, row);
}

void KernelBuilder::forTiles(function_ref<void(Expr)> body) { loop(wrap(first), wrap(last), 1, body); }

//===----------------------------------------------------------------------===//
// Constants
//===----------------------------------------------------------------------===//

Expr KernelBuilder::i64(int64_t value) { return wrap(b.create<arith::ConstantIntOp>(loc, value, 64)); }
Expr KernelBuilder::i32(int32_t value) { return wrap(b.create<arith::ConstantIntOp>(loc, value, 32)); }
Expr KernelBuilder::f32(float value) { return constant(b.getF32Type(), value); }
Expr KernelBuilder::f64(double value) { return constant(b.getF64Type(), value); }

Expr KernelBuilder::constant(Type type, double value) {
  Type element = getElementTypeOrSelf(type);
  TypedAttr scalar = isa<mlir::FloatType>(element) ? TypedAttr(b.getFloatAttr(element, value))
                                             : TypedAttr(b.getIntegerAttr(element, static_cast<int64_t>(value)));
  auto shaped = dyn_cast<VectorType>(type);
  return wrap(b.create<arith::ConstantOp>(loc, shaped ? DenseElementsAttr::get(shaped, Attribute(scalar)) : scalar));
}

Expr KernelBuilder::constantI32s(ArrayRef<int32_t> values) {
  return wrap(b.create<arith::ConstantOp>(
      loc, DenseElementsAttr::get(vec(b.getI32Type(), static_cast<int64_t>(values.size())), values)));
}

VectorType KernelBuilder::vec(Type element, int64_t lanes) { return VectorType::get({lanes}, element); }

//===----------------------------------------------------------------------===//
// Memory
//===----------------------------------------------------------------------===//

Expr KernelBuilder::at(Expr pointer, Expr bytes) {
  return wrap(b.create<LLVM::GEPOp>(loc, pointer.type(), b.getI8Type(), pointer.value,
                                    ArrayRef<LLVM::GEPArg>{bytes.value}));
}

Expr KernelBuilder::at(Expr pointer, int64_t bytes) {
  return bytes == 0 ? pointer : at(pointer, i64(bytes));
}

static unsigned alignmentOf(Type type, unsigned align) {
  Type element = getElementTypeOrSelf(type);
  return align ? align : element.isIntOrFloat() ? std::max(1u, element.getIntOrFloatBitWidth() / 8) : 8;
}

Expr KernelBuilder::load(Expr pointer, Type type, unsigned align) {
  return wrap(b.create<LLVM::LoadOp>(loc, type, pointer.value, alignmentOf(type, align)));
}

void KernelBuilder::store(Expr value, Expr pointer, unsigned align) {
  b.create<LLVM::StoreOp>(loc, value.value, pointer.value, alignmentOf(value.type(), align));
}

// i1 lanes: true for the first `valid`.
static Value firstLanes(KernelBuilder &k, int64_t valid) {
  SmallVector<bool> lanes(kLanes, false);
  std::fill_n(lanes.begin(), valid, true);
  return k.b.create<arith::ConstantOp>(
      k.loc, DenseElementsAttr::get(k.vec(k.b.getI1Type()), ArrayRef<bool>(lanes)));
}

Expr KernelBuilder::loadLanes(Expr pointer, int64_t valid) {
  VectorType type = vec(b.getF32Type());
  if (valid == kLanes) {
    return load(pointer, type);
  }
  return wrap(b.create<LLVM::MaskedLoadOp>(loc, type, pointer.value, firstLanes(*this, valid),
                                           ValueRange(constant(type, 0).value), 4u));
}

Expr KernelBuilder::loadHalves(Expr pointer, int64_t valid) {
  VectorType type = vec(b.getIntegerType(16));
  if (valid == kLanes) {
    return load(pointer, type);
  }
  return wrap(b.create<LLVM::MaskedLoadOp>(loc, type, pointer.value, firstLanes(*this, valid),
                                           ValueRange(constant(type, 0).value), 2u));
}

void KernelBuilder::storeLanes(Expr value, Expr pointer, int64_t valid) {
  if (valid == kLanes) {
    store(value, pointer);
  } else {
    b.create<LLVM::MaskedStoreOp>(loc, value.value, pointer.value, firstLanes(*this, valid), 4u);
  }
}

void KernelBuilder::prefetch(Expr address, int64_t bytes, int64_t ahead, int64_t step) {
  for (int64_t line = 0; ahead && line < bytes; line += step) {
    b.create<LLVM::Prefetch>(loc, at(address, ahead + line).value, /*rw=*/0u, /*hint=*/2u, /*cache=*/1u);
  }
}

Expr KernelBuilder::scratch(int64_t bytes) {
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(entry);
  return wrap(b.create<LLVM::AllocaOp>(loc, LLVM::LLVMPointerType::get(b.getContext()), b.getI8Type(),
                                       i64(bytes).value, 64u));
}

//===----------------------------------------------------------------------===//
// Control flow
//===----------------------------------------------------------------------===//

void KernelBuilder::loop(Expr low, Expr high, int64_t step, function_ref<void(Expr)> body) {
  loop(low, high, step, {}, [&](Expr i, ArrayRef<Expr>) {
    body(i);
    return Exprs();
  });
}

KernelBuilder::Exprs KernelBuilder::loop(Expr low, Expr high, int64_t step, ArrayRef<Expr> initial,
                                         function_ref<Exprs(Expr, ArrayRef<Expr>)> body) {
  SmallVector<Value> start;
  for (Expr value : initial) {
    start.push_back(value.value);
  }
  auto op = b.create<scf::ForOp>(loc, low.value, high.value, i64(step).value, start);
  {
    OpBuilder::InsertionGuard guard(b);
    // A loop without carried values is built with its terminator.
    if (!op.getBody()->empty()) {
      op.getBody()->back().erase();
    }
    b.setInsertionPointToEnd(op.getBody());
    Exprs carried;
    for (Value value : op.getRegionIterArgs()) {
      carried.push_back(wrap(value));
    }
    SmallVector<Value> next;
    for (Expr value : body(wrap(op.getInductionVar()), carried)) {
      next.push_back(value.value);
    }
    b.create<scf::YieldOp>(loc, next);
  }
  Exprs results;
  for (Value value : op.getResults()) {
    results.push_back(wrap(value));
  }
  return results;
}

void KernelBuilder::ifThen(Expr condition, function_ref<void()> body) {
  auto op = b.create<scf::IfOp>(loc, condition.value, /*withElseRegion=*/false);
  OpBuilder::InsertionGuard guard(b);
  b.setInsertionPointToStart(op.thenBlock());
  body();
}

void KernelBuilder::forVectors(int64_t width, function_ref<void(Expr, int64_t)> body) {
  int64_t whole = width / kLanes * kLanes;
  if (whole > kLanes) {
    loop(i64(0), i64(4 * whole), 4 * kLanes, [&](Expr offset) { body(offset, kLanes); });
  } else if (whole == kLanes) {
    body(i64(0), kLanes);
  }
  if (width > whole) {
    body(i64(4 * whole), width - whole);
  }
}

void KernelBuilder::zeroPadding(Expr row, int64_t width) {
  int64_t padded = static_cast<int64_t>(f32RowBytes(width) / 4);
  Expr zero = constant(vec(b.getF32Type()), 0);
  int64_t i = width;
  for (; i < padded && i % kLanes != 0; i = (i / kLanes + 1) * kLanes) {
    storeLanes(zero, at(row, 4 * i), kLanes - i % kLanes);
  }
  for (; i < padded; i += kLanes) {
    store(zero, at(row, 4 * i));
  }
}

} // namespace emoe
