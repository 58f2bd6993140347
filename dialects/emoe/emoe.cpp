// The emoe dialect: registration and verifiers. What ODS constraints already check is not repeated here.
#include "dialects/emoe/emoe.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
#include "mlir/IR/BuiltinDialect.h"
#include "mlir/IR/DialectImplementation.h"

using namespace mlir;
using namespace emoe;

#include "dialects/emoe/dialect.cpp.inc"
#include "dialects/emoe/enums.cpp.inc"
#define GET_ATTRDEF_CLASSES
#include "dialects/emoe/attrs.cpp.inc"
#define GET_OP_CLASSES
#include "dialects/emoe/ops.cpp.inc"

void EmoeDialect::initialize() {
  addAttributes<
#define GET_ATTRDEF_LIST
#include "dialects/emoe/attrs.cpp.inc"
      >();
  addOperations<
#define GET_OP_LIST
#include "dialects/emoe/ops.cpp.inc"
      >();
}

static int64_t width(Type type) { return cast<RankedTensorType>(type).getDimSize(1); }

// Rows of tensors with different widths belong to the same tokens.
static LogicalResult sameTokens(Operation *op, Type a, Type b) {
  int64_t left = cast<RankedTensorType>(a).getDimSize(0), right = cast<RankedTensorType>(b).getDimSize(0);
  if (left != right) {
    return op->emitOpError("operand and result must have equally many rows, not ") << a << " and " << b;
  }
  return success();
}

// Checks that `symbol` is an emoe.weight of shape [rows, columns]; `role` says in the error what it is for.
static LogicalResult verifyWeight(Operation *op, SymbolTableCollection &symbols, FlatSymbolRefAttr symbol,
                                  StringRef role, int64_t rows, int64_t columns) {
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(op, symbol);
  if (!weight) {
    return op->emitOpError() << role << " " << symbol << " is not an emoe.weight of this module";
  }
  if (weight.getShape()[0] != rows || weight.getShape()[1] != columns) {
    InFlightDiagnostic error = op->emitOpError() << role << " " << symbol << " must be [" << rows << ", " << columns
                                                 << "], not [" << weight.getShape()[0] << ", "
                                                 << weight.getShape()[1] << "]";
    error.attachNote(weight.getLoc()) << "the weight is here";
    return error;
  }
  return success();
}

LogicalResult SourceAttr::verify(function_ref<InFlightDiagnostic()> emitError, StringAttr file, int64_t offset,
                                 Type element, ArrayRef<int64_t> strides) {
  if (!file || file.empty()) {
    return emitError() << "the source needs the name of a file";
  }
  if (offset < 0) {
    return emitError() << "offset (" << offset << ") must not be negative";
  }
  // Other dialects bring storage types that MLIR lacks (onnx: f4E2M1, f8E8M0).
  if (!element.isIntOrFloat() && llvm::isa<BuiltinDialect>(element.getDialect())) {
    return emitError() << "element type " << element << " must be an integer or float type";
  }
  for (int64_t stride : strides) {
    if (stride < 0) {
      return emitError() << "stride (" << stride << ") must not be negative";
    }
  }
  return success();
}

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError, unsigned bits, FloatType,
                                 unsigned group, ZeroPoint, Codebook codebook, unsigned panel) {
  if (bits != 32 && bits != 16 && bits != 8 && bits != 4 && bits != 3 && bits != 2) {
    return emitError() << "bits (" << bits << ") must be 32, 16, 8, 4, 3 or 2";
  }
  const bool centred = codebook == Codebook::Centred, ternary = codebook == Codebook::Ternary;
  if ((bits <= 3) != (centred || ternary) || (ternary && bits != 2)) {
    return emitError() << "codebook " << stringifyCodebook(codebook) << " does not go with " << bits
                       << " bits: 3 and 2 bits are centred, 2 bits may be ternary, more bits are neither";
  }
  if (bits >= 16 && group != 0) {
    return emitError() << "group (" << group << ") must be 0 for " << bits << "-bit weights: they have no scales";
  }
  if (bits < 16 && (group == 0 || group % 32 != 0)) {
    return emitError() << "group (" << group << ") must be a positive multiple of 32";
  }
  if (panel != 1 && panel != 16) {
    return emitError() << "panel (" << panel << ") must be 1 or 16";
  }
  return success();
}

