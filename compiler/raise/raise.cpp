#include "compiler/raise/raise.h"

#include <cmath>

#include "compiler/raise/raiser.h"
#include "llvm/ADT/Sequence.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace emoe {

Raiser::Raiser(ModuleOp module, const WeightStore &store, Prover *prover)
    : module(module), store(store), prover(prover), builder(module.getContext()) {
  // Pattern sets: an op's handlers are tried in this order until one knows what its result means.
  addRankedHandlers();
  addPositionHandlers();
  addRecurrentHandlers();
  addDeltaHandlers();
  addScatteredHandlers();
  addScaledHandlers();
  addShapeHandlers();
  addDecoderHandlers();
  addAttentionHandlers();
  addLatentHandlers();
  addGroupHandlers();
  addExpertHandlers();
  addLoopHandlers();
  addMixerHandlers();
  addGroupedHandlers();
  addFusedHandlers();
  addMixtureHandlers();
  addEncoderHandlers();
  for (auto tensor : module.getOps<onnx::TensorOp>()) {
    tensorOps[tensor.getSymName().str()] = tensor;
  }
}

//===--- meanings --------------------------------------------------------------------------------------------------===//

const Meaning &Raiser::of(Value value) {
  static const Meaning unknown;
  auto found = meanings.find(value);
  return found == meanings.end() ? unknown : *found->second;
}

void Raiser::set(Value value, Meaning meaning) {
  if (meaning.is(Kind::Numbers) && volumeOf(meaning.extents) != static_cast<int64_t>(meaning.numbers.size())) {
    Meaning unknown;
    unknown.extents = meaning.extents;
    unknown.ranked = meaning.ranked;
    meaning = unknown;
  }
  meanings[value] = std::make_unique<Meaning>(std::move(meaning));
}

Meaning Raiser::reshaped(Meaning meaning, Extents extents) {
  meaning.extents = std::move(extents);
  meaning.ranked = true;
  return meaning;
}

std::optional<SmallVector<int64_t>> Raiser::integers(Value value) {
  const Meaning &meaning = of(value);
  if (!value || !meaning.is(Kind::Numbers)) {
    return std::nullopt;
  }
  SmallVector<int64_t> result;
  for (const Extent &number : meaning.numbers) {
    if (!number.isConstant()) {
      return std::nullopt;
    }
    result.push_back(number.constant());
  }
  return result;
}

std::optional<int64_t> Raiser::integer(Value value) {
  auto all = integers(value);
  return all && all->size() == 1 ? std::optional<int64_t>((*all)[0]) : std::nullopt;
}

std::optional<double> Raiser::scalar(Value value) {
  const Meaning &meaning = of(value);
  if (meaning.is(Kind::Reals) && meaning.reals.size() == 1) {
    return meaning.reals[0];
  }
  if (meaning.is(Kind::Fill)) {
    return meaning.scalar;
  }
  if (auto number = integer(value)) {
    return *number;
  }
  return std::nullopt;
}

double Raiser::roundingOf(Value value) { return roundingOfType(getElementTypeOrSelf(value.getType())); }

double Raiser::roundingOfType(Type element) {
  return element.isF16() ? 0x1p-11 : element.isBF16() ? 0x1p-8 : 0x1p-24;
}

int64_t Raiser::intAttr(Operation *op, StringRef name, int64_t byDefault) {
  auto attr = op->getAttrOfType<IntegerAttr>(name);
  return attr ? attr.getInt() : byDefault;
}

double Raiser::floatAttr(Operation *op, StringRef name, double byDefault) {
  auto attr = op->getAttrOfType<FloatAttr>(name);
  return attr ? attr.getValueAsDouble() : byDefault;
}

int64_t Raiser::axisAttr(Operation *op, int64_t byDefault, size_t rank) {
  int64_t axis = intAttr(op, "axis", byDefault);
  return axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
}

