// Packing: error bounds per width, layout of bytes, padding, refusals.
#include "compiler/codegen/pack.h"

#include <cmath>
#include <random>

#include "compiler/codegen/half.h"
#include "compiler/codegen/round.h"
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
  // Every layout with scales.
  std::vector<LayoutAttr> coded() {
    std::vector<LayoutAttr> all;
    for (unsigned group : {32u, 64u, 128u, 256u}) {
      for (auto [bits, codebook] : {std::pair(2u, Codebook::Ternary), {2u, Codebook::Centred}, {3u, Codebook::Centred},
                                    {4u, Codebook::Integer}, {8u, Codebook::Integer}}) {
        all.push_back(LayoutAttr::get(&context, bits, FloatType::F16, group, ZeroPoint::Symmetric, codebook, 16));
      }
    }
    return all;
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
  auto other = LayoutAttr::get(&context, 4, FloatType::F16, 512, ZeroPoint::Symmetric, Codebook::Integer, 16);
  EXPECT_EQ(pack(other, 1).code(), absl::StatusCode::kUnimplemented);
  for (LayoutAttr l : coded()) {
    EXPECT_EQ(pack(l, NAN).code(), absl::StatusCode::kOutOfRange);
    EXPECT_EQ(pack(l, 1e7f).code(), absl::StatusCode::kOutOfRange);
  }
}

TEST_F(Pack, StoredBitsAreThoseOfTheFormat) {
  // FORMAT.md states these: columns 128 and 256.
  struct Row {
    unsigned bits;
    Codebook codebook;
    unsigned group;
    double at128, at256;
  };
  constexpr Codebook kInteger = Codebook::Integer, kCentred = Codebook::Centred, kTernary = Codebook::Ternary;
  for (Row row : {Row{8, kInteger, 32, 8.5, 8.5}, {4, kInteger, 32, 4.5, 4.5}, {4, kInteger, 64, 4.25, 4.25},
                  {4, kInteger, 128, 4.125, 4.125}, {4, kInteger, 256, 4.125, 4.0625}, {3, kCentred, 32, 3.5, 3.5},
                  {3, kCentred, 64, 3.25, 3.25}, {3, kCentred, 128, 3.125, 3.125}, {3, kCentred, 256, 3.125, 3.0625},
                  {2, kCentred, 32, 2.5, 2.5}, {2, kCentred, 64, 2.25, 2.25}, {2, kCentred, 128, 2.125, 2.125},
                  {2, kCentred, 256, 2.125, 2.0625}, {2, kTernary, 32, 2.25, 2.25}, {2, kTernary, 64, 1.875, 1.875},
                  {2, kTernary, 128, 1.75, 1.75}, {2, kTernary, 256, 1.75, 1.6875}}) {
    LayoutAttr l = LayoutAttr::get(&context, row.bits, FloatType::F16, row.group, ZeroPoint::Symmetric, row.codebook, 16);
    EXPECT_DOUBLE_EQ(storedBits(l, 128), row.at128) << row.bits << " bits, group " << row.group;
    EXPECT_DOUBLE_EQ(storedBits(l, 256), row.at256) << row.bits << " bits, group " << row.group;
  }
}

