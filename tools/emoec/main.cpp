// emoec: the compiler's command line. stdout is the product (IR, tables), stderr the log.
#include <chrono>
#include <cstdio>
#include <cstring>
#include <unistd.h>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "compiler/codegen/image.h"
#include "compiler/pipeline.h"
#include "compiler/quantise/width.h"
#include "compiler/tokenizer/tokenizer.h"
#include "llvm/ADT/STLExtras.h"
#include "tools/emoec/explain.h"
#include "tools/emoec/flags.h"

using namespace emoe;

namespace {

constexpr const char *kVersion = "emoec 0.1.0";

// The same numbers as emoe-rt's: README, "exit codes".
enum ExitCode { kOk = 0, kInternal = 1, kUsage = 2, kBadInput = 3, kIo = 4, kUnsupported = 6 };

int exitCodeOf(const absl::Status &status) {
  switch (status.code()) {
  case absl::StatusCode::kOk:
    return kOk;
  case absl::StatusCode::kInvalidArgument:
  case absl::StatusCode::kOutOfRange:
  case absl::StatusCode::kDataLoss:
  case absl::StatusCode::kPermissionDenied:
    return kBadInput;
  case absl::StatusCode::kNotFound:
  case absl::StatusCode::kResourceExhausted:
  case absl::StatusCode::kUnavailable:
    return kIo;
  case absl::StatusCode::kUnimplemented:
    return kUnsupported;
  default:
    return kInternal;
  }
}

int fail(const absl::Status &status) {
  std::fprintf(stderr, "emoec: error: %s\n", std::string(status.message()).c_str());
  return exitCodeOf(status);
}

int usageError(const Command &command, const std::string &message) {
  std::fprintf(stderr, "emoec %s: error: %s; see emoec %s --help\n", command.name.c_str(), message.c_str(),
               command.name.c_str());
  return kUsage;
}

// A bar on a terminal, plain lines elsewhere.
class Progress {
public:
  void phase(const std::string &name) {
    finishLine();
    start = Clock::now();
    std::fprintf(stderr, "emoec: %s\n", name.c_str());
  }
  void note(const std::string &text) {
    finishLine();
    std::fprintf(stderr, "emoec: %s\n", text.c_str());
  }
  void share(double done) {
    int percent = static_cast<int>(done * 100);
    if (terminal) {
      constexpr int kWidth = 40;
      std::string bar(kWidth * percent / 100, '#');
      bar.resize(kWidth, '.');
      std::fprintf(stderr, "\r  [%s] %3d %%%-12s", bar.c_str(), percent, left(done).c_str());
      open = true;
    } else if (percent / 25 > last / 25) {
      std::fprintf(stderr, "emoec:   %d %%%s\n", percent, left(done).c_str());
    }
    last = percent;
  }
  void finishLine() {
    if (open) {
      std::fputc('\n', stderr);
    }
    open = false;
    last = 0;
  }

private:
  using Clock = std::chrono::steady_clock;

  // ", 1 min 20 s left", by how fast the phase has been so far; empty while too little is known.
  std::string left(double done) const {
    double spent = std::chrono::duration<double>(Clock::now() - start).count();
    int seconds = done < 0.02 || done >= 1 || spent < 2 ? 0 : static_cast<int>(spent * (1 - done) / done);
    return seconds == 0   ? ""
           : seconds < 60 ? absl::StrCat(", ", seconds, " s left")
                          : absl::StrCat(", ", seconds / 60, " min ", seconds % 60, " s left");
  }