std::optional<std::vector<float>> Raiser::readVector(const Meaning &meaning) {
  if (meaning.is(Kind::Reals)) {
    return std::vector<float>(meaning.reals.begin(), meaning.reals.end());
  }
  if (!meaning.is(Kind::Weight)) {
    return std::nullopt;
  }
  SourceAttr source = meaning.view.toSource();
  std::vector<float> values(meaning.view.elements());
  ArrayRef<int64_t> extents = meaning.view.extents;
  if (!source || !store.readTensor(source, absl::MakeConstSpan(extents.data(), extents.size()), values.data()).ok()) {
    return std::nullopt;
  }
  return values;
}

//===--- emission --------------------------------------------------------------------------------------------------===//

int64_t Raiser::rowWidth(const Meaning &rows) {
  Extent width = rows.extent(rows.form == Form::BHWS ? -2 : -1);
  bool perHead = rows.form == Form::BSHW || rows.form == Form::BHSW || rows.form == Form::BHWS;
  return width.isConstant() ? width.constant() * (perHead ? rows.heads : 1) : -1;
}

Value Raiser::toRows(Value source) {
  const Meaning &meaning = of(source);
  auto type = RankedTensorType::get({ShapedType::kDynamic, rowWidth(meaning)}, builder.getF32Type());
  // What was emitted is taken as it is.
  if (auto from = source.getDefiningOp<onnx::FromRowsOp>(); from && from.getRows().getType() == type && !prover) {
    return from.getRows();
  }
  return builder.create<onnx::ToRowsOp>(source.getLoc(), type, source);
}

Value Raiser::inputOf(LinearOp linear) {
  if (auto bridge = linear.getInput().getDefiningOp<onnx::ToRowsOp>()) {
    return bridge.getInput();
  }
  // Without a prover, rows are taken as they were emitted.
  for (Operation *user : linear.getInput().getUsers()) {
    if (auto bridge = dyn_cast<onnx::FromRowsOp>(user)) {
      return bridge.getResult();
    }
  }
  return linear.getInput();
}

bool Raiser::isPlainRows(const Meaning &meaning) const { return meaning.is(Kind::Rows) && meaning.scale == 1; }

FlatSymbolRefAttr Raiser::weight(Location loc, const TensorView &matrix, std::string name) {
  SourceAttr source = matrix.toSource();
  if (!source) {
    emitError(loc, "a weight starts inside a byte of its file; it cannot be addressed");
    return {};
  }
  auto shape = DenseI64ArrayAttr::get(module.getContext(), matrix.extents);
  Attribute key = ArrayAttr::get(module.getContext(), {source, shape});
  std::string &known = weightNames[key];
  if (known.empty()) {
    known = name.empty() ? "w" + std::to_string(weightNames.size()) : name;
    while (tensorOps.count(known)) { // a name that the file has is taken until its tensors go
      known += "_";
    }
    weightViews[known] = matrix;
    OpBuilder atModule(firstFunction);
    atModule.create<WeightOp>(loc, known, shape, source, LayoutAttr(), Attribute());
  }
  return FlatSymbolRefAttr::get(module.getContext(), known);
}

LogicalResult Raiser::replace(Value original, Value rows, Form form, int64_t heads, StringRef pattern,
                              ArrayRef<Value> inputs, Value pastKey, Value pastValue) {
  Claim claim;
  claim.inputs.assign(inputs.begin(), inputs.end());
  claim.pastKey = pastKey;
  claim.pastValue = pastValue;
  return replaceAs(original, rows, form, heads, pattern, std::move(claim));
}

