#include "compiler/predict/judge.h"

#include <algorithm>
#include <random>

namespace emoe {
namespace {

struct Found {
  uint64_t tokens = 0, used = 0, k = 0, twice = 0, ranked = 0;
  void add(const Found &o) {
    tokens += o.tokens;
    used += o.used;
    k += o.k;
    twice += o.twice;
    ranked += o.ranked;
  }
};

double share(uint64_t part, uint64_t whole) { return whole == 0 ? 0 : double(part) / double(whole); }

Quality summarise(const std::vector<Found> &blocks, rt::PredictorKind predictor) {
  constexpr int kSamples = 1000;
  Found all;
  for (const Found &block : blocks) {
    all.add(block);
  }
  Quality quality{predictor, all.tokens, share(all.k, all.used), 0, 0, share(all.twice, all.used),
                  share(all.twice, all.ranked)};
  std::mt19937 random(12345);
  std::vector<double> samples;
  for (int s = 0; s < kSamples && !blocks.empty(); ++s) {
    uint64_t k = 0, used = 0;
    for (size_t i = 0; i < blocks.size(); ++i) {
      const Found &block = blocks[random() % blocks.size()];
      k += block.k;
      used += block.used;
    }
    samples.push_back(share(k, used));
  }
  if (!samples.empty()) {
    std::sort(samples.begin(), samples.end());
    quality.recallLow = samples[kSamples / 40];
    quality.recallHigh = samples[kSamples - 1 - kSamples / 40];
  }
  return quality;
}

} // namespace

std::vector<Quality> judge(const Trace &trace, const std::vector<LayerTables> &tables, rt::PredictorKind kind) {
  size_t count = trace.layers.size(), row = trace.row(), aheadRow = trace.aheadRow();
  std::vector<rt::LayerPredictor> layers;
  for (const LayerTables &layer : tables) {
    layers.push_back(layer.view(kind));
  }
  rt::Span<rt::LayerPredictor> span{layers.data(), layers.size()};
  std::vector<uint64_t> memory((rt::Predictor::BytesNeeded(span) + 7) / 8);
  rt::Predictor predictor;
  predictor.Init(span, memory.data());

  std::vector<std::vector<Found>> blocks(count + 1);
  size_t document = 0, inBlock = 0;
  for (uint64_t t = 0; t < trace.count(); ++t) {
    bool starts = document < trace.documents.size() && trace.documents[document].first == t;
    document += starts;
    if (starts) {
      predictor.Reset();
    }
    if (starts || blocks[count].empty() || inBlock == kBlock) {
      inBlock = 0;
      for (std::vector<Found> &list : blocks) {
        list.emplace_back();
      }
    }
    ++inBlock;
    for (size_t l = 0; l < count; ++l) {
      const int32_t *ahead = trace.ahead.empty() ? nullptr : &trace.ahead[t * aheadRow + trace.aheadColumn(l)];
      if (ahead && ahead[0] >= 0) {
        predictor.LookAhead(l, ahead);
      }
      rt::Prediction prediction = predictor.Predict(l, 1);
      const int32_t *ids = &trace.experts[t * row + trace.column(l)];
      if (std::any_of(ids, ids + trace.layers[l].topK, [](int32_t id) { return id < 0; })) {
        continue; // not recorded
      }
      Found found{1, trace.layers[l].topK, 0, 0, prediction.ranked_count};
      for (uint32_t r = 0; r < prediction.ranked_count; ++r) {
        bool hit = std::find(ids, ids + trace.layers[l].topK, prediction.ranked[r]) != ids + trace.layers[l].topK;
        found.k += hit && r < trace.layers[l].topK;
        found.twice += hit;
      }
      predictor.Observe(l, ids, 1);
      blocks[l].back().add(found);
      blocks[count].back().add(found);
    }
  }
  std::vector<Quality> qualities;
  for (const std::vector<Found> &list : blocks) {
    qualities.push_back(summarise(list, kind));
  }
  return qualities;
}

} // namespace emoe