  Clock::time_point start = Clock::now();
  bool terminal = isatty(STDERR_FILENO), open = false;
  int last = 0;
};

int compileCommand(const std::vector<std::string> &arguments) {
  CompileOptions options;
  std::string targets, verify = "claims";
  bool quiet = false, help = false;
  uint64_t widthSeed = options.widthSeed;
  Command command{
      "compile",
      "[ENCODER.onnx] MODEL.onnx -o OUT.emoe",
      "Compile a mixture-of-experts ONNX model into one bundle for emoe-rt.",
      {"emoec compile model.onnx -o model.emoe", "emoec compile model.onnx -o model.emoe --bits 8 --target host",
       "emoec compile model.onnx -o model.emoe --calibration prose.txt code.txt --tolerance 2%",
       "emoec compile encoder_model.onnx decoder_model.onnx -o model.emoe"},
      {{"-o", "FILE", "the bundle to write", setString(options.output)},
       {"--bits", "N", "width of the experts: 32, 16, 8, 4, 3, 2 or ternary (default 4)",
        [&](const std::string &value) {
          if (value == "ternary") {
            options.expertBits = kTernaryBits;
            return absl::OkStatus();
          }
          absl::Status status = setOneOf(options.expertBits, {32, 16, 8, 4, 3, 2})(value);
          return status.ok() ? status : absl::InvalidArgumentError(absl::StrCat(std::string(status.message()), ", or ternary"));
        }},
       {"--group", "N", "columns of an expert that share a scale: 32, 64, 128 or 256 (default: 32 for 8 and 4 bits, else "
        "128)", setOneOf(options.group, {32, 64, 128, 256})},
       {"--widths", "FILE", "widths expert by expert, over --bits: lines LAYER EXPERT WIDTH[/DOWN] [GROUP], * for all",
        setString(options.widths)},
       {"--dense-bits", "N", "width of all other matrices: 32, 16, 8, 4, 3 or 2 (default 8)",
        setOneOf(options.denseBits, {32, 16, 8, 4, 3, 2})},
       {"--lossless", "", "keep the file's own float types", setSwitch(options.lossless)},
       {"--routing-semantics", "spec|ort-cpu", "fused mixtures route by the operators' specification, or as ONNX Runtime's "
        "CPU kernels do where these deviate (default spec)",
        [&](const std::string &value) {
          options.ortCpuRouting = value == "ort-cpu";
          return value == "spec" || value == "ort-cpu"
                     ? absl::OkStatus()
                     : absl::InvalidArgumentError("--routing-semantics is spec or ort-cpu");
        }},
       {"--exact", "", "float32 activations at any width (slower)", setSwitch(options.exact)},
       {"--kv-bits", "N", "width of cached keys and values: 32 or 16 (half the memory; default 32)",
        setOneOf(options.kvBits, {32, 16})},
       {"--target", "LIST", "instruction sets, by commas, or host (default: all; see emoec targets)",
        setString(targets)},
       {"--tokenizer", "FILE", "tokenizer.json (default: beside the model or one folder up)",
        setString(options.tokenizer)},
       {"--config", "FILE", "config.json or genai_config.json (default: likewise)", setString(options.config)},
       {"--calibration", "FILE...", "texts of the kinds that the model will see: what is decided follows from them",
        appendString(options.calibration)},
       {"--calibration-tokens", "N", "at most so many tokens of the texts, a quarter of them held out (default 65536)",
        setNumber(options.calibrationTokens, 1)},
       {"--all-predictors", "", "keep the tables of predictors that were not chosen, too: emoe-rt --predictor can try them",
        setSwitch(options.allPredictors)},
       {"--calibration-memory", "MIB", "what calibration may take beside the resident weights (default 1024)",
        setNumber(options.calibrationMemory, 1, 1 << 20)},
       {"--tolerance", "P%|kl=X|bits=N",
        "the experts' widths follow from the loss that is tolerated on held-out calibration text: rise of\n"
        "                            perplexity in percent, or nats a token (0: the file's own types); or the mean\n"
        "                            bits to store",
        [&](const std::string &value) {
          absl::StatusOr<Tolerance> parsed = parseTolerance(value);
          if (parsed.ok()) {
            options.tolerance = *parsed;
          }
          return parsed.status();
        }},
       {"--bitwidth-policy", "NAME", "adapt (default), edgemoe, uniform or random",
        [&](const std::string &value) {
          absl::StatusOr<WidthPolicy> parsed = parsePolicy(value);
          if (parsed.ok()) {
            options.widthPolicy = *parsed;
          }
          return parsed.status();
        }},
       {"--rounding", "NAME", "of experts, with --calibration: compensated (default) or nearest",
        [&](const std::string &value) {
          if (value != "compensated" && value != "nearest") {
            return absl::InvalidArgumentError("must be compensated or nearest");
          }
          options.rounding = value == "nearest" ? Rounding::Nearest : Rounding::Compensated;
          return absl::OkStatus();
        }},
       {"--formats", "LIST", "that experts may have, by commas, fewest bytes first\n"
        "                            (like 2-128,2-128/3-128,8-32: bits or ternary, columns a scale, down's)",
        [&](const std::string &value) {
          options.formats = absl::StrSplit(value, ',');
          return absl::OkStatus();
        }},
       {"--target-budget", "MIB", "expert records that the target keeps in memory: widths go by what is missed\n"
        "                            (default: not known)",
        setNumber(options.targetBudget, 1, 1 << 20)},
       {"--width-seed", "N", "of --bitwidth-policy random and of the comparison with random widths (default 1)",
        setNumber(widthSeed, 0)},
       {"--save-sensitivity", "FILE", "write what each expert would lose in each format, as JSON",
        setString(options.saveSensitivity)},
       {"--save-traces", "FILE", "write which experts the texts' tokens chose, as JSON lines", setString(options.saveTraces)},
       {"--traces", "FILE", "predictors and plan follow this routing (JSON lines, CSV) instead of the texts'",
        setString(options.traces)},
       {"--verify-raise", "MODE", "off, claims (prove each raised part; default) or full (the whole model too)",
        setString(verify)},
       {"--compile-to", "PHASE", "stop after a phase and print its IR: import, simplify, raise, quantise, ...",
        setString(options.compileTo)},
       {"--print-ir-after-all", "", "print the IR after each phase to stderr", setSwitch(options.printIrAfterAll)},
       {"--print-pass-timing", "", "print each phase's time to stderr", setSwitch(options.printPassTiming)},
       {"--save-temps", "DIR", "keep the IR of each phase and the kernels' LLVM IR and assembly",
        setString(options.saveTemps)},
       {"-q", "", "print errors only", setSwitch(quiet)},
       {"--help", "", "print this", setSwitch(help)}}};
  std::vector<std::string> positional;
  if (absl::Status status = parseFlags(command, arguments, positional); !status.ok()) {
    return usageError(command, std::string(status.message()));
  }
  if (help) {
    std::fputs(helpText(command).c_str(), stdout);
    return kOk;
  }
  if (positional.empty() || positional.size() > 2) {
    return usageError(command, !positional.empty() ? "more than an encoder and a decoder given"
                               : options.calibration.empty()
                                   ? "no model given"
                                   : "no model given: it comes before --calibration FILE..., or behind another flag");
  }
  if (options.output.empty() && options.compileTo.empty()) {
    return usageError(command, "no output given: -o OUT.emoe");
  }
  if (verify == "off") {
    options.verifyRaise = VerifyRaise::Off;
  } else if (verify == "full") {
    options.verifyRaise = VerifyRaise::Full;
  } else if (verify != "claims") {
    return usageError(command, absl::StrCat("--verify-raise ", verify, ": must be off, claims or full"));
  }
  if (!options.compileTo.empty() && !llvm::is_contained(phaseNames(), options.compileTo)) {
    return usageError(command, absl::StrCat("--compile-to ", options.compileTo, ": there is no such phase; phases: ",
                                            absl::StrJoin(phaseNames(), ", ")));
  }
  options.model = positional.back();
  options.encoder = positional.size() == 2 ? positional[0] : "";
  options.widthSeed = static_cast<uint32_t>(widthSeed);
  options.targets = targets.empty() ? std::vector<std::string>()
                                    : std::vector<std::string>(absl::StrSplit(targets, ','));
  Progress progress;
  CompileLog log;
  if (!quiet) {
    log.phase = [&](const std::string &phase) { progress.phase(phase); };
    log.progress = [&](double done) { progress.share(done); };
  }
  log.note = [&](const std::string &note) {
    if (!quiet || note.rfind("error:", 0) == 0) {
      progress.note(note);
    }
  };
  absl::Status status = compileModel(options, log);
  progress.finishLine();
  return status.ok() ? kOk : fail(status);
}

int inspectCommand(const std::vector<std::string> &arguments) {
  CompileOptions options;
  bool json = false, help = false;
  Command command{"inspect",
                  "MODEL.onnx",
                  "Print what is recognised in a model: layers, routers, experts, widths, patterns. Nothing is compiled.",
                  {"emoec inspect model.onnx", "emoec inspect model.onnx --json"},
                  {{"--json", "", "one JSON object", setSwitch(json)},
                   {"--config", "FILE", "config.json or genai_config.json (default: beside the model or one folder up)",
                    setString(options.config)},
                   {"--help", "", "print this", setSwitch(help)}}};
  std::vector<std::string> positional;
  if (absl::Status status = parseFlags(command, arguments, positional); !status.ok()) {
    return usageError(command, std::string(status.message()));
  }
  if (help) {
    std::fputs(helpText(command).c_str(), stdout);
    return kOk;
  }
  if (positional.size() != 1) {
    return usageError(command, positional.empty() ? "no model given" : "more than one model given");
  }
  options.model = positional[0];
  CompileLog log;
  log.note = [](const std::string &note) {
    if (note.rfind("error:", 0) == 0) {
      std::fprintf(stderr, "emoec: %s\n", note.c_str());
    }
  };
  absl::Status status = inspectModel(options, log, json);
  return status.ok() ? kOk : fail(status);
}

int targetsCommand(const std::vector<std::string> &arguments) {
  bool help = false;
  Command command{"targets", "", "List the instruction sets that kernels are generated for.", {"emoec targets"},
                  {{"--help", "", "print this", setSwitch(help)}}};
  std::vector<std::string> positional;
  absl::Status status = parseFlags(command, arguments, positional);
  if (!status.ok() || !positional.empty()) {
    return usageError(command, status.ok() ? "takes no arguments" : std::string(status.message()));
  }
  if (help) {
    std::fputs(helpText(command).c_str(), stdout);
    return kOk;
  }
  absl::StatusOr<const Target *> host = findTarget("host");
  for (const Target &target : allTargets()) {
    std::printf("%-18s %s%s\n", target.name.c_str(), target.description.c_str(),
                host.ok() && *host == &target ? "  (host)" : "");
  }
  return kOk;
}

int tokenizerCommand(const std::vector<std::string> &arguments) {
  std::string output;
  bool help = false;
  Command command{"tokenizer", "TOKENIZER.json -o OUT.emoe",
                  "Compile a tokenizer alone into a bundle for emoe-rt tokenize.",
                  {"emoec tokenizer tokenizer.json -o tokenizer.emoe"},
                  {{"-o", "FILE", "the bundle to write", setString(output)},
                   {"--help", "", "print this", setSwitch(help)}}};
  std::vector<std::string> positional;
  if (absl::Status status = parseFlags(command, arguments, positional); !status.ok()) {
    return usageError(command, std::string(status.message()));
  }
  if (help) {
    std::fputs(helpText(command).c_str(), stdout);
    return kOk;
  }
  if (positional.size() != 1 || output.empty()) {
    return usageError(command, "needs one tokenizer.json and -o OUT.emoe");
  }
  absl::Status status = writeTokenizerBundle(positional[0], output);
  return status.ok() ? kOk : fail(status);
}

int explainCommand(const std::vector<std::string> &arguments) {
  ExplainOptions options;
  uint64_t storage = 500, computing = 0;
  bool help = false;
  Command command{"explain",
                  "BUNDLE.emoe",
                  "Say what was decided for a bundle, and why: widths, predictors, cache, memory, speed to expect.",
                  {"emoec explain model.emoe", "emoec explain model.emoe --memory-budget 64 --storage 200"},
                  {{"--memory-budget", "MIB", "memory of the process (default: all experts stay in memory)",
                    setNumber(options.budget, 1, 1 << 20)},
                   {"--storage", "MB/S", "speed of the storage (default 500)", setNumber(storage, 1)},
                   {"--compute-us", "US", "microseconds of computing a token, from emoe-rt bench with all in memory",
                    setNumber(computing, 1)},
                   {"--help", "", "print this", setSwitch(help)}}};
  std::vector<std::string> positional;
  if (absl::Status status = parseFlags(command, arguments, positional); !status.ok()) {
    return usageError(command, std::string(status.message()));
  }
  if (help) {
    std::fputs(helpText(command).c_str(), stdout);
    return kOk;
  }
  if (positional.size() != 1) {
    return usageError(command, positional.empty() ? "no bundle given" : "more than one bundle given");
  }
  options.storage = static_cast<double>(storage) * 1e6;
  options.computing = static_cast<double>(computing) * 1e-6;
  absl::StatusOr<std::string> text = explainBundle(positional[0], options);
  if (!text.ok()) {
    return fail(text.status());
  }
  std::fputs(text->c_str(), stdout);
  return kOk;
}

constexpr const char *kHelp = R"(usage: emoec COMMAND ...

commands:
  compile    compile an ONNX mixture-of-experts model into a bundle
  explain    say what was decided for a bundle, and why
  inspect    print what is recognised in a model
  tokenizer  compile a tokenizer.json alone into a bundle
  targets    list the instruction sets that kernels are generated for
  version    print the version

exit codes: 0 done; 1 failed proof or internal error; 2 usage; 3 bad model or configuration; 4 file or disk;
6 not supported
)";

} // namespace

