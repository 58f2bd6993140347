// Routers and experts. Two ways of writing experts are known: P3, all chosen experts of all tokens at once by gathered
// stacked weights; and P2, a loop over experts in which each gathers its tokens and scatters its results.
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
  add("ReduceSum", &Raiser::sumExperts);
  // P2
  add("OneHot", &Raiser::oneHot);
  add("ReduceSum", &Raiser::hitExperts);
  add("Gather", &Raiser::choiceGather);
  add("NonZero", &Raiser::nonZero);
  for (const char *op : {"Split", "Gather"}) {
    add(op, &Raiser::splitPairs);
  }
  for (const char *op : {"Mul", "Add"}) {
    add(op, &Raiser::pairIndex);
  }
  add("ScatterElements", &Raiser::scatter);
  add("Add", &Raiser::addPartial);
}

//===--- router ----------------------------------------------------------------------------------------------------===//

// Softmax over all experts. (A sigmoid of rows is already known as one.)
LogicalResult Raiser::expertScores(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (op->getName().stripDialect() == "Softmax" && input.is(Kind::TopWeights)) {
    if (input.route.score == ScoreFunction::None && axisAttr(op, -1, rank) == rank - 1) {
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
  if (isPlainRows(input) || input.is(Kind::Sigmoid)) {
    input.route.logits = input.source;
    input.route.experts = rowWidth(of(input.source));
    input.route.score = input.is(Kind::Sigmoid) ? ScoreFunction::Sigmoid : ScoreFunction::None;
    input.kind = Kind::ExpertScores;
  }
  if (!input.is(Kind::ExpertScores)) {
    return success();
  }
  if (*count <= 0 || *count > input.route.experts) {
    return op->emitError() << "chooses " << *count << " of " << input.route.experts << " experts";
  }
  Meaning meaning = input;
  meaning.kind = Kind::TopWeights;
  meaning.route.topK = *count;
  meaning.route.choice = op;
  meaning.extents.back() = *count;
  set(op->getResult(0), meaning);
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
      weights.route.scale == 1 && sum.route.scale == 1 && !weights.route.renormalise &&
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
  if (!data.is(Kind::Weight) || !index.is(Kind::TopIds) || data.extents.size() < 2 ||
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
  } else if (b.is(Kind::Weight) && b.view.extents.size() == 2 && isInput(a) && a.expert >= 0) {
    input = a;
    matrix = b.view.permuted({1, 0});
  } else {
    return success();
  }
  bool stacked = matrix.extents.size() == 3;
  if (stacked != (input.expert < 0)) {
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
      meaning.expertWeights.gate.reset();
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

LogicalResult Raiser::expertActivation(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::ExpertLinear)) {
    return success();
  }
  StringRef name = op->getName().stripDialect();
  Meaning meaning = input;
  if (name == "Sigmoid") {
    meaning.kind = Kind::ExpertSigmoid;
  } else {
    meaning.kind = Kind::ExpertActive;
    meaning.expertWeights.gate = input.view;
    auto approximate = op->getAttrOfType<StringAttr>("approximate");
    meaning.expertWeights.activation = name == "Relu"                                     ? Activation::Relu
                                       : approximate && approximate.getValue() == "tanh" ? Activation::GeluTanh
                                                                                          : Activation::GeluErf;
  }
  set(op->getResult(0), meaning);
  return success();
}

static bool sameView(const TensorView &a, const TensorView &b) {
  return a.source == b.source && a.first == b.first && a.extents == b.extents && a.strides == b.strides;
}

LogicalResult Raiser::expertMul(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    bool sameInput = a.source == b.source && a.expert == b.expert && a.route.choice == b.route.choice;
    if (a.is(Kind::ExpertLinear) && b.is(Kind::ExpertSigmoid) && sameInput && sameView(a.view, b.view)) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertActive;
      meaning.expertWeights.gate = a.view;
      meaning.expertWeights.activation = Activation::Silu;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertActive) && b.is(Kind::ExpertLinear) && sameInput &&
               a.expertWeights.gate->extents == b.view.extents) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertHidden;
      meaning.expertWeights.up = b.view;
      set(op->getResult(0), meaning);
    } else if (a.is(Kind::ExpertOut) && b.is(Kind::TopWeights) && a.expert < 0 && a.route.choice == b.route.choice &&
               b.extents.back() == Extent(1)) {
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

// [S, K, D] summed over K.
LogicalResult Raiser::sumExperts(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::ExpertWeighted) || input.expert >= 0 || op->getNumOperands() < 2 || rank < 2) {
    return success();
  }
  int64_t axis = integer(op->getOperand(1)).value_or(rank);
  int64_t at = axis < 0 ? axis + rank : axis;
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
  std::map<int64_t, ExpertMeaning> experts;
  for (int64_t expert = 0; expert < input.route.experts; ++expert) {
    ExpertMeaning one = input.expertWeights;
    for (std::optional<TensorView> *part : {&one.gate, &one.up, &one.down}) {
      if (*part) {
        *part = (*part)->selected(0, expert);
      }
    }
    experts[expert] = one;
  }
  set(op->getResult(0), reshaped(input, extents));
  return emitMoe(op, input.route, input.source, experts, form, "experts P3");
}

