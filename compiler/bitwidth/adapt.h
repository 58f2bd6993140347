// Expert-wise bitwidth adaptation: which format each expert gets so that the model stays within a stated loss.
#ifndef EMOE_COMPILER_BITWIDTH_ADAPT_H_
#define EMOE_COMPILER_BITWIDTH_ADAPT_H_

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/bitwidth/choose.h"
#include "compiler/calibrate/calibration.h"

namespace emoe {

enum class WidthPolicy {
  Adapt,   // a knapsack of predicted losses, verified and tightened
  Edgemoe, // each expert alone at the lowest width; of two bracketing widths the less important experts get the lower
  Uniform, // one width for all
  Random,  // as edgemoe, in random order
};

// How much may be lost on held-out text; or how much may be stored, for comparisons at equal bytes.
struct Tolerance {
  enum class Measure { Perplexity, Divergence, Bits };
  Measure measure = Measure::Perplexity;
  double value = 0; // relative rise in percent; nats a token; mean stored bits of an expert weight

  bool inPercent() const { return measure != Measure::Divergence; }
  double lossOf(const Comparison &comparison) const {
    return inPercent() ? comparison.rise : comparison.divergence;
  }
  double errorOf(const Comparison &comparison) const {
    return inPercent() ? comparison.riseError : comparison.divergenceError;
  }
};

// What is known of the experts and the formats that they may have. Formats are ordered from fewest to most bytes; the
// last one is taken to lose next to nothing.
struct WidthProblem {
  std::vector<std::string> formats;                   // names
  std::vector<std::vector<uint64_t>> bytes;           // [layer][format]: of an expert, padding left out
  std::vector<std::vector<std::vector<double>>> error; // [layer][expert][format]: ExpertSensitivity::error
  std::vector<std::vector<double>> probability;       // [layer][expert]: that a token chooses the expert
  uint64_t weights = 0;                               // of all experts

  size_t layers() const { return bytes.size(); }
  size_t finest() const { return formats.size() - 1; }
};

struct AdaptOptions {
  Tolerance tolerance;
  WidthPolicy policy = WidthPolicy::Adapt;
  uint64_t budget = 0;   // bytes of expert records that the target can keep in memory; 0: not known
  uint32_t seed = 1;     // of random orders
  uint64_t probeTokens = 8192; // for each probe of a layer and each of edgemoe's experts
  int verifications = 8; // at most, while tightening
  bool compare = true;   // also measure what uniform and random allocation would cost
  std::function<void(double done, const std::string &what)> progress;
};

// A rival at the same loss or the same bytes.
struct Rival {
  bool measured = false;
  std::string format;      // uniform's
  uint64_t bytes = 0;
  double loss = 0, divergence = 0;
};

struct WidthDecision {
  Assignment assignment;          // indices into the problem's formats
  WidthPolicy policy = WidthPolicy::Adapt; // the one that was shipped
  double predicted = 0;           // loss in the tolerance's measure
  Comparison verified;
  uint64_t bytes = 0;             // of all experts, padding left out
  int verifications = 0;
  std::vector<double> amplification; // [layer]: nats a token for an error of one
  // Cheapest uniform format within the tolerance; best uniform format of at most our bytes; our own widths dealt out at
  // random (mean of kRandomRivals deals, equal bytes).
  Rival uniformAtLoss, uniformAtBytes, random;
  std::vector<std::string> notes; // what was decided and why, for people
};

constexpr int kRandomRivals = 2;

// "2", "2%": percent of perplexity; "kl=0.01": nats; "bits=2.6": stored bits. InvalidArgument otherwise.
absl::StatusOr<Tolerance> parseTolerance(const std::string &text);
// adapt, edgemoe, uniform, random.
absl::StatusOr<WidthPolicy> parsePolicy(const std::string &text);
const char *policyName(WidthPolicy policy);

// InvalidArgument: the tolerance cannot be kept by any format, with what the finest loses; or no format has so few bits.
absl::StatusOr<WidthDecision> adaptWidths(const WidthProblem &problem, CandidateEvaluator &evaluator,
                                          const AdaptOptions &options);

// What each option costs: `probability` x chance of a miss x bytes where a budget is known (Che's approximation of the
// chance, at the bytes of `assignment`); else a blend of stored bytes and bytes that a token reads.
std::vector<std::vector<WidthOption>> widthOptions(const WidthProblem &problem,
                                                   const std::vector<double> &amplification, uint64_t budget,
                                                   const Assignment &assignment);

// The chance that an expert chosen with the given probabilities a token is not among those that `budget` bytes keep.
std::vector<double> missChances(const std::vector<double> &probability, const std::vector<double> &bytes,
                                double budget);

uint64_t assignedBytes(const WidthProblem &problem, const Assignment &assignment);
Assignment uniformAssignment(const WidthProblem &problem, size_t format);
// The same formats dealt out anew: among all experts where all layers' experts have the same sizes, else in each layer.
Assignment shuffled(const WidthProblem &problem, Assignment assignment, uint32_t seed);

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_ADAPT_H_
