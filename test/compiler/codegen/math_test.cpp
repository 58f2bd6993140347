// Accuracy of the elementary functions over their whole ranges, on every instruction set that runs here.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "compiler/codegen/math.h"
#include "compiler/codegen/object.h"
#include "gtest/gtest.h"
#include "mlir/IR/MLIRContext.h"
#include "test/support/image_runner.h"

using namespace emoe;
using namespace emoe::test;

namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();

class MathTest : public ::testing::TestWithParam<const Target *> {
protected:
  // y[i] = f(x[i]), computed by a kernel with one row of all the values; a multiple of 64 of them.
  std::vector<float> apply(llvm::function_ref<Expr(Expr)> f, const std::vector<float> &x) {
    const Target &target = *GetParam();
    mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
    loadKernelDialects(context);
    mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
    KernelSpec spec;
    spec.family = KernelFamily::Activate;
    spec.k = static_cast<int64_t>(x.size());
    KernelBuilder k(spec, target, *module);
    Expr in = k.operand(0), out = k.operand(1);
    k.forTiles([&](Expr) {
      k.forVectors(spec.k, [&](Expr at, int64_t) { k.storeLanes(f(k.loadLanes(k.at(in, at))), k.at(out, at)); });
    });
    k.finish();
    auto object = generateObject(*module, target, false);
    if (!object.ok()) {
      ADD_FAILURE() << object.status();
      return {};
    }
    auto image = linkImage(object->bytes, target, {kernelName(spec)});
    if (!image.ok()) {
      ADD_FAILURE() << image.status();
      return {};
    }
    KernelCall call;
    call.operands.assign(2, std::vector<uint8_t>(4 * x.size()));
    std::memcpy(call.operands[0].data(), x.data(), 4 * x.size());
    std::string problem = runImage(*image, image->entries[0], target, 1, call);
    EXPECT_EQ(problem, "");
    std::vector<float> y(x.size());
    std::memcpy(y.data(), call.operands[1].data(), 4 * x.size());
    return y;
  }
};

std::vector<float> evenly(float low, float high, size_t count) {
  std::vector<float> x(count);
  for (size_t i = 0; i < count; ++i) {
    x[i] = static_cast<float>(low + (double(high) - low) * double(i) / double(count - 1));
  }
  return x;
}

TEST_P(MathTest, Exp) {
  std::vector<float> x = evenly(-110, 90, 1 << 16);
  const float special[] = {0, -0.0f, kInfinity, -kInfinity, 1e30f, -1e30f, 88.72f, -87.33f, 1e-30f,
                           std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::max()};
  std::copy(std::begin(special), std::end(special), x.begin());
  std::vector<float> y = apply(emitExp, x);
  ASSERT_EQ(y.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    double expected = std::exp(double(x[i]));
    if (std::isnan(x[i])) {
      EXPECT_TRUE(std::isnan(y[i]));
    } else if (expected > std::numeric_limits<float>::max()) {
      ASSERT_EQ(y[i], kInfinity) << x[i];
    } else {
      // Below the smallest normal the result is a multiple of 2^-149.
      ASSERT_LE(std::abs(y[i] - expected), 2e-7 * expected + (expected < 1.2e-38 ? 0x1p-149 : 0)) << x[i];
    }
  }
}

TEST_P(MathTest, TanhAndErf) {
  std::vector<float> x = evenly(-12, 12, 1 << 14);
  x[0] = kInfinity, x[1] = -kInfinity, x[2] = 1e-20f, x[3] = -1e-5f;
  std::vector<float> tanhs = apply(emitTanh, x), erfs = apply(emitErf, x);
  ASSERT_EQ(tanhs.size(), x.size());
  ASSERT_EQ(erfs.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    double expected = std::tanh(double(x[i]));
    ASSERT_LE(std::abs(tanhs[i] - expected), std::min(3e-7, 4e-7 * std::abs(expected))) << x[i];
    ASSERT_LE(std::abs(erfs[i] - std::erf(double(x[i]))), 5e-7) << x[i];
  }
}

TEST_P(MathTest, SineAndCosineUpToTwoToTheTwenty) {
  std::vector<float> x = evenly(-8, 8, 1 << 14), far = evenly(0, 0x1p20f, 1 << 15);
  x.insert(x.end(), far.begin(), far.end());
  std::vector<float> sines = apply([](Expr a) { return emitSinCos(a).sin; }, x);
  std::vector<float> cosines = apply([](Expr a) { return emitSinCos(a).cos; }, x);
  ASSERT_EQ(sines.size(), x.size());
  ASSERT_EQ(cosines.size(), x.size());
  for (size_t i = 0; i < x.size(); ++i) {
    ASSERT_LE(std::abs(sines[i] - std::sin(double(x[i]))), 1e-7) << x[i];
    ASSERT_LE(std::abs(cosines[i] - std::cos(double(x[i]))), 1e-7) << x[i];
  }
}

// All f16 values, through the bits of f32: the conversion has no rounding to hide behind.
TEST_P(MathTest, HalfPrecisionIsExact) {
  std::vector<float> x(1 << 16);
  for (uint32_t i = 0; i < x.size(); ++i) {
    std::memcpy(&x[i], &i, 4);
  }
  std::vector<float> y = apply(
      [](Expr v) { return f16ToF32(truncate(bits(v, v.k->b.getI32Type()), 16)); }, x);
  ASSERT_EQ(y.size(), x.size());
  for (uint32_t i = 0; i < x.size(); ++i) {
    int exponent = (i >> 10) & 31, mantissa = i & 1023;
    double value = exponent == 0    ? std::ldexp(mantissa, -24)
                   : exponent == 31 ? (mantissa ? NAN : INFINITY)
                                    : std::ldexp(1024 + mantissa, exponent - 25);
    value = i & 0x8000 ? -value : value;
    if (std::isnan(value)) {
      ASSERT_TRUE(std::isnan(y[i])) << i;
    } else {
      ASSERT_EQ(y[i], value) << i;
      ASSERT_EQ(std::signbit(y[i]), std::signbit(value)) << i;
    }
  }
}

// An operation that LLVM makes a call of is refused by name.
TEST(Link, NamesUndefinedFunctions) {
  const Target &target = allTargets()[0];
  mlir::MLIRContext context(mlir::MLIRContext::Threading::DISABLED);
  loadKernelDialects(context);
  mlir::OwningOpRef<mlir::ModuleOp> module = mlir::ModuleOp::create(mlir::UnknownLoc::get(&context));
  KernelSpec spec;
  spec.family = KernelFamily::Activate;
  spec.k = 64;
  KernelBuilder k(spec, target, *module);
  Expr out = k.operand(1);
  // A conversion from f16 without F16C is a call.
  k.forTiles([&](Expr i) {
    Expr half = k.load(k.at(k.operand(0), i), k.b.getF16Type());
    k.store(toF64(half), out);
  });
  k.finish();
  auto object = generateObject(*module, target, false);
  ASSERT_TRUE(object.ok()) << object.status();
  auto image = linkImage(object->bytes, target, {kernelName(spec)});
  ASSERT_FALSE(image.ok());
  EXPECT_NE(image.status().message().find("__extendhfsf2"), absl::string_view::npos) << image.status();
}

INSTANTIATE_TEST_SUITE_P(Targets, MathTest, ::testing::ValuesIn(runnableTargets()),
                         [](const ::testing::TestParamInfo<const Target *> &info) {
                           std::string name = info.param->name;
                           std::replace(name.begin(), name.end(), '-', '_');
                           return name;
                         });

} // namespace
