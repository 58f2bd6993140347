#include "runtime/bundle/index.h"

#include <stdlib.h>

#include "runtime/bundle/checked.h"
#include "runtime/bundle/flat.h"
#include "schema/kernel_abi.h"
#include "schema/limits.h"

namespace emoe::rt {
namespace {

static_assert(sizeof(Layout) == 8 && alignof(Layout) == 2, "bundle.fbs Layout");
static_assert(sizeof(Buffer) == 24 && offsetof(Buffer, slot) == 16 && offsetof(Buffer, rows) == 20, "bundle.fbs Buffer");
static_assert(sizeof(KvLayer) == 8 && alignof(KvLayer) == 4, "bundle.fbs KvLayer");
static_assert(sizeof(Extent) == 24 && alignof(Extent) == 8, "bundle.fbs Extent");
static_assert(sizeof(CacheChoice) == 16 && offsetof(CacheChoice, half_life) == 8 && offsetof(CacheChoice, per_layer) == 13,
              "bundle.fbs CacheChoice");
static_assert(sizeof(HitPoint) == 20 && offsetof(HitPoint, belady) == 16, "bundle.fbs HitPoint");
static_assert(sizeof(NextUseBlock) == 12 && offsetof(NextUseBlock, target) == 6 && offsetof(NextUseBlock, same_token) == 8,
              "bundle.fbs NextUseBlock");
static_assert(sizeof(Operand) == 8 && offsetof(Operand, index) == 4, "bundle.fbs Operand");
static_assert(sizeof(Record) == 16 && offsetof(Record, first_crc) == 8 && offsetof(Record, variant) == 12,
              "bundle.fbs Record");

// Field ids of bundle.fbs.
namespace id {
enum Bundle : uint16_t {
  kModel, kTensors, kBuffers, kKvLayers, kKernels, kSteps, kLogits, kMoeLayers, kChunkCrcs, kImages, kPlan, kProvenance,
  kPredictors, kWidths, kCalibration, kPanelCrcs, kStates, kKvBits
};
enum Model : uint16_t {
  kArchitecture, kVocab, kHidden, kLayers, kContext, kFirstToken, kStopTokens, kParameters, kPositions
};
enum Tensor : uint16_t { kTensorName, kTensorOffset, kTensorBytes, kTensorRows, kTensorColumns, kTensorLayout, kPaged };
enum Kernel : uint16_t { kKernelName, kExtents, kTilesFixed, kTilesPerToken };
enum Step : uint16_t { kKind, kKernel, kOperands, kLayer, kRows, kRouter, kScore };
enum Variant : uint16_t {
  kGateUpKernel, kDownKernel, kGateUpOffset, kDownOffset, kRecordBytes, kChunkEnds, kActivations, kVariantLayout,
  kVariantDownLayout
};
enum MoeLayer : uint16_t { kExperts, kTopK, kVariants, kRecords, kCapacity, kSourceLayer, kRanked, kWeightFloor, kWeightScale };
enum Image : uint16_t { kIsa, kMachine, kFeatures, kImageOffset, kImageBytes, kEntries };
enum Plan : uint16_t { kPlanContext, kChunk, kPolicy, kChoices, kHitCurve, kRecommendedSlots, kRegret, kNextUse };
enum NextUse : uint16_t { kDiscount, kScale, kUsual, kBlocks, kRowBytes };
enum PredictorEntry : uint16_t { kPredictor, kLogOddsScale, kTablesOffset, kParts, kKeys, kQuality, kBreakEven };
enum PredictorQuality : uint16_t {
  kJudged, kTokens, kRecall, kRecallLow, kRecallHigh, kRecall2k, kPrecision2k
};
enum Provenance : uint16_t { kProducer, kSource, kSourceHash, kOptions };
enum Calibration : uint16_t { kTexts, kHash, kFitTokens, kHeldOutTokens, kHeldOutLoss };
enum Widths : uint16_t {
  kWidthPolicy, kRounding, kMeasure, kTolerance, kPredicted, kVerified, kVerifiedError, kDivergence, kExpertBytes,
  kExpertWeights, kUniformFormat, kUniformBytes, kUniformLoss, kRivalFormat, kRivalBytes, kRivalLoss, kRandomLoss,
  kRandomDivergence, kAmplification, kNotes
};
}  // namespace id

// Hands out the tail of the allocation, or counts what it would have to be if there is none yet.
class Tail {
 public:
  explicit Tail(char *memory) : memory_(memory) {}
  // The counts are bounded by the limits: no overflow. Never null in the filling pass.
  template <typename T>
  T *Take(uint32_t count) {
    static_assert(alignof(T) <= 8, "tables are 8-byte aligned");
    T *result = memory_ != nullptr ? reinterpret_cast<T *>(memory_ + used_) : nullptr;
    used_ += (count * static_cast<uint64_t>(sizeof(T)) + 7) & ~uint64_t{7};
    return result;
  }
  uint64_t used() const { return used_; }

