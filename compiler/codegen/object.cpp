#include "compiler/codegen/object.h"

#include <memory>
#include <mutex>

#include "absl/strings/str_cat.h"
#include "mlir/Conversion/ArithToLLVM/ArithToLLVM.h"
#include "mlir/Conversion/ControlFlowToLLVM/ControlFlowToLLVM.h"
#include "mlir/Conversion/FuncToLLVM/ConvertFuncToLLVMPass.h"
#include "mlir/Conversion/MathToLLVM/MathToLLVM.h"
#include "mlir/Conversion/ReconcileUnrealizedCasts/ReconcileUnrealizedCasts.h"
#include "mlir/Conversion/SCFToControlFlow/SCFToControlFlow.h"
#include "mlir/Conversion/VectorToLLVM/ConvertVectorToLLVMPass.h"
#include "mlir/Pass/PassManager.h"
#include "mlir/Target/LLVMIR/Dialect/Builtin/BuiltinToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Dialect/LLVMIR/LLVMToLLVMIRTranslation.h"
#include "mlir/Target/LLVMIR/Export.h"
#include "mlir/Transforms/Passes.h"
#include "schema/kernel_abi.h"
#include "llvm/Analysis/TargetLibraryInfo.h"
#include "llvm/ADT/SmallString.h"
#include "llvm/IR/LegacyPassManager.h"
#include "llvm/IR/Module.h"
#include "llvm/MC/TargetRegistry.h"
#include "llvm/Passes/PassBuilder.h"
#include "llvm/Target/TargetMachine.h"
#include "llvm/Transforms/Utils/Cloning.h"

// Only these two back ends: InitializeAllTargets would pull all of them in.
#define EMOE_BACK_END(NAME) \
  extern "C" void LLVMInitialize##NAME##TargetInfo(); \
  extern "C" void LLVMInitialize##NAME##Target(); \
  extern "C" void LLVMInitialize##NAME##TargetMC(); \
  extern "C" void LLVMInitialize##NAME##AsmPrinter();
EMOE_BACK_END(X86)
EMOE_BACK_END(AArch64)
#undef EMOE_BACK_END

