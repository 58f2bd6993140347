// Routers, and experts of all tokens at once by gathered stacked weights (P3); what experts have in common however they
// are written: products, biases, activations, and the mixture that comes of them.
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addExpertHandlers() {
  for (const char *op : {"Softmax", "Sigmoid"}) {
    add(op, &Raiser::expertScores);
  }
  add("TopK", &Raiser::topK);
  add("ReduceSum", &Raiser::topSum);
  add("Add", &Raiser::topAdd);
  add("Div", &Raiser::topDiv);
  add("Mul", &Raiser::topMul);
  // P3
  add("Tile", &Raiser::repeatRows);
  for (const char *op : {"Gather", "GatherND"}) {
    add(op, &Raiser::gatherExperts);
  }
  add("MatMul", &Raiser::expertMatMul);
  add("Split", &Raiser::expertSplit);
  add("Slice", &Raiser::expertSlice);
  for (const char *op : {"Sigmoid", "Relu", "Gelu"}) {
    add(op, &Raiser::expertActivation);
  }
  add("Mul", &Raiser::expertMul);
  add("Pow", &Raiser::squareActive);
  add("Add", &Raiser::expertAdd);
  for (const char *op : {"Clip", "Min", "Max"}) {
    add(op, &Raiser::expertClip);
  }
  add("ReduceSum", &Raiser::sumExperts);
}

//===--- router ----------------------------------------------------------------------------------------------------===//

