#include "runtime/experts/cache_parameters.h"

#include <string.h>

namespace emoe::rt {
namespace {

constexpr const char *kNames[kCachePolicies] = {"lfu", "lru", "edgemoe", "least-stale", "next-use"};

}  // namespace

bool ParseCachePolicy(const char *name, size_t length, CachePolicy *out) {
  for (uint32_t i = 0; i < kCachePolicies; ++i) {
    if (strlen(kNames[i]) != length || memcmp(kNames[i], name, length) != 0) continue;
    *out = static_cast<CachePolicy>(i);
    return true;
  }
  return false;
}

const char *CachePolicyName(CachePolicy policy) { return kNames[static_cast<uint8_t>(policy)]; }

bool ChooseCache(const Bundle &bundle, uint64_t slots, const char *policy, CacheParameters *out) {
  const auto &plan = bundle.plan;
  CacheParameters chosen;
  bool named = policy != nullptr;
  if (named) {
    if (!ParseCachePolicy(policy, strlen(policy), &chosen.policy)) return false;
  } else if (plan.choices.size == 0 && plan.policy.size != 0) {
    if (!ParseCachePolicy(plan.policy.data, plan.policy.size, &chosen.policy)) return false;
  }
  const CacheChoice *best = nullptr;
  for (const CacheChoice &choice : plan.choices) {
    if (named && choice.policy != chosen.policy) continue;
    if (best == nullptr || choice.slots <= slots) best = &choice;
  }
  if (best != nullptr) {
    chosen.policy = best->policy;
    chosen.half_life = best->half_life;
    chosen.distance_power = best->distance_power;
    chosen.recent = best->recent;
    chosen.per_layer = best->per_layer != 0;
    chosen.pinned = best->pinned;
  }
  chosen.discount = plan.next_use.discount;
  chosen.scale = plan.next_use.scale;
  chosen.usual = plan.next_use.usual;
  chosen.blocks = plan.next_use.blocks;
  chosen.rows = plan.next_use.rows;
  *out = chosen;
  return true;
}

}  // namespace emoe::rt
