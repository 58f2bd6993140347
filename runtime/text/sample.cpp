#include "runtime/text/sample.h"

#include <float.h>
#include <stddef.h>

#include "runtime/text/math.h"

namespace emoe::rt {
namespace {

bool Better(const Candidate &a, const Candidate &b) {
  return a.logit > b.logit || (a.logit == b.logit && a.token < b.token);
}

void Swap(Candidate *a, Candidate *b) {
  Candidate old = *a;
  *a = *b;
  *b = old;
}

// Restores the heap below `root`: no child is worse than its parent, so the worst is on top.
void SiftDown(Candidate *heap, size_t count, size_t root) {
  for (;;) {
    size_t worst = root;
    for (size_t child = 2 * root + 1; child <= 2 * root + 2 && child < count; ++child) {
      if (Better(heap[worst], heap[child])) worst = child;
    }
    if (worst == root) return;
    Swap(&heap[root], &heap[worst]);
    root = worst;
  }
}

void MakeHeap(Candidate *heap, size_t count) {
  for (size_t root = count / 2; root-- > 0;) SiftDown(heap, count, root);
}

// Best first. A heap with the worst on top gives its candidates up from the back.
void SortHeap(Candidate *heap, size_t count) {
  for (size_t left = count; left > 1; --left) {
    Swap(&heap[0], &heap[left - 1]);
    SiftDown(heap, left - 1, 0);
  }
}

// The best `keep` of all numbers among the logits, best first; how many.
size_t TopK(const float *logits, uint32_t vocab, size_t keep, Candidate *out) {
  size_t count = 0;
  for (uint32_t token = 0; token < vocab; ++token) {
    Candidate candidate{logits[token], static_cast<int32_t>(token)};
    if (candidate.logit != candidate.logit || candidate.logit < -FLT_MAX) continue;
    if (candidate.logit > FLT_MAX) candidate.logit = FLT_MAX;
    if (count < keep) {
      out[count++] = candidate;
      if (count == keep) MakeHeap(out, count);
    } else if (Better(candidate, out[0])) {
      out[0] = candidate;
      SiftDown(out, count, 0);
    }
  }
  if (count < keep) MakeHeap(out, count);
  SortHeap(out, count);
  return count;
}

}  // namespace

double Draw(uint64_t seed, uint64_t counter) {
  uint32_t x[4] = {static_cast<uint32_t>(counter), static_cast<uint32_t>(counter >> 32), 0, 0};
  uint32_t key0 = static_cast<uint32_t>(seed), key1 = static_cast<uint32_t>(seed >> 32);
  for (int round = 0; round < 10; ++round) {
    uint64_t product0 = 0xD2511F53ull * x[0], product1 = 0xCD9E8D57ull * x[2];
    uint32_t next0 = static_cast<uint32_t>(product1 >> 32) ^ x[1] ^ key0;
    uint32_t next2 = static_cast<uint32_t>(product0 >> 32) ^ x[3] ^ key1;
    x[1] = static_cast<uint32_t>(product1);
    x[3] = static_cast<uint32_t>(product0);
    x[0] = next0;
    x[2] = next2;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  uint64_t bits = static_cast<uint64_t>(x[0]) << 32 | x[1];
  return static_cast<double>(bits >> 11) * 0x1p-53;
}

int32_t Best(const float *logits, uint32_t vocab) {
  int32_t best = -1;
  for (uint32_t token = 0; token < vocab; ++token) {
    if (logits[token] == logits[token] && (best < 0 || logits[token] > logits[best])) {
      best = static_cast<int32_t>(token);
    }
  }
  return best;
}

int32_t Sample(const float *logits, uint32_t vocab, const SampleOptions &options, uint64_t position,
               Candidate *memory) {
  if (!(options.temperature > 0)) return Best(logits, vocab);
  size_t keep = options.top_k == 0 || options.top_k > vocab ? vocab : options.top_k;
  size_t count = TopK(logits, vocab, keep, memory);
  if (count == 0) return -1;
  double best = memory[0].logit;
  if (options.top_p < 1) {  // the fewest candidates whose probabilities reach top_p
    double sum = 0, reached = 0;
    for (size_t i = 0; i < count; ++i) sum += Exp(memory[i].logit - best);
    for (size_t i = 0; i < count; ++i) {
      reached += Exp(memory[i].logit - best);
      if (reached >= static_cast<double>(options.top_p) * sum) count = i + 1;
    }
  }
  if (options.min_p > 0) {  // at least min_p times as likely as the best
    size_t likely = 1;
    while (likely < count && Exp(memory[likely].logit - best) >= static_cast<double>(options.min_p)) ++likely;
    count = likely;
  }
  double sum = 0;
  for (size_t i = 0; i < count; ++i) sum += Exp((memory[i].logit - best) / static_cast<double>(options.temperature));
  double left = Draw(options.seed, position) * sum;
  for (size_t i = 0; i < count; ++i) {
    left -= Exp((memory[i].logit - best) / static_cast<double>(options.temperature));
    if (left < 0) return memory[i].token;
  }
  return memory[count - 1].token;
}

double NegativeLogLikelihood(const float *logits, uint32_t vocab, uint32_t token) {
  float most = logits[0];
  for (uint32_t i = 1; i < vocab; ++i) {
    if (logits[i] > most) most = logits[i];
  }
  double sum = 0;
  for (uint32_t i = 0; i < vocab; ++i) sum += Exp(static_cast<double>(logits[i]) - static_cast<double>(most));
  return Log(sum) + static_cast<double>(most) - static_cast<double>(logits[token]);
}

}  // namespace emoe::rt