// Softmax over all experts. (A sigmoid of rows is already known as one.)
LogicalResult Raiser::expertScores(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (op->getName().stripDialect() == "Softmax" && input.is(Kind::TopWeights)) {
    if (input.route.score == ScoreFunction::None && !input.route.expertScale && axisAttr(op, -1, rank) == rank - 1) {
      Meaning meaning = input;
      meaning.route.softmaxAfter = true;
      set(op->getResult(0), meaning);
    }
    return success();
  }
  if (op->getName().stripDialect() != "Softmax" || !isPlainRows(input) || axisAttr(op, -1, rank) != rank - 1) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::ExpertScores;
  meaning.route.logits = input.source;
  meaning.route.experts = rowWidth(input);
  meaning.route.score = ScoreFunction::Softmax;
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::topK(Operation *op) {
  Meaning input = of(op->getOperand(0));
  auto count = integer(op->getOperand(1));
  int64_t rank = input.extents.size();
  if (!count || axisAttr(op, -1, rank) != rank - 1 || !intAttr(op, "largest", 1)) {
    return success();
  }
  auto scores = asScores(input);
  if (!scores || scores->extent(-1) != Extent(scores->route.experts)) {
    return success();
  }
  input = *scores;
  if (*count <= 0 || *count > input.route.experts) {
    return op->emitError() << "chooses " << *count << " of " << input.route.experts << " experts";
  }
  Meaning meaning = input;
  meaning.kind = Kind::TopWeights;
  meaning.route.topK = *count;
  meaning.route.choice = op;
  meaning.extents.back() = *count;
  // Biased scores, and those of groups that were masked, choose but do not weigh.
  bool weighs = !meaning.route.selectionBias &&
                *count <= meaning.route.topGroups * (meaning.route.experts / meaning.route.groups);
  set(op->getResult(0), weighs ? meaning : reshaped(Meaning(), meaning.extents));
  meaning.kind = Kind::TopIds;
  set(op->getResult(1), meaning);
  return success();
}

LogicalResult Raiser::topSum(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  int64_t rank = input.extents.size();
  if (input.is(Kind::TopWeights) && axis && (*axis == -1 || *axis == rank - 1) && intAttr(op, "keepdims", 1) &&
      input.extents.back() == Extent(input.route.topK)) {
    Meaning meaning = input;
    meaning.kind = Kind::TopSum;
    meaning.extents.back() = 1;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::topAdd(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning sum = of(op->getOperand(side));
    auto epsilon = scalar(op->getOperand(1 - side));
    if (sum.is(Kind::TopSum) && epsilon && sum.route.epsilon == 0) {
      Meaning meaning = sum;
      meaning.route.epsilon = *epsilon;
      set(op->getResult(0), meaning);
    }
  }
  return success();
}

LogicalResult Raiser::topDiv(Operation *op) {
  const Meaning weights = of(op->getOperand(0)), sum = of(op->getOperand(1));
  if (weights.is(Kind::TopWeights) && sum.is(Kind::TopSum) && weights.route.choice == sum.route.choice &&
      weights.route.scale == 1 && sum.route.scale == 1 && !weights.route.renormalise && !weights.route.expertScale &&
      !sum.route.expertScale &&
      weights.route.softmaxAfter == sum.route.softmaxAfter) {
    Meaning meaning = weights;
    meaning.route.renormalise = true;
    meaning.route.epsilon = sum.route.epsilon;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::topMul(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning weights = of(op->getOperand(side));
    auto factor = scalar(op->getOperand(1 - side));
    if (weights.is(Kind::TopWeights) && factor && of(op->getOperand(1 - side)).is(Kind::Reals)) {
      Meaning meaning = weights;
      meaning.route.scale *= *factor;
      set(op->getResult(0), meaning);
    }
    // A factor for each expert.
    const Meaning scales = of(op->getOperand(1 - side));
    if (weights.is(Kind::TopWeights) && scales.is(Kind::ExpertWeight) && scales.view.extents.size() == 1 &&
        weights.route.choice == scales.route.choice && weights.extents == scales.extents && !weights.route.expertScale) {
      Meaning meaning = weights;
      meaning.route.expertScale = scales.view;
      set(op->getResult(0), meaning);
    }
  }
  return success();
}

//===--- experts of all tokens at once (P3) ------------------------------------------------------------------------===//

LogicalResult Raiser::repeatRows(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto repeats = integers(op->getOperand(1));
  if (!isPlainRows(input) || input.form != Form::S1W || !repeats || repeats->size() != 3 || (*repeats)[0] != 1 ||
      (*repeats)[2] != 1) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::RepeatedRows;
  meaning.repeat = (*repeats)[1];
  meaning.extents[1] = (*repeats)[1];
  set(op->getResult(0), meaning);
  return success();
}

// Rows of a stacked weight [E, ...] by the chosen experts' ids.
LogicalResult Raiser::gatherExperts(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  bool nd = op->getName().stripDialect() == "GatherND";
  if (!data.is(Kind::Weight) || !index.is(Kind::TopIds) || data.extents.empty() ||
      (nd ? index.extents.back() != Extent(1) || intAttr(op, "batch_dims", 0) != 0
          : axisAttr(op, 0, data.extents.size()) != 0)) {
    return success();
  }
  if (data.view.extents[0] != index.route.experts) {
    return op->emitError() << "the router scores " << index.route.experts << " experts, but the stacked weights hold "
                           << data.view.extents[0] << ": the export lost experts; export the model again";
  }
  Meaning meaning = index;
  meaning.kind = Kind::ExpertWeight;
  meaning.view = data.view;
  Extents extents(index.extents.begin(), index.extents.end() - (nd ? 1 : 0));
  extents.append(data.extents.begin() + 1, data.extents.end());
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

// Gate, up or down of the experts: [.., N, K] x [.., K, 1], [.., 1, K] x [.., K, N], or rows of one expert x [K, N].
LogicalResult Raiser::expertMatMul(Operation *op) {
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (!a.ranked || !b.ranked || a.extents.size() < 2 || b.extents.size() < 2) {
    return success();
  }
  Meaning input;
  TensorView matrix;  // [E, N, K] or [N, K]
  auto isInput = [](const Meaning &m) {
    return m.is(Kind::RepeatedRows) || m.is(Kind::ExpertRows) || m.is(Kind::ExpertHidden) || m.is(Kind::ExpertActive);
  };
  if (a.is(Kind::ExpertWeight) && isInput(b) && a.view.extents.size() == 3 && b.extents.back() == Extent(1)) {
    input = b;
    matrix = a.view;
  } else if (b.is(Kind::ExpertWeight) && isInput(a) && b.view.extents.size() == 3 && a.extent(-2) == Extent(1)) {
    input = a;
    matrix = b.view.permuted({0, 2, 1});
  } else if (b.is(Kind::Weight) && b.view.extents.size() == 2 && isInput(a) && a.expert != -1) {
    input = a;
    matrix = b.view.permuted({1, 0});
  } else {
    return success();
  }
  bool stacked = matrix.extents.size() == 3;
  if (stacked != (input.expert == -1)) {
    return success();
  }
  const Meaning &chosen = a.is(Kind::ExpertWeight) ? a : b;
  Extents extents = broadcast(Extents(a.extents.begin(), a.extents.end() - 2), Extents(b.extents.begin(), b.extents.end() - 2));
  extents.push_back(a.extent(-2));
  extents.push_back(b.extent(-1));
  Meaning meaning = input;
  if (input.is(Kind::RepeatedRows) || input.is(Kind::ExpertRows)) {
    meaning.kind = Kind::ExpertLinear;
    meaning.view = matrix;
    if (stacked) {
      meaning.route = chosen.route;
    }
  } else {
    if (stacked && chosen.route.choice != input.route.choice) {
      return success();
    }
    meaning.kind = Kind::ExpertOut;
    if (input.is(Kind::ExpertActive)) {  // not gated: what was activated is "up"
      meaning.expertWeights.up = meaning.expertWeights.gate;
      meaning.expertWeights.upBias = meaning.expertWeights.gateBias;
      meaning.expertWeights.gate.reset();
      meaning.expertWeights.gateBias.reset();
    }
    meaning.expertWeights.down = matrix;
  }
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

// Gate and up of one fused matrix: parts of its outputs.
static Meaning outputsOf(const Meaning &whole, int64_t start, int64_t count, int64_t step) {
  Meaning part = whole;
  part.view = whole.view.sliced(whole.view.extents.size() - 2, start, count, step);
  if (whole.bias) {
    part.bias = whole.bias->sliced(whole.bias->extents.size() - 1, start, count, step);
  }
  return part;
}

LogicalResult Raiser::expertSplit(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size(), axis = axisAttr(op, 0, rank);
  if (!input.is(Kind::ExpertLinear) || !input.extents[axis].isConstant() ||
      input.extents[axis].constant() != input.view.extents[input.view.extents.size() - 2]) {
    return success();
  }
  int64_t width = input.extents[axis].constant(), parts = op->getNumResults();
  SmallVector<int64_t> sizes(parts, (width + parts - 1) / parts);
  sizes.back() = width - (parts - 1) * sizes[0];
  if (op->getNumOperands() > 1) {
    auto given = integers(op->getOperand(1));
    if (!given || static_cast<int64_t>(given->size()) != parts) {
      return success();
    }
    sizes = *given;
  }
  int64_t rest = width;
  for (int64_t size : sizes) {
    if (size < 0 || size > rest) {
      return op->emitError() << "splits " << width << " into parts that it has not";
    }
    rest -= size;
  }
  int64_t start = 0;
  for (auto [result, size] : llvm::zip_equal(op->getResults(), sizes)) {
    Meaning part = outputsOf(input, start, size, 1);
    part.extents[axis] = size;
    set(result, part);
    start += size;
  }
  return success();
}

LogicalResult Raiser::expertSlice(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  auto start = integer(slice.getStarts()), end = integer(slice.getEnds());
  auto axis = slice.getAxes() ? integer(slice.getAxes()) : std::optional<int64_t>(0);
  auto step = slice.getSteps() ? integer(slice.getSteps()) : std::optional<int64_t>(1);
  if (!input.is(Kind::ExpertLinear) || !start || !end || !axis || !step || *step <= 0 || *start < 0) {
    return success();
  }
  int64_t rank = input.extents.size(), at = *axis < 0 ? *axis + rank : *axis;
  int64_t width = input.view.extents[input.view.extents.size() - 2];
  if (at < 0 || at >= rank || input.extents[at] != Extent(width)) {
    return success();
  }
  int64_t to = std::min(*end < 0 ? *end + width : *end, width);
  int64_t count = (to - *start + *step - 1) / *step;
  if (count <= 0) {
    return success();
  }
  Meaning part = outputsOf(input, *start, count, *step);
  part.extents[at] = count;
  set(op->getResult(0), part);
  return success();
}

// Nothing was done to the product yet but adding its bias.
static bool isPlainLinear(const Meaning &meaning) {
  return meaning.is(Kind::ExpertLinear) && std::isinf(meaning.low) && std::isinf(meaning.high) && meaning.scale == 1 &&
         meaning.offset == 0;
}

LogicalResult Raiser::expertActivation(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::ExpertLinear) || input.offset != 0) {
    return success();
  }
  StringRef name = op->getName().stripDialect();
  Meaning meaning = input;
  if (name == "Sigmoid") {
    meaning.kind = Kind::ExpertSigmoid;
  } else if (isPlainLinear(input)) {
    meaning.kind = Kind::ExpertActive;
    meaning.expertWeights.gate = input.view;
    meaning.expertWeights.gateBias = input.bias;
    meaning.bias.reset();
    auto approximate = op->getAttrOfType<StringAttr>("approximate");
    meaning.expertWeights.activation = name == "Relu"                                     ? Activation::Relu
                                       : approximate && approximate.getValue() == "tanh" ? Activation::GeluTanh
                                                                                          : Activation::GeluErf;
  } else {
    return success();
  }
  set(op->getResult(0), meaning);
  return success();
}

static bool sameView(const TensorView &a, const TensorView &b) {
  return a.source == b.source && a.first == b.first && a.extents == b.extents && a.strides == b.strides;
}

static bool sameView(const std::optional<TensorView> &a, const std::optional<TensorView> &b) {
  return a.has_value() == b.has_value() && (!a || sameView(*a, *b));
}

// The square of a ReLU.
LogicalResult Raiser::squareActive(Operation *op) {
  Meaning active = of(op->getOperand(0));
  bool squares = op->getOperand(0) == op->getOperand(1) || scalar(op->getOperand(1)) == 2.0;
  if (squares && active.is(Kind::ExpertActive) && active.expertWeights.activation == Activation::Relu) {
    active.expertWeights.activation = Activation::Relu2;
    set(op->getResult(0), active);
  }
  return success();
}

LogicalResult Raiser::expertMul(Operation *op) {
  if (op->getOperand(0) == op->getOperand(1)) {
    return squareActive(op);
  }
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    bool sameInput = a.source == b.source && a.expert == b.expert && a.route.choice == b.route.choice;
    auto factor = scalar(op->getOperand(1 - side));
    if (a.is(Kind::ExpertLinear) && b.is(Kind::ExpertSigmoid) && sameInput && sameView(a.view, b.view) &&
        sameView(a.bias, b.bias) && a.low == b.low && a.high == b.high && a.scale == 1 && a.offset == 0) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertActive;
      meaning.expertWeights.gate = a.view;
      meaning.expertWeights.gateBias = a.bias;
      meaning.bias.reset();
      meaning.expertWeights.activation = Activation::Silu;
      meaning.expertWeights.alpha = b.scale;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertLinear) && factor && of(op->getOperand(1 - side)).is(Kind::Reals) && a.offset == 0) {
      Meaning meaning = a;
      meaning.scale *= *factor;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertActive) && b.is(Kind::ExpertLinear) && sameInput && b.scale == 1 &&
               a.expertWeights.gate->extents == b.view.extents) {
      // Either both are limited by the same number, the gate from above alone, or none is.
      bool limited = std::isfinite(a.high) && std::isinf(a.low) && b.high == a.high && b.low == -a.high;
      bool free = std::isinf(a.high) && std::isinf(a.low) && std::isinf(b.high) && std::isinf(b.low);
      if (!limited && !free) {
        continue;
      }
      Meaning meaning = a;
      meaning.kind = Kind::ExpertHidden;
      meaning.low = -std::numeric_limits<double>::infinity();
      meaning.high = std::numeric_limits<double>::infinity();
      meaning.expertWeights.limit = limited ? a.high : 0;
      meaning.expertWeights.up = b.view;
      meaning.expertWeights.upBias = b.bias;
      meaning.expertWeights.offset = b.offset;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertOut) && b.is(Kind::TopWeights) && a.expert < 0 && !a.sorted &&
               a.route.choice == b.route.choice && b.extents.back() == Extent(1)) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertWeighted;
      meaning.route = b.route;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertOut) && b.is(Kind::ExpertTopWeight) && a.expert == b.expert &&
               a.route.choice == b.route.choice) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertWeighted;
      meaning.route = b.route;
      set(op->getResult(0), meaning);
    } else {
      continue;
    }
    return success();
  }
  return success();
}

