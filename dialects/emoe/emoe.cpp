// The emoe dialect: registration and verifiers. What ODS constraints already check is not repeated here.
#include "dialects/emoe/emoe.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/IR/Builders.h"
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

LogicalResult LayoutAttr::verify(function_ref<InFlightDiagnostic()> emitError, unsigned bits, FloatType,
                                 unsigned group, ZeroPoint, Codebook, unsigned panel) {
  if (bits != 32 && bits != 16 && bits != 8 && bits != 4) {
    return emitError() << "bits (" << bits << ") must be 32, 16, 8 or 4";
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

LogicalResult WeightOp::verify() {
  if (getShape().size() != 2 || getShape()[0] <= 0 || getShape()[1] <= 0) {
    return emitOpError("shape must be two positive extents [rows, columns]");
  }
  if (getSource().getStrides().size() != 2) {
    return emitOpError("source must have two strides, one per extent of the shape");
  }
  return success();
}

LogicalResult NormOp::verify() {
  if (getHeads() <= 0 || width(getInput().getType()) % getHeads() != 0) {
    return emitOpError("heads (") << getHeads() << ") must divide the row width (" << width(getInput().getType())
                                  << ")";
  }
  if (getBias() && getKind() == NormKind::Rms) {
    return emitOpError("an rms norm has no bias");
  }
  return success();
}

LogicalResult RotaryOp::verify() {
  int64_t rowWidth = width(getInput().getType());
  if (getHeads() <= 0 || rowWidth % getHeads() != 0) {
    return emitOpError("heads (") << getHeads() << ") must divide the row width (" << rowWidth << ")";
  }
  int64_t rotated = 2 * static_cast<int64_t>(getInvFreq().size());
  if (rotated == 0 || rotated > rowWidth / static_cast<int64_t>(getHeads())) {
    return emitOpError("rotates ") << rotated << " elements of a head that has " << rowWidth / getHeads();
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
  return success();
}

LogicalResult RouteOp::verify() {
  int64_t experts = width(getLogits().getType());
  if (static_cast<int64_t>(getTopK()) <= 0 || static_cast<int64_t>(getTopK()) > experts) {
    return emitOpError("top_k (") << getTopK() << ") exceeds the number of experts (" << experts << ")";
  }
  if (width(getIds().getType()) != static_cast<int64_t>(getTopK()) ||
      width(getWeights().getType()) != static_cast<int64_t>(getTopK())) {
    return emitOpError("results must be top_k (") << getTopK() << ") wide";
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
  for (ArrayAttr list : {getGate().value_or(ArrayAttr()), getUp(), getDown()}) {
    if (list && !llvm::all_of(list, [](Attribute a) { return isa<FlatSymbolRefAttr>(a); })) {
      return emitOpError("expert weights must be symbols");
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
