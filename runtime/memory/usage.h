// What the process really uses.
#ifndef EMOE_RUNTIME_MEMORY_USAGE_H_
#define EMOE_RUNTIME_MEMORY_USAGE_H_

#include <stdint.h>

namespace emoe::rt {

// Anonymous memory of the process in bytes, RssAnon + RssShmem + VmSwap of /proc/self/status; 0 if it cannot be read.
uint64_t AnonymousBytes();

// MemAvailable of /proc/meminfo in bytes; 0 if it cannot be read.
uint64_t AvailableBytes();

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_MEMORY_USAGE_H_
