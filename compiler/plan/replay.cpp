#include "compiler/plan/replay.h"

#include <algorithm>
#include <set>
#include <vector>

namespace emoe {
namespace {

std::vector<uint32_t> keyBases(const Trace &trace) {
  std::vector<uint32_t> bases;
  uint32_t keys = 0;
  for (const TraceLayer &layer : trace.layers) {
    bases.push_back(keys);
    keys += layer.experts;
  }
  return bases;
}

class Replay {
public:
  Replay(const Trace &trace, uint32_t slots, const rt::CacheParameters &parameters, const ReplayOptions &options)
      : trace(trace), options(options), bases(keyBases(trace)) {
    uint32_t most = 0;
    for (const TraceLayer &layer : trace.layers) {
      rt::MoeLayer &moe = layers.emplace_back();
      moe.experts = layer.experts;
      moe.top_k = layer.topK;
      most = std::max(most, layer.experts);
    }
    rt::Span<rt::MoeLayer> span{layers.data(), layers.size()};
    memory.resize((rt::ExpertCache::BytesNeeded(span, slots) + 7) / 8);
    cache.Init(span, slots, 0, parameters, memory.data());
    probability.resize(most);
    uses.resize(most);
  }

  ReplayCounts run() {
    for (const TraceDocument &document : trace.documents) {
      if (options.predictor != nullptr) {
        options.predictor->Reset();
      }
      for (uint64_t done = 0; done < document.tokens; done += options.chunk) {
        chunk(document.first + done, std::min<uint64_t>(options.chunk, document.tokens - done));
      }
    }
    const rt::ExpertCache::Counters &counters = cache.counters();
    return {counters.hits, counters.misses, counters.prefetched, counters.prefetch_hits};
  }

private:
  void chunk(uint64_t first, uint64_t count) {
    cache.Advance(static_cast<uint32_t>(count));
    size_t column = 0;
    for (size_t layer = 0; layer < layers.size(); ++layer) {
      bool known = count == 1 && layer + 1 < layers.size() && lookAhead(first, layer + 1);
      if (known && (options.predictor == nullptr ||
                    options.predictor->kind(static_cast<uint32_t>(layer + 1)) == rt::PredictorKind::kLookAhead)) {
        cache.Expect(static_cast<uint32_t>(layer + 1), probability.data());
      }
      step(layer, first, count, column);
      if (options.predictor != nullptr && trace.experts[first * trace_row + column] >= 0) {
        options.predictor->Observe(static_cast<uint32_t>(layer), chosen(first, count, column, layers[layer].top_k),
                                   static_cast<uint32_t>(count));
      }
      column += layers[layer].top_k;
      if (known) {
        prefetch(layer + 1);
      }
    }
  }

  // As ExpertRunner::Run: uses in ascending order, then a slot for each that misses; when there is none, those at hand
  // are computed first.
  void step(size_t layer, uint64_t first, uint64_t count, size_t column) {
    const uint32_t topK = layers[layer].top_k, experts = layers[layer].experts;
    std::fill_n(uses.begin(), experts, 0);
    for (uint64_t t = first; t < first + count; ++t) {
      const int32_t *ids = &trace.experts[t * trace_row + column];
      for (uint32_t i = 0; i < topK && ids[i] >= 0; ++i) {
        ++uses[static_cast<size_t>(ids[i])];
      }
    }
    missing.clear();
    for (uint32_t expert = 0; expert < experts; ++expert) {
      if (uses[expert] == 0) {
        continue;
      }
      int32_t slot = cache.Use(bases[layer] + expert, uses[expert]);
      if (slot >= 0) {
        pinned.push_back(slot);
      } else {
        missing.push_back(bases[layer] + expert);
      }
    }
    for (uint32_t key : missing) {
      int32_t slot = cache.Acquire(key);
      if (slot < 0) {
        compute();
        slot = cache.Acquire(key);
      }
      cache.Commit(slot);
      pinned.push_back(slot);
    }
    compute();
  }

  void compute() {
    for (int32_t slot : pinned) {
      cache.Unpin(slot);
    }
    pinned.clear();
  }

  // The layer's ids of some tokens, one after the other.
  const int32_t *chosen(uint64_t first, uint64_t count, size_t column, uint32_t topK) {
    ids.clear();
    for (uint64_t t = first; t < first + count; ++t) {
      auto begin = trace.experts.begin() + static_cast<std::ptrdiff_t>(t * trace_row + column);
      ids.insert(ids.end(), begin, begin + topK);
    }
    return ids.data();
  }

