// One mixture layer for one chunk: group the pairs, read what is missing, check it, compute in order of arrival.
// Each pair has its own output row, and rows are combined by a later step, so arrival order cannot change a result.
//
// Predicted records of layers ahead are read while the storage is idle: these reads may be in flight across steps, so
// other steps call Pump between their work. They use the same slots and checks, and change nothing but times.
#ifndef EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_
#define EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_

#include "runtime/bundle/bundle.h"
#include "runtime/engine/stats.h"
#include "runtime/engine/threads.h"
#include "runtime/experts/cache.h"
#include "runtime/experts/group.h"
#include "runtime/experts/predict.h"
#include "runtime/experts/schedule.h"
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
  bool once = false;  // the layer runs once a request: its records are forgotten after it
};

// How records come and go. All but kCached are for comparison: kOnDemand forgets a record when its layer step has
// ended, kWholeLayers reads all experts of a layer, used or not.
enum class Loading : uint8_t { kCached, kOnDemand, kWholeLayers };

struct ExpertOptions {
  uint32_t chunk = 0;       // most tokens of a step
  uint32_t source = 0;      // of a step of the encoder
  uint32_t slot_count = 0;
  uint64_t slot_bytes = 0;
  uint64_t expert_bytes = 0;  // what records in slots may take together
  char *slots = nullptr;    // slot_count * slot_bytes bytes, 4096-aligned, private and anonymous
  CacheParameters cache;
  Loading loading = Loading::kCached;
  bool prefetch = true;         // predicted records may be read
  uint64_t prefetch_bytes = 0;  // of them, per token; 0: as many as a token uses
  const Clock *clock = &kClock;
  void (*watch)(void *user, const LayerTimes &times) = nullptr;  // told of each step; may be null
  void *watch_user = nullptr;
};

class ExpertRunner {
 public:
  // Takes its tables from `arena`. `kernels`: one function per entry of the bundle's kernel table. `predictor` may be
  // null. The bundle and all pointers outlive the runner.
  Status Init(const Bundle &bundle, const emoe_kernel_fn *kernels, const ExpertOptions &options, Predictor *predictor,
              Reader *reader, ThreadPool *pool, Arena *arena);

  // The predictor has observed the step. On failure no read is in flight any more, unless reading itself hung (`hung`).
  Status Run(uint32_t layer, const ExpertOperands &operands);

  // Takes in predicted records that have come and starts further ones. Between other steps; never waits.
  void Pump() {
    if (flights_ != 0 || distance_ <= Schedule::kReach) Tend();
  }

  // Reads what is no record, between steps, beside predicted records that are on their way; tags are set here. All have
  // ended unless reading itself hung (`hung`).
  Status ReadPages(ReadRequest *requests, uint32_t count);
  // Once more, past the page cache.
  Status ReadPagesAgain(const ReadRequest &request) { return reader_->ReadAgain(request); }

  // Whether predictions are of use now: not where nothing is read ahead and the cache's policy does not ask for them.
  bool heeds_predictions() const { return schedule_.active() || cache_.policy() == CachePolicy::kNextUse; }

  // Brackets computing that looking ahead for the predictor takes.
  uint64_t StartLooking() const { return clock_->Now(); }
  void EndLooking(uint64_t start) { schedule_.Predicted(clock_->Now() - start); }

  // Waits until nothing is in flight.
  void Stop();

  // Tells the cache that time has passed.
  void Advance(uint32_t tokens) { cache_.Advance(tokens); }

  const ExpertCache &cache() const { return cache_; }
  const Schedule &schedule() const { return schedule_; }
  const RecordFailure &failure() const { return failure_; }
  bool hung() const { return hung_; }
  void AddTo(SessionStats *stats) const;

 private:
  static constexpr uint32_t kNone = 0xffffffffu;

  // An expert on its way through a step.
  struct Task {
    ExpertGroup group;
    int32_t slot;
    int64_t tiles_end;  // running sum of tiles over the tasks that are computed together
  };
  // A read. Its number in `flight_` is the request's tag.
  struct Flight {
    uint32_t layer, expert;
    int32_t slot;
    uint32_t task;        // of the step at hand that waits for it, or kNone
    bool predicted;
    uint32_t chunks_end;  // running sum of chunks over the flights that are checked together
    uint32_t bad_chunk;   // first chunk whose checksum is wrong, or kNone
  };

