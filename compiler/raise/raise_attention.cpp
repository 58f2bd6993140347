// Rotary embedding and cached attention.
#include <cmath>
#include <utility>

#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addAttentionHandlers() {
  for (const char *op : {"Mul", "MatMul"}) {
    add(op, &Raiser::angle);
  }
  for (const char *op : {"Cos", "Sin"}) {
    add(op, &Raiser::trigonometry);
  }
  add("Slice", &Raiser::sliceHalf);
  add("Split", &Raiser::splitHalves);
  add("Mul", &Raiser::turnHalf);
  for (const char *op : {"Add", "Sub"}) {
    add(op, &Raiser::turnHalf);
  }
  add("Concat", &Raiser::joinTurned);
  add("Neg", &Raiser::negate);
  add("Concat", &Raiser::concatHeads);
  add("Mul", &Raiser::rotaryMul);
  add("Add", &Raiser::rotaryAdd);
  for (const char *op : {"Mul", "Div"}) {
    add(op, &Raiser::scale);
  }
  for (const char *op : {"And", "Not", "Mul"}) {
    add(op, &Raiser::mask);
  }
  for (const char *op : {"ReduceSum", "Less"}) {
    add(op, &Raiser::maskCount);
  }
  add("Add", &Raiser::maskAdd);
  add("MatMul", &Raiser::scores);
  add("Tanh", &Raiser::capScores);
  add("Concat", &Raiser::sinkColumn);
  for (const char *op : {"ReduceMax", "Sub"}) {
    add(op, &Raiser::rowMax);
  }
  add("Softmax", &Raiser::probabilities);
  add("Slice", &Raiser::dropSinks);
  add("IsNaN", &Raiser::isNan);
  add("MatMul", &Raiser::attend);
}

//===--- rotary embedding ------------------------------------------------------------------------------------------===//

// position * frequency, as a product [1, S, 1] * [n] or as a matrix product [1, n, 1] x [1, 1, S].
LogicalResult Raiser::angle(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning frequencies = of(op->getOperand(side)), positions = of(op->getOperand(1 - side));
    if (!positions.is(Kind::Iota) || !frequencies.ranked || !positions.ranked) {
      continue;
    }
    // Positions of the tokens themselves: they start behind the past.
    if (positions.base != pastLength) {
      continue;
    }
    auto values = readVector(frequencies);
    if (!values || values->empty()) {
      continue;
    }
    Meaning meaning;
    meaning.frequencies = *values;
    Extent count = values->size();
    if (op->getName().stripDialect() == "Mul") {
      Extents extents = broadcast(frequencies.extents, positions.extents);
      if (frequencies.extent(-1) != count || positions.extent(-1) != Extent(1) || extents.back() != count) {
        continue;
      }
      meaning.kind = Kind::Angle;
      set(op->getResult(0), reshaped(meaning, extents));
      return success();
    }
    int64_t rank = frequencies.extents.size();
    if (rank < 2 || side != 0 || frequencies.extent(-2) != count || positions.extent(-2) != Extent(1)) {
      continue;
    }
    meaning.kind = Kind::AngleT;
    Extents extents = frequencies.extents;
    extents.back() = positions.extent(-1);
    set(op->getResult(0), reshaped(meaning, extents));
    return success();
  }
  return success();
}

LogicalResult Raiser::trigonometry(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (input.is(Kind::Angle)) {
    Meaning meaning = input;
    meaning.kind = op->getName().stripDialect() == "Cos" ? Kind::Cosine : Kind::Sine;
    set(op->getResult(0), meaning);
  }
  return success();
}

// Half `index` of a head is one that is turned if it is multiplied by waves, or stands in a rotated half. (Else the
// halves are other parts of the head.)
static bool turns(Value half, int64_t index) {
  return llvm::all_of(half.getUsers(), [&](Operation *user) {
    StringRef name = user->getName().stripDialect();
    bool rotated = index == 0 && name == "Concat" && user->getNumOperands() == 2 && user->getOperand(1) == half &&
                   isa_and_nonnull<onnx::NegOp>(user->getOperand(0).getDefiningOp());
    return name == "Mul" || (index == 1 && name == "Neg") || rotated;
  });
}

