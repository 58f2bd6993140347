#include "compiler/plan/next_use.h"

#include <algorithm>
#include <cmath>
#include <tuple>

namespace emoe {
namespace {

// A set of experts that a target may be told of.
struct Source {
  size_t layer;
  bool sameToken;
  size_t column; // of its first expert
};

// The regression for one target layer. A source that is active contributes, for each expert, (chosen - how often it is
// chosen on average), so what an absent source would say is its average.
class Target {
public:
  Target(const Trace &trace, size_t layer, const std::vector<std::vector<double>> &usual, const NextUseOptions &options)
      : trace(trace), layer(layer), usual(usual), options(options), experts(trace.layers[layer].experts) {}

  void addSources(size_t most) {
    size_t count = trace.layers.size();
    auto add = [&](size_t source, bool sameToken, uint32_t *left) {
      if (trace.layers[source].experts > *left) {
        return false;
      }
      *left -= trace.layers[source].experts;
      sources.push_back({source, sameToken, columns});
      columns += trace.layers[source].experts;
      return true;
    };
    uint32_t left = options.mostColumns;
    // Of the token before: the layer itself, then what is nearest to the next token.
    size_t taken = 0;
    bool fits = most != 0 && add(layer, false, &left);
    for (size_t i = count; fits && i-- > 0 && ++taken < most;) {
      fits = i == layer || add(i, false, &left);
      taken -= i == layer;
    }
    left = options.mostColumns;
    for (size_t i = layer; i-- > 0 && layer - i <= most && add(i, true, &left);) {
    }
  }

  const std::vector<Source> &getSources() const { return sources; }
  size_t bytes() const { return columns * experts; }

  // [columns, experts]
  std::vector<double> fit() {
    accumulate();
    center();
    return solve();
  }

private:
  const int32_t *ids(uint64_t token, size_t of) const { return &trace.experts[token * row + trace.column(of)]; }

  void accumulate() {
    const size_t count = trace.layers.size(), tokens = trace.count();
    gram.assign(columns * columns, 0);
    moments.assign(columns * experts, 0);
    together.assign(columns * sources.size(), 0);
    both.assign(sources.size() * sources.size(), 0);
    later.assign(sources.size() * experts, 0);
    mean.assign(experts, 0);
    std::vector<float> target(tokens * experts); // what is used from a token on, discounted
    std::vector<float> sum(experts);
    for (uint64_t t = tokens; t-- > 0;) {
      for (float &value : sum) {
        value *= static_cast<float>(options.discount);
      }
      const int32_t *own = ids(t, layer);
      for (uint32_t i = 0; i < trace.layers[layer].topK && own[i] >= 0; ++i) {
        sum[static_cast<size_t>(own[i])] += static_cast<float>(1 - options.discount);
      }
      std::copy(sum.begin(), sum.end(), target.begin() + static_cast<std::ptrdiff_t>(t * experts));
    }
    uint64_t random = 0x9e3779b97f4a7c15u + layer;
    for (uint64_t t = 1; t + 1 < tokens; ++t) {
      random = random * 6364136223846793005u + 1442695040888963407u;
      sample(t, (random >> 33) % count, &target[0]);
    }
  }

