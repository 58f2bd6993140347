// Kernel emission: one specification -> one function of the type emoe_kernel_fn (schema/kernel_abi.h), in the func,
// scf, arith, math, vector and LLVM dialects. Family code is written with Expr, whose operators emit ops, so that it
// reads like the formulas. Nothing is vectorised later: vectors of 16 lanes are explicit, LLVM splits them.
//
// Floating point: no fast-math flags anywhere. fma() is fused where the target has fused multiply-add and a multiply
// and an add on x86-64's baseline: all other targets agree bit for bit.
#ifndef EMOE_COMPILER_CODEGEN_EMIT_H_
#define EMOE_COMPILER_CODEGEN_EMIT_H_

#include "compiler/codegen/image.h"
#include "compiler/codegen/kernel.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/STLFunctionalExtras.h"

namespace emoe {

constexpr int64_t kLanes = 16;  // a panel's rows, a cache block's positions, and the vectors of all families

// Adds the kernel of `spec`, named kernelName(spec), to `module`, whose context must have the dialects above loaded
// (loadKernelDialects). Fails, with a diagnostic, if the specification is not one that codegen supports.
mlir::LogicalResult emitKernel(const KernelSpec &spec, const Target &target, mlir::ModuleOp module);
void loadKernelDialects(mlir::MLIRContext &context);

class KernelBuilder;

// A value and the builder that computes with it. Operators emit arith ops at the builder's insertion point, by the
// operands' type: floats, or integers as signed (/ and % need non-negative operands; >> is logical). A scalar that
// meets a vector is broadcast; a C++ number takes the other operand's type.
struct Expr {
  mlir::Value value;
  KernelBuilder *k = nullptr;

  mlir::Type type() const { return value.getType(); }
  mlir::Type element() const { return mlir::getElementTypeOrSelf(value.getType()); }
  bool isFloat() const { return llvm::isa<mlir::FloatType>(element()); }
  int64_t lanes() const;  // 0: a scalar
};

Expr operator+(Expr a, Expr b);
Expr operator-(Expr a, Expr b);
Expr operator*(Expr a, Expr b);
Expr operator/(Expr a, Expr b);
Expr operator%(Expr a, Expr b);
Expr operator&(Expr a, Expr b);
Expr operator|(Expr a, Expr b);
Expr operator^(Expr a, Expr b);
Expr operator<<(Expr a, Expr b);
Expr operator>>(Expr a, Expr b);
// Comparisons give i1 or a vector of i1; those of floats are false for NaN.
Expr operator<(Expr a, Expr b);
Expr operator<=(Expr a, Expr b);
Expr operator>(Expr a, Expr b);
Expr operator>=(Expr a, Expr b);
Expr operator==(Expr a, Expr b);
// A constant of the type of `like`.
Expr constantLike(Expr like, double number);
#define EMOE_MIXED(OP) \
  inline Expr operator OP(Expr a, double b) { return a OP constantLike(a, b); } \
  inline Expr operator OP(double a, Expr b) { return constantLike(b, a) OP b; }
EMOE_MIXED(+) EMOE_MIXED(-) EMOE_MIXED(*) EMOE_MIXED(/) EMOE_MIXED(%) EMOE_MIXED(&) EMOE_MIXED(|) EMOE_MIXED(^)
EMOE_MIXED(<<) EMOE_MIXED(>>) EMOE_MIXED(<) EMOE_MIXED(<=) EMOE_MIXED(>) EMOE_MIXED(>=) EMOE_MIXED(==)
#undef EMOE_MIXED

Expr fma(Expr a, Expr b, Expr c);                       // a * b + c, see above
Expr select(Expr condition, Expr yes, Expr no);         // lane by lane if the condition is a vector
Expr sqrt(Expr x);                                      // correctly rounded
Expr abs(Expr x);                                       // floats
// The larger or smaller one; of floats, `b` if either is NaN.
Expr max(Expr a, Expr b);
Expr min(Expr a, Expr b);
Expr splat(Expr scalar, int64_t lanes = kLanes);
Expr lane(Expr vector, int64_t i);                      // constant index
Expr permute(Expr a, Expr b, llvm::ArrayRef<int32_t> lanes);  // lanes of a, then of b
// Folds halves onto each other (lane i with lane i + n/2) down to one: the fixed order of every sum.
Expr reduceSum(Expr vector);
Expr reduceMax(Expr vector);
// Conversions: `bits` reinterprets; the others change the element type and keep the lanes.
Expr bits(Expr x, mlir::Type element);
Expr toF32(Expr x);      // from signed integers or f64
Expr toF64(Expr x);      // from f32
Expr truncate(Expr x, unsigned width);    // integers
Expr signExtend(Expr x, unsigned width);
Expr zeroExtend(Expr x, unsigned width);
// Integers with the values round-to-nearest-even(x), as i32, for |x| <= 2^22; any integers for others and NaN.
Expr roundToI32(Expr x);
// f32 from the bits of f16 or bf16 in i16 lanes: exact, on every target without a call.
Expr f16ToF32(Expr i16);
Expr bf16ToF32(Expr i16);
// The bits of the nearest f16, ties to even, in i16 lanes: the same on every target. Beyond the largest f16 that is it;
// NaN stays NaN.
Expr f32ToF16(Expr x);

// One kernel under construction: the function, its arguments, constants, memory and control flow.
class KernelBuilder {
public:
  KernelBuilder(const KernelSpec &spec, const Target &target, mlir::ModuleOp module);
  // Emits into a function that exists, for lowerings: there are no arguments, tiles or scratch memory.
  KernelBuilder(const KernelSpec &spec, const Target &target, mlir::OpBuilder builder, mlir::Location loc)
      : spec(spec), target(target), b(builder), loc(loc) {}

