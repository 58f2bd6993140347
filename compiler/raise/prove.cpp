#include "compiler/raise/prove.h"

#include <cmath>

#include "compiler/raise/rounding.h"
#include "llvm/Support/Error.h"
#include "llvm/Support/Format.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace emoe {

using Kind = Tensor::Kind;

// Weights are small enough for activations to stay of order 1 through a layer, whatever its width.
constexpr double kAmplitude = 0.25;

//===----------------------------------------------------------------------===//
// Weights of both sides
//===----------------------------------------------------------------------===//

void forEachWeight(Operation *op, SymbolIndex &symbols, llvm::function_ref<void(const WeightView &)> body) {
  op->getAttrDictionary().walk([&](FlatSymbolRefAttr name) {
    Operation *symbol = symbols.find(name.getAttr());
    if (auto weight = dyn_cast_or_null<WeightOp>(symbol)) {
      body(WeightView::of(weight.getSource(), weight.getShape()));
    } else if (auto tensor = dyn_cast_or_null<onnx::TensorOp>(symbol)) {
      body(WeightView::of(tensor.getSource(), cast<RankedTensorType>(tensor.getType()).getShape()));
    }
  });
}

ByteRanges sharedRanges(ArrayRef<Operation *> original, ArrayRef<Operation *> replacement,
                        SymbolIndex &originalSymbols, SymbolIndex &replacementSymbols) {
  auto rangesOf = [](ArrayRef<Operation *> ops, SymbolIndex &symbols) {
    ByteRanges ranges;
    for (Operation *op : ops) {
      forEachWeight(op, symbols, [&](const WeightView &view) {
        auto [begin, end] = view.byteRange();
        ranges.add(view.file.getValue(), begin, end);
      });
    }
    return ranges;
  };
  ByteRanges shared;
  auto addShared = [&](ArrayRef<Operation *> ops, SymbolIndex &symbols, const ByteRanges &others) {
    for (Operation *op : ops) {
      forEachWeight(op, symbols, [&](const WeightView &view) {
        auto [begin, end] = view.byteRange();
        if (others.overlaps(view.file.getValue(), begin, end)) {
          shared.add(view.file.getValue(), begin, end);
        }
      });
    }
  };
  addShared(original, originalSymbols, rangesOf(replacement, replacementSymbols));
  addShared(replacement, replacementSymbols, rangesOf(original, originalSymbols));
  return shared;
}

SmallVector<double, 4> exactScalarsOf(ArrayRef<Operation *> replacement) {
  SmallVector<double, 4> exact;
  for (Operation *op : replacement) {
    if (auto attention = dyn_cast<AttentionOp>(op)) {
      double scale = attention.getScale().convertToFloat();
      for (double value : {scale, std::sqrt(scale), 1 / scale, 1 / std::sqrt(scale)}) {
        if (!llvm::is_contained(exact, value)) {
          exact.push_back(value);
        }
      }
    }
  }
  return exact;
}

//===----------------------------------------------------------------------===//
// Comparing
//===----------------------------------------------------------------------===//

// The scalar that `op` gives, if it is a constant of a 16-bit float type.
static std::optional<double> shortScalar(Operation *op, SymbolIndex &symbols, WeightSource *real) {
  Type type = op->getNumResults() == 1 ? op->getResult(0).getType() : Type();
  auto element = type ? dyn_cast<mlir::FloatType>(getElementTypeOrSelf(type)) : mlir::FloatType();
  if (!element || element.getWidth() != 16) {
    return std::nullopt;
  }
  if (auto constant = dyn_cast<onnx::ConstantOp>(op)) {
    auto dense = dyn_cast<DenseFPElementsAttr>(constant.getValue());
    if (dense && dense.getNumElements() == 1) {
      APFloat value = *dense.value_begin<APFloat>();
      bool lost;
      value.convert(APFloat::IEEEdouble(), APFloat::rmNearestTiesToEven, &lost);
      return value.convertToDouble();
    }
  } else if (isa<onnx::InitializerOp>(op) && real) {
    std::optional<double> scalar;
    forEachWeight(op, symbols, [&](const WeightView &view) {
      if (countElements(view.shape) == 1) {
        double value;
        if (llvm::Error error = real->read(view, &value)) {
          llvm::consumeError(std::move(error));
        } else {
          scalar = value;
        }
      }
    });
    return scalar;
  }
  return std::nullopt;
}