LogicalResult Raiser::replaceAs(Value original, Value rows, Form form, int64_t heads, StringRef pattern, Claim claim) {
  Location loc = original.getLoc();
  Meaning meaning;
  meaning.kind = Kind::Rows;
  meaning.form = form;
  meaning.heads = heads;
  meaning.extents = of(original).extents;
  meaning.ranked = true;
  int64_t width = cast<RankedTensorType>(rows.getType()).getDimSize(1);
  constexpr int64_t any = ShapedType::kDynamic;
  Type element = builder.getF32Type();
  SmallVector<int64_t> shape = form == Form::SW     ? SmallVector<int64_t>{any, width}
                               : form == Form::BHSW ? SmallVector<int64_t>{1, heads, any, width / heads}
                                                    : SmallVector<int64_t>{1, any, width};
  Value result = builder.create<onnx::FromRowsOp>(loc, RankedTensorType::get(shape, element), rows);
  Meaning base = meaning;
  if (form == Form::BSHW) {
    base.form = Form::BSW;
    base.extents = {1, tokens, width};
  }
  base.source = meaning.source = result;
  set(result, base);
  if (form == Form::BSHW) {
    // [1, S, H, W], [1, S * H, W], or [S * H, W].
    SmallVector<int64_t> to{-1, width / heads}, extents{any, width / heads};
    if (meaning.extents.size() > 2) {
      to.insert(to.begin(), 1);
      extents.insert(extents.begin(), 1);
    }
    if (meaning.extents.size() == 4) {
      to.insert(to.begin() + 2, heads);
      extents.insert(extents.begin() + 2, heads);
    }
    auto target = DenseIntElementsAttr::get(
        RankedTensorType::get({static_cast<int64_t>(to.size())}, builder.getI64Type()), ArrayRef<int64_t>(to));
    Value shapeValue = builder.create<onnx::ConstantOp>(loc, target.getType(), target);
    OperationState state(loc, onnx::ReshapeOp::getOperationName());
    state.addOperands({result, shapeValue});
    state.addTypes(RankedTensorType::get(extents, element));
    result = builder.create(state)->getResult(0);
    set(result, meaning);
  }
  if (prover) {
    claim.pattern = pattern;
    claim.outputs = {original};
    claim.replacements = {result};
    if (failed(prover->prove(claim))) {
      return failure();
    }
  }
  original.replaceAllUsesWith(result);
  set(original, of(result));
  return success();
}

//===--- the walk --------------------------------------------------------------------------------------------------===//

// What the function's inputs are is their names' and types' business: they are the interface, not the graph.
LogicalResult Raiser::describeInputs(func::FuncOp main) {
  auto isPast = [](Type type) {
    auto ranked = dyn_cast<RankedTensorType>(type);
    return ranked && !ranked.getElementType().isInteger() && ranked.getRank() == 4 && !ranked.isDynamicDim(1) &&
           !ranked.isDynamicDim(3);
  };
  if (llvm::none_of(main.getArgumentTypes(), isPast)) {
    pastLength = 0;
  }
  for (auto [index, argument] : llvm::enumerate(main.getArguments())) {
    auto name = main.getArgAttrOfType<StringAttr>(index, "onnx.name");
    auto type = dyn_cast<RankedTensorType>(argument.getType());
    if (!name || !type) {
      return main.emitError("input ") << index << " has no name or no rank; export the model with named, ranked inputs";
    }
    Meaning meaning;
    meaning.ranked = true;
    bool isInteger = type.getElementType().isInteger();
    if (isInteger && type.getRank() == 2) {
      bool isMask = name.getValue().contains("mask");
      meaning.extents = {1, isMask ? pastLength + tokens : tokens};
      if (isMask) {
        meaning.kind = Kind::Fill;  // one sequence without padding
        meaning.scalar = 1;
      } else if (name.getValue().contains("position")) {
        meaning.kind = Kind::Iota;
        meaning.axis = 1;
        meaning.base = pastLength;
      } else {
        meaning.kind = Kind::TokenIds;
      }
    } else if (isInteger && type.getRank() == 3 && type.getDimSize(0) == 3 && name.getValue().contains("position")) {
      // Time, height and width: of text they are the same.
      meaning.extents = {3, 1, tokens};
      meaning.kind = Kind::Iota;
      meaning.axis = 2;
      meaning.base = pastLength;
    } else if (isInteger && type.getRank() == 0) {
      // A number that the exporter made a state; whether the model needs it shows later.
    } else if (!isInteger && type.getRank() == 3 && !type.isDynamicDim(1) && !type.isDynamicDim(2)) {
      meaning.kind = Kind::State;
      meaning.index = pasts.size();
      meaning.extents = {1, type.getDimSize(1), type.getDimSize(2)};
      pasts.push_back(argument);
    } else if (isPast(type)) {
      meaning.kind = Kind::Past;
      meaning.index = pasts.size();
      meaning.extents = {1, type.getDimSize(1), pastLength, type.getDimSize(3)};
      pasts.push_back(argument);
    } else if (!isInteger && type.getRank() == 3 && !type.isDynamicDim(2) && name.getValue().contains("encoder") &&
               !source) {
      source = argument;
      meaning.kind = Kind::Rows;
      meaning.source = argument;
      sourceSymbol = nextSymbol;
      meaning.extents = {1, freshSymbol(), type.getDimSize(2)};
    } else {
      return main.emitError("the input \"")
             << name.getValue() << "\" of type " << type
             << " is not one that a decoder has (token ids, position ids, attention mask, keys and values "
                "[batch, heads, past, head size], states of convolutions [batch, channels, kept]); export the model as a "
                "decoder with or without past";
    }
    set(argument, meaning);
  }
  return success();
}