LogicalResult Raiser::emitMoe(Operation *op, const RouteMeaning &route, Value source,
                              const std::map<int64_t, ExpertMeaning> &experts, Form form, StringRef pattern) {
  Location loc = op->getLoc();
  SmallVector<Attribute> gates, ups, downs;
  int64_t layer = std::max<int64_t>(attentionLayers - 1, 0);
  const ExpertMeaning &firstExpert = experts.begin()->second;
  for (const auto &[index, expert] : experts) {
    if (!expert.up || !expert.down || expert.gate.has_value() != firstExpert.gate.has_value() ||
        expert.activation != firstExpert.activation || expert.up->extents != firstExpert.up->extents ||
        expert.down->extents != firstExpert.down->extents) {
      return op->emitError() << "expert " << index << " has another form than expert " << experts.begin()->first;
    }
    std::string name = "layer" + std::to_string(layer) + ".expert" + std::to_string(index) + ".";
    for (auto [view, list, part] : {std::tuple(&expert.gate, &gates, "gate"), {&expert.up, &ups, "up"},
                                    {&expert.down, &downs, "down"}}) {
      if (*view) {
        FlatSymbolRefAttr symbol = weight(loc, **view, name + part);
        if (!symbol) {
          return failure();
        }
        list->push_back(symbol);
      }
    }
  }
  Type f32 = builder.getF32Type();
  constexpr int64_t any = ShapedType::kDynamic;
  auto routed = builder.create<RouteOp>(
      loc, RankedTensorType::get({any, route.topK}, builder.getI32Type()), RankedTensorType::get({any, route.topK}, f32),
      ScoreFunctionAttr::get(builder.getContext(), route.score), toRows(route.logits),
      builder.getI64IntegerAttr(route.topK), FlatSymbolRefAttr(),
      route.softmaxAfter ? builder.getUnitAttr() : UnitAttr(), route.renormalise ? builder.getUnitAttr() : UnitAttr(),
      builder.getF32FloatAttr(route.epsilon), builder.getF32FloatAttr(route.scale));
  Value rows = toRows(source);
  Value result = builder.create<MoeOp>(
      loc, rows.getType(), rows, routed.getIds(), routed.getWeights(), builder.getI64IntegerAttr(moeLayers),
      ActivationAttr::get(builder.getContext(), firstExpert.activation),
      gates.empty() ? ArrayAttr() : builder.getArrayAttr(gates), builder.getArrayAttr(ups), builder.getArrayAttr(downs));
  ++moeLayers;
  Meaning meaning;
  meaning.kind = Kind::Rows;
  Extents extents = of(op->getResult(0)).extents;
  set(op->getResult(0), reshaped(meaning, extents));
  return replace(op->getResult(0), result, form, 1, pattern, {source, route.logits});
}