// Biases of the chosen experts, and numbers.
LogicalResult Raiser::expertAdd(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!a.is(Kind::ExpertLinear) && !a.is(Kind::ExpertOut)) {
      continue;
    }
    Meaning meaning = a;
    bool stacked = b.is(Kind::ExpertWeight) && a.expert < 0 && b.route.choice == a.route.choice && !a.sorted;
    bool own = b.is(Kind::Weight) && a.expert != -1;
    const TensorView &matrix = a.is(Kind::ExpertLinear) ? a.view : a.expertWeights.down.value_or(TensorView());
    int64_t outputs = matrix.extents.size() < 2 ? -1 : matrix.extents[matrix.extents.size() - 2];
    if ((stacked && b.view.extents.size() == 2 && b.view.extents[1] == outputs) ||
        (own && b.view.elements() == outputs)) {
      std::optional<TensorView> bias = stacked ? b.view : b.view.reshaped({outputs});
      std::optional<TensorView> &place = a.is(Kind::ExpertLinear) ? meaning.bias : meaning.expertWeights.downBias;
      if (!bias || place || (a.is(Kind::ExpertLinear) && !isPlainLinear(a))) {
        return success();
      }
      place = bias;
    } else if (auto number = scalar(op->getOperand(1 - side)); number && b.is(Kind::Reals) && a.is(Kind::ExpertLinear)) {
      meaning.offset += *number;
    } else {
      continue;
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// A linear layer's result as what an expert that runs on every token makes of it.
std::optional<Meaning> Raiser::asDenseLinear(const Meaning &meaning) {
  if (!isPlainRows(meaning) || (meaning.form != Form::BSW && meaning.form != Form::SW)) {
    return std::nullopt;
  }
  auto from = meaning.source.getDefiningOp<onnx::FromRowsOp>();
  auto linear = from ? from.getRows().getDefiningOp<LinearOp>() : LinearOp();
  if (!linear) {
    return std::nullopt;
  }
  Meaning result = meaning;
  result.kind = Kind::ExpertLinear;
  result.expert = kDenseExpert;
  result.view = weightViews.find(linear.getWeight())->second;
  if (linear.getBias()) {
    result.bias = weightViews.find(*linear.getBias())->second.selected(0, 0);
  }
  result.source = inputOf(linear);
  return result;
}

// Limits: Clip, or Min and Max with a number.
LogicalResult Raiser::expertClip(Operation *op) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  Meaning input = of(op->getOperand(0));
  std::optional<double> low = -kInfinity, high = kInfinity;
  if (auto clip = dyn_cast<onnx::ClipOp>(op)) {
    low = clip.getMin() ? scalar(clip.getMin()) : low;
    high = clip.getMax() ? scalar(clip.getMax()) : high;
  } else if (op->getNumOperands() == 2) {
    int side = scalar(op->getOperand(0)) ? 1 : 0;
    input = of(op->getOperand(side));
    (isa<onnx::MinOp>(op) ? high : low) = scalar(op->getOperand(1 - side));
  } else {
    return success();
  }
  if (auto dense = asDenseLinear(input)) {
    input = *dense;
  }
  if (!input.is(Kind::ExpertLinear) || input.scale != 1 || input.offset != 0 || !low || !high) {
    return success();
  }
  // The largest float is as good as no limit.
  constexpr double kLargest = 3.4e38;
  Meaning meaning = input;
  meaning.low = std::max(input.low, *low < -kLargest ? -kInfinity : *low);
  meaning.high = std::min(input.high, *high > kLargest ? kInfinity : *high);
  if (meaning.low <= meaning.high) {
    set(op->getResult(0), meaning);
  }
  return success();
}

