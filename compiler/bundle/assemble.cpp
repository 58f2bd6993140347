#include "compiler/bundle/assemble.h"

#include <cstring>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/pack.h"
#include "compiler/partition/partition.h"
#include "llvm/ADT/MapVector.h"
#include "mlir/IR/Builders.h"
#include "schema/kernel_abi.h"

using namespace mlir;

namespace emoe {
namespace {

fb::Layout toSchema(LayoutAttr layout) {
  return fb::Layout(layout.getBits(), static_cast<fb::FloatType>(layout.getType()),
                    static_cast<fb::ZeroPoint>(layout.getZeroPoint()),
                    static_cast<fb::Codebook>(layout.getCodebook()), layout.getGroup(), layout.getPanel());
}

// One matrix, panel by panel: reads rows, packs them, moves on.
class PanelPacker {
public:
  PanelPacker(WeightOp weight, const WeightStore &store)
      : weight(weight), store(store), layout(*weight.getLayout()), rows(weight.getShape()[0]),
        columns(weight.getShape()[1]), values(EMOE_PANEL_ROWS * columns) {}

  int64_t panels() const { return (rows + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS; }
  uint64_t bytes() const { return panelBytes(layout, columns); }

  absl::Status pack(int64_t panel, uint8_t *out) {
    int64_t first = panel * EMOE_PANEL_ROWS;
    int64_t count = std::min<int64_t>(EMOE_PANEL_ROWS, rows - first);
    absl::Status status = store.read(weight.getSource(), columns, first, count, values.data());
    if (status.ok()) {
      status = packPanel(layout, values.data(), count, columns, out);
    }
    return status.ok() ? status
                       : absl::Status(status.code(), absl::StrCat("weight ", weight.getSymName().str(), ", rows from ",
                                                                  first, ": ", status.message()));
  }
  void release() { store.release(weight.getSource(), rows, columns); }

private:
  WeightOp weight;
  const WeightStore &store;
  LayoutAttr layout;
  int64_t rows, columns;
  std::vector<float> values;
};

absl::Status packTensor(WeightOp weight, const WeightStore &store, uint8_t *out, uint64_t bytes) {
  LayoutAttr layout = *weight.getLayout();
  if (layout.getPanel() == 1) {
    int64_t rows = weight.getShape()[0], columns = weight.getShape()[1];
    std::vector<float> values(rows * columns);
    if (absl::Status status = store.read(weight.getSource(), columns, 0, rows, values.data()); !status.ok()) {
      return status;
    }
    std::memset(out, 0, bytes);
    std::memcpy(out, values.data(), values.size() * sizeof(float));
    return absl::OkStatus();
  }
  PanelPacker packer(weight, store);
  for (int64_t panel = 0; panel < packer.panels(); ++panel) {
    if (absl::Status status = packer.pack(panel, out + panel * packer.bytes()); !status.ok()) {
      return status;
    }
  }
  packer.release();
  return absl::OkStatus();
}

// An expert's weights: gate (null if not gated), up, down.
struct ExpertWeights {
  WeightOp gate, up, down;
};

absl::Status packRecord(const ExpertWeights &expert, VariantAttr variant, const WeightStore &store, uint8_t *out) {
  std::memset(out, 0, variant.getBytes());
  uint8_t *at = out;
  PanelPacker up(expert.up, store);
  std::optional<PanelPacker> gate;
  if (expert.gate) {
    gate.emplace(expert.gate, store);
  }
  for (int64_t panel = 0; panel < up.panels(); ++panel) {
    for (PanelPacker *packer : {gate ? &*gate : nullptr, &up}) {
      if (!packer) {
        continue;
      }
      if (absl::Status status = packer->pack(panel, at); !status.ok()) {
        return status;
      }
      at += packer->bytes();
    }
  }
  PanelPacker down(expert.down, store);
  at = out + variant.getDownOffset();
  for (int64_t panel = 0; panel < down.panels(); ++panel, at += down.bytes()) {
    if (absl::Status status = down.pack(panel, at); !status.ok()) {
      return status;
    }
  }
  up.release();
  down.release();
  if (gate) {
    gate->release();
  }
  return absl::OkStatus();
}

class Assembler {
public:
  Assembler(ModuleOp module, const WeightStore &store, const AssembleOptions &options)
      : module(module), store(store), options(options) {}

