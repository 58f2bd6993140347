// Storage that fails: the right logits, or a clear error; never wrong logits, never a hang.
#include <errno.h>
#include <gtest/gtest.h>
#include <linux/io_uring.h>

#include <atomic>

#include "test/runtime/engine/fake_model.h"

namespace emoe::rt {
namespace {

using namespace fake;

// What the next reads do. Counted over all reads of a session, from the first.
enum class Fault { kNone, kEio, kEnodev, kEintr, kShort, kEnd, kWrongByte };
std::atomic<int> reads{0}, fault_at{-1}, fault_times{0}, slept_ms{0};
std::atomic<Fault> fault{Fault::kNone};

ssize_t FaultyPread(int fd, void *out, size_t bytes, uint64_t offset) {
  int number = reads++;
  int at = fault_at;
  if (at < 0 || number < at || number >= at + fault_times) return pread(fd, out, bytes, static_cast<off_t>(offset));
  switch (fault.load()) {
    case Fault::kEio: errno = EIO; return -1;
    case Fault::kEnodev: errno = ENODEV; return -1;
    case Fault::kEintr: errno = EINTR; return -1;
    case Fault::kEnd: return 0;
    case Fault::kShort: return pread(fd, out, bytes / 2 + 1, static_cast<off_t>(offset));
    case Fault::kWrongByte: {
      ssize_t got = pread(fd, out, bytes, static_cast<off_t>(offset));
      if (got > 0) static_cast<char *>(out)[got / 3] ^= 1;
      return got;
    }
    case Fault::kNone: break;
  }
  return pread(fd, out, bytes, static_cast<off_t>(offset));
}
void FakeSleep(uint32_t milliseconds) { slept_ms += static_cast<int>(milliseconds); }
int NoUring(uint32_t, io_uring_params *) {
  errno = EPERM;
  return -1;
}

Syscalls FaultyCalls() {
  Syscalls calls = kSyscalls;
  calls.pread = FaultyPread;
  calls.sleep_ms = FakeSleep;
  calls.uring_setup = NoUring;
  return calls;
}

Status RunWith(Fault kind, int at, int times, DirectMode direct, std::vector<float> *logits, bool paged = false) {
  static const Syscalls calls = FaultyCalls();
  fault_at = -1;
  Model model(calls, 12 * 1024, paged);
  SessionOptions options = Options(2, paged ? 2 : 4);
  if (paged) options.memory.budget = Floor(model, options);
  options.calls = &calls;
  options.direct = direct;
  reads = 0;
  slept_ms = 0;
  fault = kind;
  fault_at = at;
  fault_times = times;
  Status status;
  SessionPtr session = Make(model, options, &status);
  std::vector<int32_t> tokens = Tokens(9);
  if (session) status = session->Forward(tokens.data(), tokens.size(), Want::kAll, {Collect, logits});
  fault_at = -1;
  return status;
}

TEST(Faults, EveryReadFailsInEveryWay) {
  std::vector<int32_t> tokens = Tokens(9);
  std::vector<float> expected = Model().Reference(tokens);
  std::vector<float> logits;
  for (bool paged : {false, true}) {
    logits.clear();
    ASSERT_TRUE(RunWith(Fault::kNone, -1, 0, DirectMode::kOff, &logits, paged).ok());
    ASSERT_EQ(logits, expected);
    int total = reads;
    ASSERT_GT(total, 10);
    int right = 0, refused = 0;
    for (Fault kind : {Fault::kEio, Fault::kEnodev, Fault::kEintr, Fault::kShort, Fault::kEnd, Fault::kWrongByte}) {
      for (int times : {1, 1000000}) {
        for (int at = 0; at < total; ++at) {
          logits.clear();
          bool forever = times > 1;
          if (forever && kind == Fault::kEintr) continue;  // a signal storm without end never ends
          Status status = RunWith(kind, at, times, DirectMode::kOff, &logits, paged);
          if (status.ok()) {
            EXPECT_EQ(logits, expected);
            ++right;
          } else {
            EXPECT_EQ(status.code, kind == Fault::kWrongByte ? StatusCode::kBadBundle : StatusCode::kIo) << status.what;
            ++refused;
          }
          if (!forever && (kind == Fault::kEio || kind == Fault::kEintr || kind == Fault::kShort)) {
            EXPECT_TRUE(status.ok()) << "one such fault is survived: " << status.what;
          }
        }
      }
    }
    EXPECT_GT(right, 0);
    EXPECT_GT(refused, 0);
  }
}

// Every panel of the embedding is damaged; once it is whole again, so is the session.
TEST(Faults, DamagedPanelIsNamedAndNeverUsed) {
  for (IoMode io : {IoMode::kAuto, IoMode::kPread}) {
    Model model(kSyscalls, 12 * 1024, true);
    const uint64_t embedding = model.bundle.resident.offset + model.tensors[2].offset;
    auto damage = [&] {
      for (uint64_t panel = 0; panel < 4; ++panel) model.DamageAt(embedding + panel * kPanelBytes + 1000 * panel);
    };
    SessionOptions options = Options(1, 3);
    options.io = io;
    options.memory.budget = Floor(model, options);
    Status status;
    SessionPtr session = Make(model, options, &status);
    ASSERT_TRUE(status.ok()) << status.what;
    damage();
    std::vector<int32_t> tokens = Tokens(9);
    for (int again = 0; again < 2; ++again) {
      status = session->Forward(tokens.data(), 9, Want::kNone);
      EXPECT_EQ(status.code, StatusCode::kBadBundle);
      EXPECT_STREQ(status.what, "a panel of a paged tensor is damaged (offset, panel)");
      EXPECT_EQ(status.detail2, static_cast<uint64_t>(tokens[0] / 16));
      EXPECT_EQ(status.detail, embedding + status.detail2 * kPanelBytes);
      EXPECT_EQ(session->stats().rereads, again + 1u);
      EXPECT_EQ(session->position(), 0u);
    }
    damage();
    std::vector<float> logits;
    ASSERT_TRUE(session->Forward(tokens.data(), 9, Want::kAll, {Collect, &logits}).ok());
    EXPECT_EQ(logits, model.Reference(tokens));
  }
}

TEST(Faults, EioIsTriedAgainThreeTimes) {
  std::vector<float> logits;
  EXPECT_TRUE(RunWith(Fault::kEio, 6, 3, DirectMode::kOff, &logits).ok());
  EXPECT_EQ(slept_ms, 10 + 50 + 250);
  Status status = RunWith(Fault::kEio, 6, 400, DirectMode::kOff, &logits);
  EXPECT_EQ(status.code, StatusCode::kIo);
  EXPECT_EQ(status.detail2, uint64_t{EIO});
}

TEST(Faults, DamagedRecordIsNamed) {
  for (IoMode io : {IoMode::kAuto, IoMode::kPread}) {
    Model model;
    for (int record = 0; record < kLayers * kExperts; ++record) model.Damage(record, 20000);
    SessionOptions options = Options();
    options.io = io;
    Status status;
    SessionPtr session = Make(model, options, &status);
    ASSERT_TRUE(status.ok()) << status.what;
    std::vector<int32_t> tokens = Tokens(3);
    status = session->Forward(tokens.data(), 3, Want::kNone);
    EXPECT_EQ(status.code, StatusCode::kBadBundle);
    const RecordFailure &failure = session->failure();
    ASSERT_TRUE(failure.happened);
    EXPECT_EQ(failure.layer, 0u);
    EXPECT_EQ(failure.chunk, 1u);
    EXPECT_EQ(failure.offset, model.bundle.experts.offset + failure.expert * uint64_t{kRecordBytes});
    EXPECT_NE(failure.expected_crc, failure.actual_crc);
    EXPECT_GE(session->stats().rereads, 1u);
  }
}

// After a failure the session works again when the storage does.
TEST(Faults, RecoversAfterReset) {
  Model model;
  std::vector<int32_t> tokens = Tokens(9);
  Status status;
  SessionPtr session = Make(model, Options(1, 3), &status);
  for (int record = 0; record < kLayers * kExperts; ++record) model.Damage(record, 99);
  EXPECT_EQ(session->Forward(tokens.data(), 9, Want::kNone).code, StatusCode::kBadBundle);
  for (int record = 0; record < kLayers * kExperts; ++record) model.Damage(record, 99);
  EXPECT_EQ(session->Forward(tokens.data(), 9, Want::kNone).code, StatusCode::kUsage) << "states have gone on";
  session->Reset();
  std::vector<float> logits;
  ASSERT_TRUE(session->Forward(tokens.data(), 9, Want::kAll, {Collect, &logits}).ok());
  EXPECT_EQ(logits, model.Reference(tokens));
}

// Ends each read when it is submitted. Predicted reads fail, or bring wrong bytes.
class FailingAhead final : public Reader {
 public:
  FailingAhead(const Model &model, bool wrong_bytes) : model_(model), wrong_bytes_(wrong_bytes) {}
  void Submit(const ReadRequest &request) override {
    uint64_t ahead = session->experts().schedule().counters().reads;
    Copy(request);
    done_[in_flight_++] = {request.tag, OkStatus()};
    if (ahead == ahead_) return;
    ahead_ = ahead;
    if (wrong_bytes_) {
      static_cast<char *>(request.out)[100] ^= 1;
    } else {
      done_[in_flight_ - 1].status = Error(StatusCode::kIo, "the fake storage failed");
    }
  }
  Status Wait(ReadDone *done, uint32_t *count) override {
    now += 1000;
    *count = Poll(done);
    return OkStatus();
  }
  uint32_t Poll(ReadDone *done) override {
    uint32_t count = in_flight_;
    for (uint32_t i = 0; i < count; ++i) done[i] = done_[i];
    in_flight_ = 0;
    return count;
  }
  Status ReadAgain(const ReadRequest &request) override {
    Copy(request);
    return OkStatus();
  }
  void Close() override {}
  const char *name() const override { return "failing ahead"; }
  bool direct() const override { return false; }

