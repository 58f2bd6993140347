// What expert caches of given sizes would hit on a trace of routing, and what the planner would choose.
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "compiler/plan/choose.h"
#include "compiler/plan/trace_file.h"

using namespace emoe;

namespace {

constexpr const char *kHelp =
    "usage: emoe-replay TRACE [--slots N,N,...] [flags]\n\n"
    "Replays the routing of a mixture-of-experts model through caches of expert records. Plans on the first tokens and\n"
    "replays the rest, from a cold cache: hit rates of lru, lfu, the planned policy, and Belady's optimum, which no\n"
    "policy can exceed that reads an expert when it is used.\n\n"
    "  --slots N,N,...       sizes of the cache, in experts\n"
    "  --calibrate FRACTION  share of the tokens to plan on (default 0.5)\n"
    "  --json                machine-readable output\n"
    "  --write FILE          also write the trace as JSON lines: a converter for the CSV\n\n"
    "TRACE: JSON lines {\"tok\": N, \"layers\": [[experts], ...]} as emoe-rt run --trace writes them, or a CSV with the\n"
    "columns turn, phase, step, layer and expert.\n\n"
    "examples:\n  emoe-replay olmoe-1b-7b.jsonl --slots 64,128,256,512\n"
    "  emoe-replay gpt-oss-120b.csv --write gpt-oss-120b.jsonl\n";

int fail(int code, const std::string &what) {
  std::fprintf(stderr, "emoe-replay: error: %s\n", what.c_str());
  return code;
}

struct Options {
  std::string trace, write;
  std::vector<uint32_t> slots;
  double calibrate = 0.5;
  bool json = false, help = false;
};

// An error's text, or empty.
std::string parse(int argc, char **argv, Options *options) {
  for (int i = 1; i < argc; ++i) {
    std::string flag = argv[i], value;
    size_t equals = flag.rfind("--", 0) == 0 ? flag.find('=') : std::string::npos;
    bool hasValue = equals != std::string::npos;
    if (hasValue) {
      value = flag.substr(equals + 1);
      flag.resize(equals);
    }
    if ((flag == "--help" || flag == "-h") && !hasValue) {
      options->help = true;
      return "";
    }
    if (flag == "--json" && !hasValue) {
      options->json = true;
    } else if (flag == "--slots" || flag == "--calibrate" || flag == "--write") {
      if (!hasValue && ++i == argc) {
        return flag + " needs a value";
      }
      value = hasValue ? value : argv[i];
      if (flag == "--write") {
        options->write = value;
        continue;
      }
      if (flag == "--calibrate") {
        if (!absl::SimpleAtod(value, &options->calibrate) || !(options->calibrate > 0 && options->calibrate < 1)) {
          return absl::StrCat("--calibrate ", value, ": a fraction between 0 and 1 is needed, as 0.5");
        }
        continue;
      }
      for (absl::string_view number : absl::StrSplit(value, ',')) {
        if (!absl::SimpleAtoi(number, &options->slots.emplace_back()) || options->slots.back() == 0 ||
            options->slots.back() > (1u << 22)) {
          return absl::StrCat("--slots ", value, ": \"", number, "\" is no number of slots from 1 to ", 1 << 22);
        }
      }
    } else if (flag.size() > 1 && flag[0] == '-') {
      return flag + ": there is no such flag; emoe-replay --help lists them";
    } else if (options->trace.empty()) {
      options->trace = flag;
    } else {
      return flag + ": one trace at a time";
    }
  }
  if (options->trace.empty()) {
    return "no TRACE given; emoe-replay --help";
  }
  return options->slots.empty() && options->write.empty() ? "no --slots given, as --slots 64,128,256" : "";
}

struct Row {
  uint32_t slots;
  double lru, lfu, planned, belady;
  std::string policy;
};

// The planned policy as people and scripts read it.
std::string describe(const rt::CacheParameters &p) {
  std::string text = rt::CachePolicyName(p.policy);
  if (p.per_layer) {
    text += " per layer";
  }
  return text;
}

} // namespace

int main(int argc, char **argv) {
  Options options;
  std::string problem = parse(argc, argv, &options);
  if (!problem.empty()) {
    return fail(2, problem);
  }
  if (options.help) {
    std::fputs(kHelp, stdout);
    return 0;
  }
  absl::StatusOr<Trace> trace = readTrace(options.trace);
  if (!trace.ok()) {
    return fail(trace.status().code() == absl::StatusCode::kNotFound ? 4 : 3, std::string(trace.status().message()));
  }
  if (!options.write.empty()) {
    std::ofstream file(options.write, std::ios::binary);
    file << formatTrace(*trace) << std::flush;
    if (!file) {
      return fail(4, absl::StrCat(options.write, ": ", std::strerror(errno)));
    }
    if (options.slots.empty()) {
      return 0;
    }
  }
  const uint64_t tokens = trace->count();
  const uint64_t first = static_cast<uint64_t>(std::llround(static_cast<double>(tokens) * options.calibrate));
  if (first < 4 || tokens - first < 1) {
    return fail(3, absl::StrCat(options.trace, ": ", tokens, " tokens are too few to plan on a part of them (", first,
                                ") and to replay the rest"));
  }
  Trace planned = sliceTrace(*trace, 0, first), rest = sliceTrace(*trace, first, tokens - first);
  auto [fit, heldOut] = splitTrace(planned, 0.5);
  PlanOptions planOptions;
  planOptions.slots = options.slots;
  CachePlan plan = choosePlan(fit, heldOut, planOptions);

  std::vector<Row> rows;
  for (uint32_t slots : options.slots) {
    rt::CacheParameters lru, lfu, chosen = plan.parameters(slots);
    lru.policy = rt::CachePolicy::kLru;
    rows.push_back({slots, replay(rest, slots, lru).rate(), replay(rest, slots, lfu).rate(),
                    replay(rest, slots, chosen).rate(), replayBelady(rest, slots).rate(), describe(chosen)});
  }
  if (options.json) {
    std::printf("{\"tokens\": %llu, \"cycle\": %u, \"rows\": [", static_cast<unsigned long long>(rest.count()),
                tokenCycle(*trace));
    for (size_t i = 0; i < rows.size(); ++i) {
      const Row &row = rows[i];
      std::printf("%s{\"slots\": %u, \"lru\": %.6f, \"lfu\": %.6f, \"planned\": %.6f, \"policy\": \"%s\", "
                  "\"belady\": %.6f}",
                  i == 0 ? "" : ", ", row.slots, row.lru, row.lfu, row.planned, row.policy.c_str(), row.belady);
    }
    std::printf("]}\n");
    return 0;
  }
  std::printf("%llu tokens replayed after planning on %llu; a token uses %u of %u records\n\n",
              static_cast<unsigned long long>(rest.count()), static_cast<unsigned long long>(first), tokenCycle(*trace),
              traceKeys(*trace));
  std::printf("%8s %6s  %6s %6s %7s %6s  %s\n", "slots", "share", "lru", "lfu", "planned", "belady", "planned policy");
  for (const Row &row : rows) {
    std::printf("%8u %5.1f%%  %5.1f%% %5.1f%% %6.1f%% %5.1f%%  %s\n", row.slots, 100.0 * row.slots / traceKeys(*trace),
                100 * row.lru, 100 * row.lfu, 100 * row.planned, 100 * row.belady, row.policy.c_str());
  }
  return 0;
}