// An op's result is needed, but nobody knows what it means. To blame is the first op on the way to it that was not
// understood although all of its operands were.
LogicalResult Raiser::reportOpaque(Operation *op) {
  SmallVector<Operation *> work{op};
  llvm::DenseSet<Operation *> seen{op};
  Operation *first = op;
  while (!work.empty()) {
    Operation *current = work.pop_back_val();
    bool operandsKnown = true;
    for (Value operand : current->getOperands()) {
      Operation *producer = operand.getDefiningOp();
      // What was emitted already has no meaning of its own.
      if (producer && isa<onnx::OnnxDialect>(producer->getDialect()) && !isa<onnx::ToRowsOp>(producer) &&
          of(operand).is(Kind::Opaque)) {
        operandsKnown = false;
        if (seen.insert(producer).second) {
          work.push_back(producer);
        }
      }
    }
    if (operandsKnown && (current->isBeforeInBlock(first) || first == op)) {
      first = current;
    }
  }
  for (Value operand : first->getOperands()) {
    if (of(operand).is(Kind::TopIds) || of(operand).is(Kind::TopWeights)) {
      return first->emitError() << "the op " << first->getName().getStringRef()
                                << " uses the chosen experts in a way that is not recognised here: not for a mixture of gated or "
                                   "plain multilayer perceptrons. Experts inside attention (JetMoE) are not supported; if this "
                                   "is another model, please report the exporter and its version";
    }
  }
  Block &body = *first->getBlock();
  if (!body.getOps<onnx::SoftplusOp>().empty() && body.getOps<DeltaNetOp>().empty()) {
    return first->emitError() << "the op " << first->getName().getStringRef()
                              << " is not part of a pattern that is recognised here, and the graph has a Softplus as state space "
                                 "layers (Mamba) and gated delta nets written out in plain operators have; these layers are not "
                                 "supported. Export a gated delta net as LinearAttention with its state (onnxruntime-genai's "
                                 "builder and mobius do)";
  }
  return first->emitError() << "the op " << first->getName().getStringRef()
                            << " is not part of a pattern that is recognised here, and the model needs its result; if "
                               "this is a mixture-of-experts decoder, please report the exporter and its version";
}

void limitPositions(ModuleOp module) {
  int64_t positions = 0;
  module.walk([&](NumberTokensOp op) {
    const int64_t own = static_cast<int64_t>(op.getLimit()) - static_cast<int64_t>(op.getFirst());
    positions = positions ? std::min(positions, own) : own;
  });
  if (positions) {
    NamedAttrList facts(module->getAttrOfType<DictionaryAttr>("emoe.model"));
    facts.set("positions", Builder(module.getContext()).getI64IntegerAttr(positions));
    module->setAttr("emoe.model", facts.getDictionary(module.getContext()));
  }
}

