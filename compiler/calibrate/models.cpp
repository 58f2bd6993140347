#include "compiler/calibrate/models.h"

#include <cstring>
#include <map>
#include <mutex>
#include <tuple>

#include "compiler/bundle/experts.h"
#include "compiler/partition/partition.h"
#include "compiler/schedule/schedule.h"
#include "mlir/IR/Builders.h"

using namespace mlir;

namespace emoe {
namespace {

// A module of our own, as long as any callback needs it.
using SharedModule = std::shared_ptr<OwningOpRef<ModuleOp>>;

// Variants instead of the layers' own, every expert in the first. `downs`: parallel to the layouts.
void setVariants(ModuleOp module, const std::map<int64_t, ExpertShape> &shapes, ArrayRef<LayoutAttr> layouts,
                 ArrayRef<LayoutAttr> downs) {
  Builder builder(module.getContext());
  for (RecordsOp records : module.getOps<RecordsOp>()) {
    SmallVector<Attribute> variants;
    for (auto [layout, down] : llvm::zip_equal(layouts, downs)) {
      variants.push_back(layOutRecord(shapes.at(records.getLayer()), layout, down));
    }
    records.setVariantsAttr(builder.getArrayAttr(variants));
    records.setVariantOf(SmallVector<int32_t>(records.getVariantOf().size(), 0));
    setDownLayouts(records, downs);
  }
}

FailureOr<std::map<int64_t, ExpertShape>> shapesOf(ModuleOp module) {
  std::map<int64_t, ExpertShape> shapes;
  SymbolTable symbols(module);
  WalkResult walk = module.walk([&](MoeOp moe) -> WalkResult {
    FailureOr<ExpertShape> shape = expertShape(moe, symbols);
    if (failed(shape)) {
      return failure();
    }
    shapes[moe.getLayer()] = *shape;
    return success();
  });
  if (walk.wasInterrupted()) {
    return failure();
  }
  return shapes;
}

absl::StatusOr<std::unique_ptr<LiveBundle>> makeLive(const SharedModule &module, const WeightStore &store,
                                                     const LiveOptions &options, const ScheduleOptions &program,
                                                     LiveBundle::PackRecord pack) {
  if (failed(schedule(**module, program))) {
    return absl::InternalError("the model cannot be scheduled for calibration");
  }
  AssembleOptions assembly;
  assembly.facts = options.facts;
  assembly.targets = {options.target};
  absl::StatusOr<BundleContents> contents = assemble(**module, store, assembly);
  if (!contents.ok()) {
    return contents.status();
  }
  contents->tensor = [module, tensor = std::move(contents->tensor)](size_t i, uint8_t *out) { return tensor(i, out); };
  if (!pack) {
    pack = [record = contents->record](size_t layer, size_t expert, size_t, uint8_t *out) {
      return record(layer, expert, out);
    };
  }
  return LiveBundle::open(std::move(*contents), std::move(pack));
}

// Records that were packed once, up to a bound.
class PackedRecords {
public:
  PackedRecords(uint64_t most, LiveBundle::PackRecord pack, std::vector<std::vector<uint64_t>> bytes)
      : most(most), pack(std::move(pack)), bytes(std::move(bytes)) {}

