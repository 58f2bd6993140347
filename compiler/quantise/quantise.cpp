#include "compiler/quantise/quantise.h"

#include "llvm/ADT/TypeSwitch.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"

using namespace mlir;

namespace emoe {

static bool nameLess(StringAttr a, StringAttr b) { return a.getValue() < b.getValue(); }

static bool feedsRouter(LinearOp linear) {
  return llvm::any_of(linear.getResult().getUsers(), [](Operation *user) { return isa<RouteOp>(user); });
}

std::map<StringAttr, WeightRole, bool (*)(StringAttr, StringAttr)> findWeightRoles(ModuleOp module) {
  std::map<StringAttr, WeightRole, bool (*)(StringAttr, StringAttr)> roles(nameLess);
  auto note = [&](FlatSymbolRefAttr symbol, WeightRole role) {
    auto [entry, inserted] = roles.try_emplace(symbol.getAttr(), role);
    if (!inserted) {
      entry->second = std::min(entry->second, role);
    }
  };
  auto noteOptional = [&](std::optional<StringRef> symbol, WeightRole role) {
    if (symbol) {
      note(FlatSymbolRefAttr::get(module.getContext(), *symbol), role);
    }
  };
  auto noteAll = [&](ArrayAttr symbols, WeightRole role = WeightRole::Expert) {
    for (Attribute symbol : symbols) {
      note(cast<FlatSymbolRefAttr>(symbol), role);
    }
  };
  module.walk([&](Operation *op) {
    llvm::TypeSwitch<Operation *>(op)
        .Case([&](EmbeddingOp embedding) { note(embedding.getWeightAttr(), WeightRole::Dense); })
        .Case([&](NormOp norm) {
          note(norm.getWeightAttr(), WeightRole::Vector);
          noteOptional(norm.getBias(), WeightRole::Vector);
        })
        .Case([&](LinearOp linear) {
          note(linear.getWeightAttr(), feedsRouter(linear) ? WeightRole::Router : WeightRole::Dense);
          noteOptional(linear.getBias(), WeightRole::Vector);
        })
        .Case([&](AttentionOp attention) { noteOptional(attention.getSinks(), WeightRole::Vector); })
        .Case([&](ShortConvOp conv) {
          note(conv.getWeightAttr(), WeightRole::Vector);
          noteOptional(conv.getBias(), WeightRole::Vector);
        })
        .Case([&](DeltaNetOp net) {
          note(net.getDecayAttr(), WeightRole::Vector);
          noteOptional(net.getDecayBias(), WeightRole::Vector);
        })
        .Case([&](RouteOp route) {
          noteOptional(route.getSelectionBias(), WeightRole::Vector);
          noteOptional(route.getExpertScale(), WeightRole::Vector);
        })
        .Case([&](MoeOp moe) {
          if (auto gate = moe.getGate()) {
            noteAll(*gate);
          }
          noteAll(moe.getUp());
          noteAll(moe.getDown());
          for (auto biases : {moe.getGateBias(), moe.getUpBias(), moe.getDownBias()}) {
            if (biases) {
              noteAll(*biases, WeightRole::Vector);
            }
          }
        });
  });
  return roles;
}

LayoutAttr layoutOfBits(unsigned bits, Type element, unsigned group) {
  MLIRContext *context = element.getContext();
  if (bits >= 16) {
    // Sixteen-bit weights keep the file's own sixteen-bit type: bfloat16's range does not fit float16.
    FloatType type = bits == 32 ? FloatType::F32 : element.isBF16() ? FloatType::BF16 : FloatType::F16;
    return LayoutAttr::get(context, bits, type, 0, ZeroPoint::Symmetric, Codebook::Integer, 16);
  }
  Codebook codebook = bits == kTernaryBits ? Codebook::Ternary : bits <= 3 ? Codebook::Centred : Codebook::Integer;
  return LayoutAttr::get(context, bits == kTernaryBits ? 2 : bits, FloatType::F16, group ? group : defaultGroup(bits),
                         ZeroPoint::Symmetric, codebook, 16);
}

LayoutAttr chooseLayout(WeightRole role, Type element, const QuantiseOptions &options) {
  if (role == WeightRole::Vector) {
    return LayoutAttr::get(element.getContext(), 32, FloatType::F32, 0, ZeroPoint::Symmetric, Codebook::Integer, 1);
  }
  if (options.lossless) {
    return layoutOfBits(element.isF16() || element.isBF16() ? 16 : 32, element);
  }
  switch (role) {
  case WeightRole::Router:
    return layoutOfBits(32, element);
  case WeightRole::Dense:
    return layoutOfBits(options.denseBits, element);
  default:
    return layoutOfBits(options.expertBits, element, options.group);
  }
}

// Are all zero points of a matrix of 4 bits `middle`? They are packed without gaps, or bytes.
static bool allZeros(const QuantisedMatrix &matrix, const WeightStore &store, float middle) {
  StringRef file = matrix.zeros.getFile().getValue();
  auto bytes = store.bytes(std::string_view(file.data(), file.size()));
  const uint64_t first = matrix.zeros.getOffset(), width = storageBits(matrix.zeros.getElement());
  const uint64_t bits = (matrix.rows + matrix.rowBlock - 1) / matrix.rowBlock * matrix.zeroRow * width;
  if ((width != 4 && width != 8) || bits % 8 != 0 || !bytes.ok() || first + bits / 8 > bytes->size()) {
    return false;
  }
  const int code = static_cast<int>(middle) & 15, wanted = width == 4 ? code | code << 4 : code;
  return llvm::all_of(bytes->subspan(first, bits / 8), [&](uint8_t byte) { return byte == wanted; });
}

unsigned keptBits(WeightOp weight, const WeightStore &store, unsigned group) {
  StringRef file = weight.getSource().getFile().getValue();
  const QuantisedMatrix *matrix = store.quantised(std::string_view(file.data(), file.size()));
  ArrayRef<int64_t> strides = weight.getSource().getStrides();
  if (!matrix || matrix->columnBlock < 1 || strides.size() != 2 || strides[1] != 1) {
    return 0;
  }
  // Blocks of whole groups, or one for each row.
  const int64_t wide = group ? group : defaultGroup(4);
  if (matrix->columnBlock % wide != 0 && matrix->columnBlock < matrix->columns) {
    return 0;
  }
  Type element = matrix->codes.getElement();
  const unsigned bits = storageBits(element);
  if (!isa<IntegerType>(element)) {
    return bits == 4 ? 8 : 0; // float4 (MXFP4): halves, up to 6 in magnitude
  }
  const float middle = element.isUnsignedInteger() ? static_cast<float>(1 << (bits - 1)) : 0;
  const bool symmetric = matrix->zeros ? bits == 4 && allZeros(*matrix, store, middle) : matrix->zero == middle;
  return bits == 8 || (bits == 4 && !symmetric) ? 8 : bits == 4 || bits == 2 ? 4 : 0;
}

LogicalResult quantise(ModuleOp module, const QuantiseOptions &options, const WeightStore *store) {
  constexpr unsigned kBits[] = {32, 16, 8, 4, 3, 2}, kGroups[] = {0, 32, 64, 128, 256};
  if (!llvm::is_contained(kBits, options.expertBits) && options.expertBits != kTernaryBits) {
    return module.emitError() << "expert-bits (" << options.expertBits
                              << ") is not a width that kernels have; use 32, 16, 8, 4, 3, 2 or " << kTernaryBits
                              << " (ternary)";
  }
  if (!llvm::is_contained(kBits, options.denseBits)) {
    return module.emitError() << "dense-bits (" << options.denseBits
                              << ") is not a width that kernels have; use 32, 16, 8, 4, 3 or 2";
  }
  if (!llvm::is_contained(kGroups, options.group)) {
    return module.emitError() << "group (" << options.group << ") is not supported; use 32, 64, 128 or 256";
  }
  auto roles = findWeightRoles(module);
  // Experts have one layout: the widest that any needs, if all can be kept.
  unsigned ofExperts = 0;
  bool allKept = true;
  for (WeightOp weight : module.getOps<WeightOp>()) {
    auto role = roles.find(weight.getSymNameAttr());
    if (store && role != roles.end() && role->second == WeightRole::Expert) {
      const unsigned kept = keptBits(weight, *store, options.group);
      allKept &= kept != 0;
      ofExperts = std::max(ofExperts, kept);
    }
  }
  ofExperts = allKept ? ofExperts : 0;
  if (!options.lossless && !options.adapted && ofExperts > options.expertBits) {
    module.emitRemark() << "the experts' codes in the file need " << ofExperts << " bits; they are rounded again to "
                        << options.expertBits << (options.expertBits == kTernaryBits ? " (ternary)" : "")
                        << "; --bits " << ofExperts << " keeps them";
  }
  for (WeightOp weight : module.getOps<WeightOp>()) {
    auto role = roles.find(weight.getSymNameAttr());
    if (role == roles.end()) {
      return weight.emitOpError("is used by no op: raising lost what it was for");
    }
    QuantiseOptions own = options;
    if (store && !options.lossless && role->second == WeightRole::Dense) {
      const unsigned kept = keptBits(weight, *store, 0);
      own.denseBits = kept && kept <= options.denseBits ? kept : options.denseBits;
    }
    if (ofExperts && ofExperts <= options.expertBits && options.expertBits < 16) {
      own.expertBits = ofExperts;
    }
    weight.setLayoutAttr(chooseLayout(role->second, weight.getSource().getElement(), own));
  }
  return success();
}

namespace {

class QuantisePass : public PassWrapper<QuantisePass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(QuantisePass)
  QuantisePass() = default;
  QuantisePass(const QuantisePass &other) : PassWrapper(other) {}
  StringRef getArgument() const override { return "quantise"; }
  StringRef getDescription() const override {
    return "Give every weight a layout: one width for experts, one for dense weights, float32 for routers and vectors";
  }
  void runOnOperation() override {
    if (failed(quantise(getOperation(), {expertBits, denseBits, group, lossless}))) {
      signalPassFailure();
    }
  }

private:
  Option<unsigned> expertBits{*this, "expert-bits", llvm::cl::desc("32, 16, 8, 4, 3, 2 or 1: ternary (default 4)"),
                              llvm::cl::init(4)};
  Option<unsigned> denseBits{*this, "dense-bits", llvm::cl::desc("32, 16, 8, 4, 3 or 2 (default 8)"), llvm::cl::init(8)};
  Option<unsigned> group{*this, "group", llvm::cl::desc("columns that share a scale in experts (0: by their width)"),
                         llvm::cl::init(0)};
  Option<bool> lossless{*this, "lossless", llvm::cl::desc("keep the file's own float types"), llvm::cl::init(false)};
};

} // namespace

void registerQuantisePasses() { PassRegistration<QuantisePass>(); }

} // namespace emoe