bool LayoutAttr::isPacked() const {
  const unsigned group = getGroup();
  return hasScales() && getType() == FloatType::F16 && getZeroPoint() == ZeroPoint::Symmetric &&
         getCodebook() != Codebook::Mxfp4 && getPanel() == 16 &&
         (group == 32 || group == 64 || group == 128 || group == 256);
}

LogicalResult WeightOp::verify() {
  if (getShape().size() != 2 || getShape()[0] <= 0 || getShape()[1] <= 0) {
    return emitOpError("shape must be two positive extents [rows, columns]");
  }
  if (getSource().getStrides().size() != 2) {
    return emitOpError("source must have two strides, one per extent of the shape");
  }
  return success();
}

LogicalResult EmbeddingOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  int64_t vocabulary = weight ? weight.getShape()[0] : 0;
  return verifyWeight(*this, symbols, getWeightAttr(), "weight", vocabulary, width(getType()));
}

LogicalResult NormOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t part = width(getType()) / static_cast<int64_t>(getHeads());
  if (failed(verifyWeight(*this, symbols, getWeightAttr(), "weight", 1, part))) {
    return failure();
  }
  return getBiasAttr() ? verifyWeight(*this, symbols, getBiasAttr(), "bias", 1, part) : success();
}

LogicalResult LinearOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t outputs = width(getType());
  if (failed(sameTokens(*this, getInput().getType(), getType())) ||
      failed(verifyWeight(*this, symbols, getWeightAttr(), "weight", outputs, width(getInput().getType())))) {
    return failure();
  }
  return getBiasAttr() ? verifyWeight(*this, symbols, getBiasAttr(), "bias", 1, outputs) : success();
}

LogicalResult AttentionOp::verifySymbolUses(SymbolTableCollection &symbols) {
  return getSinksAttr() ? verifyWeight(*this, symbols, getSinksAttr(), "sinks", 1, getHeads()) : success();
}

LogicalResult ShortConvOp::verifySymbolUses(SymbolTableCollection &symbols) {
  auto weight = symbols.lookupNearestSymbolFrom<WeightOp>(*this, getWeightAttr());
  int64_t taps = weight ? weight.getShape()[0] : 0, channels = width(getType());
  if (weight && taps < 2) {
    return emitOpError("needs two taps at least, not ") << taps << ": with one it has no state";
  }
  if (failed(verifyWeight(*this, symbols, getWeightAttr(), "weight", taps, channels))) {
    return failure();
  }
  return getBiasAttr() ? verifyWeight(*this, symbols, getBiasAttr(), "bias", 1, channels) : success();
}

LogicalResult DeltaNetOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t heads = getHeads();
  if (failed(verifyWeight(*this, symbols, getDecayAttr(), "decay", 1, heads))) {
    return failure();
  }
  return getDecayBiasAttr() ? verifyWeight(*this, symbols, getDecayBiasAttr(), "decay_bias", 1, heads) : success();
}

LogicalResult RouteOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t experts = width(getLogits().getType());
  if (getExpertScaleAttr() && failed(verifyWeight(*this, symbols, getExpertScaleAttr(), "expert_scale", 1, experts))) {
    return failure();
  }
  return getSelectionBiasAttr() ? verifyWeight(*this, symbols, getSelectionBiasAttr(), "selection_bias", 1, experts)
                                : success();
}

LogicalResult MoeOp::verifySymbolUses(SymbolTableCollection &symbols) {
  int64_t model = width(getInput().getType());
  auto first = symbols.lookupNearestSymbolFrom<WeightOp>(*this, cast<FlatSymbolRefAttr>(getUp()[0]));
  int64_t hidden = first ? first.getShape()[0] : 0;
  auto verifyAll = [&](std::optional<ArrayAttr> list, StringRef role, int64_t rows, int64_t columns) {
    return success(!list || llvm::all_of(*list, [&](Attribute symbol) {
      return succeeded(verifyWeight(*this, symbols, cast<FlatSymbolRefAttr>(symbol), role, rows, columns));
    }));
  };
  return success(succeeded(verifyAll(getUp(), "up", hidden, model)) &&
                 succeeded(verifyAll(getGate(), "gate", hidden, model)) &&
                 succeeded(verifyAll(getDown(), "down", model, hidden)) &&
                 succeeded(verifyAll(getGateBias(), "gate_bias", 1, hidden)) &&
                 succeeded(verifyAll(getUpBias(), "up_bias", 1, hidden)) &&
                 succeeded(verifyAll(getDownBias(), "down_bias", 1, model)));
}

