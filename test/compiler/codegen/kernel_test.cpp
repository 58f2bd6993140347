// Kernel specifications as text: names tell specifications apart, attributes round trip, extents follow the ABI.
#include "compiler/codegen/kernel.h"

#include <set>

#include "compiler/codegen/pack.h"
#include "gtest/gtest.h"

namespace emoe {
namespace {

class Kernel : public ::testing::Test {
protected:
  Kernel() { context.loadDialect<EmoeDialect>(); }
  LayoutAttr layout(unsigned bits, FloatType type = FloatType::F16) {
    return LayoutAttr::get(&context, bits, type, bits < 16 ? 32 : 0, ZeroPoint::Symmetric, Codebook::Integer, 16);
  }
  KernelSpec linear() {
    KernelSpec spec;
    spec.family = KernelFamily::Linear;
    spec.n = 64, spec.k = 128, spec.layout = layout(4), spec.quantizedActivations = true;
    return spec;
  }
  // Specifications that differ in one field from the first.
  std::vector<KernelSpec> variants() {
    std::vector<KernelSpec> specs{linear()};
    auto add = [&](auto change) {
      specs.push_back(linear());
      change(specs.back());
    };
    add([&](KernelSpec &s) { s.family = KernelFamily::GateUp; });
    add([&](KernelSpec &s) { s.n = 65; });
    add([&](KernelSpec &s) { s.k = 64, s.n = 128; });
    add([&](KernelSpec &s) { s.heads = 2; });
    add([&](KernelSpec &s) { s.kvHeads = 2; });
    add([&](KernelSpec &s) { s.headDim = 2; });
    add([&](KernelSpec &s) { s.rotated = 2; });
    add([&](KernelSpec &s) { s.topK = 2; });
    add([&](KernelSpec &s) { s.window = 2; });
    add([&](KernelSpec &s) { s.layout = layout(8); });
    add([&](KernelSpec &s) { s.layout = layout(16); });
    add([&](KernelSpec &s) { s.layout = layout(16, FloatType::BF16); });
    add([&](KernelSpec &s) { s.layout = layout(32, FloatType::F32); });
    add([&](KernelSpec &s) { s.quantizedActivations = false; });
    add([&](KernelSpec &s) { s.gated = true; });
    add([&](KernelSpec &s) { s.hasBias = true; });
    add([&](KernelSpec &s) { s.hasResidual = true; });
    add([&](KernelSpec &s) { s.hasSinks = true; });
    add([&](KernelSpec &s) { s.softmaxAfter = true; });
    add([&](KernelSpec &s) { s.renormalise = true; });
    add([&](KernelSpec &s) { s.norm = NormKind::Layer; });
    add([&](KernelSpec &s) { s.activation = Activation::GeluTanh; });
    add([&](KernelSpec &s) { s.score = ScoreFunction::Sigmoid; });
    add([&](KernelSpec &s) { s.score = ScoreFunction::None; });
    add([&](KernelSpec &s) { s.rotary = RotaryStyle::Interleaved; });
    add([&](KernelSpec &s) { s.digits = 11; });
    add([&](KernelSpec &s) { s.epsilon = 1e-6f; });
    add([&](KernelSpec &s) { s.epsilon = 1.0000001e-6f; });
    add([&](KernelSpec &s) { s.scale = -0.5f; });
    add([&](KernelSpec &s) { s.softcap = 30; });
    return specs;
  }
  mlir::MLIRContext context;
};

TEST_F(Kernel, NamesAreReadableAndUnique) {
  EXPECT_EQ(kernelName(linear()), "linear_q4g32f16_n64_k128_q8");
  std::set<std::string> names;
  for (const KernelSpec &spec : variants()) {
    std::string name = kernelName(spec);
    EXPECT_TRUE(names.insert(name).second) << name;
    EXPECT_EQ(name.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_"), std::string::npos) << name;
  }
}

TEST_F(Kernel, SpecificationsRoundTripThroughAttributes) {
  for (const KernelSpec &spec : variants()) {
    absl::StatusOr<KernelSpec> back = specFromAttr(specToAttr(&context, spec));
    ASSERT_TRUE(back.ok()) << back.status();
    EXPECT_EQ(kernelName(*back), kernelName(spec));
  }
  KernelSpec add;
  EXPECT_EQ(specToAttr(&context, add).size(), 1u); // the family alone
}

TEST_F(Kernel, WrongAttributesAreRefused) {
  mlir::Builder b(&context);
  auto refuses = [&](llvm::StringRef key, mlir::Attribute value) {
    llvm::SmallVector<mlir::NamedAttribute> fields(specToAttr(&context, linear()).getValue());
    llvm::erase_if(fields, [&](mlir::NamedAttribute field) { return field.getName() == key; });
    if (value) {
      fields.push_back(b.getNamedAttr(key, value));
    }
    return !specFromAttr(b.getDictionaryAttr(fields)).ok();
  };
  EXPECT_FALSE(refuses("n", b.getI64IntegerAttr(3)));
  EXPECT_TRUE(refuses("n", b.getI32IntegerAttr(3)));
  EXPECT_TRUE(refuses("n", b.getI64IntegerAttr(-3)));
  EXPECT_TRUE(refuses("family", b.getStringAttr("conv")));
  EXPECT_TRUE(refuses("family", nullptr));
  EXPECT_TRUE(refuses("layout", nullptr));
  EXPECT_TRUE(refuses("activation", b.getStringAttr("swish")));
  EXPECT_TRUE(refuses("epsilon", b.getF64FloatAttr(1)));
  EXPECT_TRUE(refuses("padding", b.getUnitAttr()));
}

TEST_F(Kernel, ExtentsAndTilesFollowTheAbi) {
  EXPECT_EQ(f32RowBytes(1), 256u);
  EXPECT_EQ(f32RowBytes(64), 256u);
  EXPECT_EQ(q8RowBytes(65), 128u + 4 * 4 + 4 * 4);
  KernelSpec spec = linear();
  spec.n = 65, spec.hasResidual = true, spec.hasBias = true;
  std::vector<OperandExtent> extents = operandExtents(spec);
  ASSERT_EQ(extents.size(), 5u);
  EXPECT_EQ(extents[0].perToken, q8RowBytes(128));
  EXPECT_EQ(extents[1].fixed, 5 * 2 * (64u + 512));
  EXPECT_EQ(extents[2].perToken, f32RowBytes(65));
  EXPECT_EQ(extents[4].fixed, 320u); // 65 floats, to whole lines
  EXPECT_EQ(tileCount(spec).fixed, 5u);
  spec = linear();
  spec.family = KernelFamily::GateUp, spec.n = 33, spec.gated = true;
  extents = operandExtents(spec);
  EXPECT_EQ(extents[1].fixed, 2 * 3 * 2 * (64u + 512));
  EXPECT_EQ(extents[2].perToken, q8RowBytes(33));
  EXPECT_EQ(tileCount(spec).fixed, 2u);
  spec = {};
  spec.family = KernelFamily::Attention, spec.heads = 6, spec.kvHeads = 3, spec.headDim = 5;
  extents = operandExtents(spec);
  EXPECT_EQ(extents[1].perPosition, 60u);
  spec.kvBits = 16;
  EXPECT_EQ(operandExtents(spec)[1].perPosition, 30u);
  EXPECT_EQ(tileCount(spec).perToken, 6u);
}

} // namespace
} // namespace emoe
