#include "runtime/engine/expert_runner.h"

#include "runtime/bundle/crc32c.h"

namespace emoe::rt {

Status ExpertRunner::Init(const Bundle &bundle, const emoe_kernel_fn *kernels, uint32_t chunk, uint32_t slot_count,
                          uint64_t slot_bytes, char *slots, CachePolicy policy, Reader *reader, ThreadPool *pool,
                          Arena *arena) {
  bundle_ = &bundle;
  kernels_ = kernels;
  reader_ = reader;
  pool_ = pool;
  slots_ = slots;
  slot_bytes_ = slot_bytes;
  uint32_t keys = 0, most_experts = 0;
  uint64_t most_pairs = 0;
  key_base_ = arena->TakeArray<uint32_t>(bundle.moe_layers.size);
  if (key_base_ == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the experts' tables");
  for (size_t layer = 0; layer < bundle.moe_layers.size; ++layer) {
    const MoeLayer &moe = bundle.moe_layers[layer];
    key_base_[layer] = keys;
    keys += moe.experts;
    if (moe.experts > most_experts) most_experts = moe.experts;
    uint64_t pairs = static_cast<uint64_t>(moe.top_k) * chunk;
    if (pairs > most_pairs) most_pairs = pairs;
  }
  starts_ = arena->TakeArray<uint32_t>(uint64_t{most_experts} + 1);
  tokens_of_ = arena->TakeArray<int32_t>(most_pairs);
  pairs_of_ = arena->TakeArray<int32_t>(most_pairs);
  groups_ = arena->TakeArray<ExpertGroup>(most_experts);
  tasks_ = arena->TakeArray<Task>(most_experts);
  missing_ = arena->TakeArray<uint32_t>(most_experts);
  ready_ = arena->TakeArray<uint32_t>(most_experts);
  void *cache = arena->Take(ExpertCache::BytesNeeded(keys, slot_count), alignof(double));
  if (!starts_ || !tokens_of_ || !pairs_of_ || !groups_ || !tasks_ || !missing_ || !ready_ || !cache) {
    return Error(StatusCode::kInternal, "the arena has no room for the experts' tables");
  }
  cache_.Init(keys, slot_count, policy, cache);
  return OkStatus();
}

void ExpertRunner::AddTo(SessionStats *stats) const {
  stats->hits = cache_.counters().hits;
  stats->misses = cache_.counters().misses;
  stats->bytes_read = bytes_read_;
  stats->rereads = rereads_;
  stats->stall_ns = stall_ns_;
}

ReadRequest ExpertRunner::RequestOf(const Task &task) const {
  const Record &record = bundle_->moe_layers[layer_].records[task.group.expert];
  return {bundle_->experts.offset + record.offset, SlotAt(task.slot),
          VariantOf(layer_, task.group.expert).record_bytes, static_cast<uint32_t>(&task - tasks_)};
}

Status ExpertRunner::Run(uint32_t layer, const ExpertOperands &operands) {
  const MoeLayer &moe = bundle_->moe_layers[layer];
  layer_ = layer;
  operands_ = operands;
  uint32_t count = 0;
  RT_RETURN_IF_ERROR(GroupByExpert(operands.ids, operands.tokens, moe.top_k, moe.experts, starts_, tokens_of_,
                                   pairs_of_, groups_, &count));
  uint32_t missing = 0;
  ready_count_ = 0;
  for (uint32_t i = 0; i < count; ++i) {
    int32_t slot = cache_.Use(key_base_[layer] + groups_[i].expert, groups_[i].count);
    tasks_[i] = {groups_[i], slot, 0, 0, kNone};
    if (slot >= 0) {
      ready_[ready_count_++] = i;
    } else {
      missing_[missing++] = i;
    }
  }
  Status status = Step(missing);
  if (!status.ok()) Drain();
  return status;
}

// Keeps the storage busy first, then computes what is at hand, then waits. Computed experts are unpinned: their slots
// may serve the missing ones, so any number of slots makes progress.
Status ExpertRunner::Step(uint32_t missing) {
  uint32_t next = 0;
  for (;;) {
    SubmitMissing(missing, &next);
    if (ready_count_ != 0) {
      Compute(ready_, ready_count_);
      ready_count_ = 0;
      continue;
    }
    if (reader_->in_flight() == 0) {
      if (next == missing) return OkStatus();
      return Error(StatusCode::kInternal, "no slot is free although nothing is computed or read; slots:",
                   cache_.slot_count());
    }
    ReadDone done[kReadDepth];
    uint32_t ended = 0;
    uint64_t start = Nanoseconds();
    Status status = reader_->Wait(done, &ended);
    stall_ns_ += Nanoseconds() - start;
    if (!status.ok()) {
      hung_ = true;
      return status;
    }
    RT_RETURN_IF_ERROR(Arrive(done, ended));
  }
}

void ExpertRunner::SubmitMissing(uint32_t missing, uint32_t *next) {
  while (*next < missing && reader_->in_flight() < kReadDepth) {
    Task &task = tasks_[missing_[*next]];
    task.slot = cache_.Acquire(key_base_[layer_] + task.group.expert);
    if (task.slot < 0) return;
    reader_->Submit(RequestOf(task));
    ++*next;
  }
}

// Takes in all reads that ended: also after a failure, so that no slot stays half-loaded.
Status ExpertRunner::Arrive(const ReadDone *done, uint32_t count) {
  Status first = OkStatus();
  checking_count_ = 0;
  uint32_t chunks = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Task &task = tasks_[done[i].tag];
    if (!done[i].status.ok()) {
      if (first.ok()) {
        first = done[i].status;
        Fail(task, 0, 0);
      }
      cache_.Abandon(task.slot);
      continue;
    }
    const Variant &variant = VariantOf(layer_, task.group.expert);
    bytes_read_ += variant.record_bytes;
    chunks += static_cast<uint32_t>(variant.chunk_ends.size);
    task.chunks_end = chunks;
    task.bad_chunk = kNone;
    checking_[checking_count_++] = done[i].tag;
  }
  pool_->ParallelFor(chunks, 1, CheckBody, this);
  for (uint32_t i = 0; i < checking_count_; ++i) {
    Task &task = tasks_[checking_[i]];
    if (task.bad_chunk != kNone) {
      Status status = CheckAgain(&task);
      if (!status.ok()) {
        if (first.ok()) first = status;
        cache_.Abandon(task.slot);
        continue;
      }
    }
    cache_.Commit(task.slot);
    if (first.ok()) {
      ready_[ready_count_++] = checking_[i];
    } else {
      cache_.Unpin(task.slot);
    }
  }
  if (!first.ok()) {
    for (uint32_t i = 0; i < ready_count_; ++i) cache_.Unpin(tasks_[ready_[i]].slot);
    ready_count_ = 0;
  }
  return first;
}

uint32_t ExpertRunner::ChunkCrc(const Task &task, uint32_t chunk) const {
  const Variant &variant = VariantOf(layer_, task.group.expert);
  uint32_t begin = chunk == 0 ? 0 : variant.chunk_ends[chunk - 1];
  return Crc32c(SlotAt(task.slot) + begin, variant.chunk_ends[chunk] - begin);
}

void ExpertRunner::CheckBody(void *self, int64_t first, int64_t last) {
  auto *runner = static_cast<ExpertRunner *>(self);
  uint32_t at = 0;
  for (int64_t item = first; item < last; ++item) {
    while (runner->tasks_[runner->checking_[at]].chunks_end <= item) ++at;
    Task &task = runner->tasks_[runner->checking_[at]];
    int64_t begin = at == 0 ? 0 : runner->tasks_[runner->checking_[at - 1]].chunks_end;
    uint32_t chunk = static_cast<uint32_t>(item - begin);
    const Record &record = runner->bundle_->moe_layers[runner->layer_].records[task.group.expert];
    if (runner->ChunkCrc(task, chunk) == runner->bundle_->chunk_crcs[record.first_crc + chunk]) continue;
    uint32_t known = __atomic_load_n(&task.bad_chunk, __ATOMIC_RELAXED);
    while (chunk < known && !__atomic_compare_exchange_n(&task.bad_chunk, &known, chunk, false, __ATOMIC_RELAXED,
                                                         __ATOMIC_RELAXED)) {
    }
  }
}

// The wrong bytes may have come from the page cache or the wire: once more from the device, then it is the bundle.
Status ExpertRunner::CheckAgain(Task *task) {
  ++rereads_;
  ReadRequest request = RequestOf(*task);
  Status status = reader_->ReadAgain(request);
  if (!status.ok()) {
    Fail(*task, 0, 0);
    return status;
  }
  bytes_read_ += request.bytes;
  const Variant &variant = VariantOf(layer_, task->group.expert);
  const Record &record = bundle_->moe_layers[layer_].records[task->group.expert];
  for (uint32_t chunk = 0; chunk < variant.chunk_ends.size; ++chunk) {
    uint32_t actual = ChunkCrc(*task, chunk);
    if (actual != bundle_->chunk_crcs[record.first_crc + chunk]) {
      Fail(*task, chunk, actual);
      return Error(StatusCode::kBadBundle, "an expert's record is damaged, at", request.offset, chunk);
    }
  }
  task->bad_chunk = kNone;
  return OkStatus();
}

void ExpertRunner::Fail(const Task &task, uint32_t chunk, uint32_t actual) {
  if (failure_.happened) return;
  const Record &record = bundle_->moe_layers[layer_].records[task.group.expert];
  uint32_t expected = actual == 0 ? 0 : bundle_->chunk_crcs[record.first_crc + chunk];
  failure_ = {true, layer_, task.group.expert, chunk, bundle_->experts.offset + record.offset, expected, actual};
}

// After a failure: lets reads in flight end, frees their slots and unpins the rest.
void ExpertRunner::Drain() {
  for (uint32_t i = 0; i < ready_count_; ++i) cache_.Unpin(tasks_[ready_[i]].slot);
  ready_count_ = 0;
  while (!hung_ && reader_->in_flight() != 0) {
    ReadDone done[kReadDepth];
    uint32_t ended = 0;
    if (!reader_->Wait(done, &ended).ok()) {
      hung_ = true;
      return;
    }
    for (uint32_t i = 0; i < ended; ++i) cache_.Abandon(tasks_[done[i].tag].slot);
  }
}

namespace {

struct Part {
  ExpertRunner *runner;
  const uint32_t *tasks;
  uint32_t count;
  bool down;
};

}  // namespace

void ExpertRunner::Compute(uint32_t *tasks, uint32_t count) {
  ComputePart(false, tasks, count);
  ComputePart(true, tasks, count);
  for (uint32_t i = 0; i < count; ++i) cache_.Unpin(tasks_[tasks[i]].slot);
}

// The tiles of all tasks are one range: task i has those from the end of task i - 1 to its own.
void ExpertRunner::ComputePart(bool down, const uint32_t *tasks, uint32_t count) {
  int64_t tiles = 0;
  for (uint32_t i = 0; i < count; ++i) {
    Task &task = tasks_[tasks[i]];
    const Variant &variant = VariantOf(layer_, task.group.expert);
    const Kernel &kernel = bundle_->kernel_table[down ? variant.down_kernel : variant.gate_up_kernel];
    tiles += int64_t{kernel.tiles_fixed} + int64_t{kernel.tiles_per_token} * task.group.count;
    task.tiles_end = tiles;
  }
  Part part{this, tasks, count, down};
  int64_t grain = tiles / (int64_t{pool_->threads()} * 8);
  pool_->ParallelFor(tiles, grain < 1 ? 1 : grain, ComputeBody, &part);
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
