#include "compiler/bitwidth/adapt.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/strip.h"

namespace emoe {
namespace {

// Share of an expert's cost that goes by how often it is chosen where no budget says how much of that is missed.
constexpr double kTrafficShare = 0.25;
// A loss above this share of the tolerance is near enough.
constexpr double kNear = 0.9;
constexpr size_t kMostBands = 12;

using Key = std::pair<size_t, size_t>; // layer, expert

std::vector<Key> allExperts(const WidthProblem &problem) {
  std::vector<Key> keys;
  for (size_t layer = 0; layer < problem.layers(); ++layer) {
    for (size_t expert = 0; expert < problem.error[layer].size(); ++expert) {
      keys.emplace_back(layer, expert);
    }
  }
  return keys;
}

Assignment fromChoice(const WidthProblem &problem, const std::vector<int> &choice) {
  Assignment assignment;
  size_t i = 0;
  for (const auto &layer : problem.error) {
    assignment.emplace_back();
    for (size_t expert = 0; expert < layer.size(); ++expert) {
      assignment.back().push_back(static_cast<uint8_t>(choice[i++]));
    }
  }
  return assignment;
}

// Deterministic on every host, unlike std::shuffle.
template <typename T> void shuffle(std::vector<T> &values, std::mt19937 &random) {
  for (size_t i = values.size(); i > 1; --i) {
    std::swap(values[i - 1], values[random() % i]);
  }
}

class Adaptation {
public:
  Adaptation(const WidthProblem &problem, CandidateEvaluator &evaluator, const AdaptOptions &options)
      : problem(problem), evaluator(evaluator), options(options) {}

  absl::StatusOr<WidthDecision> run();

private:
  absl::Status adapt();
  absl::Status bracket();
  absl::Status uniform();
  absl::Status probe();
  absl::Status compareRivals();
  absl::Status adaptToBytes();
  absl::Status bracketBytes();
  absl::StatusOr<std::vector<Key>> importanceOrder(size_t lower, size_t upper);

  absl::StatusOr<Comparison> evaluate(const Assignment &assignment, uint64_t tokens = 0) {
    ++decision.verifications;
    return evaluator.evaluate(assignment, tokens);
  }
  double loss(const Comparison &comparison) const { return options.tolerance.lossOf(comparison); }
  bool byBits() const { return options.tolerance.measure == Tolerance::Measure::Bits; }
  bool within(const Comparison &comparison) const { return loss(comparison) <= options.tolerance.value; }
  uint64_t mostBytes() const {
    return static_cast<uint64_t>(options.tolerance.value / 8 * static_cast<double>(problem.weights));
  }
  std::string text(double value) const {
    return options.tolerance.inPercent() ? absl::StrFormat("%.2f %%", value) : absl::StrFormat("%.5f nats", value);
  }
  void progress(double done, const std::string &what) const {
    if (options.progress) {
      options.progress(done, what);
    }
  }
  void take(const Assignment &assignment, const Comparison &comparison) {
    decision.assignment = assignment;
    decision.verified = comparison;
    decision.bytes = assignedBytes(problem, assignment);
  }
  // Predicted loss in nats.
  double predictedDivergence(const Assignment &assignment) const {
    double sum = finestLoss.divergence;
    for (auto [layer, expert] : allExperts(problem)) {
      sum += decision.amplification[layer] * problem.error[layer][expert][assignment[layer][expert]];
    }
    return sum;
  }
  // In the tolerance's measure: probes say how perplexity rises with divergence.
  double predicted(const Assignment &assignment) const {
    double nats = predictedDivergence(assignment);
    return options.tolerance.inPercent() ? 100 * std::expm1(nats * risePerNat) : nats;
  }

