#include "runtime/io/device.h"

#include <new>

namespace emoe::rt {
namespace {

class DeviceReader final : public Reader {
 public:
  DeviceReader(Reader *inner, const DeviceModel &model, const Clock &clock)
      : inner_(inner), model_(model), clock_(clock) {}

  void Submit(const ReadRequest &request) override {
    uint64_t now = clock_.Now();
    if (free_at_ < now) free_at_ = now;
    free_at_ += model_.latency_ns + static_cast<uint64_t>(static_cast<double>(request.bytes) * 1e9 /
                                                          static_cast<double>(model_.bytes_per_second));
    uint32_t place = (head_ + in_flight_++) % kReadDepth;
    waiting_[place] = {request.tag, free_at_, false, OkStatus()};
    ReadRequest own = request;
    own.tag = place;
    clock_.Pause(true);
    inner_->Submit(own);
    clock_.Pause(false);
  }

  Status Wait(ReadDone *done, uint32_t *count) override {
    if (in_flight_ == 0) return Error(StatusCode::kInternal, "waiting for a read, but none is in flight");
    for (;;) {
      *count = Poll(done);
      if (*count != 0) return OkStatus();
      const Waiting &first = waiting_[head_];
      if (first.arrived) {
        clock_.sleep_until(clock_.user, first.due);
        continue;
      }
      uint32_t ended = 0;
      clock_.Pause(true);
      Status status = inner_->Wait(done, &ended);
      clock_.Pause(false);
      if (!status.ok()) return status;
      Arrived(done, ended);
    }
  }

  uint32_t Poll(ReadDone *done) override {
    if (in_flight_ == 0) return 0;
    uint64_t now = clock_.Now();
    if (waiting_[head_].due > now) return 0;
    clock_.Pause(true);
    Arrived(done, inner_->Poll(done));
    uint32_t count = 0;
    while (in_flight_ != 0 && waiting_[head_].due <= now) {
      uint32_t ended = 0;
      if (!waiting_[head_].arrived) {
        // Where waiting takes no time, the device is never later than its model.
        if (clock_.pause == nullptr || !inner_->Wait(done + count, &ended).ok()) break;
        Arrived(done + count, ended);
        continue;
      }
      done[count++] = {waiting_[head_].tag, waiting_[head_].status};
      head_ = (head_ + 1) % kReadDepth;
      --in_flight_;
    }
    clock_.Pause(false);
    return count;
  }

  Status ReadAgain(const ReadRequest &request) override { return inner_->ReadAgain(request); }
  void Close() override { inner_->Close(); }
  const char *name() const override { return "device model"; }
  bool direct() const override { return inner_->direct(); }

 private:
  struct Waiting {
    uint32_t tag;
    uint64_t due;
    bool arrived;
    Status status;
  };

  void Arrived(const ReadDone *done, uint32_t count) {
    for (uint32_t i = 0; i < count; ++i) {
      waiting_[done[i].tag].arrived = true;
      waiting_[done[i].tag].status = done[i].status;
    }
  }

  Reader *inner_;
  DeviceModel model_;
  Clock clock_;
  uint64_t free_at_ = 0;         // when the device has done all that was submitted
  Waiting waiting_[kReadDepth];  // a ring from head_ on, in order of submission
  uint32_t head_ = 0;
};

}  // namespace

Status MakeDeviceReader(Reader *inner, const DeviceModel &model, const Clock &clock, Arena *arena, Reader **out) {
  void *place = arena->Take(sizeof(DeviceReader), alignof(DeviceReader));
  if (place == nullptr) return Error(StatusCode::kInternal, "the arena has no room for the device's model");
  *out = new (place) DeviceReader(inner, model, clock);
  return OkStatus();
}

}  // namespace emoe::rt