// [S, K, D] summed over K.
LogicalResult Raiser::sumExperts(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::ExpertWeighted) || input.expert >= 0 || input.sorted || op->getNumOperands() < 2 || rank < 2) {
    return success();
  }
  int64_t axis = integer(op->getOperand(1)).value_or(rank);
  int64_t at = axis < 0 ? axis + rank : axis;
  // A trailing axis of one (products with columns) goes with a later squeeze.
  if (rank == 5 && at == 2 && input.extents[4] == Extent(1) && input.extents[at] == Extent(input.route.topK)) {
    Meaning meaning = input;
    meaning.kind = Kind::ExpertSum;
    if (intAttr(op, "keepdims", 1)) {
      meaning.extents[at] = 1;
    } else {
      meaning.extents.erase(meaning.extents.begin() + at);
    }
    set(op->getResult(0), meaning);
    return success();
  }
  if (at != rank - 2 || input.extents[at] != Extent(input.route.topK) || rank > 4) {
    return success();
  }
  Extents extents;
  for (int64_t i = 0; i < rank; ++i) {
    if (i != at) {
      extents.push_back(input.extents[i]);
    } else if (intAttr(op, "keepdims", 1)) {
      return success();
    }
  }
  Form form = extents.size() == 2 ? Form::SW : Form::BSW;
  set(op->getResult(0), reshaped(input, extents));
  return emitMoe(op, input.route, input.source, expertsOf(input.expertWeights, input.route.experts), form,
                 "experts P3");
}