  absl::Status get(size_t layer, size_t expert, size_t variant, uint8_t *out) {
    const auto key = std::make_tuple(layer, expert, variant);
    const uint64_t size = bytes[layer][variant];
    {
      std::lock_guard<std::mutex> lock(mutex);
      if (auto known = records.find(key); known != records.end()) {
        std::memcpy(out, known->second.data(), size);
        return absl::OkStatus();
      }
    }
    if (absl::Status status = pack(layer, expert, variant, out); !status.ok()) {
      return status;
    }
    std::lock_guard<std::mutex> lock(mutex);
    if (used + size <= most && records.try_emplace(key, out, out + size).second) {
      used += size;
    }
    return absl::OkStatus();
  }

private:
  std::mutex mutex;
  uint64_t most, used = 0;
  LiveBundle::PackRecord pack;
  std::vector<std::vector<uint64_t>> bytes; // [layer][variant]
  std::map<std::tuple<size_t, size_t, size_t>, std::vector<uint8_t>> records;
};

} // namespace

absl::StatusOr<std::unique_ptr<LiveBundle>> makeReference(ModuleOp raised, const WeightStore &store,
                                                          const LiveOptions &options) {
  auto module = std::make_shared<OwningOpRef<ModuleOp>>(raised.clone());
  QuantiseOptions lossless;
  lossless.lossless = true;
  if (failed(quantise(**module, lossless)) || failed(partitionExperts(**module))) {
    return absl::InternalError("the model cannot be quantised or parted for calibration");
  }
  return makeLive(module, store, options, {/*exact=*/true}, {});
}

absl::StatusOr<std::unique_ptr<LiveBundle>>
makeCandidates(ModuleOp raised, const WeightStore &store, const LiveOptions &options, const QuantiseOptions &dense,
               const std::vector<LayoutAttr> &layouts, uint64_t cacheBytes, LiveBundle::PackRecord pack,
               Rounder *rounder, std::vector<LayoutAttr> downs) {
  if (downs.empty()) {
    downs = layouts;
  }
  auto module = std::make_shared<OwningOpRef<ModuleOp>>(raised.clone());
  FailureOr<std::map<int64_t, ExpertShape>> shapes = shapesOf(**module);
  if (failed(shapes) || failed(quantise(**module, dense)) || failed(partitionExperts(**module))) {
    return absl::InternalError("the model cannot be quantised or parted for candidates");
  }
  setVariants(**module, *shapes, layouts, downs);
  if (!pack) {
    absl::StatusOr<std::vector<std::vector<ExpertWeights>>> experts = findExperts(**module);
    if (!experts.ok()) {
      return experts.status();
    }
    std::vector<std::vector<VariantAttr>> variants;
    for (RecordsOp records : (*module)->getOps<RecordsOp>()) {
      auto range = records.getVariants().getAsRange<VariantAttr>();
      variants.emplace_back(range.begin(), range.end());
    }
    pack = [module, experts = std::move(*experts), variants = std::move(variants), downs,
            &store, rounder](size_t layer, size_t expert, size_t variant, uint8_t *out) {
      return emoe::packRecord(experts[layer][expert], variants[layer][variant], store, out, rounder,
                              downs[variant]);
    };
  }
  std::vector<std::vector<uint64_t>> bytes;
  for (RecordsOp records : (*module)->getOps<RecordsOp>()) {
    bytes.emplace_back();
    for (VariantAttr variant : records.getVariants().getAsRange<VariantAttr>()) {
      bytes.back().push_back(variant.getBytes());
    }
  }
  auto packed = std::make_shared<PackedRecords>(cacheBytes, std::move(pack), std::move(bytes));
  return makeLive(module, store, options, {options.exact, options.kvBits},
                  [packed](size_t layer, size_t expert, size_t variant, uint8_t *out) {
                    return packed->get(layer, expert, variant, out);
                  });
}

absl::StatusOr<std::vector<MomentShape>> momentShapes(ModuleOp raised) {
  std::map<int64_t, MomentShape> shapes;
  SymbolTable symbols(raised);
  WalkResult walk = raised.walk([&](MoeOp moe) -> WalkResult {
    FailureOr<ExpertShape> shape = expertShape(moe, symbols);
    if (failed(shape)) {
      return failure();
    }
    shapes[moe.getLayer()] = {shape->model, shape->hidden, moe.getUp().size()};
    return success();
  });
  if (walk.wasInterrupted()) {
    return absl::InternalError("the experts of a layer differ in shape");
  }
  std::vector<MomentShape> result;
  for (auto &[layer, shape] : shapes) {
    result.push_back(shape);
  }
  return result;
}

std::vector<TraceLayer> traceLayers(ModuleOp raised) {
  std::map<int64_t, TraceLayer> layers;
  raised.walk([&](MoeOp moe) {
    int64_t topK = cast<RankedTensorType>(moe.getIds().getType()).getDimSize(1);
    layers[moe.getLayer()] = {static_cast<uint32_t>(moe.getUp().size()), static_cast<uint32_t>(topK)};
  });
  std::vector<TraceLayer> result;
  for (auto &[number, layer] : layers) {
    result.push_back(layer);
  }
  return result;
}

} // namespace emoe