 private:
  char *memory_;
  uint64_t used_ = 0;
};

// Walks the index twice in the same way: to count the tables, then to fill them.
class Walk {
 public:
  Walk(const uint8_t *bytes, size_t size, char *tables, Bundle *out)
      : in_(bytes, size, EMOE_LIMIT_TABLES), tail_(tables), filling_(tables != nullptr), out_(out) {}

  Status Run() {
    FlatTable root = in_.Root("EMOI");
    if (in_.ok() && !in_.HasTable(root, id::kModel)) {
      return Error(StatusCode::kBadBundle, "index: it describes no model");
    }
    ReadModel(in_.Table(root, id::kModel));
    out_->buffers = in_.Vector<Buffer>(root, id::kBuffers, EMOE_LIMIT_BUFFERS);
    out_->kv_layers = in_.Vector<KvLayer>(root, id::kKvLayers, EMOE_LIMIT_LAYERS);
    out_->states = in_.Vector<uint64_t>(root, id::kStates, EMOE_LIMIT_STATES);
    out_->kv_bits = in_.Scalar<uint8_t>(root, id::kKvBits, 32);
    out_->logits = in_.Scalar<uint32_t>(root, id::kLogits, 0);
    out_->chunk_crcs = in_.Vector<uint32_t>(root, id::kChunkCrcs, UINT32_MAX);
    out_->panel_crcs = in_.Vector<uint32_t>(root, id::kPanelCrcs, UINT32_MAX);
    List(&out_->tensors, root, id::kTensors, EMOE_LIMIT_TENSORS, &Walk::ReadTensor);
    List(&out_->kernel_table, root, id::kKernels, EMOE_LIMIT_KERNELS, &Walk::ReadKernel);
    List(&out_->steps, root, id::kSteps, EMOE_LIMIT_STEPS, &Walk::ReadStep);
    List(&out_->moe_layers, root, id::kMoeLayers, EMOE_LIMIT_LAYERS, &Walk::ReadMoeLayer);
    List(&out_->images, root, id::kImages, EMOE_LIMIT_IMAGES, &Walk::ReadImage);
    List(&out_->predictors, root, id::kPredictors, EMOE_LIMIT_LAYERS, &Walk::ReadPredictor);
    FlatTable plan = in_.Table(root, id::kPlan);
    out_->plan.context = in_.Scalar<uint32_t>(plan, id::kPlanContext, 0);
    out_->plan.chunk = in_.Scalar<uint32_t>(plan, id::kChunk, 0);
    out_->plan.policy = in_.String(plan, id::kPolicy, EMOE_LIMIT_NAME_BYTES);
    out_->plan.choices = in_.Vector<CacheChoice>(plan, id::kChoices, EMOE_LIMIT_CACHE_CHOICES);
    out_->plan.hit_curve = in_.Vector<HitPoint>(plan, id::kHitCurve, EMOE_LIMIT_CACHE_CHOICES);
    out_->plan.recommended_slots = in_.Scalar<uint32_t>(plan, id::kRecommendedSlots, 0);
    out_->plan.regret = in_.Scalar<float>(plan, id::kRegret, 0);
    FlatTable next_use = in_.Table(plan, id::kNextUse);
    out_->plan.next_use.discount = in_.Scalar<uint8_t>(next_use, id::kDiscount, 128);
    out_->plan.next_use.scale = in_.Scalar<float>(next_use, id::kScale, 0);
    out_->plan.next_use.usual = in_.Vector<uint16_t>(next_use, id::kUsual, UINT32_MAX);
    out_->plan.next_use.blocks = in_.Vector<NextUseBlock>(next_use, id::kBlocks, EMOE_LIMIT_NEXT_USE_BLOCKS);
    out_->plan.next_use.rows = in_.Vector<int8_t>(next_use, id::kRowBytes, UINT32_MAX);
    FlatTable provenance = in_.Table(root, id::kProvenance);
    out_->provenance.producer = in_.String(provenance, id::kProducer, EMOE_LIMIT_TEXT_BYTES);
    out_->provenance.source = in_.String(provenance, id::kSource, EMOE_LIMIT_TEXT_BYTES);
    out_->provenance.source_hash = in_.String(provenance, id::kSourceHash, EMOE_LIMIT_TEXT_BYTES);
    out_->provenance.options = in_.String(provenance, id::kOptions, EMOE_LIMIT_TEXT_BYTES);
    FlatTable calibration = in_.Table(root, id::kCalibration);
    out_->calibration.texts = in_.String(calibration, id::kTexts, EMOE_LIMIT_TEXT_BYTES);
    out_->calibration.hash = in_.String(calibration, id::kHash, EMOE_LIMIT_TEXT_BYTES);
    out_->calibration.fit_tokens = in_.Scalar<uint64_t>(calibration, id::kFitTokens, 0);
    out_->calibration.held_out_tokens = in_.Scalar<uint64_t>(calibration, id::kHeldOutTokens, 0);
    out_->calibration.held_out_loss = in_.Scalar<float>(calibration, id::kHeldOutLoss, 0);
    ReadWidths(in_.Table(root, id::kWidths));
    return in_.status();
  }
  uint64_t table_bytes() const { return tail_.used(); }

