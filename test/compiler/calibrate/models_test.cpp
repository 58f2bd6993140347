// The shipped model, calibrated in memory, against the same model as a bundle that is written and run.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <iterator>

#include "compiler/calibrate/compare.h"
#include "compiler/calibrate/models.h"
#include "compiler/calibrate/run.h"
#include "compiler/partition/partition.h"
#include "compiler/raise/raise.h"
#include "compiler/schedule/schedule.h"
#include "compiler/simplify/simplify.h"
#include "compiler/tokenizer/tokenizer.h"
#include "frontends/onnx/onnx.h"
#include "mlir/IR/MLIRContext.h"
#include "runtime/bundle/memory_provider.h"
#include "runtime/text/sample.h"

namespace emoe {
namespace {

const std::string kFolder = EMOE_SOURCE_DIR "/test/models/bookmoe-5m/";

class CalibrateModel : public testing::Test {
public:
  static void SetUpTestSuite() {
    // The registry is the import's.
    auto imported = onnx::importModel(kFolder + "model.onnx", *context(), *store());
    ASSERT_TRUE(imported.ok()) << imported.status();
    module() = std::move(*imported);
    ASSERT_TRUE(mlir::succeeded(simplify(*module())));
    ASSERT_TRUE(mlir::succeeded(raiseModel(*module(), *store(), nullptr)));
    auto tables = compileTokenizer(kFolder + "tokenizer.json", {0, 4096});
    ASSERT_TRUE(tables.ok()) << tables.status();
    auto read = readTexts({kFolder + "eval_prose.txt"}, *tables, 8 * kWindow);
    ASSERT_TRUE(read.ok()) << read.status();
    texts() = std::move(*read);
  }
  static void TearDownTestSuite() { module() = nullptr; }

  static LiveOptions live() {
    LiveOptions options;
    options.facts.firstToken = 0;
    options.target = *findTarget("host");
    return options;
  }

  static absl::StatusOr<Calibration> run(uint64_t slotBytes, unsigned threads) {
    auto reference = makeReference(*module(), *store(), live());
    auto shapes = momentShapes(*module());
    if (!reference.ok() || !shapes.ok()) {
      return reference.status();
    }
    CalibrateOptions options;
    options.run = {slotBytes, threads};
    options.shapes = *shapes;
    return calibrate(**reference, texts(), options);
  }

  // A bundle as compileModel writes it, in memory.
  static std::vector<uint8_t> written(const QuantiseOptions &quantiseOptions) {
    mlir::OwningOpRef<mlir::ModuleOp> own = module()->clone();
    EXPECT_TRUE(mlir::succeeded(quantise(*own, quantiseOptions)));
    EXPECT_TRUE(mlir::succeeded(partitionExperts(*own)));
    EXPECT_TRUE(mlir::succeeded(schedule(*own, {})));
    AssembleOptions assembly;
    assembly.facts = live().facts;
    assembly.targets = {live().target};
    auto contents = assemble(*own, *store(), assembly);
    EXPECT_TRUE(contents.ok()) << contents.status();
    auto bytes = writeBundleToMemory(*contents);
    EXPECT_TRUE(bytes.ok()) << bytes.status();
    return *bytes;
  }

