#include "compiler/simplify/separate.h"

#include "dialects/onnx/onnx.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace emoe {

namespace {

Value create(OpBuilder &builder, Location loc, StringRef name, ValueRange operands, Type type,
             ArrayRef<NamedAttribute> attributes = {}) {
  OperationState state(loc, name);
  state.addOperands(operands);
  state.addAttributes(attributes);
  state.addTypes(type);
  return builder.create(state)->getResult(0);
}

//===--- norms of sums ---------------------------------------------------------------------------------------------===//

// The parts of the op; what its statistics give, nobody reads.
void separateNorm(Operation *op, Value bias, Value beta) {
  if (!op->getResult(1).use_empty() || !op->getResult(2).use_empty()) {
    return;
  }
  OpBuilder builder(op);
  Location loc = op->getLoc();
  Type type = op->getOperand(0).getType();
  Value skip = op->getOperand(1);
  if (bias) {
    skip = create(builder, loc, onnx::AddOp::getOperationName(), {skip, bias}, skip.getType());
  }
  Value sum = create(builder, loc, onnx::AddOp::getOperationName(), {op->getOperand(0), skip}, type);
  SmallVector<Value> operands{sum, op->getOperand(2)};
  const bool layer = isa<onnx::MsSkipLayerNormalizationOp>(op);
  if (beta) {
    operands.push_back(beta);
  }
  OperationState state(loc, layer ? onnx::LayerNormalizationOp::getOperationName()
                                  : onnx::MsSimplifiedLayerNormalizationOp::getOperationName());
  state.addOperands(operands);
  state.addAttribute("axis", builder.getI64IntegerAttr(-1));
  state.addAttribute("epsilon", op->getAttr("epsilon"));
  Type statistics = UnrankedTensorType::get(builder.getF32Type());
  state.addTypes({op->getResult(0).getType(), statistics});
  if (layer) {
    state.addTypes(statistics);
  }
  Operation *norm = builder.create(state);
  op->getResult(0).replaceAllUsesWith(norm->getResult(0));
  op->getResult(3).replaceAllUsesWith(sum);
  op->erase();
}

//===--- products with weights side by side ------------------------------------------------------------------------===//

// The matrices [inputs, outputs] that lie side by side in `matrix`, as values in front of `op`; none if they do not.
SmallVector<Value> matricesOf(Operation *op, Value matrix) {
  auto transpose = matrix.getDefiningOp<onnx::TransposeOp>();
  auto concat = (transpose ? transpose.getOperand() : matrix).getDefiningOp<onnx::ConcatOp>();
  if (!concat || concat->getNumOperands() < 2) {
    return {};
  }
  if (auto perm = transpose ? transpose->getAttrOfType<DenseI64ArrayAttr>("perm") : DenseI64ArrayAttr();
      transpose && perm && perm.asArrayRef() != ArrayRef<int64_t>{1, 0}) {
    return {};
  }
  const int64_t axis = concat->getAttrOfType<IntegerAttr>("axis").getValue().getSExtValue();
  if ((axis < 0 ? axis + 2 : axis) != (transpose ? 0 : 1)) {
    return {};
  }
  OpBuilder builder(op);
  SmallVector<Value> matrices;
  for (Value part : concat->getOperands()) {
    auto type = dyn_cast<RankedTensorType>(part.getType());
    if (!type || type.getRank() != 2 || !type.hasStaticShape() || !part.getDefiningOp<onnx::InitializerOp>()) {
      return {};
    }
    matrices.push_back(part);
  }
  for (Value &part : matrices) {
    auto type = cast<RankedTensorType>(part.getType());
    if (transpose) {
      part = create(builder, op->getLoc(), onnx::TransposeOp::getOperationName(), part,
                    RankedTensorType::get({type.getDimSize(1), type.getDimSize(0)}, type.getElementType()),
                    builder.getNamedAttr("perm", builder.getDenseI64ArrayAttr({1, 0})));
    }
  }
  return matrices;
}

int64_t widthOf(Value matrix) { return cast<RankedTensorType>(matrix.getType()).getShape().back(); }

// Vectors of the matrices' widths that lie side by side.
SmallVector<Value> vectorsOf(Value vector, ArrayRef<Value> matrices) {
  auto concat = vector.getDefiningOp<onnx::ConcatOp>();
  if (!concat || concat->getNumOperands() != matrices.size()) {
    return {};
  }
  for (auto [part, matrix] : llvm::zip_equal(concat->getOperands(), matrices)) {
    auto type = dyn_cast<RankedTensorType>(part.getType());
    if (!type || type.getShape() != ArrayRef<int64_t>{widthOf(matrix)}) {
      return {};
    }
  }
  return SmallVector<Value>(concat->getOperands());
}

// What takes the products apart takes them as they are.
void forward(Value whole, ArrayRef<Value> parts, ArrayRef<Value> matrices) {
  for (Operation *user : llvm::make_early_inc_range(whole.getUsers())) {
    if (auto split = dyn_cast<onnx::SplitOp>(user); split && split->getNumResults() == parts.size() && whole == split.getInput()) {
      auto type = dyn_cast<RankedTensorType>(whole.getType());
      auto sizes = split.getSplit() ? split.getSplit().getDefiningOp<onnx::ConstantOp>() : onnx::ConstantOp();
      auto values = sizes ? dyn_cast<DenseIntElementsAttr>(sizes.getValue()) : DenseIntElementsAttr();
      const int64_t axis = split.getAxis();
      bool same = values && values.size() == static_cast<int64_t>(parts.size()) &&
                  (axis == -1 || (type && axis == type.getRank() - 1));
      for (size_t i = 0; same && i < parts.size(); ++i) {
        same = values.getValues<APInt>()[i].getSExtValue() == widthOf(matrices[i]);
      }
      if (same) {
        split->replaceAllUsesWith(parts);
        split->erase();
      }
    } else if (auto attention = dyn_cast<onnx::MsGroupQueryAttentionOp>(user);
               attention && attention.getQuery() == whole && !attention.getKey() && !attention.getValue() && parts.size() == 3) {
      const int64_t heads = attention.getNumHeads(), kvHeads = attention.getKvNumHeads();
      if (widthOf(matrices[1]) == widthOf(matrices[2]) && widthOf(matrices[0]) * kvHeads == widthOf(matrices[1]) * heads) {
        attention.getQueryMutable().assign(parts[0]);
        attention.getKeyMutable().assign(parts[1]);
        attention.getValueMutable().assign(parts[2]);
      }
    }
  }
}

void separateProduct(onnx::MatMulOp product) {
  SmallVector<Value> matrices = matricesOf(product, product->getOperand(1));
  if (matrices.empty()) {
    return;
  }
  OpBuilder builder(product);
  Location loc = product.getLoc();
  Type element = getElementTypeOrSelf(product->getResult(0).getType());
  auto partType = [&](Value matrix) -> Type {
    auto whole = dyn_cast<RankedTensorType>(product->getResult(0).getType());
    if (!whole) {
      return UnrankedTensorType::get(element);
    }
    SmallVector<int64_t> shape(whole.getShape());
    shape.back() = widthOf(matrix);
    return RankedTensorType::get(shape, element);
  };
  Operation *last = product;
  SmallVector<Value> parts;
  for (Value matrix : matrices) {
    parts.push_back(create(builder, loc, onnx::MatMulOp::getOperationName(), {product->getOperand(0), matrix}, partType(matrix)));
  }
  // Its only use may be an addition of biases side by side.
  if (auto add = product->hasOneUse() ? dyn_cast<onnx::AddOp>(*product->user_begin()) : onnx::AddOp()) {
    Value bias = add->getOperand(add->getOperand(0) == product->getResult(0) ? 1 : 0);
    if (SmallVector<Value> biases = vectorsOf(bias, matrices); !biases.empty()) {
      builder.setInsertionPoint(add);
      for (auto [part, one] : llvm::zip_equal(parts, biases)) {
        part = create(builder, loc, onnx::AddOp::getOperationName(), {part, one}, part.getType());
      }
      last = add;
    }
  }
  builder.setInsertionPoint(last);
  forward(last->getResult(0), parts, matrices);
  if (!last->getResult(0).use_empty()) {
    Value whole = create(builder, loc, onnx::ConcatOp::getOperationName(), parts, last->getResult(0).getType(),
                         builder.getNamedAttr("axis", builder.getI64IntegerAttr(-1)));
    last->getResult(0).replaceAllUsesWith(whole);
  }
}

} // namespace

void separate(func::FuncOp function) {
  for (Operation &op : llvm::make_early_inc_range(function.getBody().front())) {
    if (auto skip = dyn_cast<onnx::MsSkipSimplifiedLayerNormalizationOp>(op)) {
      separateNorm(skip, skip.getBias(), Value());
    } else if (auto layer = dyn_cast<onnx::MsSkipLayerNormalizationOp>(op)) {
      separateNorm(layer, layer.getBias(), layer.getBeta());
    } else if (auto product = dyn_cast<onnx::MatMulOp>(op)) {
      separateProduct(product);
    }
  }
}

} // namespace emoe
