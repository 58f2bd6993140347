// run and tokenize: text in, text or token ids out.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "runtime/memory/usage.h"
#include "tools/emoe-rt/output.h"
#include "tools/emoe-rt/percentiles.h"
#include "tools/emoe-rt/prefetch.h"
#include "tools/emoe-rt/start.h"
#include "tools/emoe-rt/trace.h"
#include "tools/emoe-rt/verbs.h"
#include "tools/emoe-rt/vocabulary.h"

namespace emoe::rt {
namespace {

int ReadPrompt(const Options &options, char **text, size_t *bytes) {
  if (options.prompt != nullptr) {
    *text = const_cast<char *>(options.prompt);
    *bytes = strlen(options.prompt);
    return 0;
  }
  bool read = options.prompt_file != nullptr ? ReadWhole(options.prompt_file, text, bytes)
                                             : ReadStandardInput(text, bytes);
  if (interrupted) return 130;
  if (read) return 0;
  return Fail(4, "%s: cannot read the prompt: %s; check the path",
              options.prompt_file != nullptr ? options.prompt_file : "standard input", strerror(errno));
}

bool IsStop(const Bundle &bundle, int32_t token) {
  for (int32_t stop : bundle.model.stop_tokens) {
    if (stop == token) return true;
  }
  return false;
}

// The prompt's ids, before the session takes its memory; an exit code.
int Tokens(Work &work, const char *text, size_t bytes, int32_t *ids, size_t capacity, size_t *count) {
  const Options &options = work.options;
  if (!work.bundle.tokenizer.present) {
    return Fail(6, "%s: it holds no tokenizer; compile the model with --tokenizer tokenizer.json", options.bundle);
  }
  EncodeOptions encode;
  encode.first_token = !options.no_bos;
  encode.parse_special = options.parse_special;
  Status status = EncodeText(work.provider, work.bundle.tokenizer, options.budget, text, bytes, encode, ids, capacity,
                             count);
  return status.ok() ? 0 : work.Failed(status);
}

// What people see of a token: its bytes, and nothing of a special one.
Text Shown(const Tokenizer &tokenizer, int32_t token) {
  if (IsSpecial(tokenizer, token)) return {};
  size_t bytes = 0;
  const uint8_t *text = TokenBytes(tokenizer, token, &bytes);
  return {reinterpret_cast<const char *>(text), bytes};
}

// Text as it comes: whole characters only. As JSON: a line a token.
class Writer {
 public:
  explicit Writer(bool json) : json_(json) {}
  // False: nobody reads any more.
  bool Put(int32_t token, Text bytes) {
    char out[Utf8Stream::OutputBytes(kPiece)];
    if (json_) Print("{\"token\": %d, \"text\": [", token);
    for (size_t at = 0; at < bytes.size; at += kPiece) {
      size_t piece = bytes.size - at < kPiece ? bytes.size - at : kPiece;
      size_t shown = stream_.Push(reinterpret_cast<const uint8_t *>(bytes.data) + at, piece, out);
      if (!json_ && !WriteAll(STDOUT_FILENO, out, shown)) return false;
      if (json_ && at != 0) Print(", ");
      if (json_) PrintJsonString(out, shown);
    }
    if (json_) Print("]}\n");
    return true;
  }
  void Finish() {
    char out[Utf8Stream::OutputBytes(0)];
    size_t shown = stream_.Finish(out);
    if (!json_) {
      WriteAll(STDOUT_FILENO, out, shown);
      WriteAll(STDOUT_FILENO, "\n", 1);
    }
  }