//===--- a loop over experts, written out (P2) ---------------------------------------------------------------------===//

LogicalResult Raiser::oneHot(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto depth = integer(op->getOperand(1));
  auto values = integers(op->getOperand(2));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::TopIds) || rank != 2 || !depth || !values || *values != SmallVector<int64_t>{0, 1} ||
      axisAttr(op, -1, rank + 1) != rank) {
    return success();
  }
  if (*depth != input.route.experts) {
    return op->emitError() << "the router scores " << input.route.experts << " experts, but the choice is written out for "
                           << *depth << ": the export lost experts; export the model again";
  }
  Meaning meaning = input;
  meaning.kind = Kind::Choice;
  meaning.axisToken = 0;
  meaning.axisSlot = 1;
  meaning.axisExpert = 2;
  meaning.extents.push_back(*depth);
  set(op->getResult(0), meaning);
  return success();
}

// "Which experts are hit at all?": a loop over the answer was traced, so the file has the experts that one example hit.
LogicalResult Raiser::hitExperts(Operation *op) {
  const Meaning choice = of(op->getOperand(0));
  if (!choice.is(Kind::Choice)) {
    return success();
  }
  int64_t computed = 0;
  for (Operation *next = op->getNextNode(); next && !isa<onnx::OneHotOp>(next); next = next->getNextNode()) {
    computed += isa<onnx::ScatterElementsOp, onnx::ScatterNDOp>(next);
  }
  return op->emitError() << "the router scores " << choice.route.experts << " experts, but the graph computes " << computed
                         << ": the export lost experts (a loop over the experts that are hit was traced with one "
                            "example); export the model again, with another exporter or with experts batched";
}

// One expert's part of the choice; its tokens' rows; its tokens' routing weights.
LogicalResult Raiser::choiceGather(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  if (!data.ranked || !index.ranked) {
    return success();
  }
  int64_t rank = data.extents.size(), axis = axisAttr(op, 0, rank);
  Extents extents(data.extents.begin(), data.extents.begin() + axis);
  extents.append(index.extents.begin(), index.extents.end());
  extents.append(data.extents.begin() + axis + 1, data.extents.end());
  if (data.is(Kind::Choice)) {
    auto expert = integer(op->getOperand(1));
    if (!expert || axis != data.axisExpert) {
      return success();
    }
    Meaning meaning = data;
    meaning.kind = Kind::ChoiceOf;
    meaning.expert = *expert < 0 ? *expert + data.route.experts : *expert;
    meaning.transposed = data.axisToken < data.axisSlot;  // [token, slot]
    set(op->getResult(0), reshaped(meaning, extents));
  } else if (isPlainRows(data) && index.is(Kind::ChosenTokens) &&
             axis == (data.form == Form::BSW ? 1 : data.form == Form::SW ? 0 : -1)) {
    Meaning meaning = index;
    meaning.kind = Kind::ExpertRows;
    meaning.source = data.source;
    set(op->getResult(0), reshaped(meaning, extents));
  } else if (data.is(Kind::TopWeights) && index.is(Kind::ChosenPairIndex) && axis == 0 &&
             data.route.choice == index.route.choice && Volume::of(data.extents) == Volume::of({data.extents[0]})) {
    Meaning meaning = index;
    meaning.kind = Kind::ExpertTopWeight;
    meaning.route = data.route;
    set(op->getResult(0), reshaped(meaning, extents));
  }
  return success();
}

LogicalResult Raiser::nonZero(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::ChoiceOf) || input.extents.size() != 2) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::ChosenPairs;
  meaning.index = input.transposed ? 1 : 0;  // row that holds slots
  meaning.transposed = false;
  set(op->getResult(0), reshaped(meaning, {2, freshSymbol()}));
  return success();
}

