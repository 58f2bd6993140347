// The rounding of an expert's matrices by what calibration knows of their inputs, for whoever packs records.
#ifndef EMOE_COMPILER_BITWIDTH_ROUNDER_H_
#define EMOE_COMPILER_BITWIDTH_ROUNDER_H_

#include <map>
#include <memory>
#include <mutex>
#include <tuple>

#include "compiler/bitwidth/format.h"
#include "compiler/bitwidth/sensitivity.h"
#include "compiler/codegen/round.h"

namespace emoe {

// The grid of a layout with scales.
RoundingGrid roundingGrid(LayoutAttr layout);

// Thread-safe. Answers are kept up to `mostBytes`, so that the passes that round the same expert again (sensitivity,
// verification, writing) need not compute them again; they are the same whether kept or not.
class CalibratedRounder : public Rounder {
public:
  // `moments`: [layer], outlives the rounder.
  CalibratedRounder(const std::vector<LayerMoments> &moments, Rounding rounding, uint64_t mostBytes)
      : moments(moments), rounding(rounding), mostBytes(mostBytes) {}

  absl::Status round(const ExpertMatrix &matrix, LayoutAttr layout, const float *values, int64_t rows, int64_t columns,
                     uint8_t *codes, float *scales) override;

  // Rounds a whole expert to each format, each matrix to each layout once, keeps the answers, and returns the formats'
  // errors by `sensitivity`. Values must be finite.
  std::vector<double> errorsOf(int64_t layer, int64_t expert, const ExpertValues &values,
                               const ExpertSensitivity &sensitivity, const std::vector<ExpertFormat> &formats);

private:
  // Eight bits are rounded to nearest: there is nothing to compensate.
  bool compensates(LayoutAttr layout) const { return rounding == Rounding::Compensated && layout.getBits() < 8; }
  using Key = std::tuple<int64_t, int64_t, ExpertPart, unsigned, Codebook, unsigned>; // layer, expert, ..., group
  static Key keyOf(const ExpertMatrix &matrix, LayoutAttr layout) {
    return {matrix.layer, matrix.expert, matrix.part, layout.getBits(), layout.getCodebook(), layout.getGroup()};
  }
  std::shared_ptr<const RoundedMatrix> find(const Key &key);
  void keep(const Key &key, std::shared_ptr<const RoundedMatrix> rounded);
  std::shared_ptr<const Curvature> curvatureFor(const ExpertMatrix &matrix);

  const std::vector<LayerMoments> &moments;
  const Rounding rounding;
  const uint64_t mostBytes;

  std::mutex mutex;
  uint64_t used = 0;
  std::map<Key, std::shared_ptr<const RoundedMatrix>> known;
  // Gate and up of an expert follow each other and share their inputs.
  std::tuple<int64_t, int64_t, bool> lastKey{-1, -1, false};
  std::shared_ptr<const Curvature> last;
};

} // namespace emoe

#endif // EMOE_COMPILER_BITWIDTH_ROUNDER_H_
