#include "runtime/bundle/crc32c.h"

#include <string.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <nmmintrin.h>
#elif defined(__aarch64__)
#include <arm_acle.h>
#include <sys/auxv.h>
#ifndef HWCAP_CRC32
#define HWCAP_CRC32 (1 << 7)
#endif
#endif

namespace emoe::rt {
namespace {

constexpr uint32_t kPolynomial = 0x82F63B78;  // reflected

// slice[k][b]: what byte b does to the CRC after k more bytes (slicing-by-8, Kounavis and Berry 2005).
struct Tables {
  uint32_t slice[8][256];
};

constexpr Tables MakeTables() {
  Tables t{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t crc = b;
    for (int bit = 0; bit < 8; ++bit) crc = (crc >> 1) ^ ((crc & 1) ? kPolynomial : 0);
    t.slice[0][b] = crc;
  }
  for (int k = 1; k < 8; ++k) {
    for (uint32_t b = 0; b < 256; ++b) {
      t.slice[k][b] = (t.slice[k - 1][b] >> 8) ^ t.slice[0][t.slice[k - 1][b] & 0xFF];
    }
  }
  return t;
}

constexpr Tables kTables = MakeTables();

uint32_t ByTables(const uint8_t *p, size_t n, uint32_t crc) {
  const auto &s = kTables.slice;
  for (; n >= 8; n -= 8, p += 8) {
    uint32_t low, high;
    memcpy(&low, p, 4);
    memcpy(&high, p + 4, 4);
    low ^= crc;
    crc = s[7][low & 0xFF] ^ s[6][(low >> 8) & 0xFF] ^ s[5][(low >> 16) & 0xFF] ^ s[4][low >> 24] ^
          s[3][high & 0xFF] ^ s[2][(high >> 8) & 0xFF] ^ s[1][(high >> 16) & 0xFF] ^ s[0][high >> 24];
  }
  for (; n > 0; --n, ++p) crc = (crc >> 8) ^ s[0][(crc ^ *p) & 0xFF];
  return crc;
}

// The CRC instruction takes three cycles but one can start in each: three streams of kStream bytes run side by side, and
// their CRCs are joined by what kStream zero bytes do to a CRC, a linear map (Gopal et al., Intel 2011).
constexpr size_t kStream = 1024;

struct ShiftTables {
  uint32_t byte[4][256];  // of byte k of the CRC
};

constexpr ShiftTables MakeShift() {
  ShiftTables t{};
  for (int bit = 0; bit < 32; ++bit) {
    uint32_t crc = uint32_t{1} << bit;
    for (size_t i = 0; i < kStream; ++i) crc = (crc >> 8) ^ kTables.slice[0][crc & 0xFF];
    for (uint32_t b = 0; b < 256; ++b) {
      if (b >> (bit % 8) & 1) t.byte[bit / 8][b] ^= crc;
    }
  }
  return t;
}

constexpr ShiftTables kShift = MakeShift();

uint32_t Shift(uint32_t crc) {
  return kShift.byte[0][crc & 0xFF] ^ kShift.byte[1][(crc >> 8) & 0xFF] ^ kShift.byte[2][(crc >> 16) & 0xFF] ^
         kShift.byte[3][crc >> 24];
}

inline uint64_t Word(const uint8_t *p) {
  uint64_t word;
  memcpy(&word, p, 8);
  return word;
}

using CrcFunction = uint32_t (*)(const uint8_t *, size_t, uint32_t);

#if defined(__x86_64__)
__attribute__((target("sse4.2"))) uint32_t ByInstruction(const uint8_t *p, size_t n, uint32_t crc) {
  for (; n >= 3 * kStream; n -= 3 * kStream, p += 2 * kStream) {
    uint64_t first = crc, second = 0, third = 0;
    for (const uint8_t *end = p + kStream; p != end; p += 8) {
      first = _mm_crc32_u64(first, Word(p));
      second = _mm_crc32_u64(second, Word(p + kStream));
      third = _mm_crc32_u64(third, Word(p + 2 * kStream));
    }
    crc = Shift(Shift(static_cast<uint32_t>(first)) ^ static_cast<uint32_t>(second)) ^ static_cast<uint32_t>(third);
  }
  uint64_t wide = crc;
  for (; n >= 8; n -= 8, p += 8) wide = _mm_crc32_u64(wide, Word(p));
  crc = static_cast<uint32_t>(wide);
  for (; n > 0; --n, ++p) crc = _mm_crc32_u8(crc, *p);
  return crc;
}

CrcFunction Choose() {
  unsigned a, b, c, d;
  return __get_cpuid(1, &a, &b, &c, &d) && (c & bit_SSE4_2) ? ByInstruction : ByTables;
}
#elif defined(__aarch64__)
#if defined(__clang__)
__attribute__((target("crc")))
#else
__attribute__((target("+crc")))
#endif
uint32_t ByInstruction(const uint8_t *p, size_t n, uint32_t crc) {
  for (; n >= 3 * kStream; n -= 3 * kStream, p += 2 * kStream) {
    uint32_t second = 0, third = 0;
    for (const uint8_t *end = p + kStream; p != end; p += 8) {
      crc = __crc32cd(crc, Word(p));
      second = __crc32cd(second, Word(p + kStream));
      third = __crc32cd(third, Word(p + 2 * kStream));
    }
    crc = Shift(Shift(crc) ^ second) ^ third;
  }
  for (; n >= 8; n -= 8, p += 8) crc = __crc32cd(crc, Word(p));
  for (; n > 0; --n, ++p) crc = __crc32cb(crc, *p);
  return crc;
}

CrcFunction Choose() { return (getauxval(AT_HWCAP) & HWCAP_CRC32) ? ByInstruction : ByTables; }
#else
CrcFunction Choose() { return ByTables; }
#endif

// Chosen at the first call; threads that race store the same value.
CrcFunction chosen = nullptr;

}  // namespace

uint32_t Crc32cPortable(const void *data, size_t bytes, uint32_t before) {
  return ~ByTables(static_cast<const uint8_t *>(data), bytes, ~before);
}

uint32_t Crc32c(const void *data, size_t bytes, uint32_t before) {
  CrcFunction function = __atomic_load_n(&chosen, __ATOMIC_RELAXED);
  if (function == nullptr) {
    function = Choose();
    __atomic_store_n(&chosen, function, __ATOMIC_RELAXED);
  }
  return ~function(static_cast<const uint8_t *>(data), bytes, ~before);
}

}  // namespace emoe::rt