// Ops that tokens meet in: each has a cache or a state.
static bool hasState(Operation *op) { return isa<AttentionOp, ShortConvOp, DeltaNetOp>(op); }

// Those of which a decoder has one a layer: a convolution that a delta net follows is part of its layer.
static bool isMixer(Operation *op) {
  if (!isa<ShortConvOp>(op)) {
    return hasState(op);
  }
  do {
    op = op->getNextNode();
  } while (op && !hasState(op));
  return !isa_and_nonnull<DeltaNetOp>(op);
}

LogicalResult Raiser::finish(func::FuncOp main) {
  auto ret = cast<func::ReturnOp>(main.getBody().front().getTerminator());
  Value logits;
  for (auto [index, value] : llvm::enumerate(ret.getOperands())) {
    const Meaning &meaning = of(value);
    if ((meaning.is(Kind::Cache) && meaning.past >= 0) || newStates.count(value) ||
        isa<IntegerType>(getElementTypeOrSelf(value.getType()))) {
      continue;
    }
    if (!isPlainRows(meaning) || !(meaning.form == Form::BSW || meaning.form == Form::SW) || logits) {
      Operation *producer = value.getDefiningOp();
      return producer && !isPlainRows(meaning) ? reportOpaque(producer)
                                               : main.emitError("output ")
                                                     << index << " is neither the logits nor a cache of keys or values";
    }
    logits = meaning.source;
  }
  if (!logits) {
    return main.emitError("no output is the logits");
  }
  if (attentionLayers == 0) {
    return main.emitError("no attention was found: this is not a decoder that can be compiled");
  }
  if (failed(checkStates(main))) {
    return failure();
  }
  builder.setInsertionPoint(ret);
  int64_t vocabulary = rowWidth(of(logits));
  Value rows = toRows(logits);
  Type rowsType = rows.getType(); // the bridge itself may cancel below
  builder.create<func::ReturnOp>(ret.getLoc(), rows);
  ret.erase();
  // Ops that nothing needs any more go, last first; bridges between emitted ops cancel.
  for (bool changed = true; changed;) {
    changed = false;
    for (Operation &op : llvm::make_early_inc_range(llvm::reverse(main.getBody().front()))) {
      if (auto bridge = dyn_cast<onnx::ToRowsOp>(op)) {
        if (auto from = bridge.getInput().getDefiningOp<onnx::FromRowsOp>();
            from && from.getRows().getType() == bridge.getRows().getType()) {
          bridge.getRows().replaceAllUsesWith(from.getRows());
        }
      }
      if (!op.hasTrait<OpTrait::IsTerminator>() && op.use_empty() && !hasState(&op)) {
        op.erase();
        changed = true;
      }
    }
  }
  for (Operation &op : main.getBody().front()) {
    bool readsSource = isa<onnx::ToRowsOp>(op) && source && op.getOperand(0) == source;
    if (isa<onnx::OnnxDialect>(op.getDialect()) && !readsSource) {
      return reportOpaque(&op);
    }
  }
  if (source) {
    Value rows = main.getBody().front().addArgument(
        RankedTensorType::get({ShapedType::kDynamic, rowWidth(of(source))}, builder.getF32Type()), main.getLoc());
    for (Operation *user : llvm::make_early_inc_range(source.getUsers())) {
      user->getResult(0).replaceAllUsesWith(rows);
      user->erase();
    }
    main.setType(builder.getFunctionType(main.getBody().front().getArgumentTypes(), main.getResultTypes()));
  }
  for (size_t index = main.getNumArguments() - (source ? 2 : 1); index-- > 0;) {
    if (!main.getArgument(index).use_empty()) {
      return main.emitError("input ") << index << " is still needed after raising";
    }
    main.eraseArgument(index);
  }
  main.setType(builder.getFunctionType(main.getArgumentTypes(), {rowsType}));
  main.removeResAttrsAttr();
  main.removeArgAttrsAttr();
  for (auto tensor : llvm::make_early_inc_range(module.getOps<onnx::TensorOp>())) {
    tensor.erase();
  }
  tieEmbedding(main);
  // Whole matrices of which only parts are used, and what was emitted for a part that became another.
  llvm::DenseSet<Attribute> used;
  main.walk([&](Operation *op) {
    op->getAttrDictionary().walk([&](FlatSymbolRefAttr symbol) { used.insert(symbol.getAttr()); });
  });
  for (auto weight : llvm::make_early_inc_range(module.getOps<WeightOp>())) {
    if (!used.contains(weight.getSymNameAttr())) {
      weight.erase();
    }
  }
  nameWeights(main);
  int64_t hidden = 0;
  main.walk([&](EmbeddingOp op) { hidden = cast<RankedTensorType>(op.getResult().getType()).getDimSize(1); });
  int64_t layers = llvm::count_if(main.getBody().front(), [](Operation &op) { return isMixer(&op); });
  module->setAttr("emoe.model",
                  builder.getDictionaryAttr({builder.getNamedAttr("vocab", builder.getI64IntegerAttr(vocabulary)),
                                             builder.getNamedAttr("hidden", builder.getI64IntegerAttr(hidden)),
                                             builder.getNamedAttr("layers", builder.getI64IntegerAttr(layers))}));
  limitPositions(module);
  return success();
}

