#include "compiler/calibrate/moments.h"

#include <algorithm>
#include <cmath>
#include <cstring>

namespace emoe {
namespace {

// Compiled for several instruction sets; products are rounded before they are added (-ffp-contract=off), and each sum
// has one order, so all give the same bits.
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && !defined(__SANITIZE_ADDRESS__) &&               \
    !defined(__SANITIZE_THREAD__)
#define EMOE_CLONES __attribute__((target_clones("default", "avx2", "avx512f")))
#else
#define EMOE_CLONES
#endif

constexpr int64_t kLines = 4, kLanes = 32; // entries that are summed in registers: lines x lanes
constexpr size_t kBlock = 64;              // rows whose sum is made at once

// sum[i][j] = sum over rows n of x[n][line + i] * x[n][lane + j]; `x` has rows of `stride` floats.
EMOE_CLONES void sumTile(const float *x, size_t rows, int64_t stride, int64_t line, int64_t lane, float *sum) {
  float local[kLines][kLanes] = {};
  for (size_t n = 0; n < rows; ++n) {
    const float *row = x + n * stride;
    for (int64_t i = 0; i < kLines; ++i) {
      float a = row[line + i];
      for (int64_t j = 0; j < kLanes; ++j) {
        local[i][j] += a * row[lane + j];
      }
    }
  }
  std::memcpy(sum, local, sizeof(local));
}

void addFull(Moment &moment, const std::vector<WeightedRow> &rows) {
  const int64_t columns = moment.columns;
  const int64_t stride = (columns + kLanes - 1) / kLanes * kLanes;
  std::vector<float> block(std::min(kBlock, rows.size()) * stride);
  float sum[kLines][kLanes];
  for (size_t first = 0; first < rows.size(); first += kBlock) {
    size_t count = std::min(kBlock, rows.size() - first);
    for (size_t n = 0; n < count; ++n) {
      const WeightedRow &row = rows[first + n];
      float root = std::sqrt(row.factor);
      for (int64_t c = 0; c < columns; ++c) {
        block[n * stride + c] = root * row.values[c];
      }
    }
    for (int64_t line = 0; line < columns; line += kLines) {
      for (int64_t lane = line / kLanes * kLanes; lane < columns; lane += kLanes) {
        sumTile(block.data(), count, stride, line, lane, &sum[0][0]);
        int64_t lines = std::min(kLines, columns - line), lanes = std::min(kLanes, columns - lane);
        for (int64_t i = 0; i < lines; ++i) {
          float *to = &moment.values[(line + i) * columns + lane];
          for (int64_t j = 0; j < lanes; ++j) {
            to[j] += sum[i][j];
          }
        }
      }
    }
  }
}

void addDiagonal(Moment &moment, const std::vector<WeightedRow> &rows) {
  for (const WeightedRow &row : rows) {
    for (int64_t c = 0; c < moment.columns; ++c) {
      moment.values[c] += row.factor * (row.values[c] * row.values[c]);
    }
  }
}

uint64_t bytesOf(Moment::Kind kind, uint64_t columns) {
  return sizeof(float) * (kind == Moment::Kind::Full ? columns * columns : kind == Moment::Kind::Diagonal ? columns : 0);
}

Moment makeMoment(Moment::Kind kind, int64_t columns) {
  return {kind, columns, std::vector<float>(bytesOf(kind, columns) / sizeof(float))};
}

} // namespace

void addRows(Moment &moment, const std::vector<WeightedRow> &rows) {
  if (moment.kind == Moment::Kind::Full) {
    addFull(moment, rows);
  } else if (moment.kind == Moment::Kind::Diagonal) {
    addDiagonal(moment, rows);
  }
}

void mirror(Moment &moment) {
  if (moment.kind != Moment::Kind::Full) {
    return;
  }
  for (int64_t i = 0; i < moment.columns; ++i) {
    for (int64_t j = i + 1; j < moment.columns; ++j) {
      moment.values[j * moment.columns + i] = moment.values[i * moment.columns + j];
    }
  }
}

uint64_t momentBytes(const std::vector<MomentShape> &layers, const MomentKinds &kinds) {
  uint64_t sum = 0;
  for (const MomentShape &layer : layers) {
    for (int64_t columns : {layer.input, layer.hidden}) {
      sum += layer.experts * bytesOf(kinds.expert, columns) + bytesOf(kinds.layer, columns);
    }
  }
  return sum;
}

MomentKinds chooseMoments(const std::vector<MomentShape> &layers, uint64_t bytes) {
  using Kind = Moment::Kind;
  for (MomentKinds kinds : {MomentKinds{Kind::Full, Kind::None}, MomentKinds{Kind::Diagonal, Kind::Full}}) {
    if (momentBytes(layers, kinds) <= bytes) {
      return kinds;
    }
  }
  return {Kind::Diagonal, Kind::None};
}

std::vector<LayerMoments> makeMoments(const std::vector<MomentShape> &layers, const MomentKinds &kinds) {
  std::vector<LayerMoments> moments;
  for (const MomentShape &shape : layers) {
    LayerMoments layer;
    for (size_t expert = 0; expert < shape.experts; ++expert) {
      layer.experts.push_back({0, 0, makeMoment(kinds.expert, shape.input), makeMoment(kinds.expert, shape.hidden)});
    }
    layer.input = makeMoment(kinds.layer, shape.input);
    layer.hidden = makeMoment(kinds.layer, shape.hidden);
    moments.push_back(std::move(layer));
  }
  return moments;
}

} // namespace emoe
