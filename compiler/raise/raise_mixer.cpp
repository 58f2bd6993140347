// The sparse mixer (Phi-MoE): rounds, each of which takes the largest remaining logit and weighs it by a softmax over the
// experts close to it. Every step knows its round (`index`) and the logits (`source`).
#include <cmath>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addMixerHandlers() {
  for (const char *op : {"ReduceMax", "ArgMax", "Abs", "Max", "Sub", "Div", "Greater", "Where", "Softmax",
                         "TopK", "GatherElements", "ScatterElements"}) {
    add(op, &Raiser::mixerStep);
  }
  add("Concat", &Raiser::joinRounds);
}

// What is left of the logits: all of them, or those of a later round.
static std::optional<Meaning> remaining(const Meaning &meaning, bool plain) {
  if (meaning.is(Kind::Mixer) && meaning.mixer == MixerStep::Remaining) {
    return meaning;
  }
  if (!plain || (meaning.form != Form::SW && meaning.form != Form::BSW)) {
    return std::nullopt;
  }
  Meaning first = meaning;
  first.kind = Kind::Mixer;
  first.mixer = MixerStep::Remaining;
  first.index = 0;
  return first;
}

LogicalResult Raiser::mixerStep(Operation *op) {
  StringRef name = op->getName().stripDialect();
  const Meaning a = of(op->getOperand(0));
  const Meaning b = op->getNumOperands() > 1 ? of(op->getOperand(1)) : Meaning();
  const Meaning c = op->getNumOperands() > 2 ? of(op->getOperand(2)) : Meaning();
  int64_t rank = a.extents.size();
  auto step = [&](const Meaning &from, MixerStep next, std::optional<Extent> width = std::nullopt) {
    Meaning meaning = from;
    meaning.kind = Kind::Mixer;
    meaning.mixer = next;
    if (width) {
      meaning.extents.back() = *width;
    }
    set(op->getResult(0), meaning);
    return success();
  };
  auto is = [](const Meaning &meaning, MixerStep which) { return meaning.is(Kind::Mixer) && meaning.mixer == which; };
  auto sameRound = [](const Meaning &x, const Meaning &y) { return x.index == y.index && x.source == y.source; };
  auto minusInfinity = [&](unsigned operand) {
    auto value = scalar(op->getOperand(operand));
    return value && *value <= -1e30;
  };
  auto left = remaining(a, isPlainRows(a));
  if (name == "ReduceMax" && left) {
    auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
    if (axis && (*axis == -1 || *axis == rank - 1) && intAttr(op, "keepdims", 1)) {
      return step(*left, MixerStep::Largest, 1);
    }
  } else if (name == "ArgMax" && left) {
    if (axisAttr(op, 0, rank) == rank - 1 && intAttr(op, "keepdims", 1) && !intAttr(op, "select_last_index", 0)) {
      return step(*left, MixerStep::Chosen, 1);
    }
  } else if (name == "Abs" && left) {
    // Of experts taken in earlier rounds, too: whatever stands for them is far from the largest.
    return step(*left, MixerStep::Magnitude);
  } else if (name == "TopK" && is(a, MixerStep::Close) && integer(op->getOperand(1)) == 1 && intAttr(op, "largest", 1) &&
             axisAttr(op, -1, rank) == rank - 1) {
    // The largest that remains is close to itself.
    Meaning chosen = a;
    chosen.mixer = MixerStep::Chosen;
    chosen.extents.back() = 1;
    set(op->getResult(1), chosen);
    set(op->getResult(0), reshaped(Meaning(), chosen.extents));
    return success();
  } else if (name == "Max" && op->getNumOperands() == 2) {
    for (const auto &[x, y] : {std::pair(a, b), std::pair(b, a)}) {
      if (is(x, MixerStep::Magnitude) && is(y, MixerStep::Largest) && x.source == y.source && (x.index == 0 || x.index == y.index)) {
        Meaning factor = x;
        factor.index = y.index;
        return step(factor, MixerStep::Divisor);
      }
    }
  } else if (auto from = name == "Sub" && is(a, MixerStep::Largest) ? remaining(b, isPlainRows(b)) : std::nullopt;
             from && a.source == from->source && (from->index == 0 || from->index == a.index)) {
    Meaning distance = *from;
    distance.index = a.index;
    return step(distance, MixerStep::Distance);
  } else if (name == "Div" && is(a, MixerStep::Distance) && is(b, MixerStep::Divisor) && sameRound(a, b)) {
    return step(a, MixerStep::Ratio);
  } else if (auto limit = op->getNumOperands() > 1 ? scalar(op->getOperand(1)) : std::nullopt;
             name == "Greater" && is(a, MixerStep::Ratio) && limit) {
    Meaning far = a;
    far.scalar = *limit;
    return step(far, MixerStep::Far);
  } else if (name == "Where" && is(a, MixerStep::Far) && minusInfinity(1)) {
    auto logits = remaining(c, isPlainRows(c));
    if (logits && sameRound(a, *logits)) {
      return step(a, MixerStep::Close);
    }
  } else if (name == "Softmax" && is(a, MixerStep::Close) && axisAttr(op, -1, rank) == rank - 1) {
    return step(a, MixerStep::Scores);
  } else if (name == "GatherElements" && is(a, MixerStep::Scores) && is(b, MixerStep::Chosen) && sameRound(a, b) &&
             axisAttr(op, 0, rank) == rank - 1) {
    return step(a, MixerStep::Weight, 1);
  } else if (name == "ScatterElements" && left && is(b, MixerStep::Chosen) && sameRound(*left, b) &&
             minusInfinity(2) && axisAttr(op, 0, rank) == rank - 1) {
    auto reduction = op->getAttrOfType<StringAttr>("reduction");
    if (!reduction || reduction.getValue() == "none") {
      ++left->index;
      return step(*left, MixerStep::Remaining);
    }
  }
  return success();
}

// All rounds' experts, or their weights.
LogicalResult Raiser::joinRounds(Operation *op) {
  const Meaning first = of(op->getOperand(0));
  int64_t rank = first.extents.size();
  bool ids = first.mixer == MixerStep::Chosen;
  if (!first.is(Kind::Mixer) || (!ids && first.mixer != MixerStep::Weight) || axisAttr(op, 0, rank) != rank - 1) {
    return success();
  }
  for (auto [round, operand] : llvm::enumerate(op->getOperands())) {
    const Meaning &part = of(operand);
    if (!part.is(Kind::Mixer) || part.mixer != first.mixer || part.source != first.source ||
        part.index != static_cast<int64_t>(round) || part.scalar != first.scalar) {
      return success();
    }
  }
  Meaning meaning = first;
  meaning.kind = ids ? Kind::TopIds : Kind::TopWeights;
  meaning.index = 0;
  meaning.extents.back() = op->getNumOperands();
  meaning.route.logits = first.source;
  meaning.route.experts = rowWidth(of(first.source));
  meaning.route.topK = op->getNumOperands();
  meaning.route.score = ScoreFunction::SparseMixer;
  meaning.route.threshold = first.scalar;
  // Both concatenations are of one choice: that of these logits.
  meaning.route.choice = first.source.getDefiningOp();
  set(op->getResult(0), meaning);
  return success();
}

} // namespace emoe
