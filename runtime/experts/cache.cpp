#include "runtime/experts/cache.h"

#include <string.h>

#include "runtime/text/math.h"

namespace emoe::rt {
namespace {

constexpr double kLn2 = 0.693147180559945309417232121458;
constexpr double kLargestIncrement = 1e100;
constexpr double kClass = 1125899906842624.0;  // 2^50: more uses than a cache lives to see
// What the tables say at least, so that the distance and the frequency still tell two useless records apart.
constexpr double kLeastLikely = 1e-4;
// Records that a prefill step has on the way before it may give up those that it has computed.
constexpr uint32_t kStreamed = 8;
// Tokens over which next-use learns what to trust.
constexpr double kLearnTokens = 8;
// Of its briefer memory: 2^(1/3), so a use counts half after 3 tokens.
constexpr double kBriefGrowth = 1.25992104989487316476721060727823;
constexpr size_t kAlign = 8;
constexpr uint64_t kPage = 4096;

// Hands out the parts of one allocation, or counts them if there is none yet.
struct Parts {
  char *memory;
  size_t used;
  template <typename T>
  T *Take(size_t count) {
    T *result = memory != nullptr ? reinterpret_cast<T *>(memory + used) : nullptr;
    used += (count * sizeof(T) + kAlign - 1) / kAlign * kAlign;
    return result;
  }
};

}  // namespace

size_t ExpertCache::BytesNeeded(Span<MoeLayer> layers, uint32_t slots) {
  size_t keys = 0, used = 0, most = 0;
  for (const MoeLayer &layer : layers) {
    keys += layer.experts;
    used += layer.top_k;
    if (layer.experts > most) most = layer.experts;
  }
  Parts parts{nullptr, 0};
  parts.Take<Layer>(layers.size);
  parts.Take<double>(layers.size + 1);
  for (size_t i = 0; i < layers.size; ++i) parts.Take<uint32_t>(layers[i].top_k);
  parts.Take<double>(keys);
  parts.Take<double>(keys);
  parts.Take<uint64_t>(keys);
  parts.Take<uint64_t>(keys);
  parts.Take<float>(keys);
  parts.Take<int32_t>(keys);
  parts.Take<int32_t>(keys);
  parts.Take<uint16_t>(keys);
  parts.Take<uint8_t>(keys);
  parts.Take<uint32_t>(keys);
  parts.Take<uint32_t>(most);
  parts.Take<uint32_t>(most);
  parts.Take<Slot>(slots);
  parts.Take<int32_t>(slots);
  return parts.used;
}

void ExpertCache::Init(Span<MoeLayer> layers, uint32_t slots, uint64_t bytes, const CacheParameters &parameters,
                       void *memory) {
  *this = ExpertCache();
  parameters_ = parameters;
  capacity_ = bytes == 0 ? ~uint64_t{0} : bytes / kPage;
  layer_count_ = static_cast<uint32_t>(layers.size);
  slot_count_ = slots;
  uint32_t most_used = 0, most = 0;
  for (const MoeLayer &layer : layers) {
    keys_ += layer.experts;
    if (layer.top_k > most_used) most_used = layer.top_k;
    if (layer.experts > most) most = layer.experts;
  }
  Parts parts{static_cast<char *>(memory), 0};
  layers_ = parts.Take<Layer>(layers.size);
  distance_factor_ = parts.Take<double>(layers.size + 1);
  for (uint32_t i = 0, first = 0; i < layer_count_; ++i) {
    layers_[i] = {};
    layers_[i].first = first;
    layers_[i].experts = layers[i].experts;
    layers_[i].used = parts.Take<uint32_t>(layers[i].top_k);
    layers_[i].ahead = true;
    layers_[i].least = -1;
    first += layers[i].experts;
  }
  frequency_ = parts.Take<double>(keys_);
  brief_ = parts.Take<double>(keys_);
  last_use_ = parts.Take<uint64_t>(keys_);
  step_of_ = parts.Take<uint64_t>(keys_);
  expected_ = parts.Take<float>(keys_);
  sum_ = parts.Take<int32_t>(keys_);
  slot_of_ = parts.Take<int32_t>(keys_);
  layer_of_ = parts.Take<uint16_t>(keys_);
  kept_ = parts.Take<uint8_t>(keys_);
  pages_of_ = parts.Take<uint32_t>(keys_);
  step_keys_ = parts.Take<uint32_t>(most);
  step_used_ = parts.Take<uint32_t>(most);
  slots_ = parts.Take<Slot>(slots);
  free_ = parts.Take<int32_t>(slots);
  uint32_t largest = 0;
  for (uint32_t layer = 0; layer < layer_count_; ++layer) {
    top_k_sum_ += layers[layer].top_k;
    layers_[layer].top_k = layers[layer].top_k;
    for (uint32_t i = 0; i < layers_[layer].experts; ++i) {
      uint32_t key = layers_[layer].first + i;
      frequency_[key] = brief_[key] = 0;
      last_use_[key] = step_of_[key] = 0;
      expected_[key] = 0;
      sum_[key] = 0;
      slot_of_[key] = -1;
      layer_of_[key] = static_cast<uint16_t>(layer);
      kept_[key] = 0;
      const MoeLayer &moe = layers[layer];
      pages_of_[key] = i < moe.records.size
                           ? static_cast<uint32_t>(moe.variants[moe.records[i].variant].record_bytes / kPage) : 0;
      if (pages_of_[key] > largest) largest = pages_of_[key];
    }
  }
  for (uint32_t i = 0; i < slots; ++i) {
    slots_[i] = {0, 0, State::kFree, false};
    free_[i] = static_cast<int32_t>(slots - 1 - i);
  }
  free_count_ = slots;
  growth_ = parameters.half_life == 0 ? 1 : Exp(kLn2 / parameters.half_life);
  double power = parameters.policy == CachePolicy::kEdgeMoe ? 1.0 : parameters.distance_power / 4.0;
  for (uint32_t d = 0; d <= layer_count_; ++d) distance_factor_[d] = d < 2 ? 1 : Exp(power * Log(d));
  if (parameters.usual.size == 0) {
    weight_[0] = 0;
    weight_[1] = weight_[2] = 0.5;
  }
  ShareSlots();
  uint32_t room = slots > most_used ? slots - most_used : 0;
  uint64_t step = uint64_t{largest} * most_used;
  Keep(parameters.pinned < room ? parameters.pinned : room, capacity_ > step ? capacity_ - step : 0);
}

// Each layer's share of the slots: by its number of experts, at most all of them.
void ExpertCache::ShareSlots() {
  uint32_t left = slot_count_;
  for (uint32_t i = 0; i < layer_count_; ++i) {
    uint64_t share = uint64_t{slot_count_} * layers_[i].experts / keys_;
    layers_[i].quota = share < layers_[i].experts ? static_cast<uint32_t>(share) : layers_[i].experts;
    left -= layers_[i].quota;
  }
  for (uint32_t i = 0; i < layer_count_ && left != 0; ++i) {
    if (layers_[i].quota == layers_[i].experts) continue;
    ++layers_[i].quota;
    --left;
  }
}

// Marks the `count` records with the largest `usual`, as long as they fit into `pages`; ties go to the lowest key.
void ExpertCache::Keep(uint32_t count, uint64_t pages) {
  const Span<uint16_t> &usual = parameters_.usual;
  if (count == 0 || usual.size != keys_) return;
  auto above = [&](uint32_t bound) {
    uint32_t n = 0;
    for (uint32_t key = 0; key < keys_; ++key) n += usual[key] > bound;
    return n;
  };
  uint32_t low = 0, high = 65535;  // the least bound that no more than `count` are above
  while (low < high) {
    uint32_t middle = (low + high) / 2;
    if (above(middle) <= count) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  uint32_t left = count - above(low);
  for (uint32_t key = 0; key < keys_; ++key) {
    bool tie = usual[key] == low && left != 0;
    left -= tie;
    if ((usual[key] <= low && !tie) || pages_of_[key] > pages) continue;
    kept_[key] = 1;
    pages -= pages_of_[key];
  }
}

void ExpertCache::Rescale() {
  for (uint32_t key = 0; key < keys_; ++key) frequency_[key] /= increment_;
  increment_ = 1;
  for (uint32_t i = 0; i < layer_count_; ++i) layers_[i].fresh = false;
}

void ExpertCache::Advance(uint32_t tokens) {
  EndStep();
  for (uint32_t i = 0; i < tokens && growth_ > 1; ++i) {
    increment_ *= growth_;
    if (increment_ > kLargestIncrement) Rescale();
  }
  for (uint32_t i = 0; i < tokens; ++i) {
    brief_increment_ *= kBriefGrowth;
    if (brief_increment_ < kLargestIncrement) continue;
    for (uint32_t key = 0; key < keys_; ++key) brief_[key] /= brief_increment_;
    brief_increment_ = 1;
  }
  tokens_ += tokens;
  chunk_ = tokens;
  token_start_ = tick_;
  for (uint32_t i = 0; i < layer_count_; ++i) {
    Layer &layer = layers_[i];
    if (layer.ahead) SumBlocks(i);  // it did not run: no longer ahead of anything in the chunk before
    layer.ahead = true;
    layer.expecting = false;
  }
  Stale();
}

void ExpertCache::EndStep() {
  if (!stepping_) return;
  if (!observed_) Observe();
  stepping_ = false;
  layers_[now_].fresh = false;  // its records may go from now on
  ++step_;
}

void ExpertCache::BeginStep(uint32_t layer) {
  EndStep();
  stepping_ = true;
  observed_ = false;
  now_ = layer;
  step_end_ = step_next_ = 0;
  Layer &l = layers_[layer];
  step_used_count_ = 0;
  l.fresh = false;
  Stale();
}

// The worth of all records changed.
void ExpertCache::Stale() {
  if (parameters_.policy != CachePolicy::kNextUse && parameters_.policy != CachePolicy::kLeastStale) return;
  for (uint32_t i = 0; i < layer_count_; ++i) layers_[i].fresh = false;
}

// The step's Use calls are over: the tables learn what the layer chose.
void ExpertCache::Observe() {
  observed_ = true;
  step_next_ = step_end_;
  Layer &l = layers_[now_];
  if (l.ahead) {
    AddBlocks(now_, false, -1, 0, layer_count_);
  } else {  // it ran before for the same chunk
    AddBlocks(now_, false, -1, 0, now_);
    AddBlocks(now_, true, -1, now_ + 1, layer_count_);
  }
  l.ahead = l.expecting = false;
  l.used_count = step_used_count_;
  for (uint32_t i = 0; i < step_used_count_; ++i) l.used[i] = step_used_[i];
  AddBlocks(now_, false, 1, 0, now_);
  AddBlocks(now_, true, 1, now_ + 1, layer_count_);
  SumBlocks(now_);
}

// Adds (or takes away) what the tables say of the targets [first, end), given the experts that `source` chose last.
void ExpertCache::AddBlocks(uint32_t source, bool same_token, int32_t sign, uint32_t first, uint32_t end) {
  if (parameters_.blocks.size == 0 || layers_[source].used_count == 0) return;
  size_t low = 0, high = parameters_.blocks.size;
  while (low < high) {
    size_t middle = (low + high) / 2;
    if (parameters_.blocks[middle].source < source) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  for (; low < parameters_.blocks.size && parameters_.blocks[low].source == source; ++low) {
    const NextUseBlock &block = parameters_.blocks[low];
    if ((block.same_token != 0) == same_token && block.target >= first && block.target < end) AddBlock(block, sign);
  }
}

// Eight experts at once: compilers leave the plain loop as it is, and next-use spends most of its time on it.
typedef int8_t Bytes __attribute__((vector_size(8)));
typedef int32_t Words __attribute__((vector_size(32), aligned(4), may_alias));

void ExpertCache::AddBlock(const NextUseBlock &block, int32_t sign) {
  const Layer &from = layers_[block.source], &to = layers_[block.target];
  for (uint32_t i = 0; i < from.used_count; ++i) {
    const int8_t *row = parameters_.rows.data + block.first + uint64_t{from.used[i]} * to.experts;
    int32_t *sum = sum_ + to.first;
    uint32_t e = 0;
    for (; e + 8 <= to.experts; e += 8) {
      Bytes bytes;
      memcpy(&bytes, row + e, sizeof(bytes));
      const Words words = __builtin_convertvector(bytes, Words);
      Words *sums = reinterpret_cast<Words *>(sum + e);
      *sums = sign > 0 ? *sums + words : *sums - words;
    }
    for (; e < to.experts; ++e) sum[e] += sign * row[e];
  }
}

// What the tables say of a layer's next chance in a later token, from all that was chosen last.
void ExpertCache::SumBlocks(uint32_t target) {
  if (parameters_.blocks.size == 0) return;
  Layer &layer = layers_[target];
  for (uint32_t e = 0; e < layer.experts; ++e) sum_[layer.first + e] = 0;
  for (const NextUseBlock &block : parameters_.blocks) {
    if (block.target == target && block.same_token == 0) AddBlock(block, 1);
  }
}

void ExpertCache::Expect(uint32_t layer, const float *probability) {
  Layer &l = layers_[layer];
  if (parameters_.policy != CachePolicy::kNextUse || !l.ahead) return;
  for (uint32_t e = 0; e < l.experts; ++e) expected_[l.first + e] = probability[e];
  l.expecting = true;
  l.fresh = false;
}

// Probability that a token uses the record, by its decayed frequency.
double ExpertCache::Recent(uint32_t key) const {
  if (growth_ > 1) return frequency_[key] * (growth_ - 1) / increment_;
  return tokens_ == 0 ? 0 : frequency_[key] / static_cast<double>(tokens_);
}

// The same over the last few tokens.
double ExpertCache::Brief(uint32_t key) const { return brief_[key] * (kBriefGrowth - 1) / brief_increment_; }

double ExpertCache::Expected(uint32_t key, double probability) const {
  double later = parameters_.discount / 256.0;
  double usual = parameters_.usual.size == 0 ? 0 : parameters_.usual[key] / 65535.0;
  return (1 - later) * probability + later * Mix(key, usual);
}

// The same by what layers chose last.
double ExpertCache::Tables(uint32_t key) const {
  double tables = parameters_.usual[key] / 65535.0 + sum_[key] * static_cast<double>(parameters_.scale);
  return tables < kLeastLikely ? kLeastLikely : tables;
}

// What next-use makes of all that is known, if the tables say `tables`.
double ExpertCache::Mix(uint32_t key, double tables) const {
  double recent = parameters_.recent / 255.0;
  double mix = weight_[0] * tables + weight_[1] * Brief(key) + weight_[2] * Recent(key);
  return (1 - recent) * mix + recent * Recent(key);
}

// Comparable within a layer; Distant makes it comparable between layers.
double ExpertCache::KeyWorth(uint32_t layer, uint32_t key) const {
  switch (parameters_.policy) {
    case CachePolicy::kLfu:
    case CachePolicy::kEdgeMoe:
      return frequency_[key];
    case CachePolicy::kLru:
    case CachePolicy::kLeastStale:
      return static_cast<double>(last_use_[key]);
    case CachePolicy::kNextUse:
      break;
  }
  if (layers_[layer].expecting) return Expected(key, expected_[key]);
  return Mix(key, weight_[0] == 0 ? 0 : Tables(key));
}

uint32_t ExpertCache::Distance(uint32_t layer) const {
  return layer > now_ ? layer - now_ : layer + layer_count_ - now_;
}

double ExpertCache::Distant(uint32_t layer, double worth) const {
  switch (parameters_.policy) {
    case CachePolicy::kLfu:
    case CachePolicy::kLru:
      return worth;
    case CachePolicy::kLeastStale:
      if (layers_[layer].ahead) return worth + 2 * kClass;
      return worth > static_cast<double>(token_start_) ? worth + kClass : worth;
    case CachePolicy::kEdgeMoe:
    case CachePolicy::kNextUse:
      break;
  }
  return worth / distance_factor_[Distance(layer)];
}

double ExpertCache::Worth(uint32_t key) const { return Distant(layer_of_[key], KeyWorth(layer_of_[key], key)); }

void ExpertCache::FindLeast(uint32_t index) {
  Layer &layer = layers_[index];
  if (layer.fresh) return;
  layer.fresh = true;
  layer.least = -1;
  if (layer.resident == 0) return;
  for (uint32_t key = layer.first; key < layer.first + layer.experts; ++key) {
    int32_t slot = slot_of_[key];
    if (slot < 0 || slots_[slot].pins != 0 || kept_[key] != 0) continue;
    if (stepping_ && step_of_[key] == step_) continue;
    double worth = KeyWorth(index, key);
    if (layer.least >= 0 && worth >= layer.least_worth) continue;
    layer.least = static_cast<int32_t>(key);
    layer.least_worth = worth;
  }
}

// The key that goes first, not one of the step at hand; -1: there is none. Ties go to the layer that is further away.
int32_t ExpertCache::LeastOfAll(double *worth) {
  int32_t found = -1;
  for (uint32_t i = 0, layer = now_; i < layer_count_; ++i, layer = layer == 0 ? layer_count_ - 1 : layer - 1) {
    FindLeast(layer);
    if (layers_[layer].least < 0) continue;
    double here = Distant(layer, layers_[layer].least_worth);
    if (found >= 0 && here >= *worth) continue;
    found = layers_[layer].least;
    *worth = here;
  }
  return found;
}

// The same among the records of the step at hand; ties go to what came first.
int32_t ExpertCache::LeastOfStep() const {
  int32_t found = -1;
  double least = 0;
  for (uint32_t i = 0; i < step_end_; ++i) {
    if (slot_of_[step_keys_[i]] < 0) continue;
    double worth = Worth(step_keys_[i]);
    if (found >= 0 && worth >= least) continue;
    found = static_cast<int32_t>(step_keys_[i]);
    least = worth;
  }
  return found;
}

// With slots per layer: from the layer itself if it has its share, else from the one that is most above its own.
int32_t ExpertCache::Victim(uint32_t layer, double *worth) {
  if (!parameters_.per_layer) return LeastOfAll(worth);
  uint32_t from = layer;
  FindLeast(layer);
  // At its share with nothing but pinned records: these of the step make room, if there are any.
  if (layers_[layer].resident < layers_[layer].quota || (layers_[layer].least < 0 && LeastOfStep() < 0)) {
    int64_t most = 0;
    for (uint32_t i = 0; i < layer_count_; ++i) {
      int64_t above = int64_t{layers_[i].resident} - layers_[i].quota;
      if (above <= most) continue;
      FindLeast(i);
      if (layers_[i].least < 0) continue;
      most = above;
      from = i;
    }
    if (most == 0) return LeastOfAll(worth);
  }
  if (layers_[from].least < 0) return -1;
  *worth = Distant(from, layers_[from].least_worth);
  return layers_[from].least;
}

// Which of the predictions would have said best that `key` is used now gains weight: the weights under which the recent
// uses are most likely, by an online form of expectation maximisation.
void ExpertCache::Learn(uint32_t key) {
  double share[3] = {weight_[0] == 0 ? 0 : Tables(key), Brief(key), Recent(key)}, sum = 0;
  for (int i = 0; i < 3; ++i) sum += share[i] = weight_[i] * (share[i] + kLeastLikely);
  for (int i = 0; i < 3; ++i) weight_[i] += (share[i] / sum - weight_[i]) / (kLearnTokens * top_k_sum_);
}

int32_t ExpertCache::Use(uint32_t key, uint32_t uses) {
  uint32_t layer = layer_of_[key];
  if (!stepping_ || layer != now_ || observed_) BeginStep(layer);
  Layer &l = layers_[layer];
  if (parameters_.policy == CachePolicy::kNextUse) {
    if (chunk_ == 1) Learn(key);
    brief_[key] += brief_increment_ * uses;
  }
  if (chunk_ == 1 && uses != 0 && step_used_count_ < l.top_k) step_used_[step_used_count_++] = key - l.first;
  last_use_[key] = ++tick_;
  frequency_[key] += increment_ * uses;
  step_of_[key] = step_;
  int32_t slot = slot_of_[key];
  if (slot >= 0 && slots_[slot].state == State::kValid) {
    ++counters_.hits;
    counters_.prefetch_hits += slots_[slot].prefetched;
    slots_[slot].prefetched = false;
    ++slots_[slot].pins;
    if (step_end_ < l.experts) step_keys_[step_end_++] = key;
    return slot;
  }
  ++counters_.misses;
  return -1;
}

void ExpertCache::Evict(uint32_t key) {
  int32_t slot = slot_of_[key];
  Layer &layer = layers_[layer_of_[key]];
  slot_of_[key] = -1;
  --layer.resident;
  layer.fresh = false;
  slots_[slot] = {0, 0, State::kFree, false};
  free_[free_count_++] = slot;
  used_pages_ -= pages_of_[key];
  ++counters_.evictions;
}

int32_t ExpertCache::TakeFree(uint32_t key, bool prefetched) {
  int32_t slot = free_[--free_count_];
  slots_[slot] = {key, 1, State::kLoading, prefetched};
  slot_of_[key] = slot;
  used_pages_ += pages_of_[key];
  ++layers_[layer_of_[key]].resident;
  return slot;
}

// What the step acquired first and still has a slot, or -1.
int32_t ExpertCache::Oldest() {
  while (step_next_ < step_end_ && slot_of_[step_keys_[step_next_]] < 0) ++step_next_;
  return step_next_ < step_end_ ? static_cast<int32_t>(step_keys_[step_next_]) : -1;
}

int32_t ExpertCache::Acquire(uint32_t key) {
  uint32_t layer = layer_of_[key];
  if (!stepping_ || layer != now_) BeginStep(layer);
  if (!observed_) Observe();
  step_of_[key] = step_;
  while (!HasRoom(key)) {
    double worth = 0;
    int32_t victim = Victim(layer, &worth);
    // A long prompt reads through a few slots instead of flushing what is worth more.
    int32_t streamed = chunk_ > 1 ? Oldest() : -1;
    if (streamed >= 0 && step_end_ - step_next_ >= kStreamed && Worth(static_cast<uint32_t>(streamed)) < worth) {
      victim = -1;
    }
    if (victim < 0) {
      victim = streamed >= 0 ? streamed : LeastOfStep();
      if (victim < 0 || slots_[slot_of_[victim]].pins != 0) return -1;
    }
    Evict(static_cast<uint32_t>(victim));
  }
  if (step_end_ < layers_[layer].experts) step_keys_[step_end_++] = key;
  return TakeFree(key, false);
}

int32_t ExpertCache::AcquireIfWorse(uint32_t key, float probability) {
  uint32_t layer = layer_of_[key];
  if (stepping_ && !observed_) Observe();
  while (!HasRoom(key)) {
    double worth = 0;
    int32_t victim = Victim(layer, &worth);
    if (victim < 0) return -1;
    auto least = static_cast<uint32_t>(victim);
    double gain = probability, loss = Recent(least);
    switch (parameters_.policy) {
      case CachePolicy::kLfu:
        break;
      case CachePolicy::kEdgeMoe:
        gain /= distance_factor_[Distance(layer)];
        loss /= distance_factor_[Distance(layer_of_[least])];
        break;
      case CachePolicy::kLru:  // not used for n tokens: as if once in n
        loss = static_cast<double>(top_k_sum_) / static_cast<double>(top_k_sum_ + tick_ - last_use_[least]);
        break;
      case CachePolicy::kLeastStale:
        loss = worth < kClass ? 0 : 1;
        break;
      case CachePolicy::kNextUse:
        gain = Expected(key, probability) / distance_factor_[Distance(layer)];
        loss = worth;
        break;
    }
    if (gain <= loss) return -1;
    Evict(least);
  }
  ++counters_.prefetched;
  return TakeFree(key, true);
}

uint32_t ExpertCache::pinned() const {
  uint32_t count = 0;
  for (uint32_t slot = 0; slot < slot_count_; ++slot) count += slots_[slot].pins != 0;
  return count;
}

void ExpertCache::Commit(int32_t slot) { slots_[slot].state = State::kValid; }

void ExpertCache::Abandon(int32_t slot) {
  uint32_t key = slots_[slot].key;
  slot_of_[key] = -1;
  --layers_[layer_of_[key]].resident;
  layers_[layer_of_[key]].fresh = false;
  slots_[slot] = {0, 0, State::kFree, false};
  free_[free_count_++] = slot;
  used_pages_ -= pages_of_[key];
}

void ExpertCache::Unpin(int32_t slot) {
  if (--slots_[slot].pins == 0) layers_[layer_of_[slots_[slot].key]].fresh = false;
}

}  // namespace emoe::rt