namespace emoe {

namespace {

void initializeBackEnds() {
  static std::once_flag once;
  std::call_once(once, [] {
    LLVMInitializeX86TargetInfo();
    LLVMInitializeX86Target();
    LLVMInitializeX86TargetMC();
    LLVMInitializeX86AsmPrinter();
    LLVMInitializeAArch64TargetInfo();
    LLVMInitializeAArch64Target();
    LLVMInitializeAArch64TargetMC();
    LLVMInitializeAArch64AsmPrinter();
  });
}

mlir::LogicalResult lowerToLlvmDialect(mlir::ModuleOp module) {
  mlir::PassManager passes(module.getContext());
  passes.addPass(mlir::createCanonicalizerPass());
  passes.addPass(mlir::createCSEPass());
  passes.addPass(mlir::createConvertSCFToCFPass());
  passes.addPass(mlir::createConvertVectorToLLVMPass());
  passes.addPass(mlir::createConvertMathToLLVMPass());
  passes.addPass(mlir::createArithToLLVMConversionPass());
  passes.addPass(mlir::createConvertControlFlowToLLVMPass());
  passes.addPass(mlir::createConvertFuncToLLVMPass());
  passes.addPass(mlir::createReconcileUnrealizedCastsPass());
  return passes.run(module);
}

std::unique_ptr<llvm::TargetMachine> makeMachine(const Target &target, std::string &error) {
  const llvm::Target *backEnd = llvm::TargetRegistry::lookupTarget(target.triple, error);
  if (!backEnd) {
    return nullptr;
  }
  llvm::TargetOptions options;
  options.AllowFPOpFusion = llvm::FPOpFusion::Strict;  // fused only where the IR says so
  options.FunctionSections = false;
  return std::unique_ptr<llvm::TargetMachine>(backEnd->createTargetMachine(
      target.triple, target.cpu, target.features, options, llvm::Reloc::PIC_, llvm::CodeModel::Small,
      llvm::CodeGenOptLevel::Default));
}

// What every kernel promises and asks of the optimiser.
void setAttributes(llvm::Module &module, const Target &target) {
  for (llvm::Function &function : module) {
    if (function.isDeclaration()) {
      continue;
    }
    function.setVisibility(llvm::GlobalValue::HiddenVisibility);
    function.setDSOLocal(true);
    function.addFnAttr(llvm::Attribute::NoUnwind);
    function.addFnAttr("no-builtins");  // loops do not become calls of memset or memcpy
    function.addFnAttr("target-cpu", target.cpu);
    if (!target.features.empty()) {
      function.addFnAttr("target-features", target.features);
    }
    if (target.machine == EMOE_MACHINE_X86_64) {
      const char *width = target.cpuFeatures & EMOE_CPU_AVX512 ? "512" : "256";
      function.addFnAttr("prefer-vector-width", width);
      function.addFnAttr("min-legal-vector-width", width);
    }
  }
}

// Vectors are explicit already: LLVM simplifies, unrolls and schedules; it vectorises nothing.
void optimise(llvm::Module &module, llvm::TargetMachine &machine) {
  llvm::PipelineTuningOptions tuning;
  tuning.LoopVectorization = false;
  tuning.SLPVectorization = false;
  tuning.LoopInterleaving = false;
  llvm::LoopAnalysisManager loops;
  llvm::FunctionAnalysisManager functions;
  llvm::CGSCCAnalysisManager sccs;
  llvm::ModuleAnalysisManager modules;
  llvm::PassBuilder builder(&machine, tuning);
  // No function of any library exists: nothing may be recognised as one or turned into one.
  llvm::TargetLibraryInfoImpl library(machine.getTargetTriple());
  library.disableAllFunctions();
  functions.registerPass([&] { return llvm::TargetLibraryAnalysis(library); });
  builder.registerModuleAnalyses(modules);
  builder.registerCGSCCAnalyses(sccs);
  builder.registerFunctionAnalyses(functions);
  builder.registerLoopAnalyses(loops);
  builder.crossRegisterProxies(loops, functions, sccs, modules);
  builder.buildPerModuleDefaultPipeline(llvm::OptimizationLevel::O2).run(module, modules);
}

template <typename Buffer>
bool generate(llvm::Module &module, llvm::TargetMachine &machine, llvm::CodeGenFileType type, Buffer &out) {
  llvm::raw_svector_ostream stream(out);
  llvm::legacy::PassManager passes;
  if (machine.addPassesToEmitFile(passes, stream, nullptr, type)) {
    return false;
  }
  passes.run(module);
  return true;
}

} // namespace

absl::StatusOr<ObjectCode> generateObject(mlir::ModuleOp module, const Target &target, bool keepText) {
  initializeBackEnds();
  std::string error;
  std::unique_ptr<llvm::TargetMachine> machine = makeMachine(target, error);
  if (!machine) {
    return absl::InternalError(absl::StrCat("LLVM has no back end for ", target.triple, ": ", error));
  }
  std::string diagnostics;
  mlir::ScopedDiagnosticHandler handler(module.getContext(), [&](mlir::Diagnostic &diagnostic) {
    absl::StrAppend(&diagnostics, "\n  ", diagnostic.str());
    return mlir::success();
  });
  mlir::registerBuiltinDialectTranslation(*module.getContext());
  mlir::registerLLVMDialectTranslation(*module.getContext());
  if (mlir::failed(lowerToLlvmDialect(module))) {
    return absl::InternalError(absl::StrCat("kernels for ", target.name, " cannot be lowered", diagnostics));
  }
  llvm::LLVMContext context;
  std::unique_ptr<llvm::Module> llvmModule = mlir::translateModuleToLLVMIR(module, context, "kernels");
  if (!llvmModule) {
    return absl::InternalError(
        absl::StrCat("kernels for ", target.name, " cannot be translated to LLVM IR", diagnostics));
  }
  llvmModule->setTargetTriple(target.triple);
  llvmModule->setDataLayout(machine->createDataLayout());
  llvmModule->setPICLevel(llvm::PICLevel::BigPIC);
  setAttributes(*llvmModule, target);
  optimise(*llvmModule, *machine);

  ObjectCode code;
  if (keepText) {
    llvm::raw_string_ostream(code.llvmIr) << *llvmModule;
    // Generating code changes the module, so the assembly is made from a copy.
    std::unique_ptr<llvm::Module> copy = llvm::CloneModule(*llvmModule);
    llvm::SmallString<0> assembly;
    generate(*copy, *machine, llvm::CodeGenFileType::AssemblyFile, assembly);
    code.assembly = assembly.str();
  }
  if (!generate(*llvmModule, *machine, llvm::CodeGenFileType::ObjectFile, code.bytes)) {
    return absl::InternalError(absl::StrCat("LLVM cannot write object code for ", target.triple));
  }
  return code;
}

} // namespace emoe
