#include "compiler/simplify/unroll.h"

#include "dialects/onnx/onnx.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/IRMapping.h"

using namespace mlir;

namespace emoe {

namespace {

constexpr int64_t kMostOps = 1 << 20;

Value constant(OpBuilder &builder, Location loc, Attribute element, RankedTensorType type) {
  auto value = DenseElementsAttr::get(type, element);
  return builder.create<onnx::ConstantOp>(loc, type, value);
}

Value number(OpBuilder &builder, Location loc, int64_t value, ArrayRef<int64_t> shape) {
  return constant(builder, loc, builder.getI64IntegerAttr(value), RankedTensorType::get(shape, builder.getI64Type()));
}

// The one integer (or boolean) that a value is known to be: a constant, or an extent that a type says.
std::optional<int64_t> knownInteger(Value value) {
  Operation *op = value ? value.getDefiningOp() : nullptr;
  if (!op) {
    return std::nullopt;
  }
  if (auto constant = dyn_cast<onnx::ConstantOp>(op)) {
    auto elements = dyn_cast<DenseIntElementsAttr>(constant.getValue());
    return elements && elements.isSplat() ? std::optional(elements.getSplatValue<APInt>().getSExtValue()) : std::nullopt;
  }
  if (isa<onnx::IdentityOp, onnx::CastOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ReshapeOp>(op)) {
    return knownInteger(op->getOperand(0));
  }
  if (auto gather = dyn_cast<onnx::GatherOp>(op)) {
    auto shape = gather.getOperand(0).getDefiningOp<onnx::ShapeOp>();
    auto type = shape ? dyn_cast<RankedTensorType>(shape->getOperand(0).getType()) : RankedTensorType();
    auto axis = knownInteger(gather.getOperand(1));
    if (!type || !axis || shape->hasAttr("start") || shape->hasAttr("end")) {
      return std::nullopt;
    }
    const int64_t at = *axis < 0 ? *axis + type.getRank() : *axis;
    return at >= 0 && at < type.getRank() && !type.isDynamicDim(at) ? std::optional(type.getDimSize(at)) : std::nullopt;
  }
  return std::nullopt;
}

//===--- loops -----------------------------------------------------------------------------------------------------===//

Value behindIdentities(Value value) {
  while (auto identity = value.getDefiningOp<onnx::IdentityOp>()) {
    value = identity.getOperand();
  }
  return value;
}

// A copy of the body in front of `op`; what it yields.
SmallVector<Value> copyBody(Operation *op, Block &body, ValueRange arguments) {
  OpBuilder builder(op);
  IRMapping map;
  map.map(body.getArguments(), arguments);
  for (Operation &inner : body.without_terminator()) {
    builder.clone(inner, map);
  }
  return llvm::map_to_vector(body.getTerminator()->getOperands(), [&](Value value) { return map.lookupOrDefault(value); });
}

// [n, ...] of n parts.
Value stacked(Operation *op, ArrayRef<Value> parts, Type type) {
  OpBuilder builder(op);
  Type element = cast<TensorType>(type).getElementType();
  Value axis = number(builder, op->getLoc(), 0, {1});
  SmallVector<Value> rows;
  for (Value part : parts) {
    rows.push_back(builder.create<onnx::UnsqueezeOp>(op->getLoc(), UnrankedTensorType::get(element), part, axis));
  }
  OperationState state(op->getLoc(), onnx::ConcatOp::getOperationName());
  state.addOperands(rows);
  state.addAttribute("axis", builder.getI64IntegerAttr(0));
  state.addTypes(type);
  return builder.create(state)->getResult(0);
}

int64_t opsIn(Block &body) {
  int64_t count = 0;
  body.walk([&](Operation *) { ++count; });
  return count;
}

bool unroll(onnx::LoopOp loop, int64_t &room) {
  Block &body = loop.getBody().front();
  auto times = knownInteger(loop.getM());
  const Value carriesOn = behindIdentities(body.getTerminator()->getOperand(0));
  const bool always = (!loop.getCond() || knownInteger(loop.getCond()).value_or(0) != 0) &&
                      (carriesOn == body.getArgument(1) || knownInteger(carriesOn).value_or(0) != 0);
  if (!times || *times < 1 || !always || *times > room / std::max<int64_t>(opsIn(body), 1)) {
    return false;
  }
  room -= *times * opsIn(body);
  OpBuilder builder(loop);
  SmallVector<Value> carried(loop.getVInitial());
  const size_t states = carried.size(), scans = loop.getNumResults() - states;
  SmallVector<SmallVector<Value>> outputs(scans);
  Value yes = constant(builder, loop.getLoc(), builder.getBoolAttr(true), RankedTensorType::get({}, builder.getI1Type()));
  for (int64_t i = 0; i < *times; ++i) {
    SmallVector<Value> arguments{number(builder, loop.getLoc(), i, {}), yes};
    llvm::append_range(arguments, carried);
    SmallVector<Value> yielded = copyBody(loop, body, arguments);
    carried.assign(yielded.begin() + 1, yielded.begin() + 1 + states);
    for (size_t scan = 0; scan < scans; ++scan) {
      outputs[scan].push_back(yielded[1 + states + scan]);
    }
  }
  for (size_t scan = 0; scan < scans; ++scan) {
    carried.push_back(stacked(loop, outputs[scan], loop->getResult(states + scan).getType()));
  }
  loop->replaceAllUsesWith(carried);
  loop.erase();
  return true;
}

bool unroll(onnx::ScanOp scan, int64_t &room) {
  Block &body = scan.getBody().front();
  const size_t inputs = scan.getNumScanInputs(), operands = scan->getNumOperands();
  auto all = [](std::optional<ArrayRef<int64_t>> list) { return !list || llvm::all_of(*list, [](int64_t n) { return n == 0; }); };
  if (inputs < 1 || inputs > operands || !all(scan.getScanInputDirections()) || !all(scan.getScanOutputAxes()) ||
      !all(scan.getScanOutputDirections())) {
    return false;
  }
  const size_t states = operands - inputs;
  int64_t times = -1;
  SmallVector<int64_t> axes(inputs, 0);
  for (size_t i = 0; i < inputs; ++i) {
    auto type = dyn_cast<RankedTensorType>(scan->getOperand(states + i).getType());
    if (scan.getScanInputAxes() && i < scan.getScanInputAxes()->size()) {
      axes[i] = (*scan.getScanInputAxes())[i];
    }
    axes[i] += type && axes[i] < 0 ? type.getRank() : 0;
    if (axes[i] < 0 || (type && axes[i] >= type.getRank())) {
      return false;
    }
    const int64_t extent = type ? type.getDimSize(axes[i]) : ShapedType::kDynamic; // of one input is enough
    if (ShapedType::isDynamic(extent)) {
      continue;
    }
    if (times >= 0 && times != extent) {
      return false;
    }
    times = extent;
  }
  if (times < 1 || times > room / std::max<int64_t>(opsIn(body), 1)) {
    return false;
  }
  room -= times * opsIn(body);
  OpBuilder builder(scan);
  SmallVector<Value> carried(scan->getOperands().take_front(states));
  SmallVector<SmallVector<Value>> outputs(scan->getNumResults() - states);
  for (int64_t i = 0; i < times; ++i) {
    SmallVector<Value> arguments = carried;
    Value index = number(builder, scan.getLoc(), i, {});
    for (size_t input = 0; input < inputs; ++input) {
      Value whole = scan->getOperand(states + input);
      Type part = UnrankedTensorType::get(getElementTypeOrSelf(whole.getType()));
      if (auto type = dyn_cast<RankedTensorType>(whole.getType())) {
        SmallVector<int64_t> shape(type.getShape());
        shape.erase(shape.begin() + axes[input]);
        part = RankedTensorType::get(shape, type.getElementType());
      }
      OperationState state(scan.getLoc(), onnx::GatherOp::getOperationName());
      state.addOperands({whole, index});
      state.addAttribute("axis", builder.getI64IntegerAttr(axes[input]));
      state.addTypes(part);
      arguments.push_back(builder.create(state)->getResult(0));
    }
    SmallVector<Value> yielded = copyBody(scan, body, arguments);
    carried.assign(yielded.begin(), yielded.begin() + states);
    for (size_t output = 0; output < outputs.size(); ++output) {
      outputs[output].push_back(yielded[states + output]);
    }
  }
  for (size_t output = 0; output < outputs.size(); ++output) {
    carried.push_back(stacked(scan, outputs[output], scan->getResult(states + output).getType()));
  }
  scan->replaceAllUsesWith(carried);
  scan.erase();
  return true;
}

//===--- branches that skip work on no rows ------------------------------------------------------------------------===//

// The NonZero that a value is a rearrangement of, such that it has no elements if that finds nothing; null if there is none.
onnx::NonZeroOp listBehind(Value value) {
  for (int steps = 0; steps < 32; ++steps) {
    Operation *op = value.getDefiningOp();
    if (auto list = dyn_cast_or_null<onnx::NonZeroOp>(op)) {
      return list;
    }
    const bool gathers = isa_and_nonnull<onnx::GatherOp>(op) && knownInteger(op->getOperand(1));
    if (!gathers && !isa_and_nonnull<onnx::TransposeOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ReshapeOp, onnx::SplitOp,
                                     onnx::CastOp, onnx::IdentityOp, onnx::ExpandOp, onnx::FlattenOp, onnx::ConcatOp>(op)) {
      return {};
    }
    value = op->getOperand(0);
  }
  return {};
}

Value behindCasts(Value value) {
  while (Operation *op = value.getDefiningOp()) {
    if (!isa<onnx::CastOp, onnx::IdentityOp>(op)) {
      break;
    }
    value = op->getOperand(0);
  }
  return value;
}

// Booleans, or a part of a one-hot choice of ones.
bool isNeverNegative(Value value) {
  for (int steps = 0; steps < 16; ++steps) {
    if (getElementTypeOrSelf(value.getType()).isInteger(1)) {
      return true;
    }
    Operation *op = value.getDefiningOp();
    if (auto choice = dyn_cast_or_null<onnx::OneHotOp>(op)) {
      auto values = choice->getOperand(2).getDefiningOp<onnx::ConstantOp>();
      auto elements = values ? dyn_cast<DenseIntElementsAttr>(values.getValue()) : DenseIntElementsAttr();
      return elements && llvm::none_of(elements.getValues<APInt>(), [](const APInt &n) { return n.isNegative(); });
    }
    if (!isa_and_nonnull<onnx::GatherOp, onnx::TransposeOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ReshapeOp, onnx::SplitOp,
                         onnx::SliceOp, onnx::CastOp, onnx::IdentityOp>(op)) {
      return false;
    }
    value = op->getOperand(0);
  }
  return false;
}

// What the list is made of if `count` is how long it is: the mask that NonZero looks at. A count of a mask is its sum or its
// largest element.
Value maskCounted(Value count) {
  for (int steps = 0; steps < 16; ++steps) {
    Operation *op = count.getDefiningOp();
    if (isa_and_nonnull<onnx::CastOp, onnx::IdentityOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::ReshapeOp>(op)) {
      count = op->getOperand(0);
    } else if (auto gather = dyn_cast_or_null<onnx::GatherOp>(op); gather && knownInteger(gather.getOperand(1))) {
      count = gather.getOperand(0);
    } else if (isa_and_nonnull<onnx::SizeOp, onnx::ShapeOp>(op)) {
      auto list = listBehind(op->getOperand(0));
      return list ? behindCasts(list.getOperand()) : Value();
    } else if (isa_and_nonnull<onnx::ReduceSumOp, onnx::ReduceMaxOp>(op)) {
      Value mask = behindCasts(op->getOperand(0));
      return isNeverNegative(mask) ? mask : Value();
    } else {
      return {};
    }
  }
  return {};
}

// The mask that has something where the condition holds.
Value maskOf(Value condition) {
  Operation *op = condition.getDefiningOp();
  if (!op) {
    return {};
  }
  if (isa<onnx::IdentityOp>(op)) {
    return maskOf(op->getOperand(0));
  }
  if (isa<onnx::CastOp>(op)) {
    return maskCounted(op->getOperand(0));
  }
  if (isa<onnx::GreaterOp>(op) && knownInteger(op->getOperand(1)) == 0) {
    return maskCounted(op->getOperand(0));
  }
  if (isa<onnx::LessOp>(op) && knownInteger(op->getOperand(0)) == 0) {
    return maskCounted(op->getOperand(1));
  }
  if (isa<onnx::GreaterOrEqualOp>(op) && knownInteger(op->getOperand(1)) == 1) {
    return maskCounted(op->getOperand(0));
  }
  if (auto equal = isa<onnx::NotOp>(op) ? op->getOperand(0).getDefiningOp<onnx::EqualOp>() : onnx::EqualOp()) {
    for (int side : {0, 1}) {
      if (knownInteger(equal->getOperand(side)) == 0) {
        return maskCounted(equal->getOperand(1 - side));
      }
    }
  }
  return {};
}

// Is `value` the same as `without` where the mask has nothing: `without` with rows scattered at the mask's places?
bool skipsNothing(Value value, Value without, Value mask) {
  value = behindIdentities(value);
  for (int steps = 0; steps < 16 && value != without; ++steps) {
    Operation *op = value.getDefiningOp();
    if (!isa_and_nonnull<onnx::ScatterNDOp, onnx::ScatterElementsOp>(op)) {
      return false;
    }
    auto list = listBehind(op->getOperand(1));
    if (!list || behindCasts(list.getOperand()) != mask) {
      return false;
    }
    value = behindIdentities(op->getOperand(0));
  }
  return value == without;
}

bool takeBranch(onnx::IfOp op) {
  Block &works = op.getThenBranch().front(), &skips = op.getElseBranch().front();
  Value mask = maskOf(op.getCond());
  if (!mask) {
    return false;
  }
  for (auto [value, without] : llvm::zip_equal(works.getTerminator()->getOperands(), skips.getTerminator()->getOperands())) {
    Value kept = behindIdentities(without);
    if (kept.getParentBlock() == &skips || !skipsNothing(value, kept, mask)) {
      return false;
    }
  }
  SmallVector<Value> results(works.getTerminator()->getOperands());
  op->getBlock()->getOperations().splice(op->getIterator(), works.getOperations(), works.begin(),
                                         works.getTerminator()->getIterator());
  op->replaceAllUsesWith(results);
  op.erase();
  return true;
}

} // namespace

void unrollLoops(func::FuncOp function) {
  int64_t room = kMostOps;
  for (bool changed = true; changed;) {
    changed = false;
    // Outer ones first: what is inside is copied with constants for what the loop counts.
    SmallVector<Operation *> ops;
    for (Operation &op : function.getBody().front()) {
      if (isa<onnx::LoopOp, onnx::ScanOp, onnx::IfOp>(op)) {
        ops.push_back(&op);
      }
    }
    for (Operation *op : ops) {
      if (auto loop = dyn_cast<onnx::LoopOp>(op)) {
        changed |= unroll(loop, room);
      } else if (auto scan = dyn_cast<onnx::ScanOp>(op)) {
        changed |= unroll(scan, room);
      } else {
        changed |= takeBranch(cast<onnx::IfOp>(op));
      }
    }
  }
}

} // namespace emoe
