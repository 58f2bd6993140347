// The order in which a model is compiled. Each phase is a function of its own room; here is only what runs when.
#include "compiler/pipeline.h"

#include <fcntl.h>
#include <unistd.h>

#include <cmath>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "compiler/bitwidth/run.h"
#include "compiler/bundle/assemble.h"
#include "compiler/calibrate/models.h"
#include "compiler/calibrate/routing.h"
#include "compiler/calibrate/run.h"
#include "compiler/calibrate/save.h"
#include "compiler/facts.h"
#include "compiler/inspect.h"
#include "compiler/partition/partition.h"
#include "compiler/plan/choose.h"
#include "compiler/predict/predict.h"
#include "compiler/quantise/quantise.h"
#include "compiler/quantise/widths.h"
#include "compiler/raise/join.h"
#include "compiler/raise/prove.h"
#include "compiler/raise/raise.h"
#include "compiler/schedule/schedule.h"
#include "compiler/simplify/dequantise.h"
#include "compiler/simplify/simplify.h"
#include "compiler/tokenizer/tokenizer.h"
#include "dialects/onnx/onnx.h"
#include "frontends/onnx/onnx.h"
#include "llvm/Support/FileSystem.h"
#include "llvm/Support/MemoryBuffer.h"
#include "llvm/Support/Path.h"
#include "llvm/Support/raw_ostream.h"
#include "llvm/Support/xxhash.h"
#include "mlir/IR/Diagnostics.h"
#include "mlir/Pass/Pass.h"
#include "mlir/Pass/PassManager.h"

using namespace mlir;

namespace emoe {
namespace {

// A phase as a pass, so that IR printing and timing are MLIR's own.
class PhasePass : public OperationPass<ModuleOp> {
public:
  using Body = std::function<LogicalResult(ModuleOp)>;
  PhasePass(StringRef name, Body body) : OperationPass(TypeID::get<PhasePass>()), name(name), body(std::move(body)) {}

  StringRef getName() const override { return name; }
  StringRef getArgument() const override { return name; }
  std::unique_ptr<Pass> clonePass() const override { return std::make_unique<PhasePass>(name, body); }
  void getDependentDialects(DialectRegistry &registry) const override { registry.insert<EmoeDialect>(); }
  void runOnOperation() override {
    if (failed(body(getOperation()))) {
      signalPassFailure();
    }
  }

private:
  std::string name;
  Body body;
};

// Tells a proof that failed from a graph that is not understood.
class NotingProver : public Prover {
public:
  explicit NotingProver(Prover &inner) : inner(inner) {}
  LogicalResult prove(const Claim &claim) override {
    ++claims;
    ++patterns[claim.pattern.str()];
    LogicalResult result = inner.prove(claim);
    anyFailed |= failed(result);
    return result;
  }
  size_t claims = 0;
  std::map<std::string, size_t> patterns;
  bool anyFailed = false;

private:
  Prover &inner;
};

struct Phase {
  std::string name;
  std::string text;  // for the log
  PhasePass::Body body;
};

absl::StatusOr<std::vector<const Target *>> resolveTargets(const std::vector<std::string> &names) {
  std::vector<const Target *> targets;
  if (names.empty()) {
    for (const Target &target : allTargets()) {
      targets.push_back(&target);
    }
  }
  for (const std::string &name : names) {
    absl::StatusOr<const Target *> target = findTarget(name);
    if (!target.ok()) {
      return absl::UnimplementedError(target.status().message());
    }
    if (!llvm::is_contained(targets, *target)) {
      targets.push_back(*target);
    }
  }
  return targets;
}

std::string hashOf(const std::string &path) {
  auto buffer = llvm::MemoryBuffer::getFile(path, /*IsText=*/false, /*RequiresNullTerminator=*/false);
  if (!buffer) {
    return "";
  }
  llvm::XXH128_hash_t hash = llvm::xxh3_128bits(
      llvm::ArrayRef(reinterpret_cast<const uint8_t *>((*buffer)->getBufferStart()), (*buffer)->getBufferSize()));
  return absl::StrCat("xxh3:", absl::Hex(hash.high64, absl::kZeroPad16), absl::Hex(hash.low64, absl::kZeroPad16));
}

std::string optionsText(const CompileOptions &options) {
  std::string text;
  if (options.lossless || (options.tolerance && options.tolerance->value == 0)) {
    text = "lossless";
  } else if (options.tolerance) {
    text = absl::StrCat("tolerance=", options.tolerance->measure == Tolerance::Measure::Divergence ? "kl="
                        : options.tolerance->measure == Tolerance::Measure::Bits     ? "bits="
                                                                                     : "",
                        options.tolerance->value, " bitwidth-policy=", policyName(options.widthPolicy),
                        " dense-bits=", options.denseBits);
  } else {
    text = absl::StrCat("bits=", options.expertBits == kTernaryBits ? "ternary" : std::to_string(options.expertBits),
                        options.group ? absl::StrCat(" group=", options.group) : "", " dense-bits=", options.denseBits);
  }
  if (!options.widths.empty()) {
    text += " widths";
  }
  if (options.ortCpuRouting) {
    text += " routing-semantics=ort-cpu";
  }
  if (!options.calibration.empty() && options.rounding == Rounding::Nearest) {
    text += " rounding=nearest";
  }
  if (options.kvBits != 32) {
    absl::StrAppend(&text, " kv-bits=", options.kvBits);
  }
  return options.exact ? text + " exact" : text;
}

class Compilation {
public:
  Compilation(const CompileOptions &options, const CompileLog &log)
      : options(options), log(log), handler(&context, [this](Diagnostic &diagnostic) { return print(diagnostic); }) {
    context.disableMultithreading();
    context.printOpOnDiagnostic(false);  // locations name the node; the op in IR would not help the user
    DialectRegistry registry;
    registry.insert<EmoeDialect, onnx::OnnxDialect, func::FuncDialect>();
    context.appendDialectRegistry(registry);
    context.loadAllAvailableDialects();
  }

