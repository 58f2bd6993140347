// The onnx dialect: registration and verifiers. What ODS constraints already check is not repeated here.
#include "dialects/onnx/onnx.h"

#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/SmallVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace emoe;
using namespace emoe::onnx;

#include "dialects/onnx/dialect.cpp.inc"
#include "dialects/onnx/interfaces.cpp.inc"
#define GET_TYPEDEF_CLASSES
#include "dialects/onnx/types.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/onnx/ops.cpp.inc"

void OnnxDialect::initialize() {
  addTypes<
#define GET_TYPEDEF_LIST
#include "dialects/onnx/types.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/onnx/ops.cpp.inc"
      >();
}

//===----------------------------------------------------------------------===//
// Tensors of the file
//===----------------------------------------------------------------------===//

LogicalResult TensorOp::verify() {
  auto type = cast<RankedTensorType>(getType());
  if (getSource().getStrides().size() != static_cast<size_t>(type.getRank())) {
    return emitOpError("source has ") << getSource().getStrides().size() << " strides for a tensor of rank "
                                      << type.getRank();
  }
  if (getSource().getElement() != type.getElementType()) {
    return emitOpError("source holds ") << getSource().getElement() << ", the tensor " << type.getElementType();
  }
  return success();
}

LogicalResult InitializerOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto tensor = symbols.lookupNearestSymbolFrom<TensorOp>(*this, getNameAttr());
  if (!tensor) {
    return emitOpError("reads ") << getNameAttr() << ", which is no onnx.tensor";
  }
  if (tensor.getType() != getResult().getType()) {
    return emitOpError("has type ") << getResult().getType() << " but " << getNameAttr() << " has "
                                    << tensor.getType();
  }
  return success();
}

OpFoldResult ConstantOp::fold(FoldAdaptor) { return getValue(); }

//===----------------------------------------------------------------------===//
// Bridges
//===----------------------------------------------------------------------===//

// [T, D], [1, T, D] or [1, heads, T, d] against rows [T, D].
static LogicalResult verifyBridge(Operation *op, Type tensor, Type rows) {
  auto shaped = dyn_cast<RankedTensorType>(tensor);
  if (!shaped) {
    return success();
  }
  auto fits = [](int64_t a, int64_t b) { return ShapedType::isDynamic(a) || ShapedType::isDynamic(b) || a == b; };
  ArrayRef<int64_t> shape = shaped.getShape(), row = cast<RankedTensorType>(rows).getShape();
  if (shape.size() < 2 || shape.size() > 4) {
    return op->emitOpError("bridges tensors of rank 2, 3 or 4, not ") << shaped.getRank();
  }
  if (shape.size() > 2 && !fits(shape[0], 1)) {
    return op->emitOpError("needs a batch of 1, not ") << shape[0];
  }
  int64_t tokens = shape[shape.size() - 2], width = shape.back();
  if (shape.size() == 4) {
    width = ShapedType::isDynamic(width) || ShapedType::isDynamic(shape[1]) ? ShapedType::kDynamic : width * shape[1];
  }
  if (!fits(tokens, row[0]) || !fits(width, row[1])) {
    return op->emitOpError("cannot bridge ") << tensor << " and " << rows;
  }
  return success();
}

LogicalResult ToRowsOp::verify() { return verifyBridge(*this, getInput().getType(), getRows().getType()); }
LogicalResult FromRowsOp::verify() { return verifyBridge(*this, getOutput().getType(), getRows().getType()); }

//===----------------------------------------------------------------------===//
// Attributes and counts
//===----------------------------------------------------------------------===//

static LogicalResult verifyOneOf(Operation *op, StringRef name, StringRef value, ArrayRef<StringRef> allowed) {
  if (llvm::is_contained(allowed, value)) {
    return success();
  }
  InFlightDiagnostic diagnostic = op->emitOpError(name) << " (\"" << value << "\") must be ";
  llvm::interleave(allowed, [&](StringRef item) { diagnostic << '"' << item << '"'; }, [&] { diagnostic << " or "; });
  return diagnostic;
}

static LogicalResult verifySomeInputs(Operation *op) {
  return op->getNumOperands() ? success() : op->emitOpError("needs at least one input");
}