LogicalResult Raiser::splitPairs(Operation *op) {
  const Meaning pairs = of(op->getOperand(0));
  if (!pairs.is(Kind::ChosenPairs)) {
    return success();
  }
  if (axisAttr(op, 0, 2) != (pairs.transposed ? 1 : 0)) {
    return success();
  }
  auto part = [&](int64_t row, Extents extents) {
    Meaning meaning = pairs;
    meaning.kind = row == pairs.index ? Kind::ChosenSlots : Kind::ChosenTokens;
    return reshaped(meaning, extents);
  };
  Extent count = pairs.extents[pairs.transposed ? 0 : 1];
  if (op->getName().stripDialect() == "Split") {
    if (op->getNumResults() != 2) {
      return success();
    }
    for (int64_t row : {0, 1}) {
      set(op->getResult(row), part(row, pairs.transposed ? Extents{count, 1} : Extents{1, count}));
    }
  } else if (auto row = integer(op->getOperand(1)); row && *row >= 0 && *row < 2) {
    Extents extents = of(op->getOperand(1)).extents;
    extents.push_back(count);
    set(op->getResult(0), part(*row, extents));
  }
  return success();
}

// token * K + slot: where a pair's routing weight is among all.
LogicalResult Raiser::pairIndex(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (op->getName().stripDialect() == "Mul") {
      if (a.is(Kind::ChosenTokens) && integer(op->getOperand(1 - side)) == a.route.topK) {
        Meaning meaning = a;
        meaning.kind = Kind::ChosenTokensTimesK;
        set(op->getResult(0), meaning);
        return success();
      }
    } else if (a.is(Kind::ChosenTokensTimesK) && b.is(Kind::ChosenSlots) && a.expert == b.expert &&
               a.route.choice == b.route.choice) {
      Meaning meaning = a;
      meaning.kind = Kind::ChosenPairIndex;
      set(op->getResult(0), meaning);
      return success();
    }
  }
  return success();
}

// Zeros [S, D] with one expert's results in its tokens' rows. A token meets an expert once, so overwriting is adding.
LogicalResult Raiser::scatter(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1)), updates = of(op->getOperand(2));
  int64_t rank = data.extents.size();
  if (!(data.is(Kind::Fill) && data.scalar == 0) || !index.is(Kind::ChosenTokens) ||
      !updates.is(Kind::ExpertWeighted) || index.expert != updates.expert ||
      index.route.choice != updates.route.choice || rank != 2 || axisAttr(op, 0, rank) != 0 ||
      index.extents != updates.extents) {
    return success();
  }
  Meaning meaning = updates;
  meaning.kind = Kind::PartialSum;
  meaning.experts[updates.expert] = updates.expertWeights;
  set(op->getResult(0), reshaped(meaning, data.extents));
  return success();
}

LogicalResult Raiser::addPartial(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!a.is(Kind::PartialSum)) {
      continue;
    }
    if (b.is(Kind::Fill) && b.scalar == 0) {
      set(op->getResult(0), a);
    } else if (b.is(Kind::PartialSum) && a.route.choice == b.route.choice && a.source == b.source && side == 0) {
      Meaning meaning = a;
      for (const auto &[expert, weights] : b.experts) {
        if (!meaning.experts.emplace(expert, weights).second) {
          return op->emitError() << "expert " << expert << " is added twice";
        }
      }
      set(op->getResult(0), meaning);
    } else if (isPlainRows(b)) {
      return op->emitError() << "the router scores " << a.route.experts << " experts, but the graph computes "
                             << a.experts.size() << ": the export lost experts (a loop over experts was traced with "
                                "inputs that did not reach all of them); export the model again, with another exporter "
                                "or with experts batched";
    } else {
      continue;
    }
    const Meaning sum = of(op->getResult(0));
    if (static_cast<int64_t>(sum.experts.size()) == sum.route.experts) {
      return emitMoe(op, sum.route, sum.source, sum.experts, Form::SW, "experts P2");
    }
    return success();
  }
  return success();
}

} // namespace emoe
