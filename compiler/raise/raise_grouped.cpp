// Experts by groups (P4): the chosen (token, expert) pairs are sorted by expert, each expert multiplies its run of
// rows, and the results are put back into the tokens' order.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addGroupedHandlers() {
  add("TopK", &Raiser::sortPairs);
  for (const char *op : {"Less", "Mod", "Div", "Sub", "Clip"}) {
    add(op, &Raiser::sortMath);
  }
  for (const char *op : {"Gather", "GatherND"}) {
    add(op, &Raiser::sortedGather);
  }
  add("ScatterElements", &Raiser::countPairs);
  add("CumSum", &Raiser::endsOfRuns);
  add("Split", &Raiser::splitEnds);
  add("Range", &Raiser::runOfExpert);
  add("Concat", &Raiser::joinRuns);
  add("ScatterND", &Raiser::invertOrder);
  add("Mul", &Raiser::weighSorted);
}

// All pairs in the order of their experts.
LogicalResult Raiser::sortPairs(Operation *op) {
  const Meaning ids = of(op->getOperand(0)), &count = of(op->getOperand(1));
  if (!ids.is(Kind::TopIds) || ids.extents.size() != 1 || intAttr(op, "largest", 1) != 0 || !count.is(Kind::Numbers) ||
      count.numbers.size() != 1 || count.numbers[0] != ids.extents[0] || ids.extents[0] != tokens * ids.route.topK) {
    return success();
  }
  Meaning meaning = ids;
  meaning.kind = Kind::SortedIds;
  for (int64_t expert = 0; expert < ids.route.experts; ++expert) {
    meaning.reals.push_back(expert);
  }
  set(op->getResult(0), meaning);
  meaning.kind = Kind::SortOrder;
  set(op->getResult(1), meaning);
  return success();
}

// pair / k is its token, however floor division is spelled; a histogram's bins are a function of the expert.
LogicalResult Raiser::sortMath(Operation *op) {
  const Meaning x = of(op->getOperand(0));
  StringRef name = op->getName().stripDialect();
  auto number = op->getNumOperands() > 1 ? scalar(op->getOperand(1)) : std::nullopt;
  if (x.is(Kind::SortOrder) && number) {
    Meaning meaning = x;
    if (name == "Less" && *number <= 0) {
      meaning.kind = Kind::Fill;
      meaning.scalar = 0;
    } else if (name == "Mod") {
      meaning.kind = Kind::Opaque;
    } else if (name == "Div" && *number == x.route.topK) {
      meaning.kind = Kind::SortedTokens;
    } else {
      return success();
    }
    set(op->getResult(0), meaning);
  } else if (name == "Sub" && number == 0.0 && x.is(Kind::SortedTokens)) {
    set(op->getResult(0), x);
  } else if (x.is(Kind::SortedIds) && number && (name == "Div" || name == "Clip")) {
    Meaning meaning = x;
    bool floats = isa<mlir::FloatType>(getElementTypeOrSelf(op->getResult(0).getType()));
    auto high = op->getNumOperands() > 2 ? scalar(op->getOperand(2)) : std::nullopt;
    if ((name == "Div" && *number == 0) || (name == "Clip" && op->getNumOperands() > 2 && !high)) {
      return success();
    }
    for (double &value : meaning.reals) {
      value = name == "Div" ? value / *number : std::max(*number, high ? std::min(*high, value) : value);
      value = floats ? value : static_cast<double>(static_cast<int64_t>(value));
    }
    set(op->getResult(0), meaning);
  }
  return success();
}

