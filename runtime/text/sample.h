// From logits to a token, in llama.cpp's order: top-k, top-p, min-p, temperature, then a draw.
#ifndef EMOE_RUNTIME_TEXT_SAMPLE_H_
#define EMOE_RUNTIME_TEXT_SAMPLE_H_

#include <stdint.h>

namespace emoe::rt {

// llama.cpp's defaults.
struct SampleOptions {
  uint64_t seed = 0;
  float temperature = 0.8f;  // 0 or less: the best token
  uint32_t top_k = 40;       // 0: all
  float top_p = 0.95f;       // 1 or more: all
  float min_p = 0.05f;       // 0: all
};

struct Candidate {
  float logit;
  int32_t token;
};

// The number in [0, 1) that decides draw `counter` of `seed`: the first 53 bits of Philox4x32-10, so a draw depends
// on its position alone and not on how many came before.
double Draw(uint64_t seed, uint64_t counter);

// The token with the largest logit, the lowest id among equals; -1 if no logit is a number. NaN is never chosen.
int32_t Best(const float *logits, uint32_t vocab);

// A token; -1 if no logit is a number. `position` numbers the draw. `memory` has room for `vocab` candidates.
// Equal logits are ordered by token id. Nothing is allocated.
int32_t Sample(const float *logits, uint32_t vocab, const SampleOptions &options, uint64_t position,
               Candidate *memory);

// -log softmax(logits)[token], in double.
double NegativeLogLikelihood(const float *logits, uint32_t vocab, uint32_t token);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_TEXT_SAMPLE_H_
