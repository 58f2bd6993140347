#include "tools/emoe-rt/flags.h"

#include <stdlib.h>
#include <string.h>

#include "runtime/experts/cache_parameters.h"
#include "runtime/experts/predict.h"
#include "tools/emoe-rt/output.h"

namespace emoe::rt {
namespace {

// A plain decimal number without sign or spaces, at most `most`.
bool Number(const char *text, uint64_t most, uint64_t *out) {
  if (*text == 0) return false;
  uint64_t value = 0;
  for (; *text != 0; ++text) {
    if (*text < '0' || *text > '9') return false;
    if (__builtin_mul_overflow(value, 10, &value) || __builtin_add_overflow(value, uint64_t(*text - '0'), &value)) {
      return false;
    }
  }
  *out = value;
  return value <= most;
}

bool Number32(const char *text, uint32_t least, uint32_t *out) {
  uint64_t value;
  if (!Number(text, 0x7fffffff, &value) || value < least) return false;
  *out = static_cast<uint32_t>(value);
  return true;
}

// 0, 0.25, 12.5: digits and one point.
bool Decimal(const char *text, float *out) {
  double value = 0, place = 1;
  bool point = false, digits = false;
  for (; *text != 0; ++text) {
    if (*text == '.' && !point) {
      point = true;
    } else if (*text >= '0' && *text <= '9') {
      digits = true;
      value = value * 10 + (*text - '0');
      if (point) place *= 10;
      if (value > 1e15) return false;
    } else {
      return false;
    }
  }
  *out = static_cast<float>(value / place);
  return digits;
}

// 512M, 0.5G, 700K (powers of 1024), plain bytes, max.
bool Size(const char *text, Options *o) {
  if (strcmp(text, "max") == 0) return o->budget_max = true;
  size_t length = strlen(text);
  if (length == 0 || length > 30) return false;
  char digits[32];
  memcpy(digits, text, length + 1);
  double unit = 1;
  switch (digits[length - 1]) {
    case 'K': case 'k': unit = 1024.0; break;
    case 'M': case 'm': unit = 1024.0 * 1024; break;
    case 'G': case 'g': unit = 1024.0 * 1024 * 1024; break;
    default: return Number(text, UINT64_MAX / 2, &o->budget) && o->budget != 0;
  }
  digits[length - 1] = 0;
  float value;
  uint64_t whole;
  if (Number(digits, 1u << 30, &whole)) {
    o->budget = whole * static_cast<uint64_t>(unit);
  } else if (Decimal(digits, &value) && value < 1e9f) {
    o->budget = static_cast<uint64_t>(static_cast<double>(value) * unit);
  } else {
    return false;
  }
  return o->budget != 0;
}

// A number with one of the units, or a plain one in units of `plain`.
bool WithUnit(const char *text, const char *end, double plain, const char *const (*units)[3], const double *factors,
              double *out) {
  char digits[32];
  size_t length = static_cast<size_t>(end - text);
  if (length == 0 || length >= sizeof(digits)) return false;
  memcpy(digits, text, length);
  digits[length] = 0;
  double factor = plain;
  for (int i = 0; i < 3; ++i) {
    size_t unit = strlen((*units)[i]);
    if (length > unit && strcmp(digits + length - unit, (*units)[i]) == 0) {
      factor = factors[i];
      digits[length - unit] = 0;
      break;
    }
  }
  float value;
  if (!Decimal(digits, &value)) return false;
  *out = static_cast<double>(value) * factor;
  return true;
}

// 500MB/s or 500MB/s,100us: powers of ten; without a unit bytes a second.
bool Device(const char *text, DeviceModel *device) {
  static const char *const kSpeeds[3] = {"GB/s", "MB/s", "kB/s"}, *const kTimes[3] = {"us", "ms", "ns"};
  constexpr double kSpeedFactors[3] = {1e9, 1e6, 1e3}, kTimeFactors[3] = {1e3, 1e6, 1};
  const char *comma = strchr(text, ',');
  double speed = 0, latency = 0;
  if (!WithUnit(text, comma ? comma : text + strlen(text), 1, &kSpeeds, kSpeedFactors, &speed)) return false;
  if (comma && !WithUnit(comma + 1, comma + 1 + strlen(comma + 1), 1e3, &kTimes, kTimeFactors, &latency)) return false;
  device->bytes_per_second = static_cast<uint64_t>(speed);
  device->latency_ns = static_cast<uint64_t>(latency);
  return speed >= 1 && speed < 1e13 && latency < 1e10;
}

// 100 or 12.5%.
bool Slots(const char *text, Options *o) {
  size_t length = strlen(text);
  if (length < 2 || text[length - 1] != '%') return Number32(text, 1, &o->slots);
  char digits[32];
  if (length > sizeof(digits)) return false;
  memcpy(digits, text, length - 1);
  digits[length - 1] = 0;
  return Decimal(digits, &o->slots_share) && o->slots_share > 0 && o->slots_share <= 100;
}

// One of the values between commas; false: there are fewer, or it is not valid.
bool Element(const char *list, uint32_t i, Options *o, bool (*set)(const char *, Options *)) {
  for (; i != 0; --i) {
    list = strchr(list, ',');
    if (list == nullptr) return false;
    ++list;
  }
  const char *end = strchr(list, ',');
  size_t length = end != nullptr ? static_cast<size_t>(end - list) : strlen(list);
  char text[32];
  if (length >= sizeof(text)) return false;
  memcpy(text, list, length);
  text[length] = 0;
  return set(text, o);
}

// A value, or for bench several; the last one stays where a single one is looked for.
bool List(const char *text, Options *o, const char **list, bool (*set)(const char *, Options *)) {
  if (strchr(text, ',') == nullptr) return set(text, o);
  if (strcmp(o->verb, "bench") != 0) return false;
  uint32_t count = 1;
  for (const char *at = text; *at != 0; ++at) count += *at == ',';
  for (uint32_t i = 0; i < count; ++i) {
    if (!Element(text, i, o, set)) return false;
  }
  *list = text;
  return true;
}

bool SetPrompt(const char *v, Options *o) { return Number32(v, 1, &o->prompt_tokens); }
bool SetCount(const char *v, Options *o) {
  o->count_given = true;
  return Number32(v, 0, &o->count);
}
bool SetThreads(const char *v, Options *o) { return Number32(v, 1, &o->threads); }
bool SetBudget(const char *v, Options *o) {
  o->budget = 0;
  o->budget_max = false;
  return Size(v, o);
}

enum : uint32_t {
  kRun = 1, kLogits = 2, kEval = 4, kTokenize = 8, kInspect = 16, kVerify = 32, kPlan = 64, kBench = 128, kVersion = 256,
  kSessions = kRun | kLogits | kEval | kBench,
  kAll = 511
};

struct Flag {
  const char *name, *argument, *help;  // argument null: a switch
  uint32_t verbs;
  bool (*set)(Options *o, const char *value);
};

const Flag kFlags[] = {
    {"--memory-budget", "SIZE", "anonymous memory of the whole process: 512M, 0.5G, bytes, or max (all experts stay)",
     kSessions | kPlan, [](Options *o, const char *v) { return List(v, o, &o->budget_list, SetBudget); }},
    {"--ctx", "N", "positions of the KV cache (default: the bundle's)", kSessions | kPlan,
     [](Options *o, const char *v) { return Number32(v, 1, &o->context); }},
    {"--threads", "T", "threads that compute (default: the processors at hand)", kSessions | kPlan,
     [](Options *o, const char *v) { return List(v, o, &o->threads_list, SetThreads); }},
    {"--prefill-chunk", "N", "tokens computed together (default: the bundle's, more if all experts stay)", kSessions | kPlan,
     [](Options *o, const char *v) { return Number32(v, 1, &o->chunk); }},
    {"--io", "auto|uring|pread", "how records are read", kSessions,
     [](Options *o, const char *v) {
       o->io = *v == 'u' ? IoMode::kUring : *v == 'p' ? IoMode::kPread : IoMode::kAuto;
       return !strcmp(v, "auto") || !strcmp(v, "uring") || !strcmp(v, "pread");
     }},
    {"--direct", "auto|on|off", "whether reads pass the page cache by", kSessions,
     [](Options *o, const char *v) {
       o->direct = !strcmp(v, "on") ? DirectMode::kOn : !strcmp(v, "off") ? DirectMode::kOff : DirectMode::kAuto;
       return !strcmp(v, "on") || !strcmp(v, "off") || !strcmp(v, "auto");
     }},
    {"--io-timeout", "SECONDS", "give up when the storage does not answer (default 30)", kSessions,
     [](Options *o, const char *v) { return Number32(v, 1, &o->io_timeout) && o->io_timeout <= 3600; }},
    {"--no-sandbox", nullptr, "keep the right to open files and to call the whole kernel while the bundle's code runs",
     kSessions, [](Options *o, const char *) { o->sandbox = false; return true; }},
    {"--isa", "NAME", "kernels to use (default: the best that this processor runs)", kSessions,
     [](Options *o, const char *v) { return *(o->isa = v) != 0; }},
    {"--policy", "NAME", "which expert makes room: lfu, lru, edgemoe, least-stale, next-use (default: the bundle's)", kSessions,
     [](Options *o, const char *v) { CachePolicy policy; o->policy = v; return ParseCachePolicy(v, strlen(v), &policy); }},
    {"--predictor", "NAME", "auto (the bundle's, by layer), none, static, previous-token, table or look-ahead", kSessions,
     [](Options *o, const char *v) {
       PredictorKind kind;
       o->predictor = !strcmp(v, "auto") ? nullptr : v;
       return o->predictor == nullptr || ParsePredictor(v, strlen(v), &kind);
     }},
    {"--no-prefetch", nullptr, "read no expert before it is needed", kSessions,
     [](Options *o, const char *) { return o->no_prefetch = true; }},
    {"--prefetch-mib", "N", "MiB of predicted experts per token at most (default: what a token uses)", kSessions,
     [](Options *o, const char *v) {
       float value;
       if (!Decimal(v, &value) || value > 1e6f) return false;
       o->prefetch_bytes = static_cast<uint64_t>(static_cast<double>(value) * 1048576);
       if (o->prefetch_bytes == 0) o->no_prefetch = true;
       return true;
     }},
    {"--storage", "BW[,LAT]", "pretend to have storage of this speed: 500MB/s,100us", kRun | kBench,
     [](Options *o, const char *v) { return Device(v, &o->device); }},
    {"--slots", "N|P%", "experts in memory at most: so many of the largest, or a share of all bytes", kSessions,
     [](Options *o, const char *v) { return Slots(v, o); }},
    {"--mode", "MODE", "cached, on-demand (no expert stays) or whole-layers (unused ones are read too)", kBench,
     [](Options *o, const char *v) {
       o->loading = !strcmp(v, "on-demand") ? Loading::kOnDemand
                    : !strcmp(v, "whole-layers") ? Loading::kWholeLayers : Loading::kCached;
       return !strcmp(v, "cached") || !strcmp(v, "on-demand") || !strcmp(v, "whole-layers");
     }},
    {"--cpu-time", nullptr, "count the thread's own time and the modelled storage's, for busy machines", kBench,
     [](Options *o, const char *) { return o->cpu_time = true; }},
    {"--prompt", "TEXT", "text to go on from (default: standard input)", kRun | kTokenize,
     [](Options *o, const char *v) { o->prompt = v; return true; }},
    {"--prompt-file", "FILE", "the same, from a file", kRun | kTokenize,
     [](Options *o, const char *v) { return *(o->prompt_file = v) != 0; }},
    {"-n", "N", "tokens to generate (default 128; bench: 32)", kRun | kBench,
     [](Options *o, const char *v) { return List(v, o, &o->count_list, SetCount); }},
    {"--seed", "S", "of the random numbers (default: another each time)", kRun,
     [](Options *o, const char *v) { o->seed_given = true; return Number(v, UINT64_MAX, &o->sample.seed); }},
    {"--temp", "X", "temperature (default 0.8; 0: always the best token)", kRun,
     [](Options *o, const char *v) { return Decimal(v, &o->sample.temperature); }},
    {"--top-k", "N", "draw among the N best (default 40; 0: all)", kRun,
     [](Options *o, const char *v) { return Number32(v, 0, &o->sample.top_k); }},
    {"--top-p", "X", "draw among the best that hold this share (default 0.95; 1: all)", kRun,
     [](Options *o, const char *v) { return Decimal(v, &o->sample.top_p) && o->sample.top_p <= 1; }},
    {"--min-p", "X", "leave out what is less likely than X times the best (default 0.05; 0: none)", kRun,
     [](Options *o, const char *v) { return Decimal(v, &o->sample.min_p) && o->sample.min_p <= 1; }},
    {"--greedy", nullptr, "the same as --temp 0", kRun,
     [](Options *o, const char *) { o->sample.temperature = 0; return true; }},
    {"--ignore-eos", nullptr, "go on after an end-of-text token", kRun,
     [](Options *o, const char *) { return o->ignore_eos = true; }},
    {"--no-bos", nullptr, "do not prepend the model's first token", kRun | kTokenize,
     [](Options *o, const char *) { return o->no_bos = true; }},
    {"--parse-special", nullptr, "special tokens in the text are tokens, not text", kRun | kTokenize,
     [](Options *o, const char *) { return o->parse_special = true; }},
    {"--trace", "FILE", "write the chosen experts of each token as JSON lines, for emoe-replay", kRun | kEval,
     [](Options *o, const char *v) { return *(o->trace = v) != 0; }},
    {"--stats", nullptr, "more numbers at the end", kRun, [](Options *o, const char *) { return o->stats = true; }},
    {"--tokens", "FILE", "token ids as text, taken as they are (bench: instead of random ones and sampling)",
     kRun | kLogits | kBench,
     [](Options *o, const char *v) { return *(o->tokens = v) != 0; }},
    {"--decoder-tokens", "FILE", "of a model with an encoder, which takes --tokens: what the decoder begins with",
     kRun | kLogits,
     [](Options *o, const char *v) { return *(o->decoder_tokens = v) != 0; }},
    {"--routing", "FILE", "experts as this trace says, not as the model's routers choose: for weights that were made up", kBench,
     [](Options *o, const char *v) { return *(o->routing = v) != 0; }},
    {"-o", "OUT.npy", "where the float32 logits [tokens, vocab] go", kLogits,
     [](Options *o, const char *v) { return *(o->output = v) != 0; }},
    {"--text", "FILE...", "texts to evaluate", kEval,
     [](Options *o, const char *v) {
       if (o->text_count == kMostTexts) return false;
       o->texts[o->text_count++] = v;
       return true;
     }},
    {"--window", "N", "tokens of text in a window (default 512)", kEval,
     [](Options *o, const char *v) { return Number32(v, 1, &o->window); }},
    {"-p", "N", "tokens of the prompt (default 128)", kBench,
     [](Options *o, const char *v) { return List(v, o, &o->prompt_list, SetPrompt); }},
    {"-r", "N", "repetitions (default 3)", kBench,
     [](Options *o, const char *v) { return Number32(v, 1, &o->repetitions) && o->repetitions <= 100; }},
    {"--cold", nullptr, "each repetition starts anew, with nothing of the bundle in memory or in the page cache", kBench,
     [](Options *o, const char *) { return o->cold = true; }},
    {"--roofline", nullptr, "measure how fast memory is read, and give the weights' share of it", kBench,
     [](Options *o, const char *) { return o->roofline = true; }},
    {"--kernels", nullptr, "time each kernel of the generated tokens", kBench,
     [](Options *o, const char *) { return o->kernels = true; }},
    {"--csv", nullptr, "one line for each test, for spreadsheets", kBench,
     [](Options *o, const char *) { o->format = BenchFormat::kCsv; return true; }},
    {"--md", nullptr, "the same as a Markdown table", kBench,
     [](Options *o, const char *) { o->format = BenchFormat::kMarkdown; return true; }},
    {"--json", nullptr, "machine-readable output", kAll,
     [](Options *o, const char *) { o->format = BenchFormat::kJson; return o->json = true; }},
};

void Help(const Verb *verb) {
  if (verb == nullptr) {
    Print("emoe-rt runs mixture-of-experts language models inside a memory budget.\n\nusage: emoe-rt VERB ...\n\n");
    for (const Verb *v = kVerbs; v->name; ++v) Print("  %-9s %s\n", v->name, v->summary);
    Print("\nemoe-rt VERB --help says more. Exit codes: 0 done, 2 usage, 3 bad bundle, 4 storage failed, 5 budget too "
          "small,\n6 unsupported, 130 interrupted, 1 a defect of emoe-rt.\n");
    return;
  }
  Print("%s\n\nusage: emoe-rt %s %s [flags]\n\n", verb->summary, verb->name, verb->positional);
  for (const Flag &flag : kFlags) {
    if ((flag.verbs & verb->bit) == 0) continue;
    char left[48];
    snprintf(left, sizeof(left), "%s%s%s", flag.name, flag.argument ? " " : "", flag.argument ? flag.argument : "");
    Print("  %-24s %s\n", left, flag.help);
  }
  Print("\nexamples:\n%s", verb->examples);
}

// Edit distance of short names, for suggestions.
size_t Distance(const char *a, const char *b) {
  size_t row[40], n = strlen(b);
  if (n >= 39) return 99;
  for (size_t j = 0; j <= n; ++j) row[j] = j;
  for (size_t i = 1; a[i - 1] != 0; ++i) {
    size_t corner = row[0];
    row[0] = i;
    for (size_t j = 1; j <= n; ++j) {
      size_t best = corner + (a[i - 1] != b[j - 1]);
      corner = row[j];
      if (row[j] + 1 < best) best = row[j] + 1;
      if (row[j - 1] + 1 < best) best = row[j - 1] + 1;
      row[j] = best;
    }
  }
  return row[n];
}

int UnknownName(const char *kind, const char *name, const char *nearest, size_t distance) {
  if (nearest != nullptr && distance <= 3) {
    return Fail(2, "unknown %s '%s': did you mean %s?", kind, name, nearest);
  }
  return Fail(2, "unknown %s '%s': emoe-rt --help lists what there is", kind, name);
}

int UnknownFlag(const char *name, uint32_t verb) {
  const char *nearest = nullptr;
  size_t least = 99;
  for (const Flag &flag : kFlags) {
    size_t distance = Distance(name, flag.name);
    if ((flag.verbs & verb) != 0 && distance < least) {
      least = distance;
      nearest = flag.name;
    }
  }
  return UnknownName("flag", name, nearest, least);
}

}  // namespace

bool TakePrompt(const char *list, uint32_t i, Options *options) { return Element(list, i, options, SetPrompt); }
bool TakeCount(const char *list, uint32_t i, Options *options) { return Element(list, i, options, SetCount); }
bool TakeThreads(const char *list, uint32_t i, Options *options) { return Element(list, i, options, SetThreads); }
bool TakeBudget(const char *list, uint32_t i, Options *options) { return Element(list, i, options, SetBudget); }

int ParseCommandLine(int argc, char **argv, Options *options, const Verb **verb) {
  *verb = nullptr;
  if (argc < 2 || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help")) {
    Help(nullptr);
    return argc < 2 ? 2 : 0;
  }
  const char *name = !strcmp(argv[1], "--version") ? "version" : argv[1];
  const char *nearest = nullptr;
  size_t least = 99;
  for (const Verb *v = kVerbs; v->name; ++v) {
    if (!strcmp(v->name, name)) *verb = v;
    size_t distance = Distance(name, v->name);
    if (distance < least) {
      least = distance;
      nearest = v->name;
    }
  }
  if (*verb == nullptr) return UnknownName("verb", name, nearest, least);
  options->verb = name;
  bool flags = true;
  for (int i = 2; i < argc; ++i) {
    const char *argument = argv[i];
    if (flags && !strcmp(argument, "--")) {
      flags = false;
      continue;
    }
    if (!flags || argument[0] != '-' || argument[1] == 0) {
      if (options->bundle != nullptr || (*verb)->positional[0] == 0) {
        return Fail(2, "unexpected argument '%s': emoe-rt %s takes %s", argument, name,
                    (*verb)->positional[0] ? "one bundle" : "none");
      }
      options->bundle = argument;
      continue;
    }
    if (!strcmp(argument, "--help") || !strcmp(argument, "-h")) {
      Help(*verb);
      return 0;
    }
    const char *equals = argument[1] == '-' ? strchr(argument, '=') : nullptr;
    size_t length = equals ? static_cast<size_t>(equals - argument) : strlen(argument);
    const Flag *found = nullptr;
    for (const Flag &flag : kFlags) {
      if ((flag.verbs & (*verb)->bit) && strlen(flag.name) == length && !memcmp(flag.name, argument, length)) {
        found = &flag;
      }
    }
    if (found == nullptr) return UnknownFlag(argument, (*verb)->bit);
    const char *value = equals ? equals + 1 : "";
    if (found->argument == nullptr && equals) return Fail(2, "%s takes no value", found->name);
    if (found->argument != nullptr && !equals) {
      if (i + 1 == argc) return Fail(2, "%s needs a value: %s %s", found->name, found->name, found->argument);
      value = argv[++i];
    }
    if (!found->set(options, value)) {
      return Fail(2, "%s '%s' is not valid: %s %s, %s", found->name, value, found->name, found->argument, found->help);
    }
    // --text takes all files that follow.
    while (!strcmp(found->name, "--text") && i + 1 < argc && argv[i + 1][0] != '-') {
      if (!found->set(options, argv[++i])) return Fail(2, "--text takes at most %zu files", kMostTexts);
    }
  }
  if ((*verb)->positional[0] != 0 && options->bundle == nullptr) {
    return Fail(2, "no bundle given: emoe-rt %s %s", name, (*verb)->positional);
  }
  return -1;
}

}  // namespace emoe::rt
