#include "compiler/predict/fit.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace emoe {
namespace {

constexpr double kPriorWeight = 4;    // imagined tokens with every expert alike
constexpr double kExactWeight = 4;    // imagined tokens that agree with the pairs
constexpr int kPasses = 10;           // over the trace, for pairs
constexpr float kRate = 0.15f;        // AdaGrad's step
constexpr float kDecay = 2e-4f;       // pull of pairs towards 0, a step
constexpr float kLargest = 8;         // log-odds that are told apart: 0.03 % to 99.97 %

double logOdds(double p) {
  p = std::clamp(p, 1e-4, 1 - 1e-4);
  return std::log(p / (1 - p));
}
float sigmoid(float x) { return 1 / (1 + std::exp(-x)); }

// A layer and those that run before it, and where their experts stand in the trace.
class LayerFit {
public:
  LayerFit(const Trace &trace, size_t layer, const FitOptions &options)
      : trace(trace), options(options), layer(layer), count(trace.layers.size()), experts(trace.layers[layer].experts),
        topK(trace.layers[layer].topK), nearLayer((layer + count - 1) % count), farLayer((layer + 2 * count - 2) % count),
        width(trace.row()) {
    for (size_t l = 0; l <= count; ++l) {
      columns.push_back(trace.column(l));
    }
    starts.assign(trace.count(), false);
    for (const TraceDocument &document : trace.documents) {
      if (document.first < starts.size()) {
        starts[document.first] = true;
      }
    }
    if (!starts.empty()) {
      starts[0] = true;
    }
  }

  LayerTables run();

private:
  const int32_t *at(uint64_t token, size_t l) const { return &trace.experts[token * width + columns[l]]; }
  // Whether all of a layer's experts were recorded: ids that were not are -1.
  bool recorded(uint64_t token, size_t l) const {
    return std::all_of(at(token, l), at(token, l) + trace.layers[l].topK, [](int32_t id) { return id >= 0; });
  }
  // The experts of the layer `distance` runs ago, or null if they belong to another document or were not recorded.
  // With a single mixture layer only the last token is known.
  const int32_t *before(uint64_t token, size_t distance) const {
    size_t back = layer < distance ? (distance - layer + count - 1) / count : 0;
    if (back > 1 || (back == 1 && starts[token]) || (distance == 2 && count == 1)) {
      return nullptr;
    }
    size_t source = distance == 1 ? nearLayer : farLayer;
    return recorded(token - back, source) ? at(token - back, source) : nullptr;
  }

  void fitPrior();
  void fitRepeat();
  void fitPairs();
  void fitRanks();
  void fitExact();
  void pairScores(uint64_t token, std::vector<float> &z) const;

  const Trace &trace;
  const FitOptions &options;
  size_t layer, count;
  uint32_t experts, topK;
  size_t nearLayer, farLayer, width;
  std::vector<size_t> columns;
  std::vector<bool> starts; // of a document

