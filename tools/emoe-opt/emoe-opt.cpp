// emoe-opt: run any of the compiler's passes on textual IR. For tests and for looking inside.
#include "compiler/passes.h"
#include "dialects/emoe/emoe.h"
#ifdef EMOE_HAS_ONNX_DIALECT
#include "dialects/onnx/onnx.h"
#endif
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<emoe::EmoeDialect, mlir::func::FuncDialect, mlir::arith::ArithDialect,
                  mlir::LLVM::LLVMDialect>();
#ifdef EMOE_HAS_ONNX_DIALECT
  registry.insert<emoe::onnx::OnnxDialect>();
#endif
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerSymbolDCEPass();
#include "register.inc" // one registerXPasses() for each room that is built
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "emoe's pass driver\n", registry));
}
