// Whether a predicted record is read now, and whether predicting pays at all: a pure state machine without clock,
// storage or allocation; times (nanoseconds, of any clock that never goes back) come in as numbers.
//
// Order of reads: demanded now > predicted for the next mixture layer > further ahead. A predicted read starts only
// while no demanded one waits or is in flight. On a serial device a read that has started cannot be taken back, so its
// end F is estimated against D, when the next layer's experts are known. F <= D: it delays nothing. Otherwise, with
// t = the read's time, r = F - D and q = the chance that the record is used, it saves t - r with chance q and delays
// demanded reads by r with chance 1 - q: it is worth its start if q t > r. So a storage without idle time is left to
// demanded reads by itself.
//
// What predicted reads saved and what they delayed is added up. Where they lose, or find no idle time, predicting is
// paused, each time twice as long while it stays so, and then tried again. Chances are corrected by how often those
// foretold lately came true.
#ifndef EMOE_RUNTIME_EXPERTS_SCHEDULE_H_
#define EMOE_RUNTIME_EXPERTS_SCHEDULE_H_

#include <stddef.h>
#include <stdint.h>

namespace emoe::rt {

enum class PrefetchState : uint8_t {
  kOff,           // not wanted
  kNoPredictor,   // nothing predicts the experts of this bundle
  kAllResident,   // all records have slots
  kFewSlots,      // the slots are just enough for demanded records
  kNoOverlap,     // reads block the caller
  kLearning,      // the storage's speed or the layers' times are not known yet
  kOn,
  kSaturated,     // paused: reading takes all the time there is
  kUnprofitable,  // paused: predicted reads delayed more than they saved, or were hardly ever used
};
const char *PrefetchText(PrefetchState state);

// What a step finds when its router has answered.
struct StepLoad {
  uint64_t missing_bytes = 0;    // of records that have to be read
  uint64_t hit_pairs = 0;        // (token, choice) pairs of records in memory
  uint64_t predicted_pairs = 0;  // of them, those of records that a predicted read brought
};

struct PrefetchCounters {
  uint64_t reads = 0, bytes = 0;  // predicted records that were read
  uint64_t used = 0, wasted = 0;  // of them: by the layer step that they were for, or not
  uint64_t failed = 0;            // could not be read, or were damaged; read again when demanded
  uint64_t pauses = 0;            // times that predicting was paused
  double expected = 0;            // how many of used + wasted should have been used: the sum of their chances
  uint64_t saved_ns = 0, delayed_ns = 0;  // estimated: waiting for demanded reads saved, and added
  uint64_t spent_ns = 0;  // computing: predicting, and choosing, submitting and checking predicted records
};

class Schedule {
 public:
  static constexpr uint32_t kMostLoads = 64;   // predicted records that wait for their layer step
  static constexpr uint32_t kReach = 2;        // mixture layers that are predicted ahead
  static constexpr float kLeastChance = 0.2f;  // below it a record is not read even into idle time

  static size_t BytesNeeded(uint32_t layers);

  // `state`: kLearning, or why nothing is to be predicted. `bytes_per_token`: of predicted records, at most.
  // `memory`: BytesNeeded(layers) bytes, 8-aligned, kept by the caller.
  void Init(uint32_t layers, PrefetchState state, uint64_t bytes_per_token, void *memory);

  // -- What the reader does.
  void Submitted(uint64_t bytes, uint64_t now);
  // `left`: bytes still in flight. `waited`: the caller slept until just this end, so `now` is when it happened.
  void Ended(uint64_t bytes, uint64_t left, bool waited, uint64_t now);

  // -- What the program does.
  // The experts of mixture layer `layer` are known; Use and Settle follow.
  void StepBegins(uint32_t layer, uint32_t tokens, uint64_t now);
  // (token, choice) pairs were computed.
  void Computed(uint64_t pairs, uint64_t nanoseconds);
  // So many pairs are still to be computed in this step.
  void Left(uint64_t pairs, uint64_t now);
  void StepEnds(uint32_t layer, uint32_t tokens, uint64_t now);

