#include "runtime/bundle/check.h"

#include <string.h>

#include "runtime/bundle/checked.h"
#include "runtime/bundle/predictors.h"
#include "schema/format.h"
#include "schema/kernel_abi.h"
#include "schema/limits.h"

namespace emoe::rt {
namespace {

Status Bad(const char *what, uint64_t detail = 0, uint64_t detail2 = 0) {
  return Error(StatusCode::kBadBundle, what, detail, detail2);
}

bool InRange(uint64_t value, uint64_t low, uint64_t high) { return value >= low && value <= high; }

class Checker {
 public:
  explicit Checker(const Bundle &bundle) : b_(bundle) {}

  Status Run() {
    RT_RETURN_IF_ERROR(CheckModel());
    RT_RETURN_IF_ERROR(CheckPlan());
    RT_RETURN_IF_ERROR(CheckTensors());
    RT_RETURN_IF_ERROR(CheckMemory());
    RT_RETURN_IF_ERROR(CheckKernels());
    RT_RETURN_IF_ERROR(CheckImages());
    RT_RETURN_IF_ERROR(CheckMoeLayers());
    RT_RETURN_IF_ERROR(CheckCache());
    RT_RETURN_IF_ERROR(CheckWidths());
    RT_RETURN_IF_ERROR(CheckSteps());
    RT_RETURN_IF_ERROR(CheckLogits());
    return CheckPredictors(b_);
  }

 private:
  Status CheckModel();
  Status CheckPlan();
  Status CheckWidths();
  Status CheckCache();
  Status CheckNextUse(uint64_t keys);
  Status CheckTensors();
  Status CheckMemory();
  Status CheckKernels();
  Status CheckImages();
  Status CheckMoeLayers();
  Status CheckVariant(const Variant &variant, uint64_t layer);
  Status CheckSteps();
  Status CheckKernelStep(const Step &step, uint64_t number);
  Status CheckOperands(const Step &step, uint32_t kernel, uint64_t first, uint64_t number);
  Status CheckLookAheadStep(const Step &step, uint64_t number, uint64_t next_layer);
  Status CheckBufferOperand(const Step &step, const Extent &extent, uint32_t buffer, uint64_t number, uint64_t operand);
  Status CheckExpertsStep(const Step &step, uint64_t number);
  Status CheckExpertKernel(uint32_t kernel, uint64_t input_row, uint64_t weights, uint64_t output_row, uint64_t number);
  Status CheckLogits();

