// Quantised weights of a graph become matrices with names: their values, and what is refused.
#include "compiler/simplify/dequantise.h"

#include <cstring>
#include <string>
#include <vector>

#include "dialects/emoe/emoe.h"
#include "dialects/onnx/onnx.h"
#include "gtest/gtest.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Parser/Parser.h"

namespace emoe {
namespace {

template <typename T> std::vector<uint8_t> bytesOf(const std::vector<T> &values) {
  std::vector<uint8_t> bytes(values.size() * sizeof(T));
  std::memcpy(bytes.data(), values.data(), bytes.size());
  return bytes;
}

class DequantiseTest : public ::testing::Test {
protected:
  // Parses `text`, in which "codes", "scales" and "zeros" are files, and names its quantised weights.
  bool run(const std::string &text, const std::string &device = "") {
    context.loadDialect<onnx::OnnxDialect, EmoeDialect, mlir::func::FuncDialect>();
    mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) { errors += diagnostic.str(); });
    module = mlir::parseSourceString<mlir::ModuleOp>(text, &context);
    return module && mlir::succeeded(nameQuantised(*module, store, device));
  }

  template <typename OpT> OpT only() {
    OpT found;
    module->walk([&](OpT op) {
      EXPECT_FALSE(found);
      found = op;
    });
    return found;
  }

  // The values of the one tensor with a name of its own.
  std::vector<float> values() {
    for (auto tensor : module->getOps<onnx::TensorOp>()) {
      if (tensor.getSource().getFile().getValue().starts_with("<quantised:")) {
        auto shape = mlir::cast<mlir::RankedTensorType>(tensor.getType()).getShape();
        std::vector<float> out(mlir::ShapedType::getNumElements(shape));
        EXPECT_TRUE(store.readTensor(tensor.getSource(), absl::Span<const int64_t>(shape.data(), shape.size()), out.data()).ok());
        return out;
      }
    }
    return {};
  }

  mlir::MLIRContext context;
  WeightStore store;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string errors;
};

// 2 x 20 in blocks of 16: the second block of each row is padded to 16 codes.
constexpr const char *kProduct = R"(
onnx.tensor @codes : tensor<2x2x8xui8> #emoe.source<"codes", 0, ui8, [16, 8, 1]>
onnx.tensor @scales : tensor<2x2xf32> #emoe.source<"scales", 0, f32, [2, 1]>
onnx.tensor @zeros : tensor<2x1xui8> #emoe.source<"zeros", 0, ui8, [1, 1]>
func.func @main(%x: tensor<?x20xf32>) -> tensor<?x2xf32> {
  %codes = onnx.initializer @codes : tensor<2x2x8xui8>
  %scales = onnx.initializer @scales : tensor<2x2xf32>
  %zeros = onnx.initializer @zeros : tensor<2x1xui8>
  %y = onnx.com.microsoft.MatMulNBits OPERANDS
      {K = 20 : i64, N = 2 : i64, bits = 4 : i64, block_size = BLOCK : i64, OPTIONS} : TYPES -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
})";

std::string product(bool zeros, int block = 16, const std::string &options = "accuracy_level = 0 : i64") {
  std::string text = kProduct;
  auto put = [&](const std::string &what, const std::string &by) { text.replace(text.find(what), what.size(), by); };
  put("OPERANDS", zeros ? "%x, %codes, %scales, %zeros" : "%x, %codes, %scales");
  put("TYPES", zeros ? "(tensor<?x20xf32>, tensor<2x2x8xui8>, tensor<2x2xf32>, tensor<2x1xui8>)"
                     : "(tensor<?x20xf32>, tensor<2x2x8xui8>, tensor<2x2xf32>)");
  put("BLOCK", std::to_string(block));
  put("OPTIONS", options + ", operandSegmentSizes = array<i32: 1, 1, 1, " + (zeros ? "1" : "0") + ", 0, 0>");
  return text;
}