TEST_F(Pack, GivenCodesAndScalesComeBack) {
  for (LayoutAttr l : coded()) {
    const Grid grid = gridOf(l);
    for (int64_t columns : {1, 31, 64, 65, 100, 128, 160, 192, 257, 320, 576}) {
      for (int64_t rows : {1, 7, 16}) {
        std::mt19937 random(columns);
        std::vector<uint8_t> codes(rows * columns);
        for (uint8_t &code : codes) {
          code = random() % grid.levels;
        }
        const int64_t groups = scalesPerRow(l, columns);
        std::vector<float> scales = pattern(rows * groups, 1), values(rows * columns);
        std::vector<uint8_t> bytes(panelBytes(l, columns), 0xee);
        ASSERT_TRUE(packCodes(l, codes.data(), scales.data(), rows, columns, bytes.data()).ok());
        unpackPanel(l, bytes.data(), rows, columns, values.data());
        for (int64_t i = 0; i < rows * columns; ++i) {
          float scale = storedScale(scales[i / columns * groups + i % columns / l.getGroup()]);
          ASSERT_EQ(values[i], (static_cast<float>(codes[i]) + grid.first) * scale)
              << l.getBits() << " bits, group " << l.getGroup() << ", columns " << columns << ", element " << i;
        }
      }
    }
    std::vector<uint8_t> bytes(panelBytes(l, 1));
    const float one = 1, large = 7e4f;
    const uint8_t zero = 0;
    if (grid.levels < 256) {
      const auto outside = static_cast<uint8_t>(grid.levels);
      EXPECT_EQ(packCodes(l, &outside, &one, 1, 1, bytes.data()).code(), absl::StatusCode::kOutOfRange);
    }
    EXPECT_EQ(packCodes(l, &zero, &large, 1, 1, bytes.data()).code(), absl::StatusCode::kOutOfRange);
  }
}

// The least squared error of a symmetric grid, by trying every scale at which a code changes and scales in between.
double leastError(const Grid &grid, const std::vector<float> &x, const std::vector<float> &importance) {
  double best = INFINITY, extreme = 0;
  for (float value : x) {
    extreme = std::max<double>(extreme, std::fabs(value));
  }
  for (int i = 1; i <= 20000; ++i) {
    double scale = 2.5 * extreme * i / 20000, error = 0;
    for (size_t c = 0; c < x.size(); ++c) {
      double nearest = INFINITY;
      for (int code = 0; code < grid.levels; ++code) {
        nearest = std::min(nearest, std::fabs(x[c] - (code + grid.first) * scale));
      }
      error += importance[c] * nearest * nearest;
    }
    best = std::min(best, error);
  }
  return best;
}

TEST_F(Pack, SymmetricGridsGetTheirBestScale) {
  for (LayoutAttr l : coded()) {
    if (l.getCodebook() == Codebook::Integer || l.getGroup() > 64) {
      continue;
    }
    const Grid grid = gridOf(l);
    for (uint32_t seed = 0; seed < 4; ++seed) {
      const int64_t columns = seed == 3 ? 5 : l.getGroup();
      std::mt19937 random(seed);
      std::normal_distribution<float> normal;
      std::vector<float> x(columns), importance(columns);
      for (int64_t c = 0; c < columns; ++c) {
        x[c] = normal(random);
        importance[c] = seed % 2 ? static_cast<float>(random() % 100) : 1;
      }
      std::vector<uint8_t> codes(columns);
      float scale = 0;
      ASSERT_TRUE(roundToNearest(l, x.data(), 1, columns, seed % 2 ? importance.data() : nullptr, codes.data(), &scale).ok());
      EXPECT_EQ(scale, storedScale(scale));
      double error = 0;
      for (int64_t c = 0; c < columns; ++c) {
        double difference = x[c] - (codes[c] + grid.first) * scale;
        error += importance[c] * difference * difference;
      }
      // A thousandth: the scale is rounded to f16, and the search is by steps.
      EXPECT_LE(error, leastError(grid, x, importance) * 1.001 + 1e-6) << l.getBits() << " bits, seed " << seed;
    }
  }
}

TEST_F(Pack, ColumnsWithoutImportanceDoNotCount) {
  std::vector<float> x(32, 1.0f), importance(32, 1.0f);
  x[7] = 100, importance[7] = 0;
  for (LayoutAttr l : coded()) {
    if (l.getBits() == 8 || l.getGroup() != 32) {
      continue;
    }
    std::vector<uint8_t> codes(32), bytes(panelBytes(l, 32));
    float scale = 0;
    ASSERT_TRUE(roundToNearest(l, x.data(), 1, 32, importance.data(), codes.data(), &scale).ok());
    std::vector<float> got(32);
    ASSERT_TRUE(packCodes(l, codes.data(), &scale, 1, 32, bytes.data()).ok());
    unpackPanel(l, bytes.data(), 1, 32, got.data());
    if (l.getBits() < 4) {
      EXPECT_NEAR(got[0], 1, 1e-3f) << l.getBits() << " bits";
    }
    EXPECT_NEAR(got[31], got[0], 1e-6f);
  }
}

