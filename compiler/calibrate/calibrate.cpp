// The reference's pass over the calibration texts.
#include <algorithm>
#include <map>

#include "absl/strings/str_cat.h"
#include "compiler/calibrate/run.h"
#include "runtime/memory/arena.h"
#include "runtime/text/sample.h"

namespace emoe {
namespace {

// Takes from each expert step what it is told to.
class Recorder {
public:
  Recorder(const rt::Bundle &bundle, const CalibrateOptions &options) : bundle(bundle), shapes(options.shapes) {}
  ~Recorder() {
    pool.Stop();
    arena.Unmap();
  }

  absl::Status start(unsigned threads);

  // From now on rows belong to a new document of `trace`, and to `moments` unless it is null.
  void beginDocument(Trace &trace, uint32_t domain, const std::vector<int32_t> &tokens,
                     std::vector<LayerMoments> *moments);

  static void tap(void *self, const rt::Session &session, const rt::Step &step, uint32_t rows) {
    static_cast<Recorder *>(self)->record(session, step, rows);
  }

  static void lookAhead(void *self, uint64_t position, uint32_t layer, const int32_t *ranked, uint32_t count) {
    const Recorder &recorder = *static_cast<Recorder *>(self);
    Trace &trace = *recorder.trace;
    std::copy_n(ranked, count, &trace.ahead[(recorder.firstRow + position) * trace.aheadRow() + trace.aheadColumn(layer)]);
  }

private:
  void record(const rt::Session &session, const rt::Step &step, uint32_t rows);
  void addMoments(const rt::Session &session, const rt::Step &step, const int32_t *ids, const float *weights,
                  uint32_t rows);

  // The (token, choice) pairs of an expert in the chunk at hand.
  struct Pair {
    uint32_t row, pair;
    float square; // of the routing weight
  };

  const rt::Bundle &bundle;
  std::vector<MomentShape> shapes;
  std::map<uint32_t, rt::Operand> weightsOf; // by layer
  Trace *trace = nullptr;
  std::vector<LayerMoments> *moments = nullptr;
  uint64_t firstRow = 0;
  rt::Arena arena;
  rt::ThreadPool pool;
};

absl::Status Recorder::start(unsigned threads) {
  // The routing weights are what the step that combines an expert step's pairs multiplies them with.
  for (size_t i = 0; i < bundle.steps.size; ++i) {
    const rt::Step &experts = bundle.steps[i];
    if (experts.kind != rt::StepKind::kExperts) {
      continue;
    }
    const rt::Operand &pairs = experts.operands[4];
    for (size_t j = i + 1; j < bundle.steps.size && !weightsOf.count(experts.layer); ++j) {
      const rt::Step &step = bundle.steps[j];
      if (step.kind == rt::StepKind::kKernel && step.operands.size > 2 && step.operands[0].kind == pairs.kind &&
          step.operands[0].index == pairs.index) {
        weightsOf[experts.layer] = step.operands[1];
      }
    }
    if (!weightsOf.count(experts.layer) || experts.operands[0].kind == rt::OperandKind::kNone) {
      return absl::InternalError(absl::StrCat("mixture layer ", experts.layer, " of the reference has no float32 input "
                                              "or nothing that combines its experts"));
    }
  }
  // Two pages for what rounding takes.
  if (rt::Status status = arena.Map(threads * rt::kStackBytes + 2 * rt::kPageBytes); !status.ok()) {
    return absl::ResourceExhaustedError(status.what);
  }
  rt::Status status = pool.Start(threads, &arena);
  return status.ok() ? absl::OkStatus() : absl::ResourceExhaustedError(status.what);
}

void Recorder::beginDocument(Trace &into, uint32_t domain, const std::vector<int32_t> &tokens,
                             std::vector<LayerMoments> *addTo) {
  trace = &into;
  moments = addTo;
  firstRow = into.count();
  into.documents.push_back({firstRow, tokens.size(), domain});
  into.tokens.insert(into.tokens.end(), tokens.begin(), tokens.end());
  into.experts.resize(into.experts.size() + tokens.size() * into.row(), -1);
  into.weights.resize(into.experts.size());
  into.ahead.resize(into.count() * into.aheadRow(), -1);
}

void Recorder::record(const rt::Session &session, const rt::Step &step, uint32_t rows) {
  if (step.kind != rt::StepKind::kExperts) {
    return;
  }
  const auto *ids = static_cast<const int32_t *>(session.address(step.operands[2]));
  const auto *weights = static_cast<const float *>(session.address(weightsOf[step.layer]));
  uint32_t topK = bundle.moe_layers[step.layer].top_k;
  uint64_t row = trace->row(), at = (firstRow + session.position()) * row + trace->column(step.layer);
  for (uint32_t i = 0; i < rows; ++i, at += row) {
    std::copy_n(ids + i * topK, topK, &trace->experts[at]);
    std::copy_n(weights + i * topK, topK, &trace->weights[at]);
  }
  if (moments) {
    addMoments(session, step, ids, weights, rows);
  }
}

void Recorder::addMoments(const rt::Session &session, const rt::Step &step, const int32_t *ids, const float *weights,
                          uint32_t rows) {
  const uint32_t topK = bundle.moe_layers[step.layer].top_k;
  LayerMoments &layer = (*moments)[step.layer];
  std::vector<std::vector<Pair>> chosen(layer.experts.size());
  for (uint32_t pair = 0; pair < rows * topK; ++pair) {
    float square = weights[pair] * weights[pair];
    ExpertMoments &expert = layer.experts[ids[pair]];
    ++expert.tokens;
    expert.weightSquares += square;
    chosen[ids[pair]].push_back({pair / topK, pair, square});
  }
  // Rows are as wide as the format says: rounded up to a multiple of 64 (schema/kernel_abi.h).
  auto stride = [](int64_t columns) { return (columns + EMOE_ROW_ALIGN - 1) / EMOE_ROW_ALIGN * EMOE_ROW_ALIGN; };
  struct Work {
    LayerMoments &layer;
    const std::vector<std::vector<Pair>> &chosen;
    const float *input, *hidden;
    int64_t inputStride, hiddenStride;
  } work{layer,
         chosen,
         static_cast<const float *>(session.address(step.operands[0])),
         static_cast<const float *>(session.address(step.operands[3])),
         stride(shapes[step.layer].input),
         stride(shapes[step.layer].hidden)};
  // Each expert is one thread's, and so are the layer's two sums: what is added in which order does not depend on threads.
  auto body = [](void *context, int64_t first, int64_t last) {
    const Work &work = *static_cast<Work *>(context);
    const int64_t experts = work.layer.experts.size();
    std::vector<WeightedRow> rows;
    for (int64_t item = first; item < last; ++item) {
      rows.clear();
      const bool hidden = item % 2 == 1, whole = item / 2 == experts;
      auto add = [&](const std::vector<Pair> &pairs) {
        for (const Pair &pair : pairs) {
          rows.push_back({hidden ? work.hidden + pair.pair * work.hiddenStride : work.input + pair.row * work.inputStride,
                          pair.square});
        }
      };
      if (!whole) {
        add(work.chosen[item / 2]);
        ExpertMoments &expert = work.layer.experts[item / 2];
        addRows(hidden ? expert.hidden : expert.input, rows);
        continue;
      }
      Moment &moment = hidden ? work.layer.hidden : work.layer.input;
      if (moment.kind != Moment::Kind::None) {
        for (const std::vector<Pair> &pairs : work.chosen) {
          add(pairs);
        }
        addRows(moment, rows);
      }
    }
  };
  pool.ParallelFor(2 * (layer.experts.size() + 1), 1, body, &work);
}

struct Loss {
  const Window *window;
  uint32_t vocab, shift;
  double sum = 0;
  uint64_t scored = 0;

