// Strict loader for kernel images: an ELF shared object without imports, relative relocations only, segments inside
// their own ranges, never writable and executable at once. The code itself is trusted as its author is.
#ifndef EMOE_RUNTIME_IMAGE_IMAGE_H_
#define EMOE_RUNTIME_IMAGE_IMAGE_H_

#include "runtime/bundle/bundle.h"
#include "schema/kernel_abi.h"

namespace emoe::rt {

struct LoadedImage {
  void *base = nullptr;
  size_t bytes = 0;         // mapped, anonymous
  uint32_t kernel_count = 0;
  const uint64_t *entries = nullptr;  // addresses relative to base
  emoe_kernel_fn kernel(uint32_t i) const {
    return reinterpret_cast<emoe_kernel_fn>(static_cast<char *>(base) + entries[i]);
  }
};

// EMOE_CPU_* of the CPU that runs this.
uint64_t CpuFeatures();
uint16_t CpuMachine();

// The best image that this CPU can run, or the one called `isa` (null: choose). kUnsupported names neither found.
Status ChooseImage(const Bundle &bundle, const char *isa, uint32_t *index);

// Maps and relocates the image. `elf` may be released afterwards. kBadBundle if any rule above is broken.
Status LoadImage(const void *elf, size_t bytes, const Image &image, LoadedImage *out);
void UnloadImage(LoadedImage *image);

}  // namespace emoe::rt

#endif  // EMOE_RUNTIME_IMAGE_IMAGE_H_
