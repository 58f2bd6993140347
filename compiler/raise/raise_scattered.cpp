// A router in front of an op that has its own: experts are chosen and weighed in the graph, and the op gets logits that make
// it choose the same ones and weigh them in the same proportion, logarithms of the scores where an expert was chosen and a
// very negative number elsewhere. A factor for each token then corrects the sum.
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addScatteredHandlers() {
  for (const char *op : {"Neg", "Exp", "Add", "Reciprocal", "Div"}) {
    add(op, &Raiser::sigmoidStep);
  }
  add("Div", &Raiser::shareOfSum);
  add("Clip", &Raiser::positiveWeights);
  add("Log", &Raiser::logWeights);
  add("ScatterElements", &Raiser::scatterLogs);
}

// 1 / (1 + exp(-x)), step by step.
LogicalResult Raiser::sigmoidStep(Operation *op) {
  StringRef name = op->getName().stripDialect();
  enum { Negated = 1, Exponential = 2, Denominator = 3 };
  auto step = [&](const Meaning &from, Kind kind, int64_t index) {
    Meaning meaning = from;
    meaning.kind = kind;
    meaning.index = index;
    set(op->getResult(0), meaning);
    return success();
  };
  auto is = [](const Meaning &meaning, int64_t index) { return meaning.is(Kind::SigmoidStep) && meaning.index == index; };
  const Meaning a = of(op->getOperand(0));
  if (name == "Neg" && isPlainRows(a) && (a.form == Form::SW || a.form == Form::BSW)) {
    return step(a, Kind::SigmoidStep, Negated);
  }
  if (name == "Exp" && is(a, Negated)) {
    return step(a, Kind::SigmoidStep, Exponential);
  }
  if (name == "Reciprocal" && is(a, Denominator)) {
    return step(a, Kind::Sigmoid, 0);
  }
  if (op->getNumOperands() < 2) {
    return success();
  }
  const Meaning b = of(op->getOperand(1));
  if (name == "Div" && is(b, Denominator) && scalar(op->getOperand(0)) == 1.0) {
    return step(b, Kind::Sigmoid, 0);
  }
  for (int side : {0, 1}) {
    const Meaning &exponential = side == 0 ? a : b;
    if (name == "Add" && is(exponential, Exponential) && scalar(op->getOperand(1 - side)) == 1.0) {
      return step(exponential, Kind::SigmoidStep, Denominator);
    }
  }
  return success();
}

// sum / (sum + epsilon)
LogicalResult Raiser::shareOfSum(Operation *op) {
  const Meaning sum = of(op->getOperand(0)), divisor = of(op->getOperand(1));
  if (sum.is(Kind::TopSum) && divisor.is(Kind::TopSum) && sum.route.choice == divisor.route.choice &&
      sum.route.epsilon == 0 && divisor.route.epsilon > 0 && sum.route.scale == 1 && divisor.route.scale == 1) {
    Meaning meaning = divisor;
    meaning.kind = Kind::TopShare;
    set(op->getResult(0), meaning);
  }
  return success();
}

// Sigmoids are positive: a tiny lower bound only guards the logarithm.
LogicalResult Raiser::positiveWeights(Operation *op) {
  auto clip = cast<onnx::ClipOp>(op);
  const Meaning weights = of(clip.getInput());
  auto low = clip.getMin() ? scalar(clip.getMin()) : std::nullopt;
  if (weights.is(Kind::TopWeights) && weights.route.score == ScoreFunction::Sigmoid && low && *low > 0 && *low <= 1e-20 &&
      !clip.getMax()) {
    set(op->getResult(0), weights);
  }
  return success();
}

LogicalResult Raiser::logWeights(Operation *op) {
  Meaning weights = of(op->getOperand(0));
  bool positive = weights.route.score == ScoreFunction::Sigmoid || weights.route.score == ScoreFunction::Softmax;
  if (weights.is(Kind::TopWeights) && positive && !weights.route.renormalise && weights.route.scale == 1 &&
      !weights.route.expertScale) {
    weights.kind = Kind::LogTopWeights;
    set(op->getResult(0), weights);
  }
  return success();
}

LogicalResult Raiser::scatterLogs(Operation *op) {
  const Meaning rest = of(op->getOperand(0)), ids = of(op->getOperand(1)), logs = of(op->getOperand(2));
  int64_t rank = rest.extents.size();
  auto reduction = op->getAttrOfType<StringAttr>("reduction");
  // Logarithms of float32 are above -104; the others must vanish beside them.
  if (!rest.is(Kind::Fill) || rest.scalar > -1000 || !ids.is(Kind::TopIds) || !logs.is(Kind::LogTopWeights) ||
      ids.route.choice != logs.route.choice || ids.extents != logs.extents || rank != 2 ||
      axisAttr(op, 0, rank) != 1 || rest.extents[1] != Extent(ids.route.experts) ||
      (reduction && reduction.getValue() != "none")) {
    return success();
  }
  Meaning meaning = logs;
  meaning.kind = Kind::ScatteredLogs;
  set(op->getResult(0), reshaped(meaning, rest.extents));
  return success();
}

// The product of the op's result and the share that its weights lost to an epsilon; null if there is none.
onnx::MulOp Raiser::correctionOf(Value result, const RouteMeaning &route, double &epsilon) {
  auto product = result.hasOneUse() ? dyn_cast<onnx::MulOp>(*result.getUsers().begin()) : onnx::MulOp();
  if (!product) {
    return {};
  }
  const Meaning share = of(product->getOperand(product->getOperand(0) == result ? 1 : 0));
  if (!share.is(Kind::TopShare) || share.route.choice != route.choice || share.extents.back() != Extent(1)) {
    return {};
  }
  epsilon = share.route.epsilon;
  return product;
}

} // namespace emoe