  static uint64_t now;
  const Session *session = nullptr;

 private:
  void Copy(const ReadRequest &request) {
    memcpy(request.out, reinterpret_cast<const char *>(model_.experts.data()) + (request.offset - model_.bundle.experts.offset),
           request.bytes);
  }
  const Model &model_;
  bool wrong_bytes_;
  ReadDone done_[kReadDepth];
  uint64_t ahead_ = 0;
};
uint64_t FailingAhead::now = 1;

TEST(Faults, PredictedReadsThatFailDoNoHarm) {
  const Clock clock = {[](void *) { return FailingAhead::now += 100; }, [](void *, uint64_t) {}, nullptr, nullptr};
  for (bool wrong_bytes : {false, true}) {
    Model model;
    FailingAhead reader(model, wrong_bytes);
    SessionOptions options = Options(1, 1);
    options.clock = &clock;
    options.reader = &reader;
    options.predictor = "previous-token";
    options.memory.expert_bytes = 8 * kRecordBytes;
    Status status;
    SessionPtr session = Make(model, options, &status);
    ASSERT_TRUE(status.ok()) << status.what;
    reader.session = session.get();
    std::vector<int32_t> tokens = Tokens(60);
    std::vector<float> logits;
    status = session->Forward(tokens.data(), tokens.size(), Want::kAll, {Collect, &logits});
    ASSERT_TRUE(status.ok()) << status.what;
    EXPECT_EQ(logits, model.Reference(tokens));
    EXPECT_GT(session->stats().predicted.reads, 0u);
    EXPECT_EQ(session->stats().predicted.failed, session->stats().predicted.reads);
    EXPECT_FALSE(session->failure().happened);
  }
}

std::atomic<int> short_completions{0};
// Turns io_uring's completions into short or failed ones by asking for reads that the kernel cannot do whole.
int EnterThatFails(int fd, uint32_t submit, uint32_t wait_for, uint32_t flags, const void *arg, size_t bytes) {
  if (wait_for != 0 && short_completions++ % 3 == 0) {
    errno = EINTR;
    return -1;
  }
  return kSyscalls.uring_enter(fd, submit, wait_for, flags, arg, bytes);
}

TEST(Faults, UringSurvivesSignals) {
  Syscalls calls = kSyscalls;
  calls.uring_enter = EnterThatFails;
  Model model;
  SessionOptions options = Options();
  options.calls = &calls;
  options.io = IoMode::kUring;
  Status status;
  SessionPtr session = Make(model, options, &status);
  if (status.code == StatusCode::kUnsupported) GTEST_SKIP() << "io_uring is not allowed here";
  std::vector<int32_t> tokens = Tokens(9);
  std::vector<float> logits;
  ASSERT_TRUE(session->Forward(tokens.data(), 9, Want::kAll, {Collect, &logits}).ok());
  EXPECT_EQ(logits, model.Reference(tokens));
}

TEST(Faults, HangingStorageIsReported) {
  Syscalls calls = kSyscalls;
  static std::atomic<bool> hang{false};
  calls.uring_setup = NoUring;
  calls.pread = [](int fd, void *out, size_t bytes, uint64_t offset) -> ssize_t {
    while (hang) usleep(1000);
    return pread(fd, out, bytes, static_cast<off_t>(offset));
  };
  for (bool paged : {false, true}) {  // with a paged embedding, that is the first read
    Model model(kSyscalls, 12 * 1024, paged);
    SessionOptions options = Options();
    if (paged) options.memory.budget = Floor(model, options);
    options.calls = &calls;
    options.io_timeout_ms = 50;
    Status status;
    SessionPtr session = Make(model, options, &status);
    ASSERT_TRUE(status.ok());
    hang = true;
    std::vector<int32_t> tokens = Tokens(3);
    status = session->Forward(tokens.data(), 3, Want::kNone);
    EXPECT_EQ(status.code, StatusCode::kIo);
    EXPECT_TRUE(session->hung());
    hang = false;  // so that the reader's threads end and the session can be destroyed
  }
}

}  // namespace
}  // namespace emoe::rt
