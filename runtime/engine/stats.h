// What a session did, in numbers.
#ifndef EMOE_RUNTIME_ENGINE_STATS_H_
#define EMOE_RUNTIME_ENGINE_STATS_H_

#include <stdint.h>

namespace emoe::rt {

struct SessionStats {
  uint64_t tokens = 0;           // computed
  uint64_t hits = 0, misses = 0;  // records that a layer step needed: in memory, or not
  uint64_t bytes_read = 0;       // of records
  uint64_t rereads = 0;          // records whose checksum was wrong at first
  uint64_t stall_ns = 0;         // time in which nothing but reading went on
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
