// What tests of kernels have in common: rows with NaN where nothing may be read, and a fixture that runs a kernel on one of
// the instruction sets that run here.
#ifndef EMOE_TEST_COMPILER_CODEGEN_KERNELS_TEST_H_
#define EMOE_TEST_COMPILER_CODEGEN_KERNELS_TEST_H_

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <map>
#include <numeric>
#include <random>

#include "compiler/codegen/half.h"
#include "gtest/gtest.h"
#include "test/support/image_runner.h"

namespace emoe::test {

using Floats = std::vector<float>;
using Bytes = std::vector<uint8_t>;
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

inline int64_t paddedTo64(int64_t width) { return (width + 63) / 64 * 64; }

inline Floats randomFloats(size_t count, unsigned seed, float scale = 1) {
  std::mt19937 generator(seed);
  std::normal_distribution<float> normal(0, scale);
  Floats values(count);
  for (float &value : values) {
    value = normal(generator);
  }
  return values;
}

inline Bytes bytesOf(const Floats &values) {
  Bytes bytes(4 * values.size());
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

template <typename T = float> std::vector<T> valuesOf(const Bytes &bytes) {
  std::vector<T> values(bytes.size() / sizeof(T));
  std::memcpy(values.data(), bytes.data(), bytes.size());
  return values;
}

// f32 rows with NaN in the padding.
inline Bytes rowsOf(const Floats &values, int64_t width) {
  int64_t stride = paddedTo64(width), rows = static_cast<int64_t>(values.size()) / width;
  Floats out(rows * stride, kNan);
  for (int64_t r = 0; r < rows; ++r) {
    std::copy_n(values.begin() + r * width, width, out.begin() + r * stride);
  }
  return bytesOf(out);
}

inline Bytes poison(size_t floats) { return bytesOf(Floats(floats, kNan)); }

// The values of f32 rows, whose padding must be zeros.
inline Floats unpad(const Bytes &bytes, int64_t width) {
  Floats rows = valuesOf(bytes), out;
  int64_t stride = paddedTo64(width);
  for (size_t i = 0; i < rows.size(); ++i) {
    if (static_cast<int64_t>(i % stride) < width) {
      out.push_back(rows[i]);
    } else {
      EXPECT_EQ(rows[i], 0) << "padding of row " << i / stride;
    }
  }
  return out;
}

// |got - expected| <= relative * |expected| + absolute.
inline void expectNear(const Floats &got, const std::vector<double> &expected, double relative, double absolute,
                const std::string &what) {
  ASSERT_EQ(got.size(), expected.size()) << what;
  for (size_t i = 0; i < got.size(); ++i) {
    ASSERT_LE(std::abs(got[i] - expected[i]), relative * std::abs(expected[i]) + absolute)
        << what << " element " << i << ": " << got[i] << " is not " << expected[i];
  }
}

class KernelTest : public ::testing::TestWithParam<const Target *> {
protected:
  const Target &target() { return *GetParam(); }
  void run(const KernelSpec &spec, KernelCall &call) {
    std::string problem = runKernel(spec, target(), call);
    ASSERT_EQ(problem, "") << kernelName(spec);
  }
};

// A target's name as gtest wants names.
inline std::string targetName(const ::testing::TestParamInfo<const Target *> &info) {
  std::string name = info.param->name;
  std::replace(name.begin(), name.end(), '-', '_');
  return name;
}

} // namespace emoe::test

#endif // EMOE_TEST_COMPILER_CODEGEN_KERNELS_TEST_H_
