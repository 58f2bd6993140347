// How fast this machine's memory can be read: the roof of decoding.
#ifndef EMOE_TOOLS_EMOE_RT_READ_SPEED_H_
#define EMOE_TOOLS_EMOE_RT_READ_SPEED_H_

#include <stdint.h>

namespace emoe::rt {

// Bytes a second that `threads` threads read of 256 MiB together: the best of seven rounds. 0: it could not be measured.
// A process of its own holds the memory, so the caller's budget is not touched.
double MeasureReadSpeed(uint32_t threads);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_READ_SPEED_H_
