// Routers that choose groups of experts first (DeepSeek-V3), by biased scores; and weights gathered from the scores.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addGroupHandlers() {
  add("Add", &Raiser::biasScores);
  add("TopK", &Raiser::groupTop);
  for (const char *op : {"ReduceSum", "ReduceMax"}) {
    add(op, &Raiser::groupSum);
  }
  for (const char *op : {"ScatterElements", "OneHot"}) {
    add(op, &Raiser::groupChoice);
  }
  for (const char *op : {"ReduceMax", "ReduceSum", "Greater", "Equal", "Not", "Sub"}) {
    add(op, &Raiser::groupMask);
  }
  for (const char *op : {"Where", "Mul"}) {
    add(op, &Raiser::maskScores);
  }
  add("GatherElements", &Raiser::gatherScores);
  for (const char *op : {"Clip", "Max"}) {
    add(op, &Raiser::clampSum);
  }
}

std::optional<Meaning> Raiser::asScores(const Meaning &meaning) {
  if (meaning.is(Kind::ExpertScores) && !meaning.extents.empty()) {
    return meaning;
  }
  if (!isPlainRows(meaning) && !meaning.is(Kind::Sigmoid)) {
    return std::nullopt;
  }
  Meaning scores = meaning;
  scores.kind = Kind::ExpertScores;
  scores.route.logits = meaning.source;
  scores.route.experts = rowWidth(of(meaning.source));
  scores.route.score = meaning.is(Kind::Sigmoid) ? ScoreFunction::Sigmoid : ScoreFunction::None;
  return scores;
}

// Is the op along the last axis?
static bool isLast(std::optional<int64_t> axis, int64_t rank) { return axis && (*axis == -1 || *axis == rank - 1); }

// Cut into groups: fewer scores along the last axis than there are experts.
static bool isGrouped(const Meaning &scores) {
  return scores.is(Kind::ExpertScores) && scores.route.groups == 1 && scores.extents.size() >= 2 &&
         scores.extent(-1).isConstant() && scores.extent(-1).constant() > 0 &&
         scores.extent(-1).constant() < scores.route.experts &&
         scores.extent(-2) == Extent(scores.route.experts / scores.extent(-1).constant()) &&
         scores.route.experts % scores.extent(-1).constant() == 0;
}

// Scores plus a bias for the choice. (Rows plus a bias are rows: the router's own.)
LogicalResult Raiser::biasScores(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning input = of(op->getOperand(side)), bias = of(op->getOperand(1 - side));
    auto scores = isPlainRows(input) ? std::nullopt : asScores(input);
    if (scores && bias.is(Kind::Weight) && !scores->route.selectionBias && scores->route.groups == 1 &&
        scores->extent(-1) == Extent(scores->route.experts) && bias.view.elements() == scores->route.experts &&
        broadcast(scores->extents, bias.extents) == scores->extents) {
      scores->route.selectionBias = bias.view;
      set(op->getResult(0), *scores);
      return success();
    }
  }
  return success();
}

// The largest scores of each group, and the groups with the largest sums.
LogicalResult Raiser::groupTop(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto count = integer(op->getOperand(1));
  int64_t rank = input.extents.size();
  if (!count || *count < 1 || axisAttr(op, -1, rank) != rank - 1 || !intAttr(op, "largest", 1)) {
    return success();
  }
  if (!isGrouped(input) && !input.is(Kind::GroupScores)) {
    return success();
  }
  Meaning meaning = input;
  meaning.extents.back() = *count;
  if (isGrouped(input)) {
    if (*count > input.extent(-1).constant()) {
      return op->emitError() << "takes " << *count << " of the " << input.extent(-1).constant() << " experts of a group";
    }
    meaning.kind = Kind::GroupTop;
    meaning.route.groups = input.route.experts / input.extent(-1).constant();
    meaning.route.groupTop = *count;
    set(op->getResult(0), meaning);
  } else {
    if (*count > input.route.groups) {
      return op->emitError() << "chooses " << *count << " of " << input.route.groups << " groups";
    }
    meaning.kind = Kind::ChosenGroups;
    meaning.route.topGroups = *count;
    set(op->getResult(1), meaning);
    // Its values are asked for by nobody, but the op is known.
    set(op->getResult(0), reshaped(Meaning(), meaning.extents));
  }
  return success();
}

LogicalResult Raiser::groupSum(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  int64_t rank = input.extents.size();
  bool sums = op->getName().stripDialect() == "ReduceSum" && input.is(Kind::GroupTop);
  bool largest = op->getName().stripDialect() == "ReduceMax" && isGrouped(input);
  if ((!sums && !largest) || !isLast(axis, rank)) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::GroupScores;
  if (largest) {
    meaning.route.groups = input.route.experts / input.extent(-1).constant();
    meaning.route.groupTop = 1;
  }
  if (intAttr(op, "keepdims", 1)) {
    meaning.extents.back() = 1;
  } else {
    meaning.extents.pop_back();
  }
  set(op->getResult(0), meaning);
  return success();
}