LogicalResult Raiser::sliceHalf(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  auto start = integer(slice.getStarts()), end = integer(slice.getEnds());
  auto axis = slice.getAxes() ? integer(slice.getAxes()) : std::optional<int64_t>(0);
  bool unit = !slice.getSteps() || integer(slice.getSteps()) == 1;
  int64_t rank = input.extents.size();
  if (!isPlainRows(input) || (input.form != Form::BHSW && input.form != Form::BSHW) || !start || !end || !axis ||
      !unit || (*axis != -1 && *axis != rank - 1) || !input.extent(-1).isConstant()) {
    return success();
  }
  int64_t width = input.extent(-1).constant(), half = width / 2;
  int64_t from = *start < 0 ? *start + width : *start, to = *end < 0 ? *end + width : std::min(*end, width);
  if (width % 2 != 0 || !((from == 0 && to == half) || (from == half && to == width)) ||
      !turns(op->getResult(0), from == 0 ? 0 : 1)) {
    return success();
  }
  Meaning meaning = input;
  meaning.kind = Kind::Half;
  meaning.index = from == 0 ? 0 : 1;
  meaning.extents.back() = half;
  set(op->getResult(0), meaning);
  return success();
}

// A head in two halves, of which each is turned on its own.
LogicalResult Raiser::splitHalves(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (!isPlainRows(input) || (input.form != Form::BHSW && input.form != Form::BSHW) || op->getNumResults() != 2 ||
      axisAttr(op, 0, rank) != rank - 1 || !input.extent(-1).isConstant() || input.extent(-1).constant() % 2 != 0) {
    return success();
  }
  int64_t half = input.extent(-1).constant() / 2;
  auto sizes = op->getNumOperands() > 1 ? integers(op->getOperand(1)) : SmallVector<int64_t>{half, half};
  if (!sizes || *sizes != SmallVector<int64_t>{half, half} || !turns(op->getResult(1), 1)) {
    return success();
  }
  for (int64_t index : {0, 1}) {
    Meaning meaning = input;
    meaning.kind = Kind::Half;
    meaning.index = index;
    meaning.extents.back() = half;
    set(op->getResult(index), meaning);
  }
  return success();
}

