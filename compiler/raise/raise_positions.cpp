// Embeddings of positions that do not count padding, as fairseq's models have them: the running sum of "is no padding", times
// "is no padding", plus an offset, looks a table up (sinusoids or learnt).
#include "compiler/raise/raiser.h"

using namespace mlir;

namespace emoe {

void Raiser::addPositionHandlers() {
  for (const char *op : {"Equal", "Not", "CumSum", "Mul", "Add"}) {
    add(op, &Raiser::countText);
  }
}

LogicalResult Raiser::countText(Operation *op) {
  StringRef name = op->getName().stripDialect();
  const int sides = op->getNumOperands() == 2 && name != "CumSum" ? 2 : 1;
  for (int side = 0; side < sides; ++side) {
    const Meaning a = of(op->getOperand(side));
    Meaning meaning = a;
    if (name == "Not") {
      if (!a.is(Kind::PaddingMask)) {
        continue;
      }
      meaning.kind = Kind::TextMask;
    } else if (name == "CumSum") {
      auto axis = integer(op->getOperand(1));
      const int64_t rank = a.extents.size();
      if (!a.is(Kind::TextMask) || !axis || (*axis != -1 && *axis != rank - 1) || a.extent(-1) != tokens ||
          intAttr(op, "exclusive", 0) || intAttr(op, "reverse", 0) || pastLength != Extent(0)) {
        continue;
      }
      meaning.kind = Kind::TextCount;
    } else if (name == "Mul") {
      const Meaning &b = of(op->getOperand(1 - side));
      if (!a.is(Kind::TextCount) || !b.is(Kind::TextMask) || a.index != b.index || a.extents != b.extents) {
        continue;
      }
      meaning.kind = Kind::TextNumbers;
      meaning.axis = 0;
    } else {
      auto number = integer(op->getOperand(1 - side));
      if (!number || of(op->getOperand(1 - side)).extents.size() > a.extents.size()) {
        continue;
      }
      if (name == "Equal" && a.is(Kind::TokenIds)) {
        meaning.kind = Kind::PaddingMask;
        meaning.index = *number;
      } else if (name == "Add" && a.is(Kind::TextNumbers)) {
        meaning.axis += *number;
      } else if (name != "Add" || !a.is(Kind::TextCount) || *number != 0) {
        continue;
      }
    }
    set(op->getResult(0), meaning);
    return success();
  }
  return success();
}

// Rows [1, S, D] or [S, D] of a table at the tokens' numbers.
LogicalResult Raiser::positionEmbedding(Operation *op) {
  const Meaning table = of(op->getOperand(0)), numbers = of(op->getOperand(1));
  if (table.view.extents.size() != 2 || axisAttr(op, 0, 2) != 0 || numbers.axis < 0 ||
      (numbers.extents != Extents{tokens} && numbers.extents != Extents{1, tokens})) {
    return success();
  }
  const int64_t rows = table.view.extents[0], width = table.view.extents[1];
  if (numbers.axis + 1 >= rows) {
    return op->emitError() << "looks the first token up in row " << numbers.axis + 1 << " of a table of " << rows << " rows";
  }
  FlatSymbolRefAttr symbol = weight(op->getLoc(), table.view);
  if (!symbol) {
    return failure();
  }
  auto number = [&](int64_t value) { return builder.getI64IntegerAttr(value); };
  const int64_t state = states.size();
  states.push_back({});
  Value places = builder.create<NumberTokensOp>(op->getLoc(), ids.getType(), ids, number(numbers.index),
                                                number(numbers.axis + 1), number(rows), number(state));
  Value embedded = builder.create<EmbeddingOp>(
      op->getLoc(), RankedTensorType::get({ShapedType::kDynamic, width}, builder.getF32Type()), places, symbol,
      builder.getF32FloatAttr(1));
  Extents extents = numbers.extents;
  extents.push_back(width);
  Meaning meaning;
  meaning.kind = Kind::Rows;
  set(op->getResult(0), reshaped(meaning, extents));
  return replace(op->getResult(0), embedded, extents.size() == 2 ? Form::SW : Form::BSW, 1, "embedding of positions", {});
}

} // namespace emoe
