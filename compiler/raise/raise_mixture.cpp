// Mixtures as one op (P0: com.microsoft MoE), and dense ones (P1: every expert on every token, weighed by whether it
// was chosen).
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addMixtureHandlers() {
  for (const char *op : {"com.microsoft.MoE", "com.microsoft.QMoE"}) {
    add(op, &Raiser::mixtureOp);
  }
  add("Equal", &Raiser::chosenMask);
  add("Mul", &Raiser::denseMul);
  add("ReduceSum", &Raiser::denseSum);
}

//===--- P0 --------------------------------------------------------------------------------------------------------===//

// True if every element of a bias is zero: it need not be added.
bool Raiser::isZero(const Meaning &bias) {
  if (bias.is(Kind::Fill)) {
    return bias.scalar == 0;
  }
  auto values = readVector(bias);
  return values && llvm::all_of(*values, [](float value) { return value == 0; });
}

LogicalResult Raiser::mixtureOp(Operation *operation) {
  if (auto quantised = dyn_cast<onnx::MsQMoEOp>(operation)) {
    return quantised.getFc1Scales() ? success() : emitMixture(quantised, quantised.getRouterWeights());
  }
  return emitMixture(cast<onnx::MsMoEOp>(operation), Value());
}

// The op with float weights; `routerWeights`: scores that weigh, where others choose.
template <typename OpT> LogicalResult Raiser::emitMixture(OpT op, Value routerWeights) {
  const Meaning x = of(op.getInput()), scores = of(op.getRouterProbs());
  bool flat = x.form == Form::BSW || x.form == Form::SW;
  // Logits; logarithms of scores that were chosen before; or, where other scores weigh, what the experts are chosen by.
  const bool written = scores.is(Kind::ScatteredLogs) && !routerWeights;
  std::optional<Meaning> choosing = written                                  ? std::optional<Meaning>(scores)
                                    : isPlainRows(scores) || routerWeights ? asScores(scores)
                                                                           : std::nullopt;
  if (!isPlainRows(x) || !flat || !choosing || rowWidth(x) < 1 || choosing->route.experts < 1 || choosing->extents.empty() ||
      choosing->extent(-1) != Extent(choosing->route.experts)) {
    return success();
  }
  if (op.getUseSparseMixer()) {
    return op.emitError("use_sparse_mixer: this op's sparse mixer is not supported; export the experts batched");
  }
  int64_t experts = choosing->route.experts, width = rowWidth(x);
  StringRef activation = op.getActivationType();
  bool swiglu = activation == "swiglu", fused = swiglu && op.getSwigluFusion() != 0;
  Meaning weights[3] = {of(op.getFc1ExpertsWeights()), of(op.getFc2ExpertsWeights()), of(op.getFc3ExpertsWeights())};
  Value biases[3] = {op.getFc1ExpertsBias(), op.getFc2ExpertsBias(), op.getFc3ExpertsBias()};
  bool hasThird = static_cast<bool>(op.getFc3ExpertsWeights());
  for (int i : {0, 1, 2}) {
    if ((i < 2 || hasThird) && !weights[i].is(Kind::Weight)) {
      return success();
    }
  }
  if (weights[0].view.extents[0] != experts) {
    return op.emitError() << "the router scores " << experts << " experts, but fc1 holds "
                          << weights[0].view.extents[0] << ": the export lost experts; export the model again";
  }
  // Extents may be swapped in old files; the bytes are rows of outputs all the same.
  int64_t rows1 = weights[0].view.elements() / (experts * width), hidden = fused ? rows1 / 2 : rows1;
  auto first = weights[0].view.reshaped({experts, rows1, width});
  auto second = weights[1].view.reshaped({experts, width, hidden});
  auto third = hasThird ? weights[2].view.reshaped({experts, hidden, width}) : std::nullopt;
  if (!first || !second || (hasThird && !third) || (swiglu && fused == hasThird)) {
    return op.emitError("the experts' weights do not fit each other");
  }
  ExpertMeaning stacked;
  stacked.down = second;
  if (swiglu) {
    bool interleaved = op.getSwigluFusion() == 1;
    stacked.gate = fused ? first->sliced(1, 0, hidden, interleaved ? 2 : 1) : *first;
    stacked.up = fused ? first->sliced(1, interleaved ? 1 : hidden, hidden, interleaved ? 2 : 1) : *third;
    stacked.alpha = op.getActivationAlpha();
    stacked.offset = op.getActivationBeta();
    stacked.limit = op.getSwigluLimit() && std::isfinite(*op.getSwigluLimit()) ? *op.getSwigluLimit() : 0;
    if (stacked.limit < 0) {
      return op.emitError() << "swiglu_limit (" << stacked.limit << ") is negative";
    }
  } else if (hasThird) {
    stacked.gate = first;
    stacked.up = third;
  } else {
    stacked.up = first;
  }
  if (activation == "relu") {
    stacked.activation = Activation::Relu;
  } else if (activation == "gelu") {
    stacked.activation = Activation::GeluTanh;
  } else if (activation != "silu" && !swiglu) {
    return op.emitError() << "the activation \"" << activation << "\" of the experts is not supported";
  }
  // Biases that are all zero need not be added.
  for (int i : {0, 1, 2}) {
    const Meaning bias = of(biases[i]);
    int64_t rows = i == 0 ? rows1 : i == 1 ? width : hidden;
    if (!biases[i] || isZero(bias)) {
      continue;
    }
    auto whole = bias.is(Kind::Weight) ? bias.view.reshaped({experts, rows}) : std::nullopt;
    if (!whole) {
      return success();
    }
    if (i == 1) {
      stacked.downBias = whole;
    } else if (i == 2 || !stacked.gate) {
      stacked.upBias = whole;
    } else if (!fused) {
      stacked.gateBias = whole;
    } else {
      bool interleaved = op.getSwigluFusion() == 1;
      stacked.gateBias = whole->sliced(1, 0, hidden, interleaved ? 2 : 1);
      stacked.upBias = whole->sliced(1, interleaved ? 1 : hidden, hidden, interleaved ? 2 : 1);
    }
  }
  RouteMeaning route = choosing->route;
  if (written) {
    if (op.getK() != route.topK) {
      return op.emitError() << "chooses " << op.getK() << " experts where the graph in front of it chose " << route.topK;
    }
    // The softmax of logarithms: scores divided by their sum.
    route.renormalise = true;
    if (onnx::MulOp product = correctionOf(op->getResult(0), route, route.epsilon)) {
      set(product->getResult(0), reshaped(Meaning(), x.extents));
      return emitMoe(product, route, x.source, expertsOf(stacked, experts), x.form, "experts P0");
    }
    set(op->getResult(0), reshaped(Meaning(), x.extents));
    return emitMoe(op, route, x.source, expertsOf(stacked, experts), x.form, "experts P0");
  }
  route.topK = op.getK();
  route.score = ScoreFunction::Softmax;
  route.renormalise = op.getNormalizeRoutingWeights() != 0;
  if (route.topK < 1 || route.topK > experts) {
    return op.emitError() << "chooses " << route.topK << " of " << experts << " experts";
  }
  if (routerWeights && !mixingScores(routerWeights, *choosing, route)) {
    return op.emitError("router_weights are not the scores by which experts are chosen, before a bias; this router is "
                        "not supported");
  }
  set(op->getResult(0), reshaped(Meaning(), x.extents));
  return emitMoe(op, route, x.source, expertsOf(stacked, experts), x.form, "experts P0");
}

