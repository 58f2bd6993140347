// Two experts a token by one-hot masks (P6 of NLLB-MoE, arXiv 2207.04672): the second choice is the best logit with the first
// at -infinity; second choices find room in an expert's capacity beside all first ones; the experts get their tokens' rows by
// an einsum with the mask, zeros elsewhere, and what they make of them is weighed by another.
#include <cmath>

#include "compiler/raise/evaluate_tensor.h"
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addRankedHandlers() {
  add("Where", &Raiser::rankedIds);
  add("ArgMax", &Raiser::rankedIds);
  for (const char *op : {"Sub", "Add"}) {
    add(op, &Raiser::rankedCount);
  }
  add("ReduceSum", &Raiser::rankedSums);
  add("Mul", &Raiser::rankedProducts);
  for (const char *op : {"Add", "Clip", "Max", "Div"}) {
    add(op, &Raiser::rankedQuotient);
  }
  for (const char *op : {"Cast", "Not", "Equal", "Greater"}) {
    add(op, &Raiser::rankedMask);
  }
  add("Gather", &Raiser::rankedGather);
  add("Einsum", &Raiser::rankedEinsum);
  add("Add", &Raiser::rankedPartial);
}

// Is it the choice that `key` of the second one names?
static bool isFirstOf(const Meaning &first, const Meaning &second) {
  return first.index == 0 && second.index == 1 && second.key && first.route.choice &&
         second.key.getDefiningOp() == first.route.choice;
}

static bool sameChoice(const Meaning &a, const Meaning &b) {
  return a.index == b.index && a.route.choice == b.route.choice && a.key == b.key;
}

// One everywhere, whatever the tokens are: a mask of padding that there is none of.
bool Raiser::isOnes(Value value) {
  auto values = ofPositions(value);
  if (!values) {
    return false;
  }
  for (int64_t i = 0; i < values->size(); ++i) {
    if (values->at(i) != 1) {
      return false;
    }
  }
  return values->size() > 0;
}

LogicalResult Raiser::rankedIds(Operation *op) {
  if (op->getName().stripDialect() == "Where") {
    const Meaning choice = of(op->getOperand(0)), rows = of(op->getOperand(2));
    auto least = scalar(op->getOperand(1));
    // The logits that the first choice was made from, directly or by their softmax.
    if (!choice.is(Kind::SwitchChoice) || choice.index != 0 || choice.route.capacity != 0 || !least || *least > -1e30 ||
        !isPlainRows(rows) || rows.source != choice.route.logits || rows.extents != choice.extents) {
      return success();
    }
    Meaning meaning = choice;
    meaning.kind = Kind::RankedRest;
    set(op->getResult(0), meaning);
    return success();
  }
  const Meaning rest = of(op->getOperand(0));
  const int64_t rank = rest.extents.size();
  if (rest.is(Kind::RankedRest) && axisAttr(op, 0, rank) == rank - 1 && !intAttr(op, "keepdims", 1) &&
      !intAttr(op, "select_last_index", 0)) {
    Meaning meaning = rest;
    meaning.kind = Kind::SwitchIds;
    meaning.index = 1;
    meaning.key = rest.route.choice->getResult(0);
    meaning.route.choice = op;
    meaning.extents.pop_back();
    set(op->getResult(0), meaning);
  }
  return success();
}