// The linear layer that makes the logits: behind a scale and a cap, if there are any.
static Value logitsOp(func::FuncOp main) {
  Value last = main.getBody().front().getTerminator()->getOperand(0);
  while (auto scale = last.getDefiningOp<ScaleOp>()) {
    last = scale.getInput();
  }
  return last;
}

// Exporters write a tied embedding twice: once for looking up, once for the logits. If the values are the same, one is
// enough.
void Raiser::tieEmbedding(func::FuncOp main) {
  SymbolTable symbols(module);
  auto last = logitsOp(main).getDefiningOp<LinearOp>();
  auto embeddings = main.getOps<EmbeddingOp>();
  if (!last || embeddings.empty() || (*embeddings.begin()).getWeight() == last.getWeight()) {
    return;
  }
  EmbeddingOp embedding = *embeddings.begin();
  auto table = symbols.lookup<WeightOp>(embedding.getWeight()), head = symbols.lookup<WeightOp>(last.getWeight());
  auto hash = [&](WeightOp weight) {
    return store.contentHash(weight.getSource(), weight.getShape()[0], weight.getShape()[1]);
  };
  if (table.getShape() != head.getShape()) {
    return;
  }
  auto a = hash(table), b = hash(head);
  bool usedOnce = llvm::count_if(main.getOps<LinearOp>(), [&](LinearOp op) {
                    return op.getWeight() == head.getSymName();
                  }) == 1;
  if (a.ok() && b.ok() && *a == *b && usedOnce) {
    last.setWeight(table.getSymName());
    head.erase();
  }
}

// The number of the layer that the op is in or comes after: of mixers, attention and others, from 0.
static int64_t layerBefore(Operation *op) {
  int64_t mixers = 0;
  for (; op; op = op->getPrevNode()) {
    mixers += isMixer(op);
  }
  return std::max<int64_t>(mixers - 1, 0);
}

