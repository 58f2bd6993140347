// Damaged models all the way through raising: each ends in a clear error, or in a model that imports, raises and proves;
// in little time and memory, never in a crash. The seed is fixed: a failure names its case.
#include <chrono>

#include <sys/resource.h>

#include "compiler/raise/prove.h"
#include "compiler/raise/raise.h"
#include "compiler/simplify/simplify.h"
#include "dialects/emoe/emoe.h"
#include "test/frontends/onnx/support.h"
#include "test/support/small_onnx.h"

namespace emoe {
namespace {

using onnx::test::Imported;
using onnx::test::TempFolder;

long peakMegabytes() {
  struct rusage usage;
  ::getrusage(RUSAGE_SELF, &usage);
  return usage.ru_maxrss / 1024;
}

enum class End { Refused, NotRaised, Proven };

// Where the model ends; checks what each end promises.
End endOf(const TempFolder &folder, const std::string &bytes) {
  const auto start = std::chrono::steady_clock::now();
  Imported imported(folder.write("model.onnx", bytes));
  End end = End::Refused;
  if (!imported.ok()) {
    EXPECT_NE(imported.message().find("model.onnx"), std::string::npos) << imported.message();
    EXPECT_NE(imported.code(), absl::StatusCode::kInternal) << imported.message();
  } else {
    imported.context.loadDialect<EmoeDialect>();
    mlir::ModuleOp module = **imported.module;
    std::string errors;
    mlir::ScopedDiagnosticHandler handler(&imported.context, [&](mlir::Diagnostic &diagnostic) {
      errors += diagnostic.getSeverity() == mlir::DiagnosticSeverity::Error ? diagnostic.str() + "\n" : "";
      return mlir::success();
    });
    auto function = module.lookupSymbol<mlir::func::FuncOp>("main");
    EXPECT_TRUE(function);
    mlir::OwningOpRef<mlir::ModuleOp> original;
    bool raised = mlir::succeeded(simplify(module));
    if (raised) {
      original = module.clone();
      EvaluatingProver prover(function, &imported.store);
      raised = mlir::succeeded(raiseModel(module, imported.store, &prover));
    }
    end = raised ? End::Proven : End::NotRaised;
    if (raised) {
      EXPECT_TRUE(mlir::succeeded(mlir::verify(module)));
      EXPECT_TRUE(mlir::succeeded(proveModel(*original, module, &imported.store, /*realWeights=*/false))) << errors;
    } else {
      EXPECT_NE(errors, "") << "it failed without a word";
    }
  }
  const std::chrono::duration<double> seconds = std::chrono::steady_clock::now() - start;
  EXPECT_LT(seconds.count(), 10.0);
  return end;
}

TEST(RaiseMutation, TheDecoderItselfIsProven) {
  TempFolder folder;
  EXPECT_EQ(endOf(folder, emoe::test::onnxDecoder()), End::Proven);
}

TEST(RaiseMutation, Truncations) {
  const std::string good = emoe::test::onnxDecoder();
  TempFolder folder;
  for (size_t size = 0; size < good.size(); size += 41) {
    SCOPED_TRACE(size);
    EXPECT_NE(endOf(folder, good.substr(0, size)), End::Proven);
  }
  EXPECT_LT(peakMegabytes(), 1024);
}

// How often each end was reached.
struct Ends {
  int refused = 0, notRaised = 0, proven = 0;
  void add(End end) { ++(end == End::Refused ? refused : end == End::NotRaised ? notRaised : proven); }
  void print() const {
    std::printf("%d refused by the importer, %d not raised, %d raised and proven; peak %ld MB\n", refused, notRaised,
                proven, peakMegabytes());
  }
};

TEST(RaiseMutation, AThousandDamagedDecoders) {
  const std::string good = emoe::test::onnxDecoder();
  TempFolder folder;
  Ends ends;
  for (unsigned seed = 0; seed < 1000; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    ends.add(endOf(folder, emoe::test::damaged(good, seed)));
  }
  ends.print();
  // Most bytes are the file's structure; damage to weights alone leaves a model.
  EXPECT_GT(ends.refused, 100);
  EXPECT_GT(ends.proven, 100);
  EXPECT_LT(peakMegabytes(), 1024);
}

} // namespace
} // namespace emoe
