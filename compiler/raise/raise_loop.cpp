// A loop over experts, written out (P2): each gathers its tokens and scatters its results.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addLoopHandlers() {
  add("OneHot", &Raiser::oneHot);
  add("ReduceSum", &Raiser::hitExperts);
  add("Gather", &Raiser::choiceGather);
  add("Gather", &Raiser::selectWeight);
  add("NonZero", &Raiser::nonZero);
  for (const char *op : {"Split", "Gather"}) {
    add(op, &Raiser::splitPairs);
  }
  for (const char *op : {"Mul", "Add"}) {
    add(op, &Raiser::pairIndex);
  }
  add("Concat", &Raiser::joinPairs);
  add("GatherND", &Raiser::pairWeights);
  add("ScatterElements", &Raiser::scatter);
  add("ScatterND", &Raiser::scatter);
  add("Add", &Raiser::addPartial);
}

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

// One expert's part of stacked weights.
LogicalResult Raiser::selectWeight(Operation *op) {
  const Meaning stack = of(op->getOperand(0));
  auto expert = integer(op->getOperand(1));
  if (!stack.is(Kind::Weight) || stack.view.extents.size() < 2 || axisAttr(op, 0, stack.extents.size()) != 0 || !expert ||
      !of(op->getOperand(1)).extents.empty()) {
    return success();
  }
  const int64_t count = stack.view.extents[0], at = *expert < 0 ? *expert + count : *expert;
  if (at < 0 || at >= count) {
    return op->emitError() << "takes expert " << *expert << " of " << count;
  }
  Meaning meaning = stack;
  meaning.view = stack.view.selected(0, at);
  set(op->getResult(0), reshaped(meaning, Extents(stack.extents.begin() + 1, stack.extents.end())));
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

// Tokens and slots side by side: [n, 2].
LogicalResult Raiser::joinPairs(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  int64_t rank = a.extents.size();
  bool tokensFirst = a.is(Kind::ChosenTokens) && b.is(Kind::ChosenSlots);
  if ((!tokensFirst && !(a.is(Kind::ChosenSlots) && b.is(Kind::ChosenTokens))) || a.expert != b.expert ||
      a.route.choice != b.route.choice || rank != 2 || axisAttr(op, 0, rank) != 1 || a.extents != b.extents ||
      a.extents[1] != Extent(1)) {
    return success();
  }
  Meaning meaning = a;
  meaning.kind = Kind::ChosenPairs;
  meaning.index = tokensFirst ? 1 : 0;
  meaning.transposed = true;
  meaning.extents[1] = 2;
  set(op->getResult(0), meaning);
  return success();
}

// Routing weights [S, k] of pairs (token, slot).
LogicalResult Raiser::pairWeights(Operation *op) {
  const Meaning data = of(op->getOperand(0)), pairs = of(op->getOperand(1));
  if (!data.is(Kind::TopWeights) || data.extents.size() != 2 || !pairs.is(Kind::ChosenPairs) || !pairs.transposed ||
      pairs.index != 1 || data.route.choice != pairs.route.choice || intAttr(op, "batch_dims", 0) != 0) {
    return success();
  }
  Meaning meaning = pairs;
  meaning.kind = Kind::ExpertTopWeight;
  meaning.route = data.route;
  set(op->getResult(0), reshaped(meaning, {pairs.extents[0]}));
  return success();
}

// Zeros [S, D], or what other experts gave, with one expert's results in its tokens' rows, or added to them. A token meets
// an expert once, so that overwriting zeros is adding.
LogicalResult Raiser::scatter(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1)), updates = of(op->getOperand(2));
  int64_t rank = data.extents.size();
  if (isa<onnx::ScatterNDOp>(op)) {
    return scatterRows(op);
  }
  if (!(data.is(Kind::Fill) && data.scalar == 0) || !index.is(Kind::ChosenTokens) ||
      !updates.is(Kind::ExpertWeighted) || index.expert != updates.expert ||
      index.route.choice != updates.route.choice || rank != 2 || axisAttr(op, 0, rank) != 0 ||
      index.extents != updates.extents) {
    return success();
  }
  Meaning meaning = updates;
  meaning.kind = Kind::PartialSum;
  meaning.form = Form::SW;
  meaning.experts[updates.expert] = std::make_shared<const ExpertMeaning>(updates.expertWeights);
  set(op->getResult(0), reshaped(meaning, data.extents));
  return success();
}

LogicalResult Raiser::scatterRows(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1)), updates = of(op->getOperand(2));
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  bool adds = reduction && reduction.getValue() == "add", zeros = data.is(Kind::Fill) && data.scalar == 0;
  bool onto = data.is(Kind::PartialSum) && !data.dense && data.route.choice == updates.route.choice &&
              data.source == updates.source;
  if (!(zeros || (onto && adds)) || (reduction && !adds && reduction.getValue() != "none") ||
      !index.is(Kind::ChosenTokens) || !updates.is(Kind::ExpertWeighted) || index.expert != updates.expert ||
      index.route.choice != updates.route.choice || data.extents.size() != 2 || index.extents.size() != 2 ||
      index.extents[1] != Extent(1) || updates.extents.size() != 2 || index.extents[0] != updates.extents[0] ||
      updates.extents[1] != data.extents[1]) {
    return success();
  }
  Meaning meaning = updates;
  meaning.kind = Kind::PartialSum;
  meaning.form = Form::SW;
  if (onto) {
    meaning.experts = data.experts;
  }
  if (!meaning.experts.emplace(updates.expert, std::make_shared<const ExpertMeaning>(updates.expertWeights)).second) {
    return op->emitError() << "expert " << updates.expert << " is added twice";
  }
  set(op->getResult(0), reshaped(meaning, data.extents));
  return emitWhole(op);
}

// The mixture, once all its experts are there.
LogicalResult Raiser::emitWhole(Operation *op) {
  const Meaning sum = of(op->getResult(0));
  if (sum.is(Kind::PartialSum) && static_cast<int64_t>(sum.experts.size()) == sum.route.experts) {
    return emitMoe(op, sum.route, sum.source, sum.experts, sum.form, sum.dense ? "experts P1" : "experts P2");
  }
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
    return emitWhole(op);
  }
  return success();
}

} // namespace emoe