  const Variant &VariantOf(uint32_t layer, uint32_t expert) const {
    const MoeLayer &moe = bundle_->moe_layers[layer];
    return moe.variants[moe.records[expert].variant];
  }
  char *SlotAt(int32_t slot) const { return slots_ + static_cast<uint64_t>(slot) * slot_bytes_; }
  ReadRequest RequestOf(const Flight &flight) const;
  uint32_t ChunkCrc(const Flight &flight, uint32_t chunk) const;
  uint32_t FlightTo(int32_t slot) const;
  PrefetchState FirstState(const ExpertOptions &options) const;

  void Expect();
  void Sort(uint32_t count);
  Status Step();
  void SubmitMissing();
  void Submit(uint32_t layer, uint32_t expert, int32_t slot, uint32_t task, float q);
  void Touch(int32_t slot, uint32_t bytes);
  void GiveBack(int32_t slot, uint32_t bytes);
  void Tend();
  void Prefetch();
  bool AimAhead();
  void DropPredicted();
  static void Drop(void *self, uint32_t layer, uint32_t expert);

  // expert_reads.cpp: what happens to reads that ended.
  Status Take(const ReadDone *done, uint32_t count, bool waited);
  void Check(const ReadDone *done, uint32_t count);
  Status Settle(Flight *flight, const Status &read);
  Status CheckAgain(Flight *flight);
  void Release(uint32_t number);
  void Fail(const Flight &flight, uint32_t chunk, uint32_t actual);
  void Drain();
  static void CheckBody(void *self, int64_t first, int64_t last);

  void ComputeReady();
  void ComputePart(bool down, const uint32_t *tasks, uint32_t count);
  static void ComputeBody(void *part, int64_t first, int64_t last);

  const Bundle *bundle_ = nullptr;
  const emoe_kernel_fn *kernels_ = nullptr;
  Predictor *predictor_ = nullptr;
  Reader *reader_ = nullptr;
  ThreadPool *pool_ = nullptr;
  const Clock *clock_ = nullptr;
  char *slots_ = nullptr;
  uint64_t slot_bytes_ = 0, expert_bytes_ = 0;
  uint32_t *touched_ = nullptr;  // bytes of each slot that hold memory; together at most expert_bytes_
  uint64_t touched_sum_ = 0;
  Loading loading_ = Loading::kCached;
  void (*watch_)(void *user, const LayerTimes &times) = nullptr;
  void *watch_user_ = nullptr;
  ExpertCache cache_;
  Schedule schedule_;
  RecordFailure failure_;
  bool hung_ = false;
  uint64_t bytes_read_ = 0, rereads_ = 0, stall_ns_ = 0, compute_ns_ = 0, prefetch_hits_ = 0;

  uint32_t *key_base_ = nullptr;  // per layer: the cache key of expert 0
  uint32_t *starts_ = nullptr;    // [experts + 1] scratch of GroupByExpert
  int32_t *tokens_of_ = nullptr, *pairs_of_ = nullptr;
  ExpertGroup *groups_ = nullptr;
  Task *tasks_ = nullptr;
  uint32_t *missing_ = nullptr, *ready_ = nullptr;  // indices of tasks
  uint32_t missing_count_ = 0, next_missing_ = 0, ready_count_ = 0;

  Flight flight_[kReadDepth];
  uint32_t free_[kReadDepth];  // numbers that are not in flight, from [flights_] on
  uint32_t flights_ = 0, awaited_ = 0;  // in flight: all, and those with a task
  uint32_t most_predicted_ = 0;  // records that are kept or read for later steps, so that slots remain
  uint64_t flight_bytes_ = 0;
  uint32_t checking_[kReadDepth];  // numbers of flights that are being checked
  uint32_t checking_count_ = 0;

  // The step at hand, or the last one.
  uint32_t layer_ = 0;
  ExpertOperands operands_;
  uint64_t pairs_left_ = 0;
  LayerTimes times_;
  bool hits_left_ = false;  // what is ready now was in memory when the router had answered

  // What is predicted of the layer `distance_` after the last step's; 0: nothing yet, > kReach: nothing more.
  uint32_t distance_ = Schedule::kReach + 1, target_ = 0;
  float *chance_ = nullptr;  // [experts]; 0: nothing to do any more
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_EXPERT_RUNNER_H_
