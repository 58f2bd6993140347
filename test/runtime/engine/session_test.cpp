#include "runtime/engine/session.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>

#include "test/runtime/engine/fake_model.h"

namespace emoe::rt {
namespace {

using namespace fake;

std::vector<float> LogitsOf(Model &model, const SessionOptions &options, const std::vector<int32_t> &tokens,
                       SessionStats *stats = nullptr) {
  Status status;
  SessionPtr session = Make(model, options, &status);
  EXPECT_TRUE(status.ok()) << status.what << " " << status.detail;
  std::vector<float> logits;
  if (!session) return logits;
  status = session->Forward(tokens.data(), tokens.size(), Want::kAll, {Collect, &logits});
  EXPECT_TRUE(status.ok()) << status.what << " " << status.detail;
  if (stats) *stats = session->stats();
  return logits;
}

TEST(Session, ComputesWhatTheModelSays) {
  Model model;
  std::vector<int32_t> tokens = Tokens(41);
  EXPECT_EQ(LogitsOf(model, Options(), tokens), model.Reference(tokens));
}

TEST(Session, SameBitsWhateverTheBudget) {
  Model model;
  std::vector<int32_t> tokens = Tokens(41);
  std::vector<float> expected = model.Reference(tokens);
  uint64_t floor = Floor(model, Options());
  uint64_t last_misses = ~0ull;
  for (uint64_t extra : {0, 1, 2, 3, 7, 11, 15, 19}) {
    SessionOptions options = Options();
    options.prefetch = false;
    options.memory.budget = floor + extra * (kRecordBytes + 4096);
    SessionStats stats;
    EXPECT_EQ(LogitsOf(model, options, tokens, &stats), expected) << extra;
    EXPECT_GE(stats.bytes_read, stats.misses * kRecordBytes) << "some were predicted in vain";
    options.prefetch = false;
    EXPECT_EQ(LogitsOf(model, options, tokens, &stats), expected) << extra;
    EXPECT_EQ(stats.bytes_read, stats.misses * kRecordBytes);
    if (extra == 19) {
      EXPECT_LE(stats.misses, uint64_t{kLayers * kExperts});  // all fit: each is read once
    }
    if (extra == 0 || extra == 19) {
      EXPECT_LE(stats.misses, last_misses);
      last_misses = stats.misses;
    }
  }
}

TEST(Session, SameBitsWhateverThreadsChunkAndReading) {
  Model model;
  std::vector<int32_t> tokens = Tokens(33);
  std::vector<float> expected = model.Reference(tokens);
  for (uint32_t threads : {1, 2, 3, 7}) {
    for (uint32_t chunk : {1, 5, 32, 64}) {
      for (IoMode io : {IoMode::kAuto, IoMode::kPread}) {
        for (DirectMode direct : {DirectMode::kAuto, DirectMode::kOff}) {
          for (const char *policy : {"lru", "next-use"}) {
            SessionOptions options = Options(threads, chunk);
            options.io = io;
            options.direct = direct;
            options.policy = policy;
            options.memory.budget = Floor(model, options) + 3 * kRecordBytes;
            EXPECT_EQ(LogitsOf(model, options, tokens), expected) << threads << " " << chunk << " " << policy;
          }
        }
      }
    }
  }
}

// Whether the embedding is in memory or read panel by panel: chunks of more tokens than panels are kept too.
TEST(Session, SameBitsWithAPagedEmbedding) {
  Model model(kSyscalls, 12 * 1024, true);
  std::vector<int32_t> tokens = Tokens(47);
  std::vector<float> expected = model.Reference(tokens);
  SessionStats stats;
  EXPECT_EQ(LogitsOf(model, Options(), tokens, &stats), expected);
  EXPECT_EQ(stats.panels_read, 0u) << "all fits";
  for (uint32_t threads : {1, 3}) {
    for (uint32_t chunk : {1, 2, 7, 40, 47}) {
      for (IoMode io : {IoMode::kAuto, IoMode::kPread}) {
        for (DirectMode direct : {DirectMode::kAuto, DirectMode::kOff}) {
          for (uint64_t extra : {0, 5}) {
            SessionOptions options = Options(threads, chunk);
            options.io = io;
            options.direct = direct;
            options.memory.budget = Floor(model, options) + extra * kRecordBytes;
            EXPECT_EQ(LogitsOf(model, options, tokens, &stats), expected) << threads << " " << chunk;
            // One token has one panel, which may be the one of the token before; three panels have all tokens.
            EXPECT_GE(stats.panels_read, chunk < 3 ? 10u : 3u);
            EXPECT_LE(stats.panels_read, chunk < 3 ? 47u : 3u);
            EXPECT_GE(stats.panel_bytes_read, stats.panels_read * (kPanelBytes + 4096)) << "they begin within pages";
          }
        }
      }
    }
  }
}

// Reads the file one request after the other, in virtual time: how much is predicted does not depend on the machine.
class VirtualStorage final : public Reader {
 public:
  explicit VirtualStorage(Provider &provider) : provider_(provider) { now = 1; }
  void Submit(const ReadRequest &request) override {
    free_at_ = std::max(free_at_, now) + kReadNs;
    reads_.push_back({free_at_, {request.tag, provider_.Read(request.offset, request.out, request.bytes)}});
    ++in_flight_;
  }
  Status Wait(ReadDone *done, uint32_t *count) override {
    if (reads_.empty()) return Error(StatusCode::kInternal, "nothing is in flight");
    now = std::max(now, reads_.front().due);
    *count = Poll(done);
    return OkStatus();
  }
  uint32_t Poll(ReadDone *done) override {
    uint32_t count = 0;
    for (; !reads_.empty() && reads_.front().due <= now; reads_.pop_front()) done[count++] = reads_.front().done;
    in_flight_ -= count;
    return count;
  }
  Status ReadAgain(const ReadRequest &request) override {
    return provider_.Read(request.offset, request.out, request.bytes);
  }
  void Close() override {}
  const char *name() const override { return "virtual"; }
  bool direct() const override { return false; }

