// From a module of kernels to machine code in memory, and from object code to an image. Inside codegen only.
#ifndef EMOE_COMPILER_CODEGEN_OBJECT_H_
#define EMOE_COMPILER_CODEGEN_OBJECT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "compiler/codegen/image.h"
#include "mlir/IR/BuiltinOps.h"
#include "llvm/ADT/SmallVector.h"

namespace emoe {

struct ObjectCode {
  llvm::SmallVector<char, 0> bytes;  // ELF relocatable
  std::string llvmIr, assembly;      // if asked for
};

// Lowers the module (in place) to the LLVM dialect, optimises and generates position-independent object code. Internal
// if a step fails, with MLIR's diagnostics in the message.
absl::StatusOr<ObjectCode> generateObject(mlir::ModuleOp module, const Target &target, bool keepText);

// Links one object to a shared image without imports, and finds the addresses of `names`. Internal errors name what is
// undefined. Thread-safe: LLD runs one link at a time.
absl::StatusOr<KernelImage> linkImage(llvm::ArrayRef<char> object, const Target &target,
                                      llvm::ArrayRef<std::string> names);

} // namespace emoe

#endif // EMOE_COMPILER_CODEGEN_OBJECT_H_