  // Token `t` has run up to the layer `cut`.
  void sample(uint64_t t, size_t cut, const float *target) {
    const bool ran = layer <= cut;
    active.clear();
    chosen.clear();
    for (size_t s = 0; s < sources.size(); ++s) {
      const Source &source = sources[s];
      bool current = source.layer <= cut;
      if (source.sameToken ? ran || !current : !ran && current) {
        continue;
      }
      const int32_t *set = ids(current ? t : t - 1, source.layer);
      if (set[0] < 0) {
        continue;
      }
      active.push_back(s);
      for (uint32_t i = 0; i < trace.layers[source.layer].topK && set[i] >= 0; ++i) {
        chosen.push_back(source.column + static_cast<size_t>(set[i]));
      }
    }
    const float *y = target + (ran ? t + 1 : t) * experts;
    for (uint32_t e = 0; e < experts; ++e) {
      mean[e] += static_cast<double>(y[e]);
    }
    ++samples;
    for (size_t a : active) {
      for (size_t b : active) {
        both[a * sources.size() + b] += 1;
      }
      for (uint32_t e = 0; e < experts; ++e) {
        later[a * experts + e] += static_cast<double>(y[e]);
      }
    }
    for (size_t x : chosen) {
      for (size_t other : chosen) {
        gram[x * columns + other] += 1;
      }
      for (size_t a : active) {
        together[x * sources.size() + a] += 1;
      }
      for (uint32_t e = 0; e < experts; ++e) {
        moments[x * experts + e] += static_cast<double>(y[e]);
      }
    }
  }

  // Sums over chosen experts -> sums over (chosen - usual), for features and targets.
  void center() {
    const size_t count = sources.size();
    for (double &value : mean) {
      value /= static_cast<double>(std::max<uint64_t>(samples, 1));
    }
    std::vector<double> average(columns);
    std::vector<size_t> of(columns);
    for (size_t s = 0; s < count; ++s) {
      for (size_t e = 0; e < usual[sources[s].layer].size(); ++e) {
        average[sources[s].column + e] = usual[sources[s].layer][e];
        of[sources[s].column + e] = s;
      }
    }
    for (size_t x = 0; x < columns; ++x) {
      for (size_t z = 0; z < columns; ++z) {
        gram[x * columns + z] += average[x] * average[z] * both[of[x] * count + of[z]] -
                                 average[x] * together[z * count + of[x]] - average[z] * together[x * count + of[z]];
      }
      double sum = together[x * count + of[x]] - average[x] * both[of[x] * count + of[x]];
      for (uint32_t e = 0; e < experts; ++e) {
        moments[x * experts + e] -= average[x] * later[of[x] * experts + e] + sum * mean[e];
      }
    }
  }

  // (gram + ridge) weights = moments, by Cholesky's decomposition in place.
  std::vector<double> solve() {
    for (size_t i = 0; i < columns; ++i) {
      gram[i * columns + i] += options.ridge;
      for (size_t j = 0; j <= i; ++j) {
        double sum = gram[i * columns + j];
        const double *a = &gram[i * columns], *b = &gram[j * columns];
        for (size_t k = 0; k < j; ++k) {
          sum -= a[k] * b[k];
        }
        gram[i * columns + j] = i == j ? std::sqrt(std::max(sum, options.ridge * 1e-3)) : sum / gram[j * columns + j];
      }
    }
    for (size_t i = 0; i < columns; ++i) {
      for (size_t k = 0; k < i; ++k) {
        subtract(i, k, gram[i * columns + k]);
      }
      divide(i);
    }
    for (size_t i = columns; i-- > 0;) {
      for (size_t k = i + 1; k < columns; ++k) {
        subtract(i, k, gram[k * columns + i]);
      }
      divide(i);
    }
    std::vector<double>().swap(gram);
    return std::move(moments);
  }
  void subtract(size_t i, size_t k, double factor) {
    for (uint32_t e = 0; e < experts; ++e) {
      moments[i * experts + e] -= factor * moments[k * experts + e];
    }
  }
  void divide(size_t i) {
    for (uint32_t e = 0; e < experts; ++e) {
      moments[i * experts + e] /= gram[i * columns + i];
    }
  }

