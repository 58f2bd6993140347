// quantise: give every weight the layout in which the bundle stores it and the kernels read it.
#ifndef EMOE_COMPILER_QUANTISE_QUANTISE_H_
#define EMOE_COMPILER_QUANTISE_QUANTISE_H_

#include <map>

#include "compiler/quantise/width.h"
#include "dialects/emoe/emoe.h"
#include "frontends/weights.h"
#include "mlir/IR/BuiltinOps.h"

namespace emoe {

struct QuantiseOptions {
  unsigned expertBits = 4;  // 32, 16, 8, 4, 3, 2 or kTernaryBits
  unsigned denseBits = 8;   // attention projections, embedding, logits: 32, 16, 8, 4, 3 or 2
  unsigned group = 0;       // columns that share a scale in experts: 32, 64, 128 or 256; 0: defaultGroup of the width
  bool lossless = false;    // the file's own float types; the widths above are ignored
  bool adapted = false;     // experts' widths will be chosen by adapt-bitwidth
};

// The width in which kernels hold the file's own codes of a quantised weight exactly: 8 for 8 bits, for 4 with zero
// points and for float4, 4 for 4 bits without, and for 2; 0 if the file's weight is not quantised in blocks of whole
// groups.
unsigned keptBits(WeightOp weight, const WeightStore &store, unsigned group);

// What a weight is for; its uses say so.
enum class WeightRole {
  Vector,  // norm scales, biases, sinks: float32, as they are
  Router,  // float32: a rounded router chooses other experts
  Dense,
  Expert,
};

// The role of every weight that is used. A weight with two roles (a tied embedding is Dense twice) takes the one
// that needs more precision: Vector, then Router, then Dense.
std::map<mlir::StringAttr, WeightRole, bool (*)(mlir::StringAttr, mlir::StringAttr)>
findWeightRoles(mlir::ModuleOp module);

// The layout in panels of a matrix of `bits` bits, 32 to kTernaryBits, whose file stores `element`; group 0: defaultGroup.
LayoutAttr layoutOfBits(unsigned bits, mlir::Type element, unsigned group = 0);

// The layout of a weight with `role` whose file stores `element`; pure.
LayoutAttr chooseLayout(WeightRole role, mlir::Type element, const QuantiseOptions &options);

// Sets `layout` on every emoe.weight; a weight that nothing uses is an error, since nothing may be dropped silently. With
// a store, weights that the file has quantised keep its codes where the options do not ask for fewer bits; a remark says
// where they do.
mlir::LogicalResult quantise(mlir::ModuleOp module, const QuantiseOptions &options, const WeightStore *store = nullptr);

void registerQuantisePasses();

} // namespace emoe

#endif // EMOE_COMPILER_QUANTISE_QUANTISE_H_
