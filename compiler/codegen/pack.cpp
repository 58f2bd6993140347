// Sizes and bytes of packed weights.
#include "compiler/codegen/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>
#include <iterator>
#include <vector>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/half.h"
#include "compiler/codegen/round.h"
#include "schema/kernel_abi.h"

namespace emoe {
namespace {

constexpr int64_t kRows = EMOE_PANEL_ROWS, kGroup = EMOE_GROUP;
constexpr int64_t kPaddedColumns = 64;                             // widths of packed rows are multiples of it
constexpr int64_t kScaleBytes = kRows * sizeof(uint16_t);          // of a group
constexpr int64_t kUnitBytes = 4 * kRows;                          // four bytes for each row
constexpr int64_t kTernaryUnit = 5, kPowers[] = {1, 3, 9, 27, 81}; // dwords of a unit; of their digits

int64_t roundUp(int64_t value, int64_t multiple) { return (value + multiple - 1) / multiple * multiple; }

absl::Status unfit(const char *what, float value, int64_t row, int64_t column) {
  return absl::OutOfRangeError(absl::StrCat("weight value ", value, " at row ", row, ", column ", column, " ", what));
}

bool isTernary(LayoutAttr layout) { return layout.getCodebook() == Codebook::Ternary; }

// The code of missing columns: value 0, or the lowest where there is no 0.
int paddingCode(LayoutAttr layout) {
  return layout.getCodebook() == Codebook::Centred ? 0 : static_cast<int>(-gridOf(layout).first);
}

// Codes of one group, [rows of the panel, stored columns].
constexpr int64_t kMostCodes = kRows * 256;

void encodeTernary(const uint8_t *codes, int64_t columns, uint8_t *payload) {
  const TernaryPayload parts = ternaryPayload(columns);
  for (int64_t row = 0; row < kRows; ++row) {
    const uint8_t *from = codes + row * columns;
    for (int64_t byte = 0; byte < 4 * parts.units; ++byte) {
      const int64_t unit = byte / 4, i = byte % 4;
      int value = 0;
      for (int64_t digit = 0; digit < kTernaryUnit; ++digit) {
        value = 3 * value + from[4 * (kTernaryUnit * unit + digit) + i];
      }
      // The least byte whose fraction of 256 begins with these digits.
      payload[unit * kUnitBytes + row * 4 + i] = static_cast<uint8_t>((value * 256 + 242) / 243);
    }
    for (int64_t piece = 0; piece < parts.pieces; ++piece) {
      const uint8_t *four = from + 4 * (kTernaryUnit * parts.units + piece);
      payload[parts.units * kUnitBytes + piece * kRows + row] =
          static_cast<uint8_t>(four[0] | four[1] << 2 | four[2] << 4 | four[3] << 6);
    }
  }
}

uint8_t decodeTernary(const uint8_t *payload, int64_t columns, int64_t row, int64_t column) {
  const TernaryPayload parts = ternaryPayload(columns);
  const int64_t dword = column / 4, i = column % 4, unit = dword / kTernaryUnit;
  if (unit >= parts.units) {
    const int64_t piece = dword - kTernaryUnit * parts.units;
    return payload[parts.units * kUnitBytes + piece * kRows + row] >> (2 * i) & 3;
  }
  const int fraction = payload[unit * kUnitBytes + row * 4 + i] * kPowers[dword % kTernaryUnit] & 255;
  return static_cast<uint8_t>(fraction * 3 >> 8);
}

// Bytes of 32 columns whose payload does not depend on the columns around them.
int64_t subgroupBytes(unsigned bits) { return kGroup * kRows * bits / 8; }

// Calls visit(byte, shift, mask, code bit) for each piece of the code at `column` (below 32) of `row`.
template <typename Visitor> void visitCode(unsigned bits, int64_t row, int64_t column, Visitor &&visit) {
  const int64_t dword = column / 4, in = row * 4 + column % 4;
  if (bits == 8) {
    visit(dword * kUnitBytes + in, 0, 255, 0);
  } else if (bits == 4) {
    visit(dword / 2 * kUnitBytes + in, dword % 2 * 4, 15, 0);
  } else {
    visit(dword / 4 * kUnitBytes + in, dword % 4 * 2, 3, 0);
    if (bits == 3) {
      visit(2 * kUnitBytes + in, dword, 1, 2);
    }
  }
}

uint32_t loadDword(const uint8_t *from) {
  uint32_t dword;
  std::memcpy(&dword, from, sizeof(dword));
  return dword;
}

void encodeGroup(LayoutAttr layout, const uint8_t *codes, int64_t columns, uint8_t *payload) {
  std::memset(payload, 0, payloadBytes(layout, columns));
  if (isTernary(layout)) {
    encodeTernary(codes, columns, payload);
    return;
  }
  const unsigned bits = layout.getBits();
  for (int64_t row = 0; row < kRows; ++row) {
    // Four codes at once: they go to four neighbouring bytes.
    for (int64_t column = 0; column < columns; column += 4) {
      uint8_t *subgroup = payload + column / kGroup * subgroupBytes(bits);
      const uint32_t four = loadDword(codes + row * columns + column);
      visitCode(bits, row, column % kGroup, [&](int64_t byte, int64_t shift, unsigned mask, int64_t bit) {
        const uint32_t all = loadDword(subgroup + byte) | (four >> bit & mask * 0x01010101u) << shift;
        std::memcpy(subgroup + byte, &all, sizeof(all));
      });
    }
  }
}

int decodeCode(LayoutAttr layout, const uint8_t *payload, int64_t columns, int64_t row, int64_t column) {
  if (isTernary(layout)) {
    return decodeTernary(payload, columns, row, column);
  }
  const uint8_t *subgroup = payload + column / kGroup * subgroupBytes(layout.getBits());
  int code = 0;
  visitCode(layout.getBits(), row, column % kGroup, [&](int64_t byte, int64_t shift, unsigned mask, int64_t bit) {
    code += static_cast<int>((subgroup[byte] >> shift & mask) << bit);
  });
  return code;
}

absl::Status packFloats(LayoutAttr layout, const float *values, int64_t rows, int64_t columns, uint8_t *out) {
  const bool row_major = layout.getPanel() == 1;
  const int64_t width = layout.getBits() / 8;
  if (!row_major) {
    std::memset(out, 0, columns * kRows * width);
  }
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float value = values[row * columns + column];
      if (!std::isfinite(value)) {
        return unfit("is not finite", value, row, column);
      }
      uint8_t *at = out + (row_major ? row * columns + column : column * kRows + row) * width;
      if (width == 4) {
        std::memcpy(at, &value, 4);
        continue;
      }
      const bool half = layout.getType() == FloatType::F16;
      uint16_t bits = half ? floatToHalf(value) : floatToBf16(value);
      if (std::isinf(half ? halfToFloat(bits) : bf16ToFloat(bits))) {
        return unfit(half ? "is too large for f16; choose bf16 or f32" : "is too large for bf16; choose f32", value, row,
                     column);
      }
      std::memcpy(at, &bits, 2);
    }
  }
  return absl::OkStatus();
}

} // namespace

