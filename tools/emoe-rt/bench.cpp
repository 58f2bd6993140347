// bench: speed of a prompt and of generation, with repetitions and spread.
#include <stdlib.h>

#include "runtime/memory/usage.h"
#include "tools/emoe-rt/cpu_clock.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/percentiles.h"
#include "tools/emoe-rt/prefetch.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/verbs.h"

namespace emoe::rt {
namespace {

constexpr uint32_t kMostRuns = 100;

struct Series {
  double values[kMostRuns] = {};
  uint32_t count = 0;
  double Mean() const {
    double sum = 0;
    for (uint32_t i = 0; i < count; ++i) sum += values[i];
    return count == 0 ? 0 : sum / count;
  }
  double Least() const {
    double least = values[0];
    for (uint32_t i = 1; i < count; ++i) least = values[i] < least ? values[i] : least;
    return least;
  }
  double Most() const {
    double most = values[0];
    for (uint32_t i = 1; i < count; ++i) most = values[i] > most ? values[i] : most;
    return most;
  }
};

// Where the time of generated tokens went, and what it would be by two formulas for the same misses on the stated
// storage: everything one after the other, and, in each layer, reading beside the computing of what is in memory, where
// only the last record that came is computed afterwards.
struct Account {
  DeviceModel device;
  bool counting = false;
  uint64_t steps_ns = 0, experts_ns = 0, stall_ns = 0, hits = 0, misses = 0;
  double reading_ns = 0, overlapped_ns = 0;
};

void Watch(void *user, const LayerTimes &t) {
  auto &account = *static_cast<Account *>(user);
  if (!account.counting) return;
  double reading = 0;
  if (account.device.bytes_per_second != 0) {
    reading = static_cast<double>(t.misses * account.device.latency_ns) +
              static_cast<double>(t.miss_bytes) * 1e9 / static_cast<double>(account.device.bytes_per_second);
  }
  double hits = static_cast<double>(t.hit_ns);
  account.reading_ns += reading;
  account.overlapped_ns += (hits > reading ? hits : reading) +
                           (t.misses == 0 ? 0 : static_cast<double>(t.miss_ns) / t.misses);
  account.steps_ns += t.end - t.begin;
  account.experts_ns += t.hit_ns + t.miss_ns;
  account.stall_ns += t.stall_ns;
  account.hits += t.hits;
  account.misses += t.misses;
}

// Token ids of a run, from the file or random: another text each time, the same in each bench.
struct Feed {
  const int32_t *ids = nullptr;
  size_t count = 0;
  uint32_t vocab = 0;
  int32_t At(uint32_t run, uint32_t length, uint32_t i) const {
    if (ids == nullptr) return static_cast<int32_t>(Draw(run, i) * vocab);
    return ids[(size_t{run} * length + i) % count];
  }
};

}  // namespace

int BenchVerb(const Options &options) {
  uint32_t generated = options.count_given ? options.count : 32;
  if (generated == 0) return Fail(2, "bench needs at least one token to generate: -n 1 or more");
  if (options.cpu_time && (options.threads != 1 || options.device.bytes_per_second == 0)) {
    return Fail(2, "--cpu-time counts the time of one thread and of modelled storage: add --threads 1 --storage BW");
  }
  CpuClock cpu;
  const Clock clock = options.cpu_time ? cpu.clock() : kClock;
  Work work(options);
  if (int code = work.Open()) return code;
  Feed feed;
  feed.vocab = work.bundle.model.vocab;
  uint32_t length = options.prompt_tokens + generated;
  if (options.tokens != nullptr) {
    if (int code = ReadTokens(options.tokens, &feed.ids, &feed.count)) return code;
  }
  auto *ids = static_cast<int32_t *>(malloc(size_t{options.prompt_tokens} * sizeof(int32_t)));
  if (ids == nullptr) return Fail(5, "no memory for the token ids");
  Account account;
  account.device = options.device;
  SessionOptions base;
  base.watch = Watch;
  base.watch_user = &account;
  base.clock = &clock;
  if (int code = work.MakeSession(length, false, false, &base)) return code;
  Session &session = *work.session;
  Series prompt, generation;
  Percentiles latency;
  uint64_t total_ns = 0, bytes = 0, predicted_bytes = 0, prefetch_hits = 0;
  for (uint32_t run = 0; run < options.repetitions; ++run) {
    for (uint32_t i = 0; i < options.prompt_tokens; ++i) ids[i] = feed.At(run, length, i);
    session.Reset();
    uint64_t start = clock.Now();
    Status status = session.Forward(ids, options.prompt_tokens, Want::kLast);
    uint64_t middle = clock.Now(), before = middle;
    SessionStats first = session.stats();
    account.counting = true;
    for (uint32_t i = 0; i < generated && status.ok(); ++i) {
      int32_t token = feed.ids != nullptr ? feed.At(run, length, options.prompt_tokens + i)
                                          : Sample(session.logits(), feed.vocab, options.sample, i,
                                                   static_cast<Candidate *>(session.sampler_memory()));
      if (token < 0) token = 0;
      status = session.Forward(&token, 1, Want::kLast);
      uint64_t now = clock.Now();
      latency.Add(now - before);
      before = now;
    }
    account.counting = false;
    if (!status.ok()) return work.Failed(status);
    SessionStats last = session.stats();
    bytes += last.bytes_read - first.bytes_read;
    predicted_bytes += last.predicted.bytes - first.predicted.bytes;
    prefetch_hits += last.prefetch_hits - first.prefetch_hits;
    total_ns += before - middle;
    prompt.values[prompt.count++] = PerSecond(options.prompt_tokens, middle - start);
    generation.values[generation.count++] = PerSecond(generated, before - middle);
  }
  SessionStats stats = session.stats();
  auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  const double tokens = static_cast<double>(generated) * generation.count;
  auto ms = [tokens](double ns) { return ns / 1e6 / tokens; };
  auto per_token = [tokens](uint64_t n) { return static_cast<double>(n) / tokens; };
  const double dense_ns = static_cast<double>(total_ns) - static_cast<double>(account.steps_ns);
  const double experts_ns = static_cast<double>(account.experts_ns), stall_ns = static_cast<double>(account.stall_ns);
  const double one_by_one = dense_ns + experts_ns + account.reading_ns, overlapped = dense_ns + account.overlapped_ns;
  const double other_ns = static_cast<double>(account.steps_ns) - experts_ns - stall_ns;
  if (options.json) {
    Print("{\"prompt_tokens\": %u, \"generated_tokens\": %u, \"repetitions\": %u, \"threads\": %u, "
          "\"prompt_tokens_per_second\": {\"mean\": %.3f, \"min\": %.3f, \"max\": %.3f}, "
          "\"tokens_per_second\": {\"mean\": %.3f, \"min\": %.3f, \"max\": %.3f}, \"hits\": %llu, \"misses\": %llu, "
          "\"bytes_read\": %llu, \"stall_seconds\": %.4f, \"slots\": %llu, \"records\": %llu, \"peak\": %llu, ",
          options.prompt_tokens, generated, prompt.count, session.plan().threads, prompt.Mean(), prompt.Least(),
          prompt.Most(), generation.Mean(), generation.Least(), generation.Most(), number(stats.hits),
          number(stats.misses), number(stats.bytes_read), static_cast<double>(stats.stall_ns) / 1e9,
          number(session.plan().mean_slots()), number(session.plan().records), number(AnonymousBytes()));
    Print("\"token\": {\"ms\": %.5f, \"p50_ms\": %.5f, \"p99_ms\": %.5f, \"dense_ms\": %.5f, \"experts_ms\": %.5f, "
          "\"stall_ms\": %.5f, \"other_ms\": %.5f, \"hits\": %.3f, \"misses\": %.3f, \"prefetch_hits\": %.3f, "
          "\"bytes\": %.0f, \"predicted_bytes\": %.0f, \"one_by_one_ms\": %.5f, \"overlapped_ms\": %.5f}, ",
          ms(static_cast<double>(total_ns)), latency.Milliseconds(0.5), latency.Milliseconds(0.99), ms(dense_ns),
          ms(experts_ns), ms(stall_ns), ms(other_ns), per_token(account.hits), per_token(account.misses),
          per_token(prefetch_hits), per_token(bytes), per_token(predicted_bytes), ms(one_by_one), ms(overlapped));
    PrintPrefetchJson(session);
    Print("}\n");
    return 0;
  }
  Print("pp%-5u %9.2f tok/s  (%.2f .. %.2f)\ntg%-5u %9.2f tok/s  (%.2f .. %.2f)\n", options.prompt_tokens,
        prompt.Mean(), prompt.Least(), prompt.Most(), generated, generation.Mean(), generation.Least(),
        generation.Most());
  Print("a token: %.3f ms (p50 %.3f, p99 %.3f) = dense %.3f + experts %.3f + waiting %.3f + other %.3f; "
        "%.1f hits, %.1f misses, %.3f MB read\n", ms(static_cast<double>(total_ns)), latency.Milliseconds(0.5),
        latency.Milliseconds(0.99), ms(dense_ns), ms(experts_ns), ms(stall_ns), ms(other_ns), per_token(account.hits),
        per_token(account.misses), per_token(bytes) / 1e6);
  if (options.device.bytes_per_second != 0) {
    Print("for these misses on this storage: %.3f ms one by one, %.3f ms overlapped in each layer\n", ms(one_by_one),
          ms(overlapped));
  }
  Print("slots %llu of %llu, hits %llu, misses %llu, read %.1f MB, waited %.3f s, %u threads, %s%s\n",
        number(session.plan().mean_slots()), number(session.plan().records), number(stats.hits), number(stats.misses),
        static_cast<double>(stats.bytes_read) / 1e6, static_cast<double>(stats.stall_ns) / 1e9,
        session.plan().threads, session.reader_name(), session.direct() ? " direct" : "");
  if (options.cpu_time) Print("times are processor time of the thread and waiting for the modelled storage\n");
  PrintPrefetch(session, Print);
  return 0;
}

}  // namespace emoe::rt
