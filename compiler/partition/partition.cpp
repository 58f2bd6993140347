#include "compiler/partition/partition.h"

#include "compiler/codegen/pack.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/Support/MathExtras.h"
#include "mlir/IR/Builders.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassRegistry.h"
#include "schema/format.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {

static constexpr const char *kDownLayouts = "down_layouts";

LayoutAttr downLayout(RecordsOp records, size_t variant) {
  auto layouts = records->getAttrOfType<ArrayAttr>(kDownLayouts);
  return layouts && variant < layouts.size() ? cast<LayoutAttr>(layouts[variant])
                                             : cast<VariantAttr>(records.getVariants()[variant]).getLayout();
}

void setDownLayouts(RecordsOp records, ArrayRef<LayoutAttr> layouts) {
  SmallVector<Attribute> all(layouts.begin(), layouts.end());
  bool differ = false;
  for (auto [variant, layout] : llvm::zip_equal(records.getVariants(), layouts)) {
    differ |= cast<VariantAttr>(variant).getLayout() != layout;
  }
  if (differ) {
    records->setAttr(kDownLayouts, ArrayAttr::get(records.getContext(), all));
  } else {
    records->removeAttr(kDownLayouts);
  }
}

VariantAttr layOutRecord(const ExpertShape &shape, LayoutAttr layout, LayoutAttr down) {
  down = down ? down : layout;
  const int64_t gateUpPanel = panelBytes(layout, shape.model);
  const int64_t matrices = shape.gated ? 2 : 1;
  const int64_t gateUpBytes = packedBytes(layout, shape.hidden, shape.model) * matrices +
                              (shape.biased ? biasBytes(shape.hidden) * matrices : 0);
  const int64_t downOffset = llvm::alignTo(gateUpBytes, 64);
  const int64_t downPanel = panelBytes(down, shape.hidden);
  const int64_t end = downOffset + packedBytes(down, shape.model, shape.hidden) +
                      (shape.biased ? biasBytes(shape.model) : 0);
  const int64_t bytes = llvm::alignTo(end, EMOE_SECTION_ALIGN);

  SmallVector<int64_t> borders;  // where a chunk may end
  for (int64_t at = gateUpPanel; at <= gateUpBytes; at += gateUpPanel) {
    borders.push_back(at);
  }
  for (int64_t at = downOffset + downPanel; at <= end; at += downPanel) {
    borders.push_back(at);
  }
  borders.push_back(bytes);

  SmallVector<int64_t> ends;
  int64_t start = 0, last = 0;
  for (int64_t border : borders) {
    if (border - start > EMOE_CHUNK_BYTES) {
      if (last > start) {
        ends.push_back(start = last);
      }
      while (border - start > EMOE_CHUNK_BYTES) {
        ends.push_back(start += EMOE_CHUNK_BYTES);
      }
    }
    last = border;
  }
  ends.push_back(bytes);
  return VariantAttr::get(layout.getContext(), layout, downOffset, bytes, ends);
}

static bool isBiased(MoeOp moe) { return moe.getGateBias() || moe.getUpBias() || moe.getDownBias(); }

// The weights of one expert, in the order gate (if gated), up, down.
static SmallVector<WeightOp, 3> expertWeights(MoeOp moe, size_t expert, const SymbolTable &symbols) {
  SmallVector<WeightOp, 3> weights;
  auto add = [&](ArrayAttr list) {
    weights.push_back(symbols.lookup<WeightOp>(cast<FlatSymbolRefAttr>(list[expert]).getValue()));
  };
  if (moe.getGate()) {
    add(*moe.getGate());
  }
  add(moe.getUp());
  add(moe.getDown());
  return weights;
}

static LogicalResult checkWeights(MoeOp moe, size_t expert, ArrayRef<WeightOp> weights) {
  for (WeightOp weight : weights) {
    if (!weight) {
      return moe.emitOpError("expert ") << expert << " names a weight that does not exist";
    }
  }
  return success();
}

FailureOr<ExpertShape> expertShape(MoeOp moe, SymbolTable &symbols) {
  std::optional<ExpertShape> shape;
  for (size_t expert = 0; expert < moe.getUp().size(); ++expert) {
    SmallVector<WeightOp, 3> weights = expertWeights(moe, expert, symbols);
    if (failed(checkWeights(moe, expert, weights))) {
      return failure();
    }
    WeightOp up = weights[weights.size() - 2];
    ExpertShape own{up.getShape()[1], up.getShape()[0], moe.getGate().has_value(), isBiased(moe)};
    if (!shape) {
      shape = own;
    }
    if (own.model != shape->model || own.hidden != shape->hidden) {
      return moe.emitOpError("expert ") << expert << " has shape [" << own.hidden << ", " << own.model
                                        << "], expert 0 has [" << shape->hidden << ", " << shape->model << "]";
    }
  }
  return *shape;
}