// Names that say what a weight is for, the same for every export of a model: by the part that uses it.
void Raiser::nameWeights(func::FuncOp main) {
  llvm::StringMap<std::string> names;
  llvm::DenseMap<Value, std::string> linearRole;
  int64_t layer = -1, norms = 0, others = 0;
  auto name = [&](StringRef old, const std::string &given) { names.try_emplace(old, given); };
  auto inLayer = [&](const std::string &part) { return "layer" + std::to_string(layer) + "." + part; };
  // The linear op behind a query, key or value, through norms and rotary embeddings.
  auto nameProjection = [&](Value value, const std::string &part) {
    while (Operation *producer = value.getDefiningOp()) {
      if (auto linear = dyn_cast<LinearOp>(producer)) {
        name(linear.getWeight(), inLayer(part + "_proj"));
        if (linear.getBias()) {
          name(*linear.getBias(), inLayer(part + "_bias"));
        }
        return;
      }
      if (auto norm = dyn_cast<NormOp>(producer)) {
        name(norm.getWeight(), inLayer(part + "_norm"));
        value = norm.getInput();
      } else if (auto rotary = dyn_cast<RotaryOp>(producer)) {
        value = rotary.getInput();
      } else if (auto slice = dyn_cast<SliceHeadsOp>(producer)) {
        value = slice.getInput();
      } else {
        return;
      }
    }
  };
  main.walk([&](AttentionOp op) {
    layer = layerBefore(op);
    nameProjection(op.getQuery(), "q");
    nameProjection(op.getKey(), "k");
    nameProjection(op.getValue(), "v");
  });
  layer = 0;
  bool attended = false;
  Value last = logitsOp(main);
  for (Operation &op : main.getBody().front()) {
    if (hasState(&op)) {
      // A convolution before its layer's mixer is numbered with it.
      layer = layerBefore(&op) + (isMixer(&op) ? 0 : attended);
      attended |= isMixer(&op);
      if (auto conv = dyn_cast<ShortConvOp>(op)) {
        name(conv.getWeight(), inLayer("conv"));
        if (conv.getBias()) {
          name(*conv.getBias(), inLayer("conv_bias"));
        }
      } else if (auto net = dyn_cast<DeltaNetOp>(op)) {
        name(net.getDecay(), inLayer("decay"));
        if (net.getDecayBias()) {
          name(*net.getDecayBias(), inLayer("decay_bias"));
        }
      }
    } else if (auto embedding = dyn_cast<EmbeddingOp>(op)) {
      name(embedding.getWeight(), embedding.getIds().getDefiningOp<NumberTokensOp>() ? "positions" : "embed");
    } else if (auto norm = dyn_cast<NormOp>(op)) {
      if (names.count(norm.getWeight())) {
        continue;
      }
      bool isLast = llvm::any_of(norm->getUsers(), [&](Operation *user) { return user->getResult(0) == last; });
      if (isLast) {
        name(norm.getWeight(), "norm");
      } else {
        // The norm before a layer's attention stands before the attention op.
        bool beforeAttention = !attended || llvm::any_of(norm->getUsers(), [&](Operation *user) {
          auto linear = dyn_cast<LinearOp>(user);
          return linear && StringRef(names.lookup(linear.getWeight())).ends_with("q_proj");
        });
        int64_t own = beforeAttention && attended ? layer + 1 : layer;
        name(norm.getWeight(), "layer" + std::to_string(own) + (beforeAttention ? ".attention_norm" : ".experts_norm"));
      }
      ++norms;
    } else if (auto linear = dyn_cast<LinearOp>(op)) {
      bool routes = llvm::any_of(linear->getUsers(), [](Operation *user) { return isa<RouteOp>(user); });
      bool afterAttention = isa_and_nonnull<AttentionOp>(linear.getInput().getDefiningOp());
      std::string part = linear.getResult() == last ? "lm_head"
                         : routes                   ? inLayer("router")
                         : afterAttention           ? inLayer("o_proj")
                                                    : inLayer("linear" + std::to_string(others));
      others += names.try_emplace(linear.getWeight(), part).second && !routes && !afterAttention;
      if (linear.getBias()) {
        name(*linear.getBias(), part + "_bias");
      }
    }
  }
  main.walk([&](MoeOp op) {
    const std::string prefix = "layer" + std::to_string(layerBefore(op)) + ".expert";
    for (auto [list, part] : {std::pair(op.getGate(), "gate"), {std::optional(op.getUp()), "up"},
                              {std::optional(op.getDown()), "down"}, {op.getGateBias(), "gate_bias"},
                              {op.getUpBias(), "up_bias"}, {op.getDownBias(), "down_bias"}}) {
      for (auto [expert, symbol] : llvm::enumerate(list ? list->getValue() : ArrayRef<Attribute>())) {
        name(cast<FlatSymbolRefAttr>(symbol).getValue(), prefix + std::to_string(expert) + "." + part);
      }
    }
  });
  // Two weights never get one name.
  llvm::StringMap<int> used;
  for (auto weight : module.getOps<WeightOp>()) {
    auto found = names.find(weight.getSymName());
    std::string wanted = found == names.end() ? weight.getSymName().str() : found->second;
    if (int copies = used[wanted]++) {
      wanted += "_" + std::to_string(copies);
    }
    names[weight.getSymName()] = wanted;
    weight.setSymName(wanted);
  }
  AttrTypeReplacer replacer;
  replacer.addReplacement([&](FlatSymbolRefAttr symbol) -> std::optional<Attribute> {
    auto found = names.find(symbol.getValue());
    return found == names.end() ? std::optional<Attribute>()
                                : FlatSymbolRefAttr::get(module.getContext(), found->second);
  });
  main.walk([&](Operation *op) { replacer.replaceElementsIn(op); });
}

