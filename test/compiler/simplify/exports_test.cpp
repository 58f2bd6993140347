// Raises real exports of one model by two tools and compares what comes out.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <regex>
#include <string>
#include <vector>

#include "compiler/raise/raise.h"
#include "compiler/simplify/simplify.h"
#include "dialects/emoe/emoe.h"
#include "dialects/onnx/onnx.h"
#include "frontends/onnx/onnx.h"
#include "gtest/gtest.h"
#include "mlir/IR/Diagnostics.h"
#include "llvm/ADT/StringExtras.h"
#include "llvm/Support/xxhash.h"
#include "mlir/IR/Verifier.h"

namespace emoe {
namespace {

std::string sharedPath(const std::string &relative) {
  const char *shared = std::getenv("EMOE_SHARED");
  return std::string(shared ? shared : EMOE_SHARED_DIR) + "/" + relative;
}

#define SKIP_WITHOUT(path)                                                                                            \
  if (!std::filesystem::exists(path)) {                                                                               \
    GTEST_SKIP() << path << " is missing: set EMOE_SHARED to the folder with models/ and zoo/";                       \
  }

struct RaisedModel {
  mlir::MLIRContext context;
  WeightStore store;
  mlir::OwningOpRef<mlir::ModuleOp> module;
  std::string errors;
  bool raised = false;

  explicit RaisedModel(const std::string &path) {
    mlir::ScopedDiagnosticHandler handler(&context, [&](mlir::Diagnostic &diagnostic) {
      if (diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error) {
        errors += diagnostic.str() + "\n";
      }
    });
    auto imported = onnx::importModel(path, context, store);
    if (!imported.ok()) {
      errors = imported.status().ToString();
      return;
    }
    module = std::move(*imported);
    raised = mlir::succeeded(simplify(*module)) && mlir::succeeded(raiseModel(*module, store, nullptr)) &&
             mlir::succeeded(mlir::verify(*module));
  }