  const KernelSpec &spec;
  const Target &target;
  mlir::OpBuilder b;
  mlir::Location loc;

  // What the target can do.
  bool hasFma() const;
  bool hasF16Conversion() const;

  // The call's arguments, loaded in the entry block.
  Expr operand(unsigned i);   // pointer
  Expr tokens();
  Expr position();
  Expr capacity();
  Expr source();
  Expr rowIn(Expr row);       // row of the input, of the output: the list's entry, or `row` if there is no list
  Expr rowOut(Expr row);

  // Emits the body for each tile of the call. The last thing that a family does.
  void forTiles(llvm::function_ref<void(Expr tile)> body);

  // Constants.
  Expr i64(int64_t value);
  Expr i32(int32_t value);
  Expr f32(float value);
  Expr f64(double value);
  Expr constant(mlir::Type type, double value);         // scalar or vector
  Expr constantI32s(llvm::ArrayRef<int32_t> values);    // a vector
  mlir::VectorType vec(mlir::Type element, int64_t lanes = kLanes);

  // Memory: addresses are pointers plus bytes. `align` 0: the element's size.
  Expr at(Expr pointer, Expr bytes);
  Expr at(Expr pointer, int64_t bytes);
  Expr load(Expr pointer, mlir::Type type, unsigned align = 0);
  void store(Expr value, Expr pointer, unsigned align = 0);
  Expr loadF32(Expr pointer) { return load(pointer, b.getF32Type()); }
  // A vector of f32 whose first `valid` lanes are memory; the others are zero, or not written.
  Expr loadLanes(Expr pointer, int64_t valid = kLanes);
  Expr loadHalves(Expr pointer, int64_t valid = kLanes);  // likewise of i16
  void storeLanes(Expr value, Expr pointer, int64_t valid = kLanes);
  // Brings a line in each `step` of `bytes` at `address` + ahead into the second-level cache, unless ahead is 0. Never
  // faults. One line of four leads hardware prefetchers, which read the lines between, into the next page
  // (docs/kernels.md).
  void prefetch(Expr address, int64_t bytes, int64_t ahead, int64_t step = 256);
  // Memory of the stack, 64-byte aligned, uninitialised, the same for all tiles. At most a few KiB.
  Expr scratch(int64_t bytes);

  // Control flow. Loops run i = low, low + step ... < high.
  using Exprs = llvm::SmallVector<Expr>;
  void loop(Expr low, Expr high, int64_t step, llvm::function_ref<void(Expr i)> body);
  Exprs loop(Expr low, Expr high, int64_t step, llvm::ArrayRef<Expr> initial,
             llvm::function_ref<Exprs(Expr i, llvm::ArrayRef<Expr> carried)> body);
  void ifThen(Expr condition, llvm::function_ref<void()> body);
  // Emits the body for each vector of a row of `width` floats: byte offset and how many lanes are inside the row.
  // One loop over the whole vectors, then the remainder.
  void forVectors(int64_t width, llvm::function_ref<void(Expr byteOffset, int64_t valid)> body);
  // Writes zeros from element `width` of a row of f32 to the end of its padding.
  void zeroPadding(Expr row, int64_t width);

  Expr wrap(mlir::Value value) { return {value, this}; }
  // Ends the function. emitKernel calls it.
  void finish();

private:
  Expr field(int64_t byteOffset, mlir::Type type);
  Expr listed(Expr list, Expr row);
  llvm::SmallVector<mlir::Value> operands;
  mlir::Value args, first, last;
  Expr tokensValue, positionValue, capacityValue, sourceValue, rowsInValue, rowsOutValue;
  mlir::Block *entry = nullptr;
};

// One function per family; `k` is at the start of the function's body.
mlir::LogicalResult emitEmbed(KernelBuilder &k);       // embed.cpp
mlir::LogicalResult emitNorm(KernelBuilder &k);        // norm.cpp
mlir::LogicalResult emitQuantize(KernelBuilder &k);    // quantize.cpp
mlir::LogicalResult emitLinear(KernelBuilder &k);      // linear.cpp
mlir::LogicalResult emitRotary(KernelBuilder &k);      // rotary.cpp
mlir::LogicalResult emitKvAppend(KernelBuilder &k);    // attention.cpp
mlir::LogicalResult emitAttention(KernelBuilder &k);   // attention.cpp
mlir::LogicalResult emitRoute(KernelBuilder &k);       // route.cpp
mlir::LogicalResult emitGateUp(KernelBuilder &k);      // gate_up.cpp
mlir::LogicalResult emitCombine(KernelBuilder &k);     // combine.cpp
mlir::LogicalResult emitElementwise(KernelBuilder &k); // elementwise.cpp: Add, Mul, Activate, Scale, ScaleRows
mlir::LogicalResult emitColumns(KernelBuilder &k);     // columns.cpp: Slice, Concat
mlir::LogicalResult emitShortConv(KernelBuilder &k);   // short_conv.cpp
mlir::LogicalResult emitDeltaNet(KernelBuilder &k);    // delta_net.cpp
mlir::LogicalResult emitNumber(KernelBuilder &k);      // number.cpp

// Shared by Quantize and GateUp: writes group `group` (32 elements; an i64) of a q8 row (schema/kernel_abi.h).
// `low` and `high` are the group's values as two vectors of 16 f32; `width` is the row's, rounded up to 64.
//   scale = amax / 127, q = round-to-nearest-even(x * (127 / amax)), sum = the sum of q, where amax = max |x|;
//   if amax < 2^-100: scale = 0, q = 0. If any x is NaN or infinite the scale is not finite, so that nothing computed
//   from the group is.
void storeQ8Group(KernelBuilder &k, Expr row, int64_t width, Expr group, Expr low, Expr high);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_EMIT_H_
