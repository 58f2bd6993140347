// Hand-written tile kernels: what generated ones are measured against (tile_bench --hand). They read the packed weights
// and q8 rows of schema/kernel_abi.h and sum in the order of emoe.tile_product, so their results are the same bits.
#ifndef EMOE_TEST_BENCH_HAND_KERNELS_H_
#define EMOE_TEST_BENCH_HAND_KERNELS_H_

#include <cstdint>

namespace emoe::bench {

// A constant, as it is in a generated kernel.
constexpr int64_t kHandColumns = 2048;

struct HandCall {
  const uint8_t *weights; // panel 0
  int64_t first, last;    // panels to compute
  const uint8_t *rows;    // q8 rows of kHandColumns, contiguous
  int64_t tokens;
  float *out;        // f32 rows
  int64_t outStride; // floats
};

// 8 and 4 bits in groups of 32; 3, 2 bits and ternary in groups of 128.
enum class HandWidth { Bits8, Bits4, Bits3, Bits2, Ternary };
using HandKernel = void (*)(const HandCall &call);

HandKernel handAvx512(HandWidth width); // VNNI
HandKernel handAvx2(HandWidth width);

// Independent dot-product instructions, `count` rounds; the operations (multiplications and additions) of a round.
struct DotPeak {
  void (*run)(int64_t count);
  int64_t operations;
};
DotPeak peakAvx512();
DotPeak peakAvx2();

} // namespace emoe::bench

#endif // EMOE_TEST_BENCH_HAND_KERNELS_H_