void addFiles(WeightStore &store) {
  std::vector<uint8_t> codes(32);
  for (size_t i = 0; i < codes.size(); ++i) {
    codes[i] = static_cast<uint8_t>(i * 37 + 11);
  }
  store.addDecoded("codes", codes);
  store.addDecoded("scales", bytesOf(std::vector<float>{0.5f, -0.25f, 1, 2}));  // scales may be negative
  store.addDecoded("zeros", {0x31, 0xf0});
}

int code(int row, int column) {
  const int byte = static_cast<uint8_t>((row * 16 + column / 2) * 37 + 11);
  return column % 2 ? byte >> 4 : byte & 15;
}

constexpr float kScales[2][2] = {{0.5f, -0.25f}, {1, 2}};

TEST_F(DequantiseTest, ProductIsAMatMulOfTheDecodedMatrix) {
  addFiles(store);
  ASSERT_TRUE(run(product(false))) << errors;
  EXPECT_TRUE(only<onnx::MatMulOp>());
  EXPECT_FALSE(only<onnx::MsMatMulNBitsOp>());
  const std::vector<float> got = values();
  ASSERT_EQ(got.size(), 40u);
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 20; ++column) {
      EXPECT_EQ(got[row * 20 + column], (code(row, column) - 8) * kScales[row][column / 16]) << row << " " << column;
    }
  }
}

TEST_F(DequantiseTest, ZeroPointsArePackedByRow) {
  addFiles(store);
  ASSERT_TRUE(run(product(true))) << errors;
  const std::vector<float> got = values();
  ASSERT_EQ(got.size(), 40u);
  constexpr int kZeros[2][2] = {{1, 3}, {0, 15}};
  for (int row = 0; row < 2; ++row) {
    for (int column = 0; column < 20; ++column) {
      EXPECT_EQ(got[row * 20 + column], (code(row, column) - kZeros[row][column / 16]) * kScales[row][column / 16]);
    }
  }
}

TEST_F(DequantiseTest, ProductsInAnOrderOfTheirOwnAreRefused) {
  addFiles(store);
  EXPECT_FALSE(run(product(false, 16, "weight_prepacked = 1 : i64")));
  EXPECT_NE(errors.find("packed for one device (weight_prepacked) are not supported; export without"), std::string::npos)
      << errors;
}

TEST_F(DequantiseTest, BlocksThatAreNoneAreRefused) {
  addFiles(store);
  EXPECT_FALSE(run(product(false, 8)));
  EXPECT_NE(errors.find("weights of 4 bits in blocks of 8 are not known"), std::string::npos) << errors;
}

TEST_F(DequantiseTest, CodesThatEndBeforeTheMatrixAreRefused) {
  store.addDecoded("codes", std::vector<uint8_t>(31));
  store.addDecoded("scales", bytesOf(std::vector<float>(4, 1)));
  store.addDecoded("zeros", {0, 0});
  // The last row's last four codes are padding: 31 bytes would hold all that is read, 25 do not.
  EXPECT_TRUE(run(product(false))) << errors;
  WeightStore shorter;
  shorter.addDecoded("codes", std::vector<uint8_t>(25));
  shorter.addDecoded("scales", bytesOf(std::vector<float>(4, 1)));
  shorter.addDecoded("zeros", {0, 0});
  module = mlir::parseSourceString<mlir::ModuleOp>(product(false), &context);
  mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) { errors += diagnostic.str(); });
  EXPECT_TRUE(mlir::failed(nameQuantised(*module, shorter, "")));
  EXPECT_NE(errors.find("its quantised weights cannot be read"), std::string::npos) << errors;
}