  // -- Predicted records.
  bool active() const { return state_ == PrefetchState::kOn || state_ == PrefetchState::kLearning; }
  // Whether to read `bytes` that are used with chance `q`, given that no demanded read waits or is in flight.
  bool Allow(float q, uint64_t bytes, uint64_t now);
  void Started(uint32_t layer, uint32_t expert, float q, uint64_t bytes, uint64_t now);
  // It ended: its record is in memory or, `failed`, not.
  void Loaded(uint32_t layer, uint32_t expert, bool failed);
  // An expert of the step at hand is used; true if a predicted read brought it or is about to.
  bool Use(uint32_t layer, uint32_t expert, uint64_t now);
  // All experts of the step were told to Use. What was predicted for the layer and not used is wasted. `drop` (may be
  // null) gets these experts, if they are in memory.
  void Settle(uint32_t layer, const StepLoad &load, uint64_t now, void (*drop)(void *user, uint32_t layer, uint32_t expert),
              void *user);
  // Computing that predicting took.
  void Predicted(uint64_t nanoseconds) {
    counters_.spent_ns += nanoseconds;
    predicted_ += nanoseconds;
  }
  // Computing that choosing, submitting or checking predicted records took.
  void Spent(uint64_t nanoseconds) {
    counters_.spent_ns += nanoseconds;
    spent_ += nanoseconds;
  }
  uint32_t pending() const { return count_; }
  uint32_t loaded() const;  // of them, those whose reads have ended
  bool Pending(uint32_t layer, uint32_t expert) const { return Find(layer, expert) < count_; }

  PrefetchState state() const { return state_; }
  const PrefetchCounters &counters() const { return counters_; }
  // Share of the time since the first read in which the storage was idle, 0 to 1.
  double IdleShare(uint64_t now) const;
  double ns_per_byte() const { return ns_per_byte_; }

 private:
  struct Load {
    uint32_t layer, expert;
    float q;
    bool loaded;
    uint64_t bytes, due;  // due: estimated end of the read
  };
  // Time from the end of the layer step before to this one's begin; < 0: not known.
  struct Gap {
    double token, chunk;  // for one token; per token of a chunk of several
  };

  uint32_t Find(uint32_t layer, uint32_t expert) const;
  double Cost(uint64_t bytes) const { return static_cast<double>(bytes) * ns_per_byte_; }
  void Learn(const Load &load, bool used);
  void Pause(PrefetchState why);
  void Judge();

  PrefetchState state_ = PrefetchState::kOff;
  uint32_t layers_ = 0;
  Gap *gaps_ = nullptr;
  Load loads_[kMostLoads];
  uint32_t count_ = 0;

  // The storage.
  double ns_per_byte_ = 0;  // 0: not known
  uint64_t free_at_ = 0;    // estimated end of all that is in flight
  uint64_t busy_since_ = 0, period_bytes_ = 0, busy_ns_ = 0, first_ = 0;
  bool busy_ = false;

  // The program.
  double pair_ns_ = 0;
  uint64_t ended_at_ = 0, demand_at_ = 0;  // of the last step; of the next layer's experts, estimated
  double next_gap_ = -1;
  uint32_t last_layer_ = 0;
  bool stepped_ = false;

  // The budget, and what predicting gained since it was last judged.
  uint64_t bytes_per_token_ = 0, bytes_left_ = 0;
  uint64_t avoided_ns_ = 0;  // reading that the step at hand is spared
  uint64_t saved_ = 0, delayed_ = 0, predicted_ = 0, spent_ = 0;
  static constexpr double kTrust = 8;  // records that predictors are trusted for, before anything is known
  double trust_used_ = kTrust, trust_expected_ = kTrust;  // of what was settled lately: used, and the sum of chances
  uint32_t settled_ = 0, in_vain_ = 0, asked_ = 0, allowed_ = 0;
  uint32_t doubted_ = 0;  // refusals in a row that trust alone explains
  uint64_t steps_ = 0, resume_at_ = 0, pause_ = 0;
  PrefetchCounters counters_;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_EXPERTS_SCHEDULE_H_
