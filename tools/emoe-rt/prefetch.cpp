#include "tools/emoe-rt/prefetch.h"

#include "tools/emoe-rt/output.h"

namespace emoe::rt {
namespace {

unsigned long long N(uint64_t n) { return n; }
double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

// What the compiler measured of the predictor that a layer runs with; null if nothing.
const PredictorQuality *Promised(const Session &session, uint32_t layer) {
  const Bundle &bundle = session.bundle();
  if (bundle.predictors.size == 0) return nullptr;
  for (const PredictorQuality &quality : bundle.predictors[layer].quality) {
    if (quality.predictor == session.predictor().kind(layer)) return &quality;
  }
  return nullptr;
}

double Part(uint64_t part, uint64_t whole) { return Share(static_cast<double>(part), static_cast<double>(whole)); }

// Of the experts that decoded tokens used, how many the ranking one layer ahead had among its first top_k, and 2 top_k.
void PrintPredictors(const Session &session, void (*print)(const char *format, ...)) {
  const Predictor &predictor = session.predictor();
  for (uint32_t layer = 0; layer < predictor.layers(); ++layer) {
    const PredictorCounters &c = predictor.counters(layer);
    if (c.predicted == 0) continue;
    const PredictorQuality *promised = Promised(session, layer);
    print("  layer %u, %s: recall %.3f, at 2k %.3f, precision at 2k %.3f", layer, PredictorName(predictor.kind(layer)),
          Part(c.found_k, c.used), Part(c.found_2k, c.used), Part(c.found_2k, c.ranked_2k));
    if (promised != nullptr) {
      print(" (calibration: %.3f, %.3f, %.3f)", static_cast<double>(promised->recall),
            static_cast<double>(promised->recall_2k), static_cast<double>(promised->precision_2k));
    }
    print("\n");
  }
}

}  // namespace

void PrintPrefetch(const Session &session, void (*print)(const char *format, ...)) {
  SessionStats stats = session.stats();
  const PrefetchCounters &p = stats.predicted;
  double settled = static_cast<double>(p.used + p.wasted);
  print("prefetching %s; storage idle %.0f %% of the time, paused %llu times\n", PrefetchText(stats.prefetch),
        100 * stats.idle_share, N(p.pauses));
  PrintPredictors(session, print);
  if (p.reads == 0) return;
  print("  read ahead: %llu experts, %.1f MB; %.0f %% of them used (%.0f %% expected), %llu wasted, %llu failed\n"
        "  of the experts needed %.1f %% came that way; waiting saved about %.1f ms, added about %.1f ms; computing %.1f ms\n",
        N(p.reads),
        static_cast<double>(p.bytes) / 1e6, 100 * Share(static_cast<double>(p.used), settled),
        100 * Share(p.expected, settled), N(p.wasted), N(p.failed),
        100 * Share(static_cast<double>(stats.prefetch_hits), static_cast<double>(stats.hits + stats.misses)),
        static_cast<double>(p.saved_ns) / 1e6, static_cast<double>(p.delayed_ns) / 1e6,
        static_cast<double>(p.spent_ns) / 1e6);
}

void PrintPrefetchJson(const Session &session) {
  SessionStats stats = session.stats();
  const PrefetchCounters &p = stats.predicted;
  Print("\"prefetch\": {\"state\": \"%s\", \"idle_share\": %.4f, \"pauses\": %llu, \"reads\": %llu, "
        "\"bytes\": %llu, \"used\": %llu, \"wasted\": %llu, \"failed\": %llu, \"expected\": %.2f, \"hits\": %llu, "
        "\"saved_seconds\": %.4f, \"delayed_seconds\": %.4f, \"spent_seconds\": %.4f}", PrefetchText(stats.prefetch), stats.idle_share,
        N(p.pauses), N(p.reads), N(p.bytes), N(p.used), N(p.wasted), N(p.failed), p.expected, N(stats.prefetch_hits),
        static_cast<double>(p.saved_ns) / 1e9, static_cast<double>(p.delayed_ns) / 1e9,
        static_cast<double>(p.spent_ns) / 1e9);
  const Predictor &predictor = session.predictor();
  Print(", \"predictors\": [");
  for (uint32_t layer = 0; layer < predictor.layers(); ++layer) {
    const PredictorCounters &c = predictor.counters(layer);
    Print("%s{\"predictor\": \"%s\", \"tokens\": %llu, \"recall\": %.4f, \"recall_2k\": %.4f, "
          "\"precision_2k\": %.4f}", layer == 0 ? "" : ", ", PredictorName(predictor.kind(layer)), N(c.predicted),
          Part(c.found_k, c.used), Part(c.found_2k, c.used), Part(c.found_2k, c.ranked_2k));
  }
  Print("]");
}

}  // namespace emoe::rt