  absl::Status run();
  absl::Status inspect(bool json);

private:
  absl::Status import();
  absl::Status runPhases();
  absl::Status writeOutput();
  LogicalResult raisePhase(ModuleOp module);
  LogicalResult raiseOne(ModuleOp module, WeightStore &store);
  absl::Status calibratePhase(ModuleOp module);
  absl::Status adaptPhase(ModuleOp module);
  void followRouting(BundleContents &contents);
  bool lossless() const { return options.lossless || (options.tolerance && options.tolerance->value == 0); }
  bool adapts() const { return options.tolerance && !lossless(); }
  QuantiseOptions quantiseOptions() const { return {options.expertBits, options.denseBits, options.group, lossless(), adapts()}; }
  absl::StatusOr<std::vector<uint8_t>> tokenizerTables();
  void saveTemps(StringRef phase);

  LogicalResult print(Diagnostic &diagnostic);
  void say(const std::string &text) const {
    if (log.phase) {
      log.phase(text);
    }
  }

  const CompileOptions &options;
  const CompileLog &log;
  MLIRContext context;
  ScopedDiagnosticHandler handler;
  WeightStore store, encoderStore;
  OwningOpRef<ModuleOp> module, encoder;  // encoder: null if there is none, or when it is part of `module`
  std::vector<const Target *> targets;
  ModelFacts facts;
  int32_t configuredFirstToken = -1; // the tokenizer decides whether it heads a text
  std::vector<WidthRule> widthRules;
  std::string tokenizerPath;
  bool proofFailed = false, inspecting = false;
  size_t fileNodes = 0, nodes = 0;
  std::map<std::string, size_t> patterns;
  absl::Status phaseStatus; // of the phase that failed, where diagnostics do not say it all
  std::optional<Texts> texts;
  std::unique_ptr<LiveBundle> reference;
  std::optional<Calibration> calibration;
  std::unique_ptr<CalibratedRounder> rounder; // by the calibration's moments
  AdaptRun adaptRun;
  std::optional<AdaptedWidths> widths;
  std::optional<Routing> routing; // that tables, predictors and plan follow
};

LogicalResult Compilation::print(Diagnostic &diagnostic) {
  if (!log.note) {
    return success();
  }
  std::string text;
  llvm::raw_string_ostream stream(text);
  switch (diagnostic.getSeverity()) {
  case DiagnosticSeverity::Error:
    stream << "error: ";
    break;
  case DiagnosticSeverity::Warning:
    stream << "warning: ";
    break;
  default:
    stream << "note: ";
  }
  if (!isa<UnknownLoc>(diagnostic.getLocation())) {
    stream << diagnostic.getLocation() << ": ";
  }
  stream << diagnostic;
  log.note(text);
  for (Diagnostic &note : diagnostic.getNotes()) {
    log.note("  " + note.str());
  }
  return success();
}

void Compilation::saveTemps(StringRef phase) {
  if (options.saveTemps.empty()) {
    return;
  }
  llvm::SmallString<256> path(options.saveTemps);
  llvm::sys::path::append(path, phase + ".mlir");
  std::error_code error;
  llvm::raw_fd_ostream file(path, error);
  if (!error) {
    module->print(file, OpPrintingFlags().enableDebugInfo(false));
  } else if (log.note) {
    log.note(absl::StrCat("cannot write ", std::string(path), ": ", error.message()));
  }
}

// Of the graph, constants left out.
static size_t countNodes(ModuleOp module) {
  size_t count = 0;
  module.walk([&](Operation *op) {
    count += isa<onnx::OnnxDialect>(op->getDialect()) && op->getNumResults() > 0 &&
             !isa<onnx::InitializerOp, onnx::ConstantOp>(op);
  });
  return count;
}

LogicalResult Compilation::raisePhase(ModuleOp module) {
  if (encoder) {
    if (failed(raiseOne(*encoder, encoderStore)) || failed(raiseOne(module, store)) ||
        failed(joinEncoder(module, store, *encoder, encoderStore))) {
      return failure();
    }
    encoder = nullptr;
    return success();
  }
  if (failed(raiseOne(module, store))) {
    return failure();
  }
  return inspecting || options.compileTo == "raise" ? success() : checkDecoder(module);
}

LogicalResult Compilation::raiseOne(ModuleOp module, WeightStore &store) {
  if (options.verifyRaise == VerifyRaise::Off) {
    return raiseModel(module, store, nullptr);
  }
  OwningOpRef<ModuleOp> original;
  if (options.verifyRaise == VerifyRaise::Full) {
    original = module.clone();
  }
  EvaluatingProver evaluating(module.lookupSymbol<func::FuncOp>("main"), &store);
  NotingProver prover(evaluating);
  nodes = countNodes(module);
  if (failed(raiseModel(module, store, &prover))) {
    proofFailed = prover.anyFailed;
    return failure();
  }
  patterns = prover.patterns;
  if (log.note && prover.claims > 0) {
    log.note(absl::StrCat(prover.claims, " raised parts proven: ", evaluating.evaluated(),
                          " evaluated, the others alike up to where their weights are"));
  }
  if (original && failed(proveModel(*original, module, &store, /*realWeights=*/true))) {
    proofFailed = true;
    return failure();
  }
  return success();
}

absl::StatusOr<std::vector<uint8_t>> Compilation::tokenizerTables() {
  auto model = (*module)->getAttrOfType<DictionaryAttr>("emoe.model");
  absl::StatusOr<std::vector<uint8_t>> tables =
      compileTokenizer(tokenizerPath, {configuredFirstToken, model.getAs<IntegerAttr>("vocab").getInt()});
  if (tables.ok()) {
    facts.firstToken = firstTokenOf(*tables);
  }
  return tables;
}

// Runs the texts through the model in its file's own types.
absl::Status Compilation::calibratePhase(ModuleOp module) {
  if (!options.traces.empty()) {
    absl::StatusOr<Routing> given = readRouting(options.traces, traceLayers(module));
    if (!given.ok()) {
      return given.status();
    }
    routing = std::move(*given);
  }
  if (options.calibration.empty()) {
    return absl::OkStatus();
  }
  absl::StatusOr<std::vector<uint8_t>> tables = tokenizerTables();
  absl::StatusOr<Texts> windows = tables.ok()
                                      ? readTexts(options.calibration, *tables, options.calibrationTokens)
                                      : tables.status();
  absl::StatusOr<const Target *> host = findTarget("host");
  absl::StatusOr<std::vector<MomentShape>> shapes = momentShapes(module);
  for (const absl::Status &status : {windows.status(), host.status(), shapes.status()}) {
    if (!status.ok()) {
      return status;
    }
  }
  absl::StatusOr<std::unique_ptr<LiveBundle>> live = makeReference(module, store, {facts, *host, options.exact});
  if (!live.ok()) {
    return live.status();
  }
  texts = std::move(*windows);
  reference = std::move(*live);
  CalibrateOptions calibrate;
  calibrate.run.slotBytes = options.calibrationMemory / 4;
  calibrate.momentBytes = options.calibrationMemory / 2;
  calibrate.shapes = std::move(*shapes);
  calibrate.progress = log.progress;
  absl::StatusOr<Calibration> result = emoe::calibrate(*reference, *texts, calibrate);
  if (!result.ok()) {
    return result.status();
  }
  calibration = std::move(*result);
  rounder = std::make_unique<CalibratedRounder>(calibration->moments, options.rounding, options.calibrationMemory / 4);
  if (log.note) {
    log.note(absl::StrCat("calibrated on ", texts->fitTokens, " tokens; ", texts->heldOutTokens,
                          " held out, of perplexity ", absl::SixDigits(std::exp(calibration->heldOutLoss))));
  }
  if (!options.saveTemps.empty()) {
    llvm::SmallString<256> path(options.saveTemps);
    llvm::sys::path::append(path, "moments.safetensors");
    if (absl::Status status = saveMoments(calibration->moments, std::string(path)); !status.ok()) {
      return status;
    }
  }
  Routing own{calibration->fit, calibration->heldOut};
  if (!options.saveTraces.empty()) {
    if (absl::Status status = saveRouting(own, options.saveTraces); !status.ok()) {
      return status;
    }
  }
  if (!routing) {
    routing = std::move(own);
  }
  return absl::OkStatus();
}

// Gives each expert the width that the tolerance allows.
absl::Status Compilation::adaptPhase(ModuleOp module) {
  if (!adapts()) {
    return absl::OkStatus();
  }
  absl::StatusOr<const Target *> host = findTarget("host");
  if (!host.ok()) {
    return host.status();
  }
  AdaptRun &run = adaptRun;
  run.adapt.tolerance = *options.tolerance;
  run.adapt.policy = options.widthPolicy;
  run.adapt.budget = options.targetBudget;
  run.adapt.seed = options.widthSeed;
  run.rounding = options.rounding;
  run.memory = options.calibrationMemory;
  run.saveSensitivity = options.saveSensitivity;
  for (const std::string &name : options.formats) {
    absl::StatusOr<ExpertFormat> format = formatOf(context, name);
    if (!format.ok()) {
      return format.status();
    }
    run.formats.push_back(*format);
  }
  std::string step;
  run.adapt.progress = [&](double done, const std::string &what) {
    if (what != step) {
      say(step = what);
    }
    if (log.progress) {
      log.progress(done);
    }
  };
  absl::StatusOr<AdaptedWidths> adapted = runAdaptation(module, store, {facts, *host, options.exact, options.kvBits}, quantiseOptions(),
                                                        *reference, *texts, *calibration, *rounder, run);
  if (!adapted.ok()) {
    return adapted.status();
  }
  widths = std::move(*adapted);
  for (const std::string &line : log.note ? describe(*widths, run.adapt) : std::vector<std::string>()) {
    log.note(line);
  }
  if (failed(applyWidths(module, widths->formats, widths->decision.assignment))) {
    return absl::InternalError("the chosen widths do not fit the model");
  }
  return absl::OkStatus();
}

absl::Status Compilation::runPhases() {
  std::vector<Phase> phases = {
      {"simplify", "simplifying the graph", [&](ModuleOp m) {
         fileNodes = countNodes(m);
         auto both = [&](ModuleOp m, WeightStore &store) {
           if (options.ortCpuRouting) {
             routeLikeOrtCpu(m);
           }
           return succeeded(nameQuantised(m, store, facts.device)) && succeeded(simplify(m));
         };
         return success((!encoder || both(*encoder, encoderStore)) && both(m, store));
       }},
      {"raise", "recovering the model from the graph", [&](ModuleOp m) { return raisePhase(m); }},
      {"calibrate", options.calibration.empty() ? "" : "running the calibration texts through the model",
       [&](ModuleOp m) { return success((phaseStatus = calibratePhase(m)).ok()); }},
      {"quantise", "choosing widths",
       [&](ModuleOp m) {
         LogicalResult result = quantise(m, quantiseOptions(), &store);
         return succeeded(result) ? applyWidthRules(m, widthRules) : result;
       }},
      {"adapt-bitwidth", adapts() ? "adapting the experts' widths to the tolerance" : "",
       [&](ModuleOp m) { return success((phaseStatus = adaptPhase(m)).ok()); }},
      {"partition-experts", "parting resident weights and experts", [&](ModuleOp m) { return partitionExperts(m); }},
      {"schedule", "planning kernels, buffers and steps",
       [&](ModuleOp m) { return schedule(m, {options.exact, options.kvBits}); }},
  };
  saveTemps("import");
  for (Phase &phase : phases) {
    if (options.compileTo == "import") {
      break;
    }
    if (!phase.text.empty()) {
      say(phase.text);
    }
    PassManager manager(&context);
    if (options.printIrAfterAll) {
      manager.enableIRPrinting([](Pass *, Operation *) { return false; }, [](Pass *, Operation *) { return true; },
                               /*printModuleScope=*/true, /*printAfterOnlyOnChange=*/false);
    }
    if (options.printPassTiming) {
      manager.enableTiming();
    }
    manager.addPass(std::make_unique<PhasePass>(phase.name, phase.body));
    if (failed(manager.run(*module))) {
      if (!phaseStatus.ok()) {
        return phaseStatus;
      }
      std::string message = absl::StrCat(options.model, ": the phase \"", phase.name, "\" failed; the lines above say where");
      return proofFailed ? absl::InternalError(message) : absl::UnimplementedError(message);
    }
    saveTemps(phase.name);
    if (options.compileTo == phase.name) {
      break;
    }
  }
  if (!options.compileTo.empty() && !inspecting) {
    module->print(llvm::outs());
    llvm::outs() << "\n";
  }
  return absl::OkStatus();
}

// What follows from routing: predictors with their tables, and the cache's plan.
void Compilation::followRouting(BundleContents &contents) {
  if (!routing) {
    return;
  }
  say("choosing predictors and cache policies");
  PredictOptions predict;
  predict.lookAhead = lookAheadLayers(contents.index);
  predict.allTables = options.allPredictors;
  Predictors predictors = buildPredictors(routing->fit, routing->heldOut, predict);
  if (log.note) {
    log.note(summary(predictors));
  }
  contents.index.predictors = std::move(predictors.index);
  contents.tables = std::move(predictors.section);
  CachePlan plan = choosePlan(routing->fit, routing->heldOut);
  storePlan(plan, *contents.index.plan);
  if (log.note) {
    log.note(summary(plan));
  }
}

absl::Status Compilation::writeOutput() {
  AssembleOptions assembly;
  if (!tokenizerPath.empty()) {
    say(absl::StrCat("compiling ", tokenizerPath));
    absl::StatusOr<std::vector<uint8_t>> tables = tokenizerTables();
    if (!tables.ok()) {
      return tables.status();
    }
    assembly.tokenizer = std::move(*tables);
  }
  assembly.facts = facts;
  assembly.targets = targets;
  assembly.rounder = rounder.get();
  assembly.image.exact = options.exact;
  assembly.image.saveTemps = options.saveTemps;
  assembly.source = llvm::sys::path::filename(options.model).str();
  assembly.sourceHash = hashOf(options.model);
  assembly.options = optionsText(options);
  say(absl::StrCat("generating kernels for ",
                   absl::StrJoin(targets, ", ", [](std::string *out, const Target *t) { *out += t->name; })));
  absl::StatusOr<BundleContents> contents = assemble(*module, store, assembly);
  if (!contents.ok()) {
    return contents.status();
  }
  followRouting(*contents);
  if (calibration) {
    contents->index.calibration = std::make_unique<fb::CalibrationT>();
    fb::CalibrationT &facts = *contents->index.calibration;
    facts.texts = absl::StrJoin(calibration->facts.files, ", ");
    facts.hash = calibration->facts.hash;
    facts.fit_tokens = calibration->facts.fitTokens;
    facts.held_out_tokens = calibration->facts.heldOutTokens;
    facts.held_out_loss = calibration->heldOutLoss;
  }
  if (widths) {
    contents->index.widths = widthsTable(*widths, adaptRun);
  }
  say(absl::StrCat("writing ", options.output));
  contents->progress = log.progress;
  return writeBundle(*contents, options.output);
}

absl::Status Compilation::run() {
  const std::vector<std::string> &phases = phaseNames();
  if (!options.compileTo.empty() && !llvm::is_contained(phases, options.compileTo)) {
    return absl::UnimplementedError(
        absl::StrCat("there is no phase ", options.compileTo, "; phases: ", absl::StrJoin(phases, ", ")));
  }
  absl::StatusOr<std::vector<const Target *>> resolved = resolveTargets(options.targets);
  if (!resolved.ok()) {
    return resolved.status();
  }
  targets = std::move(*resolved);
  if (!options.encoder.empty() && (!options.calibration.empty() || options.tolerance || !options.traces.empty())) {
    return absl::UnimplementedError("calibration, tolerances and traces are for models without an encoder; leave "
                                    "--calibration, --tolerance and --traces out");
  }
  if (adapts() && options.calibration.empty()) {
    return absl::InvalidArgumentError("a tolerance is kept by measuring what is lost: give texts with --calibration FILE...");
  }
  if (options.tolerance && options.lossless) {
    return absl::InvalidArgumentError("--lossless and a tolerance exclude each other; a tolerance of 0 is lossless");
  }
  if (options.tolerance && !options.widths.empty()) {
    return absl::InvalidArgumentError("--widths and a tolerance exclude each other: one says the widths, the other finds them");
  }
  if (!options.saveTemps.empty()) {
    if (std::error_code error = llvm::sys::fs::create_directories(options.saveTemps)) {
      return absl::UnavailableError(absl::StrCat(options.saveTemps, ": ", error.message()));
    }
  }

  if (absl::Status status = import(); !status.ok()) {
    return status;
  }
  if (absl::Status status = runPhases(); !status.ok() || !options.compileTo.empty()) {
    return status;
  }
  return writeOutput();
}

absl::Status Compilation::inspect(bool json) {
  inspecting = true;
  if (absl::Status status = import(); !status.ok()) {
    return status;
  }
  if (absl::Status status = runPhases(); !status.ok()) {
    return status;
  }
  printInspection(*module, store, {options.model, facts, fileNodes, nodes, patterns}, json, llvm::outs());
  return absl::OkStatus();
}

absl::Status Compilation::import() {
  // Small files first: what is wrong with them shows before the long work.
  if (!options.widths.empty()) {
    auto text = llvm::MemoryBuffer::getFile(options.widths);
    if (!text) {
      return absl::UnavailableError(absl::StrCat(options.widths, ": ", text.getError().message()));
    }
    absl::StatusOr<std::vector<WidthRule>> rules = parseWidthRules((*text)->getBuffer().str());
    if (!rules.ok()) {
      return absl::InvalidArgumentError(absl::StrCat(options.widths, ": ", std::string(rules.status().message())));
    }
    widthRules = std::move(*rules);
  }
  ModelFiles files = findModelFiles(options.model);
  absl::StatusOr<ModelFacts> read =
      readModelFacts(options.config.empty() ? files.config : options.config, files.generationConfig,
                                                   files.genaiConfig);
  if (!read.ok()) {
    return read.status();
  }
  facts = *read;
  configuredFirstToken = facts.firstToken;
  tokenizerPath = options.tokenizer.empty() ? files.tokenizer : options.tokenizer;
  if (options.calibration.empty() && !options.saveTraces.empty()) {
    return absl::InvalidArgumentError("there are no traces to save without texts: give --calibration FILE...");
  }
  if (tokenizerPath.empty() && !options.calibration.empty()) {
    return absl::InvalidArgumentError(absl::StrCat(options.model, ": calibration needs the model's tokenizer, and there "
                                                   "is no tokenizer.json beside the model; give --tokenizer FILE"));
  }
  if (tokenizerPath.empty() && options.compileTo.empty() && log.note) {
    log.note("note: no tokenizer.json beside the model: the bundle takes token ids only");
  }

  say(absl::StrCat("reading ", options.model));
  absl::StatusOr<OwningOpRef<ModuleOp>> imported = onnx::importModel(options.model, context, store);
  if (!imported.ok()) {
    return imported.status();
  }
  module = std::move(*imported);
  if (!options.encoder.empty()) {
    say(absl::StrCat("reading ", options.encoder));
    absl::StatusOr<OwningOpRef<ModuleOp>> first = onnx::importModel(options.encoder, context, encoderStore);
    if (!first.ok()) {
      return first.status();
    }
    encoder = std::move(*first);
  }
  return absl::OkStatus();
}

} // namespace

const std::vector<std::string> &phaseNames() {
  static const std::vector<std::string> names = {"import",   "simplify",          "raise",   "calibrate",
                                                 "quantise", "adapt-bitwidth", "partition-experts", "schedule"};
  return names;
}

absl::Status inspectModel(const CompileOptions &options, const CompileLog &log, bool json) {
  CompileOptions raised = options;
  raised.compileTo = "raise";
  return Compilation(raised, log).inspect(json);
}

absl::Status compileModel(const CompileOptions &options, const CompileLog &log) {
  return Compilation(options, log).run();
}

} // namespace emoe