  absl::StatusOr<BundleContents> run();

private:
  absl::Status addModel();
  void addTensors();
  absl::Status addKernels();
  absl::Status addProgram();
  absl::Status addExperts();
  absl::Status addImages();
  absl::StatusOr<std::vector<fb::Operand>> operands(Operation *op, ArrayAttr list);

  ModuleOp module;
  const WeightStore &store;
  const AssembleOptions &options;
  BundleContents contents;
  fb::BundleT &index = contents.index;

  std::vector<WeightOp> residents;
  std::vector<TableOp> tables;
  llvm::StringMap<uint32_t> tensorIndex, kernelIndex;
  std::vector<KernelSpec> specs;
  std::vector<std::vector<ExpertWeights>> experts;  // [layer][expert]
  std::vector<std::vector<VariantAttr>> variants;   // [layer][expert]
};

absl::Status Assembler::addModel() {
  index.model = std::make_unique<fb::ModelT>();
  fb::ModelT &model = *index.model;
  model.architecture = options.facts.architecture;
  auto facts = module->getAttrOfType<DictionaryAttr>("emoe.model");
  if (!facts) {
    return absl::InternalError("the module has no emoe.model facts: raise sets them");
  }
  for (auto [name, field] : {std::pair("vocab", &model.vocab), {"hidden", &model.hidden}, {"layers", &model.layers}}) {
    auto value = facts.getAs<IntegerAttr>(name);
    if (!value) {
      return absl::InternalError(absl::StrCat("emoe.model has no ", name));
    }
    *field = value.getInt();
  }
  constexpr uint32_t kLongestContext = 1u << 20;  // FORMAT.md, limits
  model.context = options.facts.context ? std::min<int64_t>(options.facts.context, kLongestContext) : kLongestContext;
  model.first_token = options.facts.firstToken;
  model.stop_tokens = options.facts.stopTokens;
  for (int32_t token : options.facts.stopTokens) {
    if (token >= static_cast<int32_t>(model.vocab)) {
      return absl::InvalidArgumentError(absl::StrCat("the configuration's stop token ", token,
                                                     " is not in the vocabulary of ", model.vocab));
    }
  }
  for (WeightOp weight : module.getOps<WeightOp>()) {
    model.parameters += weight.getShape()[0] * weight.getShape()[1];
  }
  index.plan = std::make_unique<fb::PlanT>();
  index.plan->context = std::min(options.defaultContext, model.context);
  index.plan->chunk = options.defaultChunk;
  index.plan->policy = "lfu";
  index.provenance = std::make_unique<fb::ProvenanceT>();
  index.provenance->producer = "emoec 0.1.0";
  index.provenance->source = options.source;
  index.provenance->source_hash = options.sourceHash;
  index.provenance->options = options.options;
  return absl::OkStatus();
}

void Assembler::addTensors() {
  auto add = [&](StringRef name, int64_t rows, int64_t columns, LayoutAttr layout) {
    auto tensor = std::make_unique<fb::TensorT>();
    tensor->name = name.str();
    tensor->rows = rows;
    tensor->columns = columns;
    tensor->bytes = packedBytes(layout, rows, columns);
    tensor->layout = std::make_unique<fb::Layout>(toSchema(layout));
    tensorIndex[name] = index.tensors.size();
    index.tensors.push_back(std::move(tensor));
  };
  for (WeightOp weight : module.getOps<WeightOp>()) {
    if (isa<StringAttr>(*weight.getPlacement())) {
      residents.push_back(weight);
      add(weight.getSymName(), weight.getShape()[0], weight.getShape()[1], *weight.getLayout());
    }
  }
  auto plain = LayoutAttr::get(module.getContext(), 32, FloatType::F32, 0, ZeroPoint::Symmetric, Codebook::Integer, 1);
  for (TableOp table : module.getOps<TableOp>()) {
    tables.push_back(table);
    add(table.getSymName(), 1, table.getValues().size(), plain);
  }
}

absl::Status Assembler::addKernels() {
  for (KernelOp op : module.getOps<KernelOp>()) {
    absl::StatusOr<KernelSpec> spec = specFromAttr(op.getSpec());
    if (!spec.ok()) {
      return spec.status();
    }
    auto kernel = std::make_unique<fb::KernelT>();
    kernel->name = op.getSymName().str();
    for (const OperandExtent &extent : operandExtents(*spec)) {
      kernel->extents.emplace_back(extent.fixed, extent.perToken, extent.perPosition);
    }
    TileCount tiles = tileCount(*spec);
    kernel->tiles_fixed = tiles.fixed;
    kernel->tiles_per_token = tiles.perToken;
    kernelIndex[op.getSymName()] = index.kernels.size();
    index.kernels.push_back(std::move(kernel));
    specs.push_back(*spec);
  }
  return absl::OkStatus();
}

absl::StatusOr<std::vector<fb::Operand>> Assembler::operands(Operation *op, ArrayAttr list) {
  std::vector<fb::Operand> result;
  for (Attribute attr : list) {
    if (auto operand = dyn_cast<OperandAttr>(attr)) {
      result.emplace_back(static_cast<fb::OperandKind>(operand.getKind()), operand.getIndex());
      continue;
    }
    StringRef name = cast<FlatSymbolRefAttr>(attr).getValue();
    auto tensor = tensorIndex.find(name);
    if (tensor == tensorIndex.end()) {
      return absl::InternalError(absl::StrCat("a step uses ", name.str(), ", which is not resident"));
    }
    result.emplace_back(fb::OperandKind::Tensor, tensor->second);
  }
  return result;
}

absl::Status Assembler::addProgram() {
  auto programs = module.getOps<ProgramOp>();
  if (programs.empty()) {
    return absl::InternalError("the module has no program: run schedule first");
  }
  ProgramOp program = *programs.begin();
  index.logits = program.getLogits();
  ArrayRef<int64_t> caches = program.getCaches();
  for (size_t i = 0; i < caches.size(); i += 2) {
    index.kv_layers.emplace_back(caches[i], caches[i + 1]);
  }
  for (Operation &op : program.getBody().front()) {
    if (auto buffer = dyn_cast<BufferOp>(op)) {
      index.buffers.emplace_back(buffer.getFixed(), buffer.getPerToken(), buffer.getSlot(),
                                 buffer.getWanted() ? fb::Rows::Wanted : fb::Rows::All);
      continue;
    }
    auto step = std::make_unique<fb::StepT>();
    auto call = dyn_cast<CallOp>(op);
    auto run = dyn_cast<RunExpertsOp>(op);
    absl::StatusOr<std::vector<fb::Operand>> list = operands(&op, call ? call.getOperands() : run.getOperands());
    if (!list.ok()) {
      return list.status();
    }
    step->operands = std::move(*list);
    if (call) {
      step->kind = fb::StepKind::Kernel;
      step->kernel = kernelIndex.lookup(call.getKernel());
      step->rows = call.getWanted() ? fb::Rows::Wanted : fb::Rows::All;
    } else {
      step->kind = fb::StepKind::Experts;
      step->layer = run.getLayer();
    }
    index.steps.push_back(std::move(step));
  }
  return absl::OkStatus();
}

absl::Status Assembler::addExperts() {
  llvm::DenseMap<std::pair<int64_t, int64_t>, ExpertWeights> weights;
  for (WeightOp weight : module.getOps<WeightOp>()) {
    if (auto record = dyn_cast<RecordAttr>(*weight.getPlacement())) {
      ExpertWeights &expert = weights[{record.getLayer(), record.getExpert()}];
      (record.getPart() == ExpertPart::Gate ? expert.gate
       : record.getPart() == ExpertPart::Up ? expert.up
                                            : expert.down) = weight;
    }
  }
  std::map<int64_t, RunExpertsOp> runs;
  module.walk([&](RunExpertsOp run) { runs.insert({run.getLayer(), run}); });
  for (RecordsOp records : module.getOps<RecordsOp>()) {
    int64_t layerNumber = records.getLayer();
    auto run = runs.find(layerNumber);
    if (run == runs.end() || layerNumber != static_cast<int64_t>(index.moe_layers.size())) {
      return absl::InternalError(absl::StrCat("mixture layer ", layerNumber, " is out of order or never runs"));
    }
    auto layer = std::make_unique<fb::MoeLayerT>();
    layer->experts = records.getVariantOf().size();
    layer->top_k = run->second.getTopK();
    for (auto [attr, kernels] : llvm::zip_equal(records.getVariants(), run->second.getKernels())) {
      auto variantAttr = cast<VariantAttr>(attr);
      auto variant = std::make_unique<fb::VariantT>();
      auto names = cast<ArrayAttr>(kernels);
      variant->gate_up_kernel = kernelIndex.lookup(cast<FlatSymbolRefAttr>(names[0]).getValue());
      variant->down_kernel = kernelIndex.lookup(cast<FlatSymbolRefAttr>(names[1]).getValue());
      variant->gate_up_offset = 0;
      variant->down_offset = variantAttr.getDownOffset();
      variant->record_bytes = variantAttr.getBytes();
      variant->chunk_ends.assign(variantAttr.getChunkEnds().begin(), variantAttr.getChunkEnds().end());
      variant->activations = specs[variant->gate_up_kernel].quantizedActivations ? fb::Activations::Q8
                                                                                 : fb::Activations::F32;
      variant->layout = std::make_unique<fb::Layout>(toSchema(variantAttr.getLayout()));
      layer->variants.push_back(std::move(variant));
    }
    std::vector<ExpertWeights> layerExperts;
    std::vector<VariantAttr> layerVariants;
    for (auto [expert, variant] : llvm::enumerate(records.getVariantOf())) {
      layer->records.emplace_back(0, 0, variant);
      const ExpertWeights &own = weights[{layerNumber, static_cast<int64_t>(expert)}];
      if (!own.up || !own.down) {
        return absl::InternalError(absl::StrCat("expert ", expert, " of layer ", layerNumber, " has no weights"));
      }
      layerExperts.push_back(own);
      layerVariants.push_back(cast<VariantAttr>(records.getVariants()[variant]));
    }
    experts.push_back(std::move(layerExperts));
    variants.push_back(std::move(layerVariants));
    index.moe_layers.push_back(std::move(layer));
  }
  return absl::OkStatus();
}

absl::Status Assembler::addImages() {
  for (const Target *target : options.targets) {
    absl::StatusOr<KernelImage> image = compileImage(specs, *target, *module.getContext(), options.image);
    if (!image.ok()) {
      return image.status();
    }
    auto entry = std::make_unique<fb::KernelImageT>();
    entry->isa = target->name;
    entry->machine = target->machine;
    entry->features = target->cpuFeatures;
    entry->bytes = image->elf.size();
    entry->entries = image->entries;
    index.images.push_back(std::move(entry));
    contents.images.push_back(std::move(image->elf));
  }
  return absl::OkStatus();
}

absl::StatusOr<BundleContents> Assembler::run() {
  addTensors();
  for (absl::Status (Assembler::*part)() : {&Assembler::addModel, &Assembler::addKernels, &Assembler::addProgram,
                                            &Assembler::addExperts, &Assembler::addImages}) {
    if (absl::Status status = (this->*part)(); !status.ok()) {
      return status;
    }
  }
  contents.tokenizer = options.tokenizer;
  contents.tensor = [residents = residents, tables = tables, &store = store](size_t i, uint8_t *out) mutable {
    if (i < residents.size()) {
      WeightOp weight = residents[i];
      return packTensor(weight, store, out, packedBytes(*weight.getLayout(), weight.getShape()[0], weight.getShape()[1]));
    }
    ArrayRef<float> values = tables[i - residents.size()].getValues();
    std::memcpy(out, values.data(), values.size() * sizeof(float));
    std::memset(out + values.size() * sizeof(float), 0, -(values.size() * sizeof(float)) % 64);
    return absl::OkStatus();
  };
  contents.record = [experts = experts, variants = variants, &store = store](size_t layer, size_t expert,
                                                                             uint8_t *out) {
    return packRecord(experts[layer][expert], variants[layer][expert], store, out);
  };
  return std::move(contents);
}

} // namespace

absl::StatusOr<BundleContents> assemble(ModuleOp module, const WeightStore &store, const AssembleOptions &options) {
  return Assembler(module, store, options).run();
}

} // namespace emoe