uint64_t panelBytes(LayoutAttr layout, int64_t columns) {
  if (!layout.hasScales()) {
    return static_cast<uint64_t>(columns) * kRows * layout.getBits() / 8;
  }
  const GroupPlace last = groupPlace(layout, columns, storedGroups(layout, columns) - 1);
  return roundUp(last.payload + payloadBytes(layout, last.columns), 32);
}

uint64_t packedBytes(LayoutAttr layout, int64_t rows, int64_t columns) {
  if (layout.getPanel() == 1) {
    return roundUp(rows * columns * layout.getBits() / 8, 64);
  }
  return roundUp(roundUp(rows, kRows) / kRows * panelBytes(layout, columns), layout.hasScales() ? 64 : 1);
}

double storedBits(LayoutAttr layout, int64_t columns) {
  return 8.0 * static_cast<double>(panelBytes(layout, columns)) / static_cast<double>(kRows * columns);
}

Grid gridOf(LayoutAttr layout) {
  switch (layout.getCodebook()) {
  case Codebook::Ternary:
    return {3, -1};
  case Codebook::Centred:
    return {1 << layout.getBits(), 0.5f - static_cast<float>(1 << (layout.getBits() - 1))};
  default:
    return layout.getBits() == 8 ? Grid{256, -128} : Grid{16, -8};
  }
}

int64_t scalesPerRow(LayoutAttr layout, int64_t columns) { return (columns + layout.getGroup() - 1) / layout.getGroup(); }

float storedScale(float scale) { return halfToFloat(floatToHalf(scale)); }

int64_t storedGroups(LayoutAttr layout, int64_t columns) {
  return scalesPerRow(layout, roundUp(columns, kPaddedColumns));
}

TernaryPayload ternaryPayload(int64_t columns) {
  const int64_t dwords = columns / 4;
  return {dwords / kTernaryUnit, dwords % kTernaryUnit};
}