// Rows, weights or results of an expert by sorted order; and back.
LogicalResult Raiser::sortedGather(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  if (!data.ranked || !index.ranked || data.extents.empty()) {
    return success();
  }
  bool nd = op->getName().stripDialect() == "GatherND";
  if (nd ? index.extents.size() != 2 || index.extents[1] != Extent(1) || intAttr(op, "batch_dims", 0) != 0
         : index.extents.size() != 1 || axisAttr(op, 0, data.extents.size()) != 0) {
    return success();
  }
  Extents extents = data.extents;
  extents[0] = index.extents[0];
  Meaning meaning = index;
  meaning.reals.clear();
  if (isPlainRows(data) && data.form == Form::SW && index.is(Kind::SortedTokens)) {
    meaning.kind = Kind::SortedRows;
    meaning.source = data.source;
  } else if (data.is(Kind::TopWeights) && data.extents.size() == 1 && index.is(Kind::SortOrder) &&
             data.route.choice == index.route.choice) {
    meaning.kind = Kind::SortedTopWeights;
    meaning.route = data.route;
  } else if (data.is(Kind::SortedRows) && index.is(Kind::ExpertRun) && data.route.choice == index.route.choice) {
    meaning.kind = Kind::ExpertRows;
    meaning.source = data.source;
  } else if ((data.is(Kind::ExpertHidden) || data.is(Kind::ExpertActive)) && data.sorted &&
             index.is(Kind::ExpertRun) && data.route.choice == index.route.choice) {
    meaning = data;
    meaning.expert = index.expert;
    for (std::optional<TensorView> *part : meaning.expertWeights.parts()) {
      if (*part) {
        *part = (*part)->selected(0, index.expert);
      }
    }
  } else if (data.is(Kind::ExpertWeighted) && data.sorted && index.is(Kind::InverseOrder) &&
             data.route.choice == index.route.choice) {
    meaning = data;
    meaning.sorted = false;
  } else {
    return success();
  }
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

// How many pairs each expert has: ones added at its number.
LogicalResult Raiser::countPairs(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1));
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  if (!index.is(Kind::SortedIds) || !data.ranked || data.extents != Extents{index.route.experts} || !isZero(data) ||
      scalar(op->getOperand(2)) != 1.0 || !reduction || reduction.getValue() != "add") {
    return success();
  }
  for (auto [expert, bin] : llvm::enumerate(index.reals)) {
    if (bin != static_cast<double>(expert)) {
      return op->emitError() << "counts the tokens of expert " << expert << " as those of expert " << bin;
    }
  }
  Meaning meaning = index;
  meaning.kind = Kind::ExpertCounts;
  meaning.reals.clear();
  set(op->getResult(0), reshaped(meaning, data.extents));
  return success();
}

LogicalResult Raiser::endsOfRuns(Operation *op) {
  Meaning counts = of(op->getOperand(0));
  if (counts.is(Kind::ExpertCounts) && !intAttr(op, "exclusive", 0) && !intAttr(op, "reverse", 0)) {
    counts.kind = Kind::ExpertEnds;
    set(op->getResult(0), counts);
  } else if (counts.is(Kind::Fill) && counts.scalar == 0) {
    set(op->getResult(0), counts);
  } else if (auto axis = integer(op->getOperand(1));
             counts.is(Kind::Fill) && counts.scalar == 1 && axis && !intAttr(op, "exclusive", 0) &&
             !intAttr(op, "reverse", 0)) {
    // Ones, summed up: 1, 2, 3 ...
    counts.kind = Kind::Iota;
    counts.base = 1;
    counts.axis = *axis < 0 ? *axis + static_cast<int64_t>(counts.extents.size()) : *axis;
    set(op->getResult(0), counts);
  }
  return success();
}

LogicalResult Raiser::splitEnds(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t parts = op->getNumResults(), rank = input.extents.size(), axis = axisAttr(op, 0, rank);
  if (input.is(Kind::ExpertEnds) && parts == input.route.experts) {
    for (int64_t expert = 0; expert < parts; ++expert) {
      Meaning meaning = input;
      meaning.kind = Kind::ExpertEnd;
      meaning.expert = expert;
      set(op->getResult(expert), reshaped(meaning, {1}));
    }
  } else if (input.is(Kind::Weight) && op->getNumOperands() == 1 && input.view.extents[axis] % parts == 0) {
    int64_t width = input.view.extents[axis] / parts;
    for (int64_t part = 0; part < parts; ++part) {
      Meaning meaning = input;
      meaning.view = input.view.sliced(axis, part * width, width);
      meaning.extents[axis] = width;
      set(op->getResult(part), meaning);
    }
  }
  return success();
}

