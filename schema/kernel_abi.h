// The contract between the compiler's generated kernels and the runtime that calls them. C99, freestanding.
//
// A kernel computes tiles [first_tile, last_tile) of its result. Tiles of one call are independent: the runtime
// runs them on any thread, in any order. A kernel touches only its operands, calls nothing, allocates nothing
// and keeps no state but what an operand holds (caches, recurrent states). Each output element is summed in one fixed
// order, whatever the tiles, tokens and threads.
//
// Row formats (every "rows" operand; R is the buffer's row stride, fixed by the kernel's specification):
//   f32 rows: row r at r * R floats; R is the width rounded up to 64. Producers write zeros into the padding.
//   q8 rows:  row r at r * R bytes, width W rounded up to 64: int8 q[W], then float scale[W/32], then
//             int32 sum[W/32]; value = q * scale of its group of 32, sum = the group's sum of q. R = W + W/4.
// All operands are 64-byte aligned.
#ifndef EMOE_SCHEMA_KERNEL_ABI_H_
#define EMOE_SCHEMA_KERNEL_ABI_H_

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

enum {
  EMOE_ABI_VERSION = 1,
  EMOE_MAX_OPERANDS = 12,
  EMOE_ROW_ALIGN = 64,      // elements; row widths are padded to it
  EMOE_PANEL_ROWS = 16,     // output rows in a panel of packed weights
  EMOE_GROUP = 32,          // columns that share a scale, of activations always, of weights by default
  EMOE_KV_BLOCK = 16        // positions in a block of the key cache; capacities are multiples of it
};

typedef struct emoe_kernel_args {
  void *operand[EMOE_MAX_OPERANDS];  // in the order that the kernel's family states
  int64_t tokens;                    // rows to compute, >= 1
  int64_t position;                  // absolute position of row 0 in the sequence
  int64_t capacity;                  // positions that the KV cache holds, a multiple of EMOE_KV_BLOCK
  const int32_t *rows_in;            // [tokens] row of the input for each row, or null: row i is row i
  const int32_t *rows_out;           // [tokens] row of the output for each row, or null
  int64_t source;                    // rows of the encoder's input; 0 without an encoder
} emoe_kernel_args;

typedef void (*emoe_kernel_fn)(const emoe_kernel_args *args, int64_t first_tile, int64_t last_tile);

// CPU features that a kernel image may require (bits of KernelImage.features in the index).
#define EMOE_CPU_AVX2 (1ull << 0)        // with FMA, F16C, BMI2: x86-64-v3
#define EMOE_CPU_AVX512 (1ull << 1)      // F, BW, DQ, VL, CD: x86-64-v4
#define EMOE_CPU_AVX512_VNNI (1ull << 2)
#define EMOE_CPU_AVX_VNNI (1ull << 3)    // the same dot products in 256 bits, without AVX-512
#define EMOE_CPU_NEON_DOTPROD (1ull << 16)
#define EMOE_CPU_NEON_I8MM (1ull << 17)  // products of 2 x 8 by 8 x 2 int8

// Machines that a kernel image is for.
enum { EMOE_MACHINE_X86_64 = 1, EMOE_MACHINE_AARCH64 = 2 };

#ifdef __cplusplus
}
#endif
#endif  // EMOE_SCHEMA_KERNEL_ABI_H_
