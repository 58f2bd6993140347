// The command line: one table of flags drives parsing, --help and suggestions.
#ifndef EMOE_TOOLS_EMOE_RT_FLAGS_H_
#define EMOE_TOOLS_EMOE_RT_FLAGS_H_

#include <stddef.h>
#include <stdint.h>

#include "runtime/engine/expert_runner.h"
#include "runtime/io/device.h"
#include "runtime/text/sample.h"

namespace emoe::rt {

constexpr size_t kMostTexts = 64;

enum class BenchFormat : uint8_t { kText, kJson, kCsv, kMarkdown };

struct Options {
  const char *verb = nullptr, *bundle = nullptr;
  bool json = false, sandbox = true;

  uint64_t budget = 0;       // bytes; 0: not given
  bool budget_max = false;   // --memory-budget max
  uint32_t context = 0, threads = 0, chunk = 0;
  IoMode io = IoMode::kAuto;
  DirectMode direct = DirectMode::kAuto;
  uint32_t io_timeout = 30;  // seconds
  const char *isa = nullptr, *policy = nullptr;
  const char *predictor = nullptr;  // null: the bundle's
  bool no_prefetch = false;
  uint64_t prefetch_bytes = 0;      // per token; 0: the session's default
  DeviceModel device;
  uint32_t slots = 0;               // 0: not given
  float slots_share = 0;            // percent of the records; 0: not given
  Loading loading = Loading::kCached;
  bool cpu_time = false;

  const char *prompt = nullptr, *prompt_file = nullptr, *trace = nullptr;
  uint32_t count = 128;
  bool count_given = false;
  SampleOptions sample;
  bool seed_given = false, ignore_eos = false, no_bos = false, parse_special = false, stats = false;

  const char *tokens = nullptr, *decoder_tokens = nullptr, *output = nullptr, *routing = nullptr;
  const char *texts[kMostTexts] = {};
  size_t text_count = 0;
  uint32_t window = 512, prompt_tokens = 128, repetitions = 3;

  // bench: values that are measured one after the other, as they were given; null: the one value above.
  const char *prompt_list = nullptr, *count_list = nullptr, *threads_list = nullptr, *budget_list = nullptr;
  BenchFormat format = BenchFormat::kText;
  bool kernels = false, cold = false, roofline = false;
};

// The i-th value of one of bench's lists; false: there are fewer. It is put where the flag's single value would be.
bool TakePrompt(const char *list, uint32_t i, Options *options);
bool TakeCount(const char *list, uint32_t i, Options *options);
bool TakeThreads(const char *list, uint32_t i, Options *options);
bool TakeBudget(const char *list, uint32_t i, Options *options);

struct Verb {
  const char *name, *positional, *summary, *examples;
  uint32_t bit;
  int (*run)(const Options &options);
};

// Both end with an entry whose name is null.
extern const Verb kVerbs[];

// Parses everything behind the program's name; an exit code, or -1: go on. Prints help and errors itself.
int ParseCommandLine(int argc, char **argv, Options *options, const Verb **verb);

}  // namespace emoe::rt

#endif  // EMOE_TOOLS_EMOE_RT_FLAGS_H_
