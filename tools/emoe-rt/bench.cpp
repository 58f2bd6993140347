// bench: speed of a prompt and of generation, with repetitions and spread.
#include <stdlib.h>

#include "runtime/memory/usage.h"
#include "tools/emoe-rt/output.h"
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

}  // namespace

int BenchVerb(const Options &options) {
  uint32_t generated = options.count_given ? options.count : 32;
  if (generated == 0) return Fail(2, "bench needs at least one token to generate: -n 1 or more");
  Work work(options);
  if (int code = work.Open()) return code;
  auto *ids = static_cast<int32_t *>(malloc(size_t{options.prompt_tokens} * sizeof(int32_t)));
  if (ids == nullptr) return Fail(5, "no memory for the token ids");
  if (int code = work.MakeSession(options.prompt_tokens + generated, false, false)) return code;
  Session &session = *work.session;
  uint32_t vocab = work.bundle.model.vocab;
  Series prompt, generation;
  for (uint32_t run = 0; run < options.repetitions; ++run) {
    // Another text each time, the same in each bench.
    for (uint32_t i = 0; i < options.prompt_tokens; ++i) {
      ids[i] = static_cast<int32_t>(Draw(run, i) * vocab);
    }
    session.Reset();
    uint64_t start = Nanoseconds();
    Status status = session.Forward(ids, options.prompt_tokens, Want::kLast);
    uint64_t middle = Nanoseconds();
    for (uint32_t i = 0; i < generated && status.ok(); ++i) {
      int32_t token = Sample(session.logits(), vocab, options.sample, i,
                             static_cast<Candidate *>(session.sampler_memory()));
      if (token < 0) token = 0;
      status = session.Forward(&token, 1, Want::kLast);
    }
    if (!status.ok()) return work.Failed(status);
    prompt.values[prompt.count++] = PerSecond(options.prompt_tokens, middle - start);
    generation.values[generation.count++] = PerSecond(generated, Nanoseconds() - middle);
  }
  SessionStats stats = session.stats();
  auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  if (options.json) {
    Print("{\"prompt_tokens\": %u, \"generated_tokens\": %u, \"repetitions\": %u, \"threads\": %u, "
          "\"prompt_tokens_per_second\": {\"mean\": %.3f, \"min\": %.3f, \"max\": %.3f}, "
          "\"tokens_per_second\": {\"mean\": %.3f, \"min\": %.3f, \"max\": %.3f}, \"hits\": %llu, \"misses\": %llu, "
          "\"bytes_read\": %llu, \"stall_seconds\": %.4f, \"slots\": %llu, \"records\": %llu, \"peak\": %llu}\n",
          options.prompt_tokens, generated, prompt.count, session.plan().threads, prompt.Mean(), prompt.Least(),
          prompt.Most(), generation.Mean(), generation.Least(), generation.Most(), number(stats.hits),
          number(stats.misses), number(stats.bytes_read), static_cast<double>(stats.stall_ns) / 1e9,
          number(session.plan().slots), number(session.plan().records), number(AnonymousBytes()));
  } else {
    Print("pp%-5u %9.2f tok/s  (%.2f .. %.2f)\ntg%-5u %9.2f tok/s  (%.2f .. %.2f)\n", options.prompt_tokens,
          prompt.Mean(), prompt.Least(), prompt.Most(), generated, generation.Mean(), generation.Least(),
          generation.Most());
    Print("slots %llu of %llu, hits %llu, misses %llu, read %.1f MB, waited %.3f s, %u threads, %s%s\n",
          number(session.plan().slots), number(session.plan().records), number(stats.hits), number(stats.misses),
          static_cast<double>(stats.bytes_read) / 1e6, static_cast<double>(stats.stall_ns) / 1e9,
          session.plan().threads, session.reader_name(), session.direct() ? " direct" : "");
  }
  return 0;
}

}  // namespace emoe::rt
