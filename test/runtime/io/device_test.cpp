// The device model in virtual time.
#include "runtime/io/device.h"

#include <gtest/gtest.h>

#include <vector>

namespace emoe::rt {
namespace {

constexpr DeviceModel kModel = {500000000, 100000};  // 500 MB/s, 100 us: 1 MB takes 2.1 ms

uint64_t now = 0;
const Clock kVirtual = {[](void *) { return now; }, [](void *, uint64_t when) { now = when > now ? when : now; }, nullptr,
                        nullptr};

// Each read takes `delay` of virtual time from its submission on; Wait lets time pass.
class FakeReader final : public Reader {
 public:
  void Submit(const ReadRequest &request) override {
    reads_.push_back({request.tag, now + delay});
    ++in_flight_;
  }
  Status Wait(ReadDone *done, uint32_t *count) override {
    uint64_t first = ~0ull;
    for (const Read &read : reads_) first = read.due < first ? read.due : first;
    if (fail) return Error(StatusCode::kIo, "the storage did not answer within (ms)");
    now = first > now ? first : now;
    *count = Poll(done);
    return OkStatus();
  }
  uint32_t Poll(ReadDone *done) override {
    uint32_t count = 0;
    for (size_t i = 0; i < reads_.size();) {
      if (reads_[i].due > now) {
        ++i;
        continue;
      }
      done[count++] = {reads_[i].tag, status};
      reads_.erase(reads_.begin() + static_cast<long>(i));
      --in_flight_;
    }
    return count;
  }
  Status ReadAgain(const ReadRequest &) override { return OkStatus(); }
  void Close() override {}
  const char *name() const override { return "fake"; }
  bool direct() const override { return false; }

  uint64_t delay = 0;
  bool fail = false;
  Status status;

 private:
  struct Read {
    uint32_t tag;
    uint64_t due;
  };
  std::vector<Read> reads_;
};

struct Device : testing::Test {
  Device() {
    now = 0;
    if (!arena.Map(1 << 20).ok() || !MakeDeviceReader(&inner, kModel, kVirtual, &arena, &reader).ok()) abort();
  }
  ~Device() override { arena.Unmap(); }
  void Submit(uint32_t tag) { reader->Submit({0, nullptr, 1000000, tag}); }
  // The tag of the next read and when it ended; -1 if it failed.
  int Next() {
    uint32_t count = 0;
    if (!reader->Wait(done, &count).ok() || count != 1) return -1;
    return done[0].status.ok() ? static_cast<int>(done[0].tag) : -1;
  }
  FakeReader inner;
  Arena arena;
  Reader *reader = nullptr;
  ReadDone done[kReadDepth];
};

TEST_F(Device, ReadsOneAfterTheOther) {
  Submit(7);
  Submit(8);
  EXPECT_EQ(reader->Poll(done), 0u);
  EXPECT_EQ(Next(), 7);
  EXPECT_EQ(now, 2100000u);
  EXPECT_EQ(Next(), 8);
  EXPECT_EQ(now, 4200000u);
  EXPECT_EQ(reader->in_flight(), 0u);
}

TEST_F(Device, SavesNoIdleTime) {
  now = 1000000000;
  Submit(1);
  EXPECT_EQ(Next(), 1);
  EXPECT_EQ(now, 1002100000u);
}

TEST_F(Device, WorksWhileTheCallerComputes) {
  Submit(1);
  Submit(2);
  Submit(3);
  now = 4300000;  // two have ended meanwhile
  EXPECT_EQ(reader->Poll(done), 2u);
  EXPECT_EQ(done[0].tag, 1u);
  EXPECT_EQ(done[1].tag, 2u);
  EXPECT_EQ(Next(), 3);
  EXPECT_EQ(now, 6300000u);
}

TEST_F(Device, IsNoFasterThanTheStorageBehindIt) {
  inner.delay = 5000000;
  Submit(1);
  EXPECT_EQ(Next(), 1);
  EXPECT_EQ(now, 5000000u);
}

TEST_F(Device, HandsOnFailures) {
  inner.status = Error(StatusCode::kIo, "broken");
  Submit(1);
  EXPECT_EQ(Next(), -1);
  inner.delay = 1;
  Submit(2);
  inner.fail = true;
  uint32_t count = 0;
  EXPECT_EQ(reader->Wait(done, &count).code, StatusCode::kIo);
}

TEST_F(Device, ManyInFlightKeepTheirOrder) {
  uint32_t submitted = 0, ended = 0;
  while (ended < 1000) {
    while (submitted < 1000 && reader->in_flight() < kReadDepth) Submit(submitted++);
    uint32_t count = 0;
    ASSERT_TRUE(reader->Wait(done, &count).ok());
    for (uint32_t i = 0; i < count; ++i) EXPECT_EQ(done[i].tag, ended++);
    EXPECT_EQ(now, ended * 2100000ull);
  }
}

}  // namespace
}  // namespace emoe::rt