 private:
  template <typename T>
  void List(Span<T> *out, const FlatTable &table, uint16_t id, uint32_t limit,
            T (Walk::*read)(const FlatTable &)) {
    FlatTables list = in_.Tables(table, id, limit);
    T *items = tail_.Take<T>(list.size);
    for (uint32_t i = 0; i < list.size && in_.ok(); ++i) {
      T item = (this->*read)(in_.Element(list, i));
      if (filling_) items[i] = item;
    }
    *out = filling_ && list.size > 0 ? Span<T>{items, list.size} : Span<T>{};
  }

  void ReadModel(const FlatTable &t) {
    auto &model = out_->model;
    model.architecture = in_.String(t, id::kArchitecture, EMOE_LIMIT_NAME_BYTES);
    model.vocab = in_.Scalar<uint32_t>(t, id::kVocab, 0);
    model.hidden = in_.Scalar<uint32_t>(t, id::kHidden, 0);
    model.layers = in_.Scalar<uint32_t>(t, id::kLayers, 0);
    model.context = in_.Scalar<uint32_t>(t, id::kContext, 0);
    model.first_token = in_.Scalar<int32_t>(t, id::kFirstToken, -1);
    model.stop_tokens = in_.Vector<int32_t>(t, id::kStopTokens, EMOE_LIMIT_STOP_TOKENS);
    model.parameters = in_.Scalar<uint64_t>(t, id::kParameters, 0);
    model.positions = in_.Scalar<uint32_t>(t, id::kPositions, 0);
  }

  void ReadWidths(const FlatTable &t) {
    auto &w = out_->widths;
    w.policy = in_.String(t, id::kWidthPolicy, EMOE_LIMIT_NAME_BYTES);
    w.rounding = in_.String(t, id::kRounding, EMOE_LIMIT_NAME_BYTES);
    w.measure = in_.String(t, id::kMeasure, EMOE_LIMIT_NAME_BYTES);
    w.uniform_format = in_.String(t, id::kUniformFormat, EMOE_LIMIT_NAME_BYTES);
    w.rival_format = in_.String(t, id::kRivalFormat, EMOE_LIMIT_NAME_BYTES);
    w.notes = in_.String(t, id::kNotes, EMOE_LIMIT_TEXT_BYTES);
    w.tolerance = in_.Scalar<double>(t, id::kTolerance, 0);
    w.predicted = in_.Scalar<double>(t, id::kPredicted, 0);
    w.verified = in_.Scalar<double>(t, id::kVerified, 0);
    w.verified_error = in_.Scalar<double>(t, id::kVerifiedError, 0);
    w.divergence = in_.Scalar<double>(t, id::kDivergence, 0);
    w.uniform_loss = in_.Scalar<double>(t, id::kUniformLoss, 0);
    w.rival_loss = in_.Scalar<double>(t, id::kRivalLoss, 0);
    w.random_loss = in_.Scalar<double>(t, id::kRandomLoss, 0);
    w.random_divergence = in_.Scalar<double>(t, id::kRandomDivergence, 0);
    w.bytes = in_.Scalar<uint64_t>(t, id::kExpertBytes, 0);
    w.weights = in_.Scalar<uint64_t>(t, id::kExpertWeights, 0);
    w.uniform_bytes = in_.Scalar<uint64_t>(t, id::kUniformBytes, 0);
    w.rival_bytes = in_.Scalar<uint64_t>(t, id::kRivalBytes, 0);
    w.amplification = in_.Vector<float>(t, id::kAmplification, EMOE_LIMIT_LAYERS);
  }