// The numbers of an expert's pairs.
LogicalResult Raiser::runOfExpert(Operation *op) {
  const Meaning start = of(op->getOperand(0)), end = of(op->getOperand(1));
  bool follows = start.is(Kind::ExpertEnd) ? start.expert == end.expert - 1 && start.route.choice == end.route.choice
                                           : end.expert == 0 && integer(op->getOperand(0)) == 0;
  if (end.is(Kind::ExpertEnd) && follows && integer(op->getOperand(2)) == 1) {
    Meaning meaning = end;
    meaning.kind = Kind::ExpertRun;
    set(op->getResult(0), reshaped(meaning, {freshSymbol()}));
  }
  return success();
}

// The experts' matrices as one stacked tensor, if they lie in the file as one.
static std::optional<TensorView> stack(ArrayRef<TensorView> views) {
  TensorView stacked = views[0];
  int64_t step = views.size() > 1 ? views[1].first - views[0].first : views[0].elements();
  for (auto [index, view] : llvm::enumerate(views)) {
    if (view.source != stacked.source || view.extents != stacked.extents || view.strides != stacked.strides ||
        view.first != stacked.first + static_cast<int64_t>(index) * step || step <= 0) {
      return std::nullopt;
    }
  }
  stacked.extents.insert(stacked.extents.begin(), views.size());
  stacked.strides.insert(stacked.strides.begin(), step);
  return stacked;
}

// All experts' results, one run after the other.
LogicalResult Raiser::joinRuns(Operation *op) {
  const Meaning first = of(op->getOperand(0));
  if ((!first.is(Kind::ExpertLinear) && !first.is(Kind::ExpertOut)) || axisAttr(op, 0, first.extents.size()) != 0 ||
      static_cast<int64_t>(op->getNumOperands()) != first.route.experts) {
    return success();
  }
  SmallVector<TensorView> matrices, gates, ups;
  for (auto [expert, operand] : llvm::enumerate(op->getOperands())) {
    const Meaning &part = of(operand);
    if (part.kind != first.kind || part.expert != static_cast<int64_t>(expert) ||
        part.route.choice != first.route.choice || part.source != first.source ||
        part.expertWeights.activation != first.expertWeights.activation) {
      return success();
    }
    matrices.push_back(first.is(Kind::ExpertLinear) ? part.view : *part.expertWeights.down);
    if (part.expertWeights.gate) {
      gates.push_back(*part.expertWeights.gate);
    }
    if (part.expertWeights.up) {
      ups.push_back(*part.expertWeights.up);
    }
  }
  Meaning meaning = first;
  meaning.expert = -1;
  meaning.sorted = true;
  auto all = stack(matrices);
  if (!all) {
    return op->emitError("the experts' matrices are not parts of one stacked tensor, which grouped experts need");
  }
  if (first.is(Kind::ExpertLinear)) {
    meaning.view = *all;
  } else {
    meaning.expertWeights.down = all;
    for (auto [list, part] : {std::pair(&gates, &meaning.expertWeights.gate), {&ups, &meaning.expertWeights.up}}) {
      if (list->empty()) {
        continue;
      }
      *part = list->size() == matrices.size() ? stack(*list) : std::nullopt;
      if (!*part) {
        return success();
      }
    }
  }
  Extents extents = first.extents;
  extents[0] = tokens * first.route.topK;
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

LogicalResult Raiser::invertOrder(Operation *op) {
  const Meaning data = of(op->getOperand(0)), index = of(op->getOperand(1)), updates = of(op->getOperand(2));
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  if (index.is(Kind::SortOrder) && data.ranked && data.extents.size() == 1 && index.extents.size() == 2 &&
      index.extents[1] == Extent(1) && updates.is(Kind::Iota) && updates.base == Extent(0) &&
      updates.extents == data.extents && data.extents[0] == index.extents[0] &&
      (!reduction || reduction.getValue() == "none")) {
    Meaning meaning = index;
    meaning.kind = Kind::InverseOrder;
    set(op->getResult(0), reshaped(meaning, data.extents));
  }
  return success();
}

LogicalResult Raiser::weighSorted(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (a.is(Kind::ExpertOut) && a.sorted && b.is(Kind::SortedTopWeights) && a.route.choice == b.route.choice &&
        b.extents.size() == 2 && b.extents[1] == Extent(1)) {
      Meaning meaning = a;
      meaning.kind = Kind::ExpertWeighted;
      meaning.route = b.route;
      set(op->getResult(0), meaning);
      return success();
    }
  }
  return success();
}

} // namespace emoe
