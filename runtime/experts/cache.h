// Which experts are in memory: a pure state machine without clock, storage or allocation. The live loader and the
// compiler's replay of traces use this one file, so what the plan predicts is what runs.
//
// A slot is free, loading (acquired, its bytes are not there yet) or valid. A pinned slot is never evicted; a loading
// slot is always pinned. Keys number all records of the bundle: (layer, expert) in order. Records of several sizes share
// one capacity in bytes, whatever slots they are in.
//
// A step is what one layer does for one chunk: the Use calls of its keys, then Acquire for those that missed. It ends
// with the first Use of another layer, or with Advance. Which records a step evicts does not depend on the order in
// which reads end.
#ifndef EMOE_RUNTIME_EXPERTS_CACHE_H_
#define EMOE_RUNTIME_EXPERTS_CACHE_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/bundle/bundle.h"
#include "runtime/experts/cache_parameters.h"

namespace emoe::rt {

class ExpertCache {
 public:
  struct Counters {
    uint64_t hits = 0, misses = 0, evictions = 0;
    uint64_t prefetched = 0;     // slots that AcquireIfWorse gave
    uint64_t prefetch_hits = 0;  // of them, those that were used before they were evicted; `hits` counts them too
  };

  static size_t BytesNeeded(Span<MoeLayer> layers, uint32_t slots);

  // `memory`: BytesNeeded bytes, 8-aligned. It, the layers and what the parameters point to outlive the cache. The
  // parameters fit the layers (CheckPlan, or the planner).
  // `bytes`: what records in slots may take together, at least kFewestSlots of the largest; 0: no such limit.
  void Init(Span<MoeLayer> layers, uint32_t slots, uint64_t bytes, const CacheParameters &parameters, void *memory);

  // Time passes by `tokens` tokens; older use weighs less from now on. A chunk begins.
  void Advance(uint32_t tokens);

  // `key` is used by `uses` tokens. Returns its slot, pinned once more, if it is valid; else -1. Counts a hit or a miss.
  int32_t Use(uint32_t key, uint32_t uses);

  // A slot for `key`, which is in none: a free one, else that of the record least worth keeping; records that the step
  // uses go last. The slot is loading and pinned once. -1: ask again when a slot of this step was unpinned.
  int32_t Acquire(uint32_t key);

  // The same for a key that is only predicted, to be used with `probability` (0 to 1) when its layer runs next: it
  // gets a slot only if it is worth more than the record that goes. Never takes a slot of the step at hand. -1: not
  // worth it. The caller ends with Commit and Unpin, or Abandon, as ever.
  int32_t AcquireIfWorse(uint32_t key, float probability);

  // What `layer`, which is still to run for the chunk at hand, will use, as probabilities for each of its experts; they
  // are copied. Counts until the layer runs. Only next-use heeds it.
  void Expect(uint32_t layer, const float *probability);

  void Commit(int32_t slot);  // the bytes are there and checked: loading -> valid, still pinned
  void Abandon(int32_t slot);  // they never came, or are not to stay: -> free
  void Pin(int32_t slot) { ++slots_[slot].pins; }
  void Unpin(int32_t slot);

  int32_t Find(uint32_t key) const { return slot_of_[key]; }  // valid or loading, or -1
  bool valid(int32_t slot) const { return slots_[slot].state == State::kValid; }
  uint32_t pinned() const;  // slots that are pinned; for tests
  uint32_t slot_count() const { return slot_count_; }
  Span<int32_t> free_slots() const { return {free_, free_count_}; }
  CachePolicy policy() const { return parameters_.policy; }
  const Counters &counters() const { return counters_; }

  // How much `key` is worth now, in the policy's own unit: the lowest goes first. For tests and inspection.
  double Worth(uint32_t key) const;