LogicalResult EmbeddingOp::verify() { return sameTokens(*this, getIds().getType(), getType()); }

LogicalResult NormOp::verify() {
  if (static_cast<int64_t>(getHeads()) <= 0 || width(getInput().getType()) % getHeads() != 0) {
    return emitOpError("heads (") << getHeads() << ") must divide the row width (" << width(getInput().getType())
                                  << ")";
  }
  if (getBias() && getKind() == NormKind::Rms) {
    return emitOpError("an rms norm has no bias");
  }
  if (getKind() == NormKind::Layer && !getOffset().isZero()) {
    return emitOpError("a layer norm adds nothing to its weights");
  }
  return success();
}

LogicalResult RotaryOp::verify() {
  int64_t rowWidth = width(getInput().getType());
  if (static_cast<int64_t>(getHeads()) <= 0 || rowWidth % getHeads() != 0) {
    return emitOpError("heads (") << getHeads() << ") must divide the row width (" << rowWidth << ")";
  }
  int64_t rotated = 2 * static_cast<int64_t>(getInvFreq().size());
  if (rotated == 0 || rotated > rowWidth / static_cast<int64_t>(getHeads())) {
    return emitOpError("rotates ") << rotated << " elements of a head that has " << rowWidth / getHeads();
  }
  if (static_cast<int64_t>(getDigits()) < 8 || getDigits() > 24) {
    return emitOpError("digits (") << getDigits() << ") must be between 8 and 24";
  }
  return success();
}

LogicalResult AttentionOp::verify() {
  if (getHeads() <= 0 || getKvHeads() <= 0 || getHeads() % getKvHeads() != 0) {
    return emitOpError("kv_heads (") << getKvHeads() << ") must divide heads (" << getHeads() << ")";
  }
  if (width(getQuery().getType()) != static_cast<int64_t>(getHeads() * getHeadDim())) {
    return emitOpError("query width (") << width(getQuery().getType()) << ") is not heads * head_dim ("
                                        << getHeads() * getHeadDim() << ")";
  }
  for (Value operand : {getKey(), getValue()}) {
    if (width(operand.getType()) != static_cast<int64_t>(getKvHeads() * getHeadDim())) {
      return emitOpError("key and value width (") << width(operand.getType()) << ") is not kv_heads * head_dim ("
                                                  << getKvHeads() * getHeadDim() << ")";
    }
  }
  if (getType() != getQuery().getType()) {
    return emitOpError("result must have the query's type");
  }
  for (Value operand : {getKey(), getValue()}) {
    if (!getBidirectional() && failed(sameTokens(*this, operand.getType(), getType()))) {
      return failure();
    }
  }
  if (static_cast<int64_t>(getWindow()) < 0 || static_cast<int64_t>(getLayer()) < 0) {
    return emitOpError("window and layer must not be negative");
  }
  if (getBidirectional() && getWindow() != 0) {
    return emitOpError("a bidirectional attention has no window");
  }
  const int64_t heads = getHeads(), before = getBiasBefore();
  const int64_t entries = getPositionBias() ? getPositionBias()->size() : 0;
  if (getPositionBias() ? entries == 0 || entries % heads != 0 || before < 0 || before >= entries / heads : before != 0) {
    return emitOpError("position_bias must be a table [heads, distances] with bias_before inside a row");
  }
  return success();
}

LogicalResult ShortConvOp::verify() {
  return static_cast<int64_t>(getState()) < 0 ? emitOpError("state must not be negative") : success();
}

LogicalResult DeltaNetOp::verify() {
  int64_t heads = getHeads(), keyHeads = getKeyHeads();
  if (heads <= 0 || keyHeads <= 0 || heads % keyHeads != 0) {
    return emitOpError("key_heads (") << keyHeads << ") must divide heads (" << heads << ")";
  }
  if (getQuery().getType() != getKey().getType()) {
    return emitOpError("query and key must have the same type");
  }
  if (width(getKey().getType()) % keyHeads != 0 || width(getValue().getType()) % heads != 0) {
    return emitOpError("key_heads must divide the width of query and key (") << width(getKey().getType())
           << "), and heads that of value (" << width(getValue().getType()) << ")";
  }
  if (width(getDecayInput().getType()) != heads || width(getRateInput().getType()) != heads) {
    return emitOpError("needs one decay and one rate for each of its ") << heads << " heads, not "
           << width(getDecayInput().getType()) << " and " << width(getRateInput().getType());
  }
  if (getType() != getValue().getType()) {
    return emitOpError("result must have the value's type");
  }
  if (static_cast<int64_t>(getState()) < 0) {
    return emitOpError("state must not be negative");
  }
  if (!(getEpsilon().convertToFloat() >= 0)) {
    return emitOpError("epsilon must not be negative");
  }
  for (Value operand : {getQuery(), getDecayInput(), getRateInput()}) {
    if (failed(sameTokens(*this, operand.getType(), getType()))) {
      return failure();
    }
  }
  return success();
}

