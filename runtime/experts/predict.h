// Which experts the next mixture layers will use, before their routers have answered: a pure state machine without
// clock, storage or allocation. The live loader and the compiler's measurements of traces use this one file.
//
// All that goes in is what routers and look-ahead steps gave; what comes out goes to loading and caching only, so a
// prediction can never change a token. Every predictor gives log-odds that an expert is used, in 8 bits and a scale.
#ifndef EMOE_RUNTIME_EXPERTS_PREDICT_H_
#define EMOE_RUNTIME_EXPERTS_PREDICT_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// PredictorKind (bundle.h). kNone: every expert alike, nothing ranked. kStatic: how often an expert is used.
// kPreviousToken: those of the token before. kTable: given those of the two mixture layers that ran before (of the
// token before, where a token has not got so far). kLookAhead: those that the layer's own router prefers on an earlier
// layer's hidden state.

// "none", "static", "previous-token", "table" or "look-ahead"; false for another name.
bool ParsePredictor(const char *name, size_t length, PredictorKind *out);
const char *PredictorName(PredictorKind kind);

// How many experts a prediction ranks, and a look-ahead step reports: twice those used, at most all.
inline uint32_t RankedExperts(uint32_t experts, uint32_t top_k) {
  return experts < 2 * top_k ? experts : 2 * top_k;
}

// What is known of one mixture layer. Values are log-odds in units of `scale`. Pointers may be null: what they would
// say is then not known, and the predictor does without (it falls back to the prior, and that to top_k / experts).
struct LayerPredictor {
  PredictorKind kind = PredictorKind::kNone;
  uint32_t experts = 0, top_k = 0;
  float scale = 0;                // > 0 where any pointer is set
  const int8_t *prior = nullptr;  // [experts]
  // kPreviousToken: added to the prior of experts that the token before used [0], or did not use [1].
  const int8_t *repeat = nullptr;  // [2]
  // kTable: added to the prior for each expert of the layer before (`near`) and of the one before that (`far`).
  const int8_t *near = nullptr;  // [experts of that layer, experts]
  const int8_t *far = nullptr;   // [experts of that layer, experts]
  // kTable, exact: ascending ExactKey()s and a row of log-odds for each; keys that are not listed use near and far.
  const uint16_t *keys = nullptr;
  const int8_t *rows = nullptr;  // [key_count, experts]
  uint32_t key_count = 0;
  // kLookAhead: log-odds of an expert by its rank; the last is that of all that are not ranked.
  const int8_t *ranks = nullptr;  // [RankedExperts + 1]
};

// The `count` experts with the largest scores, the largest first, ties by the lowest id. count <= experts.
void RankScores(const float *scores, uint32_t experts, uint32_t count, int32_t *ranked);

// Router logits, in place, to what experts are chosen by: the score function, and a selection bias if there is one.
// Without a bias every function keeps the order, and nothing is done.
void ChoiceScores(ScoreFunction function, const float *bias, uint32_t experts, float *logits);

// Layers that an exact table may look at: at most 16 experts, at most 2 used.
inline bool HasExactKey(uint32_t experts, uint32_t top_k) { return experts <= 16 && top_k <= 2 && top_k <= experts; }
// Number of sets of top_k experts.
inline uint32_t ExactSets(uint32_t experts, uint32_t top_k) {
  return top_k == 1 ? experts : experts * (experts - 1) / 2;
}
// The set's number: e, or b (b - 1) / 2 + a for a < b. Ids are distinct and in any order.
uint32_t ExactSet(const int32_t *ids, uint32_t top_k);
// far set * ExactSets(near layer) + near set.
inline uint32_t ExactKey(uint32_t far_set, uint32_t near_sets, uint32_t near_set) {
  return far_set * near_sets + near_set;
}

// How good a layer's predictions were, token by token.
struct PredictorCounters {
  uint64_t predicted = 0;  // tokens for which there was a ranking when the router answered
  uint64_t used = 0;       // experts that these used
  uint64_t found_k = 0, found_2k = 0;  // of them, among the first top_k and RankedExperts of the ranking
  uint64_t ranked_2k = 0;              // length of the rankings, added up
};

// What Predict found. Until the next call.
struct Prediction {
  const float *probability = nullptr;  // [experts] that the expert is used
  const int32_t *ranked = nullptr;     // experts, the most likely first, ties by the lowest id
  uint32_t ranked_count = 0;           // RankedExperts; 0: nothing is predicted (kNone)
};

class Predictor {
 public:
  static size_t BytesNeeded(Span<LayerPredictor> layers);

  // `memory`: BytesNeeded bytes, 8-aligned; the layers and what they point to outlive the predictor.
  void Init(Span<LayerPredictor> layers, void *memory);

  // Uses `kind` in all layers instead of what they say.
  void Force(PredictorKind kind);

  // Forgets the sequence, not the counters.
  void Reset();

  // Mixture layer `layer` ran for `tokens` tokens, whose experts are ids[tokens, top_k]. Layers run in order, 0 first.
  // Ignored if the last token's ids are not below `experts`: the kernel image is wrong, and others will say so.
  void Observe(uint32_t layer, const int32_t *ids, uint32_t tokens);

  // The router of `layer` on an earlier layer's hidden state of the token at hand: its RankedExperts best, the best
  // first. Counts until the layer ran.
  void LookAhead(uint32_t layer, const int32_t *ranked);

  // What `layer` will use when it next runs, for a chunk of `tokens` tokens, given all that was observed: in the
  // current token if the layer has not run yet, else in the next one. A chunk of more than one token is predicted
  // from the prior alone. Cost: experts * (2 used + ranked) additions and comparisons.
  Prediction Predict(uint32_t layer, uint32_t tokens);

  bool WantsLookAhead(uint32_t layer) const { return state_[layer].kind == PredictorKind::kLookAhead; }
  PredictorKind kind(uint32_t layer) const { return state_[layer].kind; }
  const PredictorCounters &counters(uint32_t layer) const { return state_[layer].counters; }
  uint32_t layers() const { return static_cast<uint32_t>(layers_.size); }

 private:
  struct State {
    PredictorKind kind;
    uint64_t seen;          // 1 + the run in which `ids` were observed; 0: never
    uint64_t looked;        // 1 + the run for which `ahead` was given
    uint64_t ranked_for;    // 1 + the run for which `ranked` was made
    int32_t *ids;           // [top_k] of the last token
    int32_t *ahead;         // [RankedExperts]
    int32_t *ranked;        // [RankedExperts], of the last Predict
    uint32_t ranked_count;
    PredictorCounters counters;
  };

  uint64_t NextRun(uint32_t layer) const;
  uint32_t SourceOf(uint64_t run, uint32_t distance) const;
  void ScoreTable(uint32_t layer, uint64_t run);
  void AddRows(const int8_t *table, uint32_t source, const LayerPredictor &layer);
  void ScoreLookAhead(uint32_t layer);

  Span<LayerPredictor> layers_;
  State *state_ = nullptr;
  float *score_ = nullptr;        // [most experts] log-odds
  float *probability_ = nullptr;  // [most experts]
  uint64_t next_ = 0;  // the run that comes next; runs are numbered forward step * layers + layer
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_PREDICT_H_
