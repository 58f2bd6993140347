#include "compiler/bitwidth/run.h"

#include <thread>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

using namespace mlir;

namespace emoe {
namespace {

std::string lossText(const Tolerance &tolerance, double loss) {
  return tolerance.inPercent() ? absl::StrFormat("%.2f %% perplexity", loss)
                               : absl::StrFormat("%.5f nats a token", loss);
}

absl::Status saveSensitivities(const AdaptedWidths &widths, const std::string &path) {
  SensitivityFile file{widths.problem.formats, widths.problem.error, widths.problem.probability};
  for (size_t layer = 0; layer < file.losses.size(); ++layer) {
    for (std::vector<double> &expert : file.losses[layer]) {
      for (double &loss : expert) {
        loss *= widths.decision.amplification[layer];
      }
    }
  }
  return writeSensitivity(file, path);
}

} // namespace

absl::StatusOr<AdaptedWidths> runAdaptation(ModuleOp module, const WeightStore &store, const LiveOptions &live,
                                            const QuantiseOptions &dense, LiveBundle &reference, const Texts &texts,
                                            const Calibration &calibration, CalibratedRounder &rounder,
                                            const AdaptRun &run) {
  AdaptedWidths result;
  result.formats = run.formats.empty() ? defaultFormats(*module.getContext()) : run.formats;
  const unsigned threads = run.threads ? run.threads : std::max(1u, std::thread::hardware_concurrency());
  auto part = [&](double from, double to, const char *what) {
    return [&run, from, to, what](double done) {
      if (run.adapt.progress) {
        run.adapt.progress(from + (to - from) * done, what);
      }
    };
  };
  absl::StatusOr<WidthProblem> problem = measureSensitivity(module, store, calibration, result.formats, rounder,
                                                            threads, part(0, 1, "measuring sensitivities"));
  if (!problem.ok()) {
    return problem.status();
  }
  result.problem = std::move(*problem);
  absl::StatusOr<uint64_t> weights = countExpertWeights(module);
  if (!weights.ok()) {
    return weights.status();
  }
  result.weights = result.problem.weights = *weights;
  std::vector<LayoutAttr> gateUp, down;
  for (const ExpertFormat &format : result.formats) {
    gateUp.push_back(format.gateUp);
    down.push_back(format.down);
  }
  absl::StatusOr<std::unique_ptr<LiveBundle>> candidates =
      makeCandidates(module, store, live, dense, gateUp, run.memory / 4, {}, &rounder, down);
  if (!candidates.ok()) {
    return candidates.status();
  }
  std::unique_ptr<CandidateEvaluator> evaluator =
      makeEvaluator(reference, **candidates, texts, {run.memory / 4, run.threads});
  absl::StatusOr<WidthDecision> decision = adaptWidths(result.problem, *evaluator, run.adapt);
  if (!decision.ok()) {
    return decision.status();
  }
  result.decision = std::move(*decision);
  if (!run.saveSensitivity.empty()) {
    if (absl::Status status = saveSensitivities(result, run.saveSensitivity); !status.ok()) {
      return status;
    }
  }
  return result;
}

std::unique_ptr<fb::WidthsT> widthsTable(const AdaptedWidths &widths, const AdaptRun &run) {
  const WidthDecision &decision = widths.decision;
  const Tolerance &tolerance = run.adapt.tolerance;
  auto table = std::make_unique<fb::WidthsT>();
  table->policy = policyName(decision.policy);
  table->rounding = run.rounding == Rounding::Compensated ? "compensated" : "nearest";
  table->measure = tolerance.inPercent() ? "perplexity" : "kl";
  table->tolerance = tolerance.measure == Tolerance::Measure::Bits ? 0 : tolerance.value;
  table->predicted = decision.predicted;
  table->verified = tolerance.lossOf(decision.verified);
  table->verified_error = tolerance.errorOf(decision.verified);
  table->divergence = decision.verified.divergence;
  table->bytes = decision.bytes;
  table->weights = widths.weights;
  table->uniform_format = decision.uniformAtLoss.format;
  table->uniform_bytes = decision.uniformAtLoss.bytes;
  table->uniform_loss = decision.uniformAtLoss.loss;
  table->rival_format = decision.uniformAtBytes.format;
  table->rival_bytes = decision.uniformAtBytes.bytes;
  table->rival_loss = decision.uniformAtBytes.loss;
  table->random_loss = decision.random.loss;
  table->random_divergence = decision.random.divergence;
  if (decision.policy == WidthPolicy::Adapt) {
    table->amplification.assign(decision.amplification.begin(), decision.amplification.end());
  }
  table->notes = absl::StrJoin(decision.notes, "; ");
  return table;
}

std::vector<std::string> describe(const AdaptedWidths &widths, const AdaptOptions &options) {
  const WidthDecision &decision = widths.decision;
  const Tolerance &tolerance = options.tolerance;
  std::vector<std::string> lines;
  auto bits = [&](uint64_t bytes) {
    return absl::StrFormat("%.3f bits a weight",
                           8.0 * static_cast<double>(bytes) / static_cast<double>(widths.weights));
  };
  std::vector<size_t> counts(widths.problem.formats.size());
  size_t experts = 0;
  for (const auto &layer : decision.assignment) {
    for (uint8_t format : layer) {
      ++counts[format];
      ++experts;
    }
  }
  std::string histogram;
  for (size_t format = 0; format < counts.size(); ++format) {
    if (counts[format] > 0) {
      absl::StrAppend(&histogram, histogram.empty() ? "" : ", ", counts[format], " x ", widths.problem.formats[format]);
    }
  }
  lines.push_back(absl::StrCat("widths (", policyName(decision.policy), "): ", histogram, "; ", bits(decision.bytes)));
  const std::string tolerated = tolerance.measure == Tolerance::Measure::Bits
                                    ? absl::StrCat(tolerance.value, " bits a weight")
                                    : lossText(tolerance, tolerance.value);
  lines.push_back(absl::StrCat("loss: tolerated ", tolerated, ", predicted ",
                               lossText(tolerance, decision.predicted), ", verified ",
                               lossText(tolerance, tolerance.lossOf(decision.verified)), " +- ",
                               lossText(tolerance, tolerance.errorOf(decision.verified)),
                               absl::StrFormat(" (divergence %.5f nats; %d evaluations)", decision.verified.divergence,
                                               decision.verifications)));
  if (decision.uniformAtLoss.measured) {
    lines.push_back(absl::StrCat("uniform within the tolerance: ", decision.uniformAtLoss.format, ", ",
                                 bits(decision.uniformAtLoss.bytes), ", ",
                                 lossText(tolerance, decision.uniformAtLoss.loss)));
  }
  if (decision.uniformAtBytes.measured) {
    lines.push_back(absl::StrCat("uniform of at most these bytes: ", decision.uniformAtBytes.format, ", ",
                                 bits(decision.uniformAtBytes.bytes), ", ",
                                 lossText(tolerance, decision.uniformAtBytes.loss)));
  }
  if (decision.random.measured) {
    lines.push_back(absl::StrCat("the same widths at random: ", lossText(tolerance, decision.random.loss),
                                 absl::StrFormat(", divergence %.5f nats", decision.random.divergence)));
  }
  for (const std::string &note : decision.notes) {
    lines.push_back(note);
  }
  return lines;
}

} // namespace emoe
