#include "compiler/simplify/dequantise.h"

#include "dialects/onnx/onnx.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace emoe {
namespace {

class Dequantiser {
public:
  Dequantiser(ModuleOp module, WeightStore &store, StringRef device)
      : module(module), store(store), device(device), symbols(module), builder(module.getContext()) {}

  LogicalResult run() {
    for (auto function : module.getOps<func::FuncOp>()) {
      SmallVector<Operation *> ops;
      function.walk([&](Operation *op) { ops.push_back(op); });
      for (Operation *op : ops) {
        builder.setInsertionPoint(op);
        LogicalResult result = success();
        if (auto product = dyn_cast<onnx::MsMatMulNBitsOp>(op)) {
          result = replaceProduct(product);
        } else if (auto values = dyn_cast<onnx::DequantizeLinearOp>(op)) {
          result = replaceValues(values);
        } else if (auto gather = dyn_cast<onnx::MsGatherBlockQuantizedOp>(op)) {
          result = replaceGather(gather);
        } else if (auto mixture = dyn_cast<onnx::MsQMoEOp>(op)) {
          result = replaceWeights(mixture);
        }
        if (failed(result)) {
          return failure();
        }
      }
    }
    return success();
  }

private:
  // Where the elements of a constant lie, row-major; null if the value is no constant. Elements of a constant that the
  // IR holds are given to the store.
  SourceAttr sourceOf(Value value) {
    while (auto reshape = value ? value.getDefiningOp<onnx::ReshapeOp>() : onnx::ReshapeOp()) {
      value = reshape.getData();
    }
    if (auto initializer = value ? value.getDefiningOp<onnx::InitializerOp>() : onnx::InitializerOp()) {
      auto tensor = symbols.lookup<onnx::TensorOp>(initializer.getName());
      return tensor ? tensor.getSource() : SourceAttr();
    }
    auto constant = value ? value.getDefiningOp<onnx::ConstantOp>() : onnx::ConstantOp();
    auto integers = constant ? dyn_cast<DenseIntElementsAttr>(constant.getValue()) : DenseIntElementsAttr();
    if (!integers) {
      return {};
    }
    std::vector<uint8_t> bytes;
    bool isUnsigned = false, wide = false;
    if (auto type = dyn_cast<IntegerType>(integers.getElementType())) {
      isUnsigned = type.isUnsigned();
      wide = type.getWidth() > 8;
    }
    if (wide) {
      return {};
    }
    for (const APInt &element : integers.getValues<APInt>()) {
      bytes.push_back(static_cast<uint8_t>(isUnsigned ? element.getZExtValue() : element.getSExtValue()));
    }
    std::string name = "<decoded:codes " + std::to_string(names++) + ">";
    store.addDecoded(name, std::move(bytes));
    Type byte = IntegerType::get(module.getContext(), 8, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
    return SourceAttr::get(module.getContext(), builder.getStringAttr(name), 0, byte, {1});
  }

  // The same elements as codes of `bits` bits, packed low bits first in bytes.
  SourceAttr packed(SourceAttr source, int64_t bits) {
    auto type = source ? dyn_cast<IntegerType>(source.getElement()) : IntegerType();
    if (!type || type.getWidth() != 8) {
      return {};
    }
    Type code = IntegerType::get(module.getContext(), bits, IntegerType::Unsigned);
    return SourceAttr::get(module.getContext(), source.getFile(), source.getOffset(), code, {1});
  }

  static ArrayRef<int64_t> shapeOf(Value value) {
    auto type = value ? dyn_cast<RankedTensorType>(value.getType()) : RankedTensorType();
    return type && type.hasStaticShape() ? type.getShape() : ArrayRef<int64_t>();
  }

  static int64_t volumeOf(ArrayRef<int64_t> shape) {
    int64_t volume = shape.empty() ? 0 : 1;
    for (int64_t extent : shape) {
      volume *= extent;
    }
    return volume;
  }

  // A value of `shape` that stands for the matrix.
  Value named(Operation *op, const QuantisedMatrix &matrix, ArrayRef<int64_t> shape) {
    std::string name = "quantised" + std::to_string(names++);
    std::string file = "<quantised:" + name + ">";
    if (absl::Status status = store.addQuantised(file, matrix); !status.ok()) {
      op->emitError() << "its quantised weights cannot be read: " << std::string(status.message());
      return {};
    }
    SmallVector<int64_t> strides(shape.size(), 1);
    for (size_t axis = shape.size(); axis-- > 1;) {
      strides[axis - 1] = strides[axis] * shape[axis];
    }
    auto type = RankedTensorType::get(shape, builder.getF32Type());
    auto source = SourceAttr::get(module.getContext(), builder.getStringAttr(file), 0, builder.getF32Type(), strides);
    {
      OpBuilder::InsertionGuard guard(builder);
      builder.setInsertionPoint(op->getParentOfType<func::FuncOp>());
      symbols.insert(builder.create<onnx::TensorOp>(op->getLoc(), name, type, source));
    }
    return builder.create<onnx::InitializerOp>(op->getLoc(), type, name);
  }

  template <typename OpT> Value make(Location loc, Type type, ValueRange operands, ArrayRef<NamedAttribute> attrs = {}) {
    OperationState state(loc, OpT::getOperationName());
    state.addOperands(operands);
    state.addTypes(type);
    state.addAttributes(attrs);
    return builder.create(state)->getResult(0);
  }

  LogicalResult replaceProduct(onnx::MsMatMulNBitsOp op) {
    const int64_t rows = op.getN(), columns = op.getK(), bits = op.getBits(), block = op.getBlockSize();
    if ((bits != 2 && bits != 4 && bits != 8) || block < 16 || rows < 1 || columns < 1) {
      return op.emitError() << "weights of " << bits << " bits in blocks of " << block << " are not known";
    }
    if (op.getGIdx() || op.getWeightPrepacked()) {
      return op.emitError("weights in another order (g_idx) or packed for one device (weight_prepacked) are not "
                          "supported; export without these options");
    }
    const int64_t blocks = (columns + block - 1) / block, perByte = 8 / bits;
    QuantisedMatrix matrix;
    matrix.rows = rows, matrix.columns = columns;
    matrix.codes = packed(sourceOf(op.getB()), bits), matrix.codeRow = blocks * block;
    matrix.scales = sourceOf(op.getScales()), matrix.scaleRow = blocks;
    matrix.columnBlock = block;
    matrix.zero = static_cast<float>(1 << (bits - 1));
    if (op.getZeroPoints()) {
      SourceAttr zeros = sourceOf(op.getZeroPoints());
      bool floats = zeros && isa<mlir::FloatType>(zeros.getElement());
      matrix.zeros = floats ? zeros : packed(zeros, bits);
      matrix.zeroRow = floats ? blocks : (blocks + perByte - 1) / perByte * perByte;
    }
    if (!matrix.codes || !matrix.scales || (op.getZeroPoints() && !matrix.zeros)) {
      return success();
    }
    Value weights = named(op, matrix, {rows, columns});
    if (!weights) {
      return failure();
    }
    auto turned = RankedTensorType::get({columns, rows}, builder.getF32Type());
    Value transposed = make<onnx::TransposeOp>(
        op.getLoc(), turned, weights, builder.getNamedAttr("perm", builder.getDenseI64ArrayAttr({1, 0})));
    Value result = make<onnx::MatMulOp>(op.getLoc(), op.getY().getType(), {op.getA(), transposed});
    if (op.getBias()) {
      result = make<onnx::AddOp>(op.getLoc(), op.getY().getType(), {result, op.getBias()});
    }
    op.getY().replaceAllUsesWith(result);
    op.erase();
    return success();
  }

  LogicalResult replaceValues(onnx::DequantizeLinearOp op) {
    ArrayRef<int64_t> shape = shapeOf(op.getX());
    const int64_t rank = shape.size(), block = op.getBlockSize();
    const int64_t axis = op.getAxis() < 0 ? op.getAxis() + rank : op.getAxis();
    QuantisedMatrix matrix;
    matrix.codes = sourceOf(op.getX());
    matrix.scales = sourceOf(op.getXScale());
    if (op.getXZeroPoint()) {
      matrix.zeros = sourceOf(op.getXZeroPoint());
    }
    if (rank < 1 || axis < 0 || axis >= rank || !matrix.codes || !matrix.scales ||
        (op.getXZeroPoint() && !matrix.zeros)) {
      return success();
    }
    matrix.columns = shape.back();
    matrix.rows = volumeOf(shape) / std::max<int64_t>(matrix.columns, 1);
    matrix.codeRow = matrix.columns;
    const bool last = axis == rank - 1, row = rank >= 2 && axis == rank - 2;
    if (volumeOf(shapeOf(op.getXScale())) == 1 || shapeOf(op.getXScale()).empty()) {
      matrix.rowBlock = matrix.rows, matrix.columnBlock = matrix.columns;
    } else if (block > 0 && last) {
      matrix.columnBlock = block, matrix.scaleRow = (matrix.columns + block - 1) / block;
    } else if (block > 0 && row && (rank == 2 || shape[axis] % block == 0)) {
      matrix.rowBlock = block, matrix.scaleRow = matrix.columns;
    } else if (block == 0 && last) {
      matrix.rowBlock = matrix.rows;
    } else if (block == 0 && row && rank == 2) {
      matrix.columnBlock = matrix.columns, matrix.scaleRow = 1;
    } else {
      return op.emitError() << "dequantises along axis " << axis << " of " << rank << ", which is not supported";
    }
    matrix.zeroRow = matrix.scaleRow;
    Value weights = named(op, matrix, shape);
    if (!weights) {
      return failure();
    }
    op.getY().replaceAllUsesWith(weights);
    op.erase();
    return success();
  }

  LogicalResult replaceGather(onnx::MsGatherBlockQuantizedOp op) {
    ArrayRef<int64_t> shape = shapeOf(op.getData());
    SourceAttr codes = sourceOf(op.getData());
    if (shape.size() != 2 || !codes || op.getGatherAxis() != 0 || (op.getQuantizeAxis() != 1 && op.getQuantizeAxis() != -1)) {
      return op.emitError("a quantised gather must look rows of a matrix up, quantised along its columns");
    }
    auto type = cast<IntegerType>(codes.getElement());
    const bool bytes = type.getWidth() == 8;
    const int64_t bits = bytes ? op.getBits() : 4, perByte = 8 / bits, block = op.getBlockSize();
    QuantisedMatrix matrix;
    matrix.rows = shape[0], matrix.columns = bytes ? shape[1] * perByte : shape[1];
    matrix.codeRow = matrix.columns;
    matrix.codes = bytes && bits < 8 ? packed(codes, bits) : codes;
    matrix.scales = sourceOf(op.getScales());
    matrix.columnBlock = block, matrix.scaleRow = (matrix.columns + block - 1) / block;
    matrix.zero = bytes ? static_cast<float>(1 << (bits - 1)) : 0;
    if (op.getZeroPoints()) {
      SourceAttr zeros = sourceOf(op.getZeroPoints());
      matrix.zeros = bytes && bits < 8 ? packed(zeros, bits) : zeros;
      matrix.zeroRow = bytes ? (matrix.scaleRow + perByte - 1) / perByte * perByte : matrix.scaleRow;
    }
    if (!matrix.scales || (op.getZeroPoints() && !matrix.zeros)) {
      return success();
    }
    Value table = named(op, matrix, {matrix.rows, matrix.columns});
    if (!table) {
      return failure();
    }
    Value result = make<onnx::GatherOp>(op.getLoc(), op->getResult(0).getType(), {table, op.getIndices()},
                                        builder.getNamedAttr("axis", builder.getI64IntegerAttr(0)));
    op->getResult(0).replaceAllUsesWith(result);
    op.erase();
    return success();
  }

  LogicalResult replaceWeights(onnx::MsQMoEOp op) {
    const int64_t bits = op.getExpertWeightBits();
    if (op.getQuantType() != "int" || (bits != 2 && bits != 4 && bits != 8)) {
      return op.emitError() << "experts in the form \"" << op.getQuantType() << "\" with " << bits
                            << " bits are not supported; export them as int with 2, 4 or 8 bits";
    }
    if (op.getWeightsPrepacked() == 1 || (op.getWeightsPrepacked() == -1 && device == "cuda")) {
      return op.emitError("the experts' bytes are permuted for CUDA kernels (weights_prepacked), in an order that the "
                          "file does not state; export for the CPU, or with weights_prepacked=0");
    }
    const int64_t perByte = 8 / bits;
    // A range of operands knows where it starts and how many the others are: each is asked for when it is needed.
    using Range = MutableOperandRange (onnx::MsQMoEOp::*)();
    auto replace = [&](Value weights, Range scales, Range zeros) -> LogicalResult {
      if (!weights) {
        return success();
      }
      OperandRange givenScales = (op.*scales)(), givenZeros = (op.*zeros)();
      ArrayRef<int64_t> shape = shapeOf(weights);
      if (shape.size() != 3 || givenScales.empty()) {
        return op.emitError("its experts' weights are not [experts, rows, bytes] with scales");
      }
      QuantisedMatrix matrix;
      matrix.rows = shape[0] * shape[1], matrix.columns = shape[2] * perByte;
      matrix.codeRow = matrix.columns;
      matrix.codes = bits < 8 ? packed(sourceOf(weights), bits) : sourceOf(weights);
      matrix.scales = sourceOf(givenScales[0]);
      const int64_t block = op.getBlockSize().value_or(0) > 0 ? *op.getBlockSize() : matrix.columns;
      matrix.columnBlock = block, matrix.scaleRow = (matrix.columns + block - 1) / block;
      matrix.zero = static_cast<float>(1 << (bits - 1));
      if (!givenZeros.empty()) {
        SourceAttr source = sourceOf(givenZeros[0]);
        matrix.zeros = bits < 8 ? packed(source, bits) : source;
        // Zero points of blocks are packed row by row, those of whole rows across the rows.
        const bool ofBlocks = shapeOf(givenZeros[0]).size() == 3;
        matrix.zeroRow = ofBlocks ? (matrix.scaleRow + perByte - 1) / perByte * perByte : 1;
      }
      if (!matrix.codes || !matrix.scales || (!givenZeros.empty() && !matrix.zeros)) {
        return op.emitError("its experts' weights are computed by the graph");
      }
      Value whole = named(op, matrix, {shape[0], shape[1], matrix.columns});
      if (!whole) {
        return failure();
      }
      (op.*zeros)().clear();
      (op.*scales)().clear();
      op->replaceUsesOfWith(weights, whole);
      return success();
    };
    using Op = onnx::MsQMoEOp;
    return success(
        succeeded(replace(op.getFc1ExpertsWeights(), &Op::getFc1ScalesMutable, &Op::getFc1ZeroPointsMutable)) &&
        succeeded(replace(op.getFc2ExpertsWeights(), &Op::getFc2ScalesMutable, &Op::getFc2ZeroPointsMutable)) &&
        succeeded(replace(op.getFc3ExpertsWeights(), &Op::getFc3ScalesMutable, &Op::getFc3ZeroPointsMutable)));
  }

  ModuleOp module;
  WeightStore &store;
  StringRef device;
  SymbolTable symbols;
  OpBuilder builder;
  size_t names = 0;
};

} // namespace

LogicalResult nameQuantised(ModuleOp module, WeightStore &store, StringRef device) {
  return Dequantiser(module, store, device).run();
}

} // namespace emoe