  static constexpr uint64_t kReadNs = 2000;
  static inline uint64_t now = 1;

 private:
  struct Read {
    uint64_t due;
    ReadDone done;
  };
  Provider &provider_;
  std::deque<Read> reads_;
  uint64_t free_at_ = 0;
};

TEST(Session, PanelsAreReadBesidePredictedRecords) {
  const Clock clock = {[](void *) { return VirtualStorage::now += 1000; }, [](void *, uint64_t) {}, nullptr, nullptr};
  Model model(kSyscalls, 12 * 1024, true);
  std::vector<int32_t> tokens = Tokens(60);
  SessionOptions options = Options(1, 1);
  options.predictor = "previous-token";
  options.memory.budget = Floor(model, options) + 6 * kRecordBytes;
  VirtualStorage storage(model.provider);
  options.clock = &clock;
  options.reader = &storage;
  SessionStats stats;
  EXPECT_EQ(LogitsOf(model, options, tokens, &stats), model.Reference(tokens));
  EXPECT_GE(stats.panels_read, 10u);
  EXPECT_GT(stats.predicted.reads, 0u);
}

TEST(Session, LastRowOnlyAndTokenByToken) {
  Model model;
  std::vector<int32_t> tokens = Tokens(23);
  std::vector<float> expected = model.Reference(tokens);
  SessionOptions options = Options(2, 5);
  options.memory.all_logits = false;
  Status status;
  SessionPtr session = Make(model, options, &status);
  ASSERT_TRUE(status.ok()) << status.what;
  auto row = [&](size_t i) { return std::vector<float>(expected.begin() + i * kVocab, expected.begin() + (i + 1) * kVocab); };
  auto last = [&] { return std::vector<float>(session->logits(), session->logits() + kVocab); };
  EXPECT_EQ(session->Forward(tokens.data(), 17, Want::kAll).code, StatusCode::kUsage);
  ASSERT_TRUE(session->Forward(tokens.data(), 17, Want::kLast).ok());
  EXPECT_EQ(last(), row(16));
  for (size_t i = 17; i < 23; ++i) {
    ASSERT_TRUE(session->Forward(&tokens[i], 1, Want::kLast).ok());
    EXPECT_EQ(last(), row(i));
  }
  session->Reset();
  ASSERT_TRUE(session->Forward(tokens.data(), 4, Want::kNone).ok());
  ASSERT_TRUE(session->Forward(&tokens[4], 1, Want::kLast).ok());
  EXPECT_EQ(last(), row(4));
}

TEST(Session, RefusesWhatDoesNotFit) {
  Model model;
  Status status;
  SessionOptions options = Options();
  uint64_t floor = Floor(model, options);
  options.memory.budget = floor - 1;
  EXPECT_EQ(Make(model, options, &status), nullptr);
  EXPECT_EQ(status.code, StatusCode::kBudget);
  EXPECT_EQ(status.detail, floor);

  SessionPtr session = Make(model, Options(), &status);
  std::vector<int32_t> tokens = Tokens(65);
  status = session->Forward(tokens.data(), 65, Want::kNone);
  EXPECT_EQ(status.code, StatusCode::kUsage);
  EXPECT_EQ(status.detail, 65u);
  int32_t strange = kVocab;
  EXPECT_EQ(session->Forward(&strange, 1, Want::kNone).code, StatusCode::kUsage);
  strange = -1;
  EXPECT_EQ(session->Forward(&strange, 1, Want::kNone).code, StatusCode::kUsage);
  EXPECT_TRUE(session->Forward(tokens.data(), 64, Want::kNone).ok());
}

TEST(Session, RefusesAnUnknownPolicy) {
  Model model;
  Status status;
  SessionOptions options = Options();
  options.policy = "belady";
  EXPECT_EQ(Make(model, options, &status), nullptr);
  EXPECT_EQ(status.code, StatusCode::kUsage);
}

TEST(Session, RefusesAnExpertThatDoesNotExist) {
  Model model;
  static emoe_kernel_fn kernels[std::size(kKernels)];
  std::copy(std::begin(kKernels), std::end(kKernels), kernels);
  kernels[3] = [](const emoe_kernel_args *a, int64_t first, int64_t last) {
    for (int64_t i = first * kTopK; i < last * kTopK; ++i) static_cast<int32_t *>(a->operand[1])[i] = -1;
  };
  SessionOptions options = Options();
  options.kernels = kernels;
  Status status;
  SessionPtr session = Make(model, options, &status);
  std::vector<int32_t> tokens = Tokens(3);
  EXPECT_EQ(session->Forward(tokens.data(), 3, Want::kNone).code, StatusCode::kBadBundle);
}

TEST(Session, TellsWhatWasChosen) {
  Model model;
  SessionOptions options = Options(1, 2);
  std::vector<uint64_t> seen;
  options.trace = [](void *user, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t top_k) {
    EXPECT_EQ(top_k, uint32_t{kTopK});
    EXPECT_NE(ids[0], ids[1]);
    static_cast<std::vector<uint64_t> *>(user)->push_back(position * 10 + layer);
  };
  options.trace_user = &seen;
  Status status;
  SessionPtr session = Make(model, options, &status);
  std::vector<int32_t> tokens = Tokens(3);
  ASSERT_TRUE(session->Forward(tokens.data(), 3, Want::kNone).ok());
  EXPECT_EQ(seen, (std::vector<uint64_t>{0, 10, 1, 11, 2, 12, 20, 21, 22}));
}

TEST(Session, ReplaysRouting) {
  struct Replay {
    std::map<uint64_t, std::vector<int32_t>> chosen;  // by position * 10 + layer
    int32_t shift = 0;
  };
  Model model;
  std::vector<int32_t> tokens = Tokens(7);
  const std::vector<float> expected = model.Reference(tokens);
  auto record = [](void *user, uint64_t position, uint32_t layer, const int32_t *ids, uint32_t top_k) {
    static_cast<Replay *>(user)->chosen[position * 10 + layer].assign(ids, ids + top_k);
  };
  Replay own, seen;
  SessionOptions options = Options(2, 3);
  options.trace = record;
  options.trace_user = &own;
  ASSERT_EQ(LogitsOf(model, options, tokens), expected);
  options.trace_user = &seen;
  options.route = [](void *user, uint64_t position, uint32_t layer, int32_t *ids, uint32_t top_k) {
    const auto &own = *static_cast<Replay *>(user);
    for (uint32_t i = 0; i < top_k; ++i) ids[i] = (own.chosen.at(position * 10 + layer)[i] + own.shift) % kExperts;
  };
  options.route_user = &own;
  EXPECT_EQ(LogitsOf(model, options, tokens), expected);
  EXPECT_EQ(seen.chosen, own.chosen);
  own.shift = 1;
  EXPECT_NE(LogitsOf(model, options, tokens), expected);
  for (const auto &[at, ids] : seen.chosen) {
    for (size_t i = 0; i < ids.size(); ++i) EXPECT_EQ(ids[i], (own.chosen.at(at)[i] + 1) % int32_t{kExperts}) << at;
  }
}

TEST(Session, ATapSeesWhatAnExpertStepReadAndWrote) {
  struct Seen {
    const Model *model;
    std::vector<uint64_t> rows;  // position * 10 + layer
  };
  Model model;
  SessionOptions options = Options(2, 3);
  Seen seen{&model, {}};
  options.tap = [](void *user, const Session &session, const Step &step, uint32_t rows) {
    auto &seen = *static_cast<Seen *>(user);
    ASSERT_EQ(step.kind, StepKind::kExperts);
    EXPECT_EQ(session.address(step.operands[1]), nullptr);
    auto floats = [&](int operand) { return static_cast<const float *>(session.address(step.operands[operand])); };
    const float *input = floats(0), *hidden = floats(3), *pairs = floats(4);
    const auto *ids = static_cast<const int32_t *>(session.address(step.operands[2]));
    const auto *weights = static_cast<const float *>(session.address({OperandKind::kBuffer, 3}));
    for (uint32_t row = 0; row < rows; ++row) {
      seen.rows.push_back((session.position() + row) * 10 + step.layer);
      int32_t chosen[kTopK];
      float weight[kTopK];
      Choose(input + row * kWidth, chosen, weight);
      for (uint32_t pair = row * kTopK, k = 0; k < kTopK; ++k, ++pair) {
        EXPECT_EQ(ids[pair], chosen[k]);
        EXPECT_EQ(weights[pair], weight[k]);
        const float *record = &seen.model->experts[(size_t{kExperts} * step.layer + chosen[k]) * (kRecordBytes / 4)];
        float expected[kWidth], out[kWidth];
        Multiply(record, input + row * kWidth, expected, 0, kWidth);
        Multiply(record + kHalf / 4, expected, out, 0, kWidth);
        EXPECT_EQ(memcmp(hidden + pair * kWidth, expected, sizeof(expected)), 0);
        EXPECT_EQ(memcmp(pairs + pair * kWidth, out, sizeof(out)), 0);
      }
    }
  };
  options.tap_user = &seen;
  Status status;
  SessionPtr session = Make(model, options, &status);
  std::vector<int32_t> tokens = Tokens(4);
  ASSERT_TRUE(session->Forward(tokens.data(), 4, Want::kNone).ok());
  EXPECT_EQ(seen.rows, (std::vector<uint64_t>{0, 10, 20, 1, 11, 21, 2, 12, 22, 30, 31, 32}));
}

TEST(Session, StopsWhenAsked) {
  Model model;
  std::atomic<bool> stop{true};
  SessionOptions options = Options();
  options.stop = &stop;
  Status status;
  SessionPtr session = Make(model, options, &status);
  std::vector<int32_t> tokens = Tokens(3);
  EXPECT_FALSE(session->Forward(tokens.data(), 3, Want::kNone).ok());
  stop = false;
  session->Reset();
  EXPECT_TRUE(session->Forward(tokens.data(), 3, Want::kNone).ok());
}

}  // namespace
}  // namespace emoe::rt
