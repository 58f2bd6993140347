// CRC-32C (Castagnoli), the checksum of everything in a bundle.
#ifndef EMOE_RUNTIME_BUNDLE_CRC32C_H_
#define EMOE_RUNTIME_BUNDLE_CRC32C_H_

#include <stddef.h>
#include <stdint.h>

namespace emoe::rt {

// The CRC of `bytes` bytes that follow data whose CRC is `before` (0: nothing before). Uses the CPU's instruction
// where it has one. Thread-safe.
uint32_t Crc32c(const void *data, size_t bytes, uint32_t before = 0);

// The same by tables alone, for CPUs without the instruction and as a reference.
uint32_t Crc32cPortable(const void *data, size_t bytes, uint32_t before = 0);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_CRC32C_H_
