// What this CPU can run.
#include <string.h>

#include "runtime/image/image.h"

#if defined(__x86_64__)
#include <cpuid.h>
#elif defined(__aarch64__)
#include <sys/auxv.h>
#ifndef HWCAP_ASIMDDP
#define HWCAP_ASIMDDP (1 << 20)
#endif
#ifndef HWCAP2_I8MM
#define HWCAP2_I8MM (1 << 13)
#endif
#endif

namespace emoe::rt {

#if defined(__x86_64__)
uint16_t CpuMachine() { return EMOE_MACHINE_X86_64; }

uint64_t CpuFeatures() {
  unsigned a, b, c, d;
  constexpr unsigned kFma = 1u << 12, kOsxsave = 1u << 27, kAvx = 1u << 28, kF16c = 1u << 29;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return 0;
  constexpr unsigned kFirst = kFma | kOsxsave | kAvx | kF16c;
  if ((c & kFirst) != kFirst) return 0;
  // The operating system must save the registers too: XCR0 bits 1, 2 for ymm; 5, 6, 7 for zmm and masks.
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  if ((low & 0x6) != 0x6) return 0;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return 0;
  constexpr unsigned kAvx2 = 1u << 5, kBmi2 = 1u << 8;
  constexpr unsigned kAvx512 = 1u << 16 | 1u << 17 | 1u << 28 | 1u << 30 | 1u << 31;  // F, DQ, CD, BW, VL
  constexpr unsigned kVnni = 1u << 11;                                                // ecx
  uint64_t features = 0;
  if ((b & (kAvx2 | kBmi2)) != (kAvx2 | kBmi2)) return 0;
  features |= EMOE_CPU_AVX2;
  if ((low & 0xE6) == 0xE6 && (b & kAvx512) == kAvx512) {
    features |= EMOE_CPU_AVX512;
    if (c & kVnni) features |= EMOE_CPU_AVX512_VNNI;
  }
  constexpr unsigned kAvxVnni = 1u << 4;
  if (__get_cpuid_count(7, 1, &a, &b, &c, &d) && (a & kAvxVnni)) features |= EMOE_CPU_AVX_VNNI;
  return features;
}
#elif defined(__aarch64__)
uint16_t CpuMachine() { return EMOE_MACHINE_AARCH64; }

uint64_t CpuFeatures() {
  if (!(getauxval(AT_HWCAP) & HWCAP_ASIMDDP)) return 0;
  return EMOE_CPU_NEON_DOTPROD | (getauxval(AT_HWCAP2) & HWCAP2_I8MM ? EMOE_CPU_NEON_I8MM : 0);
}
#else
uint16_t CpuMachine() { return 0; }
uint64_t CpuFeatures() { return 0; }
#endif

Status ChooseImage(const Bundle &bundle, const char *isa, uint32_t *index) {
  const uint64_t features = CpuFeatures();
  int best = -1;
  for (uint32_t i = 0; i < bundle.images.size; ++i) {
    const Image &image = bundle.images[i];
    const bool runs = image.machine == CpuMachine() && (image.features & ~features) == 0;
    if (isa != nullptr) {
      if (strlen(isa) != image.isa.size || memcmp(isa, image.isa.data, image.isa.size) != 0) continue;
      if (!runs) {
        return Error(StatusCode::kUnsupported,
                     "this CPU cannot run the chosen instruction set; leave the choice to emoe-rt (missing features)",
                     image.features & ~features);
      }
      *index = i;
      return OkStatus();
    }
    // More features are better; of equals the later one, as the compiler lists them.
    if (runs && (best < 0 || __builtin_popcountll(image.features) >=
                                 __builtin_popcountll(bundle.images[static_cast<uint32_t>(best)].features))) {
      best = static_cast<int>(i);
    }
  }
  if (best < 0) {
    return isa != nullptr ? Error(StatusCode::kUnsupported, "the bundle has no kernels for the chosen instruction set")
                          : Error(StatusCode::kUnsupported,
                                  "the bundle has no kernels for this CPU; compile it with another --target (features)",
                                  features);
  }
  *index = static_cast<uint32_t>(best);
  return OkStatus();
}

}  // namespace emoe::rt
