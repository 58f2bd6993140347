// Names, operand extents, tiles and textual form of kernel specifications: one table of fields drives them all.
#include "compiler/codegen/kernel.h"

#include <cstdio>
#include <optional>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/pack.h"
#include "llvm/ADT/STLExtras.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/ADT/StringMap.h"
#include "mlir/IR/Builders.h"
#include "schema/kernel_abi.h"

namespace emoe {
namespace {

constexpr const char *kFamilyNames[] = {"embed",  "norm",    "quantize", "linear",   "rotary", "kv_append", "attention",
                                        "route", "gate_up", "combine",  "add",     "mul",    "activate",
                                        "scale", "scale_rows", "slice",  "concat",   "short_conv", "delta_net", "number"};
static_assert(std::size(kFamilyNames) == static_cast<size_t>(KernelFamily::Number) + 1);

const char *familyName(KernelFamily family) { return kFamilyNames[static_cast<size_t>(family)]; }

uint64_t roundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

// Calls visit(attribute key, field, prefix in kernel names) for each field but family and layout. Enumerations and
// flags put their prefix and value, or the prefix alone, into the name.
template <typename Spec, typename Visitor> void visitFields(Spec &spec, Visitor &&visit) {
  visit("n", spec.n, "n");
  visit("k", spec.k, "k");
  visit("heads", spec.heads, "h");
  visit("kv_heads", spec.kvHeads, "kv");
  visit("head_dim", spec.headDim, "d");
  visit("kv_bits", spec.kvBits, "kvbits");
  visit("rotated", spec.rotated, "r");
  visit("digits", spec.digits, "d");
  visit("top_k", spec.topK, "top");
  visit("window", spec.window, "w");
  visit("row_stride", spec.rowStride, "stride");
  visit("start", spec.start, "from");
  visit("quantized_activations", spec.quantizedActivations, "q8");
  visit("gated", spec.gated, "gated");
  visit("norm", spec.norm, "");
  visit("activation", spec.activation, "");
  visit("score", spec.score, "score");
  visit("rotary", spec.rotary, "");
  visit("has_bias", spec.hasBias, "bias");
  visit("has_residual", spec.hasResidual, "residual");
  visit("has_sinks", spec.hasSinks, "sinks");
  visit("bias_behind", spec.biasBehind, "bias_behind");
  visit("has_scale", spec.hasScale, "scaled");
  visit("log_decay", spec.logDecay, "log");
  visit("packed_factor", spec.packedFactor, "packed");
  visit("has_state", spec.hasState, "state");
  visit("padding", spec.padding, "padding");
  visit("groups", spec.groups, "groups");
  visit("top_groups", spec.topGroups, "of");
  visit("group_top", spec.groupTop, "by");
  visit("group_fill", spec.groupFill, "fill");
  visit("threshold", spec.threshold, "threshold");
  visit("alpha", spec.alpha, "alpha");
  visit("offset", spec.offset, "offset");
  visit("limit", spec.limit, "limit");
  visit("softmax_after", spec.softmaxAfter, "after");
  visit("renormalise", spec.renormalise, "renorm");
  visit("epsilon", spec.epsilon, "eps");
  visit("scale", spec.scale, "scale");
  visit("softcap", spec.softcap, "cap");
  visit("distances", spec.distances, "distances");
  visit("bias_before", spec.biasBefore, "before");
  visit("bidirectional", spec.bidirectional, "bidirectional");
}

llvm::StringRef enumName(NormKind value) { return stringifyNormKind(value); }
llvm::StringRef enumName(Activation value) { return stringifyActivation(value); }
llvm::StringRef enumName(ScoreFunction value) { return stringifyScoreFunction(value); }
llvm::StringRef enumName(RotaryStyle value) { return stringifyRotaryStyle(value); }
std::optional<NormKind> parseEnum(llvm::StringRef name, NormKind) { return symbolizeNormKind(name); }
std::optional<Activation> parseEnum(llvm::StringRef name, Activation) { return symbolizeActivation(name); }
std::optional<ScoreFunction> parseEnum(llvm::StringRef name, ScoreFunction) { return symbolizeScoreFunction(name); }
std::optional<RotaryStyle> parseEnum(llvm::StringRef name, RotaryStyle) { return symbolizeRotaryStyle(name); }

// Nine digits tell any two floats apart; the letters keep names plain symbols.
std::string floatName(float value) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.9g", value);
  std::string name;
  for (char c : std::string(text)) {
    if (c != '+') {
      name += c == '-' ? 'm' : c == '.' ? 'p' : c;
    }
  }
  return name;
}

std::string layoutName(LayoutAttr layout) {
  std::string type = stringifyFloatType(layout.getType()).str();
  std::string name = layout.getBits() >= 16 ? absl::StrCat("w", layout.getBits(), type)
                                            : absl::StrCat("q", layout.getBits(), "g", layout.getGroup(), type);
  if (layout.getZeroPoint() != ZeroPoint::Symmetric) {
    absl::StrAppend(&name, "_", stringifyZeroPoint(layout.getZeroPoint()).str());
  }
  if (layout.getCodebook() != Codebook::Integer) {
    absl::StrAppend(&name, "_", stringifyCodebook(layout.getCodebook()).str());
  }
  if (layout.getPanel() != EMOE_PANEL_ROWS) {
    absl::StrAppend(&name, "_p", layout.getPanel());
  }
  return name;
}

// Appends what differs from the default specification.
struct NameVisitor {
  std::string &name;
  void field(const char *prefix, const std::string &value) { absl::StrAppend(&name, "_", prefix, value); }
  void operator()(const char *prefix, int64_t value, int64_t standard) {
    if (value != standard) {
      field(prefix, value < 0 ? absl::StrCat("m", -value) : absl::StrCat(value));
    }
  }
  void operator()(const char *prefix, bool value, bool standard) {
    if (value != standard) {
      field(prefix, "");
    }
  }
  void operator()(const char *prefix, float value, float standard) {
    if (value != standard) {
      field(prefix, floatName(value));
    }
  }
  template <typename Enum> void operator()(const char *prefix, Enum value, Enum standard) {
    if (value != standard) {
      field(prefix, enumName(value).str());
    }
  }
};

mlir::Attribute fieldAttr(mlir::Builder &b, int64_t value) { return b.getI64IntegerAttr(value); }
mlir::Attribute fieldAttr(mlir::Builder &b, bool value) { return b.getBoolAttr(value); }
mlir::Attribute fieldAttr(mlir::Builder &b, float value) { return b.getF32FloatAttr(value); }
template <typename Enum> mlir::Attribute fieldAttr(mlir::Builder &b, Enum value) {
  return b.getStringAttr(enumName(value));
}

// False if the attribute has another type or names no value.
bool readField(mlir::Attribute attr, int64_t &field) {
  auto value = mlir::dyn_cast<mlir::IntegerAttr>(attr);
  if (!value || !value.getType().isInteger(64)) {
    return false;
  }
  field = value.getInt();
  return field >= 0;
}
bool readField(mlir::Attribute attr, bool &field) {
  auto value = mlir::dyn_cast<mlir::BoolAttr>(attr);
  field = value && value.getValue();
  return value != nullptr;
}
bool readField(mlir::Attribute attr, float &field) {
  auto value = mlir::dyn_cast<mlir::FloatAttr>(attr);
  if (!value || !value.getType().isF32()) {
    return false;
  }
  field = value.getValue().convertToFloat();
  return true;
}
template <typename Enum> bool readField(mlir::Attribute attr, Enum &field) {
  auto name = mlir::dyn_cast<mlir::StringAttr>(attr);
  std::optional<Enum> value = name ? parseEnum(name.getValue(), field) : std::nullopt;
  field = value.value_or(field);
  return value.has_value();
}

} // namespace

