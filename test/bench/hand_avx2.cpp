// AVX2 without dot products. Compiled with its instruction set; called only where the CPU has it. A panel is two halves
// of 8 outputs; pairs of products are summed in 16 bits, which is exact for codes of up to 4 bits over 32 columns.
#include <immintrin.h>

#include "test/bench/hand_kernels.h"

namespace emoe::bench {
namespace {

constexpr int64_t kAhead = 6 * 1024;
constexpr int64_t kRowBytes = kHandColumns + kHandColumns / 4; // codes, scales, sums

template <HandWidth kWidth> struct Format {
  static constexpr int64_t kGroup = kWidth == HandWidth::Bits8 || kWidth == HandWidth::Bits4 ? 32 : 128;
  static constexpr int64_t kSubgroup = kWidth == HandWidth::Bits8   ? 512
                                       : kWidth == HandWidth::Bits4 ? 256
                                       : kWidth == HandWidth::Bits3 ? 192
                                                                    : 128;
  static constexpr int64_t kPayload = kWidth == HandWidth::Ternary ? 6 * 64 + 2 * 16 : kGroup / 32 * kSubgroup;
  static constexpr int64_t kBlock = 64 + 2 * kPayload;
  static constexpr bool kCentred = kWidth == HandWidth::Bits3 || kWidth == HandWidth::Bits2;
  static constexpr int kOffset = kWidth == HandWidth::Bits8   ? 0
                                 : kWidth == HandWidth::Bits4 ? 8
                                 : kWidth == HandWidth::Bits3 ? 7
                                 : kWidth == HandWidth::Bits2 ? 3
                                                              : 1;
};

inline __m256i line(const uint8_t *at) { return _mm256_loadu_si256(reinterpret_cast<const __m256i *>(at)); }
template <typename T> inline T value(const uint8_t *at) { return *reinterpret_cast<const T *>(at); }
inline __m256i four(const uint8_t *x) { return _mm256_set1_epi32(value<int32_t>(x)); }

// The dots of 32 columns for 8 outputs: i32.
template <HandWidth kWidth, int kRows>
inline void dot32(const uint8_t *payload, int half, int sub, const uint8_t *x, __m256i *dots) {
  using F = Format<kWidth>;
  const uint8_t *at = payload + sub * F::kSubgroup + 32 * half;
  const __m256i ones = _mm256_set1_epi16(1);
  if constexpr (kWidth == HandWidth::Bits8) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      const __m256i w = _mm256_xor_si256(line(at + 64 * d), _mm256_set1_epi8(-128)), magnitude = _mm256_abs_epi8(w);
#pragma GCC unroll 8
      for (int m = 0; m < kRows; ++m) {
        const __m256i pairs = _mm256_maddubs_epi16(magnitude, _mm256_sign_epi8(four(x + m * kRowBytes + 4 * d), w));
        const __m256i sum = _mm256_madd_epi16(pairs, ones);
        dots[m] = d ? _mm256_add_epi32(dots[m], sum) : sum;
      }
    }
    return;
  }
  __m256i words[kRows];
  auto add = [&](__m256i codes, int dword) {
#pragma GCC unroll 8
    for (int m = 0; m < kRows; ++m) {
      const __m256i pairs = _mm256_maddubs_epi16(codes, four(x + m * kRowBytes + 4 * dword));
      words[m] = dword ? _mm256_add_epi16(words[m], pairs) : pairs;
    }
  };
  const __m256i fifteen = _mm256_set1_epi8(15), three = _mm256_set1_epi8(3), bit = _mm256_set1_epi8(4);
  if constexpr (kWidth == HandWidth::Bits4) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; d += 2) {
      const __m256i both = line(at + 32 * d);
      add(_mm256_and_si256(both, fifteen), d);
      add(_mm256_and_si256(_mm256_srli_epi32(both, 4), fifteen), d + 1);
    }
  } else if constexpr (kWidth == HandWidth::Bits3) {
    const __m256i plane = line(at + 128);
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      const __m256i low = _mm256_and_si256(_mm256_srli_epi32(line(at + d / 4 * 64), d % 4 * 2), three);
      const __m256i high = d < 2 ? _mm256_slli_epi32(plane, 2 - d) : _mm256_srli_epi32(plane, d - 2);
      add(_mm256_or_si256(low, _mm256_and_si256(high, bit)), d);
    }
  } else if constexpr (kWidth == HandWidth::Bits2) {
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d) {
      add(_mm256_and_si256(_mm256_srli_epi32(line(at + d / 4 * 64), d % 4 * 2), three), d);
    }
  } else if constexpr (kWidth == HandWidth::Ternary) {
    // Fractions plus a half: tripling keeps them so, and signed comparisons give minus a digit.
    const __m256i third = _mm256_set1_epi8(-43), two = _mm256_set1_epi8(42), zero = _mm256_setzero_si256();
    int dword = 8 * sub;
    __m256i x5 = zero;
#pragma GCC unroll 8
    for (int d = 0; d < 8; ++d, ++dword) {
      if (dword >= 30) {
        __m256i bytes = _mm256_cvtepu8_epi32(
            _mm_loadl_epi64(reinterpret_cast<const __m128i *>(payload + 384 + 16 * (dword - 30) + 8 * half)));
        bytes = _mm256_or_si256(_mm256_or_si256(bytes, _mm256_slli_epi32(bytes, 6)),
                                _mm256_or_si256(_mm256_slli_epi32(bytes, 12), _mm256_slli_epi32(bytes, 18)));
        add(_mm256_and_si256(bytes, three), d);
        continue;
      }
      if (d == 0 || dword % 5 == 0) {
        x5 = _mm256_xor_si256(line(payload + dword / 5 * 64 + 32 * half), _mm256_set1_epi8(-128));
        for (int digit = 0; digit < dword % 5; ++digit) {
          x5 = _mm256_add_epi8(x5, _mm256_add_epi8(x5, x5));
        }
      }
      add(_mm256_sub_epi8(_mm256_sub_epi8(zero, _mm256_cmpgt_epi8(x5, third)), _mm256_cmpgt_epi8(x5, two)), d);
      x5 = _mm256_add_epi8(x5, _mm256_add_epi8(x5, x5));
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    dots[m] = _mm256_madd_epi16(words[m], ones);
  }
}

