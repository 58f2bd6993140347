// bench: speed of prompts and of generation, with repetitions and spread; several values of a flag make a table.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <initializer_list>

#include "tools/emoe-rt/bench_run.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/prefetch.h"
#include "tools/emoe-rt/read_speed.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/verbs.h"

namespace emoe::rt {
namespace {

unsigned long long N(uint64_t n) { return n; }

// Derived numbers, of a generated token.
struct PerToken {
  double ms, dense_ms, experts_ms, stall_ms, other_ms, one_by_one_ms, overlapped_ms;
  double hits, misses, prefetch_hits, bytes, predicted_bytes, weight_bytes;
  double weights_per_second;  // bytes
};

PerToken Derive(const BenchResult &r) {
  const double tokens = r.tokens();
  auto of = [tokens](uint64_t n) { return static_cast<double>(n) / tokens; };
  PerToken t;
  t.ms = of(r.total_ns) / 1e6;
  t.experts_ms = of(r.experts_ns) / 1e6;
  t.stall_ms = of(r.stall_ns) / 1e6;
  t.dense_ms = t.ms - of(r.steps_ns) / 1e6;
  t.other_ms = of(r.steps_ns) / 1e6 - t.experts_ms - t.stall_ms;
  t.one_by_one_ms = t.dense_ms + t.experts_ms + r.reading_ns / 1e6 / tokens;
  t.overlapped_ms = t.dense_ms + r.overlapped_ns / 1e6 / tokens;
  t.hits = of(r.hits);
  t.misses = of(r.misses);
  t.prefetch_hits = of(r.prefetch_hits);
  t.bytes = of(r.bytes);
  t.predicted_bytes = of(r.predicted_bytes);
  t.weight_bytes = of(r.weight_bytes);
  t.weights_per_second = t.ms == 0 ? 0 : t.weight_bytes / t.ms * 1e3;
  return t;
}

void PrintKernelsText(const Bundle &bundle, const BenchResult &r, double read_speed) {
  Print("\n%-44s %8s %9s %6s %9s%s\n", "kernel, of a generated token", "calls", "us", "%", "GB/s",
        read_speed > 0 ? "  % of reading" : "");
  for (uint32_t i = 0; i < bundle.kernel_table.size && i < kMostKernels; ++i) {
    const KernelTime &time = r.kernels[i];
    if (time.calls == 0) continue;
    const Text &name = bundle.kernel_table[i].name;
    double speed = static_cast<double>(time.weight_bytes) / static_cast<double>(time.nanoseconds);
    Print("%-44.*s %8.1f %9.2f %6.1f %9.2f", static_cast<int>(name.size), name.data,
          static_cast<double>(time.calls) / r.tokens(), static_cast<double>(time.nanoseconds) / 1e3 / r.tokens(),
          100 * static_cast<double>(time.nanoseconds) / static_cast<double>(r.total_ns), speed);
    if (read_speed > 0) Print("  %6.1f", speed * 1e11 / read_speed);
    Print("\n");
  }
}

void PrintKernelsJson(const Bundle &bundle, const BenchResult &r) {
  bool first = true;
  Print(", \"kernels\": [");
  for (uint32_t i = 0; i < bundle.kernel_table.size && i < kMostKernels; ++i) {
    const KernelTime &time = r.kernels[i];
    if (time.calls == 0) continue;
    Print("%s{\"name\": ", first ? "" : ", ");
    PrintJsonString(bundle.kernel_table[i].name.data, bundle.kernel_table[i].name.size);
    Print(", \"calls\": %.2f, \"us\": %.3f, \"weight_bytes\": %.0f}", static_cast<double>(time.calls) / r.tokens(),
          static_cast<double>(time.nanoseconds) / 1e3 / r.tokens(), static_cast<double>(time.weight_bytes) / r.tokens());
    first = false;
  }
  Print("]");
}

// An object; `session` may be null, then what only it knows is left out.
void PrintJson(const BenchResult &r, double read_speed, const Session *session, const Options &options) {
  const PerToken t = Derive(r);
  auto series = [](const char *name, const Series &s) {
    Print("\"%s\": {\"mean\": %.3f, \"deviation\": %.3f, \"min\": %.3f, \"max\": %.3f}, ", name, s.Mean(), s.Deviation(),
          s.Least(), s.Most());
  };
  Print("{\"prompt_tokens\": %u, \"generated_tokens\": %u, \"repetitions\": %u, \"threads\": %u, \"budget\": %llu, "
        "\"cold\": %s, ", r.prompt_tokens, r.generated_tokens, r.prompt.count, r.threads, N(options.budget),
        options.cold ? "true" : "false");
  series("start_ms", r.start_ms);
  series("prompt_tokens_per_second", r.prompt);
  series("tokens_per_second", r.generation);
  Print("\"hits\": %llu, \"misses\": %llu, \"bytes_read\": %llu, \"stall_seconds\": %.4f, \"slots\": %llu, "
        "\"records\": %llu, \"peak\": %llu, ", N(r.stats.hits), N(r.stats.misses), N(r.stats.bytes_read),
        static_cast<double>(r.stats.stall_ns) / 1e9, N(r.slots), N(r.records), N(r.peak));
  if (read_speed > 0) Print("\"read_bytes_per_second\": %.0f, ", read_speed);
  if (options.routing != nullptr) {
    Print("\"routing\": ");
    PrintJsonString(options.routing, strlen(options.routing));
    Print(", \"routing_tokens\": %llu, ", N(r.routed_tokens));
  }
  Print("\"token\": {\"ms\": %.5f, \"p50_ms\": %.5f, \"p99_ms\": %.5f, \"dense_ms\": %.5f, \"experts_ms\": %.5f, "
        "\"stall_ms\": %.5f, \"other_ms\": %.5f, \"hits\": %.3f, \"misses\": %.3f, \"prefetch_hits\": %.3f, "
        "\"bytes\": %.0f, \"predicted_bytes\": %.0f, \"weight_bytes\": %.0f, \"one_by_one_ms\": %.5f, "
        "\"overlapped_ms\": %.5f}",
        t.ms, r.latency.Milliseconds(0.5), r.latency.Milliseconds(0.99), t.dense_ms, t.experts_ms, t.stall_ms, t.other_ms,
        t.hits, t.misses, t.prefetch_hits, t.bytes, t.predicted_bytes, t.weight_bytes, t.one_by_one_ms, t.overlapped_ms);
  if (session != nullptr) {
    Print(", ");
    PrintPrefetchJson(*session);
    if (options.kernels) PrintKernelsJson(session->bundle(), r);
  }
  Print("}");
}

void PrintText(const BenchResult &r, double read_speed, const Session &session, const Options &options) {
  const PerToken t = Derive(r);
  Print("pp%-5u %9.2f tok/s  (%.2f .. %.2f)\ntg%-5u %9.2f tok/s  (%.2f .. %.2f)\n", r.prompt_tokens, r.prompt.Mean(),
        r.prompt.Least(), r.prompt.Most(), r.generated_tokens, r.generation.Mean(), r.generation.Least(),
        r.generation.Most());
  if (options.routing != nullptr) {
    Print("routing: replayed from the %llu tokens of %s, not the model's own\n", N(r.routed_tokens), options.routing);
  }
  Print("a token: %.3f ms (p50 %.3f, p99 %.3f) = dense %.3f + experts %.3f + waiting %.3f + other %.3f; "
        "%.1f hits, %.1f misses, %.3f MB read\n", t.ms, r.latency.Milliseconds(0.5), r.latency.Milliseconds(0.99),
        t.dense_ms, t.experts_ms, t.stall_ms, t.other_ms, t.hits, t.misses, t.bytes / 1e6);
  Print("weights: %.3f MB a token, %.2f GB/s", t.weight_bytes / 1e6, t.weights_per_second / 1e9);
  if (read_speed > 0) {
    Print(" = %.1f %% of the %.2f GB/s at which %u threads read memory", 100 * t.weights_per_second / read_speed,
          read_speed / 1e9, r.threads);
  }
  Print("\n");
  if (options.device.bytes_per_second != 0) {
    Print("for these misses on this storage: %.3f ms one by one, %.3f ms overlapped in each layer\n", t.one_by_one_ms,
          t.overlapped_ms);
  }
  Print("started in %.1f ms; slots %llu of %llu, hits %llu, misses %llu, read %.1f MB, waited %.3f s, %u threads, %s%s\n",
        r.start_ms.Mean(), N(r.slots), N(r.records), N(r.stats.hits), N(r.stats.misses),
        static_cast<double>(r.stats.bytes_read) / 1e6, static_cast<double>(r.stats.stall_ns) / 1e9, r.threads,
        session.reader_name(), session.direct() ? " direct" : "");
  if (options.cpu_time) Print("times are processor time of the thread and waiting for the modelled storage\n");
  PrintPrefetch(session, Print);
  if (options.kernels) PrintKernelsText(session.bundle(), r, read_speed);
}

struct Column {
  const char *name;
  int width;
};
constexpr Column kColumns[] = {{"test", 7},     {"threads", 7}, {"budget", 8}, {"slots", 7}, {"tok/s", 10},  {"+-", 9},
                               {"hit %", 7},    {"MB read", 9}, {"waiting %", 9}, {"GB/s", 8}, {"% of reading", 12},
                               {"start ms", 9}};

// A line of the table: its head if there is no text.
void PrintRow(BenchFormat format, const char (*texts)[24]) {
  const char *between = format == BenchFormat::kCsv ? "," : format == BenchFormat::kMarkdown ? " | " : "  ";
  Print("%s", format == BenchFormat::kMarkdown ? "| " : "");
  for (size_t i = 0; i < sizeof(kColumns) / sizeof(kColumns[0]); ++i) {
    const char *text = texts != nullptr ? texts[i] : kColumns[i].name;
    Print("%s%*s", i == 0 ? "" : between, format == BenchFormat::kText ? kColumns[i].width : 0, text);
  }
  Print("%s\n", format == BenchFormat::kMarkdown ? " |" : "");
  if (texts == nullptr && format == BenchFormat::kMarkdown) {
    for (size_t i = 0; i < sizeof(kColumns) / sizeof(kColumns[0]); ++i) Print("|---");
    Print("|\n");
  }
}

void PrintRows(const BenchResult &r, double read_speed, const Options &options) {
  const PerToken t = Derive(r);
  for (bool prompt : {true, false}) {
    const Series &speed = prompt ? r.prompt : r.generation;
    char texts[sizeof(kColumns) / sizeof(kColumns[0])][24] = {};
    auto put = [&texts](size_t column, const char *format, double value) {
      snprintf(texts[column], sizeof(texts[column]), format, value);
    };
    put(0, prompt ? "pp%.0f" : "tg%.0f", prompt ? r.prompt_tokens : r.generated_tokens);
    put(1, "%.0f", r.threads);
    put(2, options.budget != 0 ? "%.1fM" : "max", static_cast<double>(options.budget) / 1048576);
    snprintf(texts[3], sizeof(texts[3]), "%llu/%llu", N(r.slots), N(r.records));
    put(4, "%.2f", speed.Mean());
    put(5, "%.2f", speed.Deviation());
    if (!prompt) {
      put(6, "%.1f", t.hits + t.misses > 0 ? 100 * t.hits / (t.hits + t.misses) : 100);
      put(7, "%.3f", t.bytes / 1e6);
      put(8, "%.1f", 100 * t.stall_ms / t.ms);
      put(9, "%.2f", t.weights_per_second / 1e9);
      if (read_speed > 0) put(10, "%.1f", 100 * t.weights_per_second / read_speed);
    }
    put(11, "%.1f", r.start_ms.Mean());
    PrintRow(options.format, texts);
  }
}

// Leaves nothing of the bundle in the page cache, as far as the system obeys.
void DropCached(const char *path) {
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return;
  fsync(fd);
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  close(fd);
}

// In a process of its own, so that nothing stays from one measurement to the next.
int MeasureApart(const Options &options, BenchResult *result) {
  int ends[2];
  if (pipe(ends) != 0) return Fail(1, "no pipe for the measurement: %s", strerror(errno));
  pid_t child = fork();
  if (child < 0) return Fail(1, "no process for the measurement: %s", strerror(errno));
  if (child == 0) {
    close(ends[0]);
    int code = 0;
    {
      Work work(options);
      code = MeasureBench(&work, result);
    }
    if (code == 0 && !WriteAll(ends[1], result, sizeof(*result))) code = 1;
    _exit(code);
  }
  close(ends[1]);
  size_t got = 0;
  for (ssize_t part; got < sizeof(*result); got += static_cast<size_t>(part)) {
    part = read(ends[0], reinterpret_cast<char *>(result) + got, sizeof(*result) - got);
    if (part < 0 && errno == EINTR) part = 0;
    else if (part <= 0) break;
  }
  close(ends[0]);
  int state = 0;
  while (waitpid(child, &state, 0) < 0 && errno == EINTR) {
  }
  if (WIFEXITED(state) && WEXITSTATUS(state) != 0) return WEXITSTATUS(state);
  return got == sizeof(*result) ? 0 : Fail(1, "the measurement's process ended too early");
}

// All repetitions of one line of the table.
int MeasureLine(const Options &options, BenchResult *result) {
  if (!options.cold) return MeasureApart(options, result);
  Options one = options;
  one.repetitions = 1;
  auto *part = static_cast<BenchResult *>(malloc(sizeof(BenchResult)));
  if (part == nullptr) return Fail(5, "no memory for the measurement");
  int code = 0;
  for (uint32_t run = 0; run < options.repetitions && code == 0; ++run) {
    DropCached(options.bundle);
    *part = BenchResult();
    code = MeasureApart(one, part);
    if (code != 0) break;
    if (run == 0) {
      *result = *part;
    } else {
      result->Merge(*part);
    }
  }
  free(part);
  return code;
}

int MeasureTable(const Options &given, BenchResult *result) {
  double read_speed = 0;
  uint32_t read_threads = 0;
  bool first = true;
  if (given.format == BenchFormat::kJson) {
    Print("[");
  } else {
    if (given.routing != nullptr) Print("# routing: replayed from %s, not the model's own\n", given.routing);
    PrintRow(given.format, nullptr);
  }
  Options o = given;
  for (uint32_t b = 0; b == 0 || (given.budget_list != nullptr && TakeBudget(given.budget_list, b, &o)); ++b) {
    if (given.budget_list != nullptr) TakeBudget(given.budget_list, b, &o);
    for (uint32_t t = 0; t == 0 || (given.threads_list != nullptr && TakeThreads(given.threads_list, t, &o)); ++t) {
      if (given.threads_list != nullptr) TakeThreads(given.threads_list, t, &o);
      for (uint32_t p = 0; p == 0 || (given.prompt_list != nullptr && TakePrompt(given.prompt_list, p, &o)); ++p) {
        if (given.prompt_list != nullptr) TakePrompt(given.prompt_list, p, &o);
        for (uint32_t n = 0; n == 0 || (given.count_list != nullptr && TakeCount(given.count_list, n, &o)); ++n) {
          if (given.count_list != nullptr) TakeCount(given.count_list, n, &o);
          *result = BenchResult();
          if (int code = MeasureLine(o, result)) return code;
          if (given.roofline && read_threads != result->threads) {
            read_threads = result->threads;
            read_speed = MeasureReadSpeed(read_threads);
          }
          if (given.format == BenchFormat::kJson) {
            Print("%s", first ? "" : ",\n ");
            PrintJson(*result, read_speed, nullptr, o);
          } else {
            PrintRows(*result, read_speed, o);
          }
          first = false;
        }
      }
    }
  }
  if (given.format == BenchFormat::kJson) Print("]\n");
  return 0;
}

int MeasureOne(const Options &options, BenchResult *result) {
  const double read_speed = options.roofline ? MeasureReadSpeed(options.threads ? options.threads : DefaultThreads()) : 0;
  Work work(options);
  if (int code = MeasureBench(&work, result)) return code;
  if (options.format == BenchFormat::kJson) {
    PrintJson(*result, read_speed, work.session, options);
    Print("\n");
  } else {
    PrintText(*result, read_speed, *work.session, options);
  }
  return 0;
}

}  // namespace

int BenchVerb(const Options &given) {
  Options options = given;
  if (!options.count_given) options.count = 32;
  if (options.count == 0) return Fail(2, "bench needs at least one token to generate: -n 1 or more");
  if (options.cpu_time && (options.threads != 1 || options.device.bytes_per_second == 0)) {
    return Fail(2, "--cpu-time counts the time of one thread and of modelled storage: add --threads 1 --storage BW");
  }
  const bool table = options.prompt_list || options.count_list || options.threads_list || options.budget_list ||
                     options.cold || options.format == BenchFormat::kCsv || options.format == BenchFormat::kMarkdown;
  if (table && options.kernels) return Fail(2, "--kernels is for one measurement, without lists, --cold, --csv or --md");
  auto *result = static_cast<BenchResult *>(malloc(sizeof(BenchResult)));
  if (result == nullptr) return Fail(5, "no memory for the measurement");
  *result = BenchResult();
  int code = table ? MeasureTable(options, result) : MeasureOne(options, result);
  free(result);
  return code;
}

}  // namespace emoe::rt
