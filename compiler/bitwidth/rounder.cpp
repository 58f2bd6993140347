#include "compiler/bitwidth/rounder.h"

#include <algorithm>
#include <cmath>

#include "absl/strings/str_cat.h"
#include "compiler/codegen/half.h"
#include "compiler/codegen/pack.h"

namespace emoe {

RoundingGrid roundingGrid(LayoutAttr layout) {
  const Grid grid = gridOf(layout);
  const bool lopsided = layout.getCodebook() == Codebook::Integer && layout.getBits() < 8;
  return {grid.first, grid.levels, layout.getGroup(), lopsided};
}

std::shared_ptr<const RoundedMatrix> CalibratedRounder::find(const Key &key) {
  std::lock_guard<std::mutex> lock(mutex);
  auto entry = known.find(key);
  return entry == known.end() ? nullptr : entry->second;
}

void CalibratedRounder::keep(const Key &key, std::shared_ptr<const RoundedMatrix> rounded) {
  const uint64_t bytes = rounded->codes.size() + rounded->scales.size() * sizeof(uint16_t);
  std::lock_guard<std::mutex> lock(mutex);
  if (used + bytes <= mostBytes && known.try_emplace(key, std::move(rounded)).second) {
    used += bytes;
  }
}

std::shared_ptr<const Curvature> CalibratedRounder::curvatureFor(const ExpertMatrix &matrix) {
  const bool down = matrix.part == ExpertPart::Down;
  const std::tuple<int64_t, int64_t, bool> key{matrix.layer, matrix.expert, down};
  {
    std::lock_guard<std::mutex> lock(mutex);
    if (key == lastKey) {
      return last;
    }
  }
  ExpertCurvature both = curvatureOf(moments[matrix.layer], matrix.expert, kDamping, !down, down);
  auto curvature = std::make_shared<const Curvature>(std::move(down ? both.hidden : both.input));
  std::lock_guard<std::mutex> lock(mutex);
  lastKey = key;
  last = curvature;
  return curvature;
}

absl::Status CalibratedRounder::round(const ExpertMatrix &matrix, LayoutAttr layout, const float *values, int64_t rows,
                                      int64_t columns, uint8_t *codes, float *scales) {
  if (!compensates(layout)) {
    std::vector<float> importance;
    if (matrix.layer < static_cast<int64_t>(moments.size())) {
      const LayerMoments &layer = moments[matrix.layer];
      const Moment &moment =
          matrix.part == ExpertPart::Down ? layer.hiddenOf(matrix.expert) : layer.inputOf(matrix.expert);
      for (int64_t c = 0; c < columns && moment.kind != Moment::Kind::None; ++c) {
        importance.push_back(moment.diagonal(c));
      }
      if (std::all_of(importance.begin(), importance.end(), [](float x) { return x == 0; })) {
        importance.clear();
      }
    }
    return roundToNearest(layout, values, rows, columns, importance.empty() ? nullptr : importance.data(), codes,
                          scales);
  }
  std::shared_ptr<const RoundedMatrix> rounded = find(keyOf(matrix, layout));
  if (!rounded) {
    for (int64_t i = 0; i < rows * columns; ++i) {
      if (!std::isfinite(values[i])) {
        return absl::OutOfRangeError(absl::StrCat("weight value ", values[i], " at row ", i / columns, ", column ",
                                                  i % columns, " is not finite"));
      }
    }
    std::shared_ptr<const Curvature> curvature = curvatureFor(matrix);
    if (curvature->columns() != columns) {
      return absl::InternalError(
          absl::StrCat("moments of ", curvature->columns(), " columns for a matrix of ", columns));
    }
    rounded = std::make_shared<const RoundedMatrix>(
        roundMatrix(values, rows, *curvature, roundingGrid(layout), Rounding::Compensated));
    keep(keyOf(matrix, layout), rounded);
  }
  std::copy(rounded->codes.begin(), rounded->codes.end(), codes);
  std::transform(rounded->scales.begin(), rounded->scales.end(), scales, halfToFloat);
  return absl::OkStatus();
}

double CalibratedRounder::errorOf(int64_t layer, int64_t expert, const ExpertValues &values,
                                  const ExpertSensitivity &sensitivity, LayoutAttr layout) {
  RoundedExpert rounded = roundExpert(values, sensitivity.curvature(), roundingGrid(layout),
                                      compensates(layout) ? Rounding::Compensated : Rounding::Nearest);
  const double error = sensitivity.error(rounded);
  if (compensates(layout)) {
    auto keepPart = [&](ExpertPart part, RoundedMatrix &matrix) {
      keep(keyOf({layer, expert, part}, layout), std::make_shared<const RoundedMatrix>(std::move(matrix)));
    };
    if (!values.gate.empty()) {
      keepPart(ExpertPart::Gate, rounded.gate);
    }
    keepPart(ExpertPart::Up, rounded.up);
    keepPart(ExpertPart::Down, rounded.down);
  }
  return error;
}

} // namespace emoe
