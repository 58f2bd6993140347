#ifndef EMOE_TEST_COMPILER_PLAN_SUPPORT_H_
#define EMOE_TEST_COMPILER_PLAN_SUPPORT_H_

#include <algorithm>
#include <cmath>
#include <functional>
#include <random>
#include <vector>

#include "compiler/plan/trace.h"

namespace emoe::test {

// Tokens whose layer l chooses what `choose(token, l)` says (topK distinct experts, in any order).
inline Trace makeTrace(const std::vector<TraceLayer> &layers, uint64_t tokens,
                       const std::function<std::vector<int32_t>(uint64_t, size_t)> &choose) {
  Trace trace;
  trace.layers = layers;
  trace.domains = {"made up"};
  trace.documents = {{0, tokens, 0}};
  for (uint64_t t = 0; t < tokens; ++t) {
    for (size_t l = 0; l < layers.size(); ++l) {
      std::vector<int32_t> ids = choose(t, l);
      std::sort(ids.begin(), ids.end());
      trace.experts.insert(trace.experts.end(), ids.begin(), ids.end());
    }
  }
  return trace;
}

// Skewed use that drifts slowly: as models do.
inline Trace randomTrace(uint32_t seed, const std::vector<TraceLayer> &layers, uint64_t tokens) {
  std::mt19937 random(seed);
  return makeTrace(layers, tokens, [&](uint64_t t, size_t l) {
    std::vector<int32_t> ids;
    while (ids.size() < layers[l].topK) {
      uint32_t rank = std::min(random() % layers[l].experts, random() % layers[l].experts);
      auto id = static_cast<int32_t>((rank + t / 100 + l) % layers[l].experts);
      if (std::find(ids.begin(), ids.end(), id) == ids.end()) {
        ids.push_back(id);
      }
    }
    return ids;
  });
}

} // namespace emoe::test

#endif // EMOE_TEST_COMPILER_PLAN_SUPPORT_H_
