// Packing: error bounds per width, layout of bytes, padding, refusals.
#include "compiler/codegen/pack.h"

#include <cmath>
#include <random>

#include "compiler/codegen/half.h"
#include "gtest/gtest.h"

namespace emoe {
namespace {

// Largest |weight - unpacked| as a fraction of the largest magnitude of its group (integers) or of itself (floats).
// Four bits: the opposite end of a group may be clamped from 8 to 7 steps of extreme / 8, where the search does not
// trade that away. Integer bounds include the rounding of the f16 scale, 2^-11.
constexpr float kBound4 = 1.0f / 8 + 1e-3f, kBound8 = 0.5f / 127 + 1e-3f;
constexpr float kBoundF16 = 0x1p-11f, kBoundBf16 = 0x1p-8f;
// Root mean square error of four bits on normal values, as a fraction of the values' own: measured 0.0812.
constexpr double kNormalRms4 = 0.084;

class Pack : public ::testing::Test {
protected:
  Pack() { context.loadDialect<EmoeDialect>(); }
  LayoutAttr layout(unsigned bits, FloatType type = FloatType::F16, unsigned panel = 16) {
    return LayoutAttr::get(&context, bits, type, bits < 16 ? 32 : 0, ZeroPoint::Symmetric, Codebook::Integer, panel);
  }
  std::vector<float> pattern(int64_t count, float spread, uint32_t seed = 1) {
    std::mt19937 random(seed);
    std::vector<float> values(count);
    for (float &value : values) {
      value = spread * (static_cast<float>(random() >> 8) * 0x1p-23f - 1);
    }
    return values;
  }
  std::vector<float> roundTrip(LayoutAttr l, const std::vector<float> &values, int64_t rows, int64_t columns) {
    std::vector<uint8_t> bytes(panelBytes(l, columns), 0xee);
    absl::Status status = packPanel(l, values.data(), rows, columns, bytes.data());
    EXPECT_TRUE(status.ok()) << status;
    std::vector<float> result(rows * columns);
    unpackPanel(l, bytes.data(), rows, columns, result.data());
    return result;
  }
  mlir::MLIRContext context;
};

TEST_F(Pack, SizesAreThoseOfTheFormat) {
  EXPECT_EQ(panelBytes(layout(8), 64), 64u + 1024);
  EXPECT_EQ(panelBytes(layout(4), 64), 64u + 512);
  EXPECT_EQ(panelBytes(layout(4), 65), 2u * (64 + 512));
  EXPECT_EQ(panelBytes(layout(16), 3), 96u);
  EXPECT_EQ(packedBytes(layout(32, FloatType::F32), 17, 3), 2u * 192);
  EXPECT_EQ(packedBytes(layout(32, FloatType::F32, 1), 1, 5), 64u);
  EXPECT_EQ(packedBytes(layout(32, FloatType::F32, 1), 3, 16), 192u);
}

TEST_F(Pack, IntegersStayWithinTheirBound) {
  for (auto [bits, bound] : {std::pair(4u, kBound4), std::pair(8u, kBound8)}) {
    for (float spread : {1e-30f, 1e-6f, 0.02f, 1.0f, 3e4f}) {
      for (int64_t columns : {1, 31, 32, 33, 64, 97, 160}) {
        for (int64_t rows : {1, 5, 16}) {
          std::vector<float> values = pattern(rows * columns, spread), got = roundTrip(layout(bits), values, rows, columns);
          for (int64_t r = 0; r < rows; ++r) {
            for (int64_t first = 0; first < columns; first += 32) {
              float extreme = 0;
              for (int64_t c = first; c < std::min(columns, first + 32); ++c) {
                extreme = std::max(extreme, std::fabs(values[r * columns + c]));
              }
              // f16 scales are multiples of 2^-24: half a step of the scale, times the largest code.
              float tolerance = bound * extreme + 0x1p-25f * (bits == 4 ? 8 : 127);
              for (int64_t c = first; c < std::min(columns, first + 32); ++c) {
                ASSERT_NEAR(got[r * columns + c], values[r * columns + c], tolerance)
                    << bits << " bits, spread " << spread << ", row " << r << ", column " << c;
              }
            }
          }
        }
      }
    }
  }
}

TEST_F(Pack, FourBitsBeatPlainAbsmaxOnNormalValues) {
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> values(16 * 4096);
  for (float &value : values) {
    value = normal(random);
  }
  std::vector<float> got = roundTrip(layout(4), values, 16, 4096);
  double error = 0, power = 0;
  for (size_t i = 0; i < values.size(); ++i) {
    error += (got[i] - values[i]) * (got[i] - values[i]);
    power += values[i] * values[i];
  }
  EXPECT_LT(std::sqrt(error / power), kNormalRms4);
}

TEST_F(Pack, RepresentableIntegersAreExact) {
  // Scales that are powers of two and codes of the whole range: nothing is lost, whichever sign has the extreme.
  for (float scale : {0.125f, -0.125f, 0x1p-14f}) {
    std::vector<float> values(64);
    for (int64_t i = 0; i < 64; ++i) {
      values[i] = scale * static_cast<float>(i % 16 - 8);
    }
    EXPECT_EQ(roundTrip(layout(4), values, 1, 64), values) << scale;
    for (int64_t i = 0; i < 64; ++i) {
      values[i] = scale * static_cast<float>(i % 32 == 0 ? 127 : 4 * i - 127);
    }
    EXPECT_EQ(roundTrip(layout(8), values, 1, 64), values) << scale;
  }
}

TEST_F(Pack, FloatsAreRoundedToNearest) {
  std::vector<float> values = pattern(16 * 33, 100);
  EXPECT_EQ(roundTrip(layout(32, FloatType::F32), values, 16, 33), values);
  for (auto [type, bound] : {std::pair(FloatType::F16, kBoundF16), std::pair(FloatType::BF16, kBoundBf16)}) {
    std::vector<float> got = roundTrip(layout(16, type), values, 16, 33);
    for (size_t i = 0; i < values.size(); ++i) {
      ASSERT_NEAR(got[i], values[i], bound * std::fabs(values[i]) + 0x1p-25f);
    }
  }
}

TEST_F(Pack, EveryHalfSurvives) {
  for (uint32_t bits = 0; bits < 0x10000; ++bits) {
    float value = halfToFloat(bits);
    if (!std::isnan(value)) {
      ASSERT_EQ(floatToHalf(value), bits);
#ifdef __FLT16_MANT_DIG__
      _Float16 native;
      uint16_t narrow = bits;
      std::memcpy(&native, &narrow, 2);
      ASSERT_EQ(static_cast<float>(native), value);
#endif
    }
    if (float wide = bf16ToFloat(bits); !std::isnan(wide)) {
      ASSERT_EQ(floatToBf16(wide), bits);
    }
  }
  // Ties go to even, also among subnormals and at the border of infinity.
  EXPECT_EQ(floatToHalf(0x1p-25f), 0);
  EXPECT_EQ(floatToHalf(0x1.8p-24f), 2);
  EXPECT_EQ(floatToHalf(1 + 0x1p-11f), 0x3c00);
  EXPECT_EQ(floatToHalf(1 + 0x1.8p-10f), 0x3c02);
  EXPECT_EQ(floatToHalf(65519.0f), 0x7bff);
  EXPECT_EQ(floatToHalf(65520.0f), 0x7c00);
  EXPECT_EQ(floatToBf16(1 + 0x1p-8f), 0x3f80);
}

TEST_F(Pack, BytesAreWhereTheFormatSaysAndPaddingIsZero) {
  // Row 3, columns 5 and 33 of a 40-column panel; the extreme of each group is 8 steps down.
  std::vector<float> values(4 * 40);
  values[3 * 40 + 5] = -8, values[3 * 40 + 33] = 4, values[3 * 40 + 38] = -8;
  std::vector<uint8_t> bytes(panelBytes(layout(4), 40), 0xee);
  ASSERT_TRUE(packPanel(layout(4), values.data(), 4, 40, bytes.data()).ok());
  auto scale = [&](int64_t group, int64_t lane) {
    uint16_t half;
    std::memcpy(&half, &bytes[(group * 16 + lane) * 2], 2);
    return halfToFloat(half);
  };
  EXPECT_EQ(scale(0, 3), 1);
  EXPECT_EQ(scale(1, 3), 1);
  for (int64_t lane = 0; lane < 16; ++lane) {
    for (int64_t group = 0; group < 2; ++group) {
      EXPECT_TRUE(lane == 3 || scale(group, lane) == 0) << lane;
    }
  }
  for (size_t i = 64; i < bytes.size(); ++i) {
    uint8_t expected = 0x88;
    if (i == 64 + 4 * 3 + 1) {
      expected = 0x08;                         // column 5: high nibble of unit 0, byte 1: q = -8
    } else if (i == 64 + 256 + 4 * 3 + 1) {
      expected = 0x8c;                         // column 33: low nibble of unit 0 of the second group, q = 4
    } else if (i == 64 + 256 + 4 * 3 + 2) {
      expected = 0x08;                         // column 38: high nibble of unit 0, byte 2
    }
    EXPECT_EQ(bytes[i], expected) << i;
  }
  std::vector<uint8_t> wide(panelBytes(layout(8), 40), 0xee);
  ASSERT_TRUE(packPanel(layout(8), values.data(), 4, 40, wide.data()).ok());
  EXPECT_EQ(wide[64 + 64 + 4 * 3 + 1], 1);                   // column 5: unit 1, byte 1, q = -127
  EXPECT_EQ(wide[64 + 512 + 0 * 64 + 4 * 3 + 1], 128 + 64);  // column 33: 4 of 8, in 127ths (63.5, to even)
  EXPECT_EQ(wide[64], 128);
}

TEST_F(Pack, RefusesWhatDoesNotFit) {
  auto pack = [&](LayoutAttr l, float value) {
    std::vector<float> values(2 * 70);
    values[70 + 66] = value;
    std::vector<uint8_t> bytes(panelBytes(l, 70));
    return packPanel(l, values.data(), 2, 70, bytes.data());
  };
  for (unsigned bits : {32u, 16u, 8u, 4u}) {
    for (float value : {INFINITY, -INFINITY, NAN}) {
      absl::Status status = pack(layout(bits), value);
      EXPECT_EQ(status.code(), absl::StatusCode::kOutOfRange) << bits;
      EXPECT_NE(status.message().find("row 1, column 66"), absl::string_view::npos) << status;
    }
  }
  EXPECT_FALSE(pack(layout(16), 7e4f).ok());
  EXPECT_TRUE(pack(layout(16, FloatType::BF16), 7e4f).ok());
  EXPECT_FALSE(pack(layout(16, FloatType::BF16), 3.4e38f).ok());
  EXPECT_FALSE(pack(layout(4), 1e6f).ok());
  EXPECT_TRUE(pack(layout(8), 1e6f).ok());
  EXPECT_FALSE(pack(layout(8), 1e7f).ok());
  auto other = LayoutAttr::get(&context, 4, FloatType::F16, 64, ZeroPoint::Symmetric, Codebook::Integer, 16);
  EXPECT_EQ(pack(other, 1).code(), absl::StatusCode::kUnimplemented);
}

} // namespace
} // namespace emoe