  std::vector<float> prior, repeat, near, far, ranks;
  std::map<uint32_t, std::pair<uint64_t, std::vector<double>>> exact; // key -> seen, sums of use
  std::vector<std::pair<uint16_t, std::vector<float>>> rows;
};

void LayerFit::fitPrior() {
  std::vector<double> used(experts);
  double tokens = 0;
  for (uint64_t t = 0; t < trace.count(); ++t) {
    if (!recorded(t, layer)) {
      continue;
    }
    for (uint32_t j = 0; j < topK; ++j) {
      used[at(t, layer)[j]] += 1;
    }
    ++tokens;
  }
  for (double n : used) {
    prior.push_back(logOdds((n + kPriorWeight * topK / experts) / (tokens + kPriorWeight)));
  }
}

// Two numbers by logistic regression on top of the prior: Newton's steps, each on its own half of the (token, expert)s.
void LayerFit::fitRepeat() {
  double value[2] = {0, 0};
  for (int pass = 0; pass < 12; ++pass) {
    double slope[2] = {0, 0}, curve[2] = {1e-3, 1e-3};
    std::vector<uint8_t> was(experts), is(experts);
    for (uint64_t t = 1; t < trace.count(); ++t) {
      if (starts[t] || !recorded(t, layer) || !recorded(t - 1, layer)) {
        continue;
      }
      std::fill(was.begin(), was.end(), 1);
      std::fill(is.begin(), is.end(), 0);
      for (uint32_t j = 0; j < topK; ++j) {
        was[at(t - 1, layer)[j]] = 0;
        is[at(t, layer)[j]] = 1;
      }
      for (uint32_t e = 0; e < experts; ++e) {
        double p = sigmoid(prior[e] + value[was[e]]);
        slope[was[e]] += is[e] - p;
        curve[was[e]] += p * (1 - p);
      }
    }
    for (int i = 0; i < 2; ++i) {
      value[i] = std::clamp(value[i] + std::clamp(slope[i] / curve[i], -1.0, 1.0), -6.0, 6.0);
    }
  }
  repeat = {static_cast<float>(value[0]), static_cast<float>(value[1])};
}

void LayerFit::pairScores(uint64_t token, std::vector<float> &z) const {
  z = prior;
  auto add = [&](const std::vector<float> &table, const int32_t *ids, uint32_t k) {
    for (uint32_t j = 0; ids && j < k && !table.empty(); ++j) {
      const float *row = &table[size_t(ids[j]) * experts];
      for (uint32_t e = 0; e < experts; ++e) {
        z[e] += row[e];
      }
    }
  };
  add(near, before(token, 1), trace.layers[nearLayer].topK);
  add(far, before(token, 2), trace.layers[farLayer].topK);
}

void LayerFit::fitPairs() {
  const TraceLayer &nearShape = trace.layers[nearLayer], &farShape = trace.layers[farLayer];
  uint64_t bytes = uint64_t(nearShape.experts + farShape.experts) * experts;
  if (bytes > options.mostPairBytes) {
    return;
  }
  near.assign(size_t(nearShape.experts) * experts, 0);
  if (count > 1) {
    far.assign(size_t(farShape.experts) * experts, 0);
  }
  std::vector<float> nearSquares(near.size(), 1e-6f), farSquares(far.size(), 1e-6f), z, error(experts);
  uint64_t work = uint64_t(nearShape.topK + farShape.topK) * experts * 2 * kPasses * count;
  uint64_t tokens = std::min<uint64_t>(trace.count(), std::max<uint64_t>(options.mostWork / work, 256));
  auto learn = [&](std::vector<float> &table, std::vector<float> &squares, const int32_t *ids, uint32_t k, float rate) {
    for (uint32_t j = 0; ids && j < k && !table.empty(); ++j) {
      float *row = &table[size_t(ids[j]) * experts], *sum = &squares[size_t(ids[j]) * experts];
      for (uint32_t e = 0; e < experts; ++e) {
        float gradient = error[e] - kDecay * row[e];
        sum[e] += gradient * gradient;
        row[e] += rate * gradient / std::sqrt(sum[e]);
      }
    }
  };
  for (int pass = 0; pass < kPasses; ++pass) {
    float rate = kRate * (1 - 0.9f * pass / kPasses);
    for (uint64_t i = 0; i < tokens; ++i) {
      uint64_t t = i * trace.count() / tokens;
      if (!recorded(t, layer)) {
        continue;
      }
      pairScores(t, z);
      for (uint32_t e = 0; e < experts; ++e) {
        error[e] = -sigmoid(z[e]);
      }
      for (uint32_t j = 0; j < topK; ++j) {
        error[at(t, layer)[j]] += 1;
      }
      learn(near, nearSquares, before(t, 1), nearShape.topK, rate);
      learn(far, farSquares, before(t, 2), farShape.topK, rate);
    }
  }
}

void LayerFit::fitRanks() {
  uint32_t ranked = rt::RankedExperts(experts, topK);
  size_t aheadWidth = trace.aheadRow(), column = trace.aheadColumn(layer);
  if (trace.ahead.empty() || trace.ahead[column] < 0) {
    return;
  }
  std::vector<double> hits(ranked);
  double found = 0, tokens = 0;
  for (uint64_t t = 0; t < trace.count(); ++t) {
    if (!recorded(t, layer)) {
      continue;
    }
    ++tokens;
    const int32_t *ahead = &trace.ahead[t * aheadWidth + column];
    for (uint32_t r = 0; r < ranked; ++r) {
      bool hit = std::find(at(t, layer), at(t, layer) + topK, ahead[r]) != at(t, layer) + topK;
      hits[r] += hit;
      found += hit;
    }
  }
  double even = double(topK) / experts, last = 1;
  for (double h : hits) {
    last = std::min(last, (h + kPriorWeight * even) / (tokens + kPriorWeight)); // never rises with the rank
    ranks.push_back(logOdds(last));
  }
  double others = experts > ranked ? (tokens * topK - found + kPriorWeight * even) / (tokens + kPriorWeight) / (experts - ranked)
                                   : last;
  ranks.push_back(logOdds(std::min(last, others)));
}

void LayerFit::fitExact() {
  const TraceLayer &nearShape = trace.layers[nearLayer], &farShape = trace.layers[farLayer];
  if (!options.exact || near.empty() || far.empty() || !rt::HasExactKey(nearShape.experts, nearShape.topK) ||
      !rt::HasExactKey(farShape.experts, farShape.topK)) {
    return;
  }
  auto keyOf = [&](uint64_t t) {
    return rt::ExactKey(rt::ExactSet(before(t, 2), farShape.topK), rt::ExactSets(nearShape.experts, nearShape.topK),
                        rt::ExactSet(before(t, 1), nearShape.topK));
  };
  std::vector<float> z;
  std::map<uint32_t, std::vector<double>> drawn; // what the pairs say
  for (uint64_t t = 0; t < trace.count(); ++t) {
    if (!before(t, 1) || !before(t, 2) || !recorded(t, layer)) {
      continue;
    }
    auto &[seen, used] = exact[keyOf(t)];
    used.resize(experts);
    ++seen;
    for (uint32_t j = 0; j < topK; ++j) {
      used[at(t, layer)[j]] += 1;
    }
    std::vector<double> &pairs = drawn[keyOf(t)];
    if (pairs.empty()) {
      pairScores(t, z);
      for (float x : z) {
        pairs.push_back(sigmoid(x));
      }
    }
  }
  std::vector<std::pair<uint64_t, uint32_t>> order; // most often seen first
  for (auto &[key, entry] : exact) {
    if (entry.first > 1) {
      order.push_back({entry.first, key});
    }
  }
  std::stable_sort(order.begin(), order.end(), [](auto &a, auto &b) { return a.first > b.first; });
  order.resize(std::min<size_t>(order.size(), options.mostExactBytes / (experts + 2)));
  std::sort(order.begin(), order.end(), [](auto &a, auto &b) { return a.second < b.second; });
  for (auto [seen, key] : order) {
    std::vector<float> row;
    for (uint32_t e = 0; e < experts; ++e) {
      row.push_back(logOdds((exact[key].second[e] + kExactWeight * drawn[key][e]) / (seen + kExactWeight)));
    }
    rows.push_back({static_cast<uint16_t>(key), std::move(row)});
  }
}

LayerTables LayerFit::run() {
  LayerTables tables;
  tables.experts = experts;
  tables.topK = topK;
  if (trace.count() == 0) {
    return tables;
  }
  fitPrior();
  fitRepeat();
  fitPairs();
  fitRanks();
  fitExact();
  float largest = 1;
  auto widen = [&](const std::vector<float> &values) {
    for (float v : values) {
      largest = std::max(largest, std::min(std::fabs(v), kLargest));
    }
  };
  for (const std::vector<float> *values : {&prior, &repeat, &near, &far, &ranks}) {
    widen(*values);
  }
  for (auto &row : rows) {
    widen(row.second);
  }
  tables.scale = largest / 127;
  auto quantise = [&](const std::vector<float> &values, std::vector<int8_t> &out) {
    for (float v : values) {
      out.push_back(static_cast<int8_t>(std::lround(std::clamp(v / tables.scale, -127.0f, 127.0f))));
    }
  };
  quantise(prior, tables.prior);
  quantise(repeat, tables.repeat);
  quantise(near, tables.near);
  quantise(far, tables.far);
  quantise(ranks, tables.ranks);
  for (auto &[key, row] : rows) {
    tables.keys.push_back(key);
    quantise(row, tables.rows);
  }
  return tables;
}

} // namespace

rt::LayerPredictor LayerTables::view(rt::PredictorKind kind) const {
  auto data = [](const std::vector<int8_t> &values) { return values.empty() ? nullptr : values.data(); };
  rt::LayerPredictor layer;
  layer.kind = kind;
  layer.experts = experts;
  layer.top_k = topK;
  layer.scale = scale;
  layer.prior = data(prior);
  layer.repeat = data(repeat);
  layer.near = data(near);
  layer.far = data(far);
  layer.ranks = data(ranks);
  layer.keys = keys.empty() ? nullptr : keys.data();
  layer.rows = data(rows);
  layer.key_count = keys.size();
  return layer;
}

std::vector<LayerTables> fitTables(const Trace &trace, const FitOptions &options) {
  std::vector<LayerTables> layers;
  for (size_t l = 0; l < trace.layers.size(); ++l) {
    layers.push_back(LayerFit(trace, l, options).run());
  }
  return layers;
}

} // namespace emoe
