// The loader under many schedules: reads that end in any order and at any time, fail, or bring wrong bytes, in virtual
// time, over the real runner, cache, predictor and scheduler. Whatever happens, what is computed is right or refused,
// and no slot is lost.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "test/runtime/engine/fake_model.h"

namespace emoe::rt {
namespace {

using namespace fake;

#if defined(EMOE_SANITIZED)
constexpr int kSchedules = 500;
#else
constexpr int kSchedules = 10000;
#endif
constexpr int kTokens = 14;

std::atomic<uint64_t> now{1};
std::atomic<uint32_t> step_ns{0};  // what a kernel call takes at most
const Clock kVirtual = {[](void *) { return now.load(std::memory_order_relaxed); },
                        [](void *, uint64_t when) { now = std::max<uint64_t>(now, when); }, nullptr, nullptr};

// The fake model's kernels, which take virtual time.
template <int kKernel>
void Timed(const emoe_kernel_args *args, int64_t first, int64_t last) {
  uint64_t tick = now.load(std::memory_order_relaxed);
  uint32_t most = step_ns.load(std::memory_order_relaxed);
  now.fetch_add(most == 0 ? 0 : (tick * 2654435761u >> 7) % most, std::memory_order_relaxed);
  kKernels[kKernel](args, first, last);
}
constexpr emoe_kernel_fn kTimed[] = {Timed<0>, Timed<1>, Timed<2>, Timed<3>, Timed<4>, Timed<5>, Timed<6>};
static_assert(std::size(kTimed) == std::size(kKernels));

struct Faults {
  double predicted = 0, demanded = 0;  // chance that a read fails, brings part of its bytes, or a wrong one
  double again = 0;                    // that reading again does not help
};

class ScheduledReader final : public Reader {
 public:
  ScheduledReader(const Model &model, uint32_t seed) : model_(model), random_(seed) {}

  void Submit(const ReadRequest &request) override {
    // The scheduler has counted a predicted read when it is submitted.
    uint64_t predicted = session != nullptr ? session->experts().schedule().counters().reads : 0;
    bool ahead = predicted != predicted_;
    predicted_ = predicted;
    Read read{request, now + Draw(most_delay), OkStatus()};
    Copy(request, request.bytes);
    if (Chance(ahead ? faults.predicted : faults.demanded)) {
      ++(ahead ? failed_predicted : failed_demanded);
      switch (Draw(3)) {
        case 0: read.status = Error(StatusCode::kIo, "the fake storage failed"); break;
        case 1: memset(static_cast<char *>(request.out) + request.bytes / 2, 0xa5, request.bytes / 2); break;
        default: static_cast<char *>(request.out)[Draw(request.bytes)] ^= 1;
      }
    }
    reads_.push_back(read);
    ++in_flight_;
    EXPECT_LE(in_flight_, kReadDepth);
  }

  Status Wait(ReadDone *done, uint32_t *count) override {
    if (reads_.empty()) return Error(StatusCode::kInternal, "nothing is in flight");
    uint64_t first = ~0ull;
    for (const Read &read : reads_) first = std::min(first, read.due);
    now = std::max<uint64_t>(now, first);
    for (*count = 0; *count == 0;) *count = Poll(done);
    return OkStatus();
  }

  // Any of those that are due, in any order.
  uint32_t Poll(ReadDone *done) override {
    uint32_t count = 0;
    std::shuffle(reads_.begin(), reads_.end(), random_);
    for (size_t i = 0; i < reads_.size();) {
      if (reads_[i].due > now || Draw(4) == 0) {
        ++i;
        continue;
      }
      done[count++] = {reads_[i].request.tag, reads_[i].status};
      reads_[i] = reads_.back();
      reads_.pop_back();
      --in_flight_;
    }
    return count;
  }

  Status ReadAgain(const ReadRequest &request) override {
    now += Draw(most_delay);
    Copy(request, request.bytes);
    if (!Chance(faults.again)) return OkStatus();
    if (Draw(2) == 0) return Error(StatusCode::kIo, "the fake storage failed again");
    static_cast<char *>(request.out)[7] ^= 1;
    return OkStatus();
  }

  void Close() override { EXPECT_EQ(in_flight_, 0u); }
  const char *name() const override { return "scheduled"; }
  bool direct() const override { return false; }

  Session *session = nullptr;
  Faults faults;
  uint32_t most_delay = 1000;
  uint64_t failed_predicted = 0, failed_demanded = 0;

 private:
  struct Read {
    ReadRequest request;
    uint64_t due;
    Status status;
  };
  uint32_t Draw(uint32_t below) { return below == 0 ? 0 : static_cast<uint32_t>(random_() % below); }
  bool Chance(double p) { return p > 0 && static_cast<double>(random_() % 1000000) < p * 1e6; }
  void Copy(const ReadRequest &request, uint32_t bytes) {
    memcpy(request.out,
           reinterpret_cast<const char *>(model_.experts.data()) + (request.offset - model_.bundle.experts.offset), bytes);
  }

