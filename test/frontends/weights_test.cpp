// WeightStore: every storage type decodes exactly, through any strides, and nothing outside the file is read.
#include <cmath>
#include <cstring>
#include <limits>
#include <vector>

#include "dialects/onnx/onnx.h"
#include "frontends/weights.h"
#include "gtest/gtest.h"

namespace emoe {
namespace {

using mlir::IntegerType;

struct WeightStoreTest : ::testing::Test {
  mlir::MLIRContext context{mlir::MLIRContext::Threading::DISABLED};
  WeightStore store;
  WeightStoreTest() { context.loadDialect<EmoeDialect, onnx::OnnxDialect>(); }

  mlir::Type integer(unsigned width, bool isUnsigned = false) {
    return IntegerType::get(&context, width, isUnsigned ? IntegerType::Unsigned : IntegerType::Signless);
  }
  SourceAttr source(mlir::Type type, std::vector<int64_t> strides, int64_t offset = 0, const char *file = "f") {
    return SourceAttr::get(&context, mlir::StringAttr::get(&context, file), offset, type, strides);
  }
  // The first `count` elements of `bytes` as `type`.
  std::vector<float> decode(mlir::Type type, std::vector<uint8_t> bytes, int64_t count) {
    store.addDecoded("f", std::move(bytes));
    std::vector<float> out(static_cast<size_t>(count));
    absl::Status status = store.read(source(type, {count, 1}), count, 0, 1, out.data());
    EXPECT_TRUE(status.ok()) << status;
    return out;
  }
  template <typename T> std::vector<uint8_t> raw(std::vector<T> values) {
    std::vector<uint8_t> bytes(values.size() * sizeof(T));
    std::memcpy(bytes.data(), values.data(), bytes.size());
    return bytes;
  }
};

using Floats = std::vector<float>;

TEST_F(WeightStoreTest, DecodesIntegers) {
  EXPECT_EQ(decode(integer(8), raw<int8_t>({-128, -1, 127}), 3), (Floats{-128, -1, 127}));
  EXPECT_EQ(decode(integer(8, true), raw<uint8_t>({0, 128, 255}), 3), (Floats{0, 128, 255}));
  EXPECT_EQ(decode(integer(16), raw<int16_t>({-32768, 5}), 2), (Floats{-32768, 5}));
  EXPECT_EQ(decode(integer(16, true), raw<uint16_t>({65535, 5}), 2), (Floats{65535, 5}));
  EXPECT_EQ(decode(integer(32), raw<int32_t>({-7, 1 << 24}), 2), (Floats{-7, 16777216}));
  EXPECT_EQ(decode(integer(32, true), raw<uint32_t>({4294967295u}), 1), (Floats{4294967296.0f}));
  EXPECT_EQ(decode(integer(64), raw<int64_t>({-9, 1}), 2), (Floats{-9, 1}));
  EXPECT_EQ(decode(integer(64, true), raw<uint64_t>({9}), 1), (Floats{9}));
  EXPECT_EQ(decode(integer(1), {0, 1, 2}, 3), (Floats{0, 1, 1})); // a byte each, as ONNX stores bool
}

TEST_F(WeightStoreTest, DecodesPackedTypesLowBitsFirst) {
  EXPECT_EQ(decode(integer(4), {0x8f, 0x07}, 3), (Floats{-1, -8, 7}));
  EXPECT_EQ(decode(integer(4, true), {0x8f, 0x07}, 3), (Floats{15, 8, 7}));
  EXPECT_EQ(decode(integer(2), {0b11100100}, 4), (Floats{0, 1, -2, -1}));
  EXPECT_EQ(decode(integer(2, true), {0b11100100}, 4), (Floats{0, 1, 2, 3}));
  EXPECT_EQ(decode(onnx::Float4E2M1Type::get(&context), {0x10, 0x32, 0x54, 0x76, 0xf9}, 10),
            (Floats{0, 0.5f, 1, 1.5f, 2, 3, 4, 6, -0.5f, -6}));
}

TEST_F(WeightStoreTest, DecodesFloats) {
  auto f32 = mlir::Float32Type::get(&context);
  EXPECT_EQ(decode(f32, raw<float>({1.5f, -0x1p-149f}), 2), (Floats{1.5f, -0x1p-149f}));
  EXPECT_EQ(decode(mlir::Float64Type::get(&context), raw<double>({0.1, 1e300}), 2),
            (Floats{0.1f, std::numeric_limits<float>::infinity()}));
  EXPECT_EQ(decode(mlir::BFloat16Type::get(&context), raw<uint16_t>({0x3f80, 0xc040, 0x0001}), 3),
            (Floats{1, -3, 0x1p-133f}));
  EXPECT_EQ(decode(mlir::Float8E5M2Type::get(&context), {0x3c, 0xbc, 0x01, 0x7b}, 4),
            (Floats{1, -1, 0x1p-16f, 57344}));
  EXPECT_EQ(decode(mlir::Float8E4M3FNType::get(&context), {0x38, 0x01, 0x7e}, 3), (Floats{1, 0x1p-9f, 448}));
  EXPECT_EQ(decode(mlir::Float8E4M3FNUZType::get(&context), {0x40, 0x7f}, 2), (Floats{1, 240}));
  EXPECT_EQ(decode(mlir::Float8E5M2FNUZType::get(&context), {0x40, 0x7f}, 2), (Floats{1, 57344}));
  EXPECT_EQ(decode(onnx::Float8E8M0Type::get(&context), {127, 130, 0, 254}, 4),
            (Floats{1, 8, 0x1p-127f, 0x1p127f}));
  EXPECT_TRUE(std::isnan(decode(onnx::Float8E8M0Type::get(&context), {255}, 1)[0]));
}

// All 65,536 halves against the definition of IEEE binary16.
TEST_F(WeightStoreTest, DecodesEveryHalf) {
  std::vector<uint16_t> halves(65536);
  for (size_t i = 0; i < halves.size(); ++i) {
    halves[i] = static_cast<uint16_t>(i);
  }
  const Floats values = decode(mlir::Float16Type::get(&context), raw(halves), 65536);
  for (size_t i = 0; i < halves.size(); ++i) {
    const int exponent = (i >> 10) & 31, mantissa = i & 1023;
    const float sign = i & 0x8000 ? -1.0f : 1.0f;
    if (exponent == 31) {
      EXPECT_TRUE(mantissa ? std::isnan(values[i]) : values[i] == sign * std::numeric_limits<float>::infinity()) << i;
    } else {
      const float expected = exponent ? std::ldexp(1024.0f + static_cast<float>(mantissa), exponent - 25)
                                      : std::ldexp(static_cast<float>(mantissa), -24);
      ASSERT_EQ(values[i], sign * expected) << i;
      ASSERT_EQ(std::signbit(values[i]), (i & 0x8000) != 0) << i;
    }
  }
}

TEST_F(WeightStoreTest, ReadsThroughStrides) {
  // A stack of two [2, 3] matrices; every row of the view is what the strides say.
  store.addDecoded("f", raw<float>({0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11}));
  auto f32 = mlir::Float32Type::get(&context);
  Floats out(6);
  ASSERT_TRUE(store.read(source(f32, {1, 3}, 24), 2, 0, 3, out.data()).ok()); // the second one, transposed
  EXPECT_EQ(out, (Floats{6, 9, 7, 10, 8, 11}));
  ASSERT_TRUE(store.read(source(f32, {6, 1}), 3, 1, 1, out.data()).ok()); // row 0 of the second
  EXPECT_EQ((Floats{out[0], out[1], out[2]}), (Floats{6, 7, 8}));
  ASSERT_TRUE(store.read(source(f32, {0, 1}), 2, 0, 3, out.data()).ok()); // a broadcast row
  EXPECT_EQ(out, (Floats{0, 1, 0, 1, 0, 1}));
  store.addDecoded("f", {0x21, 0x43, 0x65}); // nibbles 1 .. 6 as [2, 3], transposed
  ASSERT_TRUE(store.read(source(integer(4, true), {1, 3}), 2, 0, 3, out.data()).ok());
  EXPECT_EQ(out, (Floats{1, 4, 2, 5, 3, 6}));
}

TEST_F(WeightStoreTest, ReadsTensorsOfAnyRank) {
  store.addDecoded("f", raw<float>({0, 1, 2, 3, 4, 5, 6, 7}));
  auto f32 = mlir::Float32Type::get(&context);
  Floats out(8);
  ASSERT_TRUE(store.readTensor(source(f32, {1, 2, 4}), {2, 2, 2}, out.data()).ok());
  EXPECT_EQ(out, (Floats{0, 4, 2, 6, 1, 5, 3, 7}));
  ASSERT_TRUE(store.readTensor(source(f32, {}, 12), {}, out.data()).ok());
  EXPECT_EQ(out[0], 3);
  EXPECT_TRUE(store.readTensor(source(f32, {1, 1}), {0, 2}, nullptr).ok());
}

TEST_F(WeightStoreTest, RefusesWhatLiesOutside) {
  store.addDecoded("f", std::vector<uint8_t>(64));
  auto f32 = mlir::Float32Type::get(&context);
  EXPECT_TRUE(store.check(source(f32, {4, 1}), 4, 4).ok());
  EXPECT_EQ(store.check(source(f32, {4, 1}), 5, 4).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store.check(source(f32, {4, 1}, 4), 4, 4).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store.check(source(f32, {4, 1}, INT64_MAX), 4, 4).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store.check(source(f32, {INT64_MAX, INT64_MAX}), INT64_MAX, 2).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store.check(source(f32, {4, 1}, 0, "g"), 1, 1).code(), absl::StatusCode::kNotFound);
  EXPECT_TRUE(store.check(source(integer(4), {1, 1}), 1, 128).ok());
  EXPECT_EQ(store.check(source(integer(4), {1, 1}), 1, 129).code(), absl::StatusCode::kOutOfRange);
  EXPECT_EQ(store.check(source(integer(7), {1, 1}), 1, 1).code(), absl::StatusCode::kUnimplemented);
  float out;
  EXPECT_EQ(store.read(source(f32, {4, 1}), 4, INT64_MAX, 2, &out).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(store.read(source(f32, {4, 1}), 4, -1, 1, &out).code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(WeightStoreTest, HashesValuesWhateverTheirStorage) {
  auto f32 = mlir::Float32Type::get(&context);
  store.addDecoded("f", raw<float>({1, 2, 3, 4, 5, 6}));
  store.addDecoded("t", raw<float>({1, 4, 2, 5, 3, 6}));
  store.addDecoded("i", raw<int8_t>({1, 2, 3, 4, 5, 6}));
  store.addDecoded("other", raw<float>({1, 2, 3, 4, 5, 7}));
  const std::string hash = *store.contentHash(source(f32, {3, 1}), 2, 3);
  EXPECT_EQ(hash.size(), 32u);
  EXPECT_EQ(hash, *store.contentHash(source(f32, {1, 2}, 0, "t"), 2, 3));
  EXPECT_EQ(hash, *store.contentHash(source(integer(8), {3, 1}, 0, "i"), 2, 3));
  EXPECT_NE(hash, *store.contentHash(source(f32, {3, 1}, 0, "other"), 2, 3));
  EXPECT_NE(hash, *store.contentHash(source(f32, {2, 1}), 3, 2)); // another shape
  EXPECT_FALSE(store.contentHash(source(f32, {3, 1}), 3, 3).ok());
}

// 4 rows of 8 codes of 4 bits, a scale for 4 columns of a row; zero points 8, or of their own.
TEST_F(WeightStoreTest, CodesOfQuantisedMatricesAreReadAsTheyAre) {
  std::vector<uint8_t> codes(16), zeros(8);
  for (int i = 0; i < 16; ++i) {
    codes[i] = static_cast<uint8_t>(i * 23 + 5);
  }
  for (int i = 0; i < 8; ++i) {
    zeros[i] = static_cast<uint8_t>(i);
  }
  const Floats factors = {0.5f, -1, 2, 0.25f, 1, 3, -2, 8};
  store.addDecoded("codes", codes);
  store.addDecoded("scales", raw(factors));
  store.addDecoded("zeros", zeros);
  QuantisedMatrix matrix;
  matrix.codes = source(integer(4, true), {1}, 0, "codes");
  matrix.scales = source(mlir::Float32Type::get(&context), {1}, 0, "scales");
  matrix.rows = 4, matrix.columns = matrix.codeRow = 8, matrix.columnBlock = 4, matrix.scaleRow = 2, matrix.zero = 8;
  ASSERT_TRUE(store.addQuantised("plain", matrix).ok());
  matrix.zeros = source(integer(8, true), {1}, 0, "zeros"), matrix.zeroRow = 2;
  ASSERT_TRUE(store.addQuantised("zeroed", matrix).ok());
  auto code = [&](int row, int column) { return codes[row * 4 + column / 2] >> (column % 2 * 4) & 15; };
  auto f32 = mlir::Float32Type::get(&context);
  for (bool zeroed : {false, true}) {
    // Rows 1 and 3 of the matrix, as a view of every other row.
    SourceAttr view = source(f32, {16, 1}, 8 * sizeof(float), zeroed ? "zeroed" : "plain");
    std::vector<int16_t> got(16);
    Floats scales(4), values(16);
    ASSERT_TRUE(store.readQuantised(view, 8, 0, 2, 4, got.data(), scales.data()));
    ASSERT_TRUE(store.read(view, 8, 0, 2, values.data()).ok());
    for (int i = 0; i < 16; ++i) {
      const int row = i < 8 ? 1 : 3, column = i % 8;
      EXPECT_EQ(got[i], code(row, column) - (zeroed ? row * 2 + column / 4 : 8)) << i;
      EXPECT_EQ(scales[i / 4], factors[row * 2 + column / 4]);
      EXPECT_EQ(values[i], static_cast<float>(got[i]) * scales[i / 4]);
    }
    // Two scales in a group; columns that are rows; no quantised matrix.
    EXPECT_FALSE(store.readQuantised(view, 8, 0, 2, 8, got.data(), scales.data()));
    EXPECT_FALSE(store.readQuantised(source(f32, {1, 8}, 0, "plain"), 4, 0, 2, 4, got.data(), scales.data()));
    EXPECT_FALSE(store.readQuantised(source(f32, {2, 1}, 0, "scales"), 2, 0, 2, 2, got.data(), scales.data()));
  }
}

// Codes of float4 are twice their values, with half the scale.
TEST_F(WeightStoreTest, CodesOfFloat4AreTwiceTheirValues) {
  store.addDecoded("codes", {0x10, 0x32, 0x54, 0xf6});
  store.addDecoded("scales", raw(Floats{0.25f, 2}));
  QuantisedMatrix matrix;
  matrix.codes = source(onnx::Float4E2M1Type::get(&context), {1}, 0, "codes");
  matrix.scales = source(mlir::Float32Type::get(&context), {1}, 0, "scales");
  matrix.rows = 1, matrix.columns = matrix.codeRow = 8, matrix.columnBlock = 4, matrix.scaleRow = 2;
  ASSERT_TRUE(store.addQuantised("float4", matrix).ok());
  std::vector<int16_t> codes(8);
  Floats scales(2);
  ASSERT_TRUE(store.readQuantised(source(mlir::Float32Type::get(&context), {8, 1}, 0, "float4"), 8, 0, 1, 4, codes.data(),
                                  scales.data()));
  EXPECT_EQ(codes, (std::vector<int16_t>{0, 1, 2, 3, 4, 6, 8, -12}));
  EXPECT_EQ(scales, (Floats{0.125f, 1}));
}

TEST_F(WeightStoreTest, NamesAreTakenOnce) {
  ASSERT_TRUE(store.addFile("x", EMOE_SOURCE_DIR "/README.md").ok() ||
              store.addFile("x", EMOE_SOURCE_DIR "/ARCHITECTURE.md").ok());
  EXPECT_EQ(store.addFile("x", EMOE_SOURCE_DIR "/ARCHITECTURE.md").code(), absl::StatusCode::kAlreadyExists);
  EXPECT_EQ(store.addFile("y", EMOE_SOURCE_DIR "/no such file").code(), absl::StatusCode::kNotFound);
  EXPECT_EQ(store.addFile("y", EMOE_SOURCE_DIR "/test").code(), absl::StatusCode::kInvalidArgument);
  // Released pages come back unchanged.
  auto view = source(integer(8, true), {16, 1}, 0, "x");
  Floats before(64), after(64);
  ASSERT_TRUE(store.read(view, 16, 0, 4, before.data()).ok());
  store.release(view, 4, 16);
  ASSERT_TRUE(store.read(view, 16, 0, 4, after.data()).ok());
  EXPECT_EQ(before, after);
}

} // namespace
} // namespace emoe
