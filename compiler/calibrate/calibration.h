// What running the calibration texts through the model tells about it: plain data, for the passes that decide.
//
// The texts are cut into windows of kWindow tokens (the last of a text may be shorter), each headed by the model's
// first token. Every fourth window of the order in which the files take turns is held out: sensitivities and tables
// come from the rest, losses and predictors are judged on what was held out.
#ifndef EMOE_COMPILER_CALIBRATE_CALIBRATION_H_
#define EMOE_COMPILER_CALIBRATE_CALIBRATION_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/plan/trace.h"

namespace emoe {

// The sum of weight^2 * x^T x over rows x that reach a matrix; `weight` is the routing weight of the row's token.
struct Moment {
  enum class Kind : uint8_t { None, Diagonal, Full };
  Kind kind = Kind::None;
  int64_t columns = 0;
  std::vector<float> values; // Full: [columns, columns], symmetric; Diagonal: [columns]

  float diagonal(int64_t column) const {
    return kind == Kind::Full ? values[column * columns + column] : kind == Kind::Diagonal ? values[column] : 0;
  }
};

struct ExpertMoments {
  uint64_t tokens = 0;        // that chose this expert
  double weightSquares = 0;   // sum of their squared routing weights
  Moment input;               // of gate and up: rows [model width]
  Moment hidden;              // of down: rows [expert's hidden width]
};

// A mixture layer's moments. Where memory allows, every expert has full moments and the layer has none; else the experts
// have diagonals, and the layer full moments over all its (token, expert) pairs, or none if even these are too large.
struct LayerMoments {
  std::vector<ExpertMoments> experts;
  Moment input, hidden;

  // The best that is known for an expert.
  const Moment &inputOf(size_t expert) const {
    return input.kind == Moment::Kind::Full ? input : experts[expert].input;
  }
  const Moment &hiddenOf(size_t expert) const {
    return hidden.kind == Moment::Kind::Full ? hidden : experts[expert].hidden;
  }
};

// Where the numbers come from: stored in the bundle.
struct CalibrationFacts {
  std::vector<std::string> files; // names without folders
  std::string hash;               // of all texts, in order
  uint64_t fitTokens = 0, heldOutTokens = 0;
};

struct Calibration {
  CalibrationFacts facts;
  Trace fit, heldOut;
  std::vector<LayerMoments> moments; // of the fit part, one a mixture layer
  double heldOutLoss = 0;            // mean negative log-likelihood of the reference on the held-out part, in nats
};

// A candidate against the reference, over held-out tokens.
struct Comparison {
  uint64_t tokens = 0;                   // scored
  double reference = 0, candidate = 0;   // mean negative log-likelihood, in nats
  double rise = 0, riseError = 0;        // of perplexity, in percent of the reference's, and its standard error
  double divergence = 0, divergenceError = 0; // mean KL(reference || candidate) a token in nats, and its standard error
};

// Which of the candidate layouts each expert has: [layer][expert], indices into the evaluator's list.
using Assignment = std::vector<std::vector<uint8_t>>;

// Runs candidates over the held-out windows beside the reference. An evaluation of a small model takes seconds: kernels
// of all layouts are compiled once, and packed records are kept as far as memory allows.
class CandidateEvaluator {
public:
  virtual ~CandidateEvaluator() = default;

  // `tokens`: how many held-out tokens at most, taken evenly over the texts; 0: all of them.
  virtual absl::StatusOr<Comparison> evaluate(const Assignment &assignment, uint64_t tokens = 0) = 0;

  // Bytes of a record of a layer in a layout.
  virtual uint64_t recordBytes(size_t layer, size_t layout) const = 0;
};

} // namespace emoe

#endif // EMOE_COMPILER_CALIBRATE_CALIBRATION_H_
