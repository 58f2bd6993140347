#include "runtime/bundle/predictors.h"

#include "runtime/bundle/checked.h"
#include "schema/format.h"

namespace emoe::rt {
namespace {

constexpr uint32_t kAllParts = EMOE_PREDICTOR_PRIOR | EMOE_PREDICTOR_REPEAT | EMOE_PREDICTOR_NEAR |
                               EMOE_PREDICTOR_FAR | EMOE_PREDICTOR_RANKS | EMOE_PREDICTOR_KEYS;

Status Bad(const char *what, uint64_t detail = 0, uint64_t detail2 = 0) {
  return Error(StatusCode::kBadBundle, what, detail, detail2);
}

bool Share(float value) { return value >= 0 && value <= 1; }  // false for NaN

bool HasLookAhead(const Bundle &bundle, uint64_t layer) {
  for (const Step &step : bundle.steps) {
    if (step.kind == StepKind::kLookAhead && step.layer == layer) return true;
  }
  return false;
}

// Where a layer's parts lie, from its offset on. Sizes are bounded by the format's limits: 2^16 keys, 2^12 experts.
struct Parts {
  uint64_t keys, prior, repeat, near, far, ranks, rows, end;
};

Parts PartsOf(const Bundle &bundle, uint64_t index) {
  const PredictorEntry &entry = bundle.predictors[index];
  const MoeLayer &layer = bundle.moe_layers[index];
  const uint64_t layers = bundle.moe_layers.size, experts = layer.experts;
  const uint64_t near = bundle.moe_layers[(index + layers - 1) % layers].experts;
  const uint64_t far = bundle.moe_layers[(index + 2 * layers - 2) % layers].experts;
  uint64_t at = 0;
  auto take = [&](uint32_t part, uint64_t bytes) {
    uint64_t start = at;
    if (entry.parts & part) at += bytes;
    return start;
  };
  Parts parts;
  parts.keys = take(EMOE_PREDICTOR_KEYS, uint64_t{entry.keys} * sizeof(uint16_t));
  parts.prior = take(EMOE_PREDICTOR_PRIOR, experts);
  parts.repeat = take(EMOE_PREDICTOR_REPEAT, 2);
  parts.near = take(EMOE_PREDICTOR_NEAR, near * experts);
  parts.far = take(EMOE_PREDICTOR_FAR, far * experts);
  parts.ranks = take(EMOE_PREDICTOR_RANKS, uint64_t{RankedExperts(layer.experts, layer.top_k)} + 1);
  parts.rows = take(EMOE_PREDICTOR_KEYS, uint64_t{entry.keys} * experts);
  parts.end = (at + 7) / 8 * 8;
  return parts;
}

// Exact keys are numbers below this; 0: the layers before have too many sets.
uint64_t KeySpace(const Bundle &bundle, uint64_t index) {
  const uint64_t layers = bundle.moe_layers.size;
  const MoeLayer &near = bundle.moe_layers[(index + layers - 1) % layers];
  const MoeLayer &far = bundle.moe_layers[(index + 2 * layers - 2) % layers];
  if (!HasExactKey(near.experts, near.top_k) || !HasExactKey(far.experts, far.top_k)) return 0;
  return uint64_t{ExactSets(near.experts, near.top_k)} * ExactSets(far.experts, far.top_k);
}

Status CheckQuality(const PredictorEntry &entry, uint64_t layer) {
  for (const PredictorQuality &q : entry.quality) {
    if (static_cast<uint32_t>(q.predictor) >= kPredictorKinds || !Share(q.recall) || !Share(q.recall_low) ||
        !Share(q.recall_high) || !Share(q.recall_2k) || !Share(q.precision_2k)) {
      return Bad("predictor: its quality is not made of shares from 0 to 1 (mixture layer)", layer);
    }
  }
  if (!Share(entry.break_even)) return Bad("predictor: break_even is not from 0 to 1 (mixture layer)", layer);
  return OkStatus();
}

}  // namespace

Status CheckPredictors(const Bundle &bundle) {
  uint64_t end = 0;
  const uint64_t length = bundle.tables.present ? bundle.tables.length : 0;
  if (bundle.predictors.size != 0 && bundle.predictors.size != bundle.moe_layers.size) {
    return Bad("predictors: not one per mixture layer (predictors, mixture layers)", bundle.predictors.size,
               bundle.moe_layers.size);
  }
  for (uint64_t i = 0; i < bundle.predictors.size; ++i) {
    const PredictorEntry &entry = bundle.predictors[i];
    if (static_cast<uint32_t>(entry.predictor) >= kPredictorKinds) {
      return Bad("predictor: unknown kind (mixture layer, kind)", i, static_cast<uint8_t>(entry.predictor));
    }
    if (entry.predictor == PredictorKind::kLookAhead && !HasLookAhead(bundle, i)) {
      return Bad("predictor: no step looks ahead to its layer (mixture layer)", i);
    }
    if ((entry.parts & ~kAllParts) != 0) return Bad("predictor: unknown parts (mixture layer, parts)", i, entry.parts);
    const uint64_t space = KeySpace(bundle, i);
    if (((entry.parts & EMOE_PREDICTOR_KEYS) != 0) != (entry.keys != 0) || entry.keys > space) {
      return Bad("predictor: more keys than its layers have, or none where some are due (mixture layer, keys)", i,
                 entry.keys);
    }
    if (entry.parts != 0 && !(entry.scale > 0 && entry.scale <= 1)) {
      return Bad("predictor: scale is not above 0 and at most 1 (mixture layer)", i);
    }
    RT_RETURN_IF_ERROR(CheckQuality(entry, i));
    if (entry.parts == 0) continue;
    const uint64_t bytes = PartsOf(bundle, i).end;
    if (entry.offset != end || !FitsIn(end, bytes, length)) {
      return Bad("predictor: does not follow the one before or leaves the tables section (mixture layer, offset)", i,
                 entry.offset);
    }
    end += bytes;
  }
  if (end != length) {
    return Bad("tables section: has bytes that belong to no predictor (end of predictors, section's bytes)", end, length);
  }
  return OkStatus();
}

Status ReadPredictors(const Bundle &bundle, const void *section, LayerPredictor *out) {
  for (uint64_t i = 0; i < bundle.moe_layers.size; ++i) {
    LayerPredictor layer;
    layer.experts = bundle.moe_layers[i].experts;
    layer.top_k = bundle.moe_layers[i].top_k;
    if (bundle.predictors.size == 0) {
      layer.kind = HasLookAhead(bundle, i) ? PredictorKind::kLookAhead : PredictorKind::kPreviousToken;
      out[i] = layer;
      continue;
    }
    const PredictorEntry &entry = bundle.predictors[i];
    layer.kind = entry.predictor;
    layer.scale = entry.scale;
    const Parts parts = PartsOf(bundle, i);
    const auto *base = static_cast<const int8_t *>(section) + entry.offset;
    auto part = [&](uint32_t bit, uint64_t offset) { return (entry.parts & bit) != 0 ? base + offset : nullptr; };
    layer.prior = part(EMOE_PREDICTOR_PRIOR, parts.prior);
    layer.repeat = part(EMOE_PREDICTOR_REPEAT, parts.repeat);
    layer.near = part(EMOE_PREDICTOR_NEAR, parts.near);
    layer.far = part(EMOE_PREDICTOR_FAR, parts.far);
    layer.ranks = part(EMOE_PREDICTOR_RANKS, parts.ranks);
    layer.rows = part(EMOE_PREDICTOR_KEYS, parts.rows);
    layer.keys = reinterpret_cast<const uint16_t *>(part(EMOE_PREDICTOR_KEYS, parts.keys));
    layer.key_count = entry.keys;
    const uint64_t space = KeySpace(bundle, i);
    for (uint32_t k = 0; k < layer.key_count; ++k) {
      if (layer.keys[k] >= space || (k != 0 && layer.keys[k] <= layer.keys[k - 1])) {
        return Bad("predictor: keys do not ascend, or are too large (mixture layer, key)", i, layer.keys[k]);
      }
    }
    out[i] = layer;
  }
  return OkStatus();
}

}  // namespace emoe::rt
