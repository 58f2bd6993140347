// Which buffers share memory: buffers that are never live together get the same slot.
#ifndef EMOE_COMPILER_SCHEDULE_BUFFERS_H_
#define EMOE_COMPILER_SCHEDULE_BUFFERS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

namespace emoe {

// A buffer of fixed + perToken * rows bytes, live from the step `first` that writes it to the step `last` that uses it.
struct BufferLife {
  uint64_t fixed = 0, perToken = 0;
  bool wanted = false;
  size_t first = 0, last = 0;
  bool source = false;
};

// The slot of each buffer. A step's inputs and outputs never share one. Greedy by size: a buffer takes the free slot
// that grows least, so that the sum over slots of their largest buffer stays small. Deterministic.
std::vector<size_t> assignSlots(const std::vector<BufferLife> &buffers);

} // namespace emoe

#endif // EMOE_COMPILER_SCHEDULE_BUFFERS_H_
