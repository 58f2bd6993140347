// The compiler as one function: an ONNX file in, a bundle file out.
#ifndef EMOE_COMPILER_PIPELINE_H_
#define EMOE_COMPILER_PIPELINE_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "compiler/bitwidth/adapt.h"
#include "compiler/bitwidth/round.h"

namespace emoe {

enum class VerifyRaise { Off, Claims, Full };

struct CompileOptions {
  std::string model;                 // .onnx file
  std::string encoder;               // .onnx file of the encoder whose result the model takes; empty: there is none
  std::string output;                // .emoe file
  unsigned expertBits = 4, denseBits = 8;  // as QuantiseOptions
  unsigned group = 0;                // columns that share a scale in experts; 0: by their width
  std::string widths;                // a file of widths by expert (quantise/widths.h), over expertBits; empty: none
  bool lossless = false;             // the file's own float types
  bool exact = false;                // float32 activations at any width
  bool ortCpuRouting = false;        // fused mixtures route as ONNX Runtime's CPU kernels do (simplify.h)
  unsigned kvBits = 32;              // of cached keys and values: 32 or 16
  std::vector<std::string> targets;  // names of codegen's targets; empty: all
  std::string tokenizer, config;     // paths; empty: found beside the model or one folder up
  VerifyRaise verifyRaise = VerifyRaise::Claims;
  bool printIrAfterAll = false, printPassTiming = false;  // to stderr
  std::string saveTemps;             // folder for IR and kernel sources; empty: none
  std::vector<std::string> calibration;  // texts to run through the model
  uint64_t calibrationTokens = 65536;    // of them, at most
  bool allPredictors = false;            // keep the tables of predictors that were not chosen, too
  uint64_t calibrationMemory = 1u << 30; // bytes that calibration may take beside the resident weights
  std::string saveTraces;            // a file for the routing of the texts; empty: none
  std::optional<Tolerance> tolerance;    // experts' widths follow from it and the calibration; 0: as lossless
  WidthPolicy widthPolicy = WidthPolicy::Adapt;
  Rounding rounding = Rounding::Compensated; // of experts, where there is a calibration
  uint64_t targetBudget = 0;             // bytes of expert records that the target keeps in memory; 0: not known
  uint32_t widthSeed = 1;                // of random widths
  std::vector<std::string> formats;      // that experts may have, from fewest bytes to most; empty: defaultFormats
  std::string saveSensitivity;           // a file for experts' sensitivities; empty: none
  std::string traces;                // a file with routing that tables, predictors and plan follow; empty: the texts'
  std::string compileTo;             // stop after this phase and print its IR to stdout; empty: the whole way
};

// Told what is going on: phase names as they start, notes for the user, and progress within a phase (0 to 1).
struct CompileLog {
  std::function<void(const std::string &phase)> phase;
  std::function<void(const std::string &note)> note;
  std::function<void(double done)> progress;
};

// InvalidArgument: a damaged or unsuitable model or configuration; NotFound, ResourceExhausted, Unavailable: files;
// Unimplemented: valid, but not supported; Internal: a failed proof or a defect of ours. Diagnostics that name ops go
// to `log.note` before the status returns. The output is complete or absent.
absl::Status compileModel(const CompileOptions &options, const CompileLog &log);

// Recovers the model and prints what was recognised (compiler/inspect.h) to stdout: no bundle is made. Statuses as above.
absl::Status inspectModel(const CompileOptions &options, const CompileLog &log, bool json);

// Names of the phases that compileTo accepts, in order.
const std::vector<std::string> &phaseNames();

} // namespace emoe

#endif // EMOE_COMPILER_PIPELINE_H_