std::string kernelName(const KernelSpec &spec) {
  std::string name = familyName(spec.family);
  if (spec.layout) {
    absl::StrAppend(&name, "_", layoutName(spec.layout));
  }
  const KernelSpec standard;
  // The fields of both, pairwise: the visitor sees the standard's in the same order.
  std::vector<const void *> defaults;
  visitFields(standard, [&](const char *, const auto &field, const char *) { defaults.push_back(&field); });
  NameVisitor visitor{name};
  size_t i = 0;
  visitFields(spec, [&](const char *, const auto &field, const char *prefix) {
    visitor(prefix, field, *static_cast<decltype(&field)>(defaults[i++]));
  });
  return name;
}

uint64_t f32RowBytes(int64_t width) { return roundUp(width, EMOE_ROW_ALIGN) * sizeof(float); }

uint64_t q8RowBytes(int64_t width) {
  uint64_t padded = roundUp(width, EMOE_ROW_ALIGN);
  return padded + padded / EMOE_GROUP * (sizeof(float) + sizeof(int32_t));
}

uint64_t hiddenRowBytes(const KernelSpec &spec) {
  const int64_t width = spec.family == KernelFamily::GateUp ? spec.n : spec.k;
  return spec.rowStride ? spec.rowStride : spec.quantizedActivations ? q8RowBytes(width) : f32RowBytes(width);
}