LogicalResult ScaleRowsOp::verify() {
  if (width(getFactor().getType()) != 1) {
    return emitOpError("factor must be 1 wide, not ") << width(getFactor().getType());
  }
  return sameTokens(*this, getFactor().getType(), getType());
}

LogicalResult SliceHeadsOp::verify() {
  int64_t heads = getHeads(), start = getStart(), from = width(getInput().getType()), to = width(getType());
  if (heads <= 0 || from % heads != 0 || to <= 0 || to % heads != 0) {
    return emitOpError("heads (") << heads << ") must divide the row widths (" << from << ", " << to << ")";
  }
  if (start < 0 || start >= from / heads) {
    return emitOpError("takes columns from ") << start << " on of a head that has " << from / heads;
  }
  return sameTokens(*this, getInput().getType(), getType());
}

LogicalResult ConcatHeadsOp::verify() {
  int64_t heads = getHeads(), rhsHeads = getRhsHeads();
  int64_t lhs = width(getLhs().getType()), rhs = width(getRhs().getType());
  if (heads <= 0 || lhs % heads != 0 || (rhsHeads != heads && rhsHeads != 1) || rhs % rhsHeads != 0) {
    return emitOpError("heads (") << heads << ") must divide the width of lhs (" << lhs << "), and rhs_heads ("
                                  << rhsHeads << "), which is heads or 1, that of rhs (" << rhs << ")";
  }
  if (width(getType()) != lhs + rhs / rhsHeads * heads) {
    return emitOpError("result must be ") << lhs + rhs / rhsHeads * heads << " wide, not " << width(getType());
  }
  return success(succeeded(sameTokens(*this, getLhs().getType(), getType())) &&
                 succeeded(sameTokens(*this, getRhs().getType(), getType())));
}

LogicalResult NumberTokensOp::verify() {
  int64_t first = getFirst(), limit = getLimit();
  if (first < 1 || limit <= first || limit > INT32_MAX) {
    return emitOpError("first (") << first << ") must be positive and less than limit (" << limit << ")";
  }
  return getState() && static_cast<int64_t>(*getState()) < 0 ? emitOpError("state must not be negative") : success();
}

LogicalResult RouteOp::verify() {
  int64_t experts = width(getLogits().getType());
  if (static_cast<int64_t>(getTopK()) <= 0 || static_cast<int64_t>(getTopK()) > experts) {
    return emitOpError("top_k (") << static_cast<int64_t>(getTopK()) << ") must be 1 to the number of experts ("
                                  << experts << ")";
  }
  if (width(getIds().getType()) != static_cast<int64_t>(getTopK()) ||
      width(getWeights().getType()) != static_cast<int64_t>(getTopK())) {
    return emitOpError("results must be top_k (") << getTopK() << ") wide";
  }
  int64_t groups = getGroups(), topGroups = getTopGroups(), groupTop = getGroupTop();
  if (groups <= 0 || experts % groups != 0 || topGroups <= 0 || topGroups > groups || groupTop <= 0 ||
      groupTop > experts / groups) {
    return emitOpError("groups (") << groups << ") must divide the number of experts (" << experts << "), top_groups ("
                                   << topGroups << ") be at most groups, and group_top (" << groupTop
                                   << ") at most the experts of a group";
  }
  if (static_cast<int64_t>(getCapacity()) < 0) {
    return emitOpError("capacity must not be negative");
  }
  if ((getRanked() || getRenormaliseKept()) &&
      (getCapacity() == 0 || getTopK() != 2 || getScore() != ScoreFunction::Softmax)) {
    return emitOpError("ranked and renormalise_kept are for two choices by softmax with a capacity");
  }
  if (getRenormaliseKept() && !(getEpsilon().convertToFloat() > 0)) {
    return emitOpError("renormalise_kept divides by epsilon at least, which must be positive");
  }
  if (getRenormaliseKept() && (getRenormalise() || getSoftmaxAfter() || getExpertScale())) {
    return emitOpError("renormalise_kept stands instead of renormalise, softmax_after and expert_scale");
  }
  if (getScore() == ScoreFunction::SparseMixer && (groups != 1 || getSelectionBias() || getSoftmaxAfter())) {
    return emitOpError("sparse_mixer has no groups, selection_bias or softmax_after");
  }
  for (Value result : getResults()) {
    if (failed(sameTokens(*this, getLogits().getType(), result.getType()))) {
      return failure();
    }
  }
  return success();
}

