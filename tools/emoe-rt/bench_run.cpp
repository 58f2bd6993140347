#include "tools/emoe-rt/bench_run.h"

#include <stdlib.h>

#include "runtime/memory/usage.h"
#include "runtime/text/math.h"
#include "tools/emoe-rt/cpu_clock.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/routing.h"
#include "tools/emoe-rt/start.h"

namespace emoe::rt {
namespace {

constexpr uint32_t kMostWarmUps = 16;

// Bytes of weights that a kernel step reads for one row or many. Of an embedding it is a row of the table, which is
// nothing beside the rest.
uint64_t WeightBytes(const Bundle &bundle, const Step &step) {
  uint64_t bytes = 0;
  for (const Operand &operand : step.operands) {
    if (operand.kind == OperandKind::kTokenIds) return 0;
    if (operand.kind == OperandKind::kTensor) bytes += bundle.tensors[operand.index].bytes;
  }
  return bytes;
}

struct Account {
  const Bundle *bundle = nullptr;
  DeviceModel device;
  bool counting = false;
  BenchResult *result = nullptr;
  uint64_t expert_bytes = 0;  // of the layer step that ended last
};

void WatchLayer(void *user, const LayerTimes &t) {
  auto &account = *static_cast<Account *>(user);
  if (!account.counting) return;
  BenchResult &r = *account.result;
  double reading = 0;
  if (account.device.bytes_per_second != 0) {
    reading = static_cast<double>(t.misses * account.device.latency_ns) +
              static_cast<double>(t.miss_bytes) * 1e9 / static_cast<double>(account.device.bytes_per_second);
  }
  double hits = static_cast<double>(t.hit_ns);
  r.reading_ns += reading;
  r.overlapped_ns += (hits > reading ? hits : reading) +
                     (t.misses == 0 ? 0 : static_cast<double>(t.miss_ns) / t.misses);
  r.steps_ns += t.end - t.begin;
  r.experts_ns += t.hit_ns + t.miss_ns;
  r.stall_ns += t.stall_ns;
  r.hits += t.hits;
  r.misses += t.misses;
  const MoeLayer &layer = account.bundle->moe_layers[t.layer];
  uint64_t bytes = 0;
  for (const Record &record : layer.records) bytes += layer.variants[record.variant].record_bytes;
  account.expert_bytes = bytes / layer.experts * (t.hits + t.misses);
  r.weight_bytes += account.expert_bytes;
}

void WatchStep(void *user, const Step &step, uint32_t, uint64_t nanoseconds) {
  auto &account = *static_cast<Account *>(user);
  if (!account.counting) return;
  const bool experts = step.kind == StepKind::kExperts;
  uint32_t kernel = experts ? account.bundle->moe_layers[step.layer].variants[0].gate_up_kernel : step.kernel;
  if (kernel >= kMostKernels) return;
  KernelTime &time = account.result->kernels[kernel];
  ++time.calls;
  time.nanoseconds += nanoseconds;
  time.weight_bytes += experts ? account.expert_bytes : WeightBytes(*account.bundle, step);
}

// Token ids of a pass, `length` each, from the file, which passes read on, or random: another text each time, the same in
// each bench.
struct Feed {
  const int32_t *ids = nullptr;
  size_t count = 0;
  uint32_t vocab = 0;
  int32_t At(uint32_t pass, uint32_t length, uint32_t i) const {
    if (ids == nullptr) return static_cast<int32_t>(Draw(pass, i) * vocab);
    return ids[(size_t{pass} * length + i) % count];
  }
};

}  // namespace

double Series::Mean() const {
  double sum = 0;
  for (uint32_t i = 0; i < count; ++i) sum += values[i];
  return count == 0 ? 0 : sum / count;
}

double Series::Deviation() const {
  double sum = 0, mean = Mean();
  for (uint32_t i = 0; i < count; ++i) sum += (values[i] - mean) * (values[i] - mean);
  return count < 2 || sum <= 0 ? 0 : Exp(0.5 * Log(sum / (count - 1)));
}

double Series::Least() const {
  double least = values[0];
  for (uint32_t i = 1; i < count; ++i) least = values[i] < least ? values[i] : least;
  return least;
}

double Series::Most() const {
  double most = values[0];
  for (uint32_t i = 1; i < count; ++i) most = values[i] > most ? values[i] : most;
  return most;
}

void BenchResult::Merge(const BenchResult &o) {
  for (uint32_t i = 0; i < o.prompt.count; ++i) {
    start_ms.Add(o.start_ms.values[i]);
    prompt.Add(o.prompt.values[i]);
    generation.Add(o.generation.values[i]);
  }
  latency.Merge(o.latency);
  total_ns += o.total_ns, bytes += o.bytes, predicted_bytes += o.predicted_bytes, prefetch_hits += o.prefetch_hits;
  weight_bytes += o.weight_bytes;
  peak = o.peak > peak ? o.peak : peak;
  stats.hits += o.stats.hits, stats.misses += o.stats.misses, stats.bytes_read += o.stats.bytes_read;
  stats.stall_ns += o.stats.stall_ns;
  steps_ns += o.steps_ns, experts_ns += o.experts_ns, stall_ns += o.stall_ns, hits += o.hits, misses += o.misses;
  reading_ns += o.reading_ns, overlapped_ns += o.overlapped_ns;
  for (uint32_t i = 0; i < kMostKernels; ++i) {
    kernels[i].calls += o.kernels[i].calls;
    kernels[i].nanoseconds += o.kernels[i].nanoseconds;
    kernels[i].weight_bytes += o.kernels[i].weight_bytes;
  }
}

int MeasureBench(Work *work, BenchResult *result) {
  const Options &options = work->options;
  // The session keeps looking at it.
  static const Clock clock = [&options] {
    if (!options.cpu_time) return kClock;
    static CpuClock cpu;
    return cpu.clock();
  }();
  const uint64_t begin = clock.Now();
  if (int code = work->Open()) return code;
  Feed feed;
  feed.vocab = work->bundle.model.vocab;
  const uint32_t generated = options.count, length = options.prompt_tokens + generated;
  if (options.tokens != nullptr) {
    if (int code = ReadTokens(options.tokens, &feed.ids, &feed.count)) return code;
  }
  auto *ids = static_cast<int32_t *>(malloc(size_t{options.prompt_tokens} * sizeof(int32_t)));
  if (ids == nullptr) return Fail(5, "no memory for the token ids");
  Account account;
  account.bundle = &work->bundle;
  account.device = options.device;
  account.result = result;
  SessionOptions base;
  base.watch = WatchLayer;
  if (options.kernels) base.watch_step = WatchStep;
  base.watch_user = &account;
  base.clock = &clock;
  Routing routing;
  if (options.routing != nullptr) {
    if (int code = routing.Open(options.routing, work->bundle)) return code;
    routing.Attach(&base);
    result->routed_tokens = routing.tokens();
  }
  if (int code = work->MakeSession(length, false, false, &base)) return code;
  result->start_ms.Add(static_cast<double>(clock.Now() - begin) / 1e6);
  Session &session = *work->session;
  result->prompt_tokens = options.prompt_tokens;
  result->generated_tokens = generated;
  result->threads = session.plan().threads;
  result->slots = session.plan().mean_slots();
  result->records = session.plan().records;
  uint64_t dense_bytes = 0;
  for (const Step &step : work->bundle.steps) {
    if (step.kind == StepKind::kKernel) dense_bytes += WeightBytes(work->bundle, step);
  }
  SessionStats warm;
  // The pass before the first that counts fills the cache with what other text leaves there; where every expert can stay,
  // passes go on until one reads nothing.
  const bool all_stay = session.plan().mean_slots() == session.plan().records;
  bool counts = options.cold;
  for (uint32_t pass = 0, left = options.repetitions; left > 0; ++pass) {
    for (uint32_t i = 0; i < options.prompt_tokens; ++i) ids[i] = feed.At(pass, length, i);
    session.Reset();
    routing.StartAt(uint64_t{pass} * length);
    uint64_t start = clock.Now();
    Status status = session.Forward(ids, options.prompt_tokens, Want::kLast);
    uint64_t middle = clock.Now(), before = middle;
    SessionStats first = session.stats();
    account.counting = counts;
    for (uint32_t i = 0; i < generated && status.ok(); ++i) {
      int32_t token = feed.ids != nullptr ? feed.At(pass, length, options.prompt_tokens + i)
                                          : Sample(session.logits(), feed.vocab, options.sample, i,
                                                   static_cast<Candidate *>(session.sampler_memory()));
      if (token < 0) token = 0;
      status = session.Forward(&token, 1, Want::kLast);
      uint64_t now = clock.Now();
      if (account.counting) result->latency.Add(now - before);
      before = now;
    }
    account.counting = false;
    if (!status.ok()) return work->Failed(status);
    SessionStats last = session.stats();
    if (!counts) {
      counts = !all_stay || last.bytes_read == warm.bytes_read || pass + 1 == kMostWarmUps;
      warm = last;
      continue;
    }
    --left;
    result->bytes += last.bytes_read - first.bytes_read;
    result->predicted_bytes += last.predicted.bytes - first.predicted.bytes;
    result->prefetch_hits += last.prefetch_hits - first.prefetch_hits;
    result->total_ns += before - middle;
    result->weight_bytes += dense_bytes * generated;
    result->prompt.Add(PerSecond(options.prompt_tokens, middle - start));
    result->generation.Add(PerSecond(generated, before - middle));
  }
  result->stats = session.stats();
  result->stats.hits -= warm.hits;
  result->stats.misses -= warm.misses;
  result->stats.bytes_read -= warm.bytes_read;
  result->stats.stall_ns -= warm.stall_ns;
  result->peak = AnonymousBytes();
  free(ids);
  return 0;
}

}  // namespace emoe::rt