  Tensor ReadTensor(const FlatTable &t) {
    Tensor tensor{};
    tensor.name = in_.String(t, id::kTensorName, EMOE_LIMIT_NAME_BYTES);
    tensor.offset = in_.Scalar<uint64_t>(t, id::kTensorOffset, 0);
    tensor.bytes = in_.Scalar<uint64_t>(t, id::kTensorBytes, 0);
    tensor.rows = in_.Scalar<uint32_t>(t, id::kTensorRows, 0);
    tensor.columns = in_.Scalar<uint32_t>(t, id::kTensorColumns, 0);
    in_.Struct(t, id::kTensorLayout, &tensor.layout);  // absent: all zeros, which no layout is
    tensor.paged = in_.Scalar<uint8_t>(t, id::kPaged, 0) != 0;
    return tensor;
  }

  Kernel ReadKernel(const FlatTable &t) {
    Kernel kernel{};
    kernel.name = in_.String(t, id::kKernelName, EMOE_LIMIT_NAME_BYTES);
    kernel.extents = in_.Vector<Extent>(t, id::kExtents, EMOE_MAX_OPERANDS);
    kernel.tiles_fixed = in_.Scalar<uint32_t>(t, id::kTilesFixed, 0);
    kernel.tiles_per_token = in_.Scalar<uint32_t>(t, id::kTilesPerToken, 0);
    return kernel;
  }

  Step ReadStep(const FlatTable &t) {
    Step step{};
    step.kind = static_cast<StepKind>(in_.Scalar<uint8_t>(t, id::kKind, 0));
    step.kernel = in_.Scalar<uint32_t>(t, id::kKernel, 0);
    step.operands = in_.Vector<Operand>(t, id::kOperands, EMOE_MAX_OPERANDS);
    step.layer = in_.Scalar<uint32_t>(t, id::kLayer, 0);
    step.rows = static_cast<Rows>(in_.Scalar<uint32_t>(t, id::kRows, 0));
    step.router = in_.Scalar<uint32_t>(t, id::kRouter, 0);
    step.score = static_cast<ScoreFunction>(in_.Scalar<uint8_t>(t, id::kScore, 0));
    return step;
  }

  Variant ReadVariant(const FlatTable &t) {
    Variant variant{};
    variant.gate_up_kernel = in_.Scalar<uint32_t>(t, id::kGateUpKernel, 0);
    variant.down_kernel = in_.Scalar<uint32_t>(t, id::kDownKernel, 0);
    variant.gate_up_offset = in_.Scalar<uint32_t>(t, id::kGateUpOffset, 0);
    variant.down_offset = in_.Scalar<uint32_t>(t, id::kDownOffset, 0);
    variant.record_bytes = in_.Scalar<uint32_t>(t, id::kRecordBytes, 0);
    variant.chunk_ends = in_.Vector<uint32_t>(t, id::kChunkEnds, EMOE_LIMIT_RECORD_CHUNKS);
    variant.activations = static_cast<Activations>(in_.Scalar<uint8_t>(t, id::kActivations, 0));
    in_.Struct(t, id::kVariantLayout, &variant.layout);
    variant.down_layout = variant.layout;
    in_.Struct(t, id::kVariantDownLayout, &variant.down_layout);
    return variant;
  }