 private:
  enum class State : uint8_t { kFree, kLoading, kValid };
  struct Slot {
    uint32_t key;
    uint32_t pins;
    State state;
    bool prefetched;  // by AcquireIfWorse, and not used since
  };
  struct Layer {
    uint32_t first, experts, top_k;  // keys
    uint32_t resident, quota;  // slots that it holds, and its share of them if slots are per layer
    uint32_t used_count;       // of `used`: the last token's experts; none after a chunk of many tokens
    uint32_t *used;            // [top_k]
    bool expecting;            // `expected_` holds for it
    bool ahead;                // it is still to run for the chunk at hand
    bool fresh;                // `least` is right
    int32_t least;             // key of its record that goes first, or -1
    double least_worth;        // before the distance is taken into account
  };

  void ShareSlots();
  void Keep(uint32_t count, uint64_t pages);
  bool HasRoom(uint32_t key) const { return free_count_ != 0 && used_pages_ + pages_of_[key] <= capacity_; }
  void Rescale();
  void BeginStep(uint32_t layer);
  void EndStep();
  void Observe();
  void Stale();
  void AddBlocks(uint32_t source, bool same_token, int32_t sign, uint32_t first, uint32_t end);
  void AddBlock(const NextUseBlock &block, int32_t sign);
  void SumBlocks(uint32_t target);
  double Recent(uint32_t key) const;
  double Brief(uint32_t key) const;
  double Tables(uint32_t key) const;
  double Mix(uint32_t key, double tables) const;
  void Learn(uint32_t key);
  double Expected(uint32_t key, double probability) const;
  double KeyWorth(uint32_t layer, uint32_t key) const;
  double Distant(uint32_t layer, double worth) const;
  uint32_t Distance(uint32_t layer) const;
  void FindLeast(uint32_t layer);
  int32_t LeastOfAll(double *worth);
  int32_t Victim(uint32_t layer, double *worth);
  int32_t LeastOfStep() const;
  int32_t Oldest();
  void Evict(uint32_t key);
  int32_t TakeFree(uint32_t key, bool prefetched);

  CacheParameters parameters_;
  Layer *layers_ = nullptr;
  double *distance_factor_ = nullptr;  // [layers + 1]: what the worth of a record that many layers ahead is divided by
  double *frequency_ = nullptr;  // lfu: `increment_` for each use, and the increment grows with time, which is the same
                                 // as letting all that was added before decay; rescaled before it overflows
  double *brief_ = nullptr;       // next-use: the same with a short half-life
  uint64_t *last_use_ = nullptr;  // ticks
  uint64_t *step_of_ = nullptr;   // the step that used the key last
  float *expected_ = nullptr;
  int32_t *sum_ = nullptr;        // next-use: what the tables say of the key, in units of their scale
  int32_t *slot_of_ = nullptr;
  uint16_t *layer_of_ = nullptr;
  uint8_t *kept_ = nullptr;       // 1: never evicted
  uint32_t *pages_of_ = nullptr;  // 4096 bytes each; 0 where the record's size is not known
  Slot *slots_ = nullptr;
  // The keys of the step that have or had slots: hits, then what was acquired, which is gone before step_next_.
  uint32_t *step_keys_ = nullptr;
  uint32_t step_end_ = 0, step_next_ = 0;
  uint32_t *step_used_ = nullptr;  // the step's experts in its layer
  uint32_t step_used_count_ = 0;
  int32_t *free_ = nullptr;  // stack of free slots

  uint32_t keys_ = 0, layer_count_ = 0, slot_count_ = 0, free_count_ = 0, top_k_sum_ = 0;
  uint64_t capacity_ = 0, used_pages_ = 0;
  uint32_t now_ = 0;       // the layer that ran last
  uint32_t chunk_ = 1;     // its tokens
  bool stepping_ = false;  // between the first Use of a step and its end
  bool observed_ = true;   // the Use calls of the step are over
  uint64_t step_ = 1, tick_ = 0, tokens_ = 0;
  uint64_t token_start_ = 0;  // tick at which the chunk began
  double increment_ = 1, growth_ = 1, brief_increment_ = 1;
  double weight_[3] = {0.4, 0.3, 0.3};  // next-use: of tables, brief memory and frequency
  Counters counters_;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_CACHE_H_