template <HandWidth kWidth, int kRows> void block(const HandCall &call, const uint8_t *panel, int64_t row, float *out) {
  using F = Format<kWidth>;
  const uint8_t *x = call.rows + row * kRowBytes, *scale = x + kHandColumns;
  __m256 sums[2][kRows];
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    sums[0][m] = sums[1][m] = _mm256_setzero_ps();
  }
  for (int64_t b = 0; b < kHandColumns / (2 * F::kGroup); ++b, panel += F::kBlock) {
    for (int64_t at = 0; at < F::kBlock; at += 64) {
      _mm_prefetch(reinterpret_cast<const char *>(panel + kAhead + at), _MM_HINT_T0);
    }
#pragma GCC unroll 2
    for (int group = 0; group < 2; ++group) {
#pragma GCC unroll 4
      for (int sub = 0; sub < F::kGroup / 32; ++sub) {
#pragma GCC unroll 2
        for (int half = 0; half < 2; ++half) {
          __m256 w =
              _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(panel + 32 * group + 16 * half)));
          if (F::kCentred) {
            w = _mm256_mul_ps(w, _mm256_set1_ps(0.5f));
          }
          __m256i dots[kRows];
          dot32<kWidth, kRows>(panel + 64 + group * F::kPayload, half, sub, x, dots);
#pragma GCC unroll 8
          for (int m = 0; m < kRows; ++m) {
            __m256i d = F::kCentred ? _mm256_slli_epi32(dots[m], 1) : dots[m];
            if (F::kOffset) {
              d = _mm256_sub_epi32(
                  d, _mm256_set1_epi32(value<int32_t>(scale + m * kRowBytes + kHandColumns / 8) * F::kOffset));
            }
            sums[half][m] =
                _mm256_fmadd_ps(_mm256_cvtepi32_ps(d),
                                _mm256_mul_ps(w, _mm256_set1_ps(value<float>(scale + m * kRowBytes))), sums[half][m]);
          }
        }
        x += 32, scale += 4;
      }
    }
  }
#pragma GCC unroll 8
  for (int m = 0; m < kRows; ++m) {
    _mm256_storeu_ps(out + (row + m) * call.outStride, sums[0][m]);
    _mm256_storeu_ps(out + (row + m) * call.outStride + 8, sums[1][m]);
  }
}

template <HandWidth kWidth> void kernel(const HandCall &call) {
  const int64_t bytes = kHandColumns / (2 * Format<kWidth>::kGroup) * Format<kWidth>::kBlock;
  for (int64_t p = call.first; p < call.last; ++p) {
    const uint8_t *panel = call.weights + p * bytes;
    float *out = call.out + 16 * p;
    int64_t row = 0;
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
  const __m256i x = _mm256_set1_epi8(3);
  __m256i a = x, b = x, c = x, d = x, e = x, f = x, g = x, h = x;
  for (int64_t i = 0; i < count; ++i) {
    a = _mm256_maddubs_epi16(a, x);
    b = _mm256_maddubs_epi16(b, x);
    c = _mm256_maddubs_epi16(c, x);
    d = _mm256_maddubs_epi16(d, x);
    e = _mm256_maddubs_epi16(e, x);
    f = _mm256_maddubs_epi16(f, x);
    g = _mm256_maddubs_epi16(g, x);
    h = _mm256_maddubs_epi16(h, x);
    __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d), "+x"(e), "+x"(f), "+x"(g), "+x"(h));
  }
}

} // namespace

HandKernel handAvx2(HandWidth width) {
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

DotPeak peakAvx2() { return {peak, 8 * 32 * 2}; }

} // namespace emoe::bench