  // The module's text without the places of its weights and what the file says of itself.
  std::string text() {
    for (mlir::NamedAttribute attribute : llvm::to_vector((*module)->getAttrs())) {
      if (attribute.getName().getValue().starts_with("onnx.")) {
        (*module)->removeAttr(attribute.getName());
      }
    }
    std::string text;
    llvm::raw_string_ostream stream(text);
    module->print(stream);
    return std::regex_replace(text, std::regex(R"re(<"[^"]*", [0-9]+, [a-z0-9]+, \[[^\]]*\]>)re"), "<>");
  }

  std::vector<std::string> hashes() {
    std::vector<std::string> hashes;
    for (WeightOp weight : module->getOps<WeightOp>()) {
      auto hash = store.contentHash(weight.getSource(), weight.getShape()[0], weight.getShape()[1]);
      hashes.push_back(weight.getSymName().str() + " " + (hash.ok() ? *hash : hash.status().ToString()));
    }
    return hashes;
  }

  // What each op of the raised function computes, written without names and places: attributes, the contents of its
  // weights, and what its operands are; operands of sums and products in any order. Equal models have equal sets.
  std::vector<std::string> meanings() {
    llvm::StringMap<std::string> contents;
    for (WeightOp weight : module->getOps<WeightOp>()) {
      auto hash = store.contentHash(weight.getSource(), weight.getShape()[0], weight.getShape()[1]);
      contents[weight.getSymName()] = hash.ok() ? *hash : hash.status().ToString();
    }
    llvm::DenseMap<mlir::Value, std::string> of;
    std::vector<std::string> all;
    auto main = module->lookupSymbol<mlir::func::FuncOp>("main");
    of[main.getArgument(0)] = "ids";
    for (mlir::Operation &op : main.getBody().front()) {
      std::string text = op.getName().getStringRef().str() + " (";
      std::vector<std::string> operands;
      for (mlir::Value operand : op.getOperands()) {
        operands.push_back(of.lookup(operand));
      }
      if (mlir::isa<AddOp, MulOp>(op)) {
        std::sort(operands.begin(), operands.end());
      }
      for (const std::string &operand : operands) {
        text += operand + " ";
      }
      text += ")";
      mlir::AttrTypeReplacer replacer;
      replacer.addReplacement([&](mlir::FlatSymbolRefAttr symbol) -> std::optional<mlir::Attribute> {
        return mlir::FlatSymbolRefAttr::get(&context, contents[symbol.getValue()]);
      });
      // One tool computes a table of cosines in float64, another the frequencies in float32.
      replacer.addReplacement([&](mlir::DenseF32ArrayAttr frequencies) -> std::optional<mlir::Attribute> {
        llvm::SmallVector<float> rounded;
        for (float frequency : frequencies.asArrayRef()) {
          char digits[32];
          std::snprintf(digits, sizeof(digits), "%.5e", frequency);
          rounded.push_back(std::strtof(digits, nullptr));
        }
        return mlir::DenseF32ArrayAttr::get(&context, rounded);
      });
      llvm::raw_string_ostream(text) << replacer.replace(op.getAttrDictionary());
      all.push_back(text);
      const std::string digest = llvm::utohexstr(llvm::xxh3_64bits(text));
      for (auto [index, result] : llvm::enumerate(op.getResults())) {
        of[result] = digest + "#" + std::to_string(index);
      }
    }
    std::sort(all.begin(), all.end());
    return all;
  }

  template <typename OpT> size_t count() {
    size_t count = 0;
    module->walk([&](OpT) { ++count; });
    return count;
  }
};

// Exports of one checkpoint by different tools, in groups.
class EqualExports : public ::testing::TestWithParam<std::vector<const char *>> {};

TEST_P(EqualExports, RaiseToTheSameModel) {
  std::vector<std::string> first;
  for (const char *name : GetParam()) {
    const std::string path = sharedPath(std::string(name) + "/model.onnx");
    SKIP_WITHOUT(path);
    RaisedModel model(path);
    ASSERT_TRUE(model.raised) << name << ": " << model.errors;
    std::vector<std::string> meanings = model.meanings();
    if (first.empty()) {
      first = meanings;
    }
    ASSERT_EQ(first.size(), meanings.size()) << name;
    for (size_t op = 0; op < first.size(); ++op) {
      ASSERT_EQ(first[op], meanings[op]) << name;
    }
  }
}

INSTANTIATE_TEST_SUITE_P(
    Groups, EqualExports,
    ::testing::Values(std::vector<const char *>{"zoo/qwen3_moe-hf5-batched_mm", "zoo/qwen3_moe-hf5-grouped_mm",
                                                "zoo/qwen3_moe-hf5-batched_mm-torchdynamo",
                                                "zoo/qwen3_moe-hf5-batched_mm-ort_cpu",
                                                "zoo/qwen3_moe-hf5-batched_mm-ort_cuda", "zoo/qwen3_moe-mobius-cpu"},
                      std::vector<const char *>{"zoo/mixtral-hf5-batched_mm", "zoo/mixtral-mobius-cpu"},
                      std::vector<const char *>{"zoo/qwen3_moe-optimum", "zoo/qwen3_moe-optimum-ext2"},
                      std::vector<const char *>{"models/bookmoe-5m/hf5", "models/bookmoe-5m/optimum"}));

TEST(RaiseExports, TwoExportersOfOneModelGiveTheSameModule) {
  const std::string hf = sharedPath("models/bookmoe-5m/hf5/model.onnx");
  const std::string optimum = sharedPath("models/bookmoe-5m/optimum/model.onnx");
  SKIP_WITHOUT(hf);
  SKIP_WITHOUT(optimum);
  RaisedModel a(hf), b(optimum);
  ASSERT_TRUE(a.raised) << a.errors;
  ASSERT_TRUE(b.raised) << b.errors;
  // Line by line: the texts are long.
  llvm::SmallVector<llvm::StringRef> aLines, bLines;
  const std::string aText = a.text(), bText = b.text();
  llvm::StringRef(aText).split(aLines, '\n');
  llvm::StringRef(bText).split(bLines, '\n');
  ASSERT_EQ(aLines.size(), bLines.size());
  for (size_t line = 0; line < aLines.size(); ++line) {
    ASSERT_EQ(aLines[line].str(), bLines[line].str()) << "line " << line;
  }
  EXPECT_EQ(a.hashes(), b.hashes());
  EXPECT_EQ(a.count<AttentionOp>(), 6u);
  EXPECT_EQ(a.count<MoeOp>(), 6u);
  // embed (tied with the head), norm; per layer 4 projections, 2 + 2 norms, a router, 3 matrices of 16 experts
  EXPECT_EQ(a.count<WeightOp>(), 2u + 6 * (4 + 4 + 1 + 3 * 16));
}

TEST(RaiseExports, LargerModel) {
  const std::string path = sharedPath("models/bookmoe-28m/hf5/model.onnx");
  SKIP_WITHOUT(path);
  RaisedModel model(path);
  ASSERT_TRUE(model.raised) << model.errors;
  EXPECT_EQ(model.count<AttentionOp>(), 8u);
  EXPECT_EQ(model.count<MoeOp>(), 8u);
  model.module->walk([](MoeOp moe) { EXPECT_EQ(moe.getUp().size(), 32u); });
}

// A tracer that saw only some experts: never a smaller mixture, always an error that says so.
TEST(RaiseExports, LostExpertsAreAnError) {
  const std::string path = sharedPath("zoo/qwen3_moe-torchscript-BROKEN/model.onnx");
  SKIP_WITHOUT(path);
  RaisedModel model(path);
  EXPECT_FALSE(model.raised);
  EXPECT_FALSE(model.errors.empty());
  RecordProperty("error", model.errors);
}

class ZooExports : public testing::TestWithParam<const char *> {};

TEST_P(ZooExports, Raise) {
  const std::string path = sharedPath(std::string("zoo/") + GetParam() + "/model.onnx");
  SKIP_WITHOUT(path);
  RaisedModel model(path);
  ASSERT_TRUE(model.raised) << model.errors;
  EXPECT_EQ(model.count<AttentionOp>(), 2u);
  EXPECT_EQ(model.count<MoeOp>(), 2u);
}

INSTANTIATE_TEST_SUITE_P(Zoo, ZooExports,
                         testing::Values("qwen3_moe-hf5-batched_mm", "qwen3_moe-hf5-batched_mm-bfloat16",
                                         "qwen3_moe-hf5-batched_mm-float16", "qwen3_moe-optimum",
                                         "qwen3_moe-optimum-ext2", "qwen3_moe-optimum-fp16",
                                         "olmoe-hf5-batched_mm", "mixtral-hf5-batched_mm"));

} // namespace
} // namespace emoe
