#include "compiler/bundle/assemble.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "absl/strings/str_cat.h"
#include "compiler/bundle/experts.h"
#include "compiler/codegen/pack.h"
#include "compiler/partition/partition.h"
#include "llvm/ADT/MapVector.h"
#include "llvm/ADT/StringSet.h"
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

ArrayAttr lookAheadOperands(LookAheadOp op) {
  SmallVector<Attribute> all(op.getOperandsAttr().begin(), op.getOperandsAttr().end());
  all.append(op.getRouterOperandsAttr().begin(), op.getRouterOperandsAttr().end());
  if (op.getSelectionBias()) {
    all.push_back(op.getSelectionBiasAttr());
  }
  return ArrayAttr::get(op.getContext(), all);
}

class Assembler {
public:
  Assembler(ModuleOp module, const WeightStore &store, const AssembleOptions &options)
      : module(module), store(store), options(options) {}

  absl::StatusOr<BundleContents> run();

private:
  absl::Status addModel();
  llvm::StringSet<> lookedUp();
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

  std::vector<Operation *> residents; // WeightOp or TableOp, parallel to index.tensors
  llvm::StringMap<uint32_t> tensorIndex, kernelIndex;
  std::vector<KernelSpec> specs;
  std::vector<std::vector<ExpertWeights>> experts;  // [layer][expert]
  std::vector<std::vector<VariantAttr>> variants;   // [layer][expert]
  std::vector<std::vector<LayoutAttr>> downLayouts; // [layer][expert]
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
  if (auto positions = facts.getAs<IntegerAttr>("positions")) {
    model.positions = positions.getInt();
  }
  model.context = options.facts.context ? std::min<int64_t>(options.facts.context, kLongestContext) : kLongestContext;
  if (model.positions != 0) {
    model.context = std::min(model.context, model.positions);
  }
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

// Weights of which steps read nothing but rows of token ids.
llvm::StringSet<> Assembler::lookedUp() {
  llvm::StringSet<> embedding, other;
  auto note = [&](ArrayAttr list, bool embeds) {
    auto ids = list.empty() ? OperandAttr() : dyn_cast<OperandAttr>(list[0]);
    embeds &= ids && static_cast<fb::OperandKind>(ids.getKind()) == fb::OperandKind::TokenIds;
    for (auto [i, attr] : llvm::enumerate(list)) {
      if (auto name = dyn_cast<FlatSymbolRefAttr>(attr)) {
        (embeds && i == 1 ? embedding : other).insert(name.getValue());
      }
    }
  };
  llvm::StringSet<> embedKernels;
  for (KernelOp kernel : module.getOps<KernelOp>()) {
    absl::StatusOr<KernelSpec> spec = specFromAttr(kernel.getSpec());
    if (spec.ok() && spec->family == KernelFamily::Embed) {
      embedKernels.insert(kernel.getSymName());
    }
  }
  module.walk([&](Operation *op) {
    if (auto call = dyn_cast<CallOp>(op)) {
      note(call.getOperands(), embedKernels.contains(call.getKernel()));
    } else if (auto run = dyn_cast<RunExpertsOp>(op)) {
      note(run.getOperands(), false);
    } else if (auto ahead = dyn_cast<LookAheadOp>(op)) {
      note(lookAheadOperands(ahead), false);
    }
  });
  for (const auto &entry : other) {
    embedding.erase(entry.getKey());
  }
  return embedding;
}

// Tensors that the runtime need not keep in memory come last.
void Assembler::addTensors() {
  const llvm::StringSet<> paged = lookedUp();
  auto add = [&](Operation *op, StringRef name, int64_t rows, int64_t columns, LayoutAttr layout) {
    auto tensor = std::make_unique<fb::TensorT>();
    tensor->name = name.str();
    tensor->rows = rows;
    tensor->columns = columns;
    tensor->bytes = packedBytes(layout, rows, columns);
    tensor->layout = std::make_unique<fb::Layout>(toSchema(layout));
    tensor->paged = paged.contains(name);
    residents.push_back(op);
    tensorIndex[name] = index.tensors.size();
    index.tensors.push_back(std::move(tensor));
  };
  auto addWeights = [&](bool whichPaged) {
    for (WeightOp weight : module.getOps<WeightOp>()) {
      if (isa<StringAttr>(*weight.getPlacement()) && paged.contains(weight.getSymName()) == whichPaged) {
        add(weight, weight.getSymName(), weight.getShape()[0], weight.getShape()[1], *weight.getLayout());
      }
    }
  };
  addWeights(false);
  auto plain = LayoutAttr::get(module.getContext(), 32, FloatType::F32, 0, ZeroPoint::Symmetric, Codebook::Integer, 1);
  for (TableOp table : module.getOps<TableOp>()) {
    add(table, table.getSymName(), 1, table.getValues().size(), plain);
  }
  addWeights(true);
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
    if (spec->family == KernelFamily::KvAppend) {
      index.kv_bits = spec->kvBits;
    }
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
  if (auto states = program.getStates()) {
    index.states.assign(states->begin(), states->end());
  }
  for (Operation &op : program.getBody().front()) {
    if (auto buffer = dyn_cast<BufferOp>(op)) {
      index.buffers.emplace_back(buffer.getFixed(), buffer.getPerToken(), buffer.getSlot(),
                                 buffer.getSource()   ? fb::Rows::Source
                                 : buffer.getWanted() ? fb::Rows::Wanted
                                                      : fb::Rows::All);
      continue;
    }
    auto step = std::make_unique<fb::StepT>();
    auto call = dyn_cast<CallOp>(op);
    auto run = dyn_cast<RunExpertsOp>(op);
    auto ahead = dyn_cast<LookAheadOp>(op);
    absl::StatusOr<std::vector<fb::Operand>> list =
        operands(&op, call ? call.getOperands() : run ? run.getOperands() : lookAheadOperands(ahead));
    if (!list.ok()) {
      return list.status();
    }
    step->operands = std::move(*list);
    if (call) {
      step->kind = fb::StepKind::Kernel;
      step->kernel = kernelIndex.lookup(call.getKernel());
      step->rows = call.getSource() ? fb::Rows::Source : call.getWanted() ? fb::Rows::Wanted : fb::Rows::All;
    } else if (run) {
      step->kind = fb::StepKind::Experts;
      step->layer = run.getLayer();
      step->rows = run.getSource() ? fb::Rows::Source : fb::Rows::All;
    } else {
      step->kind = fb::StepKind::LookAhead;
      step->layer = ahead.getLayer();
      step->kernel = kernelIndex.lookup(ahead.getNorm());
      step->router = kernelIndex.lookup(ahead.getRouter());
      step->score = static_cast<fb::ScoreFunction>(ahead.getScore());
    }
    index.steps.push_back(std::move(step));
  }
  return absl::OkStatus();
}

absl::Status Assembler::addExperts() {
  absl::StatusOr<std::vector<std::vector<ExpertWeights>>> found = findExperts(module);
  if (!found.ok()) {
    return found.status();
  }
  experts = std::move(*found);
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
    layer->capacity = run->second.getCapacity();
    layer->ranked = run->second.getRanked();
    layer->weight_floor = run->second.getWeightFloor().convertToFloat();
    layer->weight_scale = run->second.getWeightScale().convertToFloat();
    layer->source = run->second.getSource();
    for (auto [number, attr, kernels] : llvm::enumerate(records.getVariants(), run->second.getKernels())) {
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
      if (LayoutAttr down = downLayout(records, number); down != variantAttr.getLayout()) {
        variant->down_layout = std::make_unique<fb::Layout>(toSchema(down));
      }
      layer->variants.push_back(std::move(variant));
    }
    std::vector<VariantAttr> layerVariants;
    std::vector<LayoutAttr> layerDowns;
    for (int32_t variant : records.getVariantOf()) {
      layer->records.emplace_back(0, 0, variant);
      layerVariants.push_back(cast<VariantAttr>(records.getVariants()[variant]));
      layerDowns.push_back(downLayout(records, variant));
    }
    downLayouts.push_back(std::move(layerDowns));
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
  contents.tensor = [residents = residents, &store = store](size_t i, uint8_t *out) {
    if (auto weight = dyn_cast<WeightOp>(residents[i])) {
      return packTensor(weight, store, out, packedBytes(*weight.getLayout(), weight.getShape()[0], weight.getShape()[1]));
    }
    ArrayRef<float> values = cast<TableOp>(residents[i]).getValues();
    std::memcpy(out, values.data(), values.size() * sizeof(float));
    std::memset(out + values.size() * sizeof(float), 0, -(values.size() * sizeof(float)) % 64);
    return absl::OkStatus();
  };
  contents.threads = options.rounder ? 1 : std::max(1u, std::thread::hardware_concurrency());
  contents.record = [experts = experts, variants = variants, downs = downLayouts, &store = store,
                     rounder = options.rounder](size_t layer, size_t expert, uint8_t *out) {
    return packRecord(experts[layer][expert], variants[layer][expert], store, out, rounder, downs[layer][expert]);
  };
  return std::move(contents);
}

} // namespace

absl::StatusOr<BundleContents> assemble(ModuleOp module, const WeightStore &store, const AssembleOptions &options) {
  return Assembler(module, store, options).run();
}

} // namespace emoe
