#include "compiler/schedule/schedule.h"

#include "compiler/codegen/kernel.h"
#include "compiler/partition/partition.h"
#include "compiler/schedule/buffers.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/TypeSwitch.h"
#include "llvm/Support/SaveAndRestore.h"
#include "mlir/IR/Builders.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace emoe {
namespace {

int64_t width(Value rows) { return cast<RankedTensorType>(rows.getType()).getDimSize(1); }

// A step as it is being planned; buffers are known by their number.
struct PlannedStep {
  std::string kernel;  // empty: run_experts
  std::string router;  // not empty: look_ahead, whose norm is `kernel`
  SmallVector<Attribute> operands;
  bool wanted = false;
  int64_t layer = 0, topK = 0;
  SmallVector<Attribute> expertKernels;
  Location loc;
  SmallVector<Attribute> routerOperands = {};
  ScoreFunction score = ScoreFunction::Softmax;
  FlatSymbolRefAttr selectionBias = {};
  int64_t capacity = 0;
  bool ranked = false;
  float weightFloor = 0, weightScale = 0;
  bool source = false;
};

// The norm and the router in front of a mixture layer, if it has the usual form.
struct RouterChain {
  NormOp norm;
  LinearOp linear;
  RouteOp route;
};

RouterChain routerOf(MoeOp moe) {
  auto route = moe.getIds().getDefiningOp<RouteOp>();
  auto linear = route ? route.getLogits().getDefiningOp<LinearOp>() : LinearOp();
  auto norm = linear ? linear.getInput().getDefiningOp<NormOp>() : NormOp();
  return norm && norm.getHeads() == 1 ? RouterChain{norm, linear, route} : RouterChain{};
}

// Everything that schedule decides, before it changes the IR.
class Planner {
public:
  Planner(ModuleOp module, const ScheduleOptions &options)
      : module(module), symbols(module), context(module.getContext()), options(options) {}

  LogicalResult plan(func::FuncOp main);
  void apply(func::FuncOp main);

private:
  LogicalResult planOp(Operation *op);
  LogicalResult planLinear(LinearOp op);
  LogicalResult planRotary(RotaryOp op);
  LogicalResult planAttention(AttentionOp op);
  LogicalResult planShortConv(ShortConvOp op);
  LogicalResult planDeltaNet(DeltaNetOp op);
  template <typename OpT> FailureOr<Attribute> newState(OpT op);
  LogicalResult planNumber(NumberTokensOp op);
  LogicalResult planRoute(RouteOp op);
  LogicalResult planMoe(MoeOp op);
  LogicalResult planLookAhead(MoeOp op);
  LogicalResult planElementwise(Operation *op, KernelSpec spec);
  void planColumns(Operation *op);

  void findWantedOps(func::FuncOp main);

  // The one add that consumes `value` and can be the epilogue of the step that makes it; its other operand must
  // already be there.
  AddOp fusibleAdd(Value value);

  int64_t newBuffer(uint64_t perToken, bool wanted);
  Attribute bufferOperand(int64_t index) { return OperandAttr::get(context, OperandKind::Buffer, index); }
  Attribute operandOf(Value value);
  Attribute quantizedOperandOf(Value value, bool wanted, Location loc);
  Attribute defineRows(Value value, bool wanted);
  Attribute weightOperand(StringRef name) { return FlatSymbolRefAttr::get(context, name); }
  Attribute none() { return OperandAttr::get(context, OperandKind::None, 0); }

  std::string kernelNamed(const KernelSpec &spec);
  std::string tableNamed(Attribute values, StringRef kind);
  // The buffers among `operands` are used by the step that comes next.
  void use(ArrayRef<Attribute> operands);
  void call(const KernelSpec &spec, ArrayRef<Attribute> operands, bool wanted, Location loc);
  bool isQuantized(LayoutAttr layout) const { return layout.hasScales() && !options.exact; }
  FailureOr<WeightOp> weight(Operation *user, StringRef name);

  ModuleOp module;
  SymbolTable symbols;
  MLIRContext *context;
  ScheduleOptions options;