// first * cos - second * sin, second * cos + first * sin.
LogicalResult Raiser::turnHalf(Operation *op) {
  bool multiplies = op->getName().stripDialect() == "Mul", adds = op->getName().stripDialect() == "Add";
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    Meaning meaning = a;
    if (multiplies) {
      if (!a.is(Kind::Half) || !(b.is(Kind::Cosine) || b.is(Kind::Sine)) || b.doubled || b.extent(-1) != a.extent(-1)) {
        continue;
      }
      int64_t tokenAxis = a.form == Form::BHSW ? -2 : -3, waveRank = b.extents.size();
      if (waveRank < -tokenAxis || b.extent(tokenAxis) != tokens || broadcast(b.extents, a.extents) != a.extents) {
        continue;
      }
      meaning.kind = b.is(Kind::Cosine) ? Kind::HalfTimesCosine : Kind::HalfTimesSine;
      meaning.frequencies = b.frequencies;
      meaning.scale = b.scale;
      meaning.digits = b.digits;
    } else {
      int64_t index = adds ? 1 : 0;
      if (!a.is(Kind::HalfTimesCosine) || !b.is(Kind::HalfTimesSine) || a.index != index || b.index != 1 - index ||
          a.source != b.source || a.form != b.form || a.frequencies != b.frequencies || a.scale != b.scale ||
          a.digits != b.digits || a.interleaved != b.interleaved || (!adds && side == 1)) {
        continue;
      }
      meaning.kind = Kind::TurnedHalf;
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

LogicalResult Raiser::joinTurned(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  int64_t rank = a.extents.size();
  if (!a.is(Kind::TurnedHalf) || !b.is(Kind::TurnedHalf) || a.index != 0 || b.index != 1 || a.source != b.source ||
      a.form != b.form || a.frequencies != b.frequencies || a.scale != b.scale || a.digits != b.digits ||
      a.interleaved != b.interleaved || axisAttr(op, 0, rank) != rank - 1) {
    return success();
  }
  Meaning result = a;
  result.kind = Kind::Rows;
  result.scale = 1;
  result.extents.back() = a.extents.back() * 2;
  set(op->getResult(0), result);
  Value rows = toRows(a.source);
  if (a.interleaved) {
    rows = evenBeforeOdd(op->getLoc(), rows, a.heads);
  }
  Value rotated = builder.create<RotaryOp>(op->getLoc(), rows.getType(), rows, builder.getI64IntegerAttr(a.heads),
                                           RotaryStyleAttr::get(builder.getContext(), RotaryStyle::Half),
                                           builder.getDenseF32ArrayAttr(a.frequencies),
                                           builder.getF32FloatAttr(a.scale), builder.getI64IntegerAttr(a.digits));
  return replace(op->getResult(0), rotated, a.form, a.heads, "rotary embedding", {a.source});
}

LogicalResult Raiser::negate(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (input.is(Kind::Half) && input.index == 1) {
    Meaning meaning = input;
    meaning.kind = Kind::NegatedHalf;
    set(op->getResult(0), meaning);
  }
  return success();
}

// Concatenations of heads: doubled angles, rotated halves, past and new keys or values.
LogicalResult Raiser::concatHeads(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning a = of(op->getOperand(0)), b = of(op->getOperand(1));
  if (!a.ranked) {
    return success();
  }
  int64_t rank = a.extents.size(), axis = axisAttr(op, 0, rank);
  if ((a.is(Kind::Angle) || a.is(Kind::Cosine) || a.is(Kind::Sine)) && op->getOperand(0) == op->getOperand(1) &&
      axis == rank - 1 && !a.doubled) {
    Meaning meaning = a;
    meaning.doubled = true;
    meaning.extents.back() = a.extents.back() * 2;
    set(op->getResult(0), meaning);
  } else if (a.is(Kind::NegatedHalf) && b.is(Kind::Half) && b.index == 0 && a.source == b.source && a.form == b.form &&
             a.interleaved == b.interleaved && a.extents == b.extents && axis == rank - 1 &&
             (!a.interleaved || (rank == 5 && a.extents.back() == Extent(1)))) {
    // Neighbours are stacked: [.., pairs, 2].
    Meaning meaning = a;
    meaning.kind = Kind::RotatedHalf;
    meaning.extents.back() = a.extents.back() * 2;
    set(op->getResult(0), meaning);
  } else if (a.is(Kind::Past) && isPlainRows(b) && b.form == Form::BHSW && axis == 2 &&
             a.extents[1] == b.extents[1] && a.extents[3] == b.extents[3]) {
    Meaning meaning = *asCache(b);
    meaning.past = a.index;
    meaning.extents[2] = pastLength + tokens;
    meaning.whole = op->getResult(0);
    meaning.query = b.source;
    meaning.key = Value();
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::rotaryMul(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning x = of(op->getOperand(side)), wave = of(op->getOperand(1 - side));
    // A constant factor on cosines and sines (attention scaling of extended contexts).
    if (wave.is(Kind::Cosine) || wave.is(Kind::Sine)) {
      if (auto factor = scalar(op->getOperand(side)); factor && x.is(Kind::Reals) && wave.digits == 24) {
        Meaning meaning = wave;
        meaning.scale *= *factor;
        set(op->getResult(0), meaning);
        return success();
      }
    }
    bool cosine = wave.is(Kind::Cosine) && isPlainRows(x), sine = wave.is(Kind::Sine) && x.is(Kind::RotatedHalf);
    if ((!cosine && !sine) || !wave.doubled || wave.extent(-1) != x.extent(-1) || (sine && x.interleaved != wave.interleaved) ||
        (x.form != Form::BHSW && x.form != Form::BSHW)) {
      continue;
    }
    // The wave must run along the tokens' axis of x and be the same for all heads.
    int64_t tokenAxis = x.form == Form::BHSW ? -2 : -3;
    int64_t waveRank = wave.extents.size();
    bool along = waveRank >= -tokenAxis && wave.extent(tokenAxis) == tokens;
    if (!along || broadcast(wave.extents, x.extents) != x.extents) {
      continue;
    }
    Meaning meaning = x;
    meaning.kind = cosine ? Kind::TimesCosine : Kind::RotatedTimesSine;
    meaning.interleaved = wave.interleaved;
    meaning.frequencies = wave.frequencies;
    meaning.scale = wave.scale;
    meaning.digits = wave.digits;
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

LogicalResult Raiser::rotaryAdd(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!a.is(Kind::TimesCosine) || !b.is(Kind::RotatedTimesSine) || a.source != b.source || a.form != b.form ||
        a.frequencies != b.frequencies || a.scale != b.scale || a.digits != b.digits ||
        a.interleaved != b.interleaved) {
      continue;
    }
    Meaning result = a;
    result.kind = Kind::Rows;
    result.scale = 1;
    result.interleaved = false;
    set(op->getResult(0), result);
    Value rows = toRows(a.source);
    RotaryStyle style = a.interleaved ? RotaryStyle::Interleaved : RotaryStyle::Half;
    Value rotated = builder.create<RotaryOp>(op->getLoc(), rows.getType(), rows, builder.getI64IntegerAttr(a.heads),
                                             RotaryStyleAttr::get(builder.getContext(), style),
                                             builder.getDenseF32ArrayAttr(a.frequencies),
                                             builder.getF32FloatAttr(a.scale), builder.getI64IntegerAttr(a.digits));
    return replace(op->getResult(0), rotated, a.form, a.heads, "rotary embedding", {a.source});
  }
  return success();
}

//===--- masks -----------------------------------------------------------------------------------------------------===//

LogicalResult Raiser::mask(Operation *op) {
  StringRef name = op->getName().stripDialect();
  if (name == "Not") {
    Meaning meaning = of(op->getOperand(0));
    if (meaning.is(Kind::Visible) || meaning.is(Kind::Hidden)) {
      meaning.kind = meaning.is(Kind::Visible) ? Kind::Hidden : Kind::Visible;
      set(op->getResult(0), meaning);
    }
    return success();
  }
  for (int side : {0, 1}) {
    const Meaning a = of(op->getOperand(side)), b = of(op->getOperand(1 - side));
    if (!a.ranked || !b.ranked) {
      return success();
    }
    Extents extents = broadcast(a.extents, b.extents);
    if (name == "Mul") {
      auto factor = scalar(op->getOperand(1 - side));
      if (a.is(Kind::HiddenOne) && factor && *factor <= -1e4) {
        Meaning meaning = a;
        meaning.kind = Kind::Bias;
        set(op->getResult(0), reshaped(meaning, extents));
      }
    } else if (auto all = scalar(op->getOperand(1 - side));
               all && *all != 0 && (a.is(Kind::Visible) || a.is(Kind::Hidden))) {
      set(op->getResult(0), reshaped(a, extents));
    } else if (a.is(Kind::Visible) && b.is(Kind::Visible) && a.index == 0) {
      // A causal mask and one half of a sliding window.
      Meaning meaning = a;
      meaning.window = std::max(a.window, b.window);
      set(op->getResult(0), reshaped(meaning, extents));
    }
    if (known(op)) {
      return success();
    }
  }
  return success();
}

// "Does this row see nothing?" A row always sees itself, so the answer is no.
LogicalResult Raiser::maskCount(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (!input.is(Kind::VisibleOne) || input.index != 0) {
    return success();
  }
  if (op->getName().stripDialect() == "ReduceSum") {
    auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
    int64_t rank = input.extents.size();
    if (axis && (*axis == -1 || *axis == rank - 1) && intAttr(op, "keepdims", 1)) {
      Meaning meaning = input;
      meaning.masked = true;  // counted
      meaning.extents.back() = 1;
      set(op->getResult(0), meaning);
    }
  } else if (auto limit = scalar(op->getOperand(1)); input.masked && limit && *limit <= 1) {
    Meaning never;
    never.kind = Kind::Fill;
    set(op->getResult(0), reshaped(never, input.extents));
  }
  return success();
}

LogicalResult Raiser::maskAdd(Operation *op) {
  for (int side : {0, 1}) {
    const Meaning scores_ = of(op->getOperand(side)), bias = of(op->getOperand(1 - side));
    if (scores_.is(Kind::Scores) && bias.is(Kind::Bias) && bias.index == 0 && !scores_.masked &&
        broadcast(scores_.extents, bias.extents) == scores_.extents) {
      Meaning meaning = scores_;
      meaning.masked = true;
      meaning.window = bias.window;
      set(op->getResult(0), meaning);
    }
  }
  return success();
}

//===--- attention -------------------------------------------------------------------------------------------------===//

// Rows of heads as keys or values without a past.
std::optional<Meaning> Raiser::asCache(const Meaning &meaning) {
  if (meaning.is(Kind::Cache)) {
    return meaning;
  }
  if (meaning.is(Kind::RepeatedRows) && meaning.form == Form::BHSW) {
    Meaning cache = meaning;
    cache.kind = Kind::Cache;
    return cache;
  }
  if (!meaning.is(Kind::Rows) || (meaning.form != Form::BHSW && meaning.form != Form::BHWS)) {
    return std::nullopt;
  }
  Meaning cache = meaning;
  cache.kind = Kind::Cache;
  cache.transposed = meaning.form == Form::BHWS;
  return cache;
}

// Factors on queries, keys or scores.
LogicalResult Raiser::scale(Operation *op) {
  bool divides = op->getName().stripDialect() == "Div";
  for (int side : {0, 1}) {
    const Meaning input = of(op->getOperand(side));
    Value other = op->getOperand(1 - side);
    auto factor = scalar(other);
    bool heads = input.is(Kind::Rows) && (input.form == Form::BHSW || input.form == Form::BHWS);
    if (!factor || *factor == 0 || (divides && side == 1) || !(heads || input.is(Kind::Cache) || input.is(Kind::Scores)) ||
        !of(other).ranked || broadcast(input.extents, of(other).extents) != input.extents) {
      continue;
    }
    Meaning meaning = input;
    (input.softcap != 0 ? meaning.softcap : meaning.scale) *= divides ? 1 / *factor : *factor;
    meaning.rounding += roundingOf(other);
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

LogicalResult Raiser::scores(Operation *op) {
  const Meaning query = of(op->getOperand(0));
  std::optional<Meaning> key = asCache(of(op->getOperand(1)));
  if (!query.is(Kind::Rows) || query.form != Form::BHSW || !key || !key->transposed || key->extents.size() != 4 ||
      query.extents[1] != key->extents[1] || query.extents[3] != key->extents[2]) {
    return success();
  }
  Meaning meaning;
  meaning.kind = Kind::Scores;
  meaning.query = op->getOperand(0);
  meaning.key = op->getOperand(1);
  meaning.scale = query.scale * key->scale;
  meaning.rounding = query.rounding + key->rounding;
  set(op->getResult(0), reshaped(meaning, {1, query.extents[1], query.extents[2], key->extents[3]}));
  return success();
}

// Scores that are kept small: tanh(scores), times the cap.
LogicalResult Raiser::capScores(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  if (input.is(Kind::Scores) && !input.masked && input.softcap == 0) {
    Meaning meaning = input;
    meaning.softcap = 1;
    set(op->getResult(0), meaning);
  }
  return success();
}

// A column of sinks beside the scores: one number for each head.
LogicalResult Raiser::sinkColumn(Operation *op) {
  if (op->getNumOperands() != 2) {
    return success();
  }
  const Meaning scores_ = of(op->getOperand(0)), sinks = of(op->getOperand(1));
  int64_t rank = scores_.extents.size();
  if (!scores_.is(Kind::Scores) || !scores_.masked || scores_.sinks || rank != 4 || axisAttr(op, 0, rank) != rank - 1 ||
      !sinks.is(Kind::Weight) || sinks.extents.size() != 4 || sinks.extents[3] != Extent(1) ||
      Extent(sinks.view.elements()) != scores_.extents[1] || sinks.extents[1] != scores_.extents[1]) {
    return success();
  }
  Meaning meaning = scores_;
  meaning.sinks = sinks.view;
  meaning.extents.back() = meaning.extents.back() + 1;
  set(op->getResult(0), meaning);
  return success();
}

// A softmax is the same if the row's maximum is subtracted first.
LogicalResult Raiser::rowMax(Operation *op) {
  const Meaning input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (!input.is(Kind::Scores)) {
    return success();
  }
  if (op->getName().stripDialect() == "ReduceMax") {
    auto axis = op->getNumOperands() > 1 ? integer(op->getOperand(1)) : std::nullopt;
    if (axis && (*axis == -1 || *axis == rank - 1) && intAttr(op, "keepdims", 1)) {
      Meaning meaning;
      meaning.kind = Kind::RowMax;
      meaning.source = op->getOperand(0);
      Extents extents = input.extents;
      extents.back() = 1;
      set(op->getResult(0), reshaped(meaning, extents));
    }
  } else if (const Meaning &largest = of(op->getOperand(1));
             largest.is(Kind::RowMax) && largest.source == op->getOperand(0)) {
    set(op->getResult(0), input);
  }
  return success();
}

// The probabilities without the sinks' column.
LogicalResult Raiser::dropSinks(Operation *op) {
  auto slice = cast<onnx::SliceOp>(op);
  const Meaning input = of(slice.getData());
  int64_t rank = input.extents.size();
  if (!input.is(Kind::Probabilities) || !input.sinks || input.masked == false || !slice.getAxes()) {
    return success();
  }
  auto axis = integer(slice.getAxes()), start = integer(slice.getStarts()), end = integer(slice.getEnds());
  if (axis && (*axis == -1 || *axis == rank - 1) && start == 0 && end == -1 &&
      (!slice.getSteps() || integer(slice.getSteps()) == 1)) {
    Meaning meaning = input;
    meaning.extents.back() = meaning.extents.back() - 1;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::probabilities(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  int64_t rank = input.extents.size();
  if (input.is(Kind::Scores) && input.masked && axisAttr(op, -1, rank) == rank - 1) {
    Meaning meaning = input;
    meaning.kind = Kind::Probabilities;
    set(op->getResult(0), meaning);
  }
  return success();
}

LogicalResult Raiser::isNan(Operation *op) {
  const Meaning &input = of(op->getOperand(0));
  if (input.is(Kind::Probabilities)) {
    Meaning meaning;
    meaning.kind = Kind::NotANumber;
    set(op->getResult(0), reshaped(meaning, input.extents));
  }
  return success();
}

LogicalResult Raiser::attend(Operation *op) {
  const Meaning weights = of(op->getOperand(0));
  std::optional<Meaning> value = asCache(of(op->getOperand(1)));
  if (!weights.is(Kind::Probabilities) || !value) {
    return success();
  }
  const Meaning query = of(weights.query), key = *asCache(of(weights.key));
  // Keys and values of latents: the cache inputs are the latents' and what else went into the keys.
  bool derived = key.derived || value->derived;
  bool knownPasts = !derived || (value->otherPast < 0 && (key.otherPast < 0 || key.past == value->past ||
                                                          key.otherPast == value->past));
  if (value->transposed || value->extents.size() != 4 || value->scale != 1 || key.repeat != value->repeat ||
      key.heads != value->heads || value->extents[1] != query.extents[1] || (key.past < 0) != (value->past < 0) ||
      !query.extents[3].isConstant() || !value->extents[3].isConstant() ||
      weights.extents.back() != value->extents[2] || !knownPasts || weights.softcap < 0) {
    return op->emitError() << "attention whose queries, keys and values do not fit each other is not supported";
  }
  int64_t keyWidth = query.extents[3].constant(), valueWidth = value->extents[3].constant();
  int64_t headDim = std::max(keyWidth, valueWidth);
  bool padded = keyWidth != valueWidth;
  if ((derived || padded) && key.past >= 0 && (!key.whole || !value->whole)) {
    return op->emitError() << "the keys or values of this attention are computed from its cache in an order of axes that is "
                              "not supported";
  }
  // Scales that the file could only round are meant exactly.
  double scale = weights.scale * (weights.softcap != 0 ? weights.softcap : 1), exact = 1 / std::sqrt(static_cast<double>(keyWidth));
  if (std::abs(scale - exact) <= 2 * weights.rounding * exact && scale != exact) {
    if (weights.rounding > 0x1p-20 && !std::exchange(scaleNoted, true)) {
      op->emitRemark() << "attention scale " << scale << " is taken as head_dim^-1/2 = " << exact
                       << ", which the file's type can only round";
    }
    scale = exact;
  }
  Meaning resultMeaning = query;
  resultMeaning.extents.back() = valueWidth;
  set(op->getResult(0), resultMeaning);
  auto sinkRow = weights.sinks ? weights.sinks->reshaped({1, query.heads}) : std::nullopt;
  FlatSymbolRefAttr sinks = sinkRow ? weight(op->getLoc(), *sinkRow) : FlatSymbolRefAttr();
  if (weights.sinks && !sinks) {
    return failure();
  }
  // One width for keys and values: zeros behind the narrower ones change no score and no sum.
  Location loc = op->getLoc();
  Value q = resizeHeads(loc, toRows(query.source), query.heads, keyWidth, headDim);
  Value k = resizeHeads(loc, toRows(key.source), key.heads, keyWidth, headDim);
  Value v = resizeHeads(loc, toRows(value->source), key.heads, valueWidth, headDim);
  auto attention = builder.create<AttentionOp>(
      op->getLoc(), q.getType(), q, k, v, builder.getI64IntegerAttr(attentionLayers),
      builder.getI64IntegerAttr(query.heads), builder.getI64IntegerAttr(key.heads), builder.getI64IntegerAttr(headDim),
      builder.getF32FloatAttr(scale), builder.getI64IntegerAttr(weights.window), builder.getF32FloatAttr(weights.softcap), sinks, UnitAttr(),
      DenseF32ArrayAttr(), builder.getI64IntegerAttr(0));
  attention.setBidirectional(weights.bidirectional);
  if (!weights.positionBias.empty()) {
    attention.setPositionBias(weights.positionBias);
    attention.setBiasBefore(weights.biasBefore);
  }
  ++attentionLayers;
  Value result = resizeHeads(loc, attention.getResult(), query.heads, headDim, valueWidth);
  Claim claim;
  claim.inputs = {query.source};
  for (const Meaning *part : {&key, static_cast<const Meaning *>(&*value)}) {
    for (Value input : {part->derived ? part->query : part->source, part->derived ? part->key : Value()}) {
      if (input && !llvm::is_contained(claim.inputs, input)) {
        claim.inputs.push_back(input);
      }
    }
  }
  if (key.past >= 0) {
    claim.pastKey = pasts[key.past];
    claim.pastValue = pasts[key.otherPast >= 0 && value->past != key.otherPast ? key.otherPast : value->past];
    claim.keys = derived || padded ? key.whole : Value();
    claim.values = derived || padded ? value->whole : Value();
  }
  return replaceAs(op->getResult(0), result, Form::BHSW, query.heads, "attention", claim);
}

} // namespace emoe
