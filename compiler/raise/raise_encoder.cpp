// Encoders and what decoders have of them: attention that sees later positions or another sequence, relative position
// bias, and the one-hot experts of Switch Transformers (P6).
//
// What is added to scores depends on positions alone, however it is written: masks of a library, buckets of distances and a
// table of them. So it is not matched but computed, for a sequence longer than any distance that counts, and must be a
// function of the distance that does not change any more from half of the sequence on.
#include <cmath>

#include "compiler/raise/evaluate.h"
#include "compiler/raise/evaluate_weights.h"
#include "compiler/raise/raiser.h"
#include "mlir/IR/Diagnostics.h"

using namespace mlir;

namespace emoe {

void Raiser::addEncoderHandlers() {
  add("Add", &Raiser::positionBias);
  add("Softmax", &Raiser::unmaskedProbabilities);
  add("ArgMax", &Raiser::switchIds);
  add("OneHot", &Raiser::switchChoice);
  add("CumSum", &Raiser::switchCount);
  for (const char *op : {"LessOrEqual", "Less"}) {
    add(op, &Raiser::switchFits);
  }
  add("ReduceMax", &Raiser::switchWeight);
  add("Slice", &Raiser::switchExpert);
  for (const char *op : {"Mul", "Add"}) {
    add(op, &Raiser::switchSum);
  }
}

//===--- position bias ---------------------------------------------------------------------------------------------===//

// Positions that a bias is computed for; distances from half of it on must not matter.
static constexpr int64_t kPositions = 512;

// The value for a sequence of kPositions tokens and a source as long, if it is a function of positions alone. Floats are
// rounded as float32 is: buckets depend on it.
std::shared_ptr<const Tensor> Raiser::ofPositions(Value value) {
  auto [found, added] = positional.try_emplace(value);
  if (!added) {
    return found->second;
  }
  llvm::DenseMap<Value, Tensor> numbers;
  SmallVector<Value> work{value};
  llvm::DenseSet<Value> seen{value};
  while (!work.empty()) {
    Value current = work.pop_back_val();
    const Meaning &meaning = of(current);
    if (meaning.is(Kind::Numbers) && isa<IntegerType>(getElementTypeOrSelf(current.getType()))) {
      std::vector<int64_t> elements;
      Dims shape;
      bool unknown = false;
      auto append = [&](auto &list, const Extent &extent) {
        auto known = extent.valueAt({{0, kPositions}, {1, 0}, {sourceSymbol, kPositions}});
        unknown |= !known;
        list.push_back(known.value_or(0));
      };
      for (const Extent &number : meaning.numbers) {
        append(elements, number);
      }
      for (const Extent &extent : meaning.extents) {
        append(shape, extent);
      }
      if (unknown) {
        return nullptr;
      }
      numbers[current] = Tensor::of(shape, std::move(elements), Tensor::kindOf(getElementTypeOrSelf(current.getType())));
      continue;
    }
    Operation *op = current.getDefiningOp();
    constexpr size_t kMostValues = 1000;
    if (!op || !isa<onnx::OnnxDialect>(op->getDialect()) || isa<onnx::FromRowsOp>(op) || op->getNumRegions() != 0 ||
        meaning.is(Kind::Rows) || seen.size() > kMostValues) {
      return nullptr;
    }
    for (Value operand : op->getOperands()) {
      if (operand && seen.insert(operand).second) {
        work.push_back(operand);
      }
    }
  }
  ScopedDiagnosticHandler quiet(module.getContext(), [](Diagnostic &) { return success(); });
  SymbolIndex symbols(module);
  RealWeights weights(store);
  Evaluator evaluator(symbols, weights);
  evaluator.single = true;
  evaluator.known = [&](Value known) {
    auto number = numbers.find(known);
    return number == numbers.end() ? std::nullopt : std::optional<Tensor>(number->second);
  };
  if (failed(evaluator.run({value}))) {
    return nullptr;
  }
  auto whole = evaluator.read(value.getDefiningOp(), evaluator.get(value));
  if (failed(whole)) {
    return nullptr;
  }
  return positional[value] = std::make_shared<const Tensor>(*whole);
}

// Scores plus a bias of positions [1, heads or 1, queries or 1, keys]: a mask, a table of distances, or both.
LogicalResult Raiser::positionBias(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning scores_ = of(op->getOperand(side));
    Value bias = op->getOperand(1 - side);
    if (!scores_.is(Kind::Scores) || scores_.masked || pastLength != Extent(0) || scores_.extents.size() != 4 ||
        !scores_.extents[1].isConstant()) {
      continue;
    }
    auto values = ofPositions(bias);
    if (!values || values->kind != Tensor::Kind::Float) {
      continue;
    }
    const int64_t heads = scores_.extents[1].constant(), n = kPositions;
    Dims shape = values->shape;
    shape.insert(shape.begin(), std::max<int64_t>(0, 4 - values->rank()), 1);
    const bool self = scores_.extents[3] == tokens;
    if (shape.size() != 4 || shape[0] != 1 || (shape[1] != 1 && shape[1] != heads) || (shape[2] != 1 && shape[2] != n) ||
        (shape[3] != 1 && shape[3] != n) || scores_.extents[2] != tokens) {
      continue;
    }
    auto at = [&](int64_t head, int64_t query, int64_t key) {
      int64_t index = (shape[1] == 1 ? 0 : head) * shape[2] + (shape[2] == 1 ? 0 : query);
      return values->f()[index * shape[3] + (shape[3] == 1 ? 0 : key)];
    };
    constexpr double kVanishes = -1e4;
    const bool causal = at(0, 0, n - 1) <= kVanishes;
    if (causal && !self) {
      return op->emitError("this cross-attention hides positions of the encoder's result, which is not supported");
    }
    // The bias at each distance from -(n - 1), by head.
    std::vector<std::vector<float>> table(heads, std::vector<float>(2 * n - 1, 0));
    for (int64_t head = 0; head < heads; ++head) {
      for (int64_t query = 0; query < n; ++query) {
        for (int64_t key = 0; key < n; ++key) {
          const double value = at(head, query, key);
          const bool visible = key <= query || !causal;
          float &known = table[head][key - query + n - 1];
          if (visible != (value > kVanishes)) {
            return op->emitError("the mask of this attention is neither causal nor open; it is not supported");
          }
          if (visible && (query == 0 || key == 0)) {
            known = value;
          } else if (visible && known != static_cast<float>(value)) {
            return op->emitError("what is added to the scores of this attention is no function of the distance of query and "
                                 "key; it is not supported");
          }
        }
      }
    }
    // Distances whose entry differs from the one beyond them.
    int64_t before = 0, after = 0;
    for (const std::vector<float> &row : table) {
      for (int64_t distance = 1; distance < n; ++distance) {
        if (row[n - 1 - distance] != row[n - distance]) {
          before = std::max(before, distance);
        }
        if (!causal && row[n - 1 + distance] != row[n - 2 + distance]) {
          after = std::max(after, distance);
        }
      }
    }
    if (before > n / 2 || after > n / 2) {
      return op->emitError() << "the position bias of this attention still changes at a distance of "
                             << std::max(before, after) << " positions; at most " << n / 2 << " are supported";
    }
    Meaning meaning = scores_;
    meaning.masked = true;
    meaning.bidirectional = !causal;
    bool any = false;
    for (const std::vector<float> &row : table) {
      for (int64_t distance = -before; distance <= after; ++distance) {
        meaning.positionBias.push_back(row[n - 1 + distance]);
        any |= meaning.positionBias.back() != 0;
      }
    }
    meaning.biasBefore = before;
    if (!any) {
      meaning.positionBias.clear();
      meaning.biasBefore = 0;
    } else if (!self) {
      return op->emitError("a position bias of cross-attention is not supported");
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// Scores that nothing was added to: every position is seen.
LogicalResult Raiser::unmaskedProbabilities(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (input.is(Kind::Scores) && !input.masked && pastLength == Extent(0) && axisAttr(op, -1, rank) == rank - 1) {
    Meaning meaning = input;
    meaning.kind = Kind::Probabilities;
    meaning.bidirectional = true;
    set(op->getResult(0), meaning);
  }
  return success();
}

//===--- P6: one expert a token, by one-hot masks ------------------------------------------------------------------===//

// The best expert [.., S] of scores [.., S, E].
LogicalResult Raiser::switchIds(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  auto scores_ = asScores(input);
  if (!scores_ || axisAttr(op, 0, rank) != rank - 1 || intAttr(op, "keepdims", 1) || intAttr(op, "select_last_index", 0) ||
      scores_->extent(-1) != Extent(scores_->route.experts) || scores_->route.groups != 1 ||
      scores_->route.selectionBias) {
    return success();
  }
  Meaning meaning = *scores_;
  meaning.kind = Kind::SwitchIds;
  meaning.route.topK = 1;
  meaning.route.choice = op;
  meaning.extents.pop_back();
  set(op->getResult(0), meaning);
  return success();
}

LogicalResult Raiser::switchChoice(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto depth = integer(op->getOperand(1));
  auto values = integers(op->getOperand(2));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::SwitchIds) || !depth || !values || *values != SmallVector<int64_t>{0, 1} ||
      axisAttr(op, -1, rank + 1) != rank) {
    return success();
  }
  if (*depth != input.route.experts) {
    return op->emitError() << "the router scores " << input.route.experts << " experts, but the choice is written out for "
                           << *depth << ": the export lost experts; export the model again";
  }
  Meaning meaning = input;
  meaning.kind = Kind::SwitchChoice;
  meaning.extents.push_back(*depth);
  set(op->getResult(0), meaning);
  return success();
}

// How many tokens up to this one chose the expert. A sum along another axis than the tokens' never exceeds one.
LogicalResult Raiser::switchCount(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto axis = integer(op->getOperand(1));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::SwitchChoice) || input.route.capacity != 0 || !axis || intAttr(op, "exclusive", 0) ||
      intAttr(op, "reverse", 0)) {
    return success();
  }
  int64_t at = *axis < 0 ? *axis + rank : *axis;
  if (at == rank - 2 && input.extents[at] == tokens) {
    Meaning meaning = input;
    meaning.kind = Kind::SwitchCount;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::switchFits(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  auto limit = integer(op->getOperand(1));
  if (!input.is(Kind::SwitchCount) || !limit) {
    return success();
  }
  // Second choices count behind the first ones, or the capacity is another.
  if (input.index == 1 && !input.masked) {
    return success();
  }
  int64_t capacity = op->getName().stripDialect() == "Less" ? *limit - 1 : *limit;
  capacity -= static_cast<int64_t>(input.offset);
  if (capacity < 1) {
    return op->emitError() << "the experts take no tokens: their capacity is " << capacity;
  }
  Meaning meaning = input;
  meaning.kind = Kind::SwitchFits;
  meaning.route.capacity = capacity;
  set(op->getResult(0), meaning);
  return success();
}

// The best expert's probability [.., S].
LogicalResult Raiser::switchWeight(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
  if (!input.is(Kind::ExpertScores) || !axis || (*axis != -1 && *axis != rank - 1) || input.route.groups != 1 ||
      input.route.selectionBias || input.extent(-1) != Extent(input.route.experts)) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::SwitchWeight;
  if (intAttr(op, "keepdims", 1)) {
    meaning.extents.back() = 1;
  } else {
    meaning.extents.pop_back();
  }
  set(op->getResult(0), meaning);
  return success();
}

// The column of one expert [.., S, 1].
LogicalResult Raiser::switchExpert(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  auto start = integer(slice.getStarts()), end = integer(slice.getEnds());
  auto axis = slice.getAxes() ? integer(slice.getAxes()) : std::optional<int64_t>(0);
  int64_t rank = input.extents.size();
  if (!input.is(Kind::SwitchChoice) || !start || !end || !axis || (*axis != -1 && *axis != rank - 1) ||
      (slice.getSteps() && integer(slice.getSteps()) != 1) || *start < 0 || *end != *start + 1 ||
      *start >= input.route.experts) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::SwitchExpert;
  meaning.expert = *start;
  meaning.extents.back() = 1;
  set(op->getResult(0), meaning);
  return success();
}

static bool sameLogits(const RouteMeaning &a, const RouteMeaning &b) {
  return a.logits == b.logits && a.score == b.score && a.experts == b.experts;
}

// Masks of what fits; experts' results where they were chosen, their sum, and that times the probability.
LogicalResult Raiser::switchSum(Operation *op) {
  bool multiplies = op->getName().stripDialect() == "Mul";
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (multiplies && a.is(Kind::SwitchChoice) && b.is(Kind::SwitchFits) && a.route.choice == b.route.choice &&
        a.route.capacity == 0 && a.extents == b.extents) {
      Meaning meaning = a;
      meaning.route.capacity = b.route.capacity;
      set(op->getResult(0), meaning);
      return success();
    }
    bool flat = a.form == Form::BSW || a.form == Form::SW;
    bool dense = a.is(Kind::ExpertOut) && a.expert == kDenseExpert;
    if (multiplies && (isPlainRows(a) || dense) && flat && b.is(Kind::SwitchExpert) &&
        b.extents.size() == a.extents.size() && broadcast(a.extents, b.extents) == a.extents) {
      Value input = a.source;
      auto expert = dense ? std::optional<ExpertMeaning>(a.expertWeights) : expertBehind(a.source, input);
      if (!expert) {
        continue;
      }
      Meaning meaning = b;
      meaning.kind = Kind::SwitchSum;
      meaning.source = input;
      meaning.form = a.form;
      meaning.experts[b.expert] = std::make_shared<const ExpertMeaning>(*expert);
      set(op->getResult(0), reshaped(meaning, a.extents));
      return success();
    }
    if (!multiplies && a.is(Kind::SwitchSum) && b.is(Kind::Fill) && b.scalar == 0 &&
        broadcast(a.extents, b.extents) == a.extents) {
      set(op->getResult(0), a);
      return success();
    }
    if (!multiplies && a.is(Kind::SwitchSum) && b.is(Kind::SwitchSum) && a.route.choice == b.route.choice &&
        a.route.capacity == b.route.capacity && a.source == b.source && a.extents == b.extents) {
      Meaning meaning = a;
      for (const auto &[expert, weights] : b.experts) {
        if (!meaning.experts.emplace(expert, weights).second) {
          return op->emitError() << "expert " << expert << " is added twice";
        }
      }
      set(op->getResult(0), meaning);
      return success();
    }
    if (multiplies && a.is(Kind::SwitchSum) && b.is(Kind::SwitchWeight) && sameLogits(a.route, b.route) &&
        b.extents.size() == a.extents.size() && b.extents.back() == Extent(1)) {
      if (static_cast<int64_t>(a.experts.size()) != a.route.experts) {
        return op->emitError() << "the router scores " << a.route.experts << " experts, but the graph computes "
                               << a.experts.size() << ": the export lost experts; export the model again";
      }
      set(op->getResult(0), reshaped(Meaning(), a.extents));
      return emitMoe(op, a.route, a.source, a.experts, a.form, "experts P6");
    }
  }
  return success();
}

} // namespace emoe