// The sum over the chosen experts, once it has the extents of rows.
LogicalResult Raiser::emitSummed(Operation *op, const Meaning &sum, const Extents &extents) {
  if (extents.size() > 3 || extents.size() < 2 || extents.back() == Extent(1)) {
    set(op->getResult(0), reshaped(sum, extents));
    return success();
  }
  set(op->getResult(0), reshaped(sum, extents));
  return emitMoe(op, sum.route, sum.source, expertsOf(sum.expertWeights, sum.route.experts),
                 extents.size() == 2 ? Form::SW : Form::BSW, "experts P3");
}

// The single experts of stacked matrices [E, ...].
ExpertMeanings Raiser::expertsOf(const ExpertMeaning &stacked, int64_t count) {
  ExpertMeanings experts;
  for (int64_t expert = 0; expert < count; ++expert) {
    ExpertMeaning one = stacked;
    for (std::optional<TensorView> *part : one.parts()) {
      if (*part) {
        *part = (*part)->selected(0, expert);
      }
    }
    experts[expert] = std::make_shared<const ExpertMeaning>(std::move(one));
  }
  return experts;
}

LogicalResult Raiser::emitMoe(Operation *op, const RouteMeaning &route, Value source,
                              const ExpertMeanings &experts, Form form, StringRef pattern,
                              Value scaled) {
  Location loc = op->getLoc();
  SmallVector<Attribute> lists[6];
  const char *const kParts[] = {"gate", "up", "down", "gate_bias", "up_bias", "down_bias"};
  // One more for each op with a cache or a state: names must differ, and the layers are counted at the end.
  int64_t layer = std::max<int64_t>(attentionLayers + static_cast<int64_t>(states.size()) - 1, 0);
  const ExpertMeaning &firstExpert = *experts.begin()->second;
  for (const auto &[index, shared] : experts) {
    ExpertMeaning expert = *shared, first = firstExpert;
    bool same = expert.up && expert.down && expert.activation == first.activation && expert.alpha == first.alpha &&
                expert.offset == first.offset && expert.limit == first.limit;
    for (auto [part, firstPart] : llvm::zip(expert.parts(), first.parts())) {
      same &= part->has_value() == firstPart->has_value() && (!*part || (*part)->extents == (*firstPart)->extents);
    }
    if (!same) {
      return op->emitError() << "expert " << index << " has another form than expert " << experts.begin()->first;
    }
    std::string name = "layer" + std::to_string(layer) + ".expert" + std::to_string(index) + ".";
    for (auto [number, part] : llvm::enumerate(expert.parts())) {
      if (!*part) {
        continue;
      }
      std::optional<TensorView> matrix = number < 3 ? **part : (*part)->reshaped({1, (*part)->elements()});
      FlatSymbolRefAttr symbol = matrix ? weight(loc, *matrix, name + kParts[number]) : FlatSymbolRefAttr();
      if (!symbol) {
        return op->emitError() << "the " << kParts[number] << " of expert " << index << " cannot be addressed";
      }
      lists[number].push_back(symbol);
    }
  }
  Type f32 = builder.getF32Type();
  constexpr int64_t any = ShapedType::kDynamic;
  auto list = [&](int number) { return lists[number].empty() ? ArrayAttr() : builder.getArrayAttr(lists[number]); };
  auto vector = [&](const std::optional<TensorView> &view, const char *name) {
    auto row = view ? view->reshaped({1, view->elements()}) : std::nullopt;
    return row ? weight(loc, *row, "layer" + std::to_string(layer) + name) : FlatSymbolRefAttr();
  };
  FlatSymbolRefAttr selectionBias = vector(route.selectionBias, ".selection_bias");
  FlatSymbolRefAttr expertScale = vector(route.expertScale, ".expert_scale");
  if ((route.selectionBias && !selectionBias) || (route.expertScale && !expertScale)) {
    return failure();
  }
  auto routed = builder.create<RouteOp>(
      loc, RankedTensorType::get({any, route.topK}, builder.getI32Type()), RankedTensorType::get({any, route.topK}, f32),
      ScoreFunctionAttr::get(builder.getContext(), route.score), toRows(route.logits),
      builder.getI64IntegerAttr(route.topK), selectionBias,
      route.softmaxAfter ? builder.getUnitAttr() : UnitAttr(), route.renormalise ? builder.getUnitAttr() : UnitAttr(),
      builder.getF32FloatAttr(route.epsilon), builder.getF32FloatAttr(route.scale), expertScale,
      builder.getI64IntegerAttr(route.groups), builder.getI64IntegerAttr(route.topGroups),
      builder.getI64IntegerAttr(route.groupTop), builder.getF32FloatAttr(route.groupFill),
      builder.getF32FloatAttr(route.threshold), builder.getI64IntegerAttr(route.capacity),
      route.ranked ? builder.getUnitAttr() : UnitAttr(), route.renormaliseKept ? builder.getUnitAttr() : UnitAttr());
  Value rows = scaled ? scaled : toRows(source);
  Value result = builder.create<MoeOp>(
      loc, rows.getType(), rows, routed.getIds(), routed.getWeights(), builder.getI64IntegerAttr(moeLayers),
      ActivationAttr::get(builder.getContext(), firstExpert.activation),
      list(0), list(1), list(2), list(3), list(4), list(5), builder.getF32FloatAttr(firstExpert.alpha),
      builder.getF32FloatAttr(firstExpert.offset), builder.getF32FloatAttr(firstExpert.limit));
  ++moeLayers;
  Meaning meaning;
  meaning.kind = Kind::Rows;
  Extents extents = of(op->getResult(0)).extents;
  set(op->getResult(0), reshaped(meaning, extents));
  return replace(op->getResult(0), result, form, 1, pattern, {source, route.logits});
}

} // namespace emoe
