// A storage device of a stated speed, in front of a real reader: measurements do not depend on the disk at hand.
//
// The device is serial: a read of n bytes ends at max(now, end of the read before) + latency + n / bandwidth. Idle time
// is not saved up for later, so overlap of reading and computing shows as it would on such a device.
#ifndef EMOE_RUNTIME_IO_DEVICE_H_
#define EMOE_RUNTIME_IO_DEVICE_H_

#include "runtime/io/reader.h"

namespace emoe::rt {

struct DeviceModel {
  uint64_t bytes_per_second = 0;  // 0: no model, the storage as it is
  uint64_t latency_ns = 0;        // of each read
};

// Reads of `inner` end no earlier than the device's do, in the order in which they were submitted. `inner` must have
// nothing in flight, does its work while the clock is paused (a device costs the processor nothing), belongs to the new reader from now on, and should be faster than the device. Lives in `arena`.
Status MakeDeviceReader(Reader *inner, const DeviceModel &model, const Clock &clock, Arena *arena, Reader **out);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_IO_DEVICE_H_