// Scores that weigh: those that choose, before a bias and a choice of groups, or softmax or sigmoid of the logits that
// choose.
bool Raiser::mixingScores(Value routerWeights, const Meaning &choosing, RouteMeaning &route) {
  auto weights = asScores(of(routerWeights));
  if (!weights || weights->route.logits != choosing.route.logits || weights->route.selectionBias ||
      weights->route.groups != 1) {
    return false;
  }
  bool byLogits = choosing.route.score == ScoreFunction::None && !choosing.route.selectionBias && choosing.route.groups == 1;
  if (!byLogits && weights->route.score != choosing.route.score) {
    return false;
  }
  route.score = weights->route.score;
  return true;
}

//===--- P1 --------------------------------------------------------------------------------------------------------===//

// The rows that an op of the raised model reads, through bridges that cancel.
static Value behindBridge(Value rows) {
  while (auto to = rows.getDefiningOp<onnx::ToRowsOp>()) {
    auto from = to.getInput().getDefiningOp<onnx::FromRowsOp>();
    if (!from) {
      break;
    }
    rows = from.getRows();
  }
  return rows;
}

// The expert whose result the rows are, and its input: linear layers around an activation, already emitted.
std::optional<ExpertMeaning> Raiser::expertBehind(Value source, Value &input) {
  auto from = source.getDefiningOp<onnx::FromRowsOp>();
  auto down = from ? from.getRows().getDefiningOp<LinearOp>() : LinearOp();
  if (!down) {
    return std::nullopt;
  }
  ExpertMeaning expert;
  auto viewOf = [&](LinearOp linear) { return weightViews.find(linear.getWeight())->second; };
  auto biasOf = [&](LinearOp linear) -> std::optional<TensorView> {
    return linear.getBias() ? std::optional(weightViews.find(*linear.getBias())->second.selected(0, 0)) : std::nullopt;
  };
  expert.down = viewOf(down);
  expert.downBias = biasOf(down);
  auto linearBehind = [&](Value rows) { return behindBridge(rows).getDefiningOp<LinearOp>(); };
  Value hidden = behindBridge(down.getInput());
  LinearOp activated, other;
  ActivateOp activate;
  if (auto product = hidden.getDefiningOp<MulOp>()) {
    for (auto [a, b] : {std::pair(product.getLhs(), product.getRhs()), std::pair(product.getRhs(), product.getLhs())}) {
      activate = behindBridge(a).getDefiningOp<ActivateOp>();
      if (activate && (other = linearBehind(b))) {
        break;
      }
      activate = {};
    }
  } else {
    activate = hidden.getDefiningOp<ActivateOp>();
  }
  activated = activate ? linearBehind(activate.getInput()) : LinearOp();
  if (!activated || (other && inputOf(other) != inputOf(activated))) {
    return std::nullopt;
  }
  expert.activation = activate.getActivation();
  if (other) {
    expert.gate = viewOf(activated);
    expert.gateBias = biasOf(activated);
    expert.up = viewOf(other);
    expert.upBias = biasOf(other);
  } else {
    expert.up = viewOf(activated);
    expert.upBias = biasOf(activated);
  }
  input = inputOf(activated);
  return expert;
}

