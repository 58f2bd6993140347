#include "runtime/engine/expert_runner.h"

#include <sys/mman.h>
#include <unistd.h>

namespace emoe::rt {

Status ExpertRunner::Init(const Bundle &bundle, const emoe_kernel_fn *kernels, const ExpertOptions &options,
                          Predictor *predictor, Reader *reader, ThreadPool *pool, Arena *arena) {
  bundle_ = &bundle;
  kernels_ = kernels;
  predictor_ = predictor;
  reader_ = reader;
  pool_ = pool;
  clock_ = options.clock;
  slots_ = options.slots;
  slot_bytes_ = options.slot_bytes;
  expert_bytes_ = options.expert_bytes;
  loading_ = options.loading;
  watch_ = options.watch;
  watch_user_ = options.watch_user;
  for (uint32_t i = 0; i < kReadDepth; ++i) free_[i] = i;
  uint32_t keys = 0, most_experts = 0, layers = static_cast<uint32_t>(bundle.moe_layers.size);
  uint64_t most_pairs = 0, token_bytes = 0;
  key_base_ = arena->TakeArray<uint32_t>(layers);
  if (key_base_ == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the experts' tables");
  for (uint32_t layer = 0; layer < layers; ++layer) {
    const MoeLayer &moe = bundle.moe_layers[layer];
    key_base_[layer] = keys;
    keys += moe.experts;
    if (moe.experts > most_experts) most_experts = moe.experts;
    uint64_t pairs = static_cast<uint64_t>(moe.top_k) * (moe.source ? options.source : options.chunk);
    if (pairs > most_pairs) most_pairs = pairs;
    token_bytes += moe.top_k * options.slot_bytes;
  }
  starts_ = arena->TakeArray<uint32_t>(uint64_t{most_experts} + 1);
  tokens_of_ = arena->TakeArray<int32_t>(most_pairs);
  pairs_of_ = arena->TakeArray<int32_t>(most_pairs);
  groups_ = arena->TakeArray<ExpertGroup>(most_experts);
  tasks_ = arena->TakeArray<Task>(most_experts);
  missing_ = arena->TakeArray<uint32_t>(most_experts);
  ready_ = arena->TakeArray<uint32_t>(most_experts);
  chance_ = arena->TakeArray<float>(most_experts);
  touched_ = arena->TakeArray<uint32_t>(options.slot_count);
  void *cache = arena->Take(ExpertCache::BytesNeeded(bundle.moe_layers, options.slot_count), alignof(double));
  void *schedule = arena->Take(Schedule::BytesNeeded(layers), alignof(double));
  if (!starts_ || !tokens_of_ || !pairs_of_ || !groups_ || !tasks_ || !missing_ || !ready_ || !chance_ || !touched_ ||
      !cache || !schedule) {
    return Error(StatusCode::kInternal, "the arena has no room for the experts' tables");
  }
  for (uint32_t slot = 0; slot < options.slot_count; ++slot) touched_[slot] = 0;
  cache_.Init(bundle.moe_layers, options.slot_count, options.expert_bytes, options.cache, cache);
  uint64_t largest_fit = options.slot_bytes == 0 ? 0 : options.expert_bytes / options.slot_bytes;
  most_predicted_ = largest_fit / 4 < kReadDepth / 2 ? static_cast<uint32_t>(largest_fit / 4) : kReadDepth / 2;
  schedule_.Init(layers, FirstState(options), options.prefetch_bytes != 0 ? options.prefetch_bytes : token_bytes,
                 schedule);
  return OkStatus();
}

PrefetchState ExpertRunner::FirstState(const ExpertOptions &options) const {
  if (!options.prefetch) return PrefetchState::kOff;
  uint64_t bytes = 0;
  bool predicts = loading_ == Loading::kWholeLayers;
  for (uint32_t layer = 0; layer < bundle_->moe_layers.size; ++layer) {
    const MoeLayer &moe = bundle_->moe_layers[layer];
    if (moe.source) continue;  // its records never stay
    for (const Record &record : moe.records) bytes += moe.variants[record.variant].record_bytes;
    if (predictor_ != nullptr && predictor_->kind(layer) != PredictorKind::kNone) predicts = true;
  }
  if (loading_ != Loading::kOnDemand && options.expert_bytes >= bytes) return PrefetchState::kAllResident;
  if (!predicts) return PrefetchState::kNoPredictor;
  if (most_predicted_ == 0) return PrefetchState::kFewSlots;
  return reader_->concurrent() ? PrefetchState::kLearning : PrefetchState::kNoOverlap;
}

void ExpertRunner::AddTo(SessionStats *stats) const {
  stats->hits = cache_.counters().hits;
  stats->misses = cache_.counters().misses;
  stats->bytes_read = bytes_read_;
  stats->rereads = rereads_;
  stats->stall_ns = stall_ns_;
  stats->compute_ns = compute_ns_;
  stats->prefetch_hits = prefetch_hits_;
  stats->prefetch = schedule_.state();
  stats->predicted = schedule_.counters();
  stats->idle_share = schedule_.IdleShare(clock_->Now());
}

ReadRequest ExpertRunner::RequestOf(const Flight &flight) const {
  const Record &record = bundle_->moe_layers[flight.layer].records[flight.expert];
  return {bundle_->experts.offset + record.offset, SlotAt(flight.slot),
          VariantOf(flight.layer, flight.expert).record_bytes, static_cast<uint32_t>(&flight - flight_)};
}

// Of a slot that is loading.
uint32_t ExpertRunner::FlightTo(int32_t slot) const {
  uint32_t at = 0;
  while (flight_[free_[at]].slot != slot) ++at;
  return free_[at];
}

Status ExpertRunner::Run(uint32_t layer, const ExpertOperands &operands) {
  const MoeLayer &moe = bundle_->moe_layers[layer];
  uint64_t begin = clock_->Now();
  layer_ = layer;
  operands_ = operands;
  times_ = {};
  times_.layer = layer;
  times_.tokens = operands.tokens;
  times_.begin = begin;
  uint32_t count = 0;
  RT_RETURN_IF_ERROR(GroupByExpert(operands.ids, operands.tokens, moe.top_k, moe.experts, starts_, tokens_of_,
                                   pairs_of_, groups_, &count));
  if (loading_ == Loading::kWholeLayers) {
    uint32_t used = count;
    for (uint32_t expert = 0, at = 0; expert < moe.experts; ++expert) {
      if (at < used && groups_[at].expert == expert) {
        ++at;
      } else {
        groups_[count++] = {expert, 0, 0};
      }
    }
  }
  schedule_.StepBegins(layer, operands.tokens, begin);
  distance_ = schedule_.active() && !operands.once ? 0 : Schedule::kReach + 1;
  pairs_left_ = uint64_t{operands.tokens} * moe.top_k;
  Expect();
  Sort(count);
  Status status = Step();
  if (!status.ok()) {
    Drain();
    return status;
  }
  uint64_t end = clock_->Now();
  schedule_.StepEnds(layer, operands.tokens, end);
  if (watch_ != nullptr) {
    times_.end = end;
    watch_(watch_user_, times_);
  }
  return OkStatus();
}

// Tells the cache what the next layer will use, before this one evicts: part of its policy, whether or not predicted
// records are read.
void ExpertRunner::Expect() {
  if (predictor_ == nullptr || cache_.policy() != CachePolicy::kNextUse || operands_.tokens != 1) return;
  if (layer_ + 1 == bundle_->moe_layers.size) return;
  // The other predictors say less of it than the cache's own tables (docs/cache.md).
  if (predictor_->kind(layer_ + 1) != PredictorKind::kLookAhead) return;
  Prediction prediction = predictor_->Predict(layer_ + 1, 1);
  if (prediction.ranked_count != 0) cache_.Expect(layer_ + 1, prediction.probability);
}

// Tasks of the step's groups: those in memory are ready, those that a predicted read is bringing wait for it, the rest
// is missing.
void ExpertRunner::Sort(uint32_t count) {
  ready_count_ = missing_count_ = next_missing_ = 0;
  StepLoad load;
  for (uint32_t i = 0; i < count; ++i) {
    const uint32_t key = key_base_[layer_] + groups_[i].expert;
    int32_t slot = cache_.Use(key, groups_[i].count);
    bool predicted = schedule_.Use(layer_, groups_[i].expert, times_.begin);
    int32_t loading = slot >= 0 ? -1 : cache_.Find(key);
    tasks_[i] = {groups_[i], slot, 0};
    if (slot >= 0) {
      load.hit_pairs += groups_[i].count;
      if (predicted) {
        cache_.Unpin(slot);  // it was kept for this step
        load.predicted_pairs += groups_[i].count;
      }
      ready_[ready_count_++] = i;
      ++times_.hits;
    } else {
      ++times_.misses;
      times_.miss_bytes += VariantOf(layer_, groups_[i].expert).record_bytes;
      if (loading >= 0) {
        // Also if it was predicted for an earlier step and is late.
        tasks_[i].slot = loading;
        flight_[FlightTo(loading)].task = i;
        ++awaited_;
        predicted = true;
      } else {
        missing_[missing_count_++] = i;
        load.missing_bytes += VariantOf(layer_, groups_[i].expert).record_bytes;
      }
    }
    if (predicted) ++prefetch_hits_;
  }
  hits_left_ = times_.hits != 0;
  schedule_.Settle(layer_, load, times_.begin, Drop, this);
}

// A record that was predicted in vain need not stay.
void ExpertRunner::Drop(void *self, uint32_t layer, uint32_t expert) {
  auto *runner = static_cast<ExpertRunner *>(self);
  int32_t slot = runner->cache_.Find(runner->key_base_[layer] + expert);
  if (runner->loading_ == Loading::kOnDemand) {
    runner->cache_.Abandon(slot);
  } else {
    runner->cache_.Unpin(slot);
  }
}

void ExpertRunner::DropPredicted() {
  uint64_t now = clock_->Now();
  for (uint32_t layer = 0; layer < bundle_->moe_layers.size; ++layer) schedule_.Settle(layer, {}, now, Drop, this);
}

// Keeps the storage busy first, then computes what is at hand, then waits. Computed experts are unpinned: their slots
// may serve the missing ones, so any number of slots makes progress.
Status ExpertRunner::Step() {
  ReadDone done[kReadDepth];
  for (;;) {
    SubmitMissing();
    RT_RETURN_IF_ERROR(Take(done, flights_ == 0 ? 0 : reader_->Poll(done), false));
    if (next_missing_ == missing_count_ && awaited_ == 0) {
      uint64_t now = clock_->Now();
      schedule_.Left(pairs_left_, now);
      if (distance_ <= Schedule::kReach) {
        Prefetch();
        schedule_.Spent(clock_->Now() - now);
      }
    }
    if (ready_count_ != 0) {
      ComputeReady();
      continue;
    }
    if (next_missing_ == missing_count_ && awaited_ == 0) return OkStatus();
    if (flights_ == 0) {
      // A read that failed may have made room; what is kept for later layers makes room at last.
      SubmitMissing();
      if (flights_ == 0 && schedule_.pending() != 0) {
        DropPredicted();
        SubmitMissing();
      }
      if (flights_ != 0) continue;
      return Error(StatusCode::kInternal, "no slot is free although nothing is computed or read; slots:",
                   cache_.slot_count());
    }
    uint32_t ended = 0;
    uint64_t start = clock_->Now();
    Status status = reader_->Wait(done, &ended);
    uint64_t waited = clock_->Now() - start;
    stall_ns_ += waited;
    times_.stall_ns += waited;
    if (!status.ok()) {
      hung_ = true;
      return status;
    }
    RT_RETURN_IF_ERROR(Take(done, ended, true));
  }
}

void ExpertRunner::SubmitMissing() {
  while (next_missing_ < missing_count_ && flights_ < kReadDepth) {
    uint32_t number = missing_[next_missing_];
    Task &task = tasks_[number];
    task.slot = cache_.Acquire(key_base_[layer_] + task.group.expert);
    if (task.slot < 0) return;
    Submit(layer_, task.group.expert, task.slot, number, 0);
    ++next_missing_;
  }
}

void ExpertRunner::Submit(uint32_t layer, uint32_t expert, int32_t slot, uint32_t task, float q) {
  Flight &flight = flight_[free_[flights_++]];
  flight = {layer, expert, slot, task, task == kNone, 0, kNone};
  ReadRequest request = RequestOf(flight);
  Touch(slot, request.bytes);
  flight_bytes_ += request.bytes;
  if (task == kNone) {
    schedule_.Started(layer, expert, q, request.bytes, clock_->Now());
  } else {
    ++awaited_;
    schedule_.Submitted(request.bytes, clock_->Now());
  }
  reader_->Submit(request);
}

// Memory that a slot's last record held beyond the next one's end goes back to the system, and if the next one needs
// more, that of free slots: the cache has seen to it that this is enough.
void ExpertRunner::Touch(int32_t slot, uint32_t bytes) {
  GiveBack(slot, bytes);
  Span<int32_t> free = cache_.free_slots();
  for (size_t i = free.size; i != 0 && touched_sum_ - touched_[slot] + bytes > expert_bytes_; --i) {
    GiveBack(free[i - 1], 0);
  }
  touched_sum_ += bytes - touched_[slot];
  touched_[slot] = bytes;
}

// Leaves a slot the first `bytes` of its memory, and what else lies in their last page: PlanMemory counts that.
void ExpertRunner::GiveBack(int32_t slot, uint32_t bytes) {
  if (touched_[slot] <= bytes) return;
  const auto page = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  uintptr_t begin = (reinterpret_cast<uintptr_t>(SlotAt(slot)) + bytes + page - 1) & ~(page - 1);
  uintptr_t end = (reinterpret_cast<uintptr_t>(SlotAt(slot)) + touched_[slot]) & ~(page - 1);
  if (begin < end) madvise(reinterpret_cast<void *>(begin), end - begin, MADV_DONTNEED);
  touched_sum_ -= touched_[slot] - bytes;
  touched_[slot] = bytes;
}

void ExpertRunner::Tend() {
  ReadDone done[kReadDepth];
  uint64_t start = clock_->Now();
  // Outside of a step no task waits, so nothing can fail.
  if (flights_ != 0 && !Take(done, reader_->Poll(done), false).ok()) return;
  Prefetch();
  schedule_.Spent(clock_->Now() - start);
}

// Reads what is most likely of the layers ahead, as long as it is worth it.
void ExpertRunner::Prefetch() {
  while (distance_ <= Schedule::kReach && schedule_.active()) {
    if (flights_ == kReadDepth || schedule_.pending() >= most_predicted_) return;
    uint32_t best = 0;
    if (distance_ != 0) {
      uint32_t base = key_base_[target_];
      for (uint32_t expert = 0; expert < bundle_->moe_layers[target_].experts; ++expert) {
        if (chance_[expert] > chance_[best] && cache_.Find(base + expert) < 0) best = expert;
      }
      if (cache_.Find(base + best) >= 0) chance_[best] = 0;
    }
    if (distance_ == 0 || chance_[best] < Schedule::kLeastChance) {
      if (!AimAhead()) return;
      continue;
    }
    const float q = chance_[best];
    if (!schedule_.Allow(q, VariantOf(target_, best).record_bytes, clock_->Now())) return;
    chance_[best] = 0;
    int32_t slot = cache_.AcquireIfWorse(key_base_[target_] + best, q);
    if (slot >= 0) Submit(target_, best, slot, kNone, q);
  }
}

// Aims one layer further ahead; false if there is none.
bool ExpertRunner::AimAhead() {
  uint32_t layers = static_cast<uint32_t>(bundle_->moe_layers.size);
  do {
    if (++distance_ > Schedule::kReach || distance_ >= layers) {
      distance_ = Schedule::kReach + 1;
      return false;
    }
    target_ = (layer_ + distance_) % layers;
  } while (bundle_->moe_layers[target_].source);
  const MoeLayer &moe = bundle_->moe_layers[target_];
  Prediction prediction;
  if (loading_ != Loading::kWholeLayers) prediction = predictor_->Predict(target_, operands_.tokens);
  // A single token's experts are predicted by rank; of a chunk's, most are touched.
  bool ranked = operands_.tokens == 1 && loading_ != Loading::kWholeLayers;
  for (uint32_t expert = 0; expert < moe.experts; ++expert) {
    chance_[expert] = ranked ? 0 : prediction.probability != nullptr ? prediction.probability[expert] : 1;
  }
  for (uint32_t i = 0; ranked && i < prediction.ranked_count; ++i) {
    chance_[prediction.ranked[i]] = prediction.probability[prediction.ranked[i]];
  }
  return true;
}

void ExpertRunner::Stop() {
  if (reader_ != nullptr) Drain();
}

namespace {

struct Part {
  ExpertRunner *runner;
  const uint32_t *tasks;
  uint32_t count;
  bool down;
};

}  // namespace

void ExpertRunner::ComputeReady() {
  uint64_t pairs = 0, start = clock_->Now();
  ComputePart(false, ready_, ready_count_);
  ComputePart(true, ready_, ready_count_);
  for (uint32_t i = 0; i < ready_count_; ++i) {
    const Task &task = tasks_[ready_[i]];
    pairs += task.group.count;
    if (loading_ == Loading::kOnDemand || operands_.once) {
      cache_.Abandon(task.slot);
    } else {
      cache_.Unpin(task.slot);
    }
  }
  ready_count_ = 0;
  pairs_left_ -= pairs;
  uint64_t taken = clock_->Now() - start;
  compute_ns_ += taken;
  schedule_.Computed(pairs, taken);
  (hits_left_ ? times_.hit_ns : times_.miss_ns) += taken;
  hits_left_ = false;
}

// The tiles of all tasks are one range: task i has those from the end of task i - 1 to its own.
void ExpertRunner::ComputePart(bool down, const uint32_t *tasks, uint32_t count) {
  int64_t tiles = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Task &task = tasks_[tasks[i]];
    const Variant &variant = VariantOf(layer_, task.group.expert);
    const Kernel &kernel = bundle_->kernel_table[down ? variant.down_kernel : variant.gate_up_kernel];
    if (task.group.count != 0) {
      tiles += int64_t{kernel.tiles_fixed} + int64_t{kernel.tiles_per_token} * task.group.count;
    }
    task.tiles_end = tiles;
  }
  Part part{this, tasks, count, down};
  pool_->ParallelFor(tiles, 1, ComputeBody, &part);
}

void ExpertRunner::ComputeBody(void *context, int64_t first, int64_t last) {
  const Part &part = *static_cast<Part *>(context);
  const ExpertRunner &runner = *part.runner;
  uint32_t at = 0;
  while (first < last) {
    while (runner.tasks_[part.tasks[at]].tiles_end <= first) ++at;
    const Task &task = runner.tasks_[part.tasks[at]];
    int64_t begin = at == 0 ? 0 : runner.tasks_[part.tasks[at - 1]].tiles_end;
    int64_t end = last < task.tiles_end ? last : task.tiles_end;
    const Variant &variant = runner.VariantOf(runner.layer_, task.group.expert);
    char *record = runner.SlotAt(task.slot);
    emoe_kernel_args args = {};
    args.tokens = task.group.count;
    args.rows_out = runner.pairs_of_ + task.group.first;
    if (part.down) {
      args.operand[0] = runner.operands_.hidden;
      args.operand[1] = record + variant.down_offset;
      args.operand[2] = runner.operands_.pairs;
      args.rows_in = runner.pairs_of_ + task.group.first;
    } else {
      args.operand[0] =
          variant.activations == Activations::kQ8 ? runner.operands_.input_q8 : runner.operands_.input_f32;
      args.operand[1] = record + variant.gate_up_offset;
      args.operand[2] = runner.operands_.hidden;
      args.rows_in = runner.tokens_of_ + task.group.first;
    }
    runner.kernels_[part.down ? variant.down_kernel : variant.gate_up_kernel](&args, first - begin, end - begin);
    first = end;
  }
}

}  // namespace emoe::rt
