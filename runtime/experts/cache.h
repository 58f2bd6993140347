// Which experts are in memory: a pure state machine without clock, storage or allocation. The live loader and the
// compiler's replay of traces use this one file, so what the plan predicts is what runs.
//
// A slot is free, loading (acquired, its bytes are not there yet) or valid. A pinned slot is never evicted; a loading
// slot is always pinned. Keys number all records of the bundle: (layer, expert) in order.
#ifndef EMOE_RUNTIME_EXPERTS_CACHE_H_
#define EMOE_RUNTIME_EXPERTS_CACHE_H_

#include <stddef.h>
#include <stdint.h>

namespace emoe::rt {

// kLfu: frequency that decays with age, so old favourites make room (the default). kLru: the least recently used goes.
enum class CachePolicy : uint8_t { kLfu, kLru };

// "lfu" or "lru"; false for another name.
bool ParseCachePolicy(const char *name, size_t length, CachePolicy *out);

class ExpertCache {
 public:
  struct Counters {
    uint64_t hits = 0, misses = 0, evictions = 0;
  };

  static size_t BytesNeeded(uint32_t keys, uint32_t slots);

  // `memory`: BytesNeeded(keys, slots) bytes, 8-aligned, kept by the caller for the cache's life.
  void Init(uint32_t keys, uint32_t slots, CachePolicy policy, void *memory);

  // Time passes by `tokens` tokens; older use weighs less from now on.
  void Advance(uint32_t tokens);

  // `key` is used by `uses` tokens. Returns its slot, pinned once more, if it is valid; else -1. Counts a hit or a miss.
  int32_t Use(uint32_t key, uint32_t uses);

  // A slot for `key`, which is in none: a free one, else that of the unpinned record least worth keeping. The slot is
  // loading and pinned once. -1 if all slots are pinned.
  int32_t Acquire(uint32_t key);

  // The same, but -1 if the record that had to go is worth more than `key` will be after `uses` uses more.
  int32_t AcquireIfWorse(uint32_t key, double uses);

  void Commit(int32_t slot);  // the bytes are there and checked: loading -> valid, still pinned
  void Abandon(int32_t slot);  // they never came, or are not to stay: -> free
  void Unpin(int32_t slot);

  int32_t Find(uint32_t key) const { return slot_of_[key]; }  // valid or loading, or -1
  bool valid(int32_t slot) const { return slots_[slot].state == State::kValid; }
  uint32_t pinned() const;  // slots that are pinned; for tests
  uint32_t slot_count() const { return slot_count_; }
  const Counters &counters() const { return counters_; }

 private:
  enum class State : uint32_t { kFree, kLoading, kValid };
  struct Slot {
    uint32_t key;
    uint32_t pins;
    State state;
  };

  void Rescale();
  int32_t LeastWorth() const;
  int32_t Take(uint32_t key, int32_t slot);

  // Worth of each key: the larger, the longer it stays. lfu adds `increment_` a use, and the increment grows with
  // time, which is the same as letting all that was added before decay; rescaled before it overflows.
  double *worth_ = nullptr;
  int32_t *slot_of_ = nullptr;
  Slot *slots_ = nullptr;
  uint32_t keys_ = 0, slot_count_ = 0, used_ = 0;
  CachePolicy policy_ = CachePolicy::kLfu;
  double increment_ = 1;
  Counters counters_;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_CACHE_H_
