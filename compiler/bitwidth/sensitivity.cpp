#include "compiler/bitwidth/sensitivity.h"

namespace emoe {
namespace {

Curvature curvatureOf(const Moment &moment, float damping) {
  switch (moment.kind) {
  case Moment::Kind::Full:
    return Curvature::ofMoment(moment.values.data(), moment.columns, damping);
  case Moment::Kind::Diagonal: {
    std::vector<float> full(moment.columns * moment.columns);
    for (int64_t c = 0; c < moment.columns; ++c) {
      full[c * moment.columns + c] = moment.values[c];
    }
    return Curvature::ofMoment(full.data(), moment.columns, damping);
  }
  case Moment::Kind::None:
    break;
  }
  return Curvature::identity(moment.columns);
}

// The expert's part of a moment that all experts of its layer share.
double shareOf(const LayerMoments &layer, size_t expert, bool shared) {
  double all = 0;
  for (const ExpertMoments &one : layer.experts) {
    all += one.weightSquares;
  }
  return layer.experts[expert].weightSquares == 0 ? 0 : shared ? layer.experts[expert].weightSquares / all : 1;
}

} // namespace

ExpertCurvature curvatureOf(const LayerMoments &layer, size_t expert, float damping, bool input, bool hidden) {
  ExpertCurvature result;
  if (input) {
    result.input = curvatureOf(layer.inputOf(expert), damping);
  }
  if (hidden) {
    result.hidden = curvatureOf(layer.hiddenOf(expert), damping);
  }
  return result;
}

RoundedExpert roundExpert(const ExpertValues &values, const ExpertCurvature &curvature, const RoundingGrid &grid,
                          Rounding rounding) {
  RoundedExpert result;
  if (!values.gate.empty()) {
    result.gate = roundMatrix(values.gate.data(), values.hidden, curvature.input, grid, rounding);
  }
  result.up = roundMatrix(values.up.data(), values.hidden, curvature.input, grid, rounding);
  result.down = roundMatrix(values.down.data(), values.input, curvature.hidden, grid, rounding);
  return result;
}

ExpertSensitivity::ExpertSensitivity(const ExpertValues &values, const LayerMoments &layer, size_t expert)
    : curvatures(emoe::curvatureOf(layer, expert)),
      inputShare(shareOf(layer, expert, layer.input.kind == Moment::Kind::Full)),
      hiddenShare(shareOf(layer, expert, layer.hidden.kind == Moment::Kind::Full)) {
  // A hidden value's relative error is that of the row that makes it: its own power, through its column of down, over the
  // row's power.
  const ExpertMoments &own = layer.experts[expert];
  for (int64_t unit = 0; unit < values.hidden; ++unit) {
    double column = 0;
    for (int64_t row = 0; row < values.input; ++row) {
      double weight = values.down[row * values.hidden + unit];
      column += weight * weight;
    }
    double power = column * (own.hidden.kind == Moment::Kind::None ? layer.hidden.diagonal(unit) * hiddenShare
                                                                    : own.hidden.diagonal(unit));
    auto factor = [&](const std::vector<float> &matrix) {
      double rowPower = curvatures.input.cost(&matrix[unit * values.input]) * inputShare;
      return rowPower > 0 ? power / rowPower : 0;
    };
    if (!values.gate.empty()) {
      gateFactors.push_back(factor(values.gate));
    }
    upFactors.push_back(factor(values.up));
  }
}

double ExpertSensitivity::error(const std::vector<float> &gateCosts, const std::vector<float> &upCosts,
                                const std::vector<float> &downCosts) const {
  double hidden = 0, down = 0;
  for (size_t unit = 0; unit < gateFactors.size(); ++unit) {
    hidden += gateFactors[unit] * gateCosts[unit];
  }
  for (size_t unit = 0; unit < upFactors.size(); ++unit) {
    hidden += upFactors[unit] * upCosts[unit];
  }
  for (float cost : downCosts) {
    down += cost;
  }
  return hidden * inputShare + down * hiddenShare;
}

} // namespace emoe
