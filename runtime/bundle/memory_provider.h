// A bundle that lies in memory: calibration, tests.
#ifndef EMOE_RUNTIME_BUNDLE_MEMORY_PROVIDER_H_
#define EMOE_RUNTIME_BUNDLE_MEMORY_PROVIDER_H_

#include <string.h>

#include "runtime/bundle/bundle.h"
#include "runtime/bundle/checked.h"

namespace emoe::rt {

class MemoryProvider : public Provider {
 public:
  // The bytes must stay alive and unchanged as long as the provider.
  MemoryProvider(const void *bytes, uint64_t size) : bytes_(static_cast<const char *>(bytes)), size_(size) {}

  uint64_t size() const override { return size_; }
  Status Read(uint64_t offset, void *out, size_t bytes) override {
    if (!FitsIn(offset, bytes, size_)) return Error(StatusCode::kIo, "reading beyond the end of the bytes, at", offset);
    if (bytes > 0) memcpy(out, bytes_ + offset, bytes);
    return OkStatus();
  }

 private:
  const char *bytes_;
  uint64_t size_;
};

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_BUNDLE_MEMORY_PROVIDER_H_