LogicalResult partitionExperts(ModuleOp module) {
  MLIRContext *context = module.getContext();
  SymbolTable symbols(module);
  // Decide: the record of every expert weight, and the variants of each layer.
  llvm::MapVector<Operation *, Attribute> placements;
  struct LayerDecision {
    MoeOp moe;
    SmallVector<Attribute> variants;
    SmallVector<LayoutAttr> down;  // of each variant
    SmallVector<int32_t> variantOf;
  };
  SmallVector<LayerDecision> layers;
  WalkResult walk = module.walk([&](MoeOp moe) -> WalkResult {
    FailureOr<ExpertShape> shape = expertShape(moe, symbols);
    if (failed(shape)) {
      return failure();
    }
    LayerDecision layer{moe, {}, {}, {}};
    for (size_t expert = 0; expert < moe.getUp().size(); ++expert) {
      SmallVector<WeightOp, 3> weights = expertWeights(moe, expert, symbols);
      std::optional<LayoutAttr> layout = weights.front().getLayout();
      for (auto [index, weight] : llvm::enumerate(weights)) {
        if (!weight.getLayout()) {
          return weight.emitOpError("has no layout: run quantise first");
        }
        const bool isDown = index + 1 == weights.size();
        if (!isDown && *weight.getLayout() != *layout) {
          return weight.emitOpError("has another layout than its expert's gate: a record has one for gate and up");
        }
        if (isDown && weight.getLayout()->hasScales() != layout->hasScales()) {
          return weight.emitOpError("has floats or codes where its expert's gate and up have the other: the rows between "
                                    "them have one format");
        }
        auto part = static_cast<ExpertPart>(index + 3 - weights.size());
        auto record = RecordAttr::get(context, moe.getLayer(), expert, part);
        if (!placements.insert({weight, record}).second && placements[weight] != record) {
          return weight.emitOpError("has two places in experts; each needs its own copy of the weight");
        }
      }
      for (auto [list, part] : {std::pair(moe.getGateBias(), ExpertPart::GateBias),
                                {moe.getUpBias(), ExpertPart::UpBias},
                                {moe.getDownBias(), ExpertPart::DownBias}}) {
        if (!list) {
          continue;
        }
        auto bias = symbols.lookup<WeightOp>(cast<FlatSymbolRefAttr>((*list)[expert]).getValue());
        auto record = RecordAttr::get(context, moe.getLayer(), expert, part);
        if (!bias || (!placements.insert({bias, record}).second && placements[bias] != record)) {
          return moe.emitOpError("expert ") << expert << " has a bias that does not exist or has two places in experts";
        }
      }
      const LayoutAttr down = *weights.back().getLayout();
      Attribute variant = layOutRecord(*shape, *layout, down);
      size_t known = 0;
      while (known < layer.variants.size() && (layer.variants[known] != variant || layer.down[known] != down)) {
        ++known;
      }
      layer.variantOf.push_back(static_cast<int32_t>(known));
      if (known == layer.variants.size()) {
        layer.variants.push_back(variant);
        layer.down.push_back(down);
      }
    }
    layers.push_back(std::move(layer));
    return success();
  });
  if (walk.wasInterrupted()) {
    return failure();
  }
  // Apply.
  for (WeightOp weight : module.getOps<WeightOp>()) {
    auto placed = placements.find(weight);
    weight.setPlacementAttr(placed == placements.end() ? StringAttr::get(context, "resident") : placed->second);
  }
  OpBuilder builder = OpBuilder::atBlockEnd(module.getBody());
  for (LayerDecision &layer : layers) {
    auto records = builder.create<RecordsOp>(layer.moe.getLoc(), layer.moe.getLayer(),
                                             builder.getArrayAttr(layer.variants), layer.variantOf);
    setDownLayouts(records, layer.down);
  }
  return success();
}

namespace {

class PartitionExpertsPass : public PassWrapper<PartitionExpertsPass, OperationPass<ModuleOp>> {
public:
  MLIR_DEFINE_EXPLICIT_INTERNAL_INLINE_TYPE_ID(PartitionExpertsPass)
  StringRef getArgument() const override { return "partition-experts"; }
  StringRef getDescription() const override {
    return "Place every weight: in the resident set, or in the record of its expert";
  }
  void runOnOperation() override {
    if (failed(partitionExperts(getOperation()))) {
      signalPassFailure();
    }
  }
};

} // namespace

void registerPartitionPasses() { PassRegistration<PartitionExpertsPass>(); }

} // namespace emoe