  static mlir::MLIRContext *context() {
    static mlir::MLIRContext context;
    return &context;
  }
  static WeightStore *store() {
    static WeightStore store;
    return &store;
  }
  static mlir::OwningOpRef<mlir::ModuleOp> &module() {
    static mlir::OwningOpRef<mlir::ModuleOp> module;
    return module;
  }
  static Texts &texts() {
    static Texts texts;
    return texts;
  }
};

// What a session of a bundle in memory says about windows: token by token losses, and whom each token chose.
struct Said {
  std::vector<double> losses;
  std::vector<std::vector<float>> logits;
  std::vector<int32_t> experts; // [layer][token][k] of one window after another
};

Said say(const std::vector<uint8_t> &bytes, const std::vector<const Window *> &windows) {
  rt::MemoryProvider provider(bytes.data(), bytes.size());
  rt::Bundle bundle;
  EXPECT_TRUE(rt::OpenBundle(provider, &bundle).ok());
  Said said;
  struct Traced {
    std::vector<std::vector<int32_t>> layers;
  } traced{std::vector<std::vector<int32_t>>(bundle.moe_layers.size)};
  rt::SessionOptions options;
  options.memory.context = kWindow;
  options.memory.chunk = 48;
  options.memory.threads = 2;
  options.memory.all_logits = true;
  options.memory.process_bytes = 1;
  options.trace_user = &traced;
  options.trace = [](void *user, uint64_t, uint32_t layer, const int32_t *ids, uint32_t k) {
    auto &to = static_cast<Traced *>(user)->layers[layer];
    to.insert(to.end(), ids, ids + k);
  };
  rt::Session *session = nullptr;
  EXPECT_TRUE(rt::Session::Create(bundle, provider, options, &session).ok());
  for (const Window *window : windows) {
    ModelInput input = modelInput(bundle, *window);
    struct Sink {
      Said *said;
      const Window *window;
      uint32_t vocab, shift;
    } sink{&said, window, bundle.model.vocab, input.shift};
    auto rows = [](void *user, uint64_t first, uint32_t count, const float *logits, uint64_t stride) {
      auto &sink = *static_cast<Sink *>(user);
      for (uint32_t row = 0; row < count; ++row) {
        const float *own = logits + row * stride;
        sink.said->losses.push_back(
            rt::NegativeLogLikelihood(own, sink.vocab, sink.window->text[first + row + sink.shift]));
        sink.said->logits.emplace_back(own, own + sink.vocab);
      }
      return rt::OkStatus();
    };
    session->Reset();
    EXPECT_TRUE(session->Forward(input.tokens.data(), input.tokens.size(), rt::Want::kAll, {rows, &sink}).ok());
    for (std::vector<int32_t> &layer : traced.layers) {
      said.experts.insert(said.experts.end(), layer.begin(), layer.end());
      layer.clear();
    }
  }
  rt::Session::Destroy(session);
  rt::CloseBundle(&bundle);
  return said;
}

std::vector<const Window *> windowsOf(const Texts &texts, bool heldOut) {
  std::vector<const Window *> windows;
  for (const Window &window : texts.windows) {
    if (window.heldOut == heldOut) {
      windows.push_back(&window);
    }
  }
  return windows;
}

std::vector<int32_t> byLayer(const Trace &trace) {
  std::vector<int32_t> ids;
  for (const TraceDocument &document : trace.documents) {
    for (size_t layer = 0; layer < trace.layers.size(); ++layer) {
      for (uint64_t token = document.first; token < document.first + document.tokens; ++token) {
        const int32_t *from = &trace.experts[token * trace.row() + trace.column(layer)];
        ids.insert(ids.end(), from, from + trace.layers[layer].topK);
      }
    }
  }
  return ids;
}

bool same(const Calibration &a, const Calibration &b) {
  bool equal = a.heldOutLoss == b.heldOutLoss && a.fit.experts == b.fit.experts && a.fit.weights == b.fit.weights;
  for (size_t layer = 0; layer < a.moments.size(); ++layer) {
    for (size_t expert = 0; expert < a.moments[layer].experts.size(); ++expert) {
      const ExpertMoments &one = a.moments[layer].experts[expert], &two = b.moments[layer].experts[expert];
      equal &= one.tokens == two.tokens && one.weightSquares == two.weightSquares &&
               one.input.values == two.input.values && one.hidden.values == two.hidden.values;
    }
  }
  return equal;
}

TEST_F(CalibrateModel, SaysWhatALosslessBundleSays) {
  auto calibration = run(64 << 20, 2);
  ASSERT_TRUE(calibration.ok()) << calibration.status();
  QuantiseOptions lossless;
  lossless.lossless = true;
  std::vector<uint8_t> bundle = written(lossless);
  Said heldOut = say(bundle, windowsOf(texts(), true)), fit = say(bundle, windowsOf(texts(), false));
  double sum = 0;
  for (size_t i = 0; i < heldOut.losses.size(); i += kWindow) { // in the order in which calibration adds
    double window = 0;
    for (size_t j = i; j < std::min<size_t>(i + kWindow, heldOut.losses.size()); ++j) {
      window += heldOut.losses[j];
    }
    sum += window;
  }
  EXPECT_EQ(calibration->heldOutLoss, sum / heldOut.losses.size());
  EXPECT_EQ(calibration->facts.heldOutTokens, heldOut.losses.size());
  EXPECT_EQ(byLayer(calibration->heldOut), heldOut.experts);
  EXPECT_EQ(byLayer(calibration->fit), fit.experts);
  EXPECT_EQ(calibration->fit.count(), calibration->facts.fitTokens);
  EXPECT_EQ(calibration->fit.tokens[0], 0); // the first token heads each window
  // Weights are shares: each token's sum to one, and the moments know each expert's.
  const size_t row = calibration->fit.row();
  for (size_t layer = 0; layer < calibration->fit.layers.size(); ++layer) {
    std::vector<uint64_t> tokens(calibration->fit.layers[layer].experts);
    std::vector<double> squares(tokens.size());
    for (uint64_t token = 0; token < calibration->fit.count(); ++token) {
      double total = 0;
      for (uint32_t k = 0; k < calibration->fit.layers[layer].topK; ++k) {
        size_t at = token * row + calibration->fit.column(layer) + k;
        float weight = calibration->fit.weights[at];
        total += weight;
        ++tokens[calibration->fit.experts[at]];
        squares[calibration->fit.experts[at]] += weight * weight;
      }
      ASSERT_NEAR(total, 1, 1e-5);
    }
    for (size_t expert = 0; expert < tokens.size(); ++expert) {
      EXPECT_EQ(calibration->moments[layer].experts[expert].tokens, tokens[expert]);
      EXPECT_DOUBLE_EQ(calibration->moments[layer].experts[expert].weightSquares, squares[expert]);
    }
  }
}

TEST_F(CalibrateModel, SaysTheSameWhateverMemoryAndThreads) {
  auto plenty = run(64 << 20, 2), little = run(0, 1);
  ASSERT_TRUE(plenty.ok() && little.ok()) << plenty.status() << little.status();
  EXPECT_TRUE(same(*plenty, *little));
}

TEST_F(CalibrateModel, ComparesACandidateWithTheReference) {
  auto layout = [&](unsigned bits) {
    QuantiseOptions options;
    options.expertBits = bits;
    return chooseLayout(WeightRole::Expert, mlir::Float16Type::get(context()), options);
  };
  auto reference = makeReference(*module(), *store(), live());
  QuantiseOptions dense; // 8 bits
  auto candidates = makeCandidates(*module(), *store(), live(), dense, {layout(4), layout(8), layout(16)}, 8 << 20);
  ASSERT_TRUE(reference.ok() && candidates.ok()) << reference.status() << candidates.status();
  auto evaluator = makeEvaluator(**reference, **candidates, texts(), {64 << 20, 2});
  const size_t layers = (*reference)->bundle().moe_layers.size, experts = (*reference)->bundle().moe_layers[0].experts;
  auto all = [&](uint8_t index) { return Assignment(layers, std::vector<uint8_t>(experts, index)); };
  EXPECT_EQ(evaluator->recordBytes(0, 2), (*reference)->bundle().moe_layers[0].variants[0].record_bytes);

  // Four bits everywhere are the bundle that --bits 4 writes.
  auto four = evaluator->evaluate(all(0));
  ASSERT_TRUE(four.ok()) << four.status();
  QuantiseOptions lossless;
  lossless.lossless = true;
  std::vector<const Window *> windows = windowsOf(texts(), true);
  Said expected = say(written(lossless), windows), quantised = say(written({}), windows);
  std::vector<RowComparison> rows;
  size_t at = 0;
  for (const Window *window : windows) {
    for (int32_t token : window->text) {
      rows.push_back(compareRows(expected.logits[at].data(), quantised.logits[at].data(), 4096, token));
      ++at;
    }
  }
  Comparison slow = summarise(rows);
  EXPECT_EQ(four->tokens, at);
  EXPECT_EQ(four->rise, slow.rise);
  EXPECT_EQ(four->riseError, slow.riseError);
  EXPECT_EQ(four->divergence, slow.divergence);
  EXPECT_EQ(four->divergenceError, slow.divergenceError);
  EXPECT_GT(four->divergence, 0);
  EXPECT_LT(four->rise, 3);

  // More bits are nearer; a mixture lies between; what was asked first still gives the same.
  auto eight = evaluator->evaluate(all(1)), sixteen = evaluator->evaluate(all(2));
  Assignment mixed = all(2);
  for (std::vector<uint8_t> &layer : mixed) {
    for (size_t expert = 0; expert < experts; expert += 2) {
      layer[expert] = 0;
    }
  }
  auto half = evaluator->evaluate(mixed), again = evaluator->evaluate(all(0)), part = evaluator->evaluate(all(0), 100);
  ASSERT_TRUE(eight.ok() && sixteen.ok() && half.ok() && again.ok() && part.ok());
  EXPECT_LT(eight->divergence, four->divergence);
  EXPECT_LE(sixteen->divergence, eight->divergence);
  EXPECT_LT(half->divergence, four->divergence);
  EXPECT_GT(half->divergence, sixteen->divergence);
  EXPECT_EQ(again->divergence, four->divergence);
  EXPECT_EQ(part->tokens, kWindow);

  // Mistakes of a caller are named.
  EXPECT_EQ(evaluator->evaluate(all(3)).status().code(), absl::StatusCode::kInternal);
  EXPECT_EQ(evaluator->evaluate({}).status().code(), absl::StatusCode::kInternal);
}

TEST_F(CalibrateModel, TheModelsOwnTypesDivergeByNothing) {
  QuantiseOptions sixteen;
  sixteen.expertBits = sixteen.denseBits = 16;
  sixteen.lossless = true;
  auto reference = makeReference(*module(), *store(), live());
  auto layout = chooseLayout(WeightRole::Expert, mlir::Float16Type::get(context()), sixteen);
  auto candidates = makeCandidates(*module(), *store(), live(), sixteen, {layout}, 0);
  ASSERT_TRUE(reference.ok() && candidates.ok()) << reference.status() << candidates.status();
  auto evaluator = makeEvaluator(**reference, **candidates, texts(), {0, 1});
  const auto &layers = (*reference)->bundle().moe_layers;
  auto result = evaluator->evaluate(Assignment(layers.size, std::vector<uint8_t>(layers[0].experts, 0)), kWindow);
  ASSERT_TRUE(result.ok()) << result.status();
  EXPECT_EQ(result->rise, 0);
  EXPECT_EQ(result->divergence, 0);
}

TEST_F(CalibrateModel, SaysWhyARecordCannotBePacked) {
  class Refusing : public Rounder {
  public:
    absl::Status round(const ExpertMatrix &matrix, LayoutAttr, const float *, int64_t, int64_t, uint8_t *,
                       float *) override {
      return absl::OutOfRangeError("expert " + std::to_string(matrix.expert) + " of layer " +
                                   std::to_string(matrix.layer) + " is too large");
    }
  } refusing;
  auto layout = chooseLayout(WeightRole::Expert, mlir::Float16Type::get(context()), {});
  auto reference = makeReference(*module(), *store(), live());
  auto candidates = makeCandidates(*module(), *store(), live(), {}, {layout}, 0, {}, &refusing);
  ASSERT_TRUE(reference.ok() && candidates.ok()) << reference.status() << candidates.status();
  auto evaluator = makeEvaluator(**reference, **candidates, texts(), {0, 1});
  const auto &layers = (*reference)->bundle().moe_layers;
  auto result = evaluator->evaluate(Assignment(layers.size, std::vector<uint8_t>(layers[0].experts, 0)), kWindow);
  EXPECT_EQ(result.status().code(), absl::StatusCode::kOutOfRange);
  EXPECT_NE(result.status().message().find("of layer 0 is too large"), absl::string_view::npos);
}

} // namespace
} // namespace emoe