// What the cosines and sines of a rotary embedding's tables were rounded to, relative; 0 if to float32 at least.
static double roundingOfTables(Operation *op, SymbolIndex &symbols, WeightSource *real) {
  constexpr int64_t kMostValues = int64_t(1) << 26;
  double rounding = 0;
  auto note = [&](Value table) {
    if (auto gather = table ? table.getDefiningOp<onnx::GatherOp>() : onnx::GatherOp()) {
      table = gather.getData();
    }
    auto initializer = table ? table.getDefiningOp<onnx::InitializerOp>() : onnx::InitializerOp();
    if (!initializer || !real) {
      return;
    }
    forEachWeight(initializer, symbols, [&](const WeightView &view) {
      const int64_t count = countElements(view.shape).value_or(0);
      std::vector<double> values(count <= kMostValues ? count : 0);
      if (llvm::Error error = values.empty() ? llvm::Error::success() : real->read(view, values.data())) {
        llvm::consumeError(std::move(error));
      } else if (double own = roundingOfValues(values); own > 0x1p-20) {
        rounding = std::max(rounding, own);
      }
    });
  };
  if (auto rotary = dyn_cast<onnx::RotaryEmbeddingOp>(op)) {
    note(rotary.getCosCache()), note(rotary.getSinCache());
  } else if (auto rotary = dyn_cast<onnx::MsRotaryEmbeddingOp>(op)) {
    note(rotary.getCosCache()), note(rotary.getSinCache());
  } else if (auto attention = dyn_cast<onnx::MsGroupQueryAttentionOp>(op)) {
    note(attention.getCosCache()), note(attention.getSinCache());
  }
  return rounding;
}

double toleranceOf(ArrayRef<Operation *> original, SymbolIndex &symbols, WeightSource *real, ArrayRef<double> exact) {
  double tolerance = 1e-5;
  for (Operation *op : original) {
    if (double rounding = roundingOfTables(op, symbols, real)) {
      tolerance = std::max(tolerance, 1e-5 + 8 * rounding);
    }
    auto scalar = shortScalar(op, symbols, real);
    if (!scalar || !std::isfinite(*scalar) || std::abs(*scalar) < 1e-3) { // an epsilon's rounding has no weight
      continue;
    }
    int exponent;
    double mantissa = std::ldexp(std::frexp(*scalar, &exponent), 5);
    if (mantissa == std::floor(mantissa)) { // 5 bits: 0.5, 2, 1.5: meant as they are
      continue;
    }
    double unit = getElementTypeOrSelf(op->getResult(0).getType()).isBF16() ? 0x1p-8 : 0x1p-11;
    bool known = llvm::any_of(exact, [&](double e) { return std::abs(*scalar - e) <= unit * std::abs(e); });
    tolerance = std::max(tolerance, known ? 0 : 1e-5 + 8 * unit);
  }
  return tolerance;
}

// [1, T, D] and [1, heads, T, d] as rows, like onnx.to_rows; others as they are.
static Tensor asRows(const Tensor &x) {
  if (x.rank() == 3 && x.shape[0] == 1) {
    return x.reshaped({x.shape[1], x.shape[2]});
  }
  if (x.rank() != 4 || x.shape[0] != 1) {
    return x;
  }
  int64_t heads = x.shape[1], tokens = x.shape[2], width = x.shape[3];
  std::vector<int64_t> from;
  walk<1>({tokens, heads, width}, {Dims{width, tokens * width, 1}}, [&](const auto &at) { from.push_back(at[0]); });
  return x.take({tokens, heads * width}, from);
}

static void printShape(InFlightDiagnostic &out, ArrayRef<int64_t> shape) {
  out << "[";
  llvm::interleaveComma(shape, out);
  out << "]";
}

