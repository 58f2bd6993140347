// What happens to reads that ended: checked, handed to the step that waits for them, kept for a later one, or reported.
#include "runtime/bundle/crc32c.h"
#include "runtime/engine/expert_runner.h"

namespace emoe::rt {

// Takes in all reads that ended: also after a failure, so that no slot stays half-loaded. The first failure of a read
// that the step at hand waits for is returned.
Status ExpertRunner::Take(const ReadDone *done, uint32_t count, bool waited) {
  if (count == 0) return OkStatus();
  uint64_t now = clock_->Now();
  for (uint32_t i = 0; i < count; ++i) {
    const Flight &flight = flight_[done[i].tag];
    uint32_t bytes = VariantOf(flight.layer, flight.expert).record_bytes;
    flight_bytes_ -= bytes;
    if (done[i].status.ok()) bytes_read_ += bytes;
    schedule_.Ended(bytes, flight_bytes_, waited, now);
  }
  const bool awaited = awaited_ != 0;
  Check(done, count);
  if (awaited && watch_ != nullptr) times_.miss_ns += clock_->Now() - now;
  Status first = OkStatus();
  for (uint32_t i = 0; i < count; ++i) {
    Status status = Settle(&flight_[done[i].tag], done[i].status);
    if (first.ok()) first = status;
    Release(done[i].tag);
  }
  if (!first.ok()) {
    for (uint32_t i = 0; i < ready_count_; ++i) cache_.Unpin(tasks_[ready_[i]].slot);
    ready_count_ = 0;
  }
  return first;
}

Status ExpertRunner::ReadPages(ReadRequest *requests, uint32_t count) {
  constexpr uint32_t kTag = kReadDepth;  // no flight's
  ReadDone done[kReadDepth];
  Status first = OkStatus();
  uint64_t start = clock_->Now();
  uint32_t submitted = 0;
  for (uint32_t left = count; left != 0;) {
    while (submitted < count && flights_ + submitted - (count - left) < kReadDepth) {
      requests[submitted].tag = kTag;
      reader_->Submit(requests[submitted++]);
    }
    uint32_t ended = 0, records = 0;
    Status status = reader_->Wait(done, &ended);
    if (!status.ok()) {
      hung_ = true;
      return status;
    }
    for (uint32_t i = 0; i < ended; ++i) {
      if (done[i].tag != kTag) {
        done[records++] = done[i];
        continue;
      }
      --left;
      if (first.ok()) first = done[i].status;
    }
    // Outside of a step no task waits, so nothing can fail.
    Status taken = Take(done, records, false);
    if (first.ok()) first = taken;
  }
  stall_ns_ += clock_->Now() - start;
  return first;
}

// Compares the checksums of what came, all threads together.
void ExpertRunner::Check(const ReadDone *done, uint32_t count) {
  checking_count_ = 0;
  uint32_t chunks = 0;
  for (uint32_t i = 0; i < count; ++i) {
    if (!done[i].status.ok()) continue;
    Flight &flight = flight_[done[i].tag];
    chunks += static_cast<uint32_t>(VariantOf(flight.layer, flight.expert).chunk_ends.size);
    flight.chunks_end = chunks;
    flight.bad_chunk = kNone;
    checking_[checking_count_++] = done[i].tag;
  }
  pool_->ParallelFor(chunks, 1, CheckBody, this);
}

// One read that ended with `read`, and was checked if that is ok: its slot becomes valid or free.
Status ExpertRunner::Settle(Flight *flight, const Status &read) {
  const bool awaited = flight->task != kNone;
  Status status = read;
  if (awaited) {
    --awaited_;
    if (read.ok() && flight->bad_chunk != kNone) status = CheckAgain(flight);
  } else if (read.ok() && flight->bad_chunk != kNone) {
    status = Error(StatusCode::kBadBundle, "an expert's record is damaged");  // if it is demanded, it is looked at again
  }
  if (flight->predicted) schedule_.Loaded(flight->layer, flight->expert, !status.ok());
  if (!status.ok()) {
    cache_.Abandon(flight->slot);
    if (!awaited) return OkStatus();
    if (flight->predicted && !read.ok()) {
      // The step is owed a read of its own.
      missing_[missing_count_++] = flight->task;
      return OkStatus();
    }
    if (!read.ok()) Fail(*flight, 0, 0);
    return status;
  }
  cache_.Commit(flight->slot);
  if (awaited) {
    ready_[ready_count_++] = flight->task;
  } else if (!schedule_.Pending(flight->layer, flight->expert)) {
    // Its layer ran meanwhile.
    if (loading_ == Loading::kOnDemand) {
      cache_.Abandon(flight->slot);
    } else {
      cache_.Unpin(flight->slot);
    }
  }
  return OkStatus();
}

// Takes a flight out of those that are under way, which are free_[0] to free_[flights_ - 1].
void ExpertRunner::Release(uint32_t number) {
  uint32_t at = 0;
  while (free_[at] != number) ++at;
  free_[at] = free_[--flights_];
  free_[flights_] = number;
}

uint32_t ExpertRunner::ChunkCrc(const Flight &flight, uint32_t chunk) const {
  const Variant &variant = VariantOf(flight.layer, flight.expert);
  uint32_t begin = chunk == 0 ? 0 : variant.chunk_ends[chunk - 1];
  return Crc32c(SlotAt(flight.slot) + begin, variant.chunk_ends[chunk] - begin);
}

void ExpertRunner::CheckBody(void *self, int64_t first, int64_t last) {
  auto *runner = static_cast<ExpertRunner *>(self);
  uint32_t at = 0;
  for (int64_t item = first; item < last; ++item) {
    while (runner->flight_[runner->checking_[at]].chunks_end <= item) ++at;
    Flight &flight = runner->flight_[runner->checking_[at]];
    int64_t begin = at == 0 ? 0 : runner->flight_[runner->checking_[at - 1]].chunks_end;
    uint32_t chunk = static_cast<uint32_t>(item - begin);
    const Record &record = runner->bundle_->moe_layers[flight.layer].records[flight.expert];
    if (runner->ChunkCrc(flight, chunk) == runner->bundle_->chunk_crcs[record.first_crc + chunk]) continue;
    uint32_t known = __atomic_load_n(&flight.bad_chunk, __ATOMIC_RELAXED);
    while (chunk < known && !__atomic_compare_exchange_n(&flight.bad_chunk, &known, chunk, false, __ATOMIC_RELAXED,
                                                         __ATOMIC_RELAXED)) {
    }
  }
}

// The wrong bytes may have come from the page cache or the wire: once more from the device, then it is the bundle.
Status ExpertRunner::CheckAgain(Flight *flight) {
  ++rereads_;
  ReadRequest request = RequestOf(*flight);
  Status status = reader_->ReadAgain(request);
  if (!status.ok()) {
    Fail(*flight, 0, 0);
    return status;
  }
  bytes_read_ += request.bytes;
  const Variant &variant = VariantOf(flight->layer, flight->expert);
  const Record &record = bundle_->moe_layers[flight->layer].records[flight->expert];
  for (uint32_t chunk = 0; chunk < variant.chunk_ends.size; ++chunk) {
    uint32_t actual = ChunkCrc(*flight, chunk);
    if (actual != bundle_->chunk_crcs[record.first_crc + chunk]) {
      Fail(*flight, chunk, actual);
      return Error(StatusCode::kBadBundle, "an expert's record is damaged, at", request.offset, chunk);
    }
  }
  flight->bad_chunk = kNone;
  return OkStatus();
}

void ExpertRunner::Fail(const Flight &flight, uint32_t chunk, uint32_t actual) {
  if (failure_.happened) return;
  const Record &record = bundle_->moe_layers[flight.layer].records[flight.expert];
  uint32_t expected = actual == 0 ? 0 : bundle_->chunk_crcs[record.first_crc + chunk];
  failure_ = {true, flight.layer, flight.expert, chunk, bundle_->experts.offset + record.offset, expected, actual};
}

// After a failure, or at the end: unpins what is ready or kept, lets reads in flight end and frees their slots.
void ExpertRunner::Drain() {
  for (uint32_t i = 0; i < ready_count_; ++i) cache_.Unpin(tasks_[ready_[i]].slot);
  ready_count_ = missing_count_ = next_missing_ = 0;
  DropPredicted();
  while (!hung_ && flights_ != 0) {
    ReadDone done[kReadDepth];
    uint32_t ended = 0;
    if (!reader_->Wait(done, &ended).ok()) {
      hung_ = true;
      return;
    }
    for (uint32_t i = 0; i < ended; ++i) {
      const Flight &flight = flight_[done[i].tag];
      uint32_t bytes = VariantOf(flight.layer, flight.expert).record_bytes;
      flight_bytes_ -= bytes;
      schedule_.Ended(bytes, flight_bytes_, true, clock_->Now());
      cache_.Abandon(flight.slot);
      Release(done[i].tag);
    }
  }
  awaited_ = 0;
}

}  // namespace emoe::rt
