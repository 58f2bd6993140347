#include "runtime/experts/schedule.h"

namespace emoe::rt {
namespace {

constexpr double kBlend = 0.125;         // weight of the newest measurement
constexpr double kForget = 0.98;         // of what is known about chances, at each record
constexpr uint32_t kJudgeAfter = 32;     // predicted records, or refusals
constexpr uint64_t kFirstPause = 128, kLongestPause = 16384;  // layer steps

void Blend(double *value, double measured, bool known) {
  *value = known ? *value + kBlend * (measured - *value) : measured;
}

}  // namespace

const char *PrefetchText(PrefetchState state) {
  switch (state) {
    case PrefetchState::kOff: return "off: not wanted";
    case PrefetchState::kNoPredictor: return "off: the bundle predicts nothing";
    case PrefetchState::kAllResident: return "off: all experts are in memory";
    case PrefetchState::kFewSlots: return "off: too few slots";
    case PrefetchState::kNoOverlap: return "off: reads of this source cannot overlap with computing";
    case PrefetchState::kLearning: return "learning the storage's speed";
    case PrefetchState::kOn: return "on";
    case PrefetchState::kSaturated: return "paused: the storage has no idle time that a record fits in";
    case PrefetchState::kUnprofitable: return "paused: it delayed more than it saved, or its records were not used";
  }
  return "";
}

size_t Schedule::BytesNeeded(uint32_t layers) { return size_t{layers} * sizeof(Gap); }

void Schedule::Init(uint32_t layers, PrefetchState state, uint64_t bytes_per_token, void *memory) {
  *this = Schedule();
  state_ = state;
  layers_ = layers;
  gaps_ = static_cast<Gap *>(memory);
  for (uint32_t layer = 0; layer < layers; ++layer) gaps_[layer] = {-1, -1};
  bytes_per_token_ = bytes_left_ = bytes_per_token;
  pause_ = kFirstPause;
}

void Schedule::Submitted(uint64_t bytes, uint64_t now) {
  if (!busy_) {
    if (first_ == 0) first_ = now;
    busy_ = true;
    busy_since_ = now;
    period_bytes_ = 0;
  }
  if (free_at_ < now) free_at_ = now;
  free_at_ += static_cast<uint64_t>(Cost(bytes));
}

// The speed is measured over a busy period: from its first submission to the end of its last read, where that end was
// seen as it happened. Ends that were seen late bound it from one side.
void Schedule::Ended(uint64_t bytes, uint64_t left, bool waited, uint64_t now) {
  period_bytes_ += bytes;
  if (left != 0) {
    if (waited) free_at_ = now + static_cast<uint64_t>(Cost(left));
    return;
  }
  busy_ = false;
  free_at_ = now;
  busy_ns_ += now - busy_since_;
  double measured = static_cast<double>(now - busy_since_) / static_cast<double>(period_bytes_);
  if (waited) {
    Blend(&ns_per_byte_, measured, ns_per_byte_ > 0);
  } else if (ns_per_byte_ == 0 || measured < ns_per_byte_) {
    ns_per_byte_ = measured;
  }
}

void Schedule::StepBegins(uint32_t layer, uint32_t tokens, uint64_t now) {
  ++steps_;
  if (stepped_ && (last_layer_ + 1) % layers_ == layer) {
    double gap = static_cast<double>(now - ended_at_);
    double *known = tokens == 1 ? &gaps_[layer].token : &gaps_[layer].chunk;
    Blend(known, tokens == 1 ? gap : gap / tokens, *known >= 0);
  }
  if (layer == 0) bytes_left_ = bytes_per_token_ > UINT64_MAX / tokens ? UINT64_MAX : bytes_per_token_ * tokens;
  const Gap &next = gaps_[(layer + 1) % layers_];
  next_gap_ = tokens == 1 ? next.token : next.chunk < 0 ? -1 : next.chunk * tokens;
  demand_at_ = now;
  if ((state_ == PrefetchState::kSaturated || state_ == PrefetchState::kUnprofitable) && steps_ >= resume_at_) {
    state_ = PrefetchState::kOn;
  }
  if (state_ == PrefetchState::kLearning && ns_per_byte_ > 0 && next_gap_ >= 0) state_ = PrefetchState::kOn;
}

void Schedule::Computed(uint64_t pairs, uint64_t nanoseconds) {
  if (pairs != 0) Blend(&pair_ns_, static_cast<double>(nanoseconds) / static_cast<double>(pairs), pair_ns_ > 0);
}

void Schedule::Left(uint64_t pairs, uint64_t now) {
  demand_at_ = now + static_cast<uint64_t>(pair_ns_ * static_cast<double>(pairs) + (next_gap_ > 0 ? next_gap_ : 0));
}

void Schedule::StepEnds(uint32_t layer, uint32_t, uint64_t now) {
  stepped_ = true;
  last_layer_ = layer;
  ended_at_ = now;
  demand_at_ = now + static_cast<uint64_t>(next_gap_ > 0 ? next_gap_ : 0);
}

bool Schedule::Allow(float q, uint64_t bytes, uint64_t now) {
  if (state_ != PrefetchState::kOn || next_gap_ < 0 || count_ == kMostLoads || bytes > bytes_left_) return false;
  double chance = static_cast<double>(q) * trust_used_ / trust_expected_;
  if (chance < static_cast<double>(kLeastChance)) {
    ++doubted_;
    return false;
  }
  doubted_ = 0;
  ++asked_;
  double end = static_cast<double>(free_at_ > now ? free_at_ - now : 0) + Cost(bytes);
  double late = end - static_cast<double>(demand_at_ > now ? demand_at_ - now : 0);
  if (late <= 0 || chance * Cost(bytes) > late) {
    ++allowed_;
    return true;
  }
  return false;
}

void Schedule::Started(uint32_t layer, uint32_t expert, float q, uint64_t bytes, uint64_t now) {
  Submitted(bytes, now);
  loads_[count_++] = {layer, expert, q, false, bytes, free_at_};
  bytes_left_ -= bytes;
  ++counters_.reads;
  counters_.bytes += bytes;
}

uint32_t Schedule::loaded() const {
  uint32_t count = 0;
  for (uint32_t i = 0; i < count_; ++i) count += loads_[i].loaded;
  return count;
}

void Schedule::Learn(const Load &load, bool used) {
  ++(used ? counters_.used : counters_.wasted);
  ++settled_;
  in_vain_ += !used;
  counters_.expected += static_cast<double>(load.q);
  trust_used_ = kForget * trust_used_ + used;
  trust_expected_ = kForget * trust_expected_ + static_cast<double>(load.q);
}

uint32_t Schedule::Find(uint32_t layer, uint32_t expert) const {
  uint32_t i = 0;
  while (i < count_ && (loads_[i].layer != layer || loads_[i].expert != expert)) ++i;
  return i;
}

void Schedule::Loaded(uint32_t layer, uint32_t expert, bool failed) {
  uint32_t i = Find(layer, expert);
  if (failed) ++counters_.failed;
  if (i == count_) return;  // the layer ran meanwhile
  loads_[i].loaded = true;
  if (failed) loads_[i] = loads_[--count_];
}

bool Schedule::Use(uint32_t layer, uint32_t expert, uint64_t now) {
  uint32_t i = Find(layer, expert);
  if (i == count_) return false;
  const Load &load = loads_[i];
  uint64_t cost = static_cast<uint64_t>(Cost(load.bytes));
  uint64_t rest = load.loaded || load.due <= now ? 0 : load.due - now;
  if (rest < cost) avoided_ns_ += cost - rest;
  Learn(load, true);
  loads_[i] = loads_[--count_];
  return true;
}

// Waiting is reading less the computing of what is in memory meanwhile: only what is spared of it is gained.
void Schedule::Settle(uint32_t layer, const StepLoad &step, uint64_t now,
                      void (*drop)(void *user, uint32_t layer, uint32_t expert), void *user) {
  if (avoided_ns_ != 0) {
    auto waiting = [this](double reading, uint64_t pairs) {
      double left = reading - pair_ns_ * static_cast<double>(pairs);
      return left > 0 ? left : 0;
    };
    double reading = Cost(step.missing_bytes);
    double saved = waiting(reading + static_cast<double>(avoided_ns_), step.hit_pairs - step.predicted_pairs) -
                   waiting(reading, step.hit_pairs);
    if (saved > 0) {
      counters_.saved_ns += static_cast<uint64_t>(saved);
      saved_ += static_cast<uint64_t>(saved);
    }
    avoided_ns_ = 0;
  }
  for (uint32_t i = 0; i < count_;) {
    Load load = loads_[i];
    if (load.layer != layer) {
      ++i;
      continue;
    }
    if (!load.loaded && step.missing_bytes != 0 && load.due > now) {
      counters_.delayed_ns += load.due - now;
      delayed_ += load.due - now;
    }
    Learn(load, false);
    loads_[i] = loads_[--count_];
    if (load.loaded && drop != nullptr) drop(user, load.layer, load.expert);
  }
  Judge();
}

void Schedule::Judge() {
  if (state_ != PrefetchState::kOn) return;
  if (doubted_ >= 4 * kJudgeAfter) return Pause(PrefetchState::kUnprofitable);
  if (settled_ >= kJudgeAfter) {
    // Submitting and checking a record that is used would have been due in any case.
    double cost = static_cast<double>(delayed_ + predicted_) + static_cast<double>(spent_) * in_vain_ / settled_;
    if (cost > static_cast<double>(saved_)) return Pause(PrefetchState::kUnprofitable);
    pause_ = kFirstPause;
    settled_ = in_vain_ = asked_ = allowed_ = 0;
    saved_ = delayed_ = predicted_ = spent_ = 0;
  } else if (asked_ >= 4 * kJudgeAfter) {
    if (allowed_ == 0) return Pause(PrefetchState::kSaturated);
    asked_ = allowed_ = 0;
  }
}

void Schedule::Pause(PrefetchState why) {
  state_ = why;
  resume_at_ = steps_ + pause_;
  pause_ = pause_ < kLongestPause ? 2 * pause_ : pause_;
  settled_ = in_vain_ = asked_ = allowed_ = doubted_ = 0;
  saved_ = delayed_ = predicted_ = spent_ = 0;
  trust_used_ = trust_expected_ = kTrust;
  ++counters_.pauses;
}

double Schedule::IdleShare(uint64_t now) const {
  if (first_ == 0 || now <= first_) return 1;
  uint64_t busy = busy_ns_ + (busy_ ? now - busy_since_ : 0);
  return 1 - static_cast<double>(busy) / static_cast<double>(now - first_);
}

}  // namespace emoe::rt