  static rt::Status rows(void *user, uint64_t first, uint32_t count, const float *logits, uint64_t stride) {
    auto &loss = *static_cast<Loss *>(user);
    for (uint32_t row = 0; row < count; ++row) {
      loss.sum += rt::NegativeLogLikelihood(logits + row * stride, loss.vocab,
                                            loss.window->text[first + row + loss.shift]);
      ++loss.scored;
    }
    return rt::OkStatus();
  }
};

Trace emptyTrace(const rt::Bundle &bundle, const Texts &texts) {
  Trace trace;
  for (const rt::MoeLayer &layer : bundle.moe_layers) {
    trace.layers.push_back({layer.experts, layer.top_k});
  }
  trace.domains = texts.names;
  return trace;
}

} // namespace

absl::StatusOr<Calibration> calibrate(LiveBundle &reference, const Texts &texts, const CalibrateOptions &options) {
  const rt::Bundle &bundle = reference.bundle();
  Calibration result;
  result.facts = {texts.names, texts.hash, texts.fitTokens, texts.heldOutTokens};
  result.fit = result.heldOut = emptyTrace(bundle, texts);
  result.moments = makeMoments(options.shapes, chooseMoments(options.shapes, options.momentBytes));

  Recorder recorder(bundle, options);
  rt::SessionOptions sessionOptions;
  sessionOptions.tap = Recorder::tap;
  sessionOptions.tap_user = &recorder;
  sessionOptions.look_ahead = Recorder::lookAhead;
  sessionOptions.look_ahead_user = &recorder;
  absl::StatusOr<SessionPtr> session = startSession(reference, options.run, sessionOptions);
  if (!session.ok()) {
    return session.status();
  }
  if (absl::Status status = recorder.start((*session)->plan().threads); !status.ok()) {
    return status;
  }
  double loss = 0;
  uint64_t scored = 0;
  for (size_t i = 0; i < texts.windows.size(); ++i) {
    const Window &window = texts.windows[i];
    ModelInput input = modelInput(bundle, window);
    recorder.beginDocument(window.heldOut ? result.heldOut : result.fit, window.file, input.tokens,
                           window.heldOut ? nullptr : &result.moments);
    Loss own{&window, bundle.model.vocab, input.shift, 0, 0};
    (*session)->Reset();
    rt::Status status = (*session)->Forward(input.tokens.data(), input.tokens.size(),
                                            window.heldOut ? rt::Want::kAll : rt::Want::kNone, {Loss::rows, &own});
    if (!status.ok()) {
      return runtimeError(status, reference);
    }
    loss += own.sum;
    scored += own.scored;
    if (options.progress) {
      options.progress(static_cast<double>(i + 1) / static_cast<double>(texts.windows.size()));
    }
  }
  result.heldOutLoss = loss / static_cast<double>(scored);
  for (LayerMoments &layer : result.moments) {
    for (ExpertMoments &expert : layer.experts) {
      mirror(expert.input);
      mirror(expert.hidden);
    }
    mirror(layer.input);
    mirror(layer.hidden);
  }
  return result;
}

} // namespace emoe