int64_t payloadBytes(LayoutAttr layout, int64_t columns) {
  if (isTernary(layout)) {
    const TernaryPayload parts = ternaryPayload(columns);
    return parts.units * kUnitBytes + parts.pieces * kRows;
  }
  return columns / kGroup * subgroupBytes(layout.getBits());
}

int64_t blockBytes(LayoutAttr layout) { return 2 * (kScaleBytes + payloadBytes(layout, layout.getGroup())); }

GroupPlace groupPlace(LayoutAttr layout, int64_t columns, int64_t group) {
  const int64_t width = layout.getGroup(), padded = roundUp(columns, kPaddedColumns);
  const int64_t block = group / 2 * blockBytes(layout), second = group % 2;
  const bool alone = second == 0 && (group + 1) * width >= padded;
  const int64_t payload = block + (alone ? 1 : 2) * kScaleBytes + second * payloadBytes(layout, width);
  return {block + second * kScaleBytes, payload, std::min(width, padded - group * width)};
}

absl::Status packCodes(LayoutAttr layout, const uint8_t *codes, const float *scales, int64_t rows, int64_t columns,
                       uint8_t *out) {
  if (!layout.isPacked()) {
    return absl::UnimplementedError("weights with scales are packed in groups of 32, 64, 128 or 256 with panel = 16, f16 "
                                    "scales and zero_point = symmetric only");
  }
  const int64_t groups = scalesPerRow(layout, columns), width = layout.getGroup();
  const int levels = gridOf(layout).levels;
  std::memset(out, 0, panelBytes(layout, columns));
  for (int64_t g = 0; g < storedGroups(layout, columns); ++g) {
    const GroupPlace place = groupPlace(layout, columns, g);
    uint8_t group[kMostCodes];
    std::memset(group, paddingCode(layout), kRows * place.columns);
    const int64_t first = g * width, count = std::min(columns - first, width);
    for (int64_t row = 0; row < rows && g < groups; ++row) {
      const float scale = scales[row * groups + g];
      const uint16_t half = floatToHalf(scale);
      if (!std::isfinite(halfToFloat(half))) {
        return absl::OutOfRangeError(absl::StrCat("scale ", scale, " at row ", row, ", group ", g, " is not finite as f16"));
      }
      std::memcpy(out + place.scales + row * sizeof(half), &half, sizeof(half));
      const uint8_t *from = codes + row * columns + first;
      std::memcpy(group + row * place.columns, from, count);
      uint8_t most = 0;
      for (int64_t i = 0; i < count; ++i) {
        most = std::max(most, from[i]);
      }
      if (most >= levels) {
        return absl::OutOfRangeError(absl::StrCat("code ", most, " at row ", row, ", column ",
                                                  first + std::distance(from, std::find(from, from + count, most)),
                                                  " is none of the ", levels, " levels of the layout"));
      }
    }
    encodeGroup(layout, group, place.columns, out + place.payload);
  }
  return absl::OkStatus();
}

absl::Status packPanel(LayoutAttr layout, const float *values, int64_t rows, int64_t columns, uint8_t *out) {
  if (!layout.hasScales()) {
    return packFloats(layout, values, rows, columns, out);
  }
  if (!layout.isPacked()) {
    return packCodes(layout, nullptr, nullptr, 0, columns, out);
  }
  std::vector<uint8_t> codes(rows * columns);
  std::vector<float> scales(rows * scalesPerRow(layout, columns));
  absl::Status status = roundToNearest(layout, values, rows, columns, nullptr, codes.data(), scales.data());
  return status.ok() ? packCodes(layout, codes.data(), scales.data(), rows, columns, out) : status;
}

void unpackPanel(LayoutAttr layout, const uint8_t *panel, int64_t rows, int64_t columns, float *values) {
  const unsigned bits = layout.getBits();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float &value = values[row * columns + column];
      if (!layout.hasScales()) {
        const uint8_t *at =
            panel + (layout.getPanel() == 1 ? row * columns + column : column * kRows + row) * (bits / 8);
        uint16_t half;
        std::memcpy(&half, at, 2);
        if (bits == 32) {
          std::memcpy(&value, at, 4);
        } else {
          value = layout.getType() == FloatType::F16 ? halfToFloat(half) : bf16ToFloat(half);
        }
        continue;
      }
      const int64_t group = column / layout.getGroup();
      const GroupPlace place = groupPlace(layout, columns, group);
      uint16_t scale;
      std::memcpy(&scale, panel + place.scales + row * sizeof(scale), sizeof(scale));
      const int code = decodeCode(layout, panel + place.payload, place.columns, row, column - group * layout.getGroup());
      value = (static_cast<float>(code) + gridOf(layout).first) * halfToFloat(scale);
    }
  }
}

} // namespace emoe