// Chosen groups as ones among zeros.
LogicalResult Raiser::groupChoice(Operation *op) {
  if (auto scatter = dyn_cast<onnx::ScatterElementsOp>(op)) {
    const Meaning zeros = of(op->getOperand(0)), groups = of(op->getOperand(1));
    auto reduction = op->getAttrOfType<StringAttr>("reduction");
    int64_t rank = zeros.extents.size();
    if (groups.is(Kind::ChosenGroups) && scalar(op->getOperand(0)) == 0.0 && scalar(op->getOperand(2)) == 1.0 &&
        axisAttr(op, 0, rank) == rank - 1 && (!reduction || reduction.getValue() == "none") &&
        zeros.extents.back() == Extent(groups.route.groups) && zeros.extents.size() == groups.extents.size()) {
      Meaning meaning = reshaped(groups, zeros.extents);
      meaning.kind = Kind::GroupMask;
      set(op->getResult(0), meaning);
    }
    return success();
  }
  const Meaning groups = of(op->getOperand(0)), values = of(op->getOperand(2));
  auto depth = integer(op->getOperand(1));
  int64_t rank = groups.extents.size() + 1;
  bool zeroOne = (values.is(Kind::Reals) && values.reals == std::vector<double>{0, 1}) ||
                 integers(op->getOperand(2)) == SmallVector<int64_t>{0, 1};
  if (groups.is(Kind::ChosenGroups) && depth == groups.route.groups && zeroOne && axisAttr(op, -1, rank) == rank - 1) {
    Meaning meaning = groups;
    meaning.kind = Kind::GroupChoice;
    meaning.extents.push_back(*depth);
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::groupMask(Operation *op) {
  StringRef name = op->getName().stripDialect();
  Meaning meaning = of(op->getOperand(0));
  auto number = op->getNumOperands() > 1 ? scalar(op->getOperand(1)) : std::nullopt;
  int64_t rank = meaning.extents.size();
  if (meaning.is(Kind::GroupChoice) && (name == "ReduceMax" || name == "ReduceSum")) {
    auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
    if (!axis || (*axis != -2 && *axis != rank - 2)) {
      return success();
    }
    meaning.kind = Kind::GroupMask;
    if (intAttr(op, "keepdims", 1)) {
      meaning.extents[rank - 2] = 1;
    } else {
      meaning.extents.erase(meaning.extents.begin() + rank - 2);
    }
  } else if (meaning.is(Kind::GroupMask) && name == "Not") {
    meaning.masked = !meaning.masked;
  } else if (meaning.is(Kind::GroupMask) && name == "Equal" && (number == 0.0 || number == 1.0)) {
    meaning.masked ^= number == 0.0;
  } else if (!(meaning.is(Kind::GroupMask) && name == "Greater" && number && *number >= 0 && *number < 1)) {
    return success();
  }
  set(op->getResult(0), meaning);
  return success();
}

// Scores where the group was chosen, something else elsewhere.
LogicalResult Raiser::maskScores(Operation *op) {
  std::optional<Meaning> scores;
  Meaning mask;
  double fill = 0;
  if (op->getName().stripDialect() == "Where") {
    mask = of(op->getOperand(0));
    int kept = mask.masked ? 2 : 1;
    scores = asScores(of(op->getOperand(kept)));
    auto other = scalar(op->getOperand(3 - kept));
    if (!other) {
      return success();
    }
    fill = *other;
  } else {
    int side = of(op->getOperand(0)).is(Kind::GroupMask) ? 0 : 1;
    mask = of(op->getOperand(side));
    scores = asScores(of(op->getOperand(1 - side)));
    if (mask.masked) {
      return success();
    }
  }
  if (!mask.is(Kind::GroupMask) || !scores || scores->route.logits != mask.route.logits || scores->route.groups != 1 ||
      scores->route.score != mask.route.score || scores->extents != mask.extents ||
      scores->route.selectionBias.has_value() != mask.route.selectionBias.has_value()) {
    return success();
  }
  scores->route.groups = mask.route.groups;
  scores->route.topGroups = mask.route.topGroups;
  scores->route.groupTop = mask.route.groupTop;
  scores->route.groupFill = fill;
  set(op->getResult(0), *scores);
  return success();
}

// The chosen experts' scores, without bias and groups.
LogicalResult Raiser::gatherScores(Operation *op) {
  const Meaning ids = of(op->getOperand(1));
  auto scores = asScores(of(op->getOperand(0)));
  int64_t rank = ids.extents.size();
  if (!scores || !ids.is(Kind::TopIds) || scores->route.logits != ids.route.logits ||
      scores->route.selectionBias || scores->route.groups != 1 || axisAttr(op, 0, rank) != rank - 1 ||
      scores->extent(-1) != Extent(scores->route.experts)) {
    return success();
  }
  // Softmax and sigmoid keep the order of logits, but only what was chosen by is known to.
  if (scores->route.score != ids.route.score) {
    return success();
  }
  Meaning meaning = ids;
  meaning.kind = Kind::TopWeights;
  set(op->getResult(0), meaning);
  return success();
}

// The sum of the chosen weights, kept from being zero.
LogicalResult Raiser::clampSum(Operation *op) {
  for (unsigned side = 0; side < std::min(2u, op->getNumOperands()); ++side) {
    const Meaning sum = of(op->getOperand(side));
    auto least = op->getNumOperands() > 1 ? scalar(op->getOperand(1 - side)) : std::nullopt;
    bool clips = op->getName().stripDialect() == "Clip";
    if (!sum.is(Kind::TopSum) || !least || *least > 1e-6 || (clips && (side != 0 || op->getNumOperands() > 2)) ||
        sum.route.score == ScoreFunction::None) {
      continue;
    }
    set(op->getResult(0), sum);
    return success();
  }
  return success();
}

} // namespace emoe