  MoeLayer ReadMoeLayer(const FlatTable &t) {
    MoeLayer layer{};
    layer.experts = in_.Scalar<uint32_t>(t, id::kExperts, 0);
    layer.top_k = in_.Scalar<uint32_t>(t, id::kTopK, 0);
    List(&layer.variants, t, id::kVariants, EMOE_LIMIT_VARIANTS, &Walk::ReadVariant);
    layer.records = in_.Vector<Record>(t, id::kRecords, EMOE_LIMIT_EXPERTS);
    layer.capacity = in_.Scalar<uint32_t>(t, id::kCapacity, 0);
    layer.source = in_.Scalar<uint8_t>(t, id::kSourceLayer, 0) != 0;
    layer.ranked = in_.Scalar<uint8_t>(t, id::kRanked, 0) != 0;
    layer.weight_floor = in_.Scalar<float>(t, id::kWeightFloor, 0);
    layer.weight_scale = in_.Scalar<float>(t, id::kWeightScale, 0);
    return layer;
  }

  PredictorQuality ReadQuality(const FlatTable &t) {
    PredictorQuality quality{};
    quality.predictor = static_cast<PredictorKind>(in_.Scalar<uint8_t>(t, id::kJudged, 0));
    quality.tokens = in_.Scalar<uint32_t>(t, id::kTokens, 0);
    quality.recall = in_.Scalar<float>(t, id::kRecall, 0);
    quality.recall_low = in_.Scalar<float>(t, id::kRecallLow, 0);
    quality.recall_high = in_.Scalar<float>(t, id::kRecallHigh, 0);
    quality.recall_2k = in_.Scalar<float>(t, id::kRecall2k, 0);
    quality.precision_2k = in_.Scalar<float>(t, id::kPrecision2k, 0);
    return quality;
  }

  PredictorEntry ReadPredictor(const FlatTable &t) {
    PredictorEntry entry{};
    entry.predictor = static_cast<PredictorKind>(in_.Scalar<uint8_t>(t, id::kPredictor, 0));
    entry.scale = in_.Scalar<float>(t, id::kLogOddsScale, 0);
    entry.offset = in_.Scalar<uint64_t>(t, id::kTablesOffset, 0);
    entry.parts = in_.Scalar<uint32_t>(t, id::kParts, 0);
    entry.keys = in_.Scalar<uint32_t>(t, id::kKeys, 0);
    List(&entry.quality, t, id::kQuality, kPredictorKinds, &Walk::ReadQuality);
    entry.break_even = in_.Scalar<float>(t, id::kBreakEven, 0);
    return entry;
  }

  Image ReadImage(const FlatTable &t) {
    Image image{};
    image.isa = in_.String(t, id::kIsa, EMOE_LIMIT_NAME_BYTES);
    image.machine = in_.Scalar<uint16_t>(t, id::kMachine, 0);
    image.features = in_.Scalar<uint64_t>(t, id::kFeatures, 0);
    image.offset = in_.Scalar<uint64_t>(t, id::kImageOffset, 0);
    image.bytes = in_.Scalar<uint64_t>(t, id::kImageBytes, 0);
    image.entries = in_.Vector<uint64_t>(t, id::kEntries, EMOE_LIMIT_KERNELS);
    return image;
  }

  FlatReader in_;
  Tail tail_;
  bool filling_;
  Bundle *out_;
};

}  // namespace

Status ReadIndex(void **memory, size_t bytes, Bundle *bundle) {
  Bundle counted;
  Walk count(static_cast<const uint8_t *>(*memory), bytes, nullptr, &counted);
  RT_RETURN_IF_ERROR(count.Run());
  uint64_t first = 0, total = 0;
  if (!CheckedRoundUp(bytes, 8, &first) || !CheckedAdd(first, count.table_bytes(), &total) || total > SIZE_MAX) {
    return Error(StatusCode::kBadBundle, "index: its tables are too large (bytes)", bytes);
  }
  void *grown = realloc(*memory, total + 1);  // the end is never at the address of something else
  if (grown == nullptr) return Error(StatusCode::kBudget, "no memory for the index's tables (bytes)", total);
  *memory = grown;
  char *start = static_cast<char *>(grown);
  Walk fill(static_cast<const uint8_t *>(grown), bytes, start + first, bundle);
  RT_RETURN_IF_ERROR(fill.Run());
  bundle->memory = grown;
  bundle->bytes_held = total + 1;
  return OkStatus();
}

}  // namespace emoe::rt
