#include "compiler/raise/scenario.h"

using namespace mlir;

namespace emoe {

StringRef fileName(func::FuncOp function, unsigned index, bool isResult) {
  auto name = isResult ? function.getResultAttrOfType<StringAttr>(index, "onnx.name")
                       : function.getArgAttrOfType<StringAttr>(index, "onnx.name");
  return name ? name.getValue() : StringRef();
}

static bool isCacheName(StringRef name) { return name.contains("past") && !name.contains("length"); }

bool hasCache(func::FuncOp function) {
  for (unsigned i = 0; i < function.getNumArguments(); ++i) {
    if (isCacheName(fileName(function, i))) {
      return true;
    }
  }
  return false;
}

Tensor randomFloats(Dims shape, uint64_t seed) {
  std::vector<double> values(*countElements(shape));
  uint64_t state = mixBits(seed);
  for (double &value : values) {
    value = unitOf(state = mixBits(state));
  }
  return Tensor::of(std::move(shape), std::move(values));
}

std::optional<Dims> shapeIn(Type type, const Scenario &scenario) {
  auto ranked = dyn_cast<RankedTensorType>(type);
  if (!ranked) {
    return std::nullopt;
  }
  Dims shape;
  bool seen = false;
  for (int64_t extent : ranked.getShape()) {
    if (ShapedType::isDynamic(extent)) {
      extent = seen ? scenario.past + scenario.tokens : scenario.tokens;
      seen = true;
    }
    shape.push_back(extent);
  }
  return countElements(shape) ? std::optional(shape) : std::nullopt;
}

std::vector<int64_t> randomIds(const Scenario &scenario, int64_t vocabulary) {
  std::vector<int64_t> ids;
  for (int64_t t = 0; t < scenario.tokens; ++t) {
    ids.push_back(static_cast<int64_t>(mixBits(scenario.seed * 1000 + t) % std::max<int64_t>(vocabulary, 1)));
  }
  return ids;
}

int64_t vocabularyOf(func::FuncOp function) {
  int64_t vocabulary = 0;
  // Ids may pass through a change of shape or of integer type first. Positions look up in tables of their own.
  llvm::SmallVector<Value> open;
  for (BlockArgument argument : function.getArguments()) {
    StringRef name = fileName(function, argument.getArgNumber());
    if (!name.contains("mask") && !name.contains("position")) {
      open.push_back(argument);
    }
  }
  for (size_t n = 0; n < open.size() && n < 64; ++n) {
    if (!isa<IntegerType>(getElementTypeOrSelf(open[n].getType()))) {
      continue;
    }
    for (Operation *user : open[n].getUsers()) {
      if (auto gather = dyn_cast<onnx::GatherOp>(user)) {
        auto table = dyn_cast<RankedTensorType>(gather.getData().getType());
        if (table && gather.getIndices() == open[n] && table.getRank() == 2 && !table.isDynamicDim(0)) {
          vocabulary = std::max(vocabulary, table.getDimSize(0));
        }
      } else if (auto embedding = dyn_cast<EmbeddingOp>(user)) {
        auto weight = SymbolTable::lookupNearestSymbolFrom<WeightOp>(user, embedding.getWeightAttr());
        vocabulary = weight ? std::max(vocabulary, weight.getShape()[0]) : vocabulary;
      } else if (isa<onnx::ReshapeOp, onnx::CastOp, onnx::SqueezeOp, onnx::UnsqueezeOp, onnx::FlattenOp>(user)) {
        open.push_back(user->getResult(0));
      }
    }
  }
  return vocabulary;
}

FailureOr<std::vector<Tensor>> argumentsFor(func::FuncOp function, const Scenario &scenario, ArrayRef<int64_t> ids) {
  int64_t tokens = scenario.tokens, past = scenario.past, total = past + tokens;
  std::vector<Tensor> result;
  for (BlockArgument argument : function.getArguments()) {
    unsigned index = argument.getArgNumber();
    StringRef name = fileName(function, index);
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    auto unknown = [&]() -> LogicalResult {
      return function.emitError("cannot evaluate: argument ")
             << index << " ('" << name << "', " << argument.getType() << ") is no input that the evaluator knows";
    };
    if (!type) {
      return unknown();
    }
    auto shaped = [&](int64_t dynamic) {
      Dims shape(type.getShape());
      std::replace(shape.begin(), shape.end(), ShapedType::kDynamic, dynamic);
      return shape;
    };
    if (isa<mlir::FloatType>(type.getElementType())) {
      // The encoder's result [1, S, width], as long as the text.
      if (type.getRank() == 3 && name.contains("encoder") && !type.isDynamicDim(2)) {
        result.push_back(randomFloats({1, tokens, type.getDimSize(2)}, scenario.seed * 1000 + index));
        continue;
      }
      if (!isCacheName(name) || !type.hasRank()) {
        return unknown();
      }
      // [1, heads, P, d]; the batch may be symbolic too.
      Dims shape = shaped(past);
      if (type.isDynamicDim(0)) {
        shape[0] = 1;
      }
      if (!countElements(shape)) {
        return unknown();
      }
      // At the start a state of fixed size (of a convolution) is zero.
      result.push_back(past ? randomFloats(shape, scenario.seed * 1000 + index)
                            : Tensor::of(shape, std::vector<double>(*countElements(shape), 0.0)));
      continue;
    }
    std::vector<int64_t> values;
    if (name.contains("mask")) {
      values.assign(total, 1);
    } else if (name.contains("position")) {
      for (int64_t t = 0; t < tokens; ++t) {
        values.push_back(past + t);
      }
    } else if (name.contains("ids") || (name.empty() && index == 0)) {
      values.assign(ids.begin(), ids.end());
    } else if (isCacheName(name) && type.getRank() == 0) {
      values.assign(1, 0); // a state that the exporter made an input; its value is not read
    } else {
      return unknown();
    }
    // [tokens], [1, tokens], or [3, 1, tokens] with three equal rows.
    Dims shape;
    int64_t rows = 1;
    for (int64_t axis = 0; axis + 1 < type.getRank(); ++axis) {
      shape.push_back(type.isDynamicDim(axis) ? 1 : type.getDimSize(axis));
      rows *= shape.back();
    }
    if (type.getRank() > 0) {
      shape.push_back(static_cast<int64_t>(values.size()));
    }
    std::vector<int64_t> repeated;
    for (int64_t row = 0; row < rows && rows <= 16; ++row) {
      llvm::append_range(repeated, values);
    }
    if (static_cast<int64_t>(repeated.size()) != countElements(shape)) {
      return unknown();
    }
    result.push_back(Tensor::of(shape, std::move(repeated), Tensor::kindOf(type.getElementType())));
  }
  return result;
}

} // namespace emoe
