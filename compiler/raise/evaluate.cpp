#include "compiler/raise/evaluate.h"

#include "llvm/ADT/DenseSet.h"
#include "llvm/Support/Error.h"
#include "mlir/IR/Matchers.h"

using namespace mlir;

namespace emoe {

//===----------------------------------------------------------------------===//
// Symbols
//===----------------------------------------------------------------------===//

Operation *SymbolIndex::find(StringAttr name) {
  if (auto found = symbols.lookup(name)) {
    return found;
  }
  auto note = [&](Operation &op) {
    auto symbol = op.getAttrOfType<StringAttr>(SymbolTable::getSymbolAttrName());
    return symbol && symbols.try_emplace(symbol, &op).second;
  };
  // Perhaps it was added since. Raising adds weights directly before the functions at the end, so nothing has to be looked
  // through again; neither is the length of the list asked for, which takes as long.
  for (Operation &op : llvm::reverse(*module.getBody())) {
    if (!note(op) && !isa<func::FuncOp>(op)) {
      break;
    }
  }
  if (auto found = symbols.lookup(name)) {
    return found;
  }
  for (Operation &op : *module.getBody()) {
    note(op);
  }
  return symbols.lookup(name);
}

//===----------------------------------------------------------------------===//
// Checks that many ops share
//===----------------------------------------------------------------------===//

FailureOr<int64_t> axisOf(Operation *op, int64_t axis, int64_t rank) {
  if (axis < -rank || axis >= rank) {
    return op->emitOpError("axis ") << axis << " is outside rank " << rank;
  }
  return axis < 0 ? axis + rank : axis;
}

FailureOr<Dims> integersOf(Operation *op, const Tensor &tensor) {
  if (tensor.kind == Tensor::Kind::Float) {
    return op->emitOpError("needs integers, not floats, as an operand");
  }
  return Dims(tensor.ints->begin(), tensor.ints->end());
}

LogicalResult checkShape(Operation *op, ArrayRef<int64_t> shape) {
  if (countElements(shape)) {
    return success();
  }
  InFlightDiagnostic error = op->emitOpError("cannot be evaluated: [");
  llvm::interleaveComma(shape, error);
  return error << "] is no shape, or has more than " << kMaxElements << " elements";
}

//===----------------------------------------------------------------------===//
// Weights and constants
//===----------------------------------------------------------------------===//

FailureOr<Tensor> Evaluator::read(Operation *op, const WeightView &view) {
  Dims shape(view.shape.begin(), view.shape.end());
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  Tensor result;
  std::vector<double> values(*countElements(shape));
  if (llvm::Error error = weights.read(view, values.data())) {
    return op->emitOpError("cannot read its weight: ") << llvm::toString(std::move(error));
  }
  Tensor::Kind kind = Tensor::kindOf(view.element);
  return kind == Tensor::Kind::Float ? Tensor::of(shape, std::move(values))
                                     : Tensor::of(shape, std::vector<int64_t>(values.begin(), values.end()), kind);
}

LogicalResult Evaluator::readSlice(Operation *op, const WeightView &view, int64_t index, std::vector<double> &out) {
  WeightView part = view;
  const int64_t bit = index * part.strides[0] * storageBits(part.element);
  if (bit % 8 != 0) {
    return op->emitOpError("gathers a slice that does not begin at a byte");
  }
  part.offset += bit / 8;
  part.shape.erase(part.shape.begin());
  part.strides.erase(part.strides.begin());
  if (failed(checkShape(op, part.shape))) {
    return failure();
  }
  out.resize(*countElements(part.shape));
  if (llvm::Error error = weights.read(part, out.data())) {
    return op->emitOpError("cannot read its weight: ") << llvm::toString(std::move(error));
  }
  return success();
}

FailureOr<Tensor> Evaluator::read(Operation *op, const Tensor &tensor) {
  if (!tensor.view) {
    return tensor;
  }
  if (!tensor.slices) {
    return read(op, *tensor.view);
  }
  if (failed(checkShape(op, tensor.shape))) {
    return failure();
  }
  std::vector<double> slice, values;
  values.reserve(tensor.size());
  for (int64_t index : *tensor.slices) {
    if (failed(readSlice(op, *tensor.view, index, slice))) {
      return failure();
    }
    llvm::append_range(values, slice);
  }
  return tensor.kind == Tensor::Kind::Float
             ? Tensor::of(tensor.shape, std::move(values))
             : Tensor::of(tensor.shape, std::vector<int64_t>(values.begin(), values.end()), tensor.kind);
}

FailureOr<WeightOp> Evaluator::findWeight(Operation *op, FlatSymbolRefAttr name) {
  auto weight = dyn_cast_or_null<WeightOp>(symbols.find(name.getAttr()));
  if (!weight) {
    return op->emitOpError("names ") << name << ", which is no emoe.weight";
  }
  return weight;
}

FailureOr<std::vector<double>> Evaluator::readWeight(Operation *op, FlatSymbolRefAttr name, int64_t first,
                                                     int64_t count) {
  auto weight = findWeight(op, name);
  if (failed(weight)) {
    return failure();
  }
  WeightView view = WeightView::of(weight->getSource(), weight->getShape());
  if (first < 0 || count < 0 || first + count > view.shape[0]) {
    return op->emitOpError("needs rows [") << first << ", " << first + count << ") of " << name << ", which has "
                                           << view.shape[0];
  }
  int64_t firstBit = first * view.strides[0] * storageBits(view.element);
  if (firstBit % 8 != 0) {
    return op->emitOpError("needs row ") << first << " of " << name << ", which does not begin at a byte";
  }
  view.offset += firstBit / 8;
  view.shape[0] = count;
  if (failed(checkShape(op, view.shape))) {
    return failure();
  }
  std::vector<double> values(count * view.shape[1]);
  if (llvm::Error error = weights.read(view, values.data())) {
    return op->emitOpError("cannot read ") << name << ": " << llvm::toString(std::move(error));
  }
  return values;
}

// The value of a dense constant.
static FailureOr<Tensor> tensorOf(Operation *op, ElementsAttr attribute) {
  auto dense = dyn_cast<DenseElementsAttr>(attribute);
  if (!dense) {
    return op->emitOpError("holds a constant that is not dense");
  }
  Dims shape(dense.getType().getShape());
  if (failed(checkShape(op, shape))) {
    return failure();
  }
  Type element = dense.getElementType();
  Tensor::Kind kind = Tensor::kindOf(element);
  if (isa<IntegerType>(element)) {
    std::vector<int64_t> values;
    bool wide = element.isSignlessInteger() && !element.isInteger(1);
    for (APInt value : dense.getValues<APInt>()) {
      values.push_back(wide || element.isSignedInteger() ? value.getSExtValue()
                                                         : static_cast<int64_t>(value.getZExtValue()));
    }
    return Tensor::of(shape, std::move(values), kind);
  }
  if (!isa<mlir::FloatType>(element)) {
    return op->emitOpError("holds a constant of type ") << element << ", which cannot be evaluated";
  }
  std::vector<double> values;
  for (APFloat value : dense.getValues<APFloat>()) {
    bool lost;
    value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    values.push_back(value.convertToDouble());
  }
  return Tensor::of(shape, std::move(values));
}

// The exact value that a 16-bit float constant stands for, if one of `exact` rounds to it.
static double snapped(double value, Type element, ArrayRef<double> exact) {
  auto type = dyn_cast<mlir::FloatType>(element);
  if (!type || type.getWidth() != 16) {
    return value;
  }
  for (double candidate : exact) {
    APFloat rounded(candidate);
    bool lost;
    rounded.convert(type.getFloatSemantics(), APFloat::rmNearestTiesToEven, &lost);
    rounded.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
    if (rounded.convertToDouble() == value) {
      return candidate;
    }
  }
  return value;
}

static LogicalResult evaluateConstant(onnx::ConstantOp op, Evaluator &e) {
  auto tensor = tensorOf(op, op.getValue());
  if (failed(tensor)) {
    return failure();
  }
  if (tensor->kind == Tensor::Kind::Float && tensor->size() == 1) {
    tensor = Tensor::of(tensor->shape,
                        std::vector<double>{snapped(tensor->f()[0], op.getValue().getElementType(), e.exactScalars)});
  }
  e.set(op.getResult(), *tensor);
  return success();
}

static LogicalResult evaluateConstantOfShape(onnx::ConstantOfShapeOp op, Evaluator &e) {
  auto shape = integersOf(op, e.get(op.getInput()));
  if (failed(shape) || failed(checkShape(op, *shape))) {
    return failure();
  }
  Tensor value = Tensor::of({1}, std::vector<double>{0});
  if (auto attribute = op.getValue()) {
    auto given = tensorOf(op, *attribute);
    if (failed(given)) {
      return failure();
    }
    if (given->size() != 1) {
      return op.emitOpError("value must have one element, not ") << given->size();
    }
    value = *given;
  }
  e.set(op.getOutput(), value.take(*shape, std::vector<int64_t>(*countElements(*shape), 0)));
  return success();
}

static LogicalResult evaluateInitializer(onnx::InitializerOp op, Evaluator &e) {
  auto tensor = dyn_cast_or_null<onnx::TensorOp>(e.symbolIndex().find(op.getNameAttr().getAttr()));
  if (!tensor) {
    return op.emitOpError("reads ") << op.getNameAttr() << ", which is no onnx.tensor";
  }
  WeightView view = WeightView::of(tensor.getSource(), cast<RankedTensorType>(tensor.getType()).getShape());
  Tensor value;
  value.kind = Tensor::kindOf(view.element);
  value.shape.assign(view.shape.begin(), view.shape.end());
  value.view = view;
  if (view.shape.size() <= 1 && succeeded(checkShape(op, view.shape))) {
    auto data = e.read(op, view);
    if (failed(data)) {
      return failure();
    }
    value = *data;
    if (value.kind == Tensor::Kind::Float && value.size() == 1) {
      value = Tensor::of(value.shape, std::vector<double>{snapped(value.f()[0], view.element, e.exactScalars)});
    }
  }
  e.set(op.getResult(), value);
  return success();
}

//===----------------------------------------------------------------------===//
// Driver
//===----------------------------------------------------------------------===//

static const EvaluateTable &tableOfOps() {
  static const EvaluateTable table = [] {
    EvaluateTable made;
    addOp<onnx::ConstantOp>(made, evaluateConstant);
    addOp<onnx::ConstantOfShapeOp>(made, evaluateConstantOfShape);
    addOp<onnx::InitializerOp>(made, evaluateInitializer);
    addElementwiseOps(made);
    addShapeOps(made);
    addGatherOps(made);
    addComputeOps(made);
    addContribOps(made);
    addEmoeOps(made);
    addMixtureOps(made);
    addRecurrentOps(made);
    return made;
  }();
  return table;
}

void Evaluator::set(Value value, Tensor tensor) {
  if (single && tensor.kind == Tensor::Kind::Float && tensor.floats) {
    std::vector<double> rounded(tensor.floats->begin(), tensor.floats->end());
    for (double &number : rounded) {
      number = static_cast<float>(number);
    }
    tensor.floats = std::make_shared<const std::vector<double>>(std::move(rounded));
  }
  values[value] = std::move(tensor);
}

// Ops that look at views themselves; every other op finds its operands read.
static bool readsViews(Operation *op) {
  return isa<onnx::GatherOp, onnx::GatherNDOp, onnx::TransposeOp, onnx::IdentityOp, onnx::ShapeOp, onnx::SplitOp,
             onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ReshapeOp>(op);
}

// A matrix that is multiplied with may be as large as a vocabulary's table, and gathered ones and a mixture's experts are
// many; products and mixtures read them in parts.
static bool readsInParts(OpOperand &operand, const Tensor &tensor) {
  if (tensor.kind != Tensor::Kind::Float) {
    return false;
  }
  if (isa<onnx::MsMoEOp, onnx::MsQMoEOp>(operand.getOwner())) {
    return !tensor.slices && tensor.rank() == 3 && operand.getOperandNumber() > 1;
  }
  return tensor.slices ? isa<onnx::MatMulOp>(operand.getOwner()) && tensor.view->shape.size() == 3 && tensor.rank() > 2
                       : isa<onnx::MatMulOp, onnx::GemmOp>(operand.getOwner()) && operand.getOperandNumber() == 1 &&
                             tensor.rank() == 2;
}

// What was computed must be what the type says, or passes would reason from a wrong type.
static LogicalResult checkType(Operation *op, Type type, const Tensor &value) {
  auto shaped = cast<ShapedType>(type);
  bool fits = Tensor::kindOf(shaped.getElementType()) == value.kind;
  if (shaped.hasRank()) {
    fits &= shaped.getRank() == value.rank();
    for (int64_t axis = 0; fits && axis < value.rank(); ++axis) {
      fits = shaped.isDynamicDim(axis) || shaped.getDimSize(axis) == value.shape[axis];
    }
  }
  if (fits) {
    return success();
  }
  InFlightDiagnostic error = op->emitOpError("evaluates to ");
  error << (value.kind == Tensor::Kind::Float ? "floats" : value.kind == Tensor::Kind::Int ? "integers" : "booleans")
        << " of shape [";
  llvm::interleaveComma(value.shape, error);
  return error << "], but its type says " << type;
}

LogicalResult Evaluator::evaluate(Operation *op) {
  auto function = tableOfOps().find(op->getName().getStringRef());
  if (function == tableOfOps().end()) {
    return op->emitOpError("cannot be evaluated: the evaluator lacks it (compiler/raise/evaluate*.cpp)");
  }
  for (Value operand : op->getOperands()) {
    if (!has(operand)) {
      return operand.getDefiningOp()->emitOpError("cannot be evaluated: its result ")
             << cast<OpResult>(operand).getResultNumber() << " is not computed here, but used";
    }
  }
  if (!readsViews(op)) {
    for (OpOperand &operand : op->getOpOperands()) {
      Tensor &tensor = values[operand.get()];
      if (tensor.view && !readsInParts(operand, tensor)) {
        auto data = read(op, tensor);
        if (failed(data)) {
          return failure();
        }
        tensor = *data;
      }
    }
  }
  if (failed(function->second(op, *this))) {
    return failure();
  }
  return success(llvm::all_of(op->getResults(), [&](Value result) {
    return !has(result) || succeeded(checkType(op, result.getType(), values[result]));
  }));
}

FailureOr<std::vector<Operation *>> Evaluator::opsFor(ArrayRef<Value> goals) {
  // Operands before their users, depth first: the block's own order would have to be numbered again after every change.
  llvm::DenseSet<Operation *> seen;
  std::vector<Operation *> ops;
  SmallVector<std::pair<Operation *, unsigned>> path;  // an op and its next operand
  auto visit = [&](Value value) -> LogicalResult {
    if (has(value)) {
      return success();
    }
    if (std::optional<Tensor> given = known ? known(value) : std::nullopt) {
      set(value, *given);
      return success();
    }
    Operation *op = value.getDefiningOp();
    if (!op) {
      return emitError(value.getLoc()) << "argument " << cast<BlockArgument>(value).getArgNumber()
                                       << " of the function is needed, but no value was given for it";
    }
    if (seen.insert(op).second) {
      path.push_back({op, 0});
    }
    return success();
  };
  for (Value goal : goals) {
    if (failed(visit(goal))) {
      return failure();
    }
    while (!path.empty()) {
      auto &[op, next] = path.back();
      if (next == op->getNumOperands()) {
        ops.push_back(op);
        path.pop_back();
      } else if (failed(visit(op->getOperand(next++)))) {
        return failure();
      }
    }
  }
  return ops;
}

LogicalResult Evaluator::run(ArrayRef<Value> goals) {
  auto ops = opsFor(goals);
  if (failed(ops)) {
    return failure();
  }
  // How many of the ops to come read a value; what was set before and the goals are kept.
  llvm::DenseMap<Value, int64_t> readers;
  for (Operation *op : *ops) {
    for (Value operand : op->getOperands()) {
      if (!has(operand)) {
        ++readers[operand];
      }
    }
  }
  for (Value goal : goals) {
    ++readers[goal];
  }
  for (Operation *op : *ops) {
    if (failed(evaluate(op))) {
      return failure();
    }
    for (Value result : op->getResults()) {
      if (observe && has(result)) {
        observe(result, get(result));
      }
      if (!readers.count(result)) {
        values.erase(result);
      }
    }
    for (Value operand : op->getOperands()) {
      auto reader = readers.find(operand);
      if (reader != readers.end() && --reader->second == 0) {
        values.erase(operand);
      }
    }
  }
  for (Value goal : goals) {
    if (!has(goal)) {
      return goal.getDefiningOp()->emitOpError("cannot be evaluated: a result of it is not computed here, but used");
    }
    Tensor &tensor = values[goal];
    if (tensor.view) {
      auto data = read(goal.getDefiningOp(), tensor);
      if (failed(data)) {
        return failure();
      }
      tensor = *data;
    }
  }
  return success();
}

} // namespace emoe
