#include "runtime/experts/predict.h"

#include <string.h>

#include "runtime/text/math.h"

namespace emoe::rt {
namespace {

constexpr const char *kNames[kPredictorKinds] = {"none", "static", "previous-token", "table", "look-ahead"};
constexpr uint32_t kNoSource = 0xffffffffu;
constexpr size_t kAlign = 8;

// What is assumed where nothing was measured: what the log-odds of an expert gain if the token before used it; those of
// one among the first top_k of a look-ahead, of one among the next top_k, and of the rest.
constexpr float kRepeatDefault = 1.5f;
constexpr float kAheadFirst = 1.0f, kAheadSecond = -1.0f, kAheadRest = -4.0f;

constexpr size_t RoundUp(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

float Sigmoid(float x) { return static_cast<float>(1.0 / (1.0 + Exp(-static_cast<double>(x)))); }

// Log-odds of top_k of `experts`, all alike. All of them used: certain enough.
float Even(uint32_t experts, uint32_t top_k) {
  if (top_k >= experts) return 8.0f;
  return static_cast<float>(Log(static_cast<double>(top_k) / (experts - top_k)));
}

// The chance that at least one of `tokens` tokens uses what one uses with chance `p`.
float Touched(float p, uint32_t tokens) {
  double missed = 1, power = 1.0 - static_cast<double>(p);
  for (; tokens != 0; tokens >>= 1, power *= power) {
    if (tokens & 1) missed *= power;
  }
  return static_cast<float>(1.0 - missed);
}

}  // namespace

bool ParsePredictor(const char *name, size_t length, PredictorKind *out) {
  for (uint32_t kind = 0; kind < kPredictorKinds; ++kind) {
    if (strlen(kNames[kind]) == length && memcmp(name, kNames[kind], length) == 0) {
      *out = static_cast<PredictorKind>(kind);
      return true;
    }
  }
  return false;
}

const char *PredictorName(PredictorKind kind) {
  return static_cast<uint32_t>(kind) < kPredictorKinds ? kNames[static_cast<uint32_t>(kind)] : "unknown";
}

uint32_t ExactSet(const int32_t *ids, uint32_t top_k) {
  uint32_t a = static_cast<uint32_t>(ids[0]);
  if (top_k == 1) return a;
  uint32_t b = static_cast<uint32_t>(ids[1]);
  return a < b ? b * (b - 1) / 2 + a : a * (a - 1) / 2 + b;
}

// By insertion: few are kept.
void RankScores(const float *scores, uint32_t experts, uint32_t count, int32_t *ranked) {
  uint32_t kept = 0;
  for (uint32_t e = 0; e < experts; ++e) {
    if (kept == count && !(scores[e] > scores[ranked[kept - 1]])) continue;
    uint32_t at = kept < count ? kept++ : kept - 1;
    for (; at > 0 && scores[ranked[at - 1]] < scores[e]; --at) ranked[at] = ranked[at - 1];
    ranked[at] = static_cast<int32_t>(e);
  }
}

void ChoiceScores(ScoreFunction function, const float *bias, uint32_t experts, float *logits) {
  if (bias == nullptr) return;
  float largest = logits[0];
  double sum = 0;
  for (uint32_t e = 1; e < experts; ++e) largest = logits[e] > largest ? logits[e] : largest;
  for (uint32_t e = 0; e < experts && function == ScoreFunction::kSoftmax; ++e) {
    logits[e] = static_cast<float>(Exp(static_cast<double>(logits[e]) - static_cast<double>(largest)));
    sum += static_cast<double>(logits[e]);
  }
  for (uint32_t e = 0; e < experts; ++e) {
    if (function == ScoreFunction::kSoftmax) logits[e] = static_cast<float>(static_cast<double>(logits[e]) / sum);
    if (function == ScoreFunction::kSigmoid) logits[e] = Sigmoid(logits[e]);
    logits[e] += bias[e];
  }
}

size_t Predictor::BytesNeeded(Span<LayerPredictor> layers) {
  size_t bytes = RoundUp(layers.size * sizeof(State));
  uint32_t most = 0;
  for (const LayerPredictor &layer : layers) {
    uint32_t ranked = RankedExperts(layer.experts, layer.top_k);
    bytes += RoundUp(layer.top_k * sizeof(int32_t)) + 2 * RoundUp(ranked * sizeof(int32_t));
    if (layer.experts > most) most = layer.experts;
  }
  return bytes + 2 * RoundUp(most * sizeof(float));
}

void Predictor::Init(Span<LayerPredictor> layers, void *memory) {
  char *at = static_cast<char *>(memory);
  auto take = [&at](size_t bytes) {
    char *taken = at;
    at += RoundUp(bytes);
    return taken;
  };
  layers_ = layers;
  state_ = reinterpret_cast<State *>(take(layers.size * sizeof(State)));
  uint32_t most = 0;
  for (size_t i = 0; i < layers.size; ++i) {
    const LayerPredictor &layer = layers[i];
    uint32_t ranked = RankedExperts(layer.experts, layer.top_k);
    state_[i] = {};
    state_[i].kind = layer.kind;
    state_[i].ids = reinterpret_cast<int32_t *>(take(layer.top_k * sizeof(int32_t)));
    state_[i].ahead = reinterpret_cast<int32_t *>(take(ranked * sizeof(int32_t)));
    state_[i].ranked = reinterpret_cast<int32_t *>(take(ranked * sizeof(int32_t)));
    if (layer.experts > most) most = layer.experts;
  }
  score_ = reinterpret_cast<float *>(take(most * sizeof(float)));
  probability_ = reinterpret_cast<float *>(take(most * sizeof(float)));
  next_ = 0;
}

void Predictor::Force(PredictorKind kind) {
  for (size_t i = 0; i < layers_.size; ++i) state_[i].kind = kind;
}

void Predictor::Reset() {
  next_ = 0;
  for (size_t i = 0; i < layers_.size; ++i) state_[i].seen = state_[i].looked = state_[i].ranked_for = 0;
}

uint64_t Predictor::NextRun(uint32_t layer) const {
  uint64_t run = next_ / layers_.size * layers_.size + layer;
  return run < next_ ? run + layers_.size : run;
}

void Predictor::Observe(uint32_t layer, const int32_t *ids, uint32_t tokens) {
  if (tokens == 0) return;
  State &state = state_[layer];
  uint32_t top_k = layers_[layer].top_k;
  const int32_t *last = ids + static_cast<uint64_t>(tokens - 1) * top_k;
  for (uint32_t i = 0; i < top_k; ++i) {
    if (static_cast<uint32_t>(last[i]) >= layers_[layer].experts) return;
  }
  uint64_t run = NextRun(layer);
  if (tokens == 1 && state.ranked_for == run + 1 && state.ranked_count != 0) {
    PredictorCounters &c = state.counters;
    ++c.predicted;
    c.used += top_k;
    c.ranked_2k += state.ranked_count;
    for (uint32_t i = 0; i < state.ranked_count; ++i) {
      for (uint32_t j = 0; j < top_k; ++j) {
        if (state.ranked[i] != ids[j]) continue;
        ++c.found_2k;
        if (i < top_k) ++c.found_k;
        break;
      }
    }
  }
  memcpy(state.ids, last, top_k * sizeof(int32_t));
  state.seen = run + 1;
  next_ = run + 1;
}

void Predictor::LookAhead(uint32_t layer, const int32_t *ranked) {
  State &state = state_[layer];
  memcpy(state.ahead, ranked, RankedExperts(layers_[layer].experts, layers_[layer].top_k) * sizeof(int32_t));
  state.looked = NextRun(layer) + 1;
}

// The layer that ran `distance` runs before `run`, if its experts are known.
uint32_t Predictor::SourceOf(uint64_t run, uint32_t distance) const {
  if (run < distance) return kNoSource;
  uint64_t source = run - distance;
  auto layer = static_cast<uint32_t>(source % layers_.size);
  return state_[layer].seen == source + 1 ? layer : kNoSource;
}

void Predictor::AddRows(const int8_t *table, uint32_t source, const LayerPredictor &layer) {
  if (table == nullptr || source == kNoSource) return;
  for (uint32_t i = 0; i < layers_[source].top_k; ++i) {
    const int8_t *row = table + static_cast<uint64_t>(state_[source].ids[i]) * layer.experts;
    for (uint32_t e = 0; e < layer.experts; ++e) score_[e] += layer.scale * static_cast<float>(row[e]);
  }
}

void Predictor::ScoreTable(uint32_t index, uint64_t run) {
  const LayerPredictor &layer = layers_[index];
  uint32_t near = SourceOf(run, 1), far = SourceOf(run, 2);
  if (layer.key_count != 0 && near != kNoSource && far != kNoSource) {
    const LayerPredictor &near_layer = layers_[near], &far_layer = layers_[far];
    uint32_t key = ExactKey(ExactSet(state_[far].ids, far_layer.top_k),
                            ExactSets(near_layer.experts, near_layer.top_k),
                            ExactSet(state_[near].ids, near_layer.top_k));
    uint32_t low = 0, high = layer.key_count;
    while (low < high) {
      uint32_t middle = low + (high - low) / 2;
      if (layer.keys[middle] < key) {
        low = middle + 1;
      } else {
        high = middle;
      }
    }
    if (low < layer.key_count && layer.keys[low] == key) {
      const int8_t *row = layer.rows + static_cast<uint64_t>(low) * layer.experts;
      for (uint32_t e = 0; e < layer.experts; ++e) score_[e] = layer.scale * static_cast<float>(row[e]);
      return;
    }
  }
  AddRows(layer.near, near, layer);
  AddRows(layer.far, far, layer);
}

void Predictor::ScoreLookAhead(uint32_t index) {
  const LayerPredictor &layer = layers_[index];
  const int32_t *ahead = state_[index].ahead;
  uint32_t ranked = RankedExperts(layer.experts, layer.top_k);
  float rest = layer.ranks != nullptr ? layer.scale * static_cast<float>(layer.ranks[ranked]) : kAheadRest;
  for (uint32_t e = 0; e < layer.experts; ++e) score_[e] = rest;
  for (uint32_t i = 0; i < ranked; ++i) {
    float assumed = i < layer.top_k ? kAheadFirst : kAheadSecond;
    score_[ahead[i]] = layer.ranks != nullptr ? layer.scale * static_cast<float>(layer.ranks[i]) : assumed;
    state_[index].ranked[i] = ahead[i];
  }
}

Prediction Predictor::Predict(uint32_t index, uint32_t tokens) {
  const LayerPredictor &layer = layers_[index];
  State &state = state_[index];
  uint64_t run = NextRun(index);
  float even = Even(layer.experts, layer.top_k);
  bool prior = layer.prior != nullptr && state.kind != PredictorKind::kNone;
  for (uint32_t e = 0; e < layer.experts; ++e) {
    score_[e] = prior ? layer.scale * static_cast<float>(layer.prior[e]) : even;
  }
  bool ranked = false;
  if (tokens == 1) {
    if (state.kind == PredictorKind::kTable) {
      ScoreTable(index, run);
    } else if (state.kind == PredictorKind::kLookAhead && state.looked == run + 1) {
      ScoreLookAhead(index);
      ranked = true;
    } else if (state.kind == PredictorKind::kPreviousToken && state.seen != 0) {
      float used = layer.repeat != nullptr ? layer.scale * static_cast<float>(layer.repeat[0]) : kRepeatDefault;
      float unused = layer.repeat != nullptr ? layer.scale * static_cast<float>(layer.repeat[1]) : 0;
      for (uint32_t e = 0; e < layer.experts; ++e) score_[e] += unused;
      for (uint32_t i = 0; i < layer.top_k; ++i) score_[state.ids[i]] += used - unused;
    }
  }
  if (!ranked) RankScores(score_, layer.experts, RankedExperts(layer.experts, layer.top_k), state.ranked);
  for (uint32_t e = 0; e < layer.experts; ++e) {
    float p = Sigmoid(score_[e]);
    probability_[e] = tokens > 1 ? Touched(p, tokens) : p;
  }
  state.ranked_count = state.kind == PredictorKind::kNone ? 0 : RankedExperts(layer.experts, layer.top_k);
  // A look-ahead predictor that nobody looked ahead for, as while reading ahead pauses, is not judged by its prior.
  bool judged = tokens == 1 && (ranked || state.kind != PredictorKind::kLookAhead);
  state.ranked_for = judged ? run + 1 : 0;
  return {probability_, state.ranked, state.ranked_count};
}

}  // namespace emoe::rt