LogicalResult compare(Operation *op, StringRef what, const Tensor &original, const Tensor &replacement,
                      double tolerance) {
  Tensor a = original, b = replacement;
  if (a.shape != b.shape) {
    a = asRows(a), b = asRows(b);
  }
  if (a.shape != b.shape || (a.kind == Kind::Float) != (b.kind == Kind::Float)) {
    InFlightDiagnostic error = op->emitError() << what << " is not proven: the original is ";
    printShape(error, original.shape);
    error << " and its replacement ";
    printShape(error, replacement.shape);
    return error;
  }
  double largest = 0, worst = -1;
  int64_t where = 0;
  for (int64_t n = 0; n < a.size(); ++n) {
    double x = a.at(n), y = b.at(n);
    if (!std::isfinite(x) || !std::isfinite(y)) {
      if (x == y) {
        continue;
      }
      worst = std::numeric_limits<double>::infinity(), where = n;
      break;
    }
    largest = std::max(largest, std::abs(x));
    if (std::abs(x - y) > worst) {
      worst = std::abs(x - y), where = n;
    }
  }
  if (worst <= tolerance * largest && (largest > 0 || a.kind != Kind::Float || a.size() == 0)) {
    return success();
  }
  if (worst <= 0) {
    return op->emitError() << what << " is not proven: every value of the original is zero, which shows nothing";
  }
  SmallVector<int64_t, 4> index;
  Dims strides = stridesOf(a.shape);
  for (int64_t axis = 0; axis < a.rank(); ++axis) {
    index.push_back(where / strides[axis] % a.shape[axis]);
  }
  std::string numbers;
  llvm::raw_string_ostream text(numbers);
  text << llvm::format("%.3g", worst) << " (allowed " << llvm::format("%.3g", tolerance * largest) << ") at ";
  InFlightDiagnostic error = op->emitError() << what << " is not proven: the largest difference is " << text.str();
  printShape(error, index);
  numbers.clear();
  text << llvm::format(", where the original is %.9g", a.at(where)) << llvm::format(" and its replacement %.9g", b.at(where));
  return error << text.str();
}

//===----------------------------------------------------------------------===//
// The prover
//===----------------------------------------------------------------------===//

// Results of onnx.Shape that depend on the situation alone, not on data. NonZero and its like make extents that depend
// on data; these spread with every op but a scatter, whose result has the extents of what it scatters into.
static llvm::DenseSet<Value> findFixedExtents(func::FuncOp function) {
  llvm::DenseSet<Value> dataDependent, fixed;
  for (Operation &op : function.getBody().front()) {
    bool scatters = isa<onnx::ScatterElementsOp, onnx::ScatterNDOp>(op);
    auto operands = scatters ? op.getOperands().take_front(1) : op.getOperands();
    bool depends = isa<onnx::NonZeroOp, onnx::CompressOp, onnx::UniqueOp>(op) ||
                   llvm::any_of(operands, [&](Value operand) { return dataDependent.contains(operand); });
    if (depends) {
      dataDependent.insert(op.result_begin(), op.result_end());
    } else if (isa<onnx::ShapeOp>(op)) {
      fixed.insert(op.getResult(0));
    }
  }
  return fixed;
}

EvaluatingProver::EvaluatingProver(func::FuncOp function, const WeightStore *store)
    : function(function), symbols(function->getParentOfType<ModuleOp>()), fixedExtents(findFixedExtents(function)) {
  if (store) {
    real = std::make_unique<RealWeights>(*store);
  }
  int64_t vocabulary = vocabularyOf(function);
  bool cached = hasCache(function);
  situations.reserve(2); // moving one would copy its table
  for (uint64_t seed : {1, 2}) {
    Facts &facts = situations.emplace_back();
    facts.scenario.seed = seed;
    facts.scenario.tokens = seed == 1 ? 5 : 4;
    facts.scenario.past = cached && seed == 1 ? 3 : 0;
    // A function that cannot run whole (an op that the evaluator lacks) still has parts that can be proven, and what
    // cannot is said there.
    ScopedDiagnosticHandler quiet(function.getContext(), [](Diagnostic &) { return success(); });
    facts.ids = randomIds(facts.scenario, vocabulary);
    auto arguments = argumentsFor(function, facts.scenario, facts.ids);
    if (succeeded(arguments)) {
      facts.arguments = *arguments;
      RandomWeights weights(seed, kAmplitude, real.get());
      Evaluator evaluator(symbols, weights);
      evaluator.position = facts.scenario.past;
      auto note = [&](Value value, const Tensor &tensor) {
        Operation *op = value.getDefiningOp();
        const Dims &shape = *shapes.insert(tensor.shape).first;
        facts.values.insert(
            {value, {op ? op->getName() : function->getName(), value.getType(), &shape, tensor.kind, tensor.ints}});
      };
      evaluator.observe = note;
      for (auto [argument, tensor] : llvm::zip(function.getArguments(), facts.arguments)) {
        evaluator.set(argument, tensor);
        note(argument, tensor);
      }
      (void)evaluator.run(llvm::to_vector<8>(function.getBody().front().getTerminator()->getOperands()));
    }
  }
}

