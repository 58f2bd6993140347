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

std::vector<double> CalibratedRounder::errorsOf(int64_t layer, int64_t expert, const ExpertValues &values,
                                                const ExpertSensitivity &sensitivity,
                                                const std::vector<ExpertFormat> &formats) {
  // Costs of rows by part and layout.
  std::map<Key, std::vector<float>> costs;
  auto costsOf = [&](ExpertPart part, LayoutAttr layout) -> const std::vector<float> & {
    const Key key = keyOf({layer, expert, part}, layout);
    auto [entry, isNew] = costs.try_emplace(key);
    const std::vector<float> &matrix = part == ExpertPart::Gate ? values.gate
                                       : part == ExpertPart::Up ? values.up
                                                                : values.down;
    if (!isNew || matrix.empty()) {
      return entry->second;
    }
    const bool down = part == ExpertPart::Down;
    auto rounded = std::make_shared<RoundedMatrix>(
        roundMatrix(matrix.data(), down ? values.input : values.hidden,
                    down ? sensitivity.curvature().hidden : sensitivity.curvature().input, roundingGrid(layout),
                    compensates(layout) ? Rounding::Compensated : Rounding::Nearest));
    entry->second = rounded->rowCosts;
    if (compensates(layout)) {
      keep(key, std::move(rounded));
    }
    return entry->second;
  };
  std::vector<double> errors;
  for (const ExpertFormat &format : formats) {
    errors.push_back(sensitivity.error(costsOf(ExpertPart::Gate, format.gateUp), costsOf(ExpertPart::Up, format.gateUp),
                                       costsOf(ExpertPart::Down, format.down)));
  }
  return errors;
}

} // namespace emoe