 private:
  static constexpr size_t kPiece = 256;
  bool json_;
  Utf8Stream stream_;
};

struct Times {
  uint64_t start = 0, prompt_end = 0, end = 0;
  uint64_t prompt_tokens = 0, generated = 0;
  SessionStats at_prompt_end;
  Percentiles latency;  // of each token after the first
};

void Summary(const Options &options, const Session &session, const Times &times) {
  SessionStats stats = session.stats();
  uint64_t used = stats.hits + stats.misses, peak = AnonymousBytes(), budget = session.plan().total;
  if (options.budget > budget) budget = options.budget;
  double hit_rate = used == 0 ? 100 : 100.0 * static_cast<double>(stats.hits) / static_cast<double>(used);
  double first = static_cast<double>(times.prompt_end - times.start) / 1e9;
  double prompt_speed = PerSecond(times.prompt_tokens, times.prompt_end - times.start);
  double speed = PerSecond(times.generated, times.end - times.prompt_end);
  auto number = [](uint64_t n) { return static_cast<unsigned long long>(n); };
  // Of the tokens after the first, each of which was one step.
  const SessionStats &begin = times.at_prompt_end;
  double tokens = stats.tokens > begin.tokens ? static_cast<double>(stats.tokens - begin.tokens) : 1;
  double mib = static_cast<double>(stats.bytes_read - begin.bytes_read) / 1048576 / tokens;
  double stall = static_cast<double>(stats.stall_ns - begin.stall_ns) / 1e6 / tokens;
  double p50 = times.latency.Milliseconds(0.5), p99 = times.latency.Milliseconds(0.99);
  if (options.json) {
    Print("{\"prompt_tokens\": %llu, \"prompt_tokens_per_second\": %.3f, \"generated_tokens\": %llu, "
          "\"tokens_per_second\": %.3f, \"first_token_seconds\": %.4f, \"hits\": %llu, \"misses\": %llu, "
          "\"bytes_read\": %llu, \"panels_read\": %llu, \"panel_bytes_read\": %llu, \"rereads\": %llu, "
          "\"stall_seconds\": %.4f, \"peak\": %llu, \"budget\": %llu, "
          "\"slots\": %llu, \"records\": %llu, \"seed\": %llu, \"mib_per_token\": %.5f, \"stall_ms_per_token\": %.4f, "
          "\"p50_ms\": %.4f, \"p99_ms\": %.4f, ",
          number(times.prompt_tokens), prompt_speed, number(times.generated), speed, first, number(stats.hits),
          number(stats.misses), number(stats.bytes_read), number(stats.panels_read),
          number(stats.panel_bytes_read), number(stats.rereads),
          static_cast<double>(stats.stall_ns) / 1e9, number(peak), number(budget), number(session.plan().mean_slots()),
          number(session.plan().records), number(options.sample.seed), mib, stall, p50, p99);
    PrintPrefetchJson(session);
    Print("}\n");
  }
  Log("prompt %llu tok %.1f t/s | gen %llu tok %.1f t/s | TTFT %.2f s | cache %.0f %% | read %.1f MB | peak %.1f/%.1f "
      "MB\n", number(times.prompt_tokens), prompt_speed, number(times.generated), speed, first, hit_rate,
      static_cast<double>(stats.bytes_read) / 1e6, static_cast<double>(peak) / 1e6,
      static_cast<double>(budget) / 1e6);
  if (options.stats) {
    Log("hits %llu, misses %llu, bytes read %llu, read again %llu, waited for storage %.3f s\n"
        "memory for %llu of %llu records (%llu bytes at most), kernels %.*s, %s%s, %u threads, chunk %u, seed %llu\n",
        number(stats.hits), number(stats.misses), number(stats.bytes_read), number(stats.rereads),
        static_cast<double>(stats.stall_ns) / 1e9, number(session.plan().mean_slots()), number(session.plan().records),
        number(session.plan().slot_bytes), static_cast<int>(session.isa().size), session.isa().data,
        session.reader_name(), session.direct() ? " direct" : "", session.plan().threads, session.plan().chunk,
        number(options.sample.seed));
    if (session.plan().panels != 0) {
      Log("embedding paged: %llu panels read, %llu bytes; memory for panels %llu bytes\n", number(stats.panels_read),
          number(stats.panel_bytes_read), number(session.plan().panels));
    }
    Log("a token: p50 %.3f ms, p99 %.3f ms, %.3f MiB read, %.3f ms waited for storage\n", p50, p99, mib, stall);
    PrintPrefetch(session, Log);
  }
}

}  // namespace

int RunVerb(const Options &given) {
  Options options = given;
  if (!options.seed_given && getrandom(&options.sample.seed, sizeof(uint64_t), 0) != sizeof(uint64_t)) {
    options.sample.seed = Nanoseconds();
  }
  Work work(options);
  if (int code = work.Open()) return code;
  // Ids go in and out as they are, or text does.
  const bool plain = options.tokens != nullptr || options.decoder_tokens != nullptr;
  if (plain && (options.tokens == nullptr || options.prompt != nullptr || options.prompt_file != nullptr)) {
    return Fail(2, "run takes a prompt, or --tokens FILE (and --decoder-tokens FILE for a model with an encoder)");
  }
  const int32_t *ids = nullptr;
  size_t count = 0;
  if (plain) {
    if (int code = work.ReadSequences(&ids, &count)) return code;
  } else if (work.bundle.has_model && work.bundle.HasSource()) {
    return Fail(2, "%s: the model has an encoder: run takes its token ids by --tokens FILE, and the decoder's first ones by "
                   "--decoder-tokens FILE", options.bundle);
  }
  if (options.trace != nullptr && work.source != nullptr) {
    return Fail(6, "%s: traces are of models without an encoder: leave --trace out", options.bundle);
  }
  if (int code = work.Check(0, false, !plain)) return code;
  uint32_t context = options.context != 0 ? options.context : work.bundle.plan.context;
  if (!plain) {
    char *text = nullptr;
    size_t bytes = 0;
    if (int code = ReadPrompt(options, &text, &bytes)) return code;
    auto *own = static_cast<int32_t *>(malloc((size_t{context} + 1) * sizeof(int32_t)));
    if (own == nullptr) return Fail(5, "no memory for %u token ids", context);
    if (int code = Tokens(work, text, bytes, own, context, &count)) return code;
    ids = own;
  }
  if (count == 0) return Fail(2, "the prompt is empty, and the model has no first token: give a --prompt");
  SessionOptions base;
  TraceFile trace;
  if (options.trace != nullptr) {
    uint32_t chunk = MostRows(work.bundle, options.chunk);
    if (int code = trace.Open(options.trace, work.bundle, chunk < context ? chunk : context)) return code;
    trace.Attach(&base);
  }
  if (int code = work.MakeSession(0, false, !plain, &base)) return code;
  Session &session = *work.session;
  Tokenizer tokenizer;
  Status status = plain ? OkStatus() : OpenTokenizer(session.tokenizer(), work.bundle.tokenizer.length, &tokenizer);
  if (!status.ok()) return work.Failed(status);

  Times times;
  times.prompt_tokens = count;
  times.start = Nanoseconds();
  status = work.Encode();
  if (status.ok()) status = session.Forward(ids, count, Want::kLast);
  times.prompt_end = times.end = Nanoseconds();
  times.at_prompt_end = session.stats();
  Writer writer(options.json);
  bool full = false;
  while (status.ok() && times.generated < options.count) {
    int32_t token = Sample(session.logits(), work.bundle.model.vocab, options.sample, session.position(),
                           static_cast<Candidate *>(session.sampler_memory()));
    if (token < 0) return Fail(1, "%s: no logit is a number at position %llu; this is a defect: please report it",
                               options.bundle, static_cast<unsigned long long>(session.position()));
    ++times.generated;
    times.end = Nanoseconds();
    if (!options.ignore_eos && IsStop(work.bundle, token)) break;
    if (plain) {
      char number[16];
      int used = snprintf(number, sizeof(number), times.generated == 1 ? "%d" : " %d", token);
      if (options.json) Print("{\"token\": %d}\n", token);
      if (!options.json && !WriteAll(STDOUT_FILENO, number, static_cast<size_t>(used))) return 0;
    } else if (!writer.Put(token, Shown(tokenizer, token))) {
      return 0;  // nobody reads any more
    }
    if (times.generated == options.count) break;
    if (session.position() == context) {
      full = true;
      break;
    }
    uint64_t before = Nanoseconds();
    status = session.Forward(&token, 1, Want::kLast);
    times.end = Nanoseconds();
    times.latency.Add(times.end - before);
  }
  writer.Finish();
  if (full) Log("emoe-rt: note: the context of %u positions is full; --ctx makes it larger\n", context);
  if (!trace.Close()) return Fail(4, "%s: cannot write the trace: %s", options.trace, strerror(errno));
  if (!status.ok() && !interrupted) return work.Failed(status);
  Summary(options, session, times);
  return interrupted ? 130 : 0;
}

int TokenizeVerb(const Options &options) {
  Work work(options);
  char *text = nullptr;
  size_t bytes = 0, count = 0;
  if (int code = work.Open()) return code;
  if (int code = ReadPrompt(options, &text, &bytes)) return code;
  size_t capacity = MostTokens(bytes);
  auto *ids = static_cast<int32_t *>(malloc(capacity * sizeof(int32_t)));
  if (ids == nullptr) return Fail(5, "no memory for %zu token ids", capacity);
  if (int code = Tokens(work, text, bytes, ids, capacity, &count)) return code;
  if (options.json) Print("[");
  for (size_t i = 0; i < count; ++i) Print(options.json ? (i == 0 ? "%d" : ", %d") : (i == 0 ? "%d" : " %d"), ids[i]);
  Print(options.json ? "]\n" : "\n");
  return 0;
}

}  // namespace emoe::rt