std::optional<Tensor> EvaluatingProver::factOf(Value value, const Facts &facts) const {
  auto found = facts.values.find(value);
  Operation *op = value.getDefiningOp();
  bool believed = found != facts.values.end() && found->second.type == value.getType() &&
                  found->second.name == (op ? op->getName() : function->getName());
  if (!believed) {
    return std::nullopt;
  }
  Tensor tensor;
  tensor.kind = found->second.kind;
  tensor.shape = *found->second.shape;
  tensor.ints = found->second.ints;
  return tensor;
}

void EvaluatingProver::giveExtents(Evaluator &evaluator, const Facts &facts) const {
  evaluator.known = [this, &facts](Value value) {
    return fixedExtents.contains(value) ? factOf(value, facts) : std::nullopt;
  };
}

FailureOr<Tensor> EvaluatingProver::inputOf(Value value, const Facts &facts, const Scenario &scenario,
                                            uint64_t seed) {
  bool isFloat = isa<mlir::FloatType>(getElementTypeOrSelf(value.getType()));
  if (std::optional<Tensor> fact = factOf(value, facts)) {
    return isFloat ? randomFloats(fact->shape, seed) : *fact;
  }
  auto shape = shapeIn(value.getType(), scenario);
  if (shape && isFloat) {
    return randomFloats(*shape, seed);
  }
  return emitError(value.getLoc()) << "cannot prove from this value: " << value.getType()
                                   << (isFloat ? " has no known shape" : ", whose numbers are not known");
}

static Operation *anchorOf(const Claim &claim) {
  Value output = claim.outputs.front();
  return output.getDefiningOp() ? output.getDefiningOp() : output.getParentBlock()->getParentOp();
}

// The cache of an attention whose keys and values the original computes from other things for all positions; compares
// those of the new positions with the attention's operands.
static LogicalResult fillCache(const Claim &claim, AttentionOp attention, int64_t past, double tolerance,
                               Evaluator &evaluator, Evaluator::Cache &cache) {
  Value originals[] = {claim.keys, claim.values}, operands[] = {attention.getKey(), attention.getValue()};
  int64_t heads = attention.getKvHeads(), wide = attention.getHeadDim();
  if (failed(evaluator.run({claim.keys, claim.values, attention.getKey(), attention.getValue()}))) {
    return failure();
  }
  for (int part : {0, 1}) {
    Tensor rows = asRows(evaluator.get(originals[part]));
    if (rows.rank() != 2 || rows.shape[1] % heads != 0 || rows.shape[1] / heads > wide || rows.shape[0] < past) {
      return attention.emitError("cannot be proven: the original's keys or values have another number of heads");
    }
    int64_t width = rows.shape[1] / heads;
    std::vector<double> all(rows.shape[0] * heads * wide, 0.0);
    for (int64_t row = 0; row < rows.shape[0] * heads; ++row) {
      std::copy_n(rows.f() + row * width, width, all.begin() + row * wide);
    }
    auto middle = all.begin() + past * heads * wide;
    (part == 0 ? cache.keys : cache.values).assign(all.begin(), middle);
    Tensor added = Tensor::of({rows.shape[0] - past, heads * wide}, std::vector<double>(middle, all.end()));
    if (failed(compare(attention, part == 0 ? "keys" : "values", added, evaluator.get(operands[part]), tolerance))) {
      return failure();
    }
  }
  return success();
}

// What the original subgraph computes: the outputs, and the states that it leaves.
static SmallVector<Value> originalsOf(const Claim &claim) {
  SmallVector<Value> values(claim.outputs);
  for (const Claim::State &state : claim.states) {
    values.push_back(state.present);
  }
  return values;
}

