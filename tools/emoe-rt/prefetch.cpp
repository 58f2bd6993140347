#include "tools/emoe-rt/prefetch.h"

#include "tools/emoe-rt/output.h"

namespace emoe::rt {
namespace {

unsigned long long N(uint64_t n) { return n; }
double Share(double part, double whole) { return whole > 0 ? part / whole : 0; }

}  // namespace

void PrintPrefetch(const Session &session, void (*print)(const char *format, ...)) {
  SessionStats stats = session.stats();
  const PrefetchCounters &p = stats.predicted;
  double settled = static_cast<double>(p.used + p.wasted);
  print("prefetching %s; storage idle %.0f %% of the time, paused %llu times\n", PrefetchText(stats.prefetch),
        100 * stats.idle_share, N(p.pauses));
  if (p.reads == 0) return;
  print("  read ahead: %llu experts, %.1f MB; %.0f %% of them used (%.0f %% expected), %llu wasted, %llu failed\n"
        "  of the experts needed %.1f %% came that way; waiting saved about %.1f ms, added about %.1f ms\n", N(p.reads),
        static_cast<double>(p.bytes) / 1e6, 100 * Share(static_cast<double>(p.used), settled),
        100 * Share(p.expected, settled), N(p.wasted), N(p.failed),
        100 * Share(static_cast<double>(stats.prefetch_hits), static_cast<double>(stats.hits + stats.misses)),
        static_cast<double>(p.saved_ns) / 1e6, static_cast<double>(p.delayed_ns) / 1e6);
}

void PrintPrefetchJson(const Session &session) {
  SessionStats stats = session.stats();
  const PrefetchCounters &p = stats.predicted;
  Print("\"prefetch\": {\"state\": \"%s\", \"idle_share\": %.4f, \"pauses\": %llu, \"reads\": %llu, "
        "\"bytes\": %llu, \"used\": %llu, \"wasted\": %llu, \"failed\": %llu, \"expected\": %.2f, \"hits\": %llu, "
        "\"saved_seconds\": %.4f, \"delayed_seconds\": %.4f}", PrefetchText(stats.prefetch), stats.idle_share,
        N(p.pauses), N(p.reads), N(p.bytes), N(p.used), N(p.wasted), N(p.failed), p.expected, N(stats.prefetch_hits),
        static_cast<double>(p.saved_ns) / 1e9, static_cast<double>(p.delayed_ns) / 1e9);
}

}  // namespace emoe::rt
