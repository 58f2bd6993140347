// emoe-opt: run any of the compiler's passes on textual IR. For tests and for looking inside.
#include "compiler/passes.h"
#include "dialects/emoe/emoe.h"
#include "dialects/onnx/onnx.h"
#include "mlir/Dialect/Arith/IR/Arith.h"
#include "mlir/Dialect/Func/IR/FuncOps.h"
#include "mlir/Dialect/LLVMIR/LLVMDialect.h"
#include "mlir/IR/DialectRegistry.h"
#include "mlir/Tools/mlir-opt/MlirOptMain.h"
#include "mlir/Transforms/Passes.h"

int main(int argc, char **argv) {
  mlir::DialectRegistry registry;
  registry.insert<emoe::EmoeDialect, emoe::onnx::OnnxDialect, mlir::func::FuncDialect, mlir::arith::ArithDialect,
                  mlir::LLVM::LLVMDialect>();
  mlir::registerCanonicalizerPass();
  mlir::registerCSEPass();
  mlir::registerSymbolDCEPass();
  emoe::registerPasses();
  return mlir::asMainReturnCode(mlir::MlirOptMain(argc, argv, "emoe's pass driver\n", registry));
}