// A count less a number; a count of second choices behind all first ones.
LogicalResult Raiser::rankedCount(Operation *op) {
  const bool subtracts = op->getName().stripDialect() == "Sub";
  for (int side = 0; side < (subtracts ? 1 : 2); ++side) {
    const Meaning count = of(op->getOperand(side)), other = of(op->getOperand(1 - side));
    if (!count.is(Kind::SwitchCount)) {
      continue;
    }
    Meaning meaning = count;
    auto number = integer(op->getOperand(1 - side));
    if (number && other.extents.size() <= count.extents.size()) {
      meaning.offset += static_cast<double>(subtracts ? -*number : *number);
    } else if (!subtracts && other.is(Kind::RankedTotal) && isFirstOf(other, count) && !count.masked &&
               other.extents.size() <= count.extents.size()) {
      meaning.masked = true;
    } else {
      continue;
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

LogicalResult Raiser::rankedSums(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  const int64_t rank = input.extents.size();
  auto given = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  if (!given) {
    return success();
  }
  const int64_t axis = *given < 0 ? *given + rank : *given;
  Meaning meaning = input;
  if (input.is(Kind::SwitchChoice) && input.index == 0 && input.route.capacity == 0 && axis == rank - 2 &&
      input.extents[axis] == tokens) {
    meaning.kind = Kind::RankedTotal;
  } else if (input.is(Kind::RankedScores) && axis == rank - 1) {
    meaning.kind = Kind::RankedWeight;
  } else {
    return success();
  }
  if (intAttr(op, "keepdims", 1)) {
    meaning.extents[axis] = 1;
  } else if (meaning.is(Kind::RankedTotal)) {
    return success();
  } else {
    meaning.extents.pop_back();
  }
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::rankedProducts(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    Meaning meaning = a;
    if (a.is(Kind::SwitchChoice) && a.route.capacity == 0 && (b.is(Kind::Opaque) || b.is(Kind::Fill)) &&
        isOnes(op->getOperand(1 - side))) {
      // A mask of tokens that are no padding.
    } else if (a.is(Kind::SwitchChoice) && b.is(Kind::ExpertScores) && b.route.score == ScoreFunction::Softmax &&
               b.route.logits == a.route.logits && !b.route.selectionBias && b.extents == a.extents) {
      meaning.kind = Kind::RankedScores;
      meaning.route.score = b.route.score;
    } else if (a.is(Kind::RankedWeight) && b.is(Kind::SwitchChoice) && sameChoice(a, b) &&
               a.extents.size() == b.extents.size() && a.extents.back() == Extent(1) &&
               (a.route.capacity == 0 || a.route.capacity == b.route.capacity)) {
      meaning.kind = Kind::RankedGate;
      meaning.extents = b.extents;
      // Divided by the sum of what the capacity left, or of both.
      meaning.route.renormaliseKept = a.route.renormalise && a.route.capacity != 0;
      meaning.route.renormalise = a.route.renormalise && a.route.capacity == 0;
      meaning.route.capacity = b.route.capacity;
    } else if (a.is(Kind::RankedColumn) && b.is(Kind::RankedMaskColumn) && a.expert == b.expert &&
               a.route.choice == b.route.choice && a.extents == b.extents) {
      // The weight is zero where the mask is.
    } else if (a.is(Kind::RankedColumn) && b.is(Kind::Rows) && a.extents.size() == b.extents.size() &&
               a.extents.back() == Extent(1)) {
      if (rankedResult(op, b, a)) {
        return success();
      }
      continue;
    } else {
      continue;
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// The sum of both weights, kept from zero, and their shares of it; both gates together.
LogicalResult Raiser::rankedQuotient(Operation *op) {
  StringRef name = op->getName().stripDialect();
  for (int side : {0, 1}) {
    if (static_cast<int>(op->getNumOperands()) <= side) {
      break;
    }
    const Meaning a = of(op->getOperand(side));
    Meaning meaning = a;
    if (name == "Add") {
      const Meaning b = of(op->getOperand(1 - side));
      const bool gates = a.is(Kind::RankedGate) && b.is(Kind::RankedGate);
      const bool weights = a.is(Kind::RankedWeight) && b.is(Kind::RankedWeight) && !a.masked && !b.masked;
      if ((!gates && !weights) || !isFirstOf(a, b) || a.extents != b.extents || a.route.capacity != b.route.capacity ||
          a.route.renormalise != b.route.renormalise || a.route.renormaliseKept != b.route.renormaliseKept ||
          a.route.epsilon != b.route.epsilon) {
        continue;
      }
      meaning = b;
      meaning.kind = gates ? Kind::RankedGates : Kind::RankedSum;
      meaning.route.topK = 2;
      meaning.route.ranked = b.route.capacity != 0;
    } else if (name == "Clip" || name == "Max") {
      auto least = op->getNumOperands() > 1 && op->getOperand(1 - side) ? scalar(op->getOperand(1 - side)) : std::nullopt;
      const bool bounded = name == "Clip" && op->getNumOperands() > 2 && op->getOperand(2);
      // Larger than any sum of two that are the largest would be no guard against zero.
      if (!a.is(Kind::RankedSum) || a.epsilon != 0 || !least || !(*least > 0) || bounded || (name == "Clip" && side == 1) ||
          *least * static_cast<double>(a.route.experts) >= 1) {
        continue;
      }
      meaning.epsilon = *least;
    } else {
      const Meaning b = of(op->getOperand(1));
      if (side == 1 || !a.is(Kind::RankedWeight) || a.masked || !b.is(Kind::RankedSum) || a.extents != b.extents ||
          a.route.capacity != b.route.capacity || !(sameChoice(a, b) || isFirstOf(a, b)) ||
          (a.route.capacity != 0 && !(b.epsilon > 0))) {
        continue;
      }
      meaning.masked = true;
      meaning.route.renormalise = true;
      // Of both weights the sum is never as small as epsilon.
      meaning.route.epsilon = a.route.capacity != 0 ? b.epsilon : 0;
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// Where the gates are not zero.
LogicalResult Raiser::rankedMask(Operation *op) {
  const Meaning gates = of(op->getOperand(0));
  StringRef name = op->getName().stripDialect();
  if (!gates.is(Kind::RankedGates)) {
    return success();
  }
  auto to = op->getAttrOfType<TypeAttr>("to");
  const bool isCast = name == "Cast" && to && to.getValue().isInteger(1);
  const bool isPositive = name == "Greater" && scalar(op->getOperand(1)) == 0.0;
  if (isCast || isPositive) {
    Meaning meaning = gates;
    meaning.kind = Kind::RankedMask;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::rankedGather(Operation *op) {
  const Meaning data = of(op->getOperand(0));
  const bool inputs = data.is(Kind::RankedInputs), gates = data.is(Kind::RankedGates), mask = data.is(Kind::RankedMask);
  if (!inputs && !gates && !mask) {
    return success();
  }
  auto expert = integer(op->getOperand(1));
  const Extents &index = of(op->getOperand(1)).extents;
  const int64_t rank = data.extents.size(), axis = axisAttr(op, 0, rank);
  if (!expert || !index.empty() || axis != (inputs ? 0 : rank - 1)) {
    return success();
  }
  const int64_t number = *expert < 0 ? *expert + data.route.experts : *expert;
  if (number < 0 || number >= data.route.experts) {
    return op->emitError() << "takes expert " << *expert << ", but there are " << data.route.experts;
  }
  Meaning meaning = data;
  meaning.expert = number;
  meaning.extents.erase(meaning.extents.begin() + axis);
  if (inputs) {
    dispatched[op->getResult(0)] = meaning;
    Meaning rows;
    rows.kind = Kind::Rows;
    rows.form = Form::SW;
    rows.source = op->getResult(0);
    set(op->getResult(0), reshaped(rows, meaning.extents));
    return success();
  }
  meaning.kind = gates ? Kind::RankedColumn : Kind::RankedMaskColumn;
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::rankedEinsum(Operation *op) {
  auto einsum = cast<onnx::EinsumOp>(op);
  if (op->getNumOperands() != 2) {
    return success();
  }
  std::string text;
  for (char c : einsum.getEquation()) {
    text += c == ' ' ? "" : std::string(1, c);
  }
  auto [left, out] = StringRef(text).split("->");
  auto [first, second] = left.split(',');
  for (int side : {0, 1}) {
    const Meaning rows = of(op->getOperand(side)), other = of(op->getOperand(1 - side));
    StringRef r = side ? second : first, o = side ? first : second;
    if (!isPlainRows(rows) || rows.form != Form::SW || r.size() != 2 || r[0] == r[1]) {
      continue;
    }
    // rows [b, m], mask [b, e] -> [e, b, m]
    if (other.is(Kind::RankedMask) && o.size() == 2 && o[0] == r[0] && o[1] != r[0] && o[1] != r[1] && out.size() == 3 &&
        out[0] == o[1] && out[1] == r[0] && out[2] == r[1] && other.extents.size() == 2) {
      Meaning meaning = other;
      meaning.kind = Kind::RankedInputs;
      meaning.source = rows.source;
      set(op->getResult(0), reshaped(meaning, {other.extents[1], rows.extents[0], rows.extents[1]}));
      return success();
    }
    // weights [b], rows [b, e] -> [b, e]
    if (other.is(Kind::RankedColumn) && o.size() == 1 && o[0] == r[0] && out == r && other.extents.size() == 1 &&
        rankedResult(op, rows, other)) {
      return success();
    }
  }
  return success();
}

// An expert's result, perhaps times a number, times its weight: true if it is one.
bool Raiser::rankedResult(Operation *op, const Meaning &rows, const Meaning &column) {
  if (!isPlainRows(rows) || rows.form != Form::SW) {
    return false;
  }
  Value result = rows.source, input;
  double scale = 1;
  auto from = result.getDefiningOp<onnx::FromRowsOp>();
  if (auto scaled = from ? from.getRows().getDefiningOp<ScaleOp>() : ScaleOp()) {
    scale = scaled.getFactor().convertToFloat();
    result = scaled.getInput();
    if (auto bridge = result.getDefiningOp<onnx::ToRowsOp>()) {
      result = bridge.getInput();
    } else { // without a prover, rows are taken as they were emitted
      for (Operation *user : result.getUsers()) {
        if (auto unscaled = dyn_cast<onnx::FromRowsOp>(user)) {
          result = unscaled.getResult();
          break;
        }
      }
    }
  }
  std::optional<ExpertMeaning> expert = expertBehind(result, input);
  if (!expert) {
    return false;
  }
  auto given = dispatched.find(input);
  if (given == dispatched.end() || given->second.expert != column.expert ||
      given->second.route.choice != column.route.choice) {
    return false;
  }
  Meaning meaning = column;
  meaning.kind = Kind::RankedPartial;
  meaning.source = given->second.source;
  meaning.form = Form::SW;
  meaning.scale = scale;
  meaning.experts = {{column.expert, std::make_shared<const ExpertMeaning>(*expert)}};
  set(op->getResult(0), reshaped(meaning, rows.extents));
  return true;
}

LogicalResult Raiser::rankedPartial(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!a.is(Kind::RankedPartial)) {
      continue;
    }
    if (scalar(op->getOperand(1 - side)) == 0.0 && broadcast(a.extents, b.extents) == a.extents) {
      set(op->getResult(0), a);
      return success();
    }
    if (!b.is(Kind::RankedPartial) && !isPlainRows(b)) {
      continue;
    }
    if (!b.is(Kind::RankedPartial)) {
      return op->emitError() << "the router scores " << a.route.experts << " experts, but the graph computes "
                             << a.experts.size() << ": the export lost experts; export the model again";
    }
    if (a.route.choice != b.route.choice || a.source != b.source || a.extents != b.extents || a.scale != b.scale) {
      return op->emitError("adds results of experts that have another input, router or scale");
    }
    Meaning meaning = a;
    for (const auto &[expert, weights] : b.experts) {
      if (!meaning.experts.emplace(expert, weights).second) {
        return op->emitError() << "expert " << expert << " is added twice";
      }
    }
    if (static_cast<int64_t>(meaning.experts.size()) < meaning.route.experts) {
      set(op->getResult(0), meaning);
      return success();
    }
    RouteMeaning route = meaning.route;
    route.scale = meaning.scale;
    set(op->getResult(0), reshaped(Meaning(), meaning.extents));
    return emitMoe(op, route, meaning.source, meaning.experts, Form::SW, "experts P6, two a token");
  }
  return success();
}

} // namespace emoe
