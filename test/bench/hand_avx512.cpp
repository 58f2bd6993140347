// AVX-512 VNNI. Compiled with its instruction set; called only where the CPU has it.
#include <immintrin.h>

#include "test/bench/hand_kernels.h"

namespace emoe::bench {
namespace {

constexpr int64_t kAhead = 6 * 1024;
constexpr int64_t kRowBytes = kHandColumns + kHandColumns / 4; // codes, scales, sums

template <HandWidth kWidth> struct Format {
  static constexpr int64_t kGroup = kWidth == HandWidth::Bits8 || kWidth == HandWidth::Bits4 ? 32 : 128;
  static constexpr int64_t kSubgroup = kWidth == HandWidth::Bits8   ? 512 // bytes of 32 columns
                                       : kWidth == HandWidth::Bits4 ? 256
                                       : kWidth == HandWidth::Bits3 ? 192
                                                                    : 128;
  static constexpr int64_t kPayload = kWidth == HandWidth::Ternary ? 6 * 64 + 2 * 16 : kGroup / 32 * kSubgroup;
  static constexpr int64_t kBlock = 64 + 2 * kPayload;
  static constexpr bool kCentred = kWidth == HandWidth::Bits3 || kWidth == HandWidth::Bits2;
  static constexpr int kOffset = kWidth == HandWidth::Bits8   ? 128
                                 : kWidth == HandWidth::Bits4 ? 8
                                 : kWidth == HandWidth::Bits3 ? 7
                                 : kWidth == HandWidth::Bits2 ? 3
                                                              : 1;
};

inline __m512i line(const uint8_t *at) { return _mm512_loadu_si512(at); }
template <typename T> inline T value(const uint8_t *at) { return *reinterpret_cast<const T *>(at); }
inline __m512i four(const uint8_t *x) { return _mm512_set1_epi32(value<int32_t>(x)); }

// Adds to `dots` the products of 32 columns, `sub` of the group's.
template <HandWidth kWidth, int kRows>
inline void dot32(const uint8_t *payload, int sub, const uint8_t *x, __m512i *dots) {
  using F = Format<kWidth>;
  const uint8_t *at = payload + sub * F::kSubgroup;
  auto add = [&](__m512i codes, int dword) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      dots[m] = _mm512_dpbusd_epi32(dots[m], codes, four(x + m * kRowBytes + 4 * dword));
    }
  };
  const __m512i fifteen = _mm512_set1_epi8(15), three = _mm512_set1_epi8(3), one = _mm512_set1_epi8(4);
  if constexpr (kWidth == HandWidth::Bits8) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      add(line(at + 64 * d), d);
    }
  } else if constexpr (kWidth == HandWidth::Bits4) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; d += 2) {
      const __m512i both = line(at + 32 * d);
      add(_mm512_and_si512(both, fifteen), d);
      add(_mm512_and_si512(_mm512_srli_epi32(both, 4), fifteen), d + 1);
    }
  } else if constexpr (kWidth == HandWidth::Bits3) {
    const __m512i plane = line(at + 128);
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      const __m512i low = _mm512_and_si512(_mm512_srli_epi32(line(at + d / 4 * 64), d % 4 * 2), three);
      const __m512i high = d < 2 ? _mm512_slli_epi32(plane, 2 - d) : _mm512_srli_epi32(plane, d - 2);
      add(_mm512_ternarylogic_epi32(low, high, one, 0xf8), d); // low | (high & 4)
    }
  } else if constexpr (kWidth == HandWidth::Bits2) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      add(_mm512_and_si512(_mm512_srli_epi32(line(at + d / 4 * 64), d % 4 * 2), three), d);
    }
  } else {
    // Digits by comparison of the fraction with a third and two thirds.
    const __m512i third = _mm512_set1_epi8(85), two = _mm512_set1_epi8(static_cast<char>(170)),
                  unit = _mm512_set1_epi8(1);
    int dword = 8 * sub;
    __m512i x5 = _mm512_setzero_si512();
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d, ++dword) {
      if (dword >= 30) {
        __m512i bytes =
            _mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i *>(payload + 384 + 16 * (dword - 30))));
        bytes = _mm512_or_si512(_mm512_or_si512(bytes, _mm512_slli_epi32(bytes, 6)),
                                _mm512_or_si512(_mm512_slli_epi32(bytes, 12), _mm512_slli_epi32(bytes, 18)));
        add(_mm512_and_si512(bytes, three), d);
        continue;
      }
      if (d == 0 || dword % 5 == 0) {
        x5 = line(payload + dword / 5 * 64);
        for (int digit = 0; digit < dword % 5; ++digit) {
          x5 = _mm512_add_epi8(x5, _mm512_add_epi8(x5, x5));
        }
      }
      const __mmask64 above = _mm512_cmpgt_epu8_mask(x5, third), beyond = _mm512_cmpgt_epu8_mask(x5, two);
      __m512i codes = _mm512_maskz_mov_epi8(above, unit);
      codes = _mm512_mask_add_epi8(codes, beyond, codes, unit);
      add(codes, d);
      x5 = _mm512_add_epi8(x5, _mm512_add_epi8(x5, x5));
    }
  }
}