// 2 experts, [2, 16] and [16, 2]: rows of the second matrix take half a byte more than they hold.
std::string mixture(const std::string &options) {
  return R"(
onnx.tensor @codes : tensor<2x2x8xui8> #emoe.source<"codes", 0, ui8, [16, 8, 1]>
onnx.tensor @scales : tensor<2x2xf32> #emoe.source<"scales", 0, f32, [2, 1]>
onnx.tensor @codes2 : tensor<2x16x1xui8> #emoe.source<"codes", 0, ui8, [16, 1, 1]>
onnx.tensor @scales2 : tensor<2x16xf32> #emoe.source<"scales2", 0, f32, [16, 1]>
func.func @main(%x: tensor<?x16xf32>, %scores: tensor<?x2xf32>) -> tensor<?x16xf32> {
  %codes = onnx.initializer @codes : tensor<2x2x8xui8>
  %scales = onnx.initializer @scales : tensor<2x2xf32>
  %codes2 = onnx.initializer @codes2 : tensor<2x16x1xui8>
  %scales2 = onnx.initializer @scales2 : tensor<2x16xf32>
  %y = onnx.com.microsoft.QMoE %x, %scores, %codes, %scales, %codes2, %scales2
      {activation_type = "relu", )" + options + R"(,
       operandSegmentSizes = array<i32: 1, 1, 1, 1, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0>}
      : (tensor<?x16xf32>, tensor<?x2xf32>, tensor<2x2x8xui8>, tensor<2x2xf32>, tensor<2x16x1xui8>, tensor<2x16xf32>)
      -> tensor<?x16xf32>
  return %y : tensor<?x16xf32>
})";
}

TEST_F(DequantiseTest, MixtureKeepsFloatWeights) {
  addFiles(store);
  store.addDecoded("scales2", bytesOf(std::vector<float>(32, 3)));
  ASSERT_TRUE(run(mixture("expert_weight_bits = 4 : i64"))) << errors;
  auto op = only<onnx::MsQMoEOp>();
  ASSERT_TRUE(op);
  EXPECT_FALSE(op.getFc1Scales());
  EXPECT_FALSE(op.getFc2Scales());
  EXPECT_EQ(mlir::cast<mlir::RankedTensorType>(op.getFc2ExpertsWeights().getType()).getShape(),
            (llvm::ArrayRef<int64_t>{2, 16, 2}));
  const std::vector<float> got = values();  // of the first matrices
  ASSERT_EQ(got.size(), 64u);
  for (int row = 0; row < 4; ++row) {
    for (int column = 0; column < 16; ++column) {
      const int byte = static_cast<uint8_t>((row * 8 + column / 2) * 37 + 11);
      const int own = column % 2 ? byte >> 4 : byte & 15;
      EXPECT_EQ(got[row * 16 + column], (own - 8) * kScales[row / 2][row % 2]);
    }
  }
}

// Zero points of blocks are packed row by row, even where a row is one block; those of whole rows across the rows.
class MixtureZeros : public DequantiseTest, public ::testing::WithParamInterface<bool> {};

TEST_P(MixtureZeros, ArePackedByTheirRank) {
  const bool blocks = GetParam();
  addFiles(store);
  store.addDecoded("zeros4", {0x21, 0x43, 0x65, 0x87});
  store.addDecoded("scales2", bytesOf(std::vector<float>(32, 3)));
  std::string text = mixture(blocks ? "expert_weight_bits = 4 : i64, block_size = 16 : i64" : "expert_weight_bits = 4 : i64");
  auto replace = [&](const std::string &from, const std::string &to) {
    ASSERT_NE(text.find(from), std::string::npos) << from;
    text.replace(text.find(from), from.size(), to);
  };
  const std::string type = blocks ? "tensor<2x2x1xui8>" : "tensor<2x1xui8>";
  replace("func.func", "onnx.tensor @zeros : " + type + " #emoe.source<\"zeros4\", 0, ui8, [" + (blocks ? "2, 1, 1" : "1, 1") +
                           "]>\nfunc.func");
  replace("  %y =", "  %zeros = onnx.initializer @zeros : " + type + "\n  %y =");
  replace("%scales2\n", "%scales2, %zeros\n");
  replace("1, 1, 0, 0, 0, 0, 0", "1, 1, 0, 0, 0, 0, 1");
  replace("tensor<2x16xf32>)\n      ->", "tensor<2x16xf32>, " + type + ")\n      ->");
  ASSERT_TRUE(run(text)) << errors;
  const std::vector<float> got = values();
  ASSERT_EQ(got.size(), 64u);
  for (int row = 0; row < 4; ++row) {
    const int zero = blocks ? 2 * row + 1 : row + 1, byte = static_cast<uint8_t>(row * 8 * 37 + 11);
    EXPECT_EQ(got[row * 16], ((byte & 15) - zero) * kScales[row / 2][row % 2]) << row << (blocks ? " block" : " row");
  }
}