LogicalResult MoeOp::verify() {
  size_t experts = getUp().size();
  if (experts == 0) {
    return emitOpError("has no experts");
  }
  if (getDown().size() != experts || (getGate() && getGate()->size() != experts)) {
    return emitOpError("lists ") << experts << " up, " << getDown().size() << " down and "
                                 << (getGate() ? getGate()->size() : 0) << " gate weights; they must be equally many";
  }
  for (auto list : {getGateBias(), getUpBias(), getDownBias()}) {
    if (list && list->size() != experts) {
      return emitOpError("lists ") << experts << " up and " << list->size() << " bias weights; they must be equally many";
    }
  }
  if (getGateBias() && !getGate()) {
    return emitOpError("has gate_bias, but no gate");
  }
  for (ArrayAttr list : {getGate().value_or(ArrayAttr()), getUp(), getDown(), getGateBias().value_or(ArrayAttr()),
                         getUpBias().value_or(ArrayAttr()), getDownBias().value_or(ArrayAttr())}) {
    if (list && !llvm::all_of(list, [](Attribute a) { return isa<FlatSymbolRefAttr>(a); })) {
      return emitOpError("expert weights must be symbols");
    }
  }
  if (getType() != getInput().getType()) {
    return emitOpError("result must have the input's type");
  }
  if (width(getIds().getType()) != width(getWeights().getType())) {
    return emitOpError("ids and weights must be equally wide");
  }
  for (Value operand : {getIds(), getWeights()}) {
    if (failed(sameTokens(*this, operand.getType(), getType()))) {
      return failure();
    }
  }
  return success();
}

LogicalResult RecordsOp::verify() {
  for (Attribute variant : getVariants()) {
    if (!isa<VariantAttr>(variant)) {
      return emitOpError("variants must be #emoe.variant attributes");
    }
  }
  for (int32_t variant : getVariantOf()) {
    if (variant < 0 || variant >= static_cast<int32_t>(getVariants().size())) {
      return emitOpError("variant ") << variant << " does not exist: there are " << getVariants().size();
    }
  }
  return success();
}

LogicalResult LookAheadOp::verify() {
  if (static_cast<int64_t>(getLayer()) < 1) {
    return emitOpError("layer (") << static_cast<int64_t>(getLayer())
                                  << ") must be at least 1: the first mixture layer has none before it";
  }
  for (auto [list, name] : {std::pair(getOperandsAttr(), "operands"), {getRouterOperandsAttr(), "router_operands"}}) {
    if (list.size() < 3 || list.size() > 4) {
      return emitOpError() << name << " must be input, weight, output and perhaps a bias, not " << list.size();
    }
    if (!llvm::all_of(list, [](Attribute a) { return isa<FlatSymbolRefAttr, OperandAttr>(a); })) {
      return emitOpError() << name << " must be symbols or #emoe.operand attributes";
    }
  }
  if (getOperandsAttr()[2] != getRouterOperandsAttr()[0]) {
    return emitOpError("the router must read what the norm writes");
  }
  return success();
}

LogicalResult TileProductOp::verify() {
  LayoutAttr layout = getLayout();
  if (getRows().empty() || getRows().size() != getSums().size()) {
    return emitOpError("has ") << getRows().size() << " rows and " << getSums().size()
                               << " results; there must be one result for each row, and at least one";
  }
  if (static_cast<int64_t>(getColumns()) <= 0) {
    return emitOpError("columns (") << static_cast<int64_t>(getColumns()) << ") must be positive";
  }
  if (layout.getPanel() != 16) {
    return emitOpError("weights must be in panels of 16 rows, not ") << layout.getPanel();
  }
  if (layout.hasScales() && !layout.isPacked()) {
    return emitOpError("weights with scales must be symmetric, in groups of 32, 64, 128 or 256 with f16 scales, not ")
           << layout;
  }
  if (getQ8() && !layout.hasScales()) {
    return emitOpError("q8 rows need weights with scales, not ") << layout.getBits() << " bits";
  }
  return success();
}