template <HandWidth kWidth, int kRows> void block(const HandCall &call, const uint8_t *panel, int64_t row, float *out) {
  using F = Format<kWidth>;
  const uint8_t *x = call.rows + row * kRowBytes, *scale = x + kHandColumns;
  __m512 sums[kRows];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    sums[m] = _mm512_setzero_ps();
  }
  for (int64_t b = 0; b < kHandColumns / (2 * F::kGroup); ++b, panel += F::kBlock) {
    for (int64_t at = 0; at < F::kBlock; at += 64) {
      _mm_prefetch(reinterpret_cast<const char *>(panel + kAhead + at), _MM_HINT_T0);
    }
#pragma GCC unroll 2
    for (int half = 0; half < 2; ++half) {
      __m512 w = _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(panel + 32 * half)));
      if (F::kCentred) {
        w = _mm512_mul_ps(w, _mm512_set1_ps(0.5f));
      }
#pragma GCC unroll 4
      for (int sub = 0; sub < F::kGroup / 32; ++sub) {
        __m512i dots[kRows];
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          dots[m] = _mm512_setzero_si512();
        }
        dot32<kWidth, kRows>(panel + 64 + half * F::kPayload, sub, x, dots);
#pragma GCC unroll 8
        for (int m = 0; m < kRows; ++m) {
          __m512i d = F::kCentred ? _mm512_slli_epi32(dots[m], 1) : dots[m];
          d = _mm512_sub_epi32(
              d, _mm512_set1_epi32(value<int32_t>(scale + m * kRowBytes + kHandColumns / 8) * F::kOffset));
          sums[m] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(d),
                                    _mm512_mul_ps(w, _mm512_set1_ps(value<float>(scale + m * kRowBytes))), sums[m]);
        }
        x += 32, scale += 4;
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    _mm512_storeu_ps(out + (row + m) * call.outStride, sums[m]);
  }
}

template <HandWidth kWidth> void kernel(const HandCall &call) {
  const int64_t bytes = kHandColumns / (2 * Format<kWidth>::kGroup) * Format<kWidth>::kBlock;
  for (int64_t p = call.first; p < call.last; ++p) {
    const uint8_t *panel = call.weights + p * bytes;
    float *out = call.out + 16 * p;
    int64_t row = 0;
    for (; row + 8 <= call.tokens; row += 8) {
      block<kWidth, 8>(call, panel, row, out);
    }
    for (; row + 4 <= call.tokens; row += 4) {
      block<kWidth, 4>(call, panel, row, out);
    }
    for (; row + 2 <= call.tokens; row += 2) {
      block<kWidth, 2>(call, panel, row, out);
    }
    for (; row < call.tokens; ++row) {
      block<kWidth, 1>(call, panel, row, out);
    }
  }
}

void peak(int64_t count) {
  const __m512i x = _mm512_set1_epi8(3);
  __m512i a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x;
  for (int64_t i = 0; i < count; ++i) {
    a = _mm512_dpbusd_epi32(a, x, x);
    b = _mm512_dpbusd_epi32(b, x, x);
    c = _mm512_dpbusd_epi32(c, x, x);
    d = _mm512_dpbusd_epi32(d, x, x);
    e = _mm512_dpbusd_epi32(e, x, x);
    f = _mm512_dpbusd_epi32(f, x, x);
    g = _mm512_dpbusd_epi32(g, x, x);
    h = _mm512_dpbusd_epi32(h, x, x);
    __asm__ volatile("" : "+v"(a), "+v"(b), "+v"(c), "+v"(d), "+v"(e), "+v"(f), "+v"(g), "+v"(h));
  }
}

} // namespace

HandKernel handAvx512(HandWidth width) {
  switch (width) {
  case HandWidth::Bits8:
    return kernel<HandWidth::Bits8>;
  case HandWidth::Bits4:
    return kernel<HandWidth::Bits4>;
  case HandWidth::Bits3:
    return kernel<HandWidth::Bits3>;
  case HandWidth::Bits2:
    return kernel<HandWidth::Bits2>;
  case HandWidth::Ternary:
    return kernel<HandWidth::Ternary>;
  }
  return nullptr;
}

DotPeak peakAvx512() { return {peak, 8 * 16 * 4 * 2}; }

} // namespace emoe::bench
