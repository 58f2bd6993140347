// What a session did, in numbers.
#ifndef EMOE_RUNTIME_ENGINE_STATS_H_
#define EMOE_RUNTIME_ENGINE_STATS_H_

#include <stdint.h>

#include "runtime/experts/schedule.h"

namespace emoe::rt {

struct SessionStats {
  uint64_t tokens = 0;           // computed
  uint64_t hits = 0, misses = 0;  // records that a layer step needed: in memory, or not
  uint64_t bytes_read = 0;       // of records
  uint64_t rereads = 0;          // records and panels whose checksum was wrong at first
  uint64_t panels_read = 0, panel_bytes_read = 0;  // of paged tensors
  uint64_t stall_ns = 0;         // time in which nothing but reading went on
  uint64_t compute_ns = 0;       // time in which experts were computed
  // Records that a layer step needed and a predicted read had brought, or was bringing.
  uint64_t prefetch_hits = 0;
  PrefetchState prefetch = PrefetchState::kOff;
  PrefetchCounters predicted;
  double idle_share = 0;         // of the storage, since the first read
};

// One experts step, for measurements.
struct LayerTimes {
  uint32_t layer = 0, tokens = 0;
  uint32_t hits = 0, misses = 0;  // records in memory when the router had answered, or not
  uint64_t miss_bytes = 0;        // of the misses
  uint64_t begin = 0, end = 0;    // of the clock
  uint64_t hit_ns = 0, miss_ns = 0;  // computing the hits; checking and computing the misses
  uint64_t stall_ns = 0;             // waiting for reads
};

// The first record that could not be used, for the message.
struct RecordFailure {
  bool happened = false;
  uint32_t layer = 0, expert = 0, chunk = 0;
  uint64_t offset = 0;  // in the file, of the record
  uint32_t expected_crc = 0, actual_crc = 0;  // both 0: it could not be read
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_ENGINE_STATS_H_
