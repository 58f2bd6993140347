#include "runtime/experts/cache.h"

#include <string.h>

namespace emoe::rt {
namespace {

// The weight of a use halves every 64 tokens: 2^(1/64).
constexpr double kGrowth = 1.0108892860517004600204097905618605243;
constexpr double kLargestIncrement = 1e100;
constexpr size_t kAlign = 8;

constexpr size_t RoundUp(size_t bytes) { return (bytes + kAlign - 1) / kAlign * kAlign; }

}  // namespace

bool ParseCachePolicy(const char *name, size_t length, CachePolicy *out) {
  if (length == 3 && memcmp(name, "lfu", 3) == 0) {
    *out = CachePolicy::kLfu;
  } else if (length == 3 && memcmp(name, "lru", 3) == 0) {
    *out = CachePolicy::kLru;
  } else {
    return false;
  }
  return true;
}

size_t ExpertCache::BytesNeeded(uint32_t keys, uint32_t slots) {
  return RoundUp(size_t{keys} * sizeof(double)) + RoundUp(size_t{keys} * sizeof(int32_t)) +
         RoundUp(size_t{slots} * sizeof(Slot));
}

void ExpertCache::Init(uint32_t keys, uint32_t slots, CachePolicy policy, void *memory) {
  char *at = static_cast<char *>(memory);
  worth_ = reinterpret_cast<double *>(at);
  at += RoundUp(size_t{keys} * sizeof(double));
  slot_of_ = reinterpret_cast<int32_t *>(at);
  at += RoundUp(size_t{keys} * sizeof(int32_t));
  slots_ = reinterpret_cast<Slot *>(at);
  keys_ = keys;
  slot_count_ = slots;
  used_ = 0;
  policy_ = policy;
  increment_ = 1;
  counters_ = {};
  for (uint32_t key = 0; key < keys; ++key) {
    worth_[key] = 0;
    slot_of_[key] = -1;
  }
  for (uint32_t slot = 0; slot < slots; ++slot) slots_[slot] = {0, 0, State::kFree};
}

void ExpertCache::Rescale() {
  for (uint32_t key = 0; key < keys_; ++key) worth_[key] /= increment_;
  increment_ = 1;
}

void ExpertCache::Advance(uint32_t tokens) {
  if (policy_ == CachePolicy::kLru) return;
  for (uint32_t i = 0; i < tokens; ++i) {
    increment_ *= kGrowth;
    if (increment_ > kLargestIncrement) Rescale();
  }
}

int32_t ExpertCache::Use(uint32_t key, uint32_t uses) {
  if (policy_ == CachePolicy::kLru) {
    worth_[key] = increment_;  // a clock that ticks with every use: 2^53 of them before it stands still
    increment_ += 1;
  } else {
    worth_[key] += increment_ * uses;
  }
  int32_t slot = slot_of_[key];
  if (slot >= 0 && slots_[slot].state == State::kValid) {
    ++counters_.hits;
    ++slots_[slot].pins;
    return slot;
  }
  ++counters_.misses;
  return -1;
}

// The unpinned record that is least worth keeping, or -1.
int32_t ExpertCache::LeastWorth() const {
  int32_t chosen = -1;
  double least = 0;
  for (uint32_t slot = 0; slot < slot_count_; ++slot) {
    if (slots_[slot].pins != 0) continue;
    double worth = worth_[slots_[slot].key];
    if (chosen < 0 || worth < least) {
      chosen = static_cast<int32_t>(slot);
      least = worth;
    }
  }
  return chosen;
}

// `slot`: what LeastWorth says, where no slot is free.
int32_t ExpertCache::Take(uint32_t key, int32_t slot) {
  if (used_ < slot_count_) {
    for (slot = 0; slots_[slot].state != State::kFree;) ++slot;
    ++used_;
  } else {
    if (slot < 0) return -1;
    slot_of_[slots_[slot].key] = -1;
    ++counters_.evictions;
  }
  slots_[slot] = {key, 1, State::kLoading};
  slot_of_[key] = slot;
  return slot;
}

int32_t ExpertCache::Acquire(uint32_t key) { return Take(key, used_ < slot_count_ ? -1 : LeastWorth()); }

int32_t ExpertCache::AcquireIfWorse(uint32_t key, double uses) {
  int32_t slot = -1;
  if (used_ == slot_count_) {
    slot = LeastWorth();
    double worth = policy_ == CachePolicy::kLru ? increment_ : worth_[key] + increment_ * uses;
    if (slot < 0 || worth_[slots_[slot].key] >= worth) return -1;
  }
  return Take(key, slot);
}

uint32_t ExpertCache::pinned() const {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < slot_count_; ++slot) count += slots_[slot].pins != 0;
  return count;
}

void ExpertCache::Commit(int32_t slot) { slots_[slot].state = State::kValid; }

void ExpertCache::Abandon(int32_t slot) {
  slot_of_[slots_[slot].key] = -1;
  slots_[slot] = {0, 0, State::kFree};
  --used_;
}

void ExpertCache::Unpin(int32_t slot) { --slots_[slot].pins; }

}  // namespace emoe::rt