LogicalResult Raiser::checkAxes(Operation *op) {
  if (op->getNumOperands() == 0 || !of(op->getOperand(0)).ranked) {
    return success();
  }
  StringRef name = op->getName().stripDialect();
  int64_t rank = of(op->getOperand(0)).extents.size();
  if (op->hasAttr("axis")) {
    // Flatten cuts before an axis or behind the last; OneHot adds one.
    int64_t given = intAttr(op, "axis", 0), most = rank - (name == "Flatten" || name == "OneHot" ? 0 : 1);
    if (given > most || given < -most - (name == "Flatten" ? 0 : 1)) {
      return op->emitError() << "axis " << given << " is not one of a tensor of rank " << rank;
    }
  }
  if (auto perm = op->getAttrOfType<DenseI64ArrayAttr>("perm"); perm && name == "Transpose") {
    SmallVector<int64_t> sorted(perm.asArrayRef());
    llvm::sort(sorted);
    if (!llvm::equal(sorted, llvm::seq<int64_t>(0, rank))) {
      return op->emitError() << "perm is no order of the " << rank << " axes";
    }
  }
  return success();
}

LogicalResult Raiser::run() {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal() || !main.getBody().hasOneBlock()) {
    return module.emitError("raise needs a function @main with one block");
  }
  firstFunction = main;
  if (failed(describeInputs(main))) {
    return failure();
  }
  ids = main.getBody().front().addArgument(RankedTensorType::get({ShapedType::kDynamic}, builder.getI32Type()),
                                           main.getLoc());
  main.setType(builder.getFunctionType(main.getBody().front().getArgumentTypes(), main.getResultTypes()));
  for (Operation &op : llvm::make_early_inc_range(main.getBody().front())) {
    if (op.hasTrait<OpTrait::IsTerminator>() || !isa<onnx::OnnxDialect>(op.getDialect())) {
      continue;
    }
    if (failed(checkAxes(&op))) {
      return failure();
    }
    builder.setInsertionPointAfter(&op);
    auto entry = handlers.find(op.getName().stripDialect());
    if (entry == handlers.end()) {
      continue;
    }
    for (const Handler &handler : entry->second) {
      if (failed(handler(*this, &op))) {
        return failure();
      }
      if (known(&op)) {
        break;
      }
    }
  }
  return finish(main);
}

LogicalResult raiseModel(ModuleOp module, const WeightStore &store, Prover *prover,
                         llvm::function_ref<void(Raiser &)> extend) {
  Raiser raiser(module, store, prover);
  if (extend) {
    extend(raiser);
  }
  return raiser.run();
}

namespace {

class RaisePass : public PassWrapper<RaisePass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(RaisePass)
  StringRef getArgument() const override { return "raise"; }
  StringRef getDescription() const override {
    return "Recover the model from an ONNX graph: norms, rotary embeddings, attention, routers, experts";
  }
  void runOnOperation() override {
    WeightStore empty;
    if (failed(raiseModel(getOperation(), empty, nullptr))) {
      signalPassFailure();
    }
  }
};

} // namespace

void registerRaisePasses() { PassRegistration<RaisePass>(); }

} // namespace emoe