// Where the chosen experts are expert number c.
LogicalResult Raiser::chosenMask(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning ids = of(op->getOperand(side));
    auto expert = integer(op->getOperand(1 - side));
    if (ids.is(Kind::TopIds) && expert && ids.extents.back() == Extent(ids.route.topK)) {
      if (*expert < 0 || *expert >= ids.route.experts) {
        return op->emitError() << "compares the chosen experts with " << *expert << ", but there are "
                               << ids.route.experts;
      }
      Meaning meaning = ids;
      meaning.kind = Kind::ChosenMask;
      meaning.expert = *expert;
      set(op->getResult(0), meaning);
      return success();
    }
  }
  return success();
}

// Weights of one expert where it was chosen; an expert's result times its weight.
LogicalResult Raiser::denseMul(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (a.is(Kind::TopWeights) && b.is(Kind::ChosenMask) && a.route.choice == b.route.choice &&
        a.extents == b.extents) {
      Meaning meaning = a;
      meaning.kind = Kind::ChosenWeights;
      meaning.expert = b.expert;
      set(op->getResult(0), meaning);
      return success();
    }
    bool flat = a.form == Form::BSW || a.form == Form::SW;
    bool dense = a.is(Kind::ExpertOut) && a.expert == kDenseExpert;
    if ((!isPlainRows(a) && !dense) || !flat || !b.is(Kind::TokenWeight) || broadcast(a.extents, b.extents) != a.extents ||
        b.extents.size() != a.extents.size()) {
      continue;
    }
    Value input = a.source;
    auto expert = dense ? std::optional<ExpertMeaning>(a.expertWeights) : expertBehind(a.source, input);
    if (!expert) {
      continue;
    }
    Meaning meaning = b;
    meaning.kind = Kind::PartialSum;
    meaning.source = input;
    meaning.form = a.form;
    meaning.experts[b.expert] = std::make_shared<const ExpertMeaning>(*expert);
    meaning.dense = true;
    set(op->getResult(0), reshaped(meaning, a.extents));
    return success();
  }
  return success();
}

LogicalResult Raiser::denseSum(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  if (input.is(Kind::ChosenWeights) && axis && (*axis == -1 || *axis == rank - 1)) {
    Meaning meaning = input;
    meaning.kind = Kind::TokenWeight;
    if (intAttr(op, "keepdims", 1)) {
      meaning.extents.back() = 1;
    } else {
      meaning.extents.pop_back();
    }
    set(op->getResult(0), meaning);
  }
  return success();
}

} // namespace emoe
