#include "test/support/small_model.h"

#include <cstdlib>
#include <cstring>

#include "runtime/bundle/crc32c.h"
#include "schema/format.h"
#include "schema/kernel_abi.h"

namespace emoe::test {
namespace {

constexpr uint32_t kVocab = 100, kHidden = 64, kExpertHidden = 32, kExperts = 3, kTopK = 2;
constexpr uint32_t kRow = 4 * kHidden;       // f32 rows of 64
constexpr uint32_t kQ8Row = kHidden + kHidden / 4;
constexpr uint32_t kLogitsRow = 4 * 128;     // 100 rounded up to 128

const fb::Layout kPlain(32, fb::FloatType::F32, fb::ZeroPoint::Symmetric, fb::Codebook::Integer, 0, 1);
const fb::Layout kHalf(16, fb::FloatType::F16, fb::ZeroPoint::Symmetric, fb::Codebook::Integer, 0, 16);
const fb::Layout kInt4(4, fb::FloatType::F16, fb::ZeroPoint::Symmetric, fb::Codebook::Integer, 32, 16);
const fb::Layout kInt8(8, fb::FloatType::F16, fb::ZeroPoint::Symmetric, fb::Codebook::Integer, 32, 16);

// xorshift64*: the same bytes on every machine.
void fill(uint64_t seed, uint8_t *out, size_t size) {
  uint64_t state = seed * 0x9E3779B97F4A7C15u + 1;
  for (size_t i = 0; i < size; ++i) {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    out[i] = (state * 0x2545F4914F6CDD1Du) >> 56;
  }
}

void addTensor(fb::BundleT &index, const char *name, uint32_t rows, uint32_t columns, fb::Layout layout,
               uint64_t bytes) {
  auto tensor = std::make_unique<fb::TensorT>();
  tensor->name = name;
  tensor->rows = rows;
  tensor->columns = columns;
  tensor->bytes = bytes;
  tensor->layout = std::make_unique<fb::Layout>(layout);
  index.tensors.push_back(std::move(tensor));
}

uint32_t addKernel(fb::BundleT &index, const char *name, std::vector<fb::Extent> extents, uint32_t tiles,
                   uint32_t tilesPerToken) {
  auto kernel = std::make_unique<fb::KernelT>();
  kernel->name = name;
  kernel->extents = std::move(extents);
  kernel->tiles_fixed = tiles;
  kernel->tiles_per_token = tilesPerToken;
  index.kernels.push_back(std::move(kernel));
  return index.kernels.size() - 1;
}

fb::Operand operand(fb::OperandKind kind, uint32_t i = 0) { return fb::Operand(kind, i); }
fb::Operand buffer(uint32_t i) { return fb::Operand(fb::OperandKind::Buffer, i); }

void addStep(fb::BundleT &index, uint32_t kernel, std::vector<fb::Operand> operands, fb::Rows rows = fb::Rows::All) {
  auto step = std::make_unique<fb::StepT>();
  step->kernel = kernel;
  step->operands = std::move(operands);
  step->rows = rows;
  index.steps.push_back(std::move(step));
}

fb::VariantT variant(uint32_t gateUp, uint32_t down, uint32_t downOffset, uint32_t bytes, std::vector<uint32_t> ends,
                     fb::Activations activations, fb::Layout layout) {
  fb::VariantT v;
  v.gate_up_kernel = gateUp;
  v.down_kernel = down;
  v.down_offset = downOffset;
  v.record_bytes = bytes;
  v.chunk_ends = std::move(ends);
  v.activations = activations;
  v.layout = std::make_unique<fb::Layout>(layout);
  return v;
}

// Buffers: 0, 1: f32 rows; 2: q8 rows; 3: ids; 4: hidden; 5: pairs; 6: logits.
void addProgram(fb::BundleT &index) {
  index.buffers = {fb::Buffer(0, kRow, 0, fb::Rows::All),           fb::Buffer(0, kRow, 1, fb::Rows::All),
                   fb::Buffer(0, kQ8Row, 2, fb::Rows::All),         fb::Buffer(0, 4 * kTopK, 3, fb::Rows::All),
                   fb::Buffer(0, kTopK * 256, 4, fb::Rows::All),    fb::Buffer(0, kTopK * kRow, 5, fb::Rows::All),
                   fb::Buffer(0, kLogitsRow, 6, fb::Rows::Wanted)};
  index.kv_layers = {fb::KvLayer(2, 16)};
  index.logits = 6;
  const fb::Extent ids(0, 4, 0), row(0, kRow, 0), q8(0, kQ8Row, 0), cache(0, 0, 4 * 2 * 16), none(0, 0, 0);
  const uint64_t embedding = index.tensors[0]->bytes, head = index.tensors[2]->bytes;
  uint32_t embed = addKernel(index, "embed", {ids, fb::Extent(embedding, 0, 0), row}, 0, 1);
  uint32_t norm = addKernel(index, "norm", {row, fb::Extent(256, 0, 0), row}, 0, 1);
  uint32_t append = addKernel(index, "kv_append", {row, row, cache, cache}, 0, 1);
  uint32_t quantize = addKernel(index, "quantize", {row, q8, none}, 0, 1);
  uint32_t route = addKernel(index, "route", {row, fb::Extent(0, 4 * kTopK, 0)}, 0, 1);
  uint32_t gateUp4 = addKernel(index, "gate_up_q4", {q8, fb::Extent(4 * 576, 0, 0), fb::Extent(0, 80, 0)}, 1, 0);
  uint32_t down4 = addKernel(index, "down_q4", {fb::Extent(0, 80, 0), fb::Extent(4 * 576, 0, 0), row}, 4, 0);
  uint32_t gateUp8 = addKernel(index, "gate_up_q8_f32", {row, fb::Extent(4 * 1088, 0, 0), fb::Extent(0, 256, 0)}, 1, 0);
  uint32_t down8 = addKernel(index, "down_q8_f32", {fb::Extent(0, 256, 0), fb::Extent(4 * 1088, 0, 0), row}, 4, 0);
  uint32_t combine = addKernel(index, "combine", {fb::Extent(0, kTopK * kRow, 0), row}, 0, 1);
  uint32_t logits = addKernel(index, "logits", {row, fb::Extent(head, 0, 0), fb::Extent(0, kLogitsRow, 0)}, 7, 0);

  addStep(index, embed, {operand(fb::OperandKind::TokenIds), operand(fb::OperandKind::Tensor, 0), buffer(0)});
  addStep(index, norm, {buffer(0), operand(fb::OperandKind::Tensor, 1), buffer(1)});
  addStep(index, append, {buffer(0), buffer(1), operand(fb::OperandKind::KvKeys), operand(fb::OperandKind::KvValues)});
  for (uint32_t l = 0; l < 2; ++l) {
    addStep(index, route, {buffer(1), buffer(3)});
    addStep(index, quantize, {buffer(1), buffer(2), operand(fb::OperandKind::None)});
    auto experts = std::make_unique<fb::StepT>();
    experts->kind = fb::StepKind::Experts;
    experts->layer = l;
    experts->operands = {buffer(1), buffer(2), buffer(3), buffer(4), buffer(5)};
    index.steps.push_back(std::move(experts));
    addStep(index, combine, {buffer(5), buffer(0)});
    auto layer = std::make_unique<fb::MoeLayerT>();
    layer->experts = kExperts;
    layer->top_k = kTopK;
    layer->variants.push_back(std::make_unique<fb::VariantT>(
        variant(gateUp4, down4, 2304, 8192, {2304, 8192}, fb::Activations::Q8, kInt4)));
    layer->variants.push_back(std::make_unique<fb::VariantT>(
        variant(gateUp8, down8, 4352, 12288, {1088, 8192, 12288}, fb::Activations::F32, kInt8)));
    for (uint32_t e = 0; e < kExperts; ++e) {
      layer->records.emplace_back(0, 0, (e + l) % 2);
    }
    index.moe_layers.push_back(std::move(layer));
  }
  addStep(index, logits, {buffer(0), operand(fb::OperandKind::Tensor, 2), buffer(6)}, fb::Rows::Wanted);
}

// Layer 0: an exact table of two keys and all else; layer 1: a prior. 3 experts, 2 used, 3 sets a layer: 9 keys.
void addPredictors(BundleContents &contents) {
  auto add = [&](fb::PredictorKind kind, uint32_t parts, uint32_t keys, std::vector<uint8_t> bytes) {
    auto predictor = std::make_unique<fb::LayerPredictorT>();
    predictor->predictor = kind;
    predictor->scale = 0.0625f;
    predictor->offset = contents.tables.size();
    predictor->parts = parts;
    predictor->keys = keys;
    predictor->break_even = 0.5f;
    auto quality = std::make_unique<fb::PredictorQualityT>();
    quality->predictor = kind;
    quality->tokens = 100;
    quality->recall = 0.5f;
    quality->recall_low = 0.25f;
    quality->recall_high = 0.75f;
    quality->recall_2k = 1;
    quality->precision_2k = 0.625f;
    predictor->quality.push_back(std::move(quality));
    contents.index.predictors.push_back(std::move(predictor));
    bytes.resize((bytes.size() + 7) / 8 * 8);
    contents.tables.insert(contents.tables.end(), bytes.begin(), bytes.end());
  };
  std::vector<uint8_t> table = {1, 0, 8, 0};  // keys
  table.resize(4 + 3 + 2 + 9 + 9 + 4 + 6);    // prior, repeat, near, far, ranks, rows
  fill(6, table.data() + 4, table.size() - 4);
  add(fb::PredictorKind::Table, 63, 2, table);
  add(fb::PredictorKind::Static, EMOE_PREDICTOR_PRIOR, 0, {10, 0, 246});
}

} // namespace

BundleContents smallModel() {
  BundleContents contents;
  fb::BundleT &index = contents.index;
  index.model = std::make_unique<fb::ModelT>();
  index.model->architecture = "small";
  index.model->vocab = kVocab;
  index.model->hidden = kHidden;
  index.model->layers = 2;
  index.model->context = 512;
  index.model->first_token = 1;
  index.model->stop_tokens = {2, 99};
  index.model->parameters = 12345;
  index.plan = std::make_unique<fb::PlanT>();
  index.plan->context = 256;
  index.plan->chunk = 32;
  index.plan->policy = "lfu";
  index.plan->choices = {fb::CacheChoice(1, 0, 64, fb::CachePolicy::Lfu, 2, 0, 1),
                         fb::CacheChoice(4, 1, 0, fb::CachePolicy::NextUse, 8, 200, 0)};
  index.plan->hit_curve = {fb::HitPoint(2, 0, 0.25f, 0.25f, 0.5f), fb::HitPoint(4, 0.5f, 0.5f, 0.75f, 1)};
  index.plan->recommended_slots = 4;
  index.plan->regret = 0.25f;
  index.plan->next_use = std::make_unique<fb::NextUseT>();
  index.plan->next_use->scale = 0.01f;
  index.plan->next_use->usual.assign(2 * kExperts, 20000);
  index.plan->next_use->blocks = {fb::NextUseBlock(0, 0, 0, 0), fb::NextUseBlock(kExperts * kExperts, 0, 1, 1)};
  index.plan->next_use->rows.assign(2 * kExperts * kExperts, -3);
  index.provenance = std::make_unique<fb::ProvenanceT>();
  index.provenance->producer = "test";
  index.provenance->source = "modèle.onnx";
  index.provenance->source_hash = "0123456789abcdef";
  index.provenance->options = "--bits 4";
  index.calibration = std::make_unique<fb::CalibrationT>();
  index.calibration->texts = "prose.txt, code.txt";
  index.calibration->hash = "fedcba9876543210";
  index.calibration->fit_tokens = 300;
  index.calibration->held_out_tokens = 100;
  index.calibration->held_out_loss = 4.5f;
  addTensor(index, "embedding", kVocab, kHidden, kInt8, 7 * 1088);
  addTensor(index, "norm", 1, kHidden, kPlain, 256);
  addTensor(index, "head", kVocab, 33, kHalf, 7 * 33 * 32);  // no multiple of 64
  addTensor(index, "inv_freq", 1, 8, kPlain, 64);
  addProgram(index);
  for (const char *isa : {"x86-64", "aarch64"}) {
    auto image = std::make_unique<fb::KernelImageT>();
    image->isa = isa;
    image->machine = isa[0] == 'x' ? EMOE_MACHINE_X86_64 : EMOE_MACHINE_AARCH64;
    image->entries.assign(index.kernels.size(), 0x1000);
    index.images.push_back(std::move(image));
    contents.images.emplace_back(5000);
    fill(77 + isa[0], contents.images.back().data(), 5000);
  }
  contents.tokenizer.resize(700);
  fill(5, contents.tokenizer.data(), 700);
  addPredictors(contents);
  std::vector<uint64_t> sizes;
  for (auto &tensor : index.tensors) {
    sizes.push_back(tensor->bytes);
  }
  contents.tensor = [sizes](size_t i, uint8_t *out) {
    fill(100 + i, out, sizes[i]);
    return absl::OkStatus();
  };
  contents.record = [](size_t layer, size_t expert, uint8_t *out) {
    fill(1000 + layer * 10 + expert, out, (expert + layer) % 2 ? 12288 : 8192);
    return absl::OkStatus();
  };
  return contents;
}

std::vector<uint8_t> bundleWithIndex(const std::function<void(fb::BundleT &)> &change) {
  BundleContents contents = smallModel();
  std::vector<uint8_t> good = *writeBundleToMemory(contents);
  change(contents.index);
  flatbuffers::FlatBufferBuilder builder;
  builder.Finish(fb::Bundle::Pack(builder, &contents.index), fb::BundleIdentifier());

  // The index is the first section: replace it, and move what follows.
  auto aligned = [](uint64_t bytes) { return (bytes + EMOE_SECTION_ALIGN - 1) / EMOE_SECTION_ALIGN * EMOE_SECTION_ALIGN; };
  emoe_header header;
  emoe_section sections[EMOE_MAX_SECTIONS];
  std::memcpy(&header, good.data(), sizeof(header));
  std::memcpy(sections, good.data() + sizeof(header), header.section_count * sizeof(emoe_section));
  const uint64_t oldEnd = aligned(sections[0].offset + sections[0].length);
  sections[0].length = builder.GetSize();
  const uint64_t newEnd = aligned(sections[0].offset + sections[0].length);
  std::vector<uint8_t> bundle(newEnd + good.size() - oldEnd);
  std::memcpy(bundle.data() + sections[0].offset, builder.GetBufferPointer(), builder.GetSize());
  std::memcpy(bundle.data() + newEnd, good.data() + oldEnd, good.size() - oldEnd);
  for (uint32_t i = 1; i < header.section_count; ++i) {
    sections[i].offset += newEnd - oldEnd;
  }
  header.file_bytes = bundle.size();
  std::memcpy(bundle.data(), &header, sizeof(header));
  std::memcpy(bundle.data() + sizeof(header), sections, header.section_count * sizeof(emoe_section));
  repairChecksums(bundle);
  return bundle;
}

void repairChecksums(std::vector<uint8_t> &bundle) {
  emoe_header header;
  if (bundle.size() < EMOE_SECTION_ALIGN) {
    return;
  }
  std::memcpy(&header, bundle.data(), sizeof(header));
  uint32_t count = header.section_count <= EMOE_MAX_SECTIONS ? header.section_count : 0;
  uint8_t *table = bundle.data() + sizeof(header);
  for (uint32_t i = 0; i < count; ++i) {
    emoe_section section;
    std::memcpy(&section, table + i * sizeof(section), sizeof(section));
    if (section.type == EMOE_SECTION_INDEX && section.offset <= bundle.size() &&
        section.length <= bundle.size() - section.offset) {
      section.crc = rt::Crc32c(bundle.data() + section.offset, section.length);
      std::memcpy(table + i * sizeof(section), &section, sizeof(section));
    }
  }
  header.header_crc = 0;
  header.header_crc = rt::Crc32c(table, count * sizeof(emoe_section), rt::Crc32c(&header, sizeof(header)));
  std::memcpy(bundle.data(), &header, sizeof(header));
}

} // namespace emoe::test