std::vector<OperandExtent> operandExtents(const KernelSpec &spec) {
  auto rows = [](int64_t width, int64_t perToken = 1) { return OperandExtent{0, perToken * f32RowBytes(width), 0}; };
  auto activations = [&](int64_t width) {
    return spec.quantizedActivations ? OperandExtent{0, q8RowBytes(width), 0} : rows(width);
  };
  auto vector = [](int64_t count) { return OperandExtent{roundUp(count * sizeof(float), 64), 0, 0}; };
  auto list = [](int64_t perToken) { return OperandExtent{0, static_cast<uint64_t>(perToken) * 4, 0}; };
  const OperandExtent cache{0, 0, static_cast<uint64_t>(spec.kvHeads * spec.headDim * spec.kvBits / 8)};
  std::vector<OperandExtent> extents;
  switch (spec.family) {
  case KernelFamily::Embed:
    return {list(1), {packedBytes(spec.layout, spec.n, spec.k), 0, 0}, rows(spec.k)};
  case KernelFamily::Norm:
    extents = {rows(spec.k), vector(spec.k / std::max<int64_t>(spec.heads, 1)), rows(spec.k)};
    if (spec.hasBias) {
      extents.push_back(extents[1]);
    }
    return extents;
  case KernelFamily::Quantize:
    return {rows(spec.k), {0, q8RowBytes(spec.k), 0}};
  case KernelFamily::Linear:
    extents = {{0, hiddenRowBytes(spec), 0}, {packedBytes(spec.layout, spec.n, spec.k), 0, 0}, rows(spec.n)};
    if (spec.hasResidual) {
      extents.push_back(rows(spec.n));
    }
    if (spec.biasBehind) {
      extents[1].fixed += biasBytes(spec.n);
    } else if (spec.hasBias) {
      extents.push_back(vector(spec.n));
    }
    return extents;
  case KernelFamily::Rotary:
    return {rows(spec.heads * spec.headDim), vector(spec.rotated / 2), rows(spec.heads * spec.headDim)};
  case KernelFamily::KvAppend:
    return {rows(spec.kvHeads * spec.headDim), rows(spec.kvHeads * spec.headDim), cache, cache};
  case KernelFamily::Attention:
    extents = {rows(spec.heads * spec.headDim), cache, cache, rows(spec.heads * spec.headDim)};
    if (spec.hasSinks) {
      extents.push_back(vector(spec.heads));
    }
    if (spec.distances) {
      extents.push_back(vector(spec.heads * spec.distances));
    }
    return extents;
  case KernelFamily::Route:
    extents = {rows(spec.n), list(spec.topK), list(spec.topK)};
    if (spec.hasBias) {
      extents.push_back(vector(spec.n));
    }
    if (spec.hasScale) {
      extents.push_back(vector(spec.n));
    }
    return extents;
  case KernelFamily::GateUp:
    return {activations(spec.k),
            {(packedBytes(spec.layout, spec.n, spec.k) + (spec.hasBias ? biasBytes(spec.n) : 0)) * (spec.gated ? 2 : 1), 0, 0},
            {0, hiddenRowBytes(spec), 0}};
  case KernelFamily::Combine:
    extents = {rows(spec.k, spec.topK), list(spec.topK), rows(spec.k)};
    if (spec.hasResidual) {
      extents.push_back(rows(spec.k));
    }
    return extents;
  case KernelFamily::Add:
  case KernelFamily::Mul:
    return {rows(spec.k), rows(spec.k), rows(spec.k)};
  case KernelFamily::Activate:
  case KernelFamily::Scale:
    return {rows(spec.k), rows(spec.k)};
  case KernelFamily::ScaleRows:
    return {rows(spec.k), spec.packedFactor ? list(1) : rows(1), rows(spec.k)};
  case KernelFamily::Slice:
    return {rows(spec.k), rows(spec.heads * spec.headDim)};
  case KernelFamily::Concat:
    return {rows(spec.k), rows(spec.n), rows(spec.k + spec.n / std::max<int64_t>(spec.kvHeads, 1) * spec.heads)};
  case KernelFamily::ShortConv:
    extents = {rows(spec.k), vector(spec.n * spec.k), {(spec.n - 1) * f32RowBytes(spec.k), 0, 0}, rows(spec.k)};
    if (spec.hasBias) {
      extents.push_back(vector(spec.k));
    }
    return extents;
  case KernelFamily::DeltaNet: {
    const OperandExtent state{roundUp(spec.n, EMOE_PANEL_ROWS) * sizeof(float) * spec.headDim * spec.heads, 0, 0};
    extents = {rows(spec.kvHeads * spec.headDim), rows(spec.kvHeads * spec.headDim), rows(spec.heads * spec.n),
               rows(spec.heads), rows(spec.heads), vector(spec.heads), state, rows(spec.heads * spec.n)};
    if (spec.hasBias) {
      extents.push_back(vector(spec.heads));
    }
    return extents;
  }
  case KernelFamily::Number:
    extents = {list(1), list(1)};
    if (spec.hasState) {
      extents.push_back({64, 0, 0});
    }
    return extents;
  }
  return extents;
}