  const Model &model_;
  std::mt19937 random_;
  std::vector<Read> reads_;
  uint64_t predicted_ = 0;
};

// Slots that are pinned while no step runs: those that reads in flight go to, and those kept for the layers ahead.
void ExpectNoSlotLost(const Session &session, const Reader &reader) {
  EXPECT_EQ(session.experts().cache().pinned(), reader.in_flight() + session.experts().schedule().loaded());
}

struct Totals {
  int right = 0, refused = 0;
  uint64_t predicted = 0, used = 0, hits = 0, failed = 0, pauses = 0;
};

void RunSchedule(Model &model, const std::vector<int32_t> &tokens, const std::vector<float> &expected, uint64_t floor,
                 uint32_t seed, Totals *totals) {
  std::mt19937 random(seed);
  auto draw = [&random](uint32_t below) { return static_cast<uint32_t>(random() % below); };
  ScheduledReader reader(model, seed + 1);
  SessionOptions options = Options(draw(10) == 0 ? 3 : 1, 1 + draw(kTokens));
  options.kernels = kTimed;
  options.clock = &kVirtual;
  options.reader = &reader;
  options.memory.budget = floor + draw(kLayers * kExperts + 2) * (kRecordBytes + 4096);
  const char *const predictors[] = {nullptr, "static", "previous-token", "look-ahead", "table", "none"};
  const char *const policies[] = {nullptr, "lfu", "lru", "edgemoe", "least-stale", "next-use"};
  options.predictor = predictors[draw(6)];
  options.policy = policies[draw(6)];
  options.prefetch = draw(8) != 0;
  options.prefetch_bytes = draw(3) == 0 ? kRecordBytes * (1 + draw(6)) : 0;
  options.loading = draw(6) == 0 ? Loading::kOnDemand : draw(8) == 0 ? Loading::kWholeLayers : Loading::kCached;
  constexpr uint32_t kDelays[] = {1, 100, 1000, 20000};
  reader.most_delay = kDelays[draw(4)];
  step_ns = kDelays[draw(4)];
  if (draw(2) == 0) reader.faults.predicted = 0.3;
  if (draw(4) == 0) reader.faults.demanded = 0.02;
  reader.faults.again = draw(2) * 0.3;
  const Faults faults = reader.faults;

  Status status;
  SessionPtr session = Make(model, options, &status);
  ASSERT_TRUE(status.ok()) << "seed " << seed << ": " << status.what;
  reader.session = session.get();
  for (int round = 0; round < 2; ++round) {
    session->Reset();
    std::vector<float> logits;
    for (size_t at = 0; at < tokens.size() && status.ok();) {
      size_t count = std::min<size_t>(tokens.size() - at, at == 0 ? 1 + draw(8) : 1);
      status = session->Forward(tokens.data() + at, count, Want::kAll, {Collect, &logits});
      at += count;
      ExpectNoSlotLost(*session, reader);
    }
    if (status.ok()) {
      ASSERT_EQ(logits, expected) << "seed " << seed;
      ++totals->right;
    } else {
      // Only what a step waited for can fail it.
      EXPECT_GT(reader.failed_demanded + (faults.again > 0 ? reader.failed_predicted : 0), 0u)
          << "seed " << seed << ": " << status.what;
      EXPECT_TRUE(status.code == StatusCode::kIo || status.code == StatusCode::kBadBundle) << status.what;
      EXPECT_TRUE(session->failure().happened);
      EXPECT_TRUE(std::equal(logits.begin(), logits.end(), expected.begin())) << "seed " << seed;
      EXPECT_EQ(reader.in_flight(), 0u);
      EXPECT_EQ(session->experts().cache().pinned(), 0u);
      ++totals->refused;
      status = OkStatus();
    }
    reader.faults = {};  // the storage is well again
  }
  SessionStats stats = session->stats();
  totals->predicted += stats.predicted.reads;
  totals->used += stats.predicted.used;
  totals->failed += stats.predicted.failed;
  totals->hits += stats.prefetch_hits;
  totals->pauses += stats.predicted.pauses;
  EXPECT_GE(stats.hits + stats.misses, stats.prefetch_hits);
  EXPECT_EQ(stats.predicted.reads >= stats.predicted.used + stats.predicted.wasted, true);
  if (!options.prefetch) {
    EXPECT_EQ(stats.predicted.reads, 0u);
  }
}

// EMOE_SEED=N runs one schedule alone.
TEST(Schedules, AnyOrderOfEndsAndFailures) {
  Model model;
  const std::vector<int32_t> tokens = Tokens(kTokens);
  const std::vector<float> expected = model.Reference(tokens);
  uint64_t floors[kTokens + 1];
  for (uint32_t chunk = 1; chunk <= kTokens; ++chunk) {
    SessionOptions options = Options(3, chunk);
    options.memory.budget = 1;
    Status status;
    ASSERT_EQ(Make(model, options, &status), nullptr);
    floors[chunk] = status.detail;
  }
  const char *only = getenv("EMOE_SEED");
  Totals totals;
  for (int i = 0; i < (only ? 1 : kSchedules); ++i) {
    uint32_t seed = only ? static_cast<uint32_t>(atoi(only)) : static_cast<uint32_t>(i * 7919);
    RunSchedule(model, tokens, expected, *std::max_element(floors + 1, floors + kTokens + 1), seed, &totals);
    if (HasFatalFailure()) return;
  }
  printf("%d schedules: %d right, %d refused; predicted reads %llu, used %llu, failed %llu, hits of them %llu, "
         "pauses %llu\n", kSchedules, totals.right, totals.refused, static_cast<unsigned long long>(totals.predicted),
         static_cast<unsigned long long>(totals.used), static_cast<unsigned long long>(totals.failed),
         static_cast<unsigned long long>(totals.hits), static_cast<unsigned long long>(totals.pauses));
  if (only) return;
  EXPECT_GT(totals.right, kSchedules);
  EXPECT_GT(totals.refused, 0);
  EXPECT_GT(totals.used, 0u);
  EXPECT_GT(totals.failed, 0u);
  EXPECT_GT(totals.pauses, 0u);
}

}  // namespace
}  // namespace emoe::rt
