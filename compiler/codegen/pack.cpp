// Packing of weights into panels, and the choice of their scales.
#include "compiler/codegen/pack.h"

#include <algorithm>
#include <cmath>
#include <cstring>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/half.h"
#include "schema/kernel_abi.h"

namespace emoe {
namespace {

constexpr int64_t kRows = EMOE_PANEL_ROWS, kGroup = EMOE_GROUP;
constexpr int64_t kBlockColumns = 64;                                     // two groups and their scales
constexpr int64_t kScaleBytes = kBlockColumns / kGroup * kRows * sizeof(uint16_t);

uint64_t roundUp(uint64_t value, uint64_t multiple) { return (value + multiple - 1) / multiple * multiple; }
int64_t groupBytes(unsigned bits) { return kGroup * kRows * bits / 8; }
int64_t blockBytes(unsigned bits) { return kScaleBytes + kBlockColumns / kGroup * groupBytes(bits); }

absl::Status unfit(const char *what, float value, int64_t row, int64_t column) {
  return absl::OutOfRangeError(
      absl::StrCat("weight value ", value, " at row ", row, ", column ", column, " of the panel ", what));
}

// To nearest, ties to even, for |x| < 2^22. Compilers vectorise it on every target.
inline float roundEven(float x) {
  constexpr float kShift = 0x1.8p23f;
  return (x + kShift) - kShift;
}

struct Range {
  float low, high;
};

// q[i] = x[i] / scale, rounded and clamped to the range; returns the sum of squared errors. Eight partial sums let the
// compiler vectorise it in a fixed order.
float quantiseGroup(const float *x, float scale, Range range, float *q) {
  const float inverse = scale == 0 ? 0 : 1 / scale;
  float sums[8] = {};
  for (int64_t i = 0; i < kGroup; i += 8) {
    for (int64_t j = 0; j < 8; ++j) {
      // Clamped first: the quotient may be huge where the scale is subnormal.
      float value = roundEven(std::min(std::max(x[i + j] * inverse, range.low), range.high));
      float error = x[i + j] - value * scale;
      q[i + j] = value;
      sums[j] += error * error;
    }
  }
  return ((sums[0] + sums[4]) + (sums[1] + sums[5])) + ((sums[2] + sums[6]) + (sums[3] + sums[7]));
}

// Errors are compared in units of the largest magnitude, so that neither large nor tiny weights leave float's range.
struct GroupScale {
  uint16_t scale = 0;
  float q[kGroup] = {};
};

// Four bits: the value of largest magnitude goes to about -8, by a scale of its opposite sign, so that all 16 codes
// are of use; divisors around 8 and 7 trade its error against the others'. The best of them is refined once by the
// least-squares scale of its codes.
GroupScale chooseScale4(const float *x, float extreme) {
  constexpr Range kRange{-8, 7};
  constexpr float kDivisors[] = {-8, -8.5f, -8.25f, -7.75f, -7.5f, -7.25f, -7, -6.75f, -6.5f};
  // A power of two near 1 / |extreme|: products with it are exact.
  const float unit = std::ldexp(1.0f, std::clamp(-std::ilogb(extreme), -100, 100));
  float scaled[kGroup];
  for (int64_t i = 0; i < kGroup; ++i) {
    scaled[i] = x[i] * unit;
  }
  GroupScale best;
  float bestError = INFINITY;
  auto consider = [&](float scale) {
    uint16_t half = floatToHalf(scale);
    float rounded = halfToFloat(half);
    if (std::isinf(rounded)) {
      return;
    }
    float q[kGroup];
    float error = quantiseGroup(scaled, rounded * unit, kRange, q);
    if (error < bestError) {
      bestError = error;
      best.scale = half;
      std::copy(q, q + kGroup, best.q);
    }
  };
  for (float divisor : kDivisors) {
    consider(extreme / divisor);
  }
  float product = 0, square = 0;
  for (int64_t i = 0; i < kGroup; ++i) {
    product += scaled[i] * best.q[i];
    square += best.q[i] * best.q[i];
  }
  if (square > 0) {
    consider(product / square / unit);
  }
  return best;
}

// Eight bits: the largest magnitude goes to 127.
GroupScale chooseScale8(const float *x, float extreme) {
  GroupScale group;
  group.scale = floatToHalf(std::fabs(extreme) / 127);
  quantiseGroup(x, halfToFloat(group.scale), {-127, 127}, group.q);
  return group;
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

absl::Status packGroups(unsigned bits, const float *values, int64_t rows, int64_t columns, uint8_t *out) {
  const int64_t padded = roundUp(columns, kBlockColumns);
  for (int64_t first = 0; first < padded; first += kGroup) {
    uint8_t *block = out + first / kBlockColumns * blockBytes(bits);
    const int64_t half = first % kBlockColumns / kGroup;
    uint8_t *scales = block + half * kRows * sizeof(uint16_t);
    uint8_t *payload = block + kScaleBytes + half * groupBytes(bits);
    const int64_t count = std::clamp<int64_t>(columns - first, 0, kGroup);
    for (int64_t row = 0; row < kRows; ++row) {
      float x[kGroup] = {}, extreme = 0;
      for (int64_t i = 0; row < rows && i < count; ++i) {
        x[i] = values[row * columns + first + i];
        if (!std::isfinite(x[i])) {
          return unfit("is not finite", x[i], row, first + i);
        }
        extreme = std::fabs(x[i]) > std::fabs(extreme) ? x[i] : extreme;
      }
      GroupScale group;
      if (extreme != 0) {
        // The smallest scale that either width may choose must be finite as f16.
        if (std::isinf(halfToFloat(floatToHalf(std::fabs(extreme) / (bits == 8 ? 127 : 8))))) {
          return unfit("needs a scale that is too large for f16; choose 16 or 32 bits", extreme, row, first);
        }
        group = bits == 8 ? chooseScale8(x, extreme) : chooseScale4(x, extreme);
      }
      std::memcpy(scales + row * sizeof(uint16_t), &group.scale, sizeof(uint16_t));
      if (bits == 8) {
        for (int64_t i = 0; i < kGroup; ++i) {
          payload[i / 4 * 64 + row * 4 + i % 4] = static_cast<uint8_t>(static_cast<int>(group.q[i]) + 128);
        }
        continue;
      }
      for (int64_t unit = 0; unit < 4; ++unit) {
        for (int64_t i = 0; i < 4; ++i) {
          int low = static_cast<int>(group.q[unit * 8 + i]) + 8, high = static_cast<int>(group.q[unit * 8 + 4 + i]) + 8;
          payload[unit * 64 + row * 4 + i] = static_cast<uint8_t>(low | high << 4);
        }
      }
    }
  }
  return absl::OkStatus();
}

} // namespace

uint64_t panelBytes(LayoutAttr layout, int64_t columns) {
  if (layout.getBits() >= 16) {
    return static_cast<uint64_t>(columns) * kRows * layout.getBits() / 8;
  }
  return roundUp(columns, kBlockColumns) / kBlockColumns * blockBytes(layout.getBits());
}

uint64_t packedBytes(LayoutAttr layout, int64_t rows, int64_t columns) {
  if (layout.getPanel() == 1) {
    return roundUp(static_cast<uint64_t>(rows) * columns * layout.getBits() / 8, 64);
  }
  return roundUp(rows, kRows) / kRows * panelBytes(layout, columns);
}

absl::Status packPanel(LayoutAttr layout, const float *values, int64_t rows, int64_t columns, uint8_t *out) {
  if (layout.getBits() >= 16) {
    return packFloats(layout, values, rows, columns, out);
  }
  if (layout.getGroup() != kGroup || layout.getPanel() != kRows || layout.getType() != FloatType::F16 ||
      layout.getZeroPoint() != ZeroPoint::Symmetric || layout.getCodebook() != Codebook::Integer) {
    return absl::UnimplementedError("integer weights are packed with group = 32, panel = 16, f16 scales, "
                                    "zero_point = symmetric and codebook = integer only");
  }
  return packGroups(layout.getBits(), values, rows, columns, out);
}

void unpackPanel(LayoutAttr layout, const uint8_t *panel, int64_t rows, int64_t columns, float *values) {
  const unsigned bits = layout.getBits();
  for (int64_t row = 0; row < rows; ++row) {
    for (int64_t column = 0; column < columns; ++column) {
      float &value = values[row * columns + column];
      if (bits >= 16) {
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
      const uint8_t *block = panel + column / kBlockColumns * blockBytes(bits);
      const int64_t group = column % kBlockColumns / kGroup, i = column % kGroup;
      const uint8_t *payload = block + kScaleBytes + group * groupBytes(bits);
      uint16_t scale;
      std::memcpy(&scale, block + (group * kRows + row) * sizeof(uint16_t), sizeof(scale));
      int q;
      if (bits == 8) {
        q = payload[i / 4 * 64 + row * 4 + i % 4] - 128;
      } else {
        uint8_t byte = payload[i / 8 * 64 + row * 4 + i % 4];
        q = (i % 8 < 4 ? byte & 15 : byte >> 4) - 8;
      }
      value = static_cast<float>(q) * halfToFloat(scale);
    }
  }
}

} // namespace emoe
