// Ops that exporters and optimisers fuse: norms, residual sums with norms, grouped attention with its rotary embedding.
#include <cmath>

#include "compiler/raise/raiser.h"
#include "compiler/raise/rounding.h"

using namespace mlir;

namespace emoe {

void Raiser::addFusedHandlers() {
  for (const char *op : {"RMSNormalization", "SimplifiedLayerNormalization", "LayerNormalization",
                         "com.microsoft.SimplifiedLayerNormalization"}) {
    add(op, &Raiser::normOp);
  }
  for (const char *op : {"com.microsoft.SkipSimplifiedLayerNormalization", "com.microsoft.SkipLayerNormalization"}) {
    add(op, &Raiser::skipNorm);
  }
  add("Add", &Raiser::shiftWeight);
  add("com.microsoft.GroupQueryAttention", &Raiser::groupQueryAttention);
  add("Attention", &Raiser::standardAttention);
  for (const char *op : {"Split", "Slice"}) {
    add(op, &Raiser::splitRows);
  }
  add("com.microsoft.GatedAdd", &Raiser::gatedAdd);
  add("Gather", &Raiser::tableRows);
  for (const char *op : {"RotaryEmbedding", "com.microsoft.RotaryEmbedding", "com.microsoft.MRotaryEmbedding"}) {
    add(op, &Raiser::rotaryOp);
  }
}

//===--- norms -----------------------------------------------------------------------------------------------------===//

// Emits the norm of the rows `x` and replaces `original` by it; `inputs` is where the claim starts.
LogicalResult Raiser::emitNorm(Value original, Value x, const Meaning &scale, const Meaning *bias, NormKind kind,
                               double epsilon, ArrayRef<Value> inputs) {
  const Meaning rows = of(x);
  auto vector = [&](const Meaning &meaning) -> FlatSymbolRefAttr {
    auto row = meaning.view.reshaped({1, meaning.view.elements()});
    return row ? weight(original.getLoc(), *row) : FlatSymbolRefAttr();
  };
  FlatSymbolRefAttr scaleName = vector(scale), biasName = bias ? vector(*bias) : FlatSymbolRefAttr();
  if (!scaleName || (bias && !biasName)) {
    return failure();
  }
  bool perHead = rows.form == Form::BSHW || rows.form == Form::BHSW;
  set(original, rows);
  Value input = toRows(rows.source);
  Value result = builder.create<NormOp>(original.getLoc(), input.getType(), input, scaleName, biasName,
                                        NormKindAttr::get(builder.getContext(), kind), builder.getF32FloatAttr(epsilon),
                                        builder.getI64IntegerAttr(perHead ? rows.heads : 1),
                                        builder.getF32FloatAttr(scale.is(Kind::ShiftedWeight) ? scale.scalar : 0));
  return replace(original, result, rows.form, rows.heads, kind == NormKind::Rms ? "rms-norm" : "layer-norm", inputs);
}

static bool fitsLastAxis(const Meaning &vector, const Meaning &rows) {
  return (vector.is(Kind::Weight) || vector.is(Kind::ShiftedWeight)) && rows.extent(-1).isConstant() &&
         vector.view.elements() == rows.extent(-1).constant();
}

// w + 1: exporters of norms whose weights are kept as differences from one.
LogicalResult Raiser::shiftWeight(Operation *op) {
  for (int side : {0, 1}) {
    Meaning vector = of(op->getOperand(side));
    auto number = scalar(op->getOperand(1 - side));
    if (vector.is(Kind::Weight) && vector.extents.size() == 1 && number && of(op->getOperand(1 - side)).ranked &&
        broadcast(vector.extents, of(op->getOperand(1 - side)).extents) == vector.extents) {
      vector.kind = Kind::ShiftedWeight;
      vector.scalar = *number;
      set(op->getResult(0), vector);
      return success();
    }
  }
  return success();
}

LogicalResult Raiser::normOp(Operation *op) {
  const Meaning x = of(op->getOperand(0)), scale = of(op->getOperand(1));
  int64_t rank = x.extents.size();
  bool hasBias = op->getNumOperands() > 2;
  const Meaning bias = hasBias ? of(op->getOperand(2)) : Meaning();
  if (!isPlainRows(x) || x.form == Form::BHWS || axisAttr(op, -1, rank) != rank - 1 || !fitsLastAxis(scale, x) ||
      (hasBias && (!bias.is(Kind::Weight) || !fitsLastAxis(bias, x)))) {
    return success();
  }
  NormKind kind = op->getName().stripDialect() == "LayerNormalization" ? NormKind::Layer : NormKind::Rms;
  return emitNorm(op->getResult(0), op->getOperand(0), scale, hasBias ? &bias : nullptr, kind,
                  floatAttr(op, "epsilon", 1e-5), {x.source});
}

// The norm of a sum, and the sum.
LogicalResult Raiser::skipNorm(Operation *op) {
  const Meaning x = of(op->getOperand(0)), skip = of(op->getOperand(1)), gamma = of(op->getOperand(2));
  NormKind kind = NormKind::Rms;
  Value beta, bias;
  if (auto layer = dyn_cast<onnx::MsSkipLayerNormalizationOp>(op)) {
    kind = NormKind::Layer;
    beta = layer.getBeta();
    bias = layer.getBias();
  } else {
    bias = cast<onnx::MsSkipSimplifiedLayerNormalizationOp>(op).getBias();
  }
  if (bias && !isZero(of(bias))) {
    return op->emitError() << "adds a bias that is not zero in front of the norm; export the model with that bias in the "
                              "linear layer before it";
  }
  bool flat = x.form == Form::BSW || x.form == Form::SW;
  const Meaning betaMeaning = of(beta);
  if (!isPlainRows(x) || !isPlainRows(skip) || !flat || x.form != skip.form || x.extents != skip.extents ||
      !fitsLastAxis(gamma, x) || (beta && (!betaMeaning.is(Kind::Weight) || !fitsLastAxis(betaMeaning, x)))) {
    return success();
  }
  Value sum = op->getResult(3);
  set(sum, x);
  Value lhs = toRows(x.source), rhs = toRows(skip.source);
  Value added = builder.create<AddOp>(op->getLoc(), lhs.getType(), lhs, rhs);
  Value inputs[] = {x.source, skip.source};
  if (failed(replace(sum, added, x.form, 1, "add", inputs))) {
    return failure();
  }
  return emitNorm(op->getResult(0), of(sum).source, gamma, beta ? &betaMeaning : nullptr, kind,
                  floatAttr(op, "epsilon", 1e-5), inputs);
}

//===--- parts of rows ---------------------------------------------------------------------------------------------===//

// Columns start .. start + width of each of `heads` parts of rows. Of a linear layer's result they are a linear layer
// with some of its outputs.
Value Raiser::columns(Location loc, Value source, int64_t heads, int64_t start, int64_t width, Value &input) {
  const Meaning rows = of(source);
  input = source;
  auto type = RankedTensorType::get({ShapedType::kDynamic, heads * width}, builder.getF32Type());
  auto from = source.getDefiningOp<onnx::FromRowsOp>();
  auto whole = from && heads == 1 ? from.getRows().getDefiningOp<LinearOp>() : LinearOp();
  if (!whole) {
    return builder.create<SliceHeadsOp>(loc, type, toRows(source), builder.getI64IntegerAttr(heads),
                                        builder.getI64IntegerAttr(start));
  }
  auto part = [&](FlatSymbolRefAttr name, int64_t axis) {
    return weight(loc, weightViews.find(name.getValue())->second.sliced(axis, start, width));
  };
  FlatSymbolRefAttr matrix = part(whole.getWeightAttr(), 0);
  FlatSymbolRefAttr bias = whole.getBiasAttr() ? part(whole.getBiasAttr(), 1) : FlatSymbolRefAttr();
  if (!matrix || (whole.getBiasAttr() && !bias)) {
    return {};
  }
  input = whole.getInput();
  if (auto bridge = input.getDefiningOp<onnx::ToRowsOp>()) {
    input = bridge.getInput();
  }
  return builder.create<LinearOp>(loc, type, whole.getInput(), matrix, bias);
}

FailureOr<SmallVector<std::pair<int64_t, int64_t>>> Raiser::columnParts(Operation *op, const Meaning &x) {
  int64_t rank = x.extents.size(), wide = x.extent(-1).constant();
  SmallVector<std::pair<int64_t, int64_t>> parts;
  if (op->getName().stripDialect() == "Split") {
    if (axisAttr(op, 0, rank) != rank - 1) {
      return parts;
    }
    int64_t count = op->getNumResults(), start = 0;
    auto sizes = op->getNumOperands() > 1 ? integers(op->getOperand(1)) : std::nullopt;
    if (op->getNumOperands() > 1 && (!sizes || static_cast<int64_t>(sizes->size()) != count)) {
      return parts;
    }
    for (int64_t i = 0; i < count; ++i) {
      int64_t width = sizes ? (*sizes)[i] : std::min((wide + count - 1) / count, wide - start);
      parts.push_back({start, width});
      start += width;
    }
    if (start != wide) {
      return op->emitError() << "splits " << wide << " columns into parts of " << start << " together";
    }
  } else {
    auto slice = cast<onnx::SliceOp>(op);
    auto start = integer(slice.getStarts()), end = integer(slice.getEnds());
    auto axis = slice.getAxes() ? integer(slice.getAxes()) : std::optional<int64_t>(0);
    if (!start || !end || !axis || (*axis != -1 && *axis != rank - 1) ||
        (slice.getSteps() && integer(slice.getSteps()) != 1)) {
      return parts;
    }
    int64_t from = std::clamp<int64_t>(*start < 0 ? *start + wide : *start, 0, wide);
    int64_t to = std::clamp<int64_t>(*end < 0 ? *end + wide : *end, 0, wide);
    parts.push_back({from, to - from});
  }
  return parts;
}

// Split or Slice along the last axis of rows.
LogicalResult Raiser::splitRows(Operation *op) {
  const Meaning x = of(op->getOperand(0));
  if (!isPlainRows(x) || x.form == Form::BHWS || x.form == Form::S1W || !x.extent(-1).isConstant()) {
    return success();
  }
  bool perHead = x.form == Form::BSHW || x.form == Form::BHSW;
  auto parts = columnParts(op, x);
  if (failed(parts)) {
    return failure();
  }
  for (auto [index, part] : llvm::enumerate(*parts)) {
    auto [start, width] = part;
    if (width <= 0 || op->getResult(index).use_empty()) {
      continue;
    }
    Meaning meaning = x;
    meaning.extents.back() = width;
    set(op->getResult(index), meaning);
    Value input;
    Value rows = columns(op->getLoc(), x.source, perHead ? x.heads : 1, start, width, input);
    if (!rows || failed(replace(op->getResult(index), rows, x.form, x.heads, "columns", {input}))) {
      return failure();
    }
  }
  return success();
}

// routed + sigmoid(gate) * shared
LogicalResult Raiser::gatedAdd(Operation *op) {
  const Meaning routed = of(op->getOperand(0)), shared = of(op->getOperand(1)), gate = of(op->getOperand(2));
  bool flat = routed.form == Form::BSW || routed.form == Form::SW;
  const bool sigmoid = gate.is(Kind::Sigmoid);
  if (!isPlainRows(routed) || !isPlainRows(shared) || (!isPlainRows(gate) && !sigmoid) || !flat || shared.form != routed.form ||
      shared.extents != routed.extents || gate.extents.back() != Extent(1)) {
    return success();
  }
  set(op->getResult(0), routed);
  Value lhs = toRows(routed.source), rows = toRows(shared.source), factor = toRows(gate.source);
  if (sigmoid) {
    factor = builder.create<ActivateOp>(op->getLoc(), factor.getType(),
                                        ActivationAttr::get(builder.getContext(), Activation::Sigmoid), factor);
  }
  Value scaled = builder.create<ScaleRowsOp>(op->getLoc(), rows.getType(), rows, factor);
  Value sum = builder.create<AddOp>(op->getLoc(), lhs.getType(), lhs, scaled);
  return replace(op->getResult(0), sum, routed.form, 1, "gated add", {routed.source, shared.source, gate.source});
}

//===--- rotary tables ---------------------------------------------------------------------------------------------===//

// Frequencies and magnitude of cosine and sine tables [positions, n], so that cos[p][i] = magnitude * cos(p * f[i]),
// rounded to so many binary digits. A table has rounded values only: row 1 gives each frequency roughly, rows further on
// ever more exactly.
std::optional<std::vector<float>> Raiser::frequenciesOf(const Meaning &cosines, const Meaning &sines,
                                                        double &magnitude, int64_t &digits) {
  if (cosines.view.extents.size() != 2 || cosines.view.extents != sines.view.extents || cosines.view.extents[0] < 2 ||
      cosines.view.elements() > (int64_t(1) << 26)) {
    return std::nullopt;
  }
  Meaning cosTable = cosines, sinTable = sines;  // all rows, of which some may have been taken
  cosTable.kind = sinTable.kind = Kind::Weight;
  auto c = readVector(cosTable), s = readVector(sinTable);
  if (!c || !s) {
    return std::nullopt;
  }
  int64_t rows = cosines.view.extents[0], count = cosines.view.extents[1];
  magnitude = (*c)[0];
  std::vector<float> frequencies;
  double rounding = std::max(roundingOfType(cosines.view.source.getElement()), roundingOfValues(*c));
  digits = rounding >= 0x1p-8 ? 8 : rounding >= 0x1p-11 ? 11 : 24;
  if (digits < 24) { // the magnitude was rounded, too: all values together know it better
    double sum = 0;
    for (int64_t at = 0; at < rows * count; ++at) {
      sum += std::hypot((*c)[at], (*s)[at]);
    }
    double mean = sum / static_cast<double>(rows * count);
    magnitude = std::abs(mean - 1) < rounding / 8 ? 1 : mean;
  }
  for (int64_t i = 0; i < count; ++i) {
    auto angleAt = [&](int64_t row) { return std::atan2((*s)[row * count + i], (*c)[row * count + i]); };
    double frequency = angleAt(1);
    for (int64_t row = 2; row < rows; row = std::min(row * 2, row == rows - 1 ? rows : rows - 1)) {
      // The turns that the rough frequency predicts, and the rest that the table knows.
      double predicted = frequency * static_cast<double>(row), turn = 2 * M_PI;
      double angle = angleAt(row);
      frequency = (angle + turn * std::round((predicted - angle) / turn)) / static_cast<double>(row);
    }
    // Of the floats around it, the one whose table is closest to this one.
    float best = static_cast<float>(frequency);
    double bestError = std::numeric_limits<double>::infinity();
    float candidate = best;
    for (int step = 0; step < 4; ++step) {
      candidate = std::nextafter(candidate, -1.0f);
    }
    for (int step = 0; step < 9; ++step, candidate = std::nextafter(candidate, 2.0f * std::abs(best) + 1)) {
      double error = 0;
      for (int64_t row = 1; row < rows; row += std::max<int64_t>(1, rows / 61)) {
        float angle = static_cast<float>(row) * candidate;
        error = std::max(error, std::abs(magnitude * std::cos(angle) - (*c)[row * count + i]));
        error = std::max(error, std::abs(magnitude * std::sin(angle) - (*s)[row * count + i]));
      }
      if (error < bestError) {
        best = candidate;
        bestError = error;
      }
    }
    // Tables may have been made from float64 angles, or from float32 ones.
    if (bestError > std::max(4 * rounding, 1e-6 + 1.2e-7 * static_cast<double>(rows)) * std::max(1.0, magnitude)) {
      return std::nullopt;
    }
    frequencies.push_back(best);
  }
  return frequencies;
}

// Rows of a table at the tokens' positions.
LogicalResult Raiser::tableRows(Operation *op) {
  const Meaning table = of(op->getOperand(0)), positions = of(op->getOperand(1));
  if (!table.is(Kind::Weight) || table.extents.size() != 2 || axisAttr(op, 0, 2) != 0 || !positions.is(Kind::Iota) ||
      positions.base != pastLength) {
    return success();
  }
  Meaning meaning = table;
  meaning.kind = Kind::TableRows;
  Extents extents = positions.extents;
  extents.push_back(table.extents[1]);
  // If rows of another table are taken at the same positions, and the two are cosines and sines, then this is a wave.
  for (Operation *user : op->getOperand(1).getUsers()) {
    if (user == op || !isa<onnx::GatherOp>(user)) {
      continue;
    }
    const Meaning other = of(user->getOperand(0));
    if (other.is(Kind::Weight) && other.view.extents == table.view.extents && axisAttr(user, 0, 2) == 0) {
      if (auto wave = waveOf(table, other)) {
        set(op->getResult(0), reshaped(*wave, extents));
        return success();
      }
    }
  }
  set(op->getResult(0), reshaped(meaning, extents));
  return success();
}

// What `table` is, if it and `other` are tables of cosines and sines; each column may stand there twice.
std::optional<Meaning> Raiser::waveOf(const Meaning &table, const Meaning &other) {
  const int64_t columns = table.view.extents[1];
  // A sine's first row is zero.
  auto isSine = [&](const Meaning &meaning) -> std::optional<bool> {
    Meaning row = meaning;
    row.view = meaning.view.sliced(0, 0, 1);
    auto values = readVector(row);
    bool zero = values && llvm::all_of(*values, [](float value) { return value == 0; });
    bool constant = values && llvm::all_equal(*values);
    return zero ? std::optional<bool>(true) : constant ? std::optional<bool>(false) : std::nullopt;
  };
  auto sine = isSine(table), otherSine = isSine(other);
  if (columns < 1 || table.view.elements() > (int64_t(1) << 26) || !sine || !otherSine || *sine == *otherSine) {
    return std::nullopt;
  }
  Meaning wave;
  auto values = readVector(table);
  auto twice = [&](int64_t apart, int64_t step) {
    for (int64_t at = 0; values && columns % 2 == 0 && at < static_cast<int64_t>(values->size()); ++at) {
      int64_t pair = at % columns / step;
      if ((step == 1 ? pair < columns / 2 : at % 2 == 0) && (*values)[at] != (*values)[at + apart]) {
        return false;
      }
    }
    return values && columns % 2 == 0;
  };
  Meaning cosines = *sine ? other : table, sines = *sine ? table : other;
  wave.doubled = twice(columns / 2, 1) || (wave.interleaved = twice(1, 2));
  if (wave.doubled) {
    for (Meaning *meaning : {&cosines, &sines}) {
      meaning->view = meaning->view.sliced(1, 0, columns / 2, wave.interleaved ? 2 : 1);
    }
  }
  auto frequencies = frequenciesOf(cosines, sines, wave.scale, wave.digits);
  if (!frequencies) {
    return std::nullopt;
  }
  wave.kind = *sine ? Kind::Sine : Kind::Cosine;
  wave.frequencies = *frequencies;
  return wave;
}

LogicalResult Raiser::rotaryOp(Operation *op) {
  Value cosTable, sinTable, positionIds;
  if (auto standard = dyn_cast<onnx::RotaryEmbeddingOp>(op)) {
    cosTable = standard.getCosCache(), sinTable = standard.getSinCache(), positionIds = standard.getPositionIds();
  } else if (auto sections = dyn_cast<onnx::MsMRotaryEmbeddingOp>(op)) {
    // With the same positions for time, height and width, sections do not matter.
    cosTable = sections.getCosCache(), sinTable = sections.getSinCache(), positionIds = sections.getPositionIds();
    if (sections.getIsPackedBatching()) {
      return success();
    }
  } else {
    auto contrib = cast<onnx::MsRotaryEmbeddingOp>(op);
    cosTable = contrib.getCosCache(), sinTable = contrib.getSinCache(), positionIds = contrib.getPositionIds();
    if (contrib.getScale() != 1) {
      return success();
    }
  }
  const Meaning x = of(op->getOperand(0)), cosines = of(cosTable), sines = of(sinTable), positions = of(positionIds);
  if (!isPlainRows(x) || (x.form != Form::BSW && x.form != Form::BHSW)) {
    return success();
  }
  std::optional<std::vector<float>> frequencies;
  double magnitude = 1;
  int64_t digits = 24;
  Extent first = pastLength;
  bool whole = positionIds && cosines.is(Kind::Weight) && sines.is(Kind::Weight) && positions.is(Kind::Iota) &&
               positions.base == first;
  bool taken = !positionIds && cosines.is(Kind::TableRows) && sines.is(Kind::TableRows);
  if (whole || taken) {
    frequencies = frequenciesOf(cosines, sines, magnitude, digits);
  } else if (!positionIds && cosines.is(Kind::Cosine) && sines.is(Kind::Sine) && !cosines.doubled && !sines.doubled &&
             cosines.frequencies == sines.frequencies && cosines.scale == sines.scale) {
    frequencies = cosines.frequencies;
    magnitude = cosines.scale;
    digits = cosines.digits;
  }
  if (!frequencies && (whole || taken)) {
    return op->emitError("the tables of this rotary embedding are not cosines and sines of position times frequency, with "
                         "one factor for all, as exactly as their type can say them; their scheme is not supported");
  }
  if (!frequencies) {
    return success();
  }
  int64_t pairs = frequencies->size(), wanted = intAttr(op, "rotary_embedding_dim", 0);
  int64_t given = intAttr(op, "num_heads", 0), columns_ = rowWidth(x);
  int64_t heads = x.form == Form::BHSW ? x.heads : given > 0 ? given : columns_ / (2 * pairs);
  if (heads < 1 || columns_ % heads != 0 || columns_ / heads < 2 * pairs || (wanted != 0 && wanted != 2 * pairs)) {
    return op->emitError() << "rotates " << 2 * pairs << " elements of " << heads << " heads in " << columns_
                           << " columns, which do not fit";
  }
  set(op->getResult(0), x);
  Value rows = toRows(x.source);
  Value rotated = builder.create<RotaryOp>(
      op->getLoc(), rows.getType(), rows, builder.getI64IntegerAttr(heads),
      RotaryStyleAttr::get(builder.getContext(),
                           intAttr(op, "interleaved", 0) ? RotaryStyle::Interleaved : RotaryStyle::Half),
      builder.getDenseF32ArrayAttr(*frequencies), builder.getF32FloatAttr(magnitude), builder.getI64IntegerAttr(digits));
  return replace(op->getResult(0), rotated, x.form, x.heads, "rotary embedding", {x.source});
}

//===--- grouped attention -----------------------------------------------------------------------------------------===//

LogicalResult Raiser::groupQueryAttention(Operation *operation) {
  auto op = cast<onnx::MsGroupQueryAttentionOp>(operation);
  Location loc = op.getLoc();
  int64_t heads = op.getNumHeads(), kvHeads = op.getKvNumHeads();
  const Meaning query = of(op.getQuery()), key = of(op.getKey()), value = of(op.getValue());
  const Meaning total = of(op.getTotalSequenceLength());
  if (!isPlainRows(query) || query.form != Form::BSW || heads < 1 || kvHeads < 1 ||
      (op.getKey() && (!isPlainRows(key) || !op.getValue() || !isPlainRows(value) || key.form != Form::BSW ||
                       value.form != Form::BSW))) {
    return success();
  }
  if (op.getKScale() || op.getVScale() || op.getQNormWeight() || op.getKNormWeight() || !op.getCausal()) {
    return op.emitError("grouped attention that is not causal, or with a quantised cache or norms of its own, is not "
                        "supported; export without these options");
  }
  int64_t parts = op.getKey() ? heads : heads + 2 * kvHeads, packed = rowWidth(query);
  if (packed % parts != 0) {
    return op.emitError() << packed << " columns do not divide into " << parts << " heads";
  }
  int64_t headDim = packed / parts;
  bool hasPast = static_cast<bool>(op.getPastKey());
  const Meaning pastKey = of(op.getPastKey()), pastValue = of(op.getPastValue());
  if (hasPast && (!pastKey.is(Kind::Past) || !pastValue.is(Kind::Past))) {
    return op.emitError("the cache of this attention is not an input of the model");
  }
  Extent expected = (hasPast ? pastLength : Extent(0)) + tokens;
  if (!total.is(Kind::Numbers) || total.numbers.size() != 1 || total.numbers[0] != expected) {
    return op.emitError("total_sequence_length is not the number of past and new tokens; export with an attention mask "
                        "[batch, past + sequence]");
  }
  const Meaning bias = of(op.getAttentionBias());
  int64_t window = std::max<int64_t>(0, op.getLocalWindowSize());
  if (op.getAttentionBias()) {
    if (!bias.is(Kind::Bias) || bias.index != 0) {
      return success();
    }
    window = bias.window && window ? std::min(window, bias.window) : std::max(window, bias.window);
  }

  // Claims start where all three come from: at the input of the packed projection, or at each.
  SmallVector<Value> inputs;
  Value rows[3];
  if (op.getKey()) {
    Value sources[] = {query.source, key.source, value.source};
    for (int i : {0, 1, 2}) {
      rows[i] = toRows(sources[i]);
      inputs.push_back(sources[i]);
    }
  } else {
    int64_t starts[] = {0, heads * headDim, (heads + kvHeads) * headDim};
    for (int i : {0, 1, 2}) {
      Value input;
      rows[i] = columns(loc, query.source, 1, starts[i], (i == 0 ? heads : kvHeads) * headDim, input);
      if (!rows[i]) {
        return failure();
      }
      inputs.assign({input});
    }
  }
  if (op.getDoRotary()) {
    const Meaning cosines = of(op.getCosCache()), sines = of(op.getSinCache()), positions = of(op.getPositionIds());
    double magnitude = 1;
    int64_t digits = 24;
    std::optional<std::vector<float>> frequencies;
    Extent firstRow = op.getPositionIds() ? positions.base : hasPast ? pastLength : Extent(0);
    if (op.getPositionIds() && !positions.is(Kind::Iota)) {
      return success();
    }
    if (cosines.is(Kind::Weight) && sines.is(Kind::Weight)) {
      if (firstRow == (hasPast ? pastLength : Extent(0))) {
        frequencies = frequenciesOf(cosines, sines, magnitude, digits);
      }
    } else if (cosines.is(Kind::Cosine) && sines.is(Kind::Sine) && !cosines.doubled && !sines.doubled &&
               cosines.frequencies == sines.frequencies && cosines.scale == sines.scale && firstRow == Extent(0)) {
      frequencies = cosines.frequencies;
      magnitude = cosines.scale;
      digits = cosines.digits;
    }
    if (!frequencies) {
      return op.emitError("the tables of this attention's rotary embedding are not cosines and sines of position times "
                          "frequency, with one factor for all; their scheme is not supported");
    }
    for (int i : {0, 1}) {
      rows[i] = builder.create<RotaryOp>(
          loc, rows[i].getType(), rows[i], builder.getI64IntegerAttr(i == 0 ? heads : kvHeads),
          RotaryStyleAttr::get(builder.getContext(),
                               op.getRotaryInterleaved() ? RotaryStyle::Interleaved : RotaryStyle::Half),
          builder.getDenseF32ArrayAttr(*frequencies), builder.getF32FloatAttr(magnitude), builder.getI64IntegerAttr(digits));
    }
  }
  FlatSymbolRefAttr sinks;
  if (op.getHeadSink()) {
    const Meaning sink = of(op.getHeadSink());
    auto row = sink.is(Kind::Weight) ? sink.view.reshaped({1, sink.view.elements()}) : std::nullopt;
    sinks = row ? weight(loc, *row) : FlatSymbolRefAttr();
    if (!sinks) {
      return success();
    }
  } else if (op.getSmoothSoftmax() == 1) {
    return op.emitError("smooth_softmax without sinks is not supported");
  }
  double scale = op.getScale() == 0 ? 1 / std::sqrt(static_cast<double>(headDim)) : op.getScale();
  Meaning result = query;
  result.extents = {1, tokens, heads * headDim};
  set(op.getOutput(), result);
  auto attention = builder.create<AttentionOp>(
      loc, rows[0].getType(), rows[0], rows[1], rows[2], builder.getI64IntegerAttr(attentionLayers),
      builder.getI64IntegerAttr(heads), builder.getI64IntegerAttr(kvHeads), builder.getI64IntegerAttr(headDim),
      builder.getF32FloatAttr(scale), builder.getI64IntegerAttr(window), builder.getF32FloatAttr(op.getSoftcap()), sinks, UnitAttr(),
      DenseF32ArrayAttr(), builder.getI64IntegerAttr(0));
  ++attentionLayers;
  for (auto [present, past] : {std::pair(op.getPresentKey(), &pastKey), {op.getPresentValue(), &pastValue}}) {
    Meaning cache;
    cache.kind = Kind::Cache;
    cache.past = hasPast ? past->index : -1;
    set(present, reshaped(cache, {1, kvHeads, expected, headDim}));
  }
  return replace(op.getOutput(), attention, Form::BSW, 1, "grouped attention", inputs,
                 hasPast ? pasts[pastKey.index] : Value(), hasPast ? pasts[pastValue.index] : Value());
}

// The standard op (opset 23): rows, or heads, with a mask.
LogicalResult Raiser::standardAttention(Operation *operation) {
  auto op = cast<onnx::AttentionOp>(operation);
  Location loc = op.getLoc();
  const Meaning parts[] = {of(op.getQ()), of(op.getK()), of(op.getV())};
  const Meaning mask = of(op.getAttnMask()), pastKey = of(op.getPastKey()), pastValue = of(op.getPastValue());
  int64_t heads[3], widths[3];
  for (int i : {0, 1, 2}) {
    const Meaning &x = parts[i];
    if (!isPlainRows(x) || (x.form != Form::BSW && x.form != Form::BHSW) || x.form != parts[0].form) {
      return success();
    }
    heads[i] = x.form == Form::BHSW ? x.heads : (i == 0 ? op.getQNumHeads() : op.getKvNumHeads()).value_or(0);
    if (heads[i] < 1 || rowWidth(x) % heads[i] != 0) {
      return op.emitError("the heads of this attention do not divide its queries, keys or values");
    }
    widths[i] = rowWidth(x) / heads[i];
  }
  if (heads[1] != heads[2] || heads[0] % heads[1] != 0 || widths[0] != widths[1]) {
    return op.emitError("attention whose queries, keys and values do not fit each other is not supported");
  }
  if (op.getNonpadKvSeqlen() || !op.getQkMatmulOutput().use_empty()) {
    return op.emitError("attention with nonpad_kv_seqlen or with its scores as a result is not supported; export the model "
                        "with past and present, without the scores");
  }
  bool hasPast = static_cast<bool>(op.getPastKey());
  if (hasPast != static_cast<bool>(op.getPastValue()) ||
      (hasPast && (!pastKey.is(Kind::Past) || !pastValue.is(Kind::Past)))) {
    return op.emitError("the cache of this attention is not an input of the model");
  }
  bool masked = (mask.is(Kind::Bias) || mask.is(Kind::Visible)) && mask.index == 0;
  if (op.getAttnMask() && !masked) {
    return success();
  }
  if (!masked && !op.getIsCausal()) {
    return op.emitError("attention without a mask that is not causal is not supported: this is no decoder's");
  }
  int64_t headDim = std::max(widths[0], widths[2]);
  Value rows[3];
  for (int i : {0, 1, 2}) {
    rows[i] = resizeHeads(loc, toRows(parts[i].source), heads[i], widths[i], headDim);
  }
  double scale = op.getScale() ? static_cast<double>(*op.getScale()) : 1 / std::sqrt(static_cast<double>(widths[0]));
  Meaning result = parts[0];
  result.extents.back() = result.form == Form::BHSW ? widths[2] : heads[0] * widths[2];
  set(op.getY(), result);
  auto attention = builder.create<AttentionOp>(
      loc, rows[0].getType(), rows[0], rows[1], rows[2], builder.getI64IntegerAttr(attentionLayers),
      builder.getI64IntegerAttr(heads[0]), builder.getI64IntegerAttr(heads[1]), builder.getI64IntegerAttr(headDim),
      builder.getF32FloatAttr(scale), builder.getI64IntegerAttr(masked ? mask.window : 0),
      builder.getF32FloatAttr(op.getSoftcap()), FlatSymbolRefAttr(), UnitAttr(),
      DenseF32ArrayAttr(), builder.getI64IntegerAttr(0));
  ++attentionLayers;
  for (int i : {1, 2}) {
    Value present = i == 1 ? op.getPresentKey() : op.getPresentValue();
    Meaning cache = parts[i];
    cache.kind = Kind::Cache;
    cache.form = Form::BHSW;
    cache.heads = heads[i];
    cache.past = hasPast ? (i == 1 ? pastKey : pastValue).index : -1;
    set(present, reshaped(cache, {1, heads[i], (hasPast ? pastLength : Extent(0)) + tokens, widths[i]}));
  }
  Claim claim;
  claim.inputs = {parts[0].source, parts[1].source, parts[2].source};
  if (hasPast) {
    claim.pastKey = pasts[pastKey.index];
    claim.pastValue = pasts[pastValue.index];
    if (widths[0] != widths[2]) {
      claim.keys = op.getPresentKey();
      claim.values = op.getPresentValue();
    }
  }
  return replaceAs(op.getY(), resizeHeads(loc, attention.getResult(), heads[0], headDim, widths[2]), parts[0].form,
                   parts[0].heads, "attention", claim);
}

} // namespace emoe