  const Trace &trace;
  const size_t layer;
  const std::vector<std::vector<double>> &usual; // [layer][expert]
  const NextUseOptions &options;
  const uint32_t experts;
  const size_t row = trace.row();
  std::vector<Source> sources;
  size_t columns = 0;
  uint64_t samples = 0;
  std::vector<double> gram, moments, together, both, later, mean;
  std::vector<size_t> active, chosen;
};

} // namespace

void NextUseTables::apply(rt::CacheParameters *parameters) const {
  parameters->discount = discount;
  parameters->scale = scale;
  parameters->usual = {usual.data(), usual.size()};
  parameters->blocks = {blocks.data(), blocks.size()};
  parameters->rows = {rows.data(), rows.size()};
}

NextUseTables fitNextUse(const Trace &trace, const NextUseOptions &options) {
  const size_t layers = trace.layers.size(), row = trace.row();
  NextUseTables tables;
  tables.discount = static_cast<uint8_t>(std::lround(options.discount * 256));
  std::vector<std::vector<double>> usual(layers);
  for (size_t l = 0; l < layers; ++l) {
    usual[l].assign(trace.layers[l].experts, 0);
    size_t column = trace.column(l);
    for (uint64_t t = 0; t < trace.count(); ++t) {
      const int32_t *ids = &trace.experts[t * row + column];
      for (uint32_t i = 0; i < trace.layers[l].topK && ids[i] >= 0; ++i) {
        usual[l][static_cast<size_t>(ids[i])] += 1 / static_cast<double>(trace.count());
      }
    }
    for (double share : usual[l]) {
      tables.usual.push_back(static_cast<uint16_t>(std::lround(std::min(share, 1.0) * 65535)));
    }
  }
  // As many sources for each target as fit.
  std::vector<Target> targets;
  for (size_t most = layers; most > 0; --most) {
    targets.clear();
    uint64_t bytes = 0;
    for (size_t l = 0; l < layers; ++l) {
      targets.emplace_back(trace, l, usual, options).addSources(most);
      bytes += targets.back().bytes();
    }
    if (bytes <= options.mostBytes) {
      break;
    }
    targets.clear();
  }
  struct Block {
    rt::NextUseBlock head;
    std::vector<double> rows;
  };
  std::vector<Block> blocks;
  double largest = 0;
  for (size_t target = 0; target < targets.size(); ++target) {
    std::vector<double> weights = targets[target].fit();
    const uint32_t experts = trace.layers[target].experts;
    for (const Source &source : targets[target].getSources()) {
      const TraceLayer &from = trace.layers[source.layer];
      Block block;
      block.head = {0, static_cast<uint16_t>(source.layer), static_cast<uint16_t>(target), source.sameToken};
      auto begin = weights.begin() + static_cast<std::ptrdiff_t>(source.column * experts);
      block.rows.assign(begin, begin + static_cast<std::ptrdiff_t>(size_t{from.experts} * experts));
      // The topK rows of a set shall add up to nothing on average: `usual` says that.
      for (uint32_t e = 0; e < experts; ++e) {
        double sum = 0;
        for (uint32_t a = 0; a < from.experts; ++a) {
          sum += usual[source.layer][a] * block.rows[size_t{a} * experts + e];
        }
        for (uint32_t a = 0; a < from.experts; ++a) {
          double &value = block.rows[size_t{a} * experts + e];
          value -= sum / from.topK;
          largest = std::max(largest, std::abs(value));
        }
      }
      blocks.push_back(std::move(block));
    }
  }
  std::sort(blocks.begin(), blocks.end(), [](const Block &a, const Block &b) {
    return std::make_tuple(a.head.source, a.head.target, a.head.same_token) <
           std::make_tuple(b.head.source, b.head.target, b.head.same_token);
  });
  if (largest == 0) {
    return tables; // nothing to be said
  }
  tables.scale = static_cast<float>(std::min(largest, 127.0) / 127);
  for (Block &block : blocks) {
    block.head.first = static_cast<uint32_t>(tables.rows.size());
    tables.blocks.push_back(block.head);
    for (double value : block.rows) {
      tables.rows.push_back(
          static_cast<int8_t>(std::clamp<long>(std::lround(value / static_cast<double>(tables.scale)), -127, 127)));
    }
  }
  return tables;
}

} // namespace emoe