INSTANTIATE_TEST_SUITE_P(OfRowsAndBlocks, MixtureZeros, ::testing::Bool());

TEST_F(DequantiseTest, BytesForOneDeviceAreRefused) {
  addFiles(store);
  store.addDecoded("scales2", bytesOf(std::vector<float>(32, 3)));
  EXPECT_FALSE(run(mixture("weights_prepacked = 1 : i64")));
  EXPECT_NE(errors.find("permuted for CUDA kernels"), std::string::npos) << errors;
  errors.clear();
  EXPECT_FALSE(run(mixture("expert_weight_bits = 4 : i64"), "cuda"));  // the default means: as the device has them
  EXPECT_NE(errors.find("permuted for CUDA kernels"), std::string::npos) << errors;
  errors.clear();
  EXPECT_FALSE(run(mixture("quant_type = \"fp4\"")));
  EXPECT_NE(errors.find("experts in the form \"fp4\" with 4 bits are not supported"), std::string::npos) << errors;
}

// Blocks along the rows, as exports for MatMul with [inputs, outputs] have them; and one scale for all.
TEST_F(DequantiseTest, DequantizeLinearIsAWeight) {
  addFiles(store);
  ASSERT_TRUE(run(R"(
onnx.tensor @codes : tensor<4x2xui8> #emoe.source<"codes", 0, ui8, [2, 1]>
onnx.tensor @scales : tensor<2x2xf32> #emoe.source<"scales", 0, f32, [2, 1]>
func.func @main(%x: tensor<?x4xf32>) -> tensor<?x2xf32> {
  %codes = onnx.initializer @codes : tensor<4x2xui8>
  %scales = onnx.initializer @scales : tensor<2x2xf32>
  %w = onnx.DequantizeLinear %codes, %scales {axis = 0 : i64, block_size = 2 : i64}
      : (tensor<4x2xui8>, tensor<2x2xf32>) -> tensor<4x2xf32>
  %y = onnx.MatMul %x, %w : (tensor<?x4xf32>, tensor<4x2xf32>) -> tensor<?x2xf32>
  return %y : tensor<?x2xf32>
})")) << errors;
  EXPECT_FALSE(only<onnx::DequantizeLinearOp>());
  const std::vector<float> got = values();
  ASSERT_EQ(got.size(), 8u);
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(got[i], static_cast<uint8_t>(i * 37 + 11) * kScales[i / 4][i % 2]);
  }
}

TEST_F(DequantiseTest, AxesThatAreNotSupportedAreNamed) {
  addFiles(store);
  EXPECT_FALSE(run(R"(
onnx.tensor @codes : tensor<2x2x2xui8> #emoe.source<"codes", 0, ui8, [4, 2, 1]>
onnx.tensor @scales : tensor<2xf32> #emoe.source<"scales", 0, f32, [1]>
func.func @main() -> tensor<2x2x2xf32> {
  %codes = onnx.initializer @codes : tensor<2x2x2xui8>
  %scales = onnx.initializer @scales : tensor<2xf32>
  %w = onnx.DequantizeLinear %codes, %scales {axis = 0 : i64} : (tensor<2x2x2xui8>, tensor<2xf32>) -> tensor<2x2x2xf32>
  return %w : tensor<2x2x2xf32>
})"));
  EXPECT_NE(errors.find("dequantises along axis 0 of 3, which is not supported"), std::string::npos) << errors;
}

} // namespace
} // namespace emoe
