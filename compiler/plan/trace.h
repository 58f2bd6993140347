// What tokens chose: the routing of texts through a model, token by token in the order in which they were computed.
#ifndef EMOE_COMPILER_PLAN_TRACE_H_
#define EMOE_COMPILER_PLAN_TRACE_H_

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

namespace emoe {

struct TraceLayer {
  uint32_t experts = 0, topK = 0;
  bool operator==(const TraceLayer &other) const { return experts == other.experts && topK == other.topK; }
};

// Consecutive tokens of one sequence: nothing before them was seen by the model when it computed them.
struct TraceDocument {
  uint64_t first = 0, tokens = 0; // in the trace
  uint32_t domain = 0;            // index into Trace::domains
};

struct Trace {
  std::vector<TraceLayer> layers;       // the mixture layers
  std::vector<std::string> domains;     // what the texts are called: file names without folders
  std::vector<TraceDocument> documents; // ascending, without gaps, covering all tokens
  std::vector<int32_t> tokens;          // the token ids, or empty where nobody recorded them
  // [tokens, row()]: layer after layer the ids of the topK chosen experts, ascending; -1 behind them where fewer are
  // known.
  std::vector<int32_t> experts;
  std::vector<float> weights; // likewise their routing weights, or empty
  // [tokens, aheadRow()], or empty: for each layer but the first, which experts its router prefers on the hidden state of
  // the layer before: rt::RankedExperts(experts, topK) ids, the best first; -1 for the first layer, and where the
  // program does not look ahead.
  std::vector<int32_t> ahead;

  // Ids of one token: the sum of all topK.
  size_t row() const {
    size_t sum = 0;
    for (const TraceLayer &layer : layers) {
      sum += layer.topK;
    }
    return sum;
  }
  // Where a layer's ids begin in a row.
  size_t column(size_t layer) const {
    size_t sum = 0;
    for (size_t i = 0; i < layer; ++i) {
      sum += layers[i].topK;
    }
    return sum;
  }
  // The same of look-ahead ids: twice as many, at most all experts.
  size_t aheadRow() const { return aheadColumn(layers.size()); }
  size_t aheadColumn(size_t layer) const {
    size_t sum = 0;
    for (size_t i = 0; i < layer; ++i) {
      sum += layers[i].experts < 2 * layers[i].topK ? layers[i].experts : 2 * layers[i].topK;
    }
    return sum;
  }
  uint64_t count() const { return layers.empty() ? 0 : experts.size() / row(); }
};

} // namespace emoe

#endif // EMOE_COMPILER_PLAN_TRACE_H_