int main(int argc, char **argv) {
  std::vector<std::string> arguments(argv + 1, argv + argc);
  std::string command = arguments.empty() ? "" : arguments[0];
  if (!arguments.empty()) {
    arguments.erase(arguments.begin());
  }
  if (command == "compile") {
    return compileCommand(arguments);
  }
  if (command == "explain") {
    return explainCommand(arguments);
  }
  if (command == "inspect") {
    return inspectCommand(arguments);
  }
  if (command == "targets") {
    return targetsCommand(arguments);
  }
  if (command == "tokenizer") {
    return tokenizerCommand(arguments);
  }
  if (command == "version" || command == "--version") {
    std::puts(kVersion);
    return kOk;
  }
  if (command == "help" || command == "--help" || command == "-h") {
    std::fputs(kHelp, stdout);
    return kOk;
  }
  const std::string suggestion = nearestOf({"compile", "explain", "inspect", "tokenizer", "targets", "version", "help"}, command);
  const std::string what = command.empty() ? "no command given" : absl::StrCat("unknown command ", command);
  std::fprintf(stderr, "emoec: error: %s%s; commands: compile, explain, inspect, tokenizer, targets, version\n", what.c_str(),
               suggestion.empty() ? "" : absl::StrCat("; did you mean ", suggestion, "?").c_str());
  return kUsage;
}