LogicalResult MaxOp::verify() { return verifySomeInputs(*this); }
LogicalResult MinOp::verify() { return verifySomeInputs(*this); }
LogicalResult SumOp::verify() { return verifySomeInputs(*this); }
LogicalResult MeanOp::verify() { return verifySomeInputs(*this); }
LogicalResult EinsumOp::verify() { return verifySomeInputs(*this); }

LogicalResult ConcatOp::verify() {
  if (failed(verifySomeInputs(*this))) {
    return failure();
  }
  for (Value input : getInputs()) {
    auto type = dyn_cast<RankedTensorType>(input.getType());
    if (type && (getAxis() < -type.getRank() || getAxis() >= type.getRank())) {
      return emitOpError("axis (") << getAxis() << ") is outside rank " << type.getRank();
    }
  }
  return success();
}

LogicalResult SplitOp::verify() {
  if (getSplit() && getNumOutputs()) {
    return emitOpError("has both split and num_outputs");
  }
  if (getNumOutputs() && *getNumOutputs() != static_cast<int64_t>(getOutputs().size())) {
    return emitOpError("num_outputs (") << *getNumOutputs() << ") differs from the number of results ("
                                        << getOutputs().size() << ")";
  }
  return success();
}

LogicalResult TransposeOp::verify() {
  if (!getPerm()) {
    return success();
  }
  ArrayRef<int64_t> perm = *getPerm();
  SmallVector<bool> seen(perm.size());
  for (int64_t axis : perm) {
    if (axis < 0 || axis >= static_cast<int64_t>(perm.size()) || seen[axis]) {
      return emitOpError("perm is not a permutation");
    }
    seen[axis] = true;
  }
  auto type = dyn_cast<RankedTensorType>(getData().getType());
  if (type && type.getRank() != static_cast<int64_t>(perm.size())) {
    return emitOpError("perm has ") << perm.size() << " axes for an input of rank " << type.getRank();
  }
  return success();
}

LogicalResult CastOp::verify() {
  Type element = cast<TensorType>(getOutput().getType()).getElementType();
  return element == getTo() ? success() : emitOpError("casts to ") << getTo() << " but gives " << element;
}

LogicalResult GeluOp::verify() { return verifyOneOf(*this, "approximate", getApproximate(), {"none", "tanh"}); }
LogicalResult BitShiftOp::verify() { return verifyOneOf(*this, "direction", getDirection(), {"LEFT", "RIGHT"}); }

static constexpr StringRef kReductions[] = {"none", "add", "mul", "max", "min"};
LogicalResult ScatterElementsOp::verify() { return verifyOneOf(*this, "reduction", getReduction(), kReductions); }
LogicalResult ScatterNDOp::verify() { return verifyOneOf(*this, "reduction", getReduction(), kReductions); }

//===----------------------------------------------------------------------===//
// Subgraphs
//===----------------------------------------------------------------------===//

// The region's yield has `count` operands and its block `arguments` arguments.
static LogicalResult verifyBody(Operation *op, Region &region, size_t arguments, size_t count) {
  if (region.getNumArguments() != arguments) {
    return op->emitOpError("a subgraph takes ") << region.getNumArguments() << " inputs, not " << arguments;
  }
  size_t yielded = region.front().getTerminator()->getNumOperands();
  return yielded == count ? success()
                          : op->emitOpError("a subgraph gives ") << yielded << " outputs, not " << count;
}

LogicalResult IfOp::verify() {
  if (failed(verifyBody(*this, getThenBranch(), 0, getNumResults()))) {
    return failure();
  }
  return verifyBody(*this, getElseBranch(), 0, getNumResults());
}

LogicalResult LoopOp::verify() {
  size_t carried = getVInitial().size();
  if (getNumResults() < carried) {
    return emitOpError("carries ") << carried << " values but has only " << getNumResults() << " results";
  }
  return verifyBody(*this, getBody(), carried + 2, getNumResults() + 1);
}

LogicalResult ScanOp::verify() {
  int64_t inputs = getInitialStateAndScanInputs().size();
  if (getNumScanInputs() < 1 || getNumScanInputs() > inputs) {
    return emitOpError("num_scan_inputs (") << getNumScanInputs() << ") must be in 1 .. " << inputs;
  }
  return verifyBody(*this, getBody(), inputs, getNumResults());
}
