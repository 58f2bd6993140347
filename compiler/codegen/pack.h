// Weight layouts: from float values, or from codes and scales, to the bytes that kernels read (schema/FORMAT.md, "weight
// layouts"). Choosing codes and scales is compiler/codegen/round.h.
#ifndef EMOE_COMPILER_CODEGEN_PACK_H_
#define EMOE_COMPILER_CODEGEN_PACK_H_

#include <cstdint>

#include "absl/status/status.h"
#include "dialects/emoe/emoe.h"

namespace emoe {

// Bytes of one panel (16 rows x columns) and of a whole matrix [rows, columns] in `layout`. Panels are whole: rows
// are padded to 16 and columns to 64 where the layout has groups; a matrix of such panels to 64 bytes. For panel = 1:
// rows * columns values, each row not padded, the whole rounded up to 64 bytes.
uint64_t panelBytes(LayoutAttr layout, int64_t columns);
uint64_t packedBytes(LayoutAttr layout, int64_t rows, int64_t columns);

// Bytes of a vector of biases that lies behind the panels of a matrix with so many rows: f32, padded to 64 bytes.
inline uint64_t biasBytes(int64_t rows) { return (static_cast<uint64_t>(rows) + 15) / 16 * 64; }

// Stored bits of a weight in a full panel with so many columns: codes, scales and the padding of columns.
double storedBits(LayoutAttr layout, int64_t columns);

// What codes stand for in a layout with scales: value = (code + first) * scale, code in 0 .. levels - 1.
struct Grid {
  int levels;
  float first;
};
Grid gridOf(LayoutAttr layout);

// Scales in a row: one per `group` columns, the last of what is left.
int64_t scalesPerRow(LayoutAttr layout, int64_t columns);

// The scale that is stored for `scale`: f16. Infinite if it is too large.
float storedScale(float scale);

// Packs one panel: `values` is [rows, columns] row-major, 1 <= rows <= 16; missing rows and columns are zeros.
// Round to nearest; scales are chosen per group to minimise squared error (roundToNearest). OutOfRange if a value is not
// finite or does not fit the layout's float type, naming row and column.
absl::Status packPanel(LayoutAttr layout, const float *values, int64_t rows, int64_t columns, uint8_t *out);

// Packs one panel of given codes [rows, columns] and scales [rows, scalesPerRow], 1 <= rows <= 16. Scales are rounded to
// f16: who chooses codes by a scale rounds it first. OutOfRange if a code is no level or a scale is not finite as f16.
absl::Status packCodes(LayoutAttr layout, const uint8_t *codes, const float *scales, int64_t rows, int64_t columns,
                       uint8_t *out);

// The values that kernels compute with, [rows, columns] row-major: the inverse of packPanel up to rounding.
void unpackPanel(LayoutAttr layout, const uint8_t *panel, int64_t rows, int64_t columns, float *values);

// Where a group of columns lies in a panel; offsets in bytes. Groups lie in blocks of two (one if the last is alone): 32
// bytes of scales for each, then the payload of each.
struct GroupPlace {
  int64_t scales, payload;
  int64_t columns;  // that are stored: a multiple of 32
};
GroupPlace groupPlace(LayoutAttr layout, int64_t columns, int64_t group);
// Groups that are stored, those of padding included.
int64_t storedGroups(LayoutAttr layout, int64_t columns);
// Bytes of a whole block.
int64_t blockBytes(LayoutAttr layout);
// Bytes of the payload of a group with so many stored columns.
int64_t payloadBytes(LayoutAttr layout, int64_t columns);

// Ternary payload: `units` of 64 bytes with 5 codes in each byte, then `pieces` of 16 bytes with 4 codes in each.
struct TernaryPayload {
  int64_t units, pieces;
};
TernaryPayload ternaryPayload(int64_t columns);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_PACK_H_
