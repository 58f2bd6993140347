// One mixture layer for one chunk: group the pairs, read what is missing, check it, compute in order of arrival.
// Each pair has its own output row, and rows are combined by a later step, so arrival order cannot change a result.
#ifndef EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_
#define EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_

#include "runtime/bundle/bundle.h"
#include "runtime/engine/stats.h"
#include "runtime/engine/threads.h"
#include "runtime/experts/cache.h"
#include "runtime/experts/group.h"
#include "runtime/io/reader.h"
#include "runtime/memory/arena.h"
#include "schema/kernel_abi.h"

namespace emoe::rt {

// Resolved operands of an Experts step.
struct ExpertOperands {
  void *input_f32 = nullptr, *input_q8 = nullptr;
  const int32_t *ids = nullptr;  // [tokens, top_k]
  void *hidden = nullptr, *pairs = nullptr;
  uint32_t tokens = 0;
};

class ExpertRunner {
 public:
  // Takes its tables from `arena`. `slots`: slot_count * slot_bytes bytes, 4096-aligned. `kernels`: one function per
  // entry of the bundle's kernel table. The bundle and all pointers outlive the runner.
  Status Init(const Bundle &bundle, const emoe_kernel_fn *kernels, uint32_t chunk, uint32_t slot_count,
              uint64_t slot_bytes, char *slots, CachePolicy policy, Reader *reader, ThreadPool *pool, Arena *arena);

  // On failure no read is in flight any more, unless reading itself hung (`hung`).
  Status Run(uint32_t layer, const ExpertOperands &operands);

  // Tells the cache that time has passed.
  void Advance(uint32_t tokens) { cache_.Advance(tokens); }

  const ExpertCache &cache() const { return cache_; }
  const RecordFailure &failure() const { return failure_; }
  bool hung() const { return hung_; }
  void AddTo(SessionStats *stats) const;

 private:
  // An expert on its way through a step.
  struct Task {
    ExpertGroup group;
    int32_t slot;
    int64_t tiles_end;  // running sum of tiles over the tasks that are computed together
    uint32_t chunks_end;  // running sum of chunks over the tasks that are checked together
    uint32_t bad_chunk;   // first chunk whose checksum is wrong, or kNone
  };
  static constexpr uint32_t kNone = 0xffffffffu;

  const Variant &VariantOf(uint32_t layer, uint32_t expert) const {
    const MoeLayer &moe = bundle_->moe_layers[layer];
    return moe.variants[moe.records[expert].variant];
  }
  char *SlotAt(int32_t slot) const { return slots_ + static_cast<uint64_t>(slot) * slot_bytes_; }
  ReadRequest RequestOf(const Task &task) const;
  uint32_t ChunkCrc(const Task &task, uint32_t chunk) const;

  Status Step(uint32_t missing);
  void SubmitMissing(uint32_t missing, uint32_t *next);
  Status Arrive(const ReadDone *done, uint32_t count);
  Status CheckAgain(Task *task);
  void Fail(const Task &task, uint32_t chunk, uint32_t actual);
  void Drain();
  void Compute(uint32_t *tasks, uint32_t count);
  void ComputePart(bool down, const uint32_t *tasks, uint32_t count);
  static void CheckBody(void *self, int64_t first, int64_t last);
  static void ComputeBody(void *part, int64_t first, int64_t last);

  const Bundle *bundle_ = nullptr;
  const emoe_kernel_fn *kernels_ = nullptr;
  Reader *reader_ = nullptr;
  ThreadPool *pool_ = nullptr;
  char *slots_ = nullptr;
  uint64_t slot_bytes_ = 0;
  ExpertCache cache_;
  RecordFailure failure_;
  bool hung_ = false;
  uint64_t bytes_read_ = 0, rereads_ = 0, stall_ns_ = 0;

  uint32_t *key_base_ = nullptr;  // per layer: the cache key of expert 0
  uint32_t *starts_ = nullptr;    // [experts + 1] scratch of GroupByExpert
  int32_t *tokens_of_ = nullptr, *pairs_of_ = nullptr;
  ExpertGroup *groups_ = nullptr;
  Task *tasks_ = nullptr;
  uint32_t *missing_ = nullptr, *ready_ = nullptr;  // indices of tasks
  uint32_t ready_count_ = 0;
  uint32_t checking_[kReadDepth];  // indices of tasks that are being checked
  uint32_t checking_count_ = 0;

  // The step at hand.
  uint32_t layer_ = 0;
  ExpertOperands operands_;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_
