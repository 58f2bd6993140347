// Weight layouts: from float values to the bytes that kernels read (schema/FORMAT.md, "weight layouts").
#ifndef EMOE_COMPILER_CODEGEN_PACK_H_
#define EMOE_COMPILER_CODEGEN_PACK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "dialects/emoe/emoe.h"

namespace emoe {

// Bytes of one panel (16 rows x columns) and of a whole matrix [rows, columns] in `layout`. Panels are whole: rows
// are padded to 16 and columns to 64 where the layout has groups. For panel = 1: rows * columns values, each row
// not padded, the whole rounded up to 64 bytes.
uint64_t panelBytes(LayoutAttr layout, int64_t columns);
uint64_t packedBytes(LayoutAttr layout, int64_t rows, int64_t columns);

// Packs one panel: `values` is [rows, columns] row-major, 1 <= rows <= 16; missing rows and columns are zeros.
// Round to nearest; integer scales are chosen per group to minimise squared error. OutOfRange if a value is not
// finite or does not fit the layout's float type, naming row and column.
absl::Status packPanel(LayoutAttr layout, const float *values, int64_t rows, int64_t columns, uint8_t *out);

// The values that kernels compute with, [rows, columns] row-major: the inverse of packPanel up to rounding.
void unpackPanel(LayoutAttr layout, const uint8_t *panel, int64_t rows, int64_t columns, float *values);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_PACK_H_