  const WidthProblem &problem;
  CandidateEvaluator &evaluator;
  const AdaptOptions &options;
  WidthDecision decision;
  Comparison finestLoss; // all experts in the finest format
  double risePerNat = 1;
};

// Each band of layers alone in a coarse format, the others in the finest: how much divergence an output error makes.
absl::Status Adaptation::probe() {
  const size_t bands = std::min(problem.layers(), kMostBands), coarse = problem.formats.size() > 2 ? 1 : 0;
  decision.amplification.assign(problem.layers(), 0);
  // What the finest format loses by itself, on the probes' own tokens.
  absl::StatusOr<Comparison> base = evaluate(uniformAssignment(problem, problem.finest()), options.probeTokens);
  if (!base.ok()) {
    return base.status();
  }
  double divergence = 0, rise = 0;
  for (size_t band = 0; band < bands; ++band) {
    progress(static_cast<double>(band) / static_cast<double>(bands), "probing layers");
    const size_t first = band * problem.layers() / bands, last = (band + 1) * problem.layers() / bands;
    Assignment assignment = uniformAssignment(problem, problem.finest());
    double error = 0;
    for (size_t layer = first; layer < last; ++layer) {
      std::fill(assignment[layer].begin(), assignment[layer].end(), static_cast<uint8_t>(coarse));
      for (const std::vector<double> &expert : problem.error[layer]) {
        error += expert[coarse] - expert[problem.finest()];
      }
    }
    absl::StatusOr<Comparison> comparison = evaluate(assignment, options.probeTokens);
    if (!comparison.ok()) {
      return comparison.status();
    }
    const double added = std::max(comparison->divergence - base->divergence, 1e-9);
    divergence += added;
    rise += std::log1p(comparison->rise / 100) - std::log1p(base->rise / 100);
    for (size_t layer = first; layer < last; ++layer) {
      decision.amplification[layer] = error > 0 ? added / error : 0;
    }
  }
  risePerNat = std::clamp(rise / divergence, 0.5, 8.0);
  return absl::OkStatus();
}

absl::Status Adaptation::adapt() {
  if (absl::Status status = probe(); !status.ok()) {
    return status;
  }
  const double target = options.tolerance.value;
  auto toNats = [&](double value) {
    return options.tolerance.measure == Tolerance::Measure::Perplexity ? std::log1p(value / 100) / risePerNat : value;
  };
  // The bound of the predicted sum: raised and lowered until the verified loss is just within the tolerance.
  double bound = std::max(toNats(target) - finestLoss.divergence, 1e-9), within = 0, beyond = INFINITY;
  double withinLoss = loss(finestLoss), beyondLoss = 0;
  take(uniformAssignment(problem, problem.finest()), finestLoss);
  Assignment last = decision.assignment;
  for (int i = 0; i < options.verifications; ++i) {
    progress(static_cast<double>(i) / options.verifications, "verifying widths");
    Assignment assignment = last;
    for (int pass = 0; pass < (options.budget ? 3 : 1); ++pass) { // misses depend on the bytes that are chosen
      auto experts = widthOptions(problem, decision.amplification, options.budget, assignment);
      assignment = fromChoice(problem, chooseWidths(experts, bound));
    }
    if (assignment == last) {
      break;
    }
    last = assignment;
    absl::StatusOr<Comparison> comparison = evaluate(assignment);
    if (!comparison.ok()) {
      return comparison.status();
    }
    const double measured = loss(*comparison);
    const bool cheapest = assignment == uniformAssignment(problem, 0);
    if (measured <= target) {
      if (assignedBytes(problem, assignment) <= decision.bytes) {
        take(assignment, *comparison);
      }
      within = bound;
      withinLoss = measured;
      if (cheapest || measured >= kNear * target) {
        break;
      }
    } else {
      beyond = bound;
      beyondLoss = measured;
    }
    if (std::isinf(beyond)) {
      bound *= std::clamp(target * 0.96 / std::max(measured, target / 8), 1.1, 4.0);
    } else if (within == 0) {
      bound *= std::clamp(target * 0.96 / beyondLoss, 0.2, 0.9);
    } else { // between the two, by a straight line, but not next to either end
      double share = (target * 0.96 - withinLoss) / std::max(beyondLoss - withinLoss, 1e-12);
      bound = within + (beyond - within) * std::clamp(share, 0.15, 0.85);
    }
  }
  decision.predicted = predicted(decision.assignment);
  return absl::OkStatus();
}

// The least predicted loss for the bytes that are allowed.
absl::Status Adaptation::adaptToBytes() {
  if (absl::Status status = probe(); !status.ok()) {
    return status;
  }
  auto experts = widthOptions(problem, decision.amplification, 0, uniformAssignment(problem, 0));
  const std::vector<Key> keys = allExperts(problem);
  for (size_t i = 0; i < keys.size(); ++i) {
    for (size_t format = 0; format < problem.formats.size(); ++format) {
      experts[i][format].cost = static_cast<double>(problem.bytes[keys[i].first][format]);
    }
  }
  Assignment assignment = fromChoice(problem, chooseWidthsAtCost(experts, static_cast<double>(mostBytes())));
  absl::StatusOr<Comparison> comparison = evaluate(assignment);
  if (!comparison.ok()) {
    return comparison.status();
  }
  take(assignment, *comparison);
  decision.predicted = predicted(assignment);
  return absl::OkStatus();
}

// The dearest width of at most the bytes that are allowed; by the bracketing policies as many experts at the next one
// as fit, the most important first.
absl::Status Adaptation::bracketBytes() {
  size_t lower = 0;
  while (lower + 1 < problem.formats.size() &&
         assignedBytes(problem, uniformAssignment(problem, lower + 1)) <= mostBytes()) {
    ++lower;
  }
  Assignment assignment = uniformAssignment(problem, lower);
  if (options.policy != WidthPolicy::Uniform && lower + 1 < problem.formats.size()) {
    absl::StatusOr<std::vector<Key>> order = importanceOrder(0, lower + 1);
    if (!order.ok()) {
      return order.status();
    }
    uint64_t bytes = assignedBytes(problem, assignment);
    for (auto key = order->rbegin(); key != order->rend(); ++key) {
      const std::vector<uint64_t> &layer = problem.bytes[key->first];
      if (bytes + layer[lower + 1] - layer[lower] > mostBytes()) {
        break;
      }
      assignment[key->first][key->second] = static_cast<uint8_t>(lower + 1);
      bytes += layer[lower + 1] - layer[lower];
    }
  }
  absl::StatusOr<Comparison> comparison = evaluate(assignment);
  if (!comparison.ok()) {
    return comparison.status();
  }
  take(assignment, *comparison);
  decision.predicted = loss(*comparison);
  return absl::OkStatus();
}

absl::Status Adaptation::uniform() {
  for (size_t format = 0; format < problem.formats.size(); ++format) {
    progress(static_cast<double>(format) / static_cast<double>(problem.formats.size()), "trying widths");
    absl::StatusOr<Comparison> comparison = evaluate(uniformAssignment(problem, format));
    if (!comparison.ok()) {
      return comparison.status();
    }
    if (within(*comparison)) {
      take(uniformAssignment(problem, format), *comparison);
      decision.predicted = loss(*comparison);
      return absl::OkStatus();
    }
  }
  return absl::InternalError("the finest format was within the tolerance and is no longer");
}

// Experts from the least important to the most.
absl::StatusOr<std::vector<Key>> Adaptation::importanceOrder(size_t lower, size_t upper) {
  std::vector<Key> order = allExperts(problem);
  if (options.policy == WidthPolicy::Random) {
    std::mt19937 random(options.seed);
    shuffle(order, random);
    return order;
  }
  std::vector<double> drop;
  for (size_t i = 0; i < order.size(); ++i) {
    progress(static_cast<double>(i) / static_cast<double>(order.size()), "each expert alone at the lowest width");
    Assignment assignment = uniformAssignment(problem, upper);
    assignment[order[i].first][order[i].second] = static_cast<uint8_t>(lower);
    absl::StatusOr<Comparison> comparison = evaluate(assignment, options.probeTokens);
    if (!comparison.ok()) {
      return comparison.status();
    }
    drop.push_back(loss(*comparison));
  }
  std::vector<size_t> index(order.size());
  std::iota(index.begin(), index.end(), size_t{0});
  std::stable_sort(index.begin(), index.end(), [&](size_t a, size_t b) { return drop[a] < drop[b]; });
  std::vector<Key> sorted;
  for (size_t i : index) {
    sorted.push_back(order[i]);
  }
  return sorted;
}

// EdgeMoE's procedure: the two neighbouring widths that bracket the tolerance; then as many experts at the lower one as
// the tolerance allows, the least important first. Importance: each expert alone at the lowest width, all others at the
// upper one.
absl::Status Adaptation::bracket() {
  size_t upper = 0;
  absl::StatusOr<Comparison> atUpper = absl::InternalError("no formats");
  for (; upper < problem.formats.size(); ++upper) {
    atUpper = evaluate(uniformAssignment(problem, upper));
    if (!atUpper.ok()) {
      return atUpper.status();
    }
    if (within(*atUpper)) {
      break;
    }
  }
  if (upper == problem.formats.size()) {
    return absl::InternalError("the finest format was within the tolerance and is no longer");
  }
  take(uniformAssignment(problem, upper), *atUpper);
  decision.predicted = loss(*atUpper);
  if (upper == 0) {
    return absl::OkStatus(); // the lowest width already is
  }
  absl::StatusOr<std::vector<Key>> order = importanceOrder(0, upper);
  if (!order.ok()) {
    return order.status();
  }
  // Loss grows with K but for noise: the largest K within the tolerance lies between these.
  size_t low = 0, high = order->size();
  while (high - low > 1) {
    const size_t k = (low + high) / 2;
    Assignment assignment = uniformAssignment(problem, upper);
    for (size_t i = 0; i < k; ++i) {
      assignment[(*order)[i].first][(*order)[i].second] = static_cast<uint8_t>(upper - 1);
    }
    absl::StatusOr<Comparison> comparison = evaluate(assignment);
    if (!comparison.ok()) {
      return comparison.status();
    }
    if (within(*comparison)) {
      low = k;
      take(assignment, *comparison);
    } else {
      high = k;
    }
  }
  decision.predicted = loss(decision.verified);
  decision.notes.push_back(absl::StrCat(low, " of ", order->size(), " experts at ", problem.formats[upper - 1],
                                        ", the others at ", problem.formats[upper]));
  return absl::OkStatus();
}

absl::Status Adaptation::compareRivals() {
  progress(0, "comparing with uniform and random widths");
  for (size_t format = 0; format < problem.formats.size() && !decision.uniformAtLoss.measured; ++format) {
    const Assignment assignment = uniformAssignment(problem, format);
    const uint64_t bytes = assignedBytes(problem, assignment);
    // Only the best one of at most our bytes is of interest, and those above until one is good enough.
    if (format + 1 < problem.formats.size() &&
        assignedBytes(problem, uniformAssignment(problem, format + 1)) <= decision.bytes) {
      continue;
    }
    absl::StatusOr<Comparison> comparison = evaluate(assignment);
    if (!comparison.ok()) {
      return comparison.status();
    }
    Rival rival{true, problem.formats[format], bytes, loss(*comparison), comparison->divergence};
    if (bytes <= decision.bytes) {
      decision.uniformAtBytes = rival;
    }
    if (within(*comparison)) {
      decision.uniformAtLoss = rival;
      if (bytes <= decision.bytes && options.policy == WidthPolicy::Adapt && assignment != decision.assignment) {
        decision.notes.push_back(absl::StrCat("mixing does not pay: ", problem.formats[format],
                                              " for all experts is within the tolerance at no more bytes"));
        decision.policy = WidthPolicy::Uniform;
        take(assignment, *comparison);
      }
    }
  }
  const bool mixed = decision.assignment != uniformAssignment(problem, decision.assignment[0][0]);
  if (!mixed) {
    return absl::OkStatus();
  }
  double sum = 0, divergence = 0;
  for (int i = 0; i < kRandomRivals; ++i) {
    absl::StatusOr<Comparison> comparison = evaluate(shuffled(problem, decision.assignment, options.seed + i));
    if (!comparison.ok()) {
      return comparison.status();
    }
    sum += loss(*comparison) / kRandomRivals;
    divergence += comparison->divergence / kRandomRivals;
  }
  decision.random = {true, "", decision.bytes, sum, divergence};
  // By divergence: it tells allocations apart at a tenth of perplexity's noise.
  if (options.policy == WidthPolicy::Adapt && decision.random.divergence <= decision.verified.divergence) {
    decision.notes.push_back("the choice of experts does not pay: the same widths dealt out at random lose no more");
    if (decision.uniformAtLoss.measured) {
      auto format = std::find(problem.formats.begin(), problem.formats.end(), decision.uniformAtLoss.format);
      Assignment assignment = uniformAssignment(problem, format - problem.formats.begin());
      absl::StatusOr<Comparison> comparison = evaluate(assignment);
      if (!comparison.ok()) {
        return comparison.status();
      }
      decision.policy = WidthPolicy::Uniform;
      take(assignment, *comparison);
    }
  }
  return absl::OkStatus();
}

absl::StatusOr<WidthDecision> Adaptation::run() {
  decision.policy = options.policy;
  decision.amplification.assign(problem.layers(), 0);
  absl::StatusOr<Comparison> finest = evaluate(uniformAssignment(problem, problem.finest()));
  if (!finest.ok()) {
    return finest.status();
  }
  finestLoss = *finest;
  if (!byBits() && !within(finestLoss)) {
    return absl::InvalidArgumentError(absl::StrCat(
        "a tolerance of ", text(options.tolerance.value), " cannot be kept: ", problem.formats.back(),
        " for all experts already loses ", text(loss(finestLoss)),
        "; raise it, keep more bits in the dense weights, or give 0 for the file's own types"));
  }
  if (byBits() && assignedBytes(problem, uniformAssignment(problem, 0)) > mostBytes()) {
    return absl::InvalidArgumentError(absl::StrCat("no format has as few as ", options.tolerance.value,
                                                   " bits a weight: ", problem.formats[0], " takes ",
                                                   8.0 * assignedBytes(problem, uniformAssignment(problem, 0)) /
                                                       static_cast<double>(problem.weights)));
  }
  absl::Status status;
  switch (options.policy) {
  case WidthPolicy::Adapt:
    status = byBits() ? adaptToBytes() : adapt();
    break;
  case WidthPolicy::Uniform:
    status = byBits() ? bracketBytes() : uniform();
    break;
  case WidthPolicy::Edgemoe:
  case WidthPolicy::Random:
    status = byBits() ? bracketBytes() : bracket();
    break;
  }
  if (status.ok() && options.compare && !byBits()) {
    status = compareRivals();
  }
  if (!status.ok()) {
    return status;
  }
  return std::move(decision);
}

} // namespace

uint64_t assignedBytes(const WidthProblem &problem, const Assignment &assignment) {
  uint64_t sum = 0;
  for (size_t layer = 0; layer < assignment.size(); ++layer) {
    for (uint8_t format : assignment[layer]) {
      sum += problem.bytes[layer][format];
    }
  }
  return sum;
}

Assignment uniformAssignment(const WidthProblem &problem, size_t format) {
  Assignment assignment;
  for (const auto &layer : problem.error) {
    assignment.emplace_back(layer.size(), static_cast<uint8_t>(format));
  }
  return assignment;
}

Assignment shuffled(const WidthProblem &problem, Assignment assignment, uint32_t seed) {
  std::mt19937 random(seed);
  const bool alike = std::all_of(problem.bytes.begin(), problem.bytes.end(),
                                 [&](const std::vector<uint64_t> &bytes) { return bytes == problem.bytes[0]; });
  if (!alike) {
    for (std::vector<uint8_t> &layer : assignment) {
      shuffle(layer, random);
    }
    return assignment;
  }
  std::vector<uint8_t> all;
  for (const std::vector<uint8_t> &layer : assignment) {
    all.insert(all.end(), layer.begin(), layer.end());
  }
  shuffle(all, random);
  auto next = all.begin();
  for (std::vector<uint8_t> &layer : assignment) {
    for (uint8_t &format : layer) {
      format = *next++;
    }
  }
  return assignment;
}

std::vector<double> missChances(const std::vector<double> &probability, const std::vector<double> &bytes,
                                double budget) {
  // Che: an expert is in the cache if it was chosen during the last `time` tokens, and `time` is such that those fill
  // the budget.
  auto kept = [&](double time) {
    double sum = 0;
    for (size_t i = 0; i < bytes.size(); ++i) {
      sum += bytes[i] * -std::expm1(-probability[i] * time);
    }
    return sum;
  };
  double low = 0, high = 1;
  while (high < 1e15 && kept(high) < budget) {
    high *= 2;
  }
  for (int i = 0; i < 100; ++i) {
    double middle = (low + high) / 2;
    (kept(middle) < budget ? low : high) = middle;
  }
  std::vector<double> chances;
  for (double p : probability) {
    chances.push_back(std::exp(-p * low));
  }
  return chances;
}

std::vector<std::vector<WidthOption>> widthOptions(const WidthProblem &problem,
                                                   const std::vector<double> &amplification, uint64_t budget,
                                                   const Assignment &assignment) {
  const std::vector<Key> keys = allExperts(problem);
  std::vector<double> factor; // of bytes
  if (budget > 0) {
    std::vector<double> probability, bytes;
    for (auto [layer, expert] : keys) {
      probability.push_back(problem.probability[layer][expert]);
      bytes.push_back(static_cast<double>(problem.bytes[layer][assignment[layer][expert]]));
    }
    factor = missChances(probability, bytes, static_cast<double>(budget));
    for (size_t i = 0; i < factor.size(); ++i) {
      // Never nothing: what is never missed is stored all the same.
      factor[i] = factor[i] * probability[i] + 1e-4;
    }
  } else {
    for (auto [layer, expert] : keys) {
      const std::vector<double> &probability = problem.probability[layer];
      const double mean =
          std::accumulate(probability.begin(), probability.end(), 0.0) / static_cast<double>(probability.size());
      factor.push_back(1 - kTrafficShare + (mean > 0 ? kTrafficShare * probability[expert] / mean : 0));
    }
  }
  std::vector<std::vector<WidthOption>> experts;
  for (size_t i = 0; i < keys.size(); ++i) {
    auto [layer, expert] = keys[i];
    experts.emplace_back();
    for (size_t format = 0; format < problem.formats.size(); ++format) {
      experts.back().push_back({amplification[layer] * problem.error[layer][expert][format],
                                factor[i] * static_cast<double>(problem.bytes[layer][format])});
    }
  }
  return experts;
}

absl::StatusOr<WidthDecision> adaptWidths(const WidthProblem &problem, CandidateEvaluator &evaluator,
                                          const AdaptOptions &options) {
  return Adaptation(problem, evaluator, options).run();
}

absl::StatusOr<Tolerance> parseTolerance(const std::string &text) {
  Tolerance tolerance;
  absl::string_view number = text;
  if (absl::ConsumePrefix(&number, "kl=")) {
    tolerance.measure = Tolerance::Measure::Divergence;
  } else if (absl::ConsumePrefix(&number, "bits=")) {
    tolerance.measure = Tolerance::Measure::Bits;
  } else {
    absl::ConsumeSuffix(&number, "%");
  }
  if (!absl::SimpleAtod(number, &tolerance.value) || !(tolerance.value >= 0) || std::isinf(tolerance.value)) {
    return absl::InvalidArgumentError(
        "must be a rise of perplexity in percent (2, 0.5%), nats a token (kl=0.01) or stored bits (bits=2.6), from 0 "
        "on");
  }
  return tolerance;
}

namespace {
constexpr std::pair<const char *, WidthPolicy> kPolicies[] = {{"adapt", WidthPolicy::Adapt},
                                                                     {"edgemoe", WidthPolicy::Edgemoe},
                                                                     {"uniform", WidthPolicy::Uniform},
                                                                     {"random", WidthPolicy::Random}};
} // namespace

absl::StatusOr<WidthPolicy> parsePolicy(const std::string &text) {
  for (auto [name, policy] : kPolicies) {
    if (text == name) {
      return policy;
    }
  }
  return absl::InvalidArgumentError("must be adapt, edgemoe, uniform or random");
}

const char *policyName(WidthPolicy policy) {
  for (auto [name, candidate] : kPolicies) {
    if (candidate == policy) {
      return name;
    }
  }
  return "";
}

} // namespace emoe