  // Fills `probability` for a layer that is to run.
  bool lookAhead(uint64_t token, size_t layer) {
    if (options.predictor == nullptr) {
      return options.ahead && options.ahead(token, layer, probability.data());
    }
    const size_t at = token * trace.aheadRow() + trace.aheadColumn(layer);
    if (!trace.ahead.empty() && trace.ahead[at] >= 0) {
      options.predictor->LookAhead(static_cast<uint32_t>(layer), &trace.ahead[at]);
    }
    rt::Prediction prediction = options.predictor->Predict(static_cast<uint32_t>(layer), 1);
    if (prediction.ranked_count == 0) {
      return false;
    }
    std::copy_n(prediction.probability, layers[layer].experts, probability.begin());
    return true;
  }

  void prefetch(size_t layer) {
    for (uint32_t i = 0; i < options.prefetch; ++i) {
      auto best = std::max_element(probability.begin(), probability.begin() + layers[layer].experts);
      if (*best < options.leastProbability) {
        return;
      }
      uint32_t key = bases[layer] + static_cast<uint32_t>(best - probability.begin());
      if (cache.Find(key) < 0) {
        int32_t slot = cache.AcquireIfWorse(key, *best);
        if (slot >= 0) {
          cache.Commit(slot);
          cache.Unpin(slot);
        }
      }
      *best = 0;
    }
  }

  const Trace &trace;
  const ReplayOptions &options;
  const std::vector<uint32_t> bases;
  const size_t trace_row = trace.row();
  std::vector<rt::MoeLayer> layers;
  std::vector<uint64_t> memory;
  rt::ExpertCache cache;
  std::vector<float> probability;
  std::vector<uint32_t> uses, missing;
  std::vector<int32_t> pinned, ids;
};

} // namespace

uint32_t traceKeys(const Trace &trace) {
  uint32_t keys = 0;
  for (const TraceLayer &layer : trace.layers) {
    keys += layer.experts;
  }
  return keys;
}

ReplayCounts replay(const Trace &trace, uint32_t slots, const rt::CacheParameters &parameters,
                    const ReplayOptions &options) {
  return Replay(trace, slots, parameters, options).run();
}

ReplayCounts replayBelady(const Trace &trace, uint32_t slots) {
  const std::vector<uint32_t> bases = keyBases(trace);
  const size_t row = trace.row(), layers = trace.layers.size();
  constexpr uint64_t never = ~uint64_t{0};
  // next[i]: the step in which the record of entry i is used after that.
  std::vector<uint32_t> keys(trace.experts.size());
  std::vector<uint64_t> next(trace.experts.size()), seen(traceKeys(trace), never);
  for (uint64_t t = trace.count(); t-- > 0;) {
    size_t column = row;
    for (size_t l = layers; l-- > 0;) {
      for (uint32_t i = 0; i < trace.layers[l].topK; ++i) {
        size_t at = t * row + --column;
        if (trace.experts[at] >= 0) {
          keys[at] = bases[l] + static_cast<uint32_t>(trace.experts[at]);
          next[at] = seen[keys[at]];
          seen[keys[at]] = t * layers + l;
        }
      }
    }
  }
  ReplayCounts counts;
  std::set<std::pair<uint64_t, uint32_t>> resident; // by next use
  for (uint64_t step = 0; step < trace.count() * layers; ++step) {
    size_t l = step % layers, begin = step / layers * row + trace.column(l), missed = 0;
    std::vector<size_t> missing, used;
    for (size_t at = begin; at < begin + trace.layers[l].topK && trace.experts[at] >= 0; ++at) {
      used.push_back(at);
      if (resident.erase({step, keys[at]}) != 0) {
        ++counts.hits;
      } else {
        ++counts.misses;
        missing.push_back(at);
      }
    }
    missed = missing.size();
    // What the step uses is in, apart from the others; those whose next use is furthest go.
    while (!resident.empty() && resident.size() + used.size() > slots && missed != 0) {
      resident.erase(std::prev(resident.end()));
    }
    for (size_t at : used) {
      resident.insert({next[at], keys[at]});
    }
    while (resident.size() > slots) {
      resident.erase(std::prev(resident.end()));
    }
  }
  return counts;
}

} // namespace emoe