  llvm::DenseSet<Operation *> wantedOps, fused;
  llvm::DenseSet<Value> ofSource;  // what follows from the encoder's input alone
  bool onSource = false;           // the steps being planned run once, on the encoder's input
  int64_t attentionLayers = 0, encoderCache = -1;
  llvm::DenseMap<Value, int64_t> bufferOf, quantizedOf;
  std::vector<BufferLife> buffers;
  std::vector<PlannedStep> steps;
  llvm::MapVector<StringRef, KernelSpec> kernels;  // keys live in kernelNames
  std::vector<std::unique_ptr<std::string>> kernelNames;
  llvm::MapVector<Attribute, std::string> tables;
  SmallVector<int64_t> caches, states;
  int64_t logits = -1;
};

FailureOr<WeightOp> Planner::weight(Operation *user, StringRef name) {
  auto found = symbols.lookup<WeightOp>(name);
  if (!found) {
    return user->emitOpError("names the weight @") << name << ", which does not exist";
  }
  if (!found.getLayout() || !found.getPlacement()) {
    return found.emitOpError("has no layout or placement: run quantise and partition-experts first");
  }
  return found;
}

int64_t Planner::newBuffer(uint64_t perToken, bool wanted) {
  buffers.push_back({0, perToken, wanted, steps.size(), steps.size(), onSource});
  return buffers.size() - 1;
}

Attribute Planner::operandOf(Value value) {
  auto known = bufferOf.find(value);
  if (known == bufferOf.end()) {
    return OperandAttr::get(context, OperandKind::TokenIds, 0);
  }
  return bufferOperand(known->second);
}

Attribute Planner::defineRows(Value value, bool wanted) {
  int64_t index = newBuffer(f32RowBytes(width(value)), wanted);
  bufferOf[value] = index;
  return bufferOperand(index);
}

Attribute Planner::quantizedOperandOf(Value value, bool wanted, Location loc) {
  // Rows that were quantised for all tokens serve a step that needs only some, never the other way round.
  auto known = quantizedOf.find(value);
  if (known != quantizedOf.end() && (wanted || !buffers[known->second].wanted)) {
    return bufferOperand(known->second);
  }
  int64_t index = newBuffer(q8RowBytes(width(value)), wanted);
  quantizedOf[value] = index;
  KernelSpec spec;
  spec.family = KernelFamily::Quantize;
  spec.k = width(value);
  call(spec, {operandOf(value), bufferOperand(index)}, wanted, loc);
  return bufferOperand(index);
}

std::string Planner::kernelNamed(const KernelSpec &spec) {
  std::string name = kernelName(spec);
  if (!kernels.count(name)) {
    kernelNames.push_back(std::make_unique<std::string>(name));
    kernels.insert({*kernelNames.back(), spec});
  }
  return name;
}

void Planner::use(ArrayRef<Attribute> operands) {
  for (Attribute operand : operands) {
    if (auto buffer = dyn_cast<OperandAttr>(operand); buffer && buffer.getKind() == OperandKind::Buffer) {
      buffers[buffer.getIndex()].last = steps.size();
    }
  }
}

void Planner::call(const KernelSpec &spec, ArrayRef<Attribute> operands, bool wanted, Location loc) {
  use(operands);
  steps.push_back({kernelNamed(spec), "", SmallVector<Attribute>(operands), wanted, 0, 0, {}, loc});
  steps.back().source = onSource;
}

// Only what the returned logits need, and nothing else, may skip the rows whose logits nobody wants. Rows that a
// cache or a routing trace must see are always computed, and so are sums: they are epilogues of what makes them.
void Planner::findWantedOps(func::FuncOp main) {
  for (Operation &op : llvm::reverse(main.getBody().front())) {
    if (isa<func::ReturnOp>(op)) {
      wantedOps.insert(&op);
    } else if (isa<NormOp, LinearOp, MulOp, ActivateOp, ScaleOp, ScaleRowsOp>(op) && !op.use_empty() &&
               llvm::all_of(op.getUsers(), [&](Operation *user) { return wantedOps.contains(user); })) {
      wantedOps.insert(&op);
    }
  }
}

AddOp Planner::fusibleAdd(Value value) {
  if (!value.hasOneUse()) {
    return {};
  }
  auto add = dyn_cast<AddOp>(*value.getUsers().begin());
  if (!add || wantedOps.contains(add) != wantedOps.contains(value.getDefiningOp())) {
    return {};
  }
  Value other = add.getLhs() == value ? add.getRhs() : add.getLhs();
  return bufferOf.count(other) ? add : AddOp();
}

LogicalResult Planner::planLinear(LinearOp op) {
  FailureOr<WeightOp> matrix = weight(op, op.getWeight());
  if (failed(matrix)) {
    return failure();
  }
  bool wanted = wantedOps.contains(op);
  KernelSpec spec;
  spec.family = KernelFamily::Linear;
  spec.n = matrix->getShape()[0];
  spec.k = matrix->getShape()[1];
  spec.layout = *matrix->getLayout();
  spec.quantizedActivations = isQuantized(spec.layout);
  Attribute input = spec.quantizedActivations ? quantizedOperandOf(op.getInput(), wanted, op.getLoc())
                                              : operandOf(op.getInput());
  SmallVector<Attribute> operands{input, weightOperand(op.getWeight())};
  AddOp add = fusibleAdd(op.getResult());
  Value residual = !add ? Value() : add.getLhs() == op.getResult() ? add.getRhs() : add.getLhs();
  Value result = add ? add.getResult() : op.getResult();
  operands.push_back(defineRows(result, wanted));
  if (add) {
    spec.hasResidual = true;
    operands.push_back(operandOf(residual));
    fused.insert(add);
  }
  if (op.getBias()) {
    spec.hasBias = true;
    operands.push_back(weightOperand(*op.getBias()));
  }
  call(spec, operands, wanted, op.getLoc());
  return success();
}

std::string Planner::tableNamed(Attribute values, StringRef kind) {
  auto [table, inserted] = tables.insert({values, ""});
  if (inserted) {
    table->second = (kind + std::to_string(tables.size() - 1)).str();
  }
  return table->second;
}

LogicalResult Planner::planRotary(RotaryOp op) {
  KernelSpec spec;
  spec.family = KernelFamily::Rotary;
  spec.heads = op.getHeads();
  spec.headDim = width(op.getInput()) / spec.heads;
  spec.rotated = 2 * op.getInvFreq().size();
  spec.rotary = op.getStyle();
  spec.scale = op.getMagnitude().convertToFloat();
  spec.digits = op.getDigits();
  std::string table = tableNamed(op.getInvFreqAttr(), "inv_freq");
  call(spec, {operandOf(op.getInput()), weightOperand(table), defineRows(op.getResult(), false)}, false,
       op.getLoc());
  return success();
}

LogicalResult Planner::planAttention(AttentionOp op) {
  if (static_cast<int64_t>(op.getLayer()) != attentionLayers) {
    return op.emitOpError("is number ") << attentionLayers << " in the program, but has layer = " << op.getLayer();
  }
  ++attentionLayers;
  const bool keysOfSource = ofSource.contains(op.getKey()) && ofSource.contains(op.getValue());
  if (op.getBidirectional() != keysOfSource) {
    return op.emitOpError("sees later positions, which only an encoder's and those over its result can");
  }
  const int64_t shape[] = {static_cast<int64_t>(op.getKvHeads()), static_cast<int64_t>(op.getHeadDim())};
  // Keys and values of an encoder's layer are of no use after it: the layers share a cache.
  int64_t layer = caches.size() / 2;
  if (onSource && encoderCache >= 0 && caches[2 * encoderCache] == shape[0] && caches[2 * encoderCache + 1] == shape[1]) {
    layer = encoderCache;
  } else {
    caches.append({shape[0], shape[1]});
    encoderCache = onSource ? layer : encoderCache;
  }
  Attribute keys = OperandAttr::get(context, OperandKind::KvKeys, layer);
  Attribute values = OperandAttr::get(context, OperandKind::KvValues, layer);
  KernelSpec append;
  append.family = KernelFamily::KvAppend;
  append.kvHeads = op.getKvHeads();
  append.headDim = op.getHeadDim();
  append.kvBits = options.kvBits;
  {
    llvm::SaveAndRestore once(onSource, keysOfSource);
    call(append, {operandOf(op.getKey()), operandOf(op.getValue()), keys, values}, false, op.getLoc());
  }

  KernelSpec spec;
  spec.family = KernelFamily::Attention;
  spec.heads = op.getHeads();
  spec.kvHeads = op.getKvHeads();
  spec.headDim = op.getHeadDim();
  spec.kvBits = options.kvBits;
  spec.scale = op.getScale().convertToFloat();
  spec.window = op.getWindow();
  spec.softcap = op.getSoftcap().convertToFloat();
  SmallVector<Attribute> operands{operandOf(op.getQuery()), keys, values, defineRows(op.getResult(), false)};
  if (op.getSinks()) {
    spec.hasSinks = true;
    operands.push_back(weightOperand(*op.getSinks()));
  }
  spec.bidirectional = op.getBidirectional();
  if (op.getPositionBias()) {
    spec.distances = op.getPositionBias()->size() / spec.heads;
    spec.biasBefore = op.getBiasBefore();
    operands.push_back(weightOperand(tableNamed(op.getPositionBiasAttr(), "position_bias")));
  }
  call(spec, operands, false, op.getLoc());
  return success();
}

// The next recurrent state; its size is not known yet.
template <typename OpT> FailureOr<Attribute> Planner::newState(OpT op) {
  int64_t state = op.getState();
  if (state != static_cast<int64_t>(states.size())) {
    return op.emitOpError("is number ") << states.size() << " in the program, but has state = " << state;
  }
  states.push_back(0);
  return Attribute(OperandAttr::get(context, OperandKind::State, state));
}

// Every row goes through the state, whichever logits are wanted.
LogicalResult Planner::planShortConv(ShortConvOp op) {
  FailureOr<WeightOp> taps = weight(op, op.getWeight());
  FailureOr<Attribute> state = newState(op);
  if (failed(taps) || failed(state)) {
    return failure();
  }
  KernelSpec spec;
  spec.family = KernelFamily::ShortConv;
  spec.n = taps->getShape()[0];
  spec.k = taps->getShape()[1];
  states.back() = operandExtents(spec)[2].fixed;
  SmallVector<Attribute> operands{operandOf(op.getInput()), weightOperand(op.getWeight()), *state,
                                  defineRows(op.getResult(), false)};
  if (op.getBias()) {
    spec.hasBias = true;
    operands.push_back(weightOperand(*op.getBias()));
  }
  call(spec, operands, false, op.getLoc());
  return success();
}

LogicalResult Planner::planDeltaNet(DeltaNetOp op) {
  FailureOr<Attribute> state = newState(op);
  if (failed(state)) {
    return failure();
  }
  KernelSpec spec;
  spec.family = KernelFamily::DeltaNet;
  spec.heads = op.getHeads();
  spec.kvHeads = op.getKeyHeads();
  spec.headDim = width(op.getKey()) / spec.kvHeads;
  spec.n = width(op.getValue()) / spec.heads;
  spec.scale = op.getScale().convertToFloat();
  spec.renormalise = op.getNormalise();
  spec.epsilon = op.getEpsilon().convertToFloat();
  spec.logDecay = op.getLogDecay();
  states.back() = operandExtents(spec)[6].fixed;
  SmallVector<Attribute> operands{operandOf(op.getQuery()), operandOf(op.getKey()), operandOf(op.getValue()),
                                  operandOf(op.getDecayInput()), operandOf(op.getRateInput()),
                                  weightOperand(op.getDecay()), *state, defineRows(op.getResult(), false)};
  if (op.getDecayBias()) {
    spec.hasBias = true;
    operands.push_back(weightOperand(*op.getDecayBias()));
  }
  call(spec, operands, false, op.getLoc());
  return success();
}

LogicalResult Planner::planNumber(NumberTokensOp op) {
  KernelSpec spec;
  spec.family = KernelFamily::Number;
  spec.n = op.getLimit();
  spec.start = op.getFirst();
  spec.padding = op.getPadding();
  spec.hasState = op.getState().has_value();
  if (spec.hasState == onSource) {
    return op.emitOpError("counts from call to call where there is one call, or does not where there are several");
  }
  const int64_t numbers = newBuffer(sizeof(int32_t), false);
  bufferOf[op.getResult()] = numbers;
  SmallVector<Attribute> operands{operandOf(op.getIds()), bufferOperand(numbers)};
  if (spec.hasState) {
    const int64_t state = *op.getState();
    if (state != static_cast<int64_t>(states.size())) {
      return op.emitOpError("is number ") << states.size() << " in the program, but has state = " << state;
    }
    states.push_back(operandExtents(spec)[2].fixed);
    operands.push_back(OperandAttr::get(context, OperandKind::State, state));
  }
  call(spec, operands, false, op.getLoc());
  return success();
}

LogicalResult Planner::planRoute(RouteOp op) {
  KernelSpec spec;
  spec.family = KernelFamily::Route;
  spec.n = width(op.getLogits());
  spec.topK = op.getTopK();
  spec.score = op.getScore();
  spec.softmaxAfter = op.getSoftmaxAfter();
  spec.renormalise = op.getRenormalise();
  spec.epsilon = op.getRenormaliseKept() ? 0 : op.getEpsilon().convertToFloat();
  spec.scale = op.getRenormaliseKept() ? 1 : op.getScale().convertToFloat();
  spec.groups = op.getGroups();
  spec.topGroups = op.getTopGroups();
  spec.groupTop = op.getGroupTop();
  spec.groupFill = op.getGroupFill().convertToFloat();
  spec.threshold = op.getThreshold().convertToFloat();
  int64_t ids = newBuffer(4 * spec.topK, false), weights = newBuffer(4 * spec.topK, false);
  bufferOf[op.getIds()] = ids;
  bufferOf[op.getWeights()] = weights;
  SmallVector<Attribute> operands{operandOf(op.getLogits()), bufferOperand(ids), bufferOperand(weights)};
  if (op.getSelectionBias()) {
    spec.hasBias = true;
    operands.push_back(weightOperand(*op.getSelectionBias()));
  }
  if (op.getExpertScale()) {
    spec.hasScale = true;
    operands.push_back(weightOperand(*op.getExpertScale()));
  }
  call(spec, operands, false, op.getLoc());
  return success();
}

// What the next mixture layer's norm and router make of the rows that this layer's norm reads: the residual stream
// without the experts' results, which are not there yet. Layers of another form are not looked ahead to.
LogicalResult Planner::planLookAhead(MoeOp op) {
  // An encoder's input is a chunk of many tokens: its layers are not looked ahead to, and neither is the decoder's first.
  if (onSource) {
    return success();
  }
  MoeOp next;
  for (MoeOp other : op->getParentOfType<func::FuncOp>().getOps<MoeOp>()) {
    if (other.getLayer() == op.getLayer() + 1) {
      next = other;
    }
  }
  RouterChain here = routerOf(op), there = next ? routerOf(next) : RouterChain{};
  if (!here.norm || !there.norm || width(here.norm.getInput()) != width(there.norm.getInput()) ||
      !bufferOf.count(here.norm.getInput())) {
    return success();
  }
  FailureOr<WeightOp> matrix = weight(next, there.linear.getWeight());
  if (failed(matrix)) {
    return failure();
  }
  if (isQuantized(*matrix->getLayout())) {
    return success();
  }
  PlannedStep step{"", "", {}, false, static_cast<int64_t>(next.getLayer()), 0, {}, next.getLoc()};
  KernelSpec norm;
  norm.family = KernelFamily::Norm;
  norm.k = width(there.norm.getInput());
  norm.heads = 1;
  norm.norm = there.norm.getKind();
  norm.epsilon = there.norm.getEpsilon().convertToFloat();
  norm.hasBias = there.norm.getBias().has_value();
  Attribute normed = bufferOperand(newBuffer(f32RowBytes(norm.k), false));
  step.operands = {operandOf(here.norm.getInput()), weightOperand(there.norm.getWeight()), normed};
  if (norm.hasBias) {
    step.operands.push_back(weightOperand(*there.norm.getBias()));
  }
  KernelSpec router;
  router.family = KernelFamily::Linear;
  router.n = matrix->getShape()[0];
  router.k = matrix->getShape()[1];
  router.layout = *matrix->getLayout();
  router.hasBias = there.linear.getBias().has_value();
  Attribute scores = bufferOperand(newBuffer(f32RowBytes(router.n), false));
  step.routerOperands = {normed, weightOperand(there.linear.getWeight()), scores};
  if (router.hasBias) {
    step.routerOperands.push_back(weightOperand(*there.linear.getBias()));
  }
  step.kernel = kernelNamed(norm);
  step.router = kernelNamed(router);
  // The sparse mixer chooses by its logits; its weights do not matter here.
  const ScoreFunction score = there.route.getScore();
  step.score = score == ScoreFunction::SparseMixer ? ScoreFunction::None : score;
  if (there.route.getSelectionBias()) {
    step.selectionBias = there.route.getSelectionBiasAttr();
  }
  use(step.operands);
  use(step.routerOperands);
  steps.push_back(step);
  return success();
}

LogicalResult Planner::planMoe(MoeOp op) {
  if (failed(planLookAhead(op))) {
    return failure();
  }
  auto records = llvm::find_if(module.getOps<RecordsOp>(),
                               [&](RecordsOp records) { return records.getLayer() == op.getLayer(); });
  if (records == module.getOps<RecordsOp>().end()) {
    return op.emitOpError("has no records: run partition-experts first");
  }
  FailureOr<WeightOp> up = weight(op, cast<FlatSymbolRefAttr>(op.getUp()[0]).getValue());
  if (failed(up)) {
    return failure();
  }
  int64_t hidden = up->getShape()[0], model = up->getShape()[1];
  int64_t topK = cast<RankedTensorType>(op.getIds().getType()).getDimSize(1);

  PlannedStep step{"", "", {}, false, static_cast<int64_t>(op.getLayer()), topK, {}, op.getLoc()};
  bool anyQuantized = false, anyFloat = false;
  for (Attribute attr : (*records).getVariants()) {
    (isQuantized(cast<VariantAttr>(attr).getLayout()) ? anyQuantized : anyFloat) = true;
  }
  for (auto [index, attr] : llvm::enumerate((*records).getVariants())) {
    auto variant = cast<VariantAttr>(attr);
    KernelSpec gateUp;
    gateUp.family = KernelFamily::GateUp;
    gateUp.n = hidden;
    gateUp.k = model;
    gateUp.layout = variant.getLayout();
    gateUp.gated = op.getGate().has_value();
    gateUp.activation = op.getActivation();
    gateUp.hasBias = op.getGateBias() || op.getUpBias() || op.getDownBias();
    gateUp.alpha = op.getAlpha().convertToFloat();
    gateUp.offset = op.getOffset().convertToFloat();
    gateUp.limit = op.getLimit().convertToFloat();
    gateUp.quantizedActivations = isQuantized(gateUp.layout);
    KernelSpec down;
    down.family = KernelFamily::Linear;
    down.n = model;
    down.k = hidden;
    down.layout = downLayout(*records, index);
    down.biasBehind = gateUp.hasBias;
    down.quantizedActivations = gateUp.quantizedActivations;
    if (anyFloat && gateUp.quantizedActivations) {
      // Experts of all variants share the hidden rows: a pair's row must be in one place whatever its format.
      gateUp.rowStride = down.rowStride = f32RowBytes(hidden);
    }
    step.expertKernels.push_back(ArrayAttr::get(
        context, {weightOperand(kernelNamed(gateUp)), weightOperand(kernelNamed(down))}));
  }
  Attribute quantized = anyQuantized ? quantizedOperandOf(op.getInput(), false, op.getLoc()) : none();
  Attribute floats = anyFloat ? operandOf(op.getInput()) : none();
  uint64_t hiddenBytes = anyFloat ? f32RowBytes(hidden) : q8RowBytes(hidden);
  int64_t hiddenRows = newBuffer(topK * hiddenBytes, false);
  int64_t pairRows = newBuffer(topK * f32RowBytes(model), false);
  step.operands = {floats, quantized, operandOf(op.getIds()), bufferOperand(hiddenRows), bufferOperand(pairRows)};
  auto route = op.getIds().getDefiningOp<RouteOp>();
  if (route && static_cast<int64_t>(route.getCapacity()) > 0) {
    step.capacity = route.getCapacity();
    step.ranked = route.getRanked();
    if (route.getRenormaliseKept()) {
      step.weightFloor = route.getEpsilon().convertToFloat();
      step.weightScale = route.getScale().convertToFloat();
    }
    step.operands.push_back(operandOf(op.getWeights()));
  }
  step.source = onSource;
  use(step.operands);
  steps.push_back(step);

  KernelSpec combine;
  combine.family = KernelFamily::Combine;
  combine.k = model;
  combine.topK = topK;
  AddOp add = fusibleAdd(op.getResult());
  Value residual = !add ? Value() : add.getLhs() == op.getResult() ? add.getRhs() : add.getLhs();
  SmallVector<Attribute> operands{bufferOperand(pairRows), operandOf(op.getWeights()),
                                  defineRows(add ? add.getResult() : op.getResult(), false)};
  if (add) {
    combine.hasResidual = true;
    operands.push_back(operandOf(residual));
    fused.insert(add);
  }
  call(combine, operands, false, op.getLoc());
  return success();
}

LogicalResult Planner::planElementwise(Operation *op, KernelSpec spec) {
  spec.k = width(op->getResult(0));
  bool wanted = wantedOps.contains(op);
  SmallVector<Attribute> operands;
  for (Value operand : op->getOperands()) {
    operands.push_back(operandOf(operand));
  }
  operands.push_back(defineRows(op->getResult(0), wanted));
  call(spec, operands, wanted, op->getLoc());
  return success();
}

void Planner::planColumns(Operation *op) {
  KernelSpec spec;
  SmallVector<Attribute> operands;
  spec.k = width(op->getOperand(0));
  if (auto slice = dyn_cast<SliceHeadsOp>(op)) {
    spec.family = KernelFamily::Slice;
    spec.heads = slice.getHeads();
    spec.headDim = width(slice.getResult()) / spec.heads;
    spec.start = slice.getStart();
  } else {
    auto concat = cast<ConcatHeadsOp>(op);
    spec.family = KernelFamily::Concat;
    spec.n = width(concat.getRhs());
    spec.heads = concat.getHeads();
    spec.kvHeads = concat.getRhsHeads();
  }
  for (Value operand : op->getOperands()) {
    operands.push_back(operandOf(operand));
  }
  operands.push_back(defineRows(op->getResult(0), false));
  call(spec, operands, false, op->getLoc());
}

LogicalResult Planner::planOp(Operation *op) {
  if (fused.contains(op)) {
    return success();
  }
  KernelSpec spec;
  return llvm::TypeSwitch<Operation *, LogicalResult>(op)
      .Case([&](EmbeddingOp embedding) -> LogicalResult {
        FailureOr<WeightOp> matrix = weight(op, embedding.getWeight());
        if (failed(matrix)) {
          return failure();
        }
        spec.family = KernelFamily::Embed;
        spec.n = matrix->getShape()[0];
        spec.k = matrix->getShape()[1];
        spec.layout = *matrix->getLayout();
        spec.scale = embedding.getScale().convertToFloat();
        call(spec,
             {operandOf(embedding.getIds()), weightOperand(embedding.getWeight()),
              defineRows(embedding.getResult(), false)},
             false, op->getLoc());
        return success();
      })
      .Case([&](NormOp norm) -> LogicalResult {
        bool wanted = wantedOps.contains(op);
        spec.family = KernelFamily::Norm;
        spec.k = width(norm.getInput());
        spec.heads = norm.getHeads();
        spec.norm = norm.getKind();
        spec.epsilon = norm.getEpsilon().convertToFloat();
        spec.offset = norm.getOffset().convertToFloat();
        spec.hasBias = norm.getBias().has_value();
        SmallVector<Attribute> operands{operandOf(norm.getInput()), weightOperand(norm.getWeight()),
                                        defineRows(norm.getResult(), wanted)};
        if (norm.getBias()) {
          operands.push_back(weightOperand(*norm.getBias()));
        }
        call(spec, operands, wanted, op->getLoc());
        return success();
      })
      .Case([&](LinearOp linear) { return planLinear(linear); })
      .Case([&](RotaryOp rotary) { return planRotary(rotary); })
      .Case([&](AttentionOp attention) { return planAttention(attention); })
      .Case([&](ShortConvOp conv) { return planShortConv(conv); })
      .Case([&](DeltaNetOp net) { return planDeltaNet(net); })
      .Case([&](NumberTokensOp number) { return planNumber(number); })
      .Case([&](RouteOp route) { return planRoute(route); })
      .Case([&](MoeOp moe) { return planMoe(moe); })
      .Case([&](AddOp) {
        spec.family = KernelFamily::Add;
        return planElementwise(op, spec);
      })
      .Case([&](MulOp) {
        spec.family = KernelFamily::Mul;
        return planElementwise(op, spec);
      })
      .Case([&](ActivateOp activate) {
        spec.family = KernelFamily::Activate;
        spec.activation = activate.getActivation();
        return planElementwise(op, spec);
      })
      .Case([&](ScaleOp scale) {
        spec.family = KernelFamily::Scale;
        spec.scale = scale.getFactor().convertToFloat();
        return planElementwise(op, spec);
      })
      .Case([&](ScaleRowsOp) {
        spec.family = KernelFamily::ScaleRows;
        spec.packedFactor = isa_and_nonnull<RouteOp>(op->getOperand(1).getDefiningOp());
        return planElementwise(op, spec);
      })
      .Case<SliceHeadsOp, ConcatHeadsOp>([&](auto columns) {
        planColumns(columns);
        return success();
      })
      .Case([&](func::ReturnOp ret) -> LogicalResult {
        if (ret.getNumOperands() != 1 || !bufferOf.count(ret.getOperand(0))) {
          return ret.emitOpError("must return the logits and nothing else");
        }
        logits = bufferOf[ret.getOperand(0)];
        return success();
      })
      .Default([&](Operation *) { return op->emitOpError("cannot be scheduled: it is not an op of the raised model"); });
}

LogicalResult Planner::plan(func::FuncOp main) {
  findWantedOps(main);
  if (main.getNumArguments() == 2) {
    ofSource.insert(main.getArgument(1));
  }
  for (Operation &op : main.getBody().front()) {
    onSource = op.getNumOperands() != 0 && op.getNumResults() != 0 &&
               llvm::all_of(op.getOperands(), [&](Value operand) { return ofSource.contains(operand); });
    if (onSource) {
      ofSource.insert(op.result_begin(), op.result_end());
    }
    if (failed(planOp(&op))) {
      return failure();
    }
  }
  if (logits < 0) {
    return main.emitOpError("does not return logits");
  }
  if (!buffers[logits].wanted) {
    return main.emitOpError("returns rows that other ops use too; logits must be the last op's result");
  }
  buffers[logits].last = steps.size();
  return success();
}

void Planner::apply(func::FuncOp main) {
  std::vector<size_t> slots = assignSlots(buffers);
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  Location loc = main.getLoc();
  for (auto &[name, spec] : kernels) {
    builder.create<KernelOp>(loc, name, specToAttr(context, spec));
  }
  for (auto &[values, name] : tables) {
    builder.create<TableOp>(loc, name, cast<DenseF32ArrayAttr>(values));
  }
  auto program = builder.create<ProgramOp>(
      loc, builder.getDenseI64ArrayAttr(caches), states.empty() ? DenseI64ArrayAttr() : builder.getDenseI64ArrayAttr(states),
      builder.getI64IntegerAttr(logits));
  builder.setInsertionPointToStart(&program.getBody().emplaceBlock());
  for (auto [index, buffer] : llvm::enumerate(buffers)) {
    builder.create<BufferOp>(loc, index, buffer.fixed, buffer.perToken, slots[index], buffer.wanted,
                             buffer.source);
  }
  for (PlannedStep &step : steps) {
    ArrayAttr operands = builder.getArrayAttr(step.operands);
    if (!step.router.empty()) {
      builder.create<LookAheadOp>(step.loc, step.layer, step.kernel, operands, step.router,
                                  builder.getArrayAttr(step.routerOperands), step.score, step.selectionBias);
    } else if (step.kernel.empty()) {
      builder.create<RunExpertsOp>(step.loc, step.layer, step.topK, builder.getArrayAttr(step.expertKernels), operands,
                                   step.capacity, step.ranked, llvm::APFloat(step.weightFloor),
                                   llvm::APFloat(step.weightScale), step.source);
    } else {
      builder.create<CallOp>(step.loc, step.kernel, operands, step.wanted, step.source);
    }
  }
  main.erase();
}

class SchedulePass : public PassWrapper<SchedulePass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(SchedulePass)
  SchedulePass() = default;
  SchedulePass(const SchedulePass &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "schedule"; }
  StringRef getDescription() const override {
    return "Turn the model function into the program: kernels, buffers, steps";
  }
  void runOnOperation() override {
    if (failed(schedule(getOperation(), {exact, kvBits}))) {
      signalPassFailure();
    }
  }

private:
  Option<bool> exact{*this, "exact", llvm::cl::desc("float32 activations at any width"), llvm::cl::init(false)};
  Option<unsigned> kvBits{*this, "kv-bits", llvm::cl::desc("of cached keys and values: 32 or 16"), llvm::cl::init(32)};
};

} // namespace

LogicalResult schedule(ModuleOp module, const ScheduleOptions &options) {
  auto main = module.lookupSymbol<func::FuncOp>("main");
  if (!main || main.isExternal() || !main.getBody().hasOneBlock()) {
    return module.emitError("schedule needs a function @main with one block");
  }
  Planner planner(module, options);
  if (failed(planner.plan(main))) {
    return failure();
  }
  planner.apply(main);
  return success();
}

void registerSchedulePasses() { PassRegistration<SchedulePass>(); }

} // namespace emoe
