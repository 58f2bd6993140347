// Which record makes room, and by which numbers: what the compiler's plan decides and the cache obeys.
#ifndef EMOE_RUNTIME_EXPERTS_CACHE_PARAMETERS_H_
#define EMOE_RUNTIME_EXPERTS_CACHE_PARAMETERS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/bundle/bundle.h"

namespace emoe::rt {

// The record that goes first, by CachePolicy:
// lfu          the one least used, where a use counts half after `half_life` tokens.
// lru          the one whose last use is longest ago.
// edgemoe      the one with the least frequency / distance: EdgeMoE's score, where the distance d = ((layer of the
//              record - layer at hand - 1) mod layers) + 1 says how many layers away its next chance is. (As printed
//              in the paper the denominator is layers - d, which evicts the very next layer's experts first.)
// least-stale  of those whose layer has run for this token without using them, the longest unused; then of those that
//              this token used; last of those whose layer is still to run.
// next-use     the one that is least likely to be used soon: a mix of what the bundle's tables say, given which experts
//              each layer chose last, of its use in the last few tokens, and of its decayed frequency. How much each
//              counts is learned while running, from how well each foretold what was used (so a text unlike those that
//              the tables were made from does little harm); `recent` is given to the frequency besides. Predictions for
//              the layers ahead (Expect) replace the tables. Divided by distance to the power `distance_power` / 4.
constexpr uint32_t kCachePolicies = 5;

// False for an unknown name.
bool ParseCachePolicy(const char *name, size_t length, CachePolicy *out);
const char *CachePolicyName(CachePolicy policy);

struct CacheParameters {
  CachePolicy policy = CachePolicy::kLfu;
  uint16_t half_life = 64;     // tokens; 0: nothing decays
  uint8_t distance_power = 2;  // quarters
  uint8_t recent = 50;         // next-use: share of the decayed frequency, of 255, besides what it earns
  bool per_layer = false;      // slots are shared out to the layers by their number of experts, not global
  uint32_t pinned = 0;         // so many records with the largest `usual` stay once they were read
  // next-use, all empty without tables
  uint8_t discount = 128;      // of 256: weight of a token's use against that of the token before
  float scale = 0;             // of `rows`
  Span<uint16_t> usual;        // [keys] how often a token uses the record, of 65535
  Span<NextUseBlock> blocks;
  Span<int8_t> rows;
};

// The plan's choice for so many slots: that of the largest `slots` not above them, or the first; without any choice,
// lfu. Another policy than the plan's gets that policy's parameters of the nearest choice that has it, else defaults.
// False: there is no such policy. `policy` may be null: the plan's.
bool ChooseCache(const Bundle &bundle, uint64_t slots, const char *policy, CacheParameters *out);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_CACHE_PARAMETERS_H_