TEST_F(Pack, BytesOfFewBitsAreWhereTheFormatSays) {
  auto packed = [&](unsigned bits, Codebook codebook, unsigned group, int64_t columns, const std::vector<uint8_t> &codes) {
    LayoutAttr l = LayoutAttr::get(&context, bits, FloatType::F16, group, ZeroPoint::Symmetric, codebook, 16);
    std::vector<uint8_t> bytes(panelBytes(l, columns), 0xee);
    std::vector<float> scales(codes.size() / columns * scalesPerRow(l, columns), 1);
    EXPECT_TRUE(packCodes(l, codes.data(), scales.data(), codes.size() / columns, columns, bytes.data()).ok());
    return bytes;
  };
  // Two bits, one group of 128: 32 bytes of scales, then column 100 of row 2: subgroup 3, unit 0, bits 2 and 3 of byte 8.
  std::vector<uint8_t> codes(3 * 128);
  codes[2 * 128 + 100] = 3;
  std::vector<uint8_t> two = packed(2, Codebook::Centred, 128, 128, codes);
  ASSERT_EQ(two.size(), 32u + 512);
  for (size_t i = 32; i < two.size(); ++i) {
    EXPECT_EQ(two[i], i == 32 + 3 * 128 + 4 * 2 ? 3 << 2 : 0) << i;
  }
  // Three bits: low bits as above, the high bit in bit (dword 1 of subgroup 3) of the plane behind them.
  codes[2 * 128 + 100] = 6;
  std::vector<uint8_t> three = packed(3, Codebook::Centred, 64, 128, codes);
  ASSERT_EQ(three.size(), 64u + 768);
  for (size_t i = 64; i < three.size(); ++i) {
    int expected = i == 64 + 3 * 192 + 4 * 2 ? 2 << 2 : i == 64 + 3 * 192 + 128 + 4 * 2 ? 1 << 1 : 0;
    EXPECT_EQ(three[i], expected) << i;
  }
  // Ternary: column 4 * (5 u + t) + i is digit t of byte i of unit u; columns 120 .. 127 are the pieces.
  std::vector<uint8_t> trits(128);
  for (int64_t t = 0; t < 5; ++t) {
    trits[4 * (5 * 1 + t) + 3] = (t + 2) % 3;  // 2 0 1 2 0 in base 3
  }
  trits[4 * 31 + 1] = 2;
  std::vector<uint8_t> ternary = packed(2, Codebook::Ternary, 128, 128, trits);
  ASSERT_EQ(ternary.size(), 32u + 6 * 64 + 2 * 16);
  const int value = 2 * 81 + 0 * 27 + 1 * 9 + 2 * 3 + 0;
  EXPECT_EQ(ternary[32 + 64 + 3], (value * 256 + 242) / 243);
  EXPECT_EQ(ternary[32 + 384 + 16 + 0], 2 << 2);
  EXPECT_EQ(ternary[32], 0);
  // Missing rows hold the code of zero: 1, whose digits are 11111.
  EXPECT_EQ(ternary[32 + 4], (121 * 256 + 242) / 243);
  EXPECT_EQ(ternary[32 + 384 + 1], 0x55);
}

TEST_F(Pack, BytesOfTheFirstWidthsNeverChange) {
  // FNV-1a of panels that bundles of version 1.0 hold.
  auto hash = [&](LayoutAttr l) {
    std::vector<float> values = pattern(13 * 150, 0.3f, 11);
    std::vector<uint8_t> bytes(panelBytes(l, 150));
    EXPECT_TRUE(packPanel(l, values.data(), 13, 150, bytes.data()).ok());
    uint64_t state = 0xcbf29ce484222325u;
    for (uint8_t byte : bytes) {
      state = (state ^ byte) * 0x100000001b3u;
    }
    return state;
  };
  EXPECT_EQ(hash(layout(4)), 0xa124b7ba716bfe66u);
  EXPECT_EQ(hash(layout(8)), 0x0cace016509c5edfu);
}

} // namespace
} // namespace emoe