LogicalResult EvaluatingProver::evaluate(const Claim &claim, const Facts &facts, uint64_t seed,
                                         const ByteRanges &randomised, ArrayRef<Operation *> original,
                                         ArrayRef<Operation *> replacement) {
  RandomWeights weights(seed, kAmplitude, real.get(), &randomised);
  Evaluator evaluator(symbols, weights);
  evaluator.position = facts.scenario.past;
  evaluator.exactScalars = exactScalarsOf(replacement);
  giveExtents(evaluator, facts);
  Type idsType = RankedTensorType::get({ShapedType::kDynamic}, IntegerType::get(function.getContext(), 32));
  for (BlockArgument argument : function.getArguments()) {
    if (argument.getArgNumber() < facts.arguments.size()) {
      evaluator.set(argument, facts.arguments[argument.getArgNumber()]);
    } else if (argument.getType() == idsType) {
      evaluator.set(argument, Tensor::of({facts.scenario.tokens}, facts.ids)); // raising's own argument for the ids
    }
  }
  double tolerance = toleranceOf(original, symbols, real.get(), evaluator.exactScalars);
  uint64_t salt = seed * 1000;
  for (Value input : claim.inputs) {
    auto tensor = inputOf(input, facts, facts.scenario, salt++);
    if (failed(tensor)) {
      return failure();
    }
    evaluator.set(input, *tensor);
  }
  if (claim.pastKey && claim.pastValue) {
    Evaluator::Cache cache;
    for (bool isKey : {true, false}) {
      Value value = isKey ? claim.pastKey : claim.pastValue;
      Scenario before = facts.scenario;
      before.tokens = before.past; // an unknown extent of a cache is what came before
      auto tensor = inputOf(value, facts, before, salt++);
      if (failed(tensor)) {
        return failure();
      }
      evaluator.set(value, *tensor);
      (isKey ? cache.keys : cache.values) = *asRows(*tensor).floats;
    }
    for (Operation *op : replacement) {
      auto attention = dyn_cast<AttentionOp>(op);
      if (attention && claim.keys && failed(fillCache(claim, attention, facts.scenario.past, tolerance, evaluator, cache))) {
        return failure();
      }
      if (attention) {
        evaluator.caches[static_cast<int64_t>(attention.getLayer())] = cache;
      }
    }
  }
  if (failed(fillStates(claim, facts, salt, evaluator, replacement))) {
    return failure();
  }
  SmallVector<Value> goals = originalsOf(claim);
  goals.append(claim.replacements.begin(), claim.replacements.end());
  if (failed(evaluator.run(goals))) {
    return failure();
  }
  for (size_t n = 0; n < claim.outputs.size(); ++n) {
    Value output = claim.outputs[n];
    Operation *op = output.getDefiningOp();
    if (failed(compare(op ? op : anchorOf(claim), ("pattern '" + claim.pattern + "'").str(), evaluator.get(output),
                       evaluator.get(claim.replacements[n]), tolerance))) {
      return failure();
    }
  }
  return compareStates(claim, tolerance, evaluator, replacement);
}

LogicalResult EvaluatingProver::prove(const Claim &claim) {
  if (claim.outputs.empty() || claim.outputs.size() != claim.replacements.size()) {
    return function.emitError("pattern '") << claim.pattern << "' claims " << claim.replacements.size()
                                           << " replacements for " << claim.outputs.size() << " outputs";
  }
  // The ops of both sides: what lies between the outputs and the inputs or the function's arguments.
  RandomWeights none(0, 0);
  Evaluator outline(symbols, none);
  for (BlockArgument argument : function.getArguments()) {
    outline.set(argument, Tensor());
  }
  giveExtents(outline, situations.front());
  for (Value input : claim.inputs) {
    outline.set(input, Tensor());
  }
  auto original = outline.opsFor(originalsOf(claim)), replacement = outline.opsFor(claim.replacements);
  if (failed(original) || failed(replacement)) {
    return failure();
  }
  for (Value output : claim.outputs) {
    if (output.getDefiningOp() && llvm::is_contained(*replacement, output.getDefiningOp())) {
      return output.getDefiningOp()->emitError("pattern '")
             << claim.pattern << "' replaces this by something computed from it";
    }
  }
  std::vector<uint64_t> signature = signatureOf(claim, *original, *replacement);
  if (!signature.empty() && proven.count(signature)) {
    ++alikeCount;
    return success();
  }
  ByteRanges randomised = sharedRanges(*original, *replacement, symbols, symbols);
  for (const Facts &facts : situations) {
    if (failed(evaluate(claim, facts, facts.scenario.seed, randomised, *original, *replacement))) {
      return failure();
    }
  }
  ++evaluatedCount;
  if (!signature.empty()) {
    proven.insert(std::move(signature));
  }
  return success();
}

} // namespace emoe