  const Bundle &b_;
};

Status Checker::CheckModel() {
  const auto &m = b_.model;
  if (!IsPlainText(m.architecture)) return Bad("model: architecture is not plain UTF-8");
  if (!InRange(m.vocab, 1, EMOE_LIMIT_VOCAB)) return Bad("model: vocab is out of range (vocab)", m.vocab);
  if (!InRange(m.hidden, 1, EMOE_LIMIT_WIDTH)) return Bad("model: hidden is out of range (hidden)", m.hidden);
  if (!InRange(m.layers, 1, EMOE_LIMIT_LAYERS)) return Bad("model: layers is out of range (layers)", m.layers);
  if (!InRange(m.context, 1, EMOE_LIMIT_CONTEXT)) return Bad("model: context is out of range (context)", m.context);
  if (m.positions != 0 && m.positions < m.context) {
    return Bad("model: has fewer positions than its context (positions, context)", m.positions, m.context);
  }
  if (m.first_token < -1 || m.first_token >= static_cast<int64_t>(m.vocab)) {
    return Bad("model: first_token is not in the vocabulary (token, vocab)", static_cast<uint32_t>(m.first_token),
               m.vocab);
  }
  for (int32_t token : m.stop_tokens) {
    if (token < 0 || token >= static_cast<int64_t>(m.vocab)) {
      return Bad("model: a stop token is not in the vocabulary (token, vocab)", static_cast<uint32_t>(token), m.vocab);
    }
  }
  return OkStatus();
}

Status Checker::CheckPlan() {
  const auto &p = b_.plan;
  if (!InRange(p.context, 1, b_.model.context)) {
    return Bad("plan: context is not between 1 and the model's (context, model's)", p.context, b_.model.context);
  }
  if (!InRange(p.chunk, 1, EMOE_LIMIT_PREFILL_CHUNK)) return Bad("plan: chunk is out of range (chunk)", p.chunk);
  if (!IsPlainText(p.policy)) return Bad("plan: policy is not plain UTF-8");
  const auto &provenance = b_.provenance;
  if (!IsPlainText(provenance.producer) || !IsPlainText(provenance.source) || !IsPlainText(provenance.source_hash) ||
      !IsPlainText(provenance.options)) {
    return Bad("provenance: a text is not plain UTF-8");
  }
  const auto &calibration = b_.calibration;
  if (!IsPlainText(calibration.texts) || !IsPlainText(calibration.hash)) {
    return Bad("calibration: a text is not plain UTF-8");
  }
  if ((calibration.fit_tokens == 0) != (calibration.held_out_tokens == 0)) {
    return Bad("calibration: tokens without others to judge on, or the reverse (fitted, held out)",
               calibration.fit_tokens, calibration.held_out_tokens);
  }
  if (!(calibration.held_out_loss >= 0 && calibration.held_out_loss <= 1e6f)) {
    return Bad("calibration: the loss is not between 0 and a million");
  }
  return OkStatus();
}

Status Checker::CheckWidths() {
  const auto &w = b_.widths;
  const Text texts[] = {w.policy, w.rounding, w.measure, w.uniform_format, w.rival_format, w.notes};
  for (const Text &text : texts) {
    if (!IsPlainText(text)) return Bad("widths: a text is not plain UTF-8");
  }
  const double numbers[] = {w.tolerance,    w.predicted,  w.verified,    w.verified_error,   w.divergence,
                            w.uniform_loss, w.rival_loss, w.random_loss, w.random_divergence};
  for (double number : numbers) {
    if (!(number - number == 0)) return Bad("widths: a number is not finite");
  }
  if (w.amplification.size != 0 && w.amplification.size != b_.moe_layers.size) {
    return Bad("widths: amplification is not there for each mixture layer (numbers, layers)", w.amplification.size,
               b_.moe_layers.size);
  }
  for (float number : w.amplification) {
    if (!(number - number == 0)) return Bad("widths: a number is not finite");
  }
  return OkStatus();
}

// What the plan says of the cache, against the mixture layers.
Status Checker::CheckCache() {
  const auto &p = b_.plan;
  uint64_t keys = 0;
  for (const MoeLayer &layer : b_.moe_layers) keys += layer.experts;
  for (uint64_t i = 0; i < p.choices.size; ++i) {
    const CacheChoice &choice = p.choices[i];
    if (choice.slots > keys || (i != 0 && choice.slots <= p.choices[i - 1].slots)) {
      return Bad("plan: choices do not ascend by slots, or have more than there are records (choice, slots)", i,
                 choice.slots);
    }
    if (choice.policy > CachePolicy::kNextUse || choice.per_layer > 1 || choice.distance_power > 8) {
      return Bad("plan: a choice of no policy of this format (choice)", i);
    }
    if (choice.pinned > keys) return Bad("plan: a choice pins more records than there are (choice)", i, choice.pinned);
  }
  auto is_rate = [](float rate) { return rate >= 0 && rate <= 1; };
  for (uint64_t i = 0; i < p.hit_curve.size; ++i) {
    const HitPoint &point = p.hit_curve[i];
    if (point.slots > keys || (i != 0 && point.slots <= p.hit_curve[i - 1].slots)) {
      return Bad("plan: the hit curve does not ascend by slots, or has more than there are records (point, slots)", i,
                 point.slots);
    }
    if (!is_rate(point.lru) || !is_rate(point.lfu) || !is_rate(point.planned) || !is_rate(point.belady)) {
      return Bad("plan: a hit rate is not between 0 and 1 (point)", i);
    }
  }
  if (p.recommended_slots > keys) {
    return Bad("plan: more slots recommended than there are records (slots)", p.recommended_slots);
  }
  if (!(p.regret >= -1 && p.regret <= 1)) return Bad("plan: regret is not between -1 and 1");
  return CheckNextUse(keys);
}

// Blocks ascend and their rows follow each other, so each byte of `rows` belongs to one of them.
Status Checker::CheckNextUse(uint64_t keys) {
  const auto &n = b_.plan.next_use;
  if (n.usual.size != 0 && n.usual.size != keys) {
    return Bad("next_use: usual has not one value per record (values, records)", n.usual.size, keys);
  }
  if (n.blocks.size != 0 && n.usual.size == 0) return Bad("next_use: blocks without usual");
  if (!(n.scale >= 0 && n.scale <= 1)) return Bad("next_use: scale is not between 0 and 1");
  uint64_t end = 0, before = 0;
  for (uint64_t i = 0; i < n.blocks.size; ++i) {
    const NextUseBlock &block = n.blocks[i];
    if (block.source >= b_.moe_layers.size || block.target >= b_.moe_layers.size || block.same_token > 1 ||
        (block.same_token == 1 && block.source >= block.target)) {
      return Bad("next_use: a block has no such layers (block)", i);
    }
    uint64_t order = (uint64_t{block.source} << 17 | uint64_t{block.target} << 1 | block.same_token) + 1;
    if (order <= before) return Bad("next_use: blocks do not ascend (block)", i);
    before = order;
    if (block.first != end) return Bad("next_use: a block's rows do not follow those before (block)", i, block.first);
    end += uint64_t{b_.moe_layers[block.source].experts} * b_.moe_layers[block.target].experts;
  }
  if (n.rows.size != end) return Bad("next_use: its rows are not those of its blocks (bytes, expected)", n.rows.size, end);
  return OkStatus();
}

// Tensors follow each other in the resident section, each at the first multiple of 64 after the one before.
Status Checker::CheckTensors() {
  uint64_t end = 0, crcs = 0;
  for (uint64_t i = 0; i < b_.tensors.size; ++i) {
    const Tensor &t = b_.tensors[i];
    if (!IsPlainText(t.name)) return Bad("tensor: its name is not plain UTF-8 (tensor)", i);
    if (!InRange(t.rows, 1, EMOE_LIMIT_DIMENSION) || !InRange(t.columns, 1, EMOE_LIMIT_DIMENSION)) {
      return Bad("tensor: rows or columns are out of range (tensor)", i);
    }
    uint64_t bytes = 0, start = 0;
    if (!PackedBytes(t.layout, t.rows, t.columns, &bytes)) return Bad("tensor: no layout of this format (tensor)", i);
    if (t.bytes != bytes) return Bad("tensor: bytes do not fit its shape and layout (tensor, bytes)", i, t.bytes);
    if (!CheckedRoundUp(end, 64, &start) || t.offset != start) {
      return Bad("tensor: does not follow the one before (tensor, offset)", i, t.offset);
    }
    if (!FitsIn(t.offset, t.bytes, b_.resident.length)) {
      return Bad("tensor: leaves the resident section (tensor, section's bytes)", i, b_.resident.length);
    }
    end = t.offset + t.bytes;  // at most the section's length
    if (!t.paged && crcs != 0) return Bad("tensor: is not paged, but comes after one that is (tensor)", i);
    if (!t.paged) continue;
    if (t.layout.panel != EMOE_PANEL_ROWS || t.rows < b_.model.vocab) {
      return Bad("tensor: is paged, but has no panels or fewer rows than there are tokens (tensor)", i);
    }
    crcs += (crcs == 0) + (uint64_t{t.rows} + EMOE_PANEL_ROWS - 1) / EMOE_PANEL_ROWS;
  }
  if (crcs != b_.panel_crcs.size) {
    return Bad("index: panel_crcs are not those of the paged tensors (checksums, expected)", b_.panel_crcs.size, crcs);
  }
  if (end != b_.resident.length) {
    return Bad("resident section: has bytes that belong to no tensor (end of tensors, section's bytes)", end,
               b_.resident.length);
  }
  return OkStatus();
}

// What activations and caches take.
Status Checker::CheckMemory() {
  for (uint64_t i = 0; i < b_.buffers.size; ++i) {
    const Buffer &buffer = b_.buffers[i];
    if (buffer.fixed > EMOE_LIMIT_FIXED_BYTES || buffer.per_token > EMOE_LIMIT_ROW_BYTES) {
      return Bad("buffer: larger than the format allows (buffer)", i);
    }
    if (buffer.slot >= b_.buffers.size) return Bad("buffer: no such slot (buffer, slot)", i, buffer.slot);
    if (buffer.rows > Rows::kSource) {
      return Bad("buffer: rows is none of All, Wanted and Source (buffer, rows)", i, static_cast<uint32_t>(buffer.rows));
    }
  }
  if (b_.kv_bits != 32 && b_.kv_bits != 16) return Bad("index: kv_bits is neither 32 nor 16 (bits)", b_.kv_bits);
  for (uint64_t i = 0; i < b_.kv_layers.size; ++i) {
    const KvLayer &layer = b_.kv_layers[i];
    if (!InRange(layer.kv_heads, 1, EMOE_LIMIT_KV_HEADS) || !InRange(layer.head_dim, 1, EMOE_LIMIT_HEAD_DIM)) {
      return Bad("attention layer: kv_heads or head_dim are out of range (attention layer)", i);
    }
  }
  for (uint64_t i = 0; i < b_.states.size; ++i) {
    if (!InRange(b_.states[i], 64, EMOE_LIMIT_STATE_BYTES) || b_.states[i] % 64 != 0) {
      return Bad("recurrent state: its size is out of range or no multiple of 64 (state, bytes)", i, b_.states[i]);
    }
  }
  return OkStatus();
}

Status Checker::CheckKernels() {
  if (b_.kernel_table.size == 0) return Bad("index: it lists no kernels");
  for (uint64_t i = 0; i < b_.kernel_table.size; ++i) {
    const Kernel &kernel = b_.kernel_table[i];
    if (!IsPlainText(kernel.name)) return Bad("kernel: its name is not plain UTF-8 (kernel)", i);
    for (const Extent &extent : kernel.extents) {
      if (extent.fixed > EMOE_LIMIT_FIXED_BYTES || extent.per_token > EMOE_LIMIT_ROW_BYTES ||
          extent.per_position > EMOE_LIMIT_ROW_BYTES) {
        return Bad("kernel: an extent is larger than the format allows (kernel)", i);
      }
    }
    if (kernel.tiles_fixed > EMOE_LIMIT_TILES || kernel.tiles_per_token > EMOE_LIMIT_TILES ||
        (kernel.tiles_fixed == 0 && kernel.tiles_per_token == 0)) {
      return Bad("kernel: its number of tiles is out of range (kernel)", i);
    }
  }
  return OkStatus();
}

// Images follow each other in the kernels section, each at the first multiple of 4096 after the one before.
Status Checker::CheckImages() {
  if (b_.images.size == 0) return Bad("index: it lists no kernel images");
  uint64_t end = 0;
  for (uint64_t i = 0; i < b_.images.size; ++i) {
    const Image &image = b_.images[i];
    if (image.isa.size == 0 || !IsPlainText(image.isa)) return Bad("image: isa is empty or not plain UTF-8 (image)", i);
    for (uint64_t j = 0; j < i; ++j) {
      const Text &other = b_.images[j].isa;
      if (other.size == image.isa.size && memcmp(other.data, image.isa.data, other.size) == 0) {
        return Bad("image: two have the same isa (image, other)", i, j);
      }
    }
    if (!InRange(image.bytes, 1, EMOE_LIMIT_IMAGE_BYTES)) {
      return Bad("image: its size is out of range (image, bytes)", i, image.bytes);
    }
    uint64_t start = 0;
    if (!CheckedRoundUp(end, EMOE_SECTION_ALIGN, &start) || image.offset != start) {
      return Bad("image: does not follow the one before (image, offset)", i, image.offset);
    }
    if (!FitsIn(image.offset, image.bytes, b_.kernels.length)) {
      return Bad("image: leaves the kernels section (image, section's bytes)", i, b_.kernels.length);
    }
    end = image.offset + image.bytes;  // at most the section's length
    if (image.entries.size != b_.kernel_table.size) {
      return Bad("image: has another number of entries than there are kernels (image, entries)", i, image.entries.size);
    }
  }
  if (end != b_.kernels.length) {
    return Bad("kernels section: has bytes that belong to no image (end of images, section's bytes)", end,
               b_.kernels.length);
  }
  return OkStatus();
}

Status Checker::CheckVariant(const Variant &v, uint64_t layer) {
  uint64_t bytes = 0;
  if (!InRange(v.record_bytes, EMOE_SECTION_ALIGN, EMOE_LIMIT_RECORD_BYTES) || v.record_bytes % EMOE_SECTION_ALIGN) {
    return Bad("variant: record_bytes is out of range or no multiple of 4096 (mixture layer, bytes)", layer,
               v.record_bytes);
  }
  if (v.gate_up_offset % 64 || v.down_offset % 64 || v.gate_up_offset >= v.down_offset ||
      v.down_offset >= v.record_bytes) {
    return Bad("variant: its parts lie outside the record, out of order or not aligned (mixture layer)", layer);
  }
  uint32_t end = 0;
  for (uint32_t chunk_end : v.chunk_ends) {
    if (chunk_end <= end || chunk_end - end > EMOE_CHUNK_BYTES || chunk_end > v.record_bytes) {
      return Bad("variant: chunk_ends do not ascend by at most 262144 (mixture layer, end)", layer, chunk_end);
    }
    end = chunk_end;
  }
  if (end != v.record_bytes) return Bad("variant: chunks do not cover the record (mixture layer, end)", layer, end);
  if (v.activations != Activations::kF32 && v.activations != Activations::kQ8) {
    return Bad("variant: unknown activations (mixture layer, value)", layer, static_cast<uint8_t>(v.activations));
  }
  const Layout layouts[] = {v.layout, v.down_layout};
  for (const Layout &layout : layouts) {
    if (layout.panel != EMOE_PANEL_ROWS || !PackedBytes(layout, 1, 1, &bytes)) {
      return Bad("variant: no layout of this format for experts (mixture layer)", layer);
    }
  }
  if (v.gate_up_kernel >= b_.kernel_table.size || v.down_kernel >= b_.kernel_table.size) {
    return Bad("variant: no such kernel (mixture layer)", layer);
  }
  return OkStatus();
}

// Records cover the experts section and chunk_crcs, in (layer, expert) order without gaps.
Status Checker::CheckMoeLayers() {
  uint64_t offset = 0, crc = 0;
  for (uint64_t i = 0; i < b_.moe_layers.size; ++i) {
    const MoeLayer &layer = b_.moe_layers[i];
    if (!InRange(layer.experts, 1, EMOE_LIMIT_EXPERTS)) {
      return Bad("mixture layer: number of experts is out of range (mixture layer, experts)", i, layer.experts);
    }
    if (!InRange(layer.top_k, 1, layer.experts)) {
      return Bad("mixture layer: top_k is not between 1 and its experts (mixture layer, top_k)", i, layer.top_k);
    }
    if (layer.ranked && (layer.capacity == 0 || layer.top_k != 2)) {
      return Bad("mixture layer: ranks choices, but has no capacity or not two of them (mixture layer, top_k)", i, layer.top_k);
    }
    // Neither infinite nor NaN; a sum of zero is never divided by.
    constexpr float kMost = 1e30f;
    if (!(layer.weight_floor >= 0 && layer.weight_floor <= kMost && layer.weight_scale >= 0 && layer.weight_scale <= kMost) ||
        (layer.weight_scale > 0 && (layer.capacity == 0 || layer.weight_floor == 0))) {
      return Bad("mixture layer: weight_floor or weight_scale is out of range, or has no capacity (mixture layer)", i);
    }
    if (layer.records.size != layer.experts) {
      return Bad("mixture layer: not one record per expert (mixture layer, records)", i, layer.records.size);
    }
    if (layer.variants.size == 0) return Bad("mixture layer: has no variants (mixture layer)", i);
    for (const Variant &variant : layer.variants) RT_RETURN_IF_ERROR(CheckVariant(variant, i));
    for (uint64_t e = 0; e < layer.records.size; ++e) {
      const Record &record = layer.records[e];
      if (record.variant >= layer.variants.size) return Bad("record: no such variant (mixture layer, expert)", i, e);
      const Variant &variant = layer.variants[record.variant];
      if (record.offset != offset || !FitsIn(offset, variant.record_bytes, b_.experts.length)) {
        return Bad("record: does not follow the one before or leaves its section (mixture layer, expert)", i, e);
      }
      if (record.first_crc != crc || !FitsIn(crc, variant.chunk_ends.size, b_.chunk_crcs.size)) {
        return Bad("record: its checksums are not the next ones (mixture layer, expert)", i, e);
      }
      offset += variant.record_bytes;  // both stay within what FitsIn compared with
      crc += variant.chunk_ends.size;
    }
  }
  if (offset != b_.experts.length) {
    return Bad("experts section: has bytes that belong to no record (end of records, section's bytes)", offset,
               b_.experts.length);
  }
  if (crc != b_.chunk_crcs.size) {
    return Bad("index: has checksums that belong to no record (used, present)", crc, b_.chunk_crcs.size);
  }
  return OkStatus();
}

// A buffer must hold what the kernel may touch, for every number of rows.
Status Checker::CheckBufferOperand(const Step &step, const Extent &extent, uint32_t index, uint64_t number,
                                   uint64_t operand) {
  if (index >= b_.buffers.size) return Bad("step: no such buffer (step, operand)", number, operand);
  const Buffer &buffer = b_.buffers[index];
  if (extent.fixed > buffer.fixed || extent.per_token > buffer.per_token || extent.per_position != 0) {
    return Bad("step: its kernel touches more than the buffer holds (step, operand)", number, operand);
  }
  if ((step.rows == Rows::kSource) != (buffer.rows == Rows::kSource)) {
    return Bad("step: runs on the source's rows of a buffer for a chunk's, or the reverse (step, operand)", number, operand);
  }
  if (step.rows == Rows::kAll && buffer.rows == Rows::kWanted) {
    return Bad("step: runs on all rows of a buffer that holds the wanted ones (step, operand)", number, operand);
  }
  // The runtime enters the buffer at the wanted row, whose stride must be the kernel's.
  if (step.rows == Rows::kWanted && buffer.rows == Rows::kAll &&
      (buffer.fixed != 0 || extent.per_token != buffer.per_token)) {
    return Bad("step: wanted rows of a buffer with another row size (step, operand)", number, operand);
  }
  return OkStatus();
}

Status Checker::CheckKernelStep(const Step &step, uint64_t number) {
  if (step.kernel >= b_.kernel_table.size) return Bad("step: no such kernel (step, kernel)", number, step.kernel);
  const Kernel &kernel = b_.kernel_table[step.kernel];
  if (step.operands.size != kernel.extents.size) {
    return Bad("step: has another number of operands than its kernel (step, operands)", number, step.operands.size);
  }
  RT_RETURN_IF_ERROR(CheckOperands(step, step.kernel, 0, number));
  if (!LooksUpPaged(b_, step)) return OkStatus();
  // The runtime enters rows at any token.
  for (uint64_t i = 2; i < step.operands.size; ++i) {
    const Operand &operand = step.operands[i];
    if (operand.kind == OperandKind::kNone) continue;
    if (operand.kind != OperandKind::kBuffer || b_.buffers[operand.index].fixed != 0 ||
        kernel.extents[i].per_token != b_.buffers[operand.index].per_token) {
      return Bad("step: looks a paged tensor up into something else than rows of a buffer (step, operand)", number, i);
    }
  }
  return OkStatus();
}

// Operands first, first + 1, ... of the step are those of `index`, which exists; the step has enough of them.
Status Checker::CheckOperands(const Step &step, uint32_t index, uint64_t first, uint64_t number) {
  const Kernel &kernel = b_.kernel_table[index];
  for (uint64_t i = first; i < first + kernel.extents.size; ++i) {
    const Operand &operand = step.operands[i];
    const Extent &extent = kernel.extents[i - first];
    const char *too_much = "step: its kernel touches more than the operand holds (step, operand)";
    switch (operand.kind) {
      case OperandKind::kNone:
        if (extent.fixed != 0 || extent.per_token != 0 || extent.per_position != 0) return Bad(too_much, number, i);
        break;
      case OperandKind::kTokenIds:
        if (extent.fixed != 0 || extent.per_token > 4 || extent.per_position != 0) return Bad(too_much, number, i);
        break;
      case OperandKind::kBuffer:
        RT_RETURN_IF_ERROR(CheckBufferOperand(step, extent, operand.index, number, i));
        break;
      case OperandKind::kTensor:
        if (operand.index >= b_.tensors.size) return Bad("step: no such tensor (step, operand)", number, i);
        if (extent.fixed > b_.tensors[operand.index].bytes || extent.per_token != 0 || extent.per_position != 0) {
          return Bad(too_much, number, i);
        }
        if (b_.tensors[operand.index].paged && (i != 1 || !LooksUpPaged(b_, step))) {
          return Bad("step: a paged tensor is not looked up by token ids (step, operand)", number, i);
        }
        break;
      case OperandKind::kKvKeys:
      case OperandKind::kKvValues: {
        if (operand.index >= b_.kv_layers.size) return Bad("step: no such attention layer (step, operand)", number, i);
        const KvLayer &layer = b_.kv_layers[operand.index];
        uint64_t row = b_.kv_bits / 8 * static_cast<uint64_t>(layer.kv_heads) * layer.head_dim;  // <= 2^26
        if (extent.fixed != 0 || extent.per_token != 0 || extent.per_position > row) return Bad(too_much, number, i);
        break;
      }
      case OperandKind::kState:
        if (operand.index >= b_.states.size) return Bad("step: no such recurrent state (step, operand)", number, i);
        if (extent.fixed > b_.states[operand.index] || extent.per_token != 0 || extent.per_position != 0) {
          return Bad(too_much, number, i);
        }
        // A state goes on with the tokens once; looking ahead may be left out.
        if (step.kind != StepKind::kKernel) {
          return Bad("step: looks ahead with a recurrent state (step, operand)", number, i);
        }
        if (step.rows == Rows::kSource) return Bad("step: the source's rows have no recurrent state (step, operand)", number, i);
        break;
      default:
        return Bad("step: unknown kind of operand (step, operand)", number, i);
    }
    // Rows that are wanted are counted from the first of them; ids, caches and states are not.
    if (step.rows == Rows::kWanted && operand.kind != OperandKind::kNone && operand.kind != OperandKind::kBuffer &&
        operand.kind != OperandKind::kTensor) {
      return Bad("step: wanted rows of token ids, a cache or a state (step, operand)", number, i);
    }
  }
  return OkStatus();
}

// Scores of the layer after the next one: a norm, its router, and what is added before experts are chosen.
Status Checker::CheckLookAheadStep(const Step &step, uint64_t number, uint64_t next_layer) {
  if (step.rows != Rows::kAll) return Bad("step: looking ahead runs on all rows only (step)", number);
  if (step.layer != next_layer + 1 || step.layer >= b_.moe_layers.size) {
    return Bad("step: looks ahead to a mixture layer that is not the one after the next (step, mixture layer)", number,
               step.layer);
  }
  if (step.kernel >= b_.kernel_table.size) return Bad("step: no such kernel (step, kernel)", number, step.kernel);
  if (step.router >= b_.kernel_table.size) return Bad("step: no such kernel (step, kernel)", number, step.router);
  const uint64_t first = b_.kernel_table[step.kernel].extents.size, count = b_.kernel_table[step.router].extents.size;
  if (count < 3 || step.operands.size < first + count || step.operands.size > first + count + 1) {
    return Bad("step: has another number of operands than its kernels (step, operands)", number, step.operands.size);
  }
  RT_RETURN_IF_ERROR(CheckOperands(step, step.kernel, 0, number));
  RT_RETURN_IF_ERROR(CheckOperands(step, step.router, first, number));
  const uint64_t scores = 4ull * b_.moe_layers[step.layer].experts;
  const Operand &out = step.operands[first + 2];
  if (out.kind != OperandKind::kBuffer || b_.kernel_table[step.router].extents[2].per_token < scores) {
    return Bad("step: its router's third operand is no buffer for scores (step, operand)", number, first + 2);
  }
  if (step.operands.size > first + count) {
    const Operand &bias = step.operands[first + count];
    if (bias.kind != OperandKind::kTensor || bias.index >= b_.tensors.size || b_.tensors[bias.index].bytes < scores ||
        b_.tensors[bias.index].paged) {
      return Bad("step: the selection bias is no tensor of its size (step, operand)", number, first + count);
    }
  }
  if (step.score > ScoreFunction::kNone) {
    return Bad("step: unknown score function (step, value)", number, static_cast<uint8_t>(step.score));
  }
  return OkStatus();
}

// Rows are bytes of one row of input and output; `weights` bytes are left in the record.
Status Checker::CheckExpertKernel(uint32_t index, uint64_t input_row, uint64_t weights, uint64_t output_row,
                                  uint64_t number) {
  const Kernel &kernel = b_.kernel_table[index];  // CheckVariant looked
  if (kernel.extents.size != 3) return Bad("step: an expert kernel has not three operands (step, kernel)", number, index);
  const Extent &in = kernel.extents[0], &w = kernel.extents[1], &out = kernel.extents[2];
  if (in.fixed != 0 || in.per_position != 0 || in.per_token > input_row) {
    return Bad("step: an expert kernel reads more than an input row (step, kernel)", number, index);
  }
  if (w.fixed > weights || w.per_token != 0 || w.per_position != 0) {
    return Bad("step: an expert kernel reads more than its part of the record (step, kernel)", number, index);
  }
  if (out.fixed != 0 || out.per_position != 0 || out.per_token > output_row) {
    return Bad("step: an expert kernel writes more than an output row (step, kernel)", number, index);
  }
  return OkStatus();
}

Status Checker::CheckExpertsStep(const Step &step, uint64_t number) {
  const MoeLayer &layer = b_.moe_layers[step.layer];
  if (step.rows == Rows::kWanted) return Bad("step: experts run on all rows only (step)", number);
  if (layer.source != (step.rows == Rows::kSource)) {
    return Bad("step: experts of the encoder run on the source's rows, others on a chunk's (step)", number);
  }
  const uint64_t count = layer.capacity != 0 ? 6 : 5;
  if (step.operands.size != count) {
    return Bad("step: experts take five operands, six with a capacity (step, operands)", number, step.operands.size);
  }
  for (uint64_t i = 0; i < count; ++i) {
    const Operand &operand = step.operands[i];
    if (operand.kind == OperandKind::kNone && i < 2) continue;
    if (operand.kind != OperandKind::kBuffer || operand.index >= b_.buffers.size ||
        b_.buffers[operand.index].rows != step.rows) {
      return Bad("step: an operand of experts is no buffer of all its rows (step, operand)", number, i);
    }
  }
  auto row_bytes = [&](size_t operand) { return b_.buffers[step.operands[operand].index].per_token; };
  if (row_bytes(2) < 4ull * layer.top_k) {
    return Bad("step: the buffer of expert ids is too small (step, bytes per token)", number, row_bytes(2));
  }
  if (count == 6 && row_bytes(5) < 4ull * layer.top_k) {
    return Bad("step: the buffer of experts' weights is too small (step, bytes per token)", number, row_bytes(5));
  }
  // A token has top_k rows in hidden and in pairs.
  const uint64_t hidden = row_bytes(3) / layer.top_k, pair = row_bytes(4) / layer.top_k;
  for (const Variant &variant : layer.variants) {
    size_t input = variant.activations == Activations::kQ8 ? 1 : 0;
    if (step.operands[input].kind == OperandKind::kNone) {
      return Bad("step: an input that a variant reads is absent (step, operand)", number, input);
    }
    RT_RETURN_IF_ERROR(CheckExpertKernel(variant.gate_up_kernel, row_bytes(input),
                                         variant.down_offset - variant.gate_up_offset, hidden, number));
    RT_RETURN_IF_ERROR(CheckExpertKernel(variant.down_kernel, hidden, variant.record_bytes - variant.down_offset, pair,
                                         number));
  }
  return OkStatus();
}

// Every mixture layer runs once, in order: the runtime looks ahead from each to the next.
Status Checker::CheckSteps() {
  uint64_t next_layer = 0, looked_for = 0;  // one look-ahead a layer; 0 never has one
  for (uint64_t i = 0; i < b_.steps.size; ++i) {
    const Step &step = b_.steps[i];
    if (step.rows > Rows::kSource) {
      return Bad("step: rows is none of All, Wanted and Source (step, rows)", i, static_cast<uint32_t>(step.rows));
    }
    if (step.kind == StepKind::kKernel) {
      RT_RETURN_IF_ERROR(CheckKernelStep(step, i));
    } else if (step.kind == StepKind::kExperts) {
      if (step.layer != next_layer || next_layer >= b_.moe_layers.size) {
        return Bad("step: mixture layers do not run once each, in order (step, mixture layer)", i, step.layer);
      }
      RT_RETURN_IF_ERROR(CheckExpertsStep(step, i));
      ++next_layer;
    } else if (step.kind == StepKind::kLookAhead) {
      RT_RETURN_IF_ERROR(CheckLookAheadStep(step, i, next_layer));
      if (step.layer == looked_for) {
        return Bad("step: looks ahead to the same mixture layer again (step, mixture layer)", i, step.layer);
      }
      looked_for = step.layer;
    } else {
      return Bad("step: unknown kind (step, kind)", i, static_cast<uint8_t>(step.kind));
    }
  }
  if (next_layer != b_.moe_layers.size) return Bad("program: a mixture layer never runs (mixture layer)", next_layer);
  return OkStatus();
}

Status Checker::CheckLogits() {
  if (b_.logits >= b_.buffers.size) return Bad("program: logits are in no buffer (buffer)", b_.logits);
  const Buffer &buffer = b_.buffers[b_.logits];
  uint64_t row = sizeof(float) * ((static_cast<uint64_t>(b_.model.vocab) + EMOE_ROW_ALIGN - 1) / EMOE_ROW_ALIGN *
                                  EMOE_ROW_ALIGN);
  if (buffer.rows != Rows::kWanted || buffer.fixed != 0 || buffer.per_token != row) {
    return Bad("program: the logits' buffer does not hold f32 rows of the vocabulary (buffer, bytes per row)",
               b_.logits, buffer.per_token);
  }
  return OkStatus();
}

}  // namespace

// Codes and scales of a form that FORMAT.md lists.
static bool IsPacked(const Layout &layout) {
  const uint16_t group = layout.group;
  const bool integer = layout.codebook == 0 && (layout.bits == 8 || layout.bits == 4);
  const bool ternary = layout.codebook == kTernary && layout.bits == 2;
  const bool centred = layout.codebook == kCentred && (layout.bits == 3 || layout.bits == 2);
  return (integer || ternary || centred) && layout.float_type == static_cast<uint8_t>(FloatType::kF16) &&
         (group == 32 || group == 64 || group == 128 || group == 256);
}

// Bytes of the codes of a group with so many stored columns, in a panel.
static uint64_t PayloadBytes(const Layout &layout, uint64_t columns) {
  constexpr uint64_t kUnit = 4 * EMOE_PANEL_ROWS;
  const uint64_t dwords = columns / 4;
  return layout.codebook == kTernary ? dwords / 5 * kUnit + dwords % 5 * EMOE_PANEL_ROWS : dwords * kUnit * layout.bits / 8;
}

bool PackedBytes(const Layout &layout, uint64_t rows, uint64_t columns, uint64_t *bytes) {
  const bool is_float = layout.bits == 32 || layout.bits == 16;
  const bool f32 = layout.float_type == static_cast<uint8_t>(FloatType::kF32);
  if (layout.zero_point != 0 || layout.float_type > static_cast<uint8_t>(FloatType::kBf16)) return false;
  if (is_float ? (layout.codebook != 0 || layout.group != 0 || f32 != (layout.bits == 32)) : !IsPacked(layout)) {
    return false;
  }
  if (layout.panel == 1) {
    return layout.bits == 32 && CheckedMul(rows, columns, bytes) && CheckedMul(*bytes, sizeof(float), bytes) &&
           CheckedRoundUp(*bytes, 64, bytes);
  }
  if (layout.panel != EMOE_PANEL_ROWS) return false;
  uint64_t panels = 0, panel = 0;
  if (!CheckedRoundUp(rows, EMOE_PANEL_ROWS, &panels)) return false;
  panels /= EMOE_PANEL_ROWS;
  if (is_float) {
    return CheckedMul(columns, uint64_t{EMOE_PANEL_ROWS} * layout.bits / 8, &panel) && CheckedMul(panels, panel, bytes);
  }
  constexpr uint64_t kScaleBytes = 2 * EMOE_PANEL_ROWS;
  uint64_t padded = 0;
  if (!CheckedRoundUp(columns, 64, &padded)) return false;
  const uint64_t rest = padded % layout.group;
  if (!CheckedMul(padded / layout.group, kScaleBytes + PayloadBytes(layout, layout.group), &panel)) return false;
  if (rest != 0 && !CheckedAdd(panel, kScaleBytes + PayloadBytes(layout, rest), &panel)) return false;
  return CheckedRoundUp(panel, 32, &panel) && CheckedMul(panels, panel, bytes) && CheckedRoundUp(*bytes, 64, bytes);
}

bool PanelBytes(const Layout &layout, uint64_t columns, uint64_t *bytes) {
  uint64_t two = 0;  // no padding comes behind two panels
  if (layout.panel != EMOE_PANEL_ROWS || !PackedBytes(layout, 2 * EMOE_PANEL_ROWS, columns, &two)) return false;
  *bytes = two / 2;
  return true;
}

uint64_t BytesBeforePaged(const Bundle &bundle) {
  for (const Tensor &tensor : bundle.tensors) {
    if (tensor.paged) return tensor.offset;
  }
  return bundle.resident.length;
}

bool LooksUpPaged(const Bundle &bundle, const Step &step) {
  return step.kind == StepKind::kKernel && step.operands.size > 1 && step.operands[0].kind == OperandKind::kTokenIds &&
         step.operands[1].kind == OperandKind::kTensor && bundle.tensors[step.operands[1].index].paged;
}

bool IsPlainText(const Text &text) {
  for (size_t i = 0; i < text.size;) {
    auto byte = [&](size_t at) { return static_cast<uint8_t>(text[at]); };
    const uint8_t lead = byte(i);
    if (lead < 0x20 || lead == 0x7F) return false;
    if (lead < 0x80) {
      ++i;
      continue;
    }
    const size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    if (lead < 0xC2 || lead > 0xF4 || text.size - i < length) return false;
    uint32_t point = lead & (0x7Fu >> length);
    for (size_t j = 1; j < length; ++j) {
      if ((byte(i + j) & 0xC0) != 0x80) return false;
      point = point << 6 | (byte(i + j) & 0x3F);
    }
    const uint32_t smallest = length == 2 ? 0x80 : length == 3 ? 0x800 : 0x10000;
    // C1 controls, over-long forms, surrogates, beyond Unicode.
    if (point < 0xA0 || point < smallest || point > 0x10FFFF || (point >= 0xD800 && point <= 0xDFFF)) return false;
    i += length;
  }
  return true;
}

Status CheckIndex(const Bundle &bundle) { return Checker(bundle).Run(); }

}  // namespace emoe::rt