TileCount tileCount(const KernelSpec &spec) {
  switch (spec.family) {
  case KernelFamily::Linear:
    return {static_cast<uint32_t>((spec.n + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS), 0};
  case KernelFamily::GateUp:
    return {static_cast<uint32_t>((spec.n + EMOE_GROUP - 1) / EMOE_GROUP), 0};
  case KernelFamily::KvAppend:
    return {0, static_cast<uint32_t>(spec.kvHeads)};
  case KernelFamily::Attention:
    return {0, static_cast<uint32_t>(spec.heads)};
  case KernelFamily::ShortConv:  // those of the padding too
    return {static_cast<uint32_t>(f32RowBytes(spec.k) / (EMOE_PANEL_ROWS * sizeof(float))), 0};
  case KernelFamily::DeltaNet:
    return {static_cast<uint32_t>(spec.heads * ((spec.n + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS)), 0};
  case KernelFamily::Number:
    return {1, 0};
  default:
    return {0, 1};
  }
}

mlir::DictionaryAttr specToAttr(mlir::MLIRContext *context, const KernelSpec &spec) {
  mlir::Builder b(context);
  llvm::SmallVector<mlir::NamedAttribute> fields{b.getNamedAttr("family", b.getStringAttr(familyName(spec.family)))};
  if (spec.layout) {
    fields.push_back(b.getNamedAttr("layout", spec.layout));
  }
  const KernelSpec standard;
  llvm::StringMap<mlir::Attribute> defaults;
  visitFields(standard, [&](const char *key, auto field, const char *) { defaults[key] = fieldAttr(b, field); });
  visitFields(spec, [&](const char *key, auto field, const char *) {
    if (mlir::Attribute attr = fieldAttr(b, field); attr != defaults[key]) {
      fields.push_back(b.getNamedAttr(key, attr));
    }
  });
  return b.getDictionaryAttr(fields);
}

absl::StatusOr<KernelSpec> specFromAttr(mlir::DictionaryAttr attr) {
  KernelSpec spec;
  auto family = attr.getAs<mlir::StringAttr>("family");
  const auto *found = family ? llvm::find_if(kFamilyNames, [&](const char *name) { return family.getValue() == name; })
                             : std::end(kFamilyNames);
  if (found == std::end(kFamilyNames)) {
    return absl::InvalidArgumentError(
        absl::StrCat("kernel specification: family must be one of ", llvm::join(llvm::ArrayRef<const char *>(kFamilyNames), ", ")));
  }
  spec.family = static_cast<KernelFamily>(found - std::begin(kFamilyNames));
  size_t known = 1;
  if (mlir::Attribute layout = attr.get("layout")) {
    spec.layout = mlir::dyn_cast<LayoutAttr>(layout);
    if (!spec.layout) {
      return absl::InvalidArgumentError("kernel specification: layout must be an #emoe.layout");
    }
    ++known;
  }
  std::string wrong;
  visitFields(spec, [&](const char *key, auto &field, const char *) {
    if (mlir::Attribute value = attr.get(key)) {
      ++known;
      if (!readField(value, field)) {
        wrong = key;
      }
    }
  });
  if (!wrong.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("kernel specification: the value of ", wrong, " has another type, is negative or is unknown"));
  }
  if (known != attr.size()) {
    return absl::InvalidArgumentError("kernel specification: it has a field that no kernel has");
  }
  const bool packed = spec.family == KernelFamily::Linear || spec.family == KernelFamily::GateUp ||
                      spec.family == KernelFamily::Embed;
  if (packed != static_cast<bool>(spec.layout)) {
    return absl::InvalidArgumentError(absl::StrCat("kernel specification: ", familyName(spec.family),
                                                   packed ? " needs a layout" : " has no layout"));
  }
  return spec;
}

} // namespace emoe
